//! Settings: what is refused, and in which words.

use super::*;

fn check(policy: BreakerPolicy, expected: &[&str]) {
    let mut faults = Vec::new();
    policy.check(&mut faults);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn cb1_the_defaults_are_good() {
    check(BreakerPolicy::new(), &[]);
}

#[test]
fn cb1_bad_settings_are_named_all_at_once() {
    let zero = Duration::ZERO;
    let bad = BreakerPolicy::new()
        .window(Window::Count(0))
        .failure_rate(f64::NAN)
        .slow_call(zero, 1.5)
        .minimum_calls(0)
        .half_open_permits(0)
        .open_wait(zero)
        .open_wait_multiplier(f64::INFINITY)
        .probe_limit(zero);
    let expected = [
        "breaker.window: Count(0) is outside 1 to 100000 (",
        "breaker.failure_rate: NaN is not above 0 and at most 1 (",
        "breaker.slow_call.slower_than: 0ns is not above 0 (",
        "breaker.slow_call.rate: 1.5 is not above 0 and at most 1 (",
        "breaker.minimum_calls: 0 is below 1 (",
        "breaker.half_open_permits: 0 is outside 1 to 1000 (",
        "breaker.open_wait: 0ns is not above 0 (",
        "breaker.open_wait_multiplier: inf is not finite and at least 1 (",
        "breaker.probe_limit: 0ns is not above 0 (",
    ];
    check(bad.clone(), &expected);
    let error = Breaker::new("", bad).unwrap_err();
    assert!(error.is_setting());
    let text = error.to_string();
    assert!(text.contains("breaker.name: it is empty"), "{text}");
    for fault in expected {
        assert!(text.contains(fault), "{text}");
    }
}

#[test]
fn cb1_settings_that_do_not_fit_each_other_are_refused() {
    let policy = BreakerPolicy::new;
    check(
        policy().window(Window::Count(10)).minimum_calls(11),
        &["breaker.minimum_calls: 11 is above 10, the calls in breaker.window ("],
    );
    check(
        policy()
            .window(Window::Time(Duration::from_secs(1)))
            .minimum_calls(1_000_000),
        &[],
    );
    check(
        policy().open_wait(Duration::from_secs(61)),
        &["breaker.open_wait_max: 60s is below 61s, which is breaker.open_wait ("],
    );
    check(
        policy().window(Window::Time(Duration::from_micros(1))),
        &["breaker.window: Time(1µs) is outside 1ms to 86400s ("],
    );
    check(
        policy().window(Window::Count(100_001)),
        &["breaker.window: Count(100001) is outside 1 to 100000 ("],
    );
    for rate in [0.0, -0.5, 1.000_1, f64::NEG_INFINITY] {
        check(policy().failure_rate(rate), &["breaker.failure_rate: "]);
        check(
            policy().slow_call(Duration::from_secs(1), rate),
            &["breaker.slow_call.rate: "],
        );
    }
    for multiplier in [0.99, -1.0, f64::NAN] {
        check(
            policy().open_wait_multiplier(multiplier),
            &["breaker.open_wait_multiplier: "],
        );
    }
    check(
        policy().half_open_permits(1_001),
        &["breaker.half_open_permits: 1001 is outside 1 to 1000 ("],
    );
}

#[test]
fn cb1_no_number_of_openings_overflows_the_wait() {
    let policy = BreakerPolicy::new();
    assert_eq!(policy.wait_ns(1), 1_000_000_000);
    assert_eq!(policy.wait_ns(2), 2_000_000_000);
    for openings in [7, 500, u32::MAX] {
        assert_eq!(policy.wait_ns(openings), 60_000_000_000);
    }
    let forever = policy.open_wait(Duration::MAX).open_wait_max(Duration::MAX);
    check(forever.clone(), &[]);
    assert_eq!(forever.wait_ns(1), u64::MAX);
}
