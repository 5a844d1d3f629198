//! What happens with an event that cannot be applied, and the list of those that were left out.

use crate::event::EventId;
use crate::store::Record;
use std::collections::VecDeque;
use std::time::Duration;

/// What a projection does with an event that its functions refuse, or panic over (PC2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// With the first one.
    pub(crate) attempts_max: u32,
    pub(crate) delay: Duration,
    pub(crate) is_skipping: bool,
}

impl ErrorPolicy {
    /// The projection fails and stays where it is: the view is as it was before the event.
    #[must_use]
    pub const fn stop() -> Self {
        Self {
            attempts_max: 1,
            delay: Duration::ZERO,
            is_skipping: false,
        }
    }

    /// The event is left out, and noted with the reason.
    #[must_use]
    pub const fn skip() -> Self {
        Self {
            is_skipping: true,
            ..Self::stop()
        }
    }

    /// The event is tried so many times, the first included, with this delay between; then the projection fails, or, with
    /// [`then_skip`](Self::then_skip), leaves it out.
    #[must_use]
    pub const fn retry(attempts_max: u32, delay: Duration) -> Self {
        Self {
            attempts_max,
            delay,
            is_skipping: false,
        }
    }

    /// Leaves out what has failed every time.
    #[must_use]
    pub const fn then_skip(mut self) -> Self {
        self.is_skipping = true;
        self
    }
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self::stop()
    }
}

/// An event that was left out: the dead letter of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its position in the log, where it still is.
    pub position: u64,
    /// Its stream.
    pub stream: String,
    /// Its version in the stream.
    pub version: u64,
    /// Its type.
    pub event_type: String,
    /// Its id.
    pub id: EventId,
    /// How often it was tried.
    pub attempts: u32,
    /// What was wrong, the last time.
    pub reason: String,
}

impl Skipped {
    pub(crate) fn of(record: &Record<'_>, attempts: u32, reason: String) -> Self {
        Self {
            position: record.position(),
            stream: record.stream().to_owned(),
            version: record.version(),
            event_type: record.event_type().to_owned(),
            id: record.id(),
            attempts,
            reason,
        }
    }
}

/// The latest events that were left out, and how many there were.
#[derive(Debug, Clone)]
pub(crate) struct SkippedList {
    latest: VecDeque<Skipped>,
    bound: usize,
    count: u64,
}

impl SkippedList {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            latest: VecDeque::new(),
            bound,
            count: 0,
        }
    }

    pub(crate) fn push(&mut self, skipped: Skipped) {
        self.count += 1;
        if self.latest.len() >= self.bound {
            self.latest.pop_front();
        }
        if self.bound > 0 {
            self.latest.push_back(skipped);
        }
    }

    pub(crate) fn latest(&self) -> impl Iterator<Item = &Skipped> {
        self.latest.iter()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_all_are_counted() {
        let mut list = SkippedList::new(2);
        for position in 0..5 {
            list.push(Skipped {
                position,
                stream: String::new(),
                version: 0,
                event_type: String::new(),
                id: EventId::from_u128(1).unwrap(),
                attempts: 1,
                reason: String::new(),
            });
        }
        let kept: Vec<u64> = list.latest().map(|skipped| skipped.position).collect();
        assert_eq!((kept, list.count()), (vec![3, 4], 5));
    }
}
