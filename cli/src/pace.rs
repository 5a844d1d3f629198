//! When an event is due.
//!
//! Open loop: the plan does not depend on how the engine keeps up. An event that is published late has
//! its latency counted from the moment it was due, so that waiting is not hidden.

use crate::stop::Stop;
use ringbolt::Clock;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// Sleeping ends this long before the moment and the rest is spun: the timer of an ordinary system is
/// late by about so much.
const SPIN_NS: u64 = 150_000;
/// Longest sleep between two looks at the stop flag.
const NAP: Duration = Duration::from_millis(50);

/// The plan by which events are published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plan {
    /// As fast as it goes.
    FullSpeed,
    /// So many events per second.
    Rate(f64),
    /// By the events' own times, so many times as fast.
    Speed(f64),
}

/// A plan, which begins when the first event asks when it is due: input may be long in coming, and that is nobody's
/// latency. Cheap to clone: every publisher has the same beginning.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    plan: Plan,
    clock: Clock,
    start_raw: Arc<OnceLock<u64>>,
}

impl Pace {
    pub(crate) fn new(plan: Plan, clock: &Clock) -> Self {
        Self {
            plan,
            clock: clock.clone(),
            start_raw: Arc::default(),
        }
    }

    /// Whether events are due by their own times.
    pub(crate) fn needs_times(&self) -> bool {
        matches!(self.plan, Plan::Speed(_))
    }

    /// The stamp at which an event is due, by its place in the input and by its own time since the
    /// first event; `None` at full speed.
    pub(crate) fn due(&self, index: u64, since_first_ns: u64) -> Option<u64> {
        let after_s = match self.plan {
            Plan::FullSpeed => return None,
            Plan::Rate(rate) => index as f64 / rate,
            Plan::Speed(speed) => since_first_ns as f64 / 1e9 / speed,
        };
        let after = Duration::try_from_secs_f64(after_s).unwrap_or(Duration::MAX);
        let start_raw = *self.start_raw.get_or_init(|| self.clock.raw());
        Some(self.clock.raw_after(start_raw, after))
    }

    /// Waits for a moment; `false` if the run should end first.
    pub(crate) fn wait_until(&self, due_raw: u64, stop: &Stop) -> bool {
        loop {
            if stop.is_asked() {
                return false;
            }
            let left_ns = self.clock.delta_ns(self.clock.raw(), due_raw);
            match left_ns {
                0 => return true,
                1..=SPIN_NS => thread::yield_now(),
                _ => thread::sleep(Duration::from_nanos(left_ns - SPIN_NS).min(NAP)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_by_the_plan() {
        let (clock, _hand) = Clock::manual();
        let due_ns = |plan, index, since| {
            Pace::new(plan, &clock)
                .due(index, since)
                .map(|raw| clock.delta_ns(clock.raw(), raw))
        };
        assert_eq!(due_ns(Plan::FullSpeed, 7, 7), None);
        assert_eq!(due_ns(Plan::Rate(1_000.0), 5, 0), Some(5_000_000));
        assert_eq!(
            due_ns(Plan::Speed(200.0), 5, 2_000_000_000),
            Some(10_000_000)
        );
    }

    #[test]
    fn a_plan_begins_with_its_first_event() {
        let (clock, hand) = Clock::manual();
        let pace = Pace::new(Plan::Rate(1.0), &clock);
        hand.advance(Duration::from_secs(100));
        let first = pace.due(0, 0).expect("a rate makes plans");
        assert_eq!(first, clock.raw());
        hand.advance(Duration::from_secs(1));
        assert_eq!(pace.clone().due(1, 0), Some(clock.raw()));
    }

    #[test]
    fn waiting_ends_when_the_run_does() {
        let (clock, hand) = Clock::manual();
        let pace = Pace::new(Plan::Rate(1.0), &clock);
        let due = pace.due(1, 0).expect("a rate makes plans");
        let stop = Stop::default();
        hand.advance(Duration::from_secs(1));
        assert!(pace.wait_until(due, &stop));
        stop.ask();
        assert!(!pace.wait_until(due, &stop));
    }
}
