//! When a breaker opens, how long it stays open, and how it finds out that things are better.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**

use std::time::Duration;

/// Most calls of a count window: 800 kB a worker, where every one of them fails.
pub(super) const WINDOW_CALLS_MAX: u32 = 100_000;
const WINDOW_TIME_MIN: Duration = Duration::from_millis(1);
const WINDOW_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most probes of an episode; they are counted in ten bits of the breaker's word.
pub(super) const PERMITS_MAX: u32 = 1_000;

/// Which calls a breaker judges by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls of each worker, 1 to 100,000. The workers' windows are summed.
    Count(u32),
    /// The calls of the last so long, a millisecond to a day. It is counted in tenths: nothing older than it counts, and
    /// what is younger than nine tenths of it always does.
    Time(Duration),
}

/// What happens to the events of a subscription while its breaker refuses calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnOpen {
    /// They wait, in order, and cost no attempt. What else they would have cost is bounded by the subscription's hold.
    #[default]
    Pause,
    /// They become letters.
    DeadLetter,
    /// They are counted as skipped.
    Skip,
}

/// The rules of a [`Breaker`](crate::Breaker).
///
/// ```
/// use ringbolt::{Breaker, BreakerPolicy, Window};
/// use std::time::Duration;
///
/// let policy = BreakerPolicy::new()
///     .window(Window::Count(50))
///     .failure_rate(0.25)
///     .minimum_calls(10)
///     .open_wait(Duration::from_millis(500));
/// let payments = Breaker::new("payments", policy)?;
/// # Ok::<(), ringbolt::Error>(())
/// ```
///
/// Bad settings are found by [`Breaker::new`](crate::Breaker::new), all of them at once.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct BreakerPolicy {
    pub(super) window: Window,
    pub(super) failure_rate: f64,
    pub(super) slow_call: Option<(Duration, f64)>,
    pub(super) minimum_calls: u32,
    pub(super) half_open_permits: u32,
    pub(super) open_wait: Duration,
    pub(super) open_wait_multiplier: f64,
    pub(super) open_wait_max: Duration,
    pub(super) probe_limit: Duration,
    pub(super) on_open: OnOpen,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window: Window::Count(100),
            failure_rate: 0.5,
            slow_call: None,
            minimum_calls: 20,
            half_open_permits: 3,
            open_wait: Duration::from_secs(1),
            open_wait_multiplier: 2.0,
            open_wait_max: Duration::from_secs(60),
            probe_limit: Duration::from_secs(30),
            on_open: OnOpen::Pause,
        }
    }
}

