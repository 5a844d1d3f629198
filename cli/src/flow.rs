//! The built-in order flow: what an exchange's order entry might see, generated from a seed.
//!
//! A thousand and twenty-four books, a few of them busy and most of them quiet. Orders are placed,
//! amended, filled and cancelled; every event refers to an order that is open at that moment, so a
//! handler that keeps books would find them consistent. The key is the book, and within a book the
//! events are numbered from 0, which is what the self-check counts by.
//!
//! The same seed and number give the same events, whatever the number of publishers and workers.

use crate::outlet::Outlet;
use ringbolt::Event;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Books, which are the keys. Each is opened by the first events of the flow, one after the other.
pub(crate) const BOOK_COUNT: u32 = 1_024;
/// Orders open in a book at most.
const OPEN_MAX: usize = 32;
/// Mean of the simulated time between two events.
const GAP_MEAN_NS: f64 = 10_000.0;

/// An order entered its book.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "order.placed", key = "book", codec = "json")]
pub(crate) struct OrderPlaced {
    pub(crate) book: u32,
    pub(crate) quantity: u32,
    pub(crate) sequence: u64,
    pub(crate) order_id: u64,
    pub(crate) price_cents: i64,
    pub(crate) is_bid: bool,
}

/// An open order's quantity was changed.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "order.amended", key = "book", codec = "json")]
pub(crate) struct OrderAmended {
    pub(crate) book: u32,
    pub(crate) quantity: u32,
    pub(crate) sequence: u64,
    pub(crate) order_id: u64,
}

/// An open order traded, in part or in whole.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "order.filled", key = "book", codec = "json")]
pub(crate) struct OrderFilled {
    pub(crate) book: u32,
    pub(crate) quantity: u32,
    pub(crate) remaining: u32,
    pub(crate) sequence: u64,
    pub(crate) order_id: u64,
    pub(crate) price_cents: i64,
}

/// An open order left its book.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "order.cancelled", key = "book", codec = "json")]
pub(crate) struct OrderCancelled {
    pub(crate) book: u32,
    pub(crate) remaining: u32,
    pub(crate) sequence: u64,
    pub(crate) order_id: u64,
}

/// Any event of the flow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FlowEvent {
    Placed(OrderPlaced),
    Amended(OrderAmended),
    Filled(OrderFilled),
    Cancelled(OrderCancelled),
}

/// What the self-check needs to know of an event.
pub(crate) trait Numbered: Event {
    /// The book, which is the key.
    fn book(&self) -> u32;
    /// Its place among the events of the book, from 0.
    fn sequence(&self) -> u64;
}

macro_rules! numbered {
    ($($event:ty),*) => {$(
        impl Numbered for $event {
            fn book(&self) -> u32 {
                self.book
            }

            fn sequence(&self) -> u64 {
                self.sequence
            }
        }
    )*};
}

numbered!(OrderPlaced, OrderAmended, OrderFilled, OrderCancelled);

impl FlowEvent {
    /// The book, which is the key.
    pub(crate) fn book(&self) -> u32 {
        match self {
            Self::Placed(event) => event.book,
            Self::Amended(event) => event.book,
            Self::Filled(event) => event.book,
            Self::Cancelled(event) => event.book,
        }
    }

    /// Hands on the event inside, due at a moment or now.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn put(self, outlet: &mut Outlet, due: Option<u64>) -> Result<(), String> {
        match self {
            Self::Placed(event) => outlet.put(event, due),
            Self::Amended(event) => outlet.put(event, due),
            Self::Filled(event) => outlet.put(event, due),
            Self::Cancelled(event) => outlet.put(event, due),
        }
    }
}

/// The generator.
#[derive(Debug)]
pub(crate) struct Flow {
    random: Random,
    books: Vec<Book>,
    index: u64,
    count: u64,
    order_count: u64,
    since_first_ns: f64,
}

#[derive(Debug, Default)]
struct Book {
    sequence: u64,
    price_cents: i64,
    /// Open orders, the oldest first: their ids and what is left of them.
    open: VecDeque<(u64, u32)>,
}

/// One event of the flow, with its place and its simulated time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) index: u64,
    pub(crate) since_first_ns: u64,
    pub(crate) event: FlowEvent,
}

impl Flow {
    /// `count` events from a seed.
    pub(crate) fn new(seed: u64, count: u64) -> Self {
        Self {
            random: Random(seed),
            books: (0..BOOK_COUNT).map(|_| Book::default()).collect(),
            index: 0,
            count,
            order_count: 0,
            since_first_ns: 0.0,
        }
    }

