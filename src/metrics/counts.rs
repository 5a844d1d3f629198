//! What became of deliveries, counted.
//!
//! A delivery is one event for one subscription. Every admitted delivery ends exactly once, in one
//! of six ways, so that once the engine is quiet
//! `admitted = handled + failed + skipped + withdrawn + abandoned`.

use serde::Serialize;

/// Counts of deliveries by outcome, of one subscription or of all.
///
/// A snapshot taken while events flow reads outcomes before admissions: it never shows more ended
/// than begun, and the difference is what is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryCounts {
    /// Deliveries that began: the event was admitted and the subscription was to see it.
    pub admitted: u64,
    /// The handler said so.
    pub handled: u64,
    /// The handler failed for good, or panicked, and no dead-letter queue took the event.
    pub failed: u64,
    /// The handler failed for good, and the event is kept as a letter.
    pub dead_lettered: u64,
    /// The handler declined.
    pub skipped: u64,
    /// The subscription was withdrawn before its handler was called.
    pub withdrawn: u64,
    /// Shutdown ended before the handler was called.
    pub abandoned: u64,
}

/// What attempts came to, of one subscription or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttemptCounts {
    /// Attempts that failed, by error, panic or timeout, whatever followed.
    pub failed_attempts: u64,
    /// Failed attempts that another one was to follow.
    pub retries: u64,
    /// Calls that took longer than their subscription's limit.
    pub timeouts: u64,
    /// Deliveries that wait on their worker at this moment: for a retry, behind one, or for a breaker.
    pub held: u64,
}

impl AttemptCounts {
    /// Adds `other` to these counts.
    pub fn add(&mut self, other: &Self) {
        self.failed_attempts += other.failed_attempts;
        self.retries += other.retries;
        self.timeouts += other.timeouts;
        self.held += other.held;
    }
}

impl DeliveryCounts {
    /// Deliveries that have reached their outcome.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.handled
            + self.failed
            + self.dead_lettered
            + self.skipped
            + self.withdrawn
            + self.abandoned
    }

    /// Deliveries that have begun and not ended; 0 once the engine is quiet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        // Counts from several subscriptions may be put together by a user in any order: a wrong sum
        // should read as nothing in flight, not as 2^64 deliveries.
        self.admitted.saturating_sub(self.ended())
    }

    /// Adds `other` to these counts.
    pub fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.handled += other.handled;
        self.failed += other.failed;
        self.dead_lettered += other.dead_lettered;
        self.skipped += other.skipped;
        self.withdrawn += other.withdrawn;
        self.abandoned += other.abandoned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(ended: [u32; 6], in_flight: u32) -> DeliveryCounts {
        let [
            handled,
            failed,
            dead_lettered,
            skipped,
            withdrawn,
            abandoned,
        ] = ended.map(u64::from);
        DeliveryCounts {
            admitted: ended.map(u64::from).iter().sum::<u64>() + u64::from(in_flight),
            handled,
            failed,
            dead_lettered,
            skipped,
            withdrawn,
            abandoned,
        }
    }

    proptest! {
        #[test]
        fn every_outcome_ends_a_delivery(ended: [u32; 6], in_flight: u32) {
            let counts = counts(ended, in_flight);
            prop_assert_eq!(counts.in_flight(), u64::from(in_flight));
            prop_assert_eq!(counts.ended() + counts.in_flight(), counts.admitted);
        }

        #[test]
        fn sums_keep_the_balance(a: [u32; 6], b: [u32; 6], a_open: u32, b_open: u32) {
            let mut sum = counts(a, a_open);
            sum.add(&counts(b, b_open));
            prop_assert_eq!(sum.in_flight(), u64::from(a_open) + u64::from(b_open));
            prop_assert_eq!(sum.handled, u64::from(a[0]) + u64::from(b[0]));
            prop_assert_eq!(sum.failed, u64::from(a[1]) + u64::from(b[1]));
            prop_assert_eq!(sum.dead_lettered, u64::from(a[2]) + u64::from(b[2]));
            prop_assert_eq!(sum.skipped, u64::from(a[3]) + u64::from(b[3]));
            prop_assert_eq!(sum.withdrawn, u64::from(a[4]) + u64::from(b[4]));
            prop_assert_eq!(sum.abandoned, u64::from(a[5]) + u64::from(b[5]));
        }
    }

    #[test]
    fn more_ended_than_begun_is_nothing_in_flight() {
        let counts = DeliveryCounts {
            admitted: 1,
            handled: 2,
            ..DeliveryCounts::default()
        };
        assert_eq!(counts.in_flight(), 0);
    }
}
