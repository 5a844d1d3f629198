//! Delays against the contract's row and against whole numbers, jitter by its bounds, decisions and faults by table.

use super::backoff::backoff;
use super::*;
use crate::outcome::{Failure, FailureKind};
use proptest::prelude::*;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The contract's example: 10 ms doubled up to 100 ms, six attempts.
fn example() -> RetryPolicy {
    RetryPolicy::none()
        .max_attempts(6)
        .base(ms(10))
        .multiplier(2.0)
        .max_delay(ms(100))
}

fn check(policy: &RetryPolicy, attempt: u32, failure: Failure, elapsed: Duration, expected: Next) {
    let next = decide(policy, attempt, &failure, elapsed, &mut Random::new(1));
    assert_eq!(
        next, expected,
        "attempt {attempt}, {failure:?}, {elapsed:?}, {policy:?}"
    );
}

fn failure() -> Failure {
    Failure::new("no answer")
}

#[test]
fn ro1_six_attempts_start_at_0_10_30_70_150_and_250_ms() {
    let (policy, mut random) = (example(), Random::new(1));
    let mut starts = vec![Duration::ZERO];
    let gave_up = loop {
        let now = *starts.last().expect("the first attempt starts at once");
        match decide(&policy, starts.len() as u32, &failure(), now, &mut random) {
            Next::After(delay) => starts.push(now + delay),
            Next::GiveUp(why) => break why,
        }
    };
    assert_eq!(starts, [0, 10, 30, 70, 150, 250].map(ms));
    assert_eq!(gave_up, GiveUp::Exhausted);
}

#[test]
fn ro1_max_attempts_counts_the_first_call() {
    let one = example().max_attempts(1);
    check(&one, 1, failure(), ms(0), Next::GiveUp(GiveUp::Exhausted));
    let two = example().max_attempts(2);
    check(&two, 1, failure(), ms(0), Next::After(ms(10)));
    check(&two, 2, failure(), ms(0), Next::GiveUp(GiveUp::Exhausted));
}

#[test]
fn ro1_attempt_500_and_the_last_there_is_do_not_overflow() {
    let longest = Duration::from_nanos(u64::MAX);
    for n in [500, 100_000, u32::MAX - 1, u32::MAX] {
        assert_eq!(example().delay(n), ms(100), "{n}");
        let forever = example().max_attempts(u32::MAX);
        let expected = match n {
            u32::MAX => Next::GiveUp(GiveUp::Exhausted),
            _ => Next::After(ms(100)),
        };
        check(&forever, n, failure(), Duration::MAX, expected);

        for (base, multiplier, max_delay, expected) in [
            (ms(0), 2.0, ms(100), ms(0)),
            (ms(0), f64::MAX, Duration::MAX, ms(0)),
            (ms(10), 1.0, ms(100), ms(10)),
            (ms(10), 2.0, Duration::MAX, longest),
            (Duration::MAX, f64::MAX, Duration::MAX, longest),
            (Duration::from_nanos(1), f64::MAX, ms(1), ms(1)),
            // Out of range, and still no panic.
            (ms(10), f64::NAN, ms(100), ms(0)),
            (ms(10), f64::NEG_INFINITY, ms(100), ms(0)),
            (ms(10), 0.5, ms(100), ms(0)),
        ] {
            // An even power of what is negative is positive.
            let is_capped = multiplier == f64::NEG_INFINITY && n % 2 == 1;
            let expected = if is_capped { max_delay } else { expected };
            let delay = backoff(base, multiplier, max_delay, n);
            assert_eq!(delay, expected, "{base:?} * {multiplier}^({n} - 1)");
        }
    }
}