    /// Every book once, then the lower of two draws: low numbers are busier.
    fn pick_book(&mut self) -> u32 {
        match u32::try_from(self.index) {
            Ok(index) if index < BOOK_COUNT => index,
            _ => {
                let draw = self.random.next();
                let one = (draw as u32) % BOOK_COUNT;
                let other = ((draw >> 32) as u32) % BOOK_COUNT;
                one.min(other)
            }
        }
    }

    fn event_for(&mut self, book_index: u32) -> FlowEvent {
        let draw = self.random.next();
        let book = &mut self.books[book_index as usize];
        let sequence = book.sequence;
        book.sequence += 1;
        if sequence == 0 {
            book.price_cents = 1_000 + (draw % 100_000) as i64;
        }
        // Different bits of one draw decide different things.
        let dice = (draw >> 8) % 100;
        let lot = 100 * (1 + ((draw >> 16) % 50) as u32);
        let which = (draw >> 32) as usize;
        let place = book.open.is_empty() || (dice < 40 && book.open.len() < OPEN_MAX);
        if place {
            self.order_count += 1;
            let order_id = self.order_count;
            book.price_cents = (book.price_cents + (draw >> 40) as i64 % 5 - 2).max(1);
            book.open.push_back((order_id, lot));
            return FlowEvent::Placed(OrderPlaced {
                book: book_index,
                quantity: lot,
                sequence,
                order_id,
                price_cents: book.price_cents,
                is_bid: draw & 1 == 0,
            });
        }
        let place = which % book.open.len();
        let (order_id, remaining) = book.open[place];
        if dice < 55 {
            book.open[place].1 = lot;
            return FlowEvent::Amended(OrderAmended {
                book: book_index,
                quantity: lot,
                sequence,
                order_id,
            });
        }
        if dice < 85 {
            let quantity = lot.min(remaining);
            let remaining = remaining - quantity;
            if remaining == 0 {
                book.open.remove(place);
            } else {
                book.open[place].1 = remaining;
            }
            return FlowEvent::Filled(OrderFilled {
                book: book_index,
                quantity,
                remaining,
                sequence,
                order_id,
                price_cents: book.price_cents,
            });
        }
        book.open.remove(place);
        FlowEvent::Cancelled(OrderCancelled {
            book: book_index,
            remaining,
            sequence,
            order_id,
        })
    }
}

impl Iterator for Flow {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.index == self.count {
            return None;
        }
        let index = self.index;
        if index > 0 {
            self.since_first_ns += self.random.gap_ns();
        }
        let book = self.pick_book();
        self.index += 1;
        Some(Planned {
            index,
            since_first_ns: self.since_first_ns as u64,
            event: self.event_for(book),
        })
    }
}

/// The splitmix64 generator by Sebastiano Vigna: enough for a flow, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Exponentially distributed, as between independent arrivals.
    fn gap_ns(&mut self) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln() * GAP_MEAN_NS
    }
}

/// Spreads neighbouring numbers over the whole range.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_seed_decides_everything() {
        let flow = |seed| Flow::new(seed, 5_000).collect::<Vec<_>>();
        assert_eq!(flow(1), flow(1));
        assert_ne!(flow(1), flow(2));
    }

    #[test]
    fn events_fit_a_slot_and_name_open_orders() {
        assert!(size_of::<OrderPlaced>() <= 56 && size_of::<OrderFilled>() <= 56);
        let mut sequences = HashMap::new();
        let mut open = HashMap::new();
        for planned in Flow::new(7, 50_000) {
            let (book, sequence) = match &planned.event {
                FlowEvent::Placed(event) => {
                    open.insert(event.order_id, event.quantity);
                    (event.book(), event.sequence())
                }
                FlowEvent::Amended(event) => {
                    *open.get_mut(&event.order_id).expect("amends an open order") = event.quantity;
                    (event.book(), event.sequence())
                }
                FlowEvent::Filled(event) => {
                    let left = open.remove(&event.order_id).expect("fills an open order");
                    assert_eq!(left, event.quantity + event.remaining);
                    if event.remaining > 0 {
                        open.insert(event.order_id, event.remaining);
                    }
                    (event.book(), event.sequence())
                }
                FlowEvent::Cancelled(event) => {
                    assert_eq!(open.remove(&event.order_id), Some(event.remaining));
                    (event.book(), event.sequence())
                }
            };
            let next = sequences.entry(book).or_insert(0_u64);
            assert_eq!(sequence, *next);
            *next += 1;
        }
        assert_eq!(sequences.len(), BOOK_COUNT as usize);
    }
}
