//! The percentile table against what the reference implementation printed for the same values.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn table(latency: &Latency, unit_ratio: f64, ticks_per_half: u32) -> String {
    let mut out = Vec::new();
    write_percentiles(&mut out, latency, unit_ratio, ticks_per_half).unwrap();
    String::from_utf8(out).unwrap()
}

/// Latencies up to 39.5 ms that thin out towards the top.
fn squares(digits: u8) -> Latency {
    let mut latency = Latency::with_digits(digits);
    for i in 1..200 {
        latency.record_n(i * i * 997 + 250, 1 + (200 - i) / 10);
    }
    latency
}

// The expectations of this file were printed by HdrHistogram 2.1.11 for Java.
const SQUARES_IN_MS: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

        0.00 0.000000000000         20           1.00
        0.78 0.250000000000        534           1.33
        3.60 0.500000000000       1050           2.00
        6.39 0.625000000000       1320           2.67
       10.62 0.750000000000       1580           4.00
       13.70 0.812500000000       1713           5.33
       17.69 0.875000000000       1841           8.00
       20.45 0.906250000000       1908          10.67
       23.72 0.937500000000       1970          16.00
       25.95 0.953125000000       2004          21.33
       28.57 0.968750000000       2036          32.00
       30.28 0.976562500000       2052          42.67
       31.98 0.984375000000       2067          64.00
       33.42 0.988281250000       2076          85.33
       34.87 0.992187500000       2084         128.00
       35.65 0.994140625000       2088         170.67
       36.44 0.996093750000       2091         256.00
       37.22 0.997070312500       2093         341.33
       38.01 0.998046875000       2095         512.00
       38.54 0.998535156250       2096         682.67
       38.80 0.999023437500       2097        1024.00
       39.32 0.999267578125       2098        1365.33
       39.32 0.999511718750       2098        2048.00
       39.58 0.999633789063       2099        2730.67
       39.58 1.000000000000       2099
#[Mean    =         7.03, StdDeviation   =         8.27]
#[Max     =        39.58, Total count    =         2099]
#[Buckets =           19, SubBuckets     =          256]
";

#[test]
fn table_of_many_values() {
    assert_eq!(table(&squares(2), MILLISECONDS, 2), SQUARES_IN_MS);
}

#[test]
fn table_in_microseconds_with_three_digits() {
    let table = table(&squares(3), MICROSECONDS, TICKS_PER_HALF);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 63);
    assert_eq!(
        lines[2],
        "       1.247 0.000000000000         20           1.00"
    );
    assert_eq!(
        lines[30],
        "   30539.775 0.978125000000       2055          45.71"
    );
    assert_eq!(
        lines[58],
        "   39485.439 0.999560546875       2099        2275.56"
    );
    assert_eq!(lines[59], "   39485.439 1.000000000000       2099");
    assert_eq!(
        lines[60],
        "#[Mean    =     7031.775, StdDeviation   =     8265.821]"
    );
    assert_eq!(
        lines[61],
        "#[Max     =    39485.439, Total count    =         2099]"
    );
    assert_eq!(
        lines[62],
        "#[Buckets =           16, SubBuckets     =         2048]"
    );
}

#[test]
fn table_of_one_value() {
    let mut latency = Latency::new();
    latency.record_n(7_500_000, 3);
    let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

       7.504 0.000000000000          3           1.00
       7.504 1.000000000000          3
#[Mean    =        7.502, StdDeviation   =        0.000]
#[Max     =        7.504, Total count    =            3]
#[Buckets =           13, SubBuckets     =         2048]
";
    assert_eq!(table(&latency, MILLISECONDS, TICKS_PER_HALF), expected);
}

#[test]
fn table_of_nothing() {
    let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

#[Mean    =        0.000, StdDeviation   =        0.000]
#[Max     =        0.000, Total count    =            0]
#[Buckets =            1, SubBuckets     =         2048]
";
    assert_eq!(
        table(&Latency::new(), MICROSECONDS, TICKS_PER_HALF),
        expected
    );
}

#[test]
fn decimals_round_as_the_reference_does() {
    let check = |value: f64, places, expected| {
        assert_eq!(
            decimal(value, places),
            expected,
            "{value} to {places} places"
        );
    };
    check(0.0, 2, "0.00");
    check(0.999_780_273_437_5, 12, "0.999780273438"); // a tie, up where half-to-even agrees
    check(0.999_829_101_562_5, 12, "0.999829101563"); // a tie, up where half-to-even goes down
    check(1.005, 2, "1.01"); // the float is below the tie, its shortest text is the tie
    check(0.125, 2, "0.13");
    check(0.005, 2, "0.01");
    check(0.004_999, 2, "0.00");
    check(0.000_01, 2, "0.00");
    check(9.995, 2, "10.00");
    check(0.995, 2, "1.00");
    check(999.999_9, 3, "1000.000");
    check(1e21, 2, "1000000000000000000000.00");
    check(123.5, 0, "124");
    check(0.5, 0, "1");
    check(0.4, 0, "0");
}

#[test]
fn huge_counts_end_at_the_maximum() {
    // As floats these totals equal the totals without the last value, so levels of 100 are reached
    // too early.
    for huge in [(1_u64 << 53) + 1, 1 << 62, u64::MAX] {
        let mut latency = Latency::new();
        latency.record_n(100, huge);
        latency.record(2_000);
        latency.record(3_000);
        let lines = lines(&latency, TICKS_PER_HALF);
        let last = lines.last().unwrap();
        assert_eq!(
            (last.value, last.level, last.count),
            (3_001, 100.0, latency.count()),
            "{huge}"
        );
        assert_eq!(lines.iter().filter(|line| line.level == 100.0).count(), 1);
        assert!(lines.len() < 54 * 5 + 3, "{} lines", lines.len());
    }
}

proptest! {
    #[test]
    fn lines_rise_to_the_maximum(
        values in vec((0..u64::MAX / 2, 1..1_000_000_000_000_u64), 1..100),
        ticks_per_half in 1..50_u32,
    ) {
        let mut latency = Latency::new();
        for (value, count) in values {
            latency.record_n(value, count);
        }
        let lines = lines(&latency, ticks_per_half);
        for pair in lines.windows(2) {
            prop_assert!(pair[0].level < pair[1].level);
            prop_assert!(pair[0].value <= pair[1].value && pair[0].count <= pair[1].count);
        }
        for line in &lines {
            // A bucket is the first to reach its level.
            prop_assert!(100.0 * line.count as f64 / latency.count() as f64 >= line.level);
        }
        let last = lines.last().unwrap();
        prop_assert_eq!(
            (last.value, last.level, last.count),
            (latency.max(), 100.0, latency.count())
        );
    }

    #[test]
    fn decimals_are_within_half_a_unit_of_the_last_place(value in 0.0..1e9_f64, places in 0..10_usize) {
        let text = decimal(value, places);
        let unit = 0.1_f64.powi(places as i32);
        let printed: f64 = text.parse().unwrap();
        prop_assert!((printed - value).abs() <= unit * 0.500_001 + value * 1e-15, "{text} for {value}");
        prop_assert_eq!(text.split_once('.').map_or(0, |(_, places)| places.len()), places);
    }
}