#[test]
fn ro1_nothing_begins_after_max_elapsed() {
    let policy = example().max_elapsed(ms(100));
    check(&policy, 1, failure(), ms(90), Next::After(ms(10)));
    let late = Next::GiveUp(GiveUp::Elapsed);
    check(&policy, 1, failure(), ms(91), late);
    check(&policy, 1, failure(), Duration::MAX, late);
    let advised = |millis| failure().retry_after(ms(millis));
    check(&policy, 1, advised(100), ms(0), Next::After(ms(100)));
    check(&policy, 1, advised(101), ms(0), late);
    // Who has used up the attempts is told so, however late it is.
    check(
        &policy,
        6,
        failure(),
        ms(91),
        Next::GiveUp(GiveUp::Exhausted),
    );
    let unlimited = policy.max_elapsed(None);
    check(&unlimited, 1, failure(), Duration::MAX, Next::After(ms(10)));
}

/// What 10,000 samples of a delay of 100 ms lie between, to a hundredth of their range at both ends and in the mean.
fn check_jitter(jitter: Jitter, low: Duration, high: Duration) {
    let policy = example().base(ms(100)).jitter(jitter);
    let mut random = Random::new(7);
    let samples: Vec<Duration> = (0..10_000)
        .map(
            |_| match decide(&policy, 1, &failure(), ms(0), &mut random) {
                Next::After(delay) => delay,
                Next::GiveUp(why) => panic!("gave up: {why:?}"),
            },
        )
        .collect();
    let (least, most) = (samples.iter().min(), samples.iter().max());
    let (least, most) = (*least.expect("not empty"), *most.expect("not empty"));
    let mean = samples.iter().sum::<Duration>() / 10_000;
    let near = (high - low) / 100;
    assert!(
        low <= least && most <= high,
        "{jitter:?}: {least:?} to {most:?}"
    );
    assert!(
        least <= low + near && high - near <= most,
        "{jitter:?}: {least:?} to {most:?}"
    );
    let middle = (low + high) / 2;
    assert!(mean.abs_diff(middle) <= near, "{jitter:?}: {mean:?}");
}

#[test]
fn ro1_jitter_stays_within_its_bounds() {
    check_jitter(Jitter::None, ms(100), ms(100));
    check_jitter(Jitter::Full, ms(0), ms(100));
    check_jitter(Jitter::Equal, ms(50), ms(100));
    check_jitter(Jitter::Additive(0.2), ms(100), ms(120));
    check_jitter(Jitter::Additive(1.0), ms(100), ms(200));
    check_jitter(Jitter::Additive(0.0), ms(100), ms(100));
}

fn delays(policy: &RetryPolicy, worker: usize) -> Vec<Next> {
    let policy = policy.clone().max_attempts(u32::MAX);
    let mut random = policy.random(worker);
    (1..100)
        .map(|n| decide(&policy, n, &failure(), ms(0), &mut random))
        .collect()
}

#[test]
fn ro1_the_same_seed_gives_the_same_delays() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Additive(0.5)] {
        let policy = example().jitter(jitter).seed(42);
        assert_eq!(delays(&policy, 0), delays(&policy.clone(), 0));
        assert_ne!(delays(&policy, 0), delays(&policy, 1));
        assert_ne!(delays(&policy, 0), delays(&policy.clone().seed(43), 0));
    }
    let unseeded = example().jitter(Jitter::Full);
    assert_ne!(delays(&unseeded, 0), delays(&unseeded, 0));
}

#[test]
fn ro4_a_permanent_failure_is_not_tried_again() {
    let permanent = || failure().permanent();
    let given_up = Next::GiveUp(GiveUp::Permanent);
    check(&example(), 1, permanent(), ms(0), given_up);
    check(&example(), 6, permanent(), Duration::MAX, given_up);
    let never_asked = example().retry_if(|_| panic!("asked for a permanent failure"));
    check(&never_asked, 1, permanent(), ms(0), given_up);
}

