//! A subscription's policy for what fails, and the presets.
//!
//! publish → route → lane → worker → handler → outcome → **retry**

use super::Random;
use super::backoff::backoff;
use crate::outcome::Failure;
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// Deliveries that a subscription may hold on each worker, if nothing is said.
const HELD_MAX: usize = 65_536;

/// How often and how far apart a failed delivery is tried again, for one subscription (RO1).
///
/// Attempts are counted from 1, the first call included. Behind attempt `n` lies a delay of
///
/// ```text
/// delay(n) = min(max_delay, base * multiplier^(n-1))
/// ```
///
/// which [`Jitter`] then scatters. A failure that advises
/// [`RetryAfter(d)`](crate::Advice::RetryAfter) waits for `d` instead, unscattered and with no regard to
/// `max_delay`; one that is [`Permanent`](crate::Advice::Permanent) is not tried again (RO4). Panics and observed
/// timeouts are failures like others; [`retry_if`](Self::retry_if) can tell them apart.
///
/// While a delivery waits, later events of its key wait behind it; [`held_max`](Self::held_max) bounds how many.
///
/// Start from a preset and change what does not fit:
///
/// ```
/// use ringbolt::{FailureKind, Jitter, RetryPolicy};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::standard()
///     .max_attempts(6)
///     .base(Duration::from_millis(10))
///     .max_delay(Duration::from_millis(100))
///     .jitter(Jitter::None)
///     .retry_if(|failure| failure.kind() != FailureKind::Panic);
///
/// let delays: Vec<_> = (1..6).map(|n| policy.delay(n).as_millis()).collect();
/// assert_eq!(delays, [10, 20, 40, 80, 100]);
/// ```
///
/// Nothing is refused while a policy is put together. Registering the subscription checks it, and an
/// [`Error`](crate::Error) names every field that is out of range.
#[derive(Clone)]
pub struct RetryPolicy {
    pub(crate) max_attempts: u32,
    pub(crate) base: Duration,
    pub(crate) multiplier: f64,
    pub(crate) max_delay: Duration,
    pub(crate) max_elapsed: Option<Duration>,
    pub(crate) jitter: Jitter,
    pub(crate) seed: Option<u64>,
    pub(crate) retry_if: Option<Arc<Predicate>>,
    pub(crate) held_max: usize,
    pub(crate) when_held_full: WhenHeldFull,
}

pub(crate) type Predicate = dyn Fn(&Failure) -> bool + Send + Sync;

/// How delays are scattered, so that what failed together does not come back together.
///
/// Full and equal jitter are those of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog,
/// 2015), which compares them by simulation: full does the least work, equal never comes back at once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Jitter {
    /// Not at all: the delay as computed.
    None,
    /// Anything from 0 to the delay.
    #[default]
    Full,
    /// Half of the delay, and anything up to the other half.
    Equal,
    /// The delay, and anything up to this share of it on top: 0 to 1. May pass `max_delay` by that share, as
    /// what waits for the longest delay needs scattering the most.
    Additive(f64),
}

/// What a worker does with an event that has to be held for a subscription which holds
/// [`held_max`](RetryPolicy::held_max) there already (PD12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenHeldFull {
    /// The worker takes nothing from outside until there is room: nothing is lost, and whatever else that worker
    /// handles waits too. The engine's status names the subscription.
    #[default]
    BackPressure,
    /// That subscription's delivery is dead-lettered.
    DeadLetter,
    /// That subscription's delivery ends as skipped, and is counted.
    Skip,
}

impl RetryPolicy {
    /// One attempt: what fails has failed for good.
    ///
    /// For handlers that must not run twice, and where somebody else tries again.
    #[must_use]
    pub fn none() -> Self {
        Self {
            max_attempts: 1,
            base: Duration::ZERO,
            multiplier: 1.0,
            max_delay: Duration::ZERO,
            max_elapsed: None,
            jitter: Jitter::None,
            seed: None,
            retry_if: None,
            held_max: HELD_MAX,
            when_held_full: WhenHeldFull::default(),
        }
    }

    /// Three attempts, without a delay between them.
    ///
    /// For what passes by being done again, such as an update whose version has moved on. No more than three:
    /// without a delay whatever lasts is met again at once, and trying takes the worker's time from others.
    #[must_use]
    pub fn immediate() -> Self {
        Self::none().max_attempts(3)
    }

    /// Six attempts, 1 ms doubled up to 20 ms, full jitter: at most 31 ms of waiting.
    ///
    /// For contention inside the process or the machine: a lock that is held, a queue that is full, a file that is
    /// being renamed. Such things pass within milliseconds; what has not by then is something else.
    #[must_use]
    pub fn fast() -> Self {
        Self::none()
            .max_attempts(6)
            .base(Duration::from_millis(1))
            .multiplier(2.0)
            .max_delay(Duration::from_millis(20))
            .jitter(Jitter::Full)
    }

    /// Five attempts, 100 ms doubled up to 10 s, full jitter, within a minute: at most 1.5 s of waiting. The
    /// default.
    ///
    /// For a call over the network. 100 ms is longer than a lost packet or a failover of a connection takes, and
    /// the fifth attempt is soon enough that an event is not stale; full jitter, as all clients of a service see it
    /// fail at the same time. The minute counts for handlers that are themselves slow to fail.
    #[must_use]
    pub fn standard() -> Self {
        Self::none()
            .max_attempts(5)
            .base(Duration::from_millis(100))
            .multiplier(2.0)
            .max_delay(Duration::from_secs(10))
            .max_elapsed(Duration::from_secs(60))
            .jitter(Jitter::Full)
    }