impl BreakerPolicy {
    /// The defaults: half of at least 20 of a worker's last 100 calls open it; after a second, then two, then four and
    /// up to a minute, three probes decide; slow calls do not matter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which calls are judged by. The last 100 calls by default: that holds whatever the load is, while a time window
    /// asks for a guess at it.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Opens when this part of the calls in the window, or more, has failed: above 0, at most 1. A half by default: less
    /// may be what a healthy dependency does on a bad day, and what fails by itself is the retries' to mend.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = rate;
        self
    }

    /// Opens also when this part of the calls in the window, or more, took longer than `slower_than`. A probe that takes
    /// longer counts as failed. Not by default: what is slow is known by you alone, and each call is then timed by
    /// itself.
    pub fn slow_call(mut self, slower_than: Duration, rate: f64) -> Self {
        self.slow_call = Some((slower_than, rate));
        self
    }

    /// Fewer calls in the window than this open nothing; at least 1, and no more than a count window holds. 20 by
    /// default: half of fewer says little.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// How many probes a half-open breaker lets through, all of which are to succeed for it to close: 1 to 1,000. 3 by
    /// default: one may succeed by luck.
    pub fn half_open_permits(mut self, permits: u32) -> Self {
        self.half_open_permits = permits;
        self
    }

    /// How long it stays open before the first probes. A second by default: long enough not to hammer, short enough to
    /// go unnoticed after a restart.
    pub fn open_wait(mut self, wait: Duration) -> Self {
        self.open_wait = wait;
        self
    }

    /// By how much the wait grows each time the probes fail; at least 1. Closing resets it. 2 by default.
    pub fn open_wait_multiplier(mut self, multiplier: f64) -> Self {
        self.open_wait_multiplier = multiplier;
        self
    }

    /// The longest wait; no shorter than the first. A minute by default: longer than that, nobody should have to wait
    /// for what has come back.
    pub fn open_wait_max(mut self, wait: Duration) -> Self {
        self.open_wait_max = wait;
        self
    }

    /// A probe that has not come back after this long does not hold the others up: the breaker opens again, and what
    /// comes of the probe counts no more. 30 seconds by default: longer than most handlers' limit.
    pub fn probe_limit(mut self, limit: Duration) -> Self {
        self.probe_limit = limit;
        self
    }

    /// What happens to events meanwhile. They wait by default: an open breaker loses nothing.
    pub fn on_open(mut self, on_open: OnOpen) -> Self {
        self.on_open = on_open;
        self
    }

    /// Says of each bad field what it is, what it may be, and what to do.
    pub(crate) fn check(&self, faults: &mut Vec<String>) {
        let mut fault = |field: &str, value: String, range: String, remedy: &str| {
            faults.push(format!("breaker.{field}: {value} is {range} ({remedy})"));
        };
        // Also true of NaN, which is neither.
        let is_no_rate = |rate: f64| !(rate > 0.0 && rate <= 1.0);
        match self.window {
            Window::Count(calls) if calls == 0 || calls > WINDOW_CALLS_MAX => fault(
                "window",
                format!("Count({calls})"),
                format!("outside 1 to {WINDOW_CALLS_MAX}"),
                "give the number of each worker's last calls to judge by",
            ),
            Window::Time(time) if time < WINDOW_TIME_MIN || time > WINDOW_TIME_MAX => fault(
                "window",
                format!("Time({time:?})"),
                format!("outside {WINDOW_TIME_MIN:?} to {WINDOW_TIME_MAX:?}"),
                "give the time to look back over",
            ),
            _ => {}
        }
        if is_no_rate(self.failure_rate) {
            fault(
                "failure_rate",
                self.failure_rate.to_string(),
                "not above 0 and at most 1".to_owned(),
                "0.5 opens when half of the calls fail",
            );
        }
        if let Some((slower_than, rate)) = self.slow_call {
            if slower_than.is_zero() {
                fault(
                    "slow_call.slower_than",
                    format!("{slower_than:?}"),
                    "not above 0".to_owned(),
                    "give the time that a call may take",
                );
            }
            if is_no_rate(rate) {
                fault(
                    "slow_call.rate",
                    rate.to_string(),
                    "not above 0 and at most 1".to_owned(),
                    "0.5 opens when half of the calls are slow",
                );
            }
        }
        match self.window {
            _ if self.minimum_calls == 0 => fault(
                "minimum_calls",
                "0".to_owned(),
                "below 1".to_owned(),
                "1 lets the first failure open the breaker",
            ),
            Window::Count(calls) if self.minimum_calls > calls => fault(
                "minimum_calls",
                self.minimum_calls.to_string(),
                format!("above {calls}, the calls in breaker.window"),
                "no worker's window would ever hold enough: ask for fewer, or widen the window",
            ),
            _ => {}
        }
        if self.half_open_permits == 0 || self.half_open_permits > PERMITS_MAX {
            fault(
                "half_open_permits",
                self.half_open_permits.to_string(),
                format!("outside 1 to {PERMITS_MAX}"),
                "give the number of probes that are to succeed",
            );
        }
        if self.open_wait.is_zero() {
            fault(
                "open_wait",
                format!("{:?}", self.open_wait),
                "not above 0".to_owned(),
                "give the time before the first probes",
            );
        }
        if !(self.open_wait_multiplier >= 1.0 && self.open_wait_multiplier.is_finite()) {
            fault(
                "open_wait_multiplier",
                self.open_wait_multiplier.to_string(),
                "not finite and at least 1".to_owned(),
                "1 waits as long each time",
            );
        }
        if self.open_wait_max < self.open_wait {
            fault(
                "open_wait_max",
                format!("{:?}", self.open_wait_max),
                format!("below {:?}, which is breaker.open_wait", self.open_wait),
                "give the longest wait",
            );
        }
        if self.probe_limit.is_zero() {
            fault(
                "probe_limit",
                format!("{:?}", self.probe_limit),
                "not above 0".to_owned(),
                "give the time after which a probe is given up",
            );
        }
    }

    /// How long the breaker stays open, the `openings`th time in a row (from 1).
    pub(super) fn wait_ns(&self, openings: u32) -> u64 {
        let exponent = i32::try_from(openings.saturating_sub(1)).unwrap_or(i32::MAX);
        let wait = self.open_wait.as_nanos() as f64 * self.open_wait_multiplier.powi(exponent);
        // A float that is too large, infinity included, becomes the largest number.
        (wait as u64).min(ns(self.open_wait_max))
    }
}

/// As nanoseconds; what is longer than 584 years is forever.
pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