#[test]
fn ro4_retry_after_stands_in_place_of_the_delay_and_the_attempts_still_count() {
    let advised = |millis| failure().retry_after(ms(millis));
    let scattered = example().jitter(Jitter::Full);
    for millis in [0, 1, 10, 5_000] {
        let after = Next::After(ms(millis));
        check(&scattered, 5, advised(millis), ms(0), after);
    }
    let never = failure().retry_after(Duration::MAX);
    check(&scattered, 1, never, ms(1), Next::After(Duration::MAX));
    let exhausted = Next::GiveUp(GiveUp::Exhausted);
    check(&scattered, 6, advised(1), ms(0), exhausted);
}

#[test]
fn the_predicate_says_what_is_tried_again() {
    let policy = example().retry_if(|failure| failure.kind() != FailureKind::Panic);
    let panicked = || Failure::panicked("oh".to_owned());
    let declined = Next::GiveUp(GiveUp::Declined);
    check(&policy, 1, panicked(), ms(0), declined);
    check(&policy, 6, panicked(), ms(0), declined);
    check(&policy, 1, panicked().retry_after(ms(1)), ms(0), declined);
    check(&policy, 1, failure(), ms(0), Next::After(ms(10)));
    let timed_out = Failure::timed_out("40 ms".to_owned());
    check(&policy, 1, timed_out, ms(0), Next::After(ms(10)));
    // Without one, all but permanent failures are.
    check(&example(), 1, panicked(), ms(0), Next::After(ms(10)));
}

proptest! {
    #[test]
    fn ro1_delays_are_those_of_whole_numbers(
        base in 0..1_000_000_000_u64,
        multiplier in 1..10_u32,
        max_bits in 0..60_u32,
        n in 1..40_u32,
    ) {
        let max_delay = base.max(1 << max_bits);
        let exact = u128::from(multiplier)
            .checked_pow(n - 1)
            .and_then(|power| power.checked_mul(u128::from(base)))
            .map_or(max_delay, |delay| delay.min(u128::from(max_delay)) as u64);
        let delay = backoff(
            Duration::from_nanos(base),
            f64::from(multiplier),
            Duration::from_nanos(max_delay),
            n,
        );
        // Beyond 53 bits whole numbers are rounded: a nanosecond in a hundred days.
        let error = delay.abs_diff(Duration::from_nanos(exact)).as_nanos() as u64;
        prop_assert!(error <= exact >> 50, "{delay:?} instead of {exact} ns");
    }

    #[test]
    fn ro1_delays_grow_from_base_to_max_delay(
        base in 0..u64::MAX / 2,
        multiplier in 1.0..1e6_f64,
        above in 0..u64::MAX / 2,
        n in prop_oneof![1..100_u32, 1..u32::MAX],
    ) {
        let policy = RetryPolicy::none()
            .base(Duration::from_nanos(base))
            .multiplier(multiplier)
            .max_delay(Duration::from_nanos(base + above));
        let delay = policy.delay(n);
        prop_assert_eq!(policy.delay(1), policy.base);
        prop_assert_eq!(policy.delay(0), policy.base);
        prop_assert!(policy.base <= delay + Duration::from_nanos(base >> 50));
        prop_assert!(delay <= policy.max_delay);
        prop_assert!(delay <= policy.delay(n + 1) + Duration::from_nanos(base >> 50));
    }

    #[test]
    fn random_numbers_reach_both_ends(seed in any::<u64>(), most in 0..8_u64) {
        let mut random = Random::new(seed);
        let mut seen = [false; 8];
        for _ in 0..1_000 {
            seen[random.up_to(most) as usize] = true;
        }
        for (number, seen) in (0..).zip(seen) {
            prop_assert_eq!(seen, number <= most);
        }
    }
}

#[test]
fn random_numbers_are_those_of_splitmix64() {
    // As printed by the reference implementation for this seed.
    let mut random = Random::new(1_234_567);
    assert_eq!(random.next(), 6_457_827_717_110_365_317);
    assert_eq!(random.next(), 3_203_168_211_198_807_973);
    assert_eq!(random.next(), 9_817_491_932_198_370_423);
    // Any number at all may be asked for.
    assert_eq!(Random::new(3).up_to(u64::MAX), Random::new(3).next());
}

