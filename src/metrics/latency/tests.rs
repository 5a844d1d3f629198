//! Latency distributions against a sorted list, and at counts where floating point gives way.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn latency(values: &[u64]) -> Latency {
    let mut latency = Latency::new();
    for &value in values {
        latency.record(value);
    }
    latency
}

/// Latencies from all the scales there are, not mostly huge ones.
fn any_ns() -> impl Strategy<Value = u64> {
    (0..63_u32, any::<u64>()).prop_map(|(bits, value)| value >> (63 - bits) & Latency::NS_MAX)
}

/// Whether `shown` may stand for `exact`: the top of its bucket, by three digits.
fn stands_for(shown: u64, exact: u64) -> bool {
    shown >= exact && (shown - exact) as f64 <= exact as f64 / 1000.0
}

#[test]
fn empty_answers_zero() {
    let empty = Latency::new();
    assert!(empty.is_empty());
    assert_eq!(empty.summary(), LatencySummary::default());
    assert_eq!((empty.percentile(0.0), empty.percentile(100.0)), (0, 0));
    assert_eq!(empty.std_deviation(), 0.0);
}

#[test]
fn usual_figures() {
    let summary = latency(&(1..=1000).collect::<Vec<_>>()).summary();
    assert_eq!(
        summary,
        LatencySummary {
            count: 1000,
            p50: 500,
            p90: 900,
            p99: 990,
            p99_9: 999,
            p99_99: 1000,
            max: 1000,
            min: 1,
            mean: 500.5,
        }
    );
}

#[test]
fn a_percentile_does_not_round_into_the_next_value() {
    // For each count, every percentile k/count must be the k-th value. Multiplying floats gets some
    // of them wrong: 99.9 / 100 of 1,000 is 999.0000000000001.
    for count in [3_u64, 7, 10, 29, 100, 1000] {
        let latency = latency(&(1..=count).collect::<Vec<_>>());
        for k in 1..=count {
            let percentile = 100.0 * k as f64 / count as f64;
            assert_eq!(latency.percentile(percentile), k, "{percentile} of {count}");
        }
    }
}

#[test]
fn hundred_is_the_maximum_at_huge_counts() {
    // 2^53 + 1 and its like cannot be told from their neighbours as floats.
    for huge in [(1_u64 << 53) + 1, (1 << 62) + 3, u64::MAX - 2] {
        let mut latency = Latency::new();
        latency.record_n(100, huge);
        latency.record(5_000_000);
        let max = latency.max();
        assert!(stands_for(max, 5_000_000));
        assert_eq!(latency.percentile(100.0), max);
        assert_eq!(latency.percentile(1e9), max);
        assert_eq!(latency.percentile(50.0), 100);
        for percentile in [99.99, 99.999_999_999, 100.0_f64.next_down()] {
            let value = latency.percentile(percentile);
            assert!(
                value == 100 || value == max,
                "{percentile} of {huge} is {value}"
            );
        }
    }
}

#[test]
fn saturated_counts_still_answer() {
    let mut latency = Latency::new();
    latency.record_n(100, u64::MAX);
    latency.record_n(200, u64::MAX);
    latency.record(300);
    assert_eq!(latency.count(), u64::MAX);
    assert_eq!(latency.percentile(50.0), 100);
    assert_eq!(latency.percentile(100.0), 300);
    assert!(latency.mean().is_finite());
}

#[test]
fn too_large_a_value_is_capped() {
    let latency = latency(&[1, u64::MAX]);
    assert_eq!(latency.count(), 2);
    assert_eq!(latency.max(), Latency::NS_MAX);
}

#[test]
fn a_bounded_histogram_takes_larger_values_from_another() {
    let mut narrow = Histogram::new_with_bounds(1, 1000, 3).unwrap();
    narrow.record(7).unwrap();
    let mut merged = Latency::from(narrow);
    merged.merge(&latency(&[9_000_000_000]));
    assert_eq!((merged.count(), merged.min()), (2, 7));
    assert!(stands_for(merged.max(), 9_000_000_000));
}

#[test]
fn merging_fewer_digits_does_not_lower_the_maximum() {
    let mut coarse = Latency::with_digits(2);
    coarse.record(123_457);
    let mut fine = Latency::new();
    fine.merge(&coarse);
    assert!(
        fine.max() >= coarse.max(),
        "{} < {}",
        fine.max(),
        coarse.max()
    );
    assert!(fine.percentile(50.0) >= coarse.percentile(50.0));
}

#[test]
fn since_tells_new_larger_values_from_the_last_bucket() {
    // 2,047 is the last bucket of the smallest histogram; 5,000 makes it grow.
    let earlier = latency(&[2_047, 2_047]);
    let mut now = earlier.clone();
    now.record(5_000);
    let later = now.since(&earlier);
    assert_eq!((later.count(), later.min()), (1, 5_000));
}

#[test]
#[should_panic(expected = "6 significant digits (keep 0 to 5)")]
fn too_many_digits_are_a_mistake() {
    let _ = Latency::with_digits(6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn percentiles_stand_for_the_values_of_a_sorted_list(
        mut values in vec(any_ns(), 1..300),
        thousandths in 1..100_000_u64,
    ) {
        let latency = latency(&values);
        values.sort_unstable();
        let rank = (values.len() as u64 * thousandths).div_ceil(100_000) as usize;
        let exact = values[rank - 1];
        let shown = latency.percentile(thousandths as f64 / 1000.0);
        prop_assert!(stands_for(shown, exact), "{shown} for {exact}");
        prop_assert!(stands_for(latency.max(), *values.last().unwrap()));
        prop_assert!(latency.min() <= values[0] && stands_for(values[0], latency.min()));
    }

    #[test]
    fn percentiles_rise_to_the_maximum(
        values in vec((any_ns(), 1..=u64::MAX / 400), 1..300),
        mut percentiles in vec(-10.0..110.0_f64, 1..20),
    ) {
        let mut latency = Latency::new();
        for (value, count) in values {
            latency.record_n(value, count);
        }
        percentiles.sort_by(f64::total_cmp);
        let shown: Vec<u64> = percentiles.iter().map(|&p| latency.percentile(p)).collect();
        prop_assert!(shown.is_sorted(), "{percentiles:?} gave {shown:?}");
        prop_assert!(shown[0] >= latency.min());
        prop_assert!(*shown.last().unwrap() <= latency.percentile(100.0));
        prop_assert_eq!(latency.percentile(100.0), latency.max());
    }

    #[test]
    fn merging_is_recording_into_one(a in vec(any_ns(), 0..100), b in vec(any_ns(), 0..100)) {
        let mut merged = latency(&a);
        merged.merge(&latency(&b));
        let both = latency(&[a, b].concat());
        prop_assert_eq!(merged.summary(), both.summary());
    }

    #[test]
    fn since_is_what_came_after(a in vec(any_ns(), 0..100), b in vec(any_ns(), 0..100)) {
        let earlier = latency(&a);
        let mut now = earlier.clone();
        for &value in &b {
            now.record(value);
        }
        prop_assert_eq!(now.since(&earlier).summary(), latency(&b).summary());
        prop_assert!(now.since(&now).is_empty());
    }
}
