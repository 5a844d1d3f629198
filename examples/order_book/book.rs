//! One symbol's order book, kept from a snapshot and diffs, and checked against the ticker.
//!
//! Nothing here knows of ringbolt. The checks are what makes the example worth running: update ids and trade ids chain
//! without gaps, the best bid stays below the best ask, and wherever a diff ends at an update that the ticker told of
//! as well, both must show the same top of the book. An event that is lost, repeated or out of order breaks one of them.

use std::collections::BTreeMap;

use super::events::{BookSnapshot, BookTicker, Decimal, DepthDiff, Level, Symbol, Trade};

/// The book, and what was noticed while keeping it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    snapshot_id: Option<u64>,
    /// Diffs from before the snapshot: some of what they say may be newer than it.
    early: Vec<DepthDiff>,
    last_diff_id: Option<u64>,
    last_trade: Option<Trade>,
    /// By update id, what the ticker said of updates that the book has not reached...
    told: BTreeMap<u64, Top>,
    /// ...and what the book showed after updates that the ticker has not told of: either may come first.
    shown: BTreeMap<u64, Top>,
    seen: Seen,
}

/// The best bid and the best ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) bid: Level,
    pub(crate) ask: Level,
}

/// What was noticed while keeping a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Update ids at which both the book and the ticker have a say...
    pub(crate) shared: u64,
    /// ...and those at which they say the same.
    pub(crate) agreed: u64,
    /// Times that the best bid was not below the best ask.
    pub(crate) crossed: u64,
    /// Diffs and trades that did not go on where the one before ended.
    pub(crate) breaks: u64,
    pub(crate) diffs: u64,
    pub(crate) trades: u64,
}

impl Book {
    /// Begins with everything there is, and goes on with the diffs that were waiting.
    pub(crate) fn begin(&mut self, snapshot: &BookSnapshot) {
        self.bids.clear();
        self.asks.clear();
        set(&mut self.bids, &snapshot.bids);
        set(&mut self.asks, &snapshot.asks);
        self.snapshot_id = Some(snapshot.update_id);
        self.last_diff_id = None;
        for diff in std::mem::take(&mut self.early) {
            self.change(&diff);
        }
    }

    /// Takes in what changed.
    pub(crate) fn change(&mut self, diff: &DepthDiff) {
        let Some(snapshot_id) = self.snapshot_id else {
            self.early.push(diff.clone());
            return;
        };
        let id = diff.last_update_id;
        if id <= snapshot_id {
            return;
        }
        // The first diff may overlap the snapshot, the others begin where the one before ended.
        let goes_on = match self.last_diff_id {
            None => diff.first_update_id <= snapshot_id + 1,
            Some(last) => diff.first_update_id == last + 1,
        };
        self.seen.diffs += 1;
        self.seen.breaks += u64::from(!goes_on);
        self.last_diff_id = Some(id);
        set(&mut self.bids, &diff.bids);
        set(&mut self.asks, &diff.asks);

        let Some(top) = self.top() else { return };
        self.seen.crossed += u64::from(top.bid.price >= top.ask.price);
        match self.told.remove(&id) {
            Some(told) => self.compare(top, told),
            None => drop(self.shown.insert(id, top)),
        }
        forget_before(&mut self.told, id);
    }

    /// Hears what the top of the book should be at an update.
    pub(crate) fn check(&mut self, ticker: &BookTicker) {
        let id = ticker.update_id;
        let told = Top::from(ticker);
        match self.shown.remove(&id) {
            Some(shown) => self.compare(shown, told),
            None => drop(self.told.insert(id, told)),
        }
        forget_before(&mut self.shown, id);
    }

    /// Notes a trade.
    pub(crate) fn trade(&mut self, trade: &Trade) {
        let goes_on = self
            .last_trade
            .as_ref()
            .is_none_or(|last| trade.id == last.id + 1);
        self.seen.trades += 1;
        self.seen.breaks += u64::from(!goes_on);
        self.last_trade = Some(trade.clone());
    }

    /// The best bid and the best ask; `None` while a side is empty.
    pub(crate) fn top(&self) -> Option<Top> {
        let level = |(&price, &quantity)| Level { price, quantity };
        Some(Top {
            bid: level(self.bids.last_key_value()?),
            ask: level(self.asks.first_key_value()?),
        })
    }

    fn compare(&mut self, shown: Top, told: Top) {
        self.seen.shared += 1;
        self.seen.agreed += u64::from(shown == told);
    }
}

impl From<&BookTicker> for Top {
    fn from(ticker: &BookTicker) -> Self {
        Self {
            bid: Level {
                price: ticker.bid_price,
                quantity: ticker.bid_quantity,
            },
            ask: Level {
                price: ticker.ask_price,
                quantity: ticker.ask_quantity,
            },
        }
    }
}

fn set(side: &mut BTreeMap<Decimal, Decimal>, levels: &[Level]) {
    for level in levels {
        if level.quantity == Decimal::ZERO {
            side.remove(&level.price);
        } else {
            side.insert(level.price, level.quantity);
        }
    }
}

/// Update ids only rise, on both sides: what lies behind has no counterpart to wait for.
fn forget_before(tops: &mut BTreeMap<u64, Top>, id: u64) {
    while tops.first_key_value().is_some_and(|(&first, _)| first < id) {
        tops.pop_first();
    }
}

/// A book as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) symbol: Symbol,
    pub(crate) seen: Seen,
    pub(crate) top: Option<Top>,
    pub(crate) bid_levels: usize,
    pub(crate) ask_levels: usize,
    pub(crate) last_trade: Option<Trade>,
}

impl Summary {
    pub(crate) fn of(symbol: Symbol, book: &Book) -> Self {
        Self {
            symbol,
            seen: book.seen,
            top: book.top(),
            bid_levels: book.bids.len(),
            ask_levels: book.asks.len(),
            last_trade: book.last_trade.clone(),
        }
    }

    /// Whether everything that can be checked was right, and there was something to check.
    pub(crate) fn is_right(&self) -> bool {
        let Seen {
            shared,
            agreed,
            crossed,
            breaks,
            ..
        } = self.seen;
        shared > 0 && agreed == shared && crossed == 0 && breaks == 0
    }
}