fn faults(policy: &RetryPolicy) -> Vec<String> {
    let mut faults = Vec::new();
    policy.check(&mut faults);
    faults
}

#[test]
fn presets_are_in_range_and_wait_as_long_as_they_say() {
    let waits = |policy: &RetryPolicy| -> Duration {
        (1..policy.max_attempts).map(|n| policy.delay(n)).sum()
    };
    for (policy, attempts, longest) in [
        (RetryPolicy::none(), 1, ms(0)),
        (RetryPolicy::immediate(), 3, ms(0)),
        (RetryPolicy::fast(), 6, ms(31)),
        (RetryPolicy::standard(), 5, ms(1_500)),
        (RetryPolicy::default(), 5, ms(1_500)),
        (RetryPolicy::patient(), 20, Duration::from_secs(3_511)),
    ] {
        assert_eq!(faults(&policy), [] as [&str; 0], "{policy:?}");
        assert_eq!(policy.max_attempts, attempts, "{policy:?}");
        assert_eq!(waits(&policy), longest, "{policy:?}");
        assert!(policy.max_elapsed.is_none_or(|limit| longest <= limit));
        assert_eq!(policy.held_max, 65_536);
        assert_eq!(policy.when_held_full, WhenHeldFull::BackPressure);
    }
}

#[test]
fn every_field_out_of_range_is_named_at_once() {
    let policy = RetryPolicy::none()
        .max_attempts(0)
        .base(ms(200))
        .max_delay(ms(100))
        .multiplier(0.5)
        .max_elapsed(ms(0))
        .jitter(Jitter::Additive(1.5))
        .held_max(0);
    assert_eq!(
        faults(&policy),
        [
            "retry.max_attempts: 0 is below 1 (give at least 1: the first call counts)",
            "retry.base: 200ms is above max_delay, 100ms (give a base of 0 to max_delay)",
            "retry.multiplier: 0.5 is below 1 (delays do not shrink: give 1 to keep them equal)",
            "retry.max_elapsed: 0ns is no time at all (give more than 0, or None for no limit)",
            "retry.jitter: a share of 1.5 is not within 0 to 1 (give the share of the delay that may be added)",
            "retry.held_max: 0 is below 1 (give at least 1: what waits for its retry is held)",
        ]
    );
}

#[test]
fn numbers_that_are_none_are_out_of_range() {
    for (multiplier, shown) in [
        (f64::NAN, "NaN is not a number"),
        (f64::INFINITY, "inf is not finite"),
        (f64::NEG_INFINITY, "-inf is below 1"),
        (-2.0, "-2 is below 1"),
        (0.0, "0 is below 1"),
        (1.0 - f64::EPSILON, "0.9999999999999998 is below 1"),
    ] {
        let faults = faults(&example().multiplier(multiplier));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(shown), "{faults:?}");
    }
    for share in [f64::NAN, -0.1, 1.000_001, f64::INFINITY] {
        let faults = faults(&example().jitter(Jitter::Additive(share)));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(&format!("{share} is not within 0 to 1")));
    }
    for in_range in [
        example().multiplier(1.0),
        example().multiplier(f64::MAX),
        example().jitter(Jitter::Additive(0.0)),
        example().jitter(Jitter::Additive(1.0)),
        example().base(ms(100)),
        example().max_elapsed(Duration::from_nanos(1)),
        example().max_elapsed(None),
        example().held_max(1),
    ] {
        assert_eq!(faults(&in_range), [] as [&str; 0]);
    }
}

#[test]
fn a_policy_shows_its_settings() {
    let shown = format!("{:?}", example().retry_if(|_| true).seed(3));
    assert!(shown.contains("max_attempts: 6"), "{shown}");
    assert!(shown.contains("seed: Some(3)"), "{shown}");
    assert!(shown.contains("has_retry_if: true"), "{shown}");
}
