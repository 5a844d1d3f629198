//! How many letters are kept, and what happens when there is no room for one more.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::LetterView;
use crate::outcome::{IntoOutcome, Outcome};
use crate::sync::Arc;
use std::fmt;

/// Letters that are kept where nothing else is said.
const CAPACITY: usize = 65_536;
/// Most letters that may be asked for.
const CAPACITY_MAX: usize = 1 << 30;

/// What happens when a letter finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The subscription waits, its key with it, until there is room. Nothing is lost.
    #[default]
    Pause,
    /// The oldest letter that is not being redelivered makes room; it is counted and told.
    EvictOldest,
    /// The delivery ends as failed; it is counted and told.
    Refuse,
}

/// What a dead-letter observer is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum LetterEvent<'a> {
    /// A delivery failed for good and is kept.
    Kept(&'a LetterView),
    /// The oldest letter had to make room.
    Evicted(&'a LetterView),
    /// There was no room for this letter, and it is gone.
    Refused(&'a LetterView),
    /// There is no room for this letter, and its subscription waits for some.
    Paused(&'a LetterView),
}

pub(super) type Observer = Arc<dyn Fn(&LetterEvent<'_>) -> Outcome + Send + Sync>;

/// The settings of the dead-letter queue.
///
/// ```
/// use ringbolt::{DeadLetterPolicy, LetterEvent, Overflow};
///
/// let policy = DeadLetterPolicy::new()
///     .capacity(10_000)
///     .overflow(Overflow::EvictOldest)
///     .observer(|event: &LetterEvent<'_>| eprintln!("{event:?}"));
/// ```
#[derive(Clone)]
pub struct DeadLetterPolicy {
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    pub(super) observer: Option<Observer>,
}

impl DeadLetterPolicy {
    /// 65,536 letters; a subscription that finds no room waits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            capacity: CAPACITY,
            overflow: Overflow::default(),
            observer: None,
        }
    }

    /// How many letters are kept, from 1 to 2^30. With three attempts and messages of a line a letter takes
    /// less than 512 bytes beside its event.
    #[must_use]
    pub fn capacity(mut self, letters: usize) -> Self {
        self.capacity = letters;
        self
    }

    /// What happens when there is no room.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Is told of letters as they come and as they are lost, on the thread where it happens: be quick. An observer
    /// that fails or panics is counted; nothing else follows from it.
    #[must_use]
    pub fn observer<R: IntoOutcome>(
        mut self,
        observer: impl Fn(&LetterEvent<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(move |event: &LetterEvent<'_>| {
            observer(event).into_outcome()
        }));
        self
    }

    /// One text for each setting that is outside its range.
    pub(crate) fn check(&self, faults: &mut Vec<String>) {
        let capacity = self.capacity;
        if capacity == 0 {
            faults.push(
                "dead_letters.capacity: 0 is below 1 (give at least 1: letters are kept somewhere)"
                    .to_owned(),
            );
        } else if capacity > CAPACITY_MAX {
            faults.push(format!(
                "dead_letters.capacity: {capacity} is above {CAPACITY_MAX} (give at most that, and export letters that are to stay)"
            ));
        }
    }
}

impl Default for DeadLetterPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DeadLetterPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterPolicy")
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