    /// Twenty attempts, 1 s doubled up to 5 min, equal jitter, within an hour.
    ///
    /// For a service that may be down until somebody has been woken up. Equal jitter, as half of every delay is
    /// sure to pass: full jitter would spend attempts in the first seconds of an outage. The events behind the one
    /// that waits are held all the while, so look at [`held_max`](Self::held_max), and consider a circuit breaker
    /// in front.
    #[must_use]
    pub fn patient() -> Self {
        Self::none()
            .max_attempts(20)
            .base(Duration::from_secs(1))
            .multiplier(2.0)
            .max_delay(Duration::from_secs(300))
            .max_elapsed(Duration::from_secs(3_600))
            .jitter(Jitter::Equal)
    }

    /// How many calls a delivery gets, the first one included; at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The delay behind the first attempt; at most `max_delay`.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// By how much each delay is longer than the one before; finite and at least 1, which keeps them equal.
    #[must_use]
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// Where delays stop growing.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// No attempt begins later than this after the first one began; `None` for no limit. A retry that would is not
    /// waited for: the delivery fails for good at once.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: impl Into<Option<Duration>>) -> Self {
        self.max_elapsed = elapsed.into();
        self
    }

    /// How delays are scattered.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Where the randomness of jitter starts: the same seed gives each worker the same row of delays in every run.
    /// Without one it is random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Only failures for which `predicate` is true are tried again; the others have failed for good. Replaces an
    /// earlier predicate. It is asked once for every failed attempt that is not permanent, on the worker's thread.
    #[must_use]
    pub fn retry_if(
        mut self,
        predicate: impl Fn(&Failure) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.retry_if = Some(Arc::new(predicate));
        self
    }

    /// How many deliveries the subscription may hold on each worker: those that wait for a retry, and the events
    /// that wait behind them. At least 1; 65,536 if nothing is said.
    #[must_use]
    pub fn held_max(mut self, deliveries: usize) -> Self {
        self.held_max = deliveries;
        self
    }

    /// What happens when so many are held.
    #[must_use]
    pub fn when_held_full(mut self, policy: WhenHeldFull) -> Self {
        self.when_held_full = policy;
        self
    }

    /// The delay behind attempt `n`, counted from 1, before jitter (0 is answered like 1). At most `max_delay` for
    /// every `n`, and to the nanosecond as far as an `f64` is.
    #[must_use]
    pub fn delay(&self, n: u32) -> Duration {
        backoff(self.base, self.multiplier, self.max_delay, n)
    }

    /// The randomness of one worker; no two workers draw the same row.
    pub(crate) fn random(&self, worker: usize) -> Random {
        let seed = self.seed.unwrap_or_else(|| Uuid::new_v4().as_u128() as u64);
        // Seeds that lie close together give rows that have nothing in common once a step has mixed them.
        Random::new(seed ^ Random::new(worker as u64).next())
    }

    /// Adds a text for every field that is out of range.
    pub(crate) fn check(&self, faults: &mut Vec<String>) {
        let mut fault = |field: &str, text: String| faults.push(format!("retry.{field}: {text}"));
        if self.max_attempts == 0 {
            fault(
                "max_attempts",
                "0 is below 1 (give at least 1: the first call counts)".to_owned(),
            );
        }
        if self.base > self.max_delay {
            fault(
                "base",
                format!(
                    "{:?} is above max_delay, {:?} (give a base of 0 to max_delay)",
                    self.base, self.max_delay
                ),
            );
        }
        let multiplier = self.multiplier;
        if multiplier.is_nan() {
            fault(
                "multiplier",
                "NaN is not a number (give a finite number of at least 1)".to_owned(),
            );
        } else if multiplier < 1.0 {
            fault(
                "multiplier",
                format!(
                    "{multiplier} is below 1 (delays do not shrink: give 1 to keep them equal)"
                ),
            );
        } else if multiplier.is_infinite() {
            fault(
                "multiplier",
                format!("{multiplier} is not finite (give a finite number of at least 1)"),
            );
        }
        if self.max_elapsed == Some(Duration::ZERO) {
            fault(
                "max_elapsed",
                "0ns is no time at all (give more than 0, or None for no limit)".to_owned(),
            );
        }
        if let Jitter::Additive(share) = self.jitter
            && !(0.0..=1.0).contains(&share)
        {
            fault(
                "jitter",
                format!(
                    "a share of {share} is not within 0 to 1 (give the share of the delay that may be added)"
                ),
            );
        }
        if self.held_max == 0 {
            fault(
                "held_max",
                "0 is below 1 (give at least 1: what waits for its retry is held)".to_owned(),
            );
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::standard()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("base", &self.base)
            .field("multiplier", &self.multiplier)
            .field("max_delay", &self.max_delay)
            .field("max_elapsed", &self.max_elapsed)
            .field("jitter", &self.jitter)
            .field("seed", &self.seed)
            .field("has_retry_if", &self.retry_if.is_some())
            .field("held_max", &self.held_max)
            .field("when_held_full", &self.when_held_full)
            .finish()
    }
}
