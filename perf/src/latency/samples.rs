//! Times as they come in, each kept, so that percentiles are exact.

use super::Percentiles;
use crate::statistics::percentile;
use ringbolt::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A round that takes longer has lost an event or hangs.
const ROUND_LIMIT: Duration = Duration::from_secs(30);

/// The receiver's notes; one thread writes, another reads when all is there.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Samples {
    count: AtomicUsize,
    warm_up: usize,
    waits_ns: Box<[AtomicU64]>,
    clock: Clock,
    waiting: Thread,
}

impl Samples {
    /// The thread that calls is the one that has to [`finish`](Self::finish).
    pub(super) fn new(warm_up: usize, events: usize) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            warm_up,
            // Written once now, so that no page is missing later.
            waits_ns: (0..events).map(|_| AtomicU64::new(u64::MAX)).collect(),
            clock: Clock::real(),
            waiting: thread::current(),
        })
    }

    /// An event that was due at that stamp has reached its handler.
    #[inline(always)]
    pub(super) fn arrived(&self, due: u64) {
        let now = self.clock.raw();
        let count = self.count.load(Ordering::Relaxed);
        if let Some(index) = count.checked_sub(self.warm_up)
            && let Some(place) = self.waits_ns.get(index)
        {
            place.store(self.clock.delta_ns(due, now), Ordering::Relaxed);
        }
        // Release: who sees the count sees the times.
        self.count.store(count + 1, Ordering::Release);
        if count + 1 == self.expected() {
            self.waiting.unpark();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn expected(&self) -> usize {
        self.warm_up + self.waits_ns.len()
    }

    /// Waits for all events.
    pub(super) fn finish(&self) -> Result<Percentiles, String> {
        let limit = Instant::now() + ROUND_LIMIT;
        while self.count() < self.expected() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "{} of {} events came within {} s",
                    self.count(),
                    self.expected(),
                    ROUND_LIMIT.as_secs()
                ));
            }
            thread::park_timeout(left);
        }
        Ok(self.percentiles())
    }

    fn percentiles(&self) -> Percentiles {
        let mut sorted: Vec<u64> = self
            .waits_ns
            .iter()
            .map(|wait| wait.load(Ordering::Relaxed))
            .collect();
        sorted.sort_unstable();
        Percentiles {
            p50: percentile(&sorted, 50.0),
            p90: percentile(&sorted, 90.0),
            p99: percentile(&sorted, 99.0),
            max: percentile(&sorted, 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_during_the_warm_up_does_not_count() {
        let samples = Samples::new(2, 3);
        let long_ago = 0;
        samples.arrived(long_ago);
        samples.arrived(long_ago);
        for _ in 0..3 {
            samples.arrived(samples.clock.raw());
        }
        let percentiles = samples.finish().expect("all events are here");
        assert!(percentiles.max < 1_000_000_000, "{percentiles:?}");
        assert!(percentiles.p50 <= percentiles.p99, "{percentiles:?}");
    }
}
