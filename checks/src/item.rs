//! The events: each knows who published it, is counted while it exists, and shows if it was torn.

use crate::book::Book;
use crate::random::mix;
use ringbolt::{AsKey, Class, Event, Key};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who published an event, and its number there, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// A publisher; handlers of one worker are one too.
    pub publisher: u32,
    /// Rises with every event that the publisher makes.
    pub number: u32,
}

impl Id {
    /// A number that the id decides, another for every `salt`.
    #[must_use]
    pub fn drawn(self, salt: u64) -> u64 {
        mix((u64::from(self.publisher) << 32 | u64::from(self.number)).wrapping_add(mix(salt)))
    }
}

/// How many event types there are.
pub const KINDS: usize = 3;
const NAMES: [&str; KINDS] = ["checks.plain", "checks.wide", "checks.child"];

/// An event of type `KIND` with so many words of ballast.
#[derive(Debug)]
pub struct Item<const KIND: usize, const WORDS: usize> {
    /// Its publisher and number.
    pub id: Id,
    /// Events without a key are in no order.
    pub key: Option<u32>,
    /// The class it is published in.
    pub class: Class,
    ballast: [u64; WORDS],
    book: Arc<Book>,
}

/// Fits its slot; published from outside.
pub type Plain = Item<0, 0>;
/// Boxed; published from outside, taken by value.
pub type Wide = Item<1, 12>;
/// Fits its slot; published by handlers of [`Plain`].
pub type Child = Item<2, 1>;

impl<const KIND: usize, const WORDS: usize> Item<KIND, WORDS> {
    /// A new one, counted in the book.
    #[must_use]
    pub fn new(book: &Arc<Book>, id: Id, key: Option<u32>, class: Class) -> Self {
        book.made.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            key,
            class,
            ballast: [id.drawn(1); WORDS],
            book: Arc::clone(book),
        }
    }

    /// Whether every part is as it was made.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ballast.iter().all(|word| *word == self.id.drawn(1))
    }
}

impl<const KIND: usize, const WORDS: usize> Event for Item<KIND, WORDS> {
    const NAME: &'static str = NAMES[KIND];

    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

impl<const KIND: usize, const WORDS: usize> Drop for Item<KIND, WORDS> {
    fn drop(&mut self) {
        self.book.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
