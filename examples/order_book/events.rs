//! The events of a market-data feed, as typed values: what the exchange sends is parsed straight into what is published.
//!
//! All of them are keyed by their symbol, so that one worker handles everything about one symbol, in the order of
//! publishing; different symbols are handled at the same time. Tickers and trades fit into an event's slot (56 bytes);
//! a diff does not and travels in a box, which nobody has to know.

use std::fmt;

use ringbolt::{AsKey, Event, Key};
use serde::Deserialize;

/// The whole book at one moment. The exchange does not say of which symbol; the reader of the capture fills that in.
#[derive(Debug, Event, Deserialize)]
#[event(name = "book.snapshot", key = "symbol")]
pub(crate) struct BookSnapshot {
    #[serde(skip)]
    pub(crate) symbol: Symbol,
    #[serde(rename = "lastUpdateId")]
    pub(crate) update_id: u64,
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
}

/// What changed in the book by the updates `first_update_id..=last_update_id`.
#[derive(Debug, Clone, PartialEq, Event, Deserialize)]
#[event(name = "book.diff", key = "symbol")]
pub(crate) struct DepthDiff {
    #[serde(rename = "s")]
    pub(crate) symbol: Symbol,
    #[serde(rename = "U")]
    pub(crate) first_update_id: u64,
    #[serde(rename = "u")]
    pub(crate) last_update_id: u64,
    #[serde(rename = "b")]
    pub(crate) bids: Vec<Level>,
    #[serde(rename = "a")]
    pub(crate) asks: Vec<Level>,
}

/// The best bid and the best ask after the update `update_id`.
#[derive(Debug, Event, Deserialize)]
#[event(name = "book.ticker", key = "symbol")]
pub(crate) struct BookTicker {
    #[serde(rename = "s")]
    pub(crate) symbol: Symbol,
    #[serde(rename = "u")]
    pub(crate) update_id: u64,
    #[serde(rename = "b")]
    pub(crate) bid_price: Decimal,
    #[serde(rename = "B")]
    pub(crate) bid_quantity: Decimal,
    #[serde(rename = "a")]
    pub(crate) ask_price: Decimal,
    #[serde(rename = "A")]
    pub(crate) ask_quantity: Decimal,
}

/// Two orders met. Trades are numbered without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Event, Deserialize)]
#[event(name = "trade", key = "symbol")]
pub(crate) struct Trade {
    #[serde(rename = "s")]
    pub(crate) symbol: Symbol,
    #[serde(rename = "t")]
    pub(crate) id: u64,
    #[serde(rename = "p")]
    pub(crate) price: Decimal,
    #[serde(rename = "q")]
    pub(crate) quantity: Decimal,
}

/// How much is offered at a price; in a diff, zero takes the price out of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Level {
    pub(crate) price: Decimal,
    pub(crate) quantity: Decimal,
}

/// The name of what is traded: up to 16 bytes of text, so that no event has to allocate for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(try_from = "&str")]
pub(crate) struct Symbol([u8; 16]);

/// What `#[event(key = "symbol")]` asks of the field's type.
impl AsKey for Symbol {
    fn as_key(&self) -> Key<'_> {
        Key::U128(u128::from_le_bytes(self.0))
    }
}

impl TryFrom<&str> for Symbol {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 16];
        bytes
            .get_mut(..text.len())
            .ok_or_else(|| format!("symbol {text:?} is longer than 16 bytes"))?
            .copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.0).trim_end_matches('\0'))
    }
}

/// An exact number with eight decimal places, as the exchange counts prices and quantities: a multiple of 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "&str")]
pub(crate) struct Decimal(pub(crate) i64);

impl Decimal {
    pub(crate) const ZERO: Self = Self(0);
    const ONE: i64 = 100_000_000;
}

impl TryFrom<&str> for Decimal {
    type Error = String;

    /// Digit by digit: no float is asked what 61685.99 might be.
    fn try_from(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no number with up to eight decimal places");
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(places) || places.len() > 8 {
            return Err(wrong());
        }
        let hundred_millionths = format!("{whole}{places:0<8}");
        hundred_millionths.parse().map(Self).map_err(|_| wrong())
    }
}

/// At least two places, and no zeros behind them: `61685.99`, `0.10`, `0.00001`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = format!("{:08}", self.0 % Self::ONE);
        let places = places.trim_end_matches('0');
        write!(f, "{}.{places:0<2}", self.0 / Self::ONE)
    }
}
