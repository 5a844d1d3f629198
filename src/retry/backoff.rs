//! What follows a failed attempt: a pure function of the policy, the failure, and the time gone by.
//!
//! publish → route → lane → worker → handler → outcome → **retry**

use super::{Jitter, RetryPolicy};
use crate::outcome::{Advice, Failure};
use std::time::Duration;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// Another attempt, not before this long from now.
    After(Duration),
    /// None: the delivery has failed for good.
    GiveUp(GiveUp),
}

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GiveUp {
    /// The failure said so.
    Permanent,
    /// The attempts are used up.
    Exhausted,
    /// The next one would begin after `max_elapsed`.
    Elapsed,
    /// The policy's predicate said so.
    Declined,
}

/// What follows attempt number `attempt` (from 1), which ended in `failure`; `elapsed` since the first attempt began.
///
/// The first that holds of: the failure is permanent; the predicate declines it; the attempts are used up; the retry
/// would begin too late. The predicate is the user's code: where it panics, so does this, with nothing changed but
/// by the predicate.
pub(crate) fn decide(
    policy: &RetryPolicy,
    attempt: u32,
    failure: &Failure,
    elapsed: Duration,
    random: &mut Random,
) -> Next {
    debug_assert!(attempt > 0, "attempts are counted from 1");
    let advice = failure.advice();
    if advice == Advice::Permanent {
        return Next::GiveUp(GiveUp::Permanent);
    }
    if policy
        .retry_if
        .as_ref()
        .is_some_and(|retry| !retry(failure))
    {
        return Next::GiveUp(GiveUp::Declined);
    }
    if attempt >= policy.max_attempts {
        return Next::GiveUp(GiveUp::Exhausted);
    }
    let delay = match advice {
        Advice::RetryAfter(delay) => delay,
        _ => scatter(policy.delay(attempt), policy.jitter, random),
    };
    if policy
        .max_elapsed
        .is_some_and(|limit| elapsed.saturating_add(delay) > limit)
    {
        return Next::GiveUp(GiveUp::Elapsed);
    }
    Next::After(delay)
}

/// `min(max_delay, base * multiplier^(n-1))` for every `n`, settings out of range included.
pub(super) fn backoff(base: Duration, multiplier: f64, max_delay: Duration, n: u32) -> Duration {
    if n <= 1 {
        return base.min(max_delay);
    }
    let delay_ns = base.as_nanos() as f64 * power(multiplier, n - 1);
    // The cast takes what is too large, infinity included, for the largest; and NaN, which is 0 times infinity, for 0.
    Duration::from_nanos(delay_ns.round() as u64).min(max_delay)
}

/// By squaring, and not by `powi` or `powf`: those may differ in the last digit from one machine to the next, and a
/// seed is to give the same delays on all of them.
fn power(mut factor: f64, mut exponent: u32) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= factor;
        }
        factor *= factor;
        exponent >>= 1;
    }
    product
}

fn scatter(delay: Duration, jitter: Jitter, random: &mut Random) -> Duration {
    // 584 years; nobody sees a longer delay end.
    let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    match jitter {
        Jitter::None => delay,
        Jitter::Full => Duration::from_nanos(random.up_to(delay_ns)),
        Jitter::Equal => {
            let half_ns = delay_ns / 2;
            Duration::from_nanos(delay_ns - half_ns + random.up_to(half_ns))
        }
        Jitter::Additive(share) => {
            let most_ns = (delay_ns as f64 * share) as u64;
            delay.saturating_add(Duration::from_nanos(random.up_to(most_ns)))
        }
    }
}

/// Random numbers that a seed repeats: splitmix64 (Guy Steele, Doug Lea, Christine Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014, with the constants of Sebastiano Vigna's public-domain version).
///
/// Made for scattering: 8 bytes, a period of 2^64, and every seed as good as another. Not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Any of 0 to `most`, each as likely as another but for one part in 2^64 / `most` (Lemire, "Fast random integer
    /// generation in an interval", without its correction).
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        ((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u64
    }
}
