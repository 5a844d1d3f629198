//! What may be forgotten: whole segments from the front, by count, bytes or age, and never what somebody has pinned.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// When a segment may be freed: as soon as what is left without it is within all limits that are set, or it is
/// too old. Nothing set: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    events: Option<u64>,
    bytes: Option<u64>,
    age: Option<Duration>,
}

impl Retention {
    /// Everything is kept.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            events: None,
            bytes: None,
            age: None,
        }
    }

    /// At least so many of the latest records are kept.
    #[must_use]
    pub const fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// At least so many bytes of segments are kept.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Everything younger is kept.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Whether a segment may go: `events` and `bytes` would be left, and its last record is `age_ns` old.
    pub(crate) fn lets_go(&self, events: u64, bytes: u64, age_ns: u64) -> bool {
        if self.events.is_none() && self.bytes.is_none() && self.age.is_none() {
            return false;
        }
        self.events.is_none_or(|kept| events >= kept)
            && self.bytes.is_none_or(|kept| bytes >= kept)
            && self
                .age
                .is_none_or(|kept| u128::from(age_ns) >= kept.as_nanos())
    }
}

/// Positions that somebody still needs.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Vec<Weak<AtomicU64>>>);

impl Pins {
    /// The first position that is needed; `u64::MAX` for none.
    pub(crate) fn first(&self) -> u64 {
        let mut pins = self.0.lock();
        pins.retain(|pin| pin.strong_count() > 0);
        pins.iter()
            .filter_map(Weak::upgrade)
            .map(|pin| pin.load(Ordering::Relaxed))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Keeps everything from this position on until the pin is moved or dropped. The append's lock is held, so that what
    /// was found to be there is there.
    pub(crate) fn add(&self, position: u64) -> RetentionPin {
        let pin = Arc::new(AtomicU64::new(position));
        self.0.lock().push(Arc::downgrade(&pin));
        RetentionPin(pin)
    }
}

/// Keeps records from being freed: everything from its position on. Dropped, it keeps nothing.
#[derive(Debug)]
pub struct RetentionPin(Arc<AtomicU64>);

impl RetentionPin {
    /// The same pin, for somebody else who looks at it.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The first position that is kept.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets go of what lies before `position`; a pin never moves back.
    pub fn advance(&self, position: u64) {
        // Relaxed: a later look keeps a segment more, no less.
        self.0.fetch_max(position, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_goes_when_all_limits_let_it() {
        let check = |retention: Retention, expected: [bool; 4]| {
            let cases = [(9, 90, 5), (10, 100, 5), (10, 100, 7), (9, 100, 7)];
            let found = cases.map(|(events, bytes, age)| retention.lets_go(events, bytes, age));
            assert_eq!(found, expected, "{retention:?}");
        };
        check(Retention::everything(), [false; 4]);
        check(Retention::default().events(10), [false, true, true, false]);
        check(Retention::default().bytes(100), [false, true, true, true]);
        check(
            Retention::default().age(Duration::from_nanos(6)),
            [false, false, true, true],
        );
        check(
            Retention::default().events(10).age(Duration::from_nanos(6)),
            [false, false, true, false],
        );
    }

    #[test]
    fn the_first_pin_counts_until_it_is_gone() {
        let pins = Pins::default();
        assert_eq!(pins.first(), u64::MAX);
        let (first, second) = (pins.add(5), pins.add(9));
        assert_eq!(pins.first(), 5);
        first.advance(20);
        first.advance(3);
        assert_eq!((pins.first(), first.position()), (9, 20));
        drop(second);
        assert_eq!(pins.first(), 20);
    }
}
