//! Reports as text and JSON.

use super::*;
use proptest::prelude::*;

fn latency(values: &[u64]) -> Latency {
    let mut latency = Latency::new();
    for &value in values {
        latency.record(value);
    }
    latency
}

fn sample() -> Report {
    let counts = DeliveryCounts {
        admitted: 1_234_567,
        handled: 1_234_000,
        failed: 400,
        dead_lettered: 100,
        skipped: 40,
        withdrawn: 20,
        abandoned: 0,
    };
    Report {
        elapsed_ns: 2_034_999_999,
        published: 1_234_567,
        dropped: 12,
        unhandled: 3,
        totals: counts,
        subscriptions: vec![
            SubscriptionReport {
                id: 1,
                name: "billing".into(),
                pool: "default".into(),
                events: vec!["order.placed"],
                counts,
                attempts: AttemptCounts::default(),
                handler: latency(&[150, 2_000]),
            },
            SubscriptionReport {
                id: 20,
                name: "archive".into(),
                pool: "slow".into(),
                events: vec!["a", "b", "c", "d", "e"],
                counts: DeliveryCounts::default(),
                attempts: AttemptCounts::default(),
                handler: Latency::with_digits(2),
            },
        ],
        lanes: vec![
            LaneReport {
                pool: "default".into(),
                worker: 1,
                class: Class::Normal,
                kind: LaneKind::Publisher,
                depth: 7,
                capacity: 2_048,
                taken: 1_234_567,
                full_count: 9,
            },
            LaneReport {
                pool: "slow".into(),
                worker: 0,
                class: Class::Low,
                kind: LaneKind::Shared,
                depth: 0,
                capacity: 1_024,
                taken: 0,
                full_count: 0,
            },
        ],
        workers: vec![
            WorkerReport {
                pool: "default".into(),
                worker: 1,
                state: WorkerState::InHandler,
                call: None,
                held_back_by: None,
                age_ns: 1_500_000_000,
                taken: 1_234_567,
            },
            WorkerReport {
                pool: "slow".into(),
                worker: 0,
                state: WorkerState::Parked,
                call: None,
                held_back_by: None,
                age_ns: 870,
                taken: 0,
            },
        ],
        classes: vec![ClassReport {
            pool: "default".into(),
            class: Class::Normal,
            queue_wait: latency(&[100, 200, 1_000]),
            end_to_end: latency(&[250, 350, 3_000_000]),
        }],
        stamps: StampsKind::Adaptive,
        wake: WakeKind::Asymmetric,
        queue_wait: latency(&[100, 200, 1_000]),
        handler: latency(&[150, 2_000]),
        end_to_end: latency(&[250, 350, 3_000_000]),
    }
}

#[test]
fn text_is_aligned() {
    let expected = "\
elapsed     2.03 s
events      1,234,567 published, 12 dropped, 3 without a subscription
deliveries  1,234,567 admitted = 1,234,000 handled + 400 failed + 100 dead-lettered + 40 skipped + 20 withdrawn + 0 abandoned + 7 in flight
stamps      adaptive (short handlers: end to end runs to the end of a group of at most 8)
wake        asymmetric

latency
  pool     class   time        count     p50      p90      p99    p99.9   p99.99      max
  default  normal  queue wait      3  200 ns  1.00 µs  1.00 µs  1.00 µs  1.00 µs  1.00 µs
  default  normal  end to end      3  350 ns  3.00 ms  3.00 ms  3.00 ms  3.00 ms  3.00 ms
  all      all     queue wait      3  200 ns  1.00 µs  1.00 µs  1.00 µs  1.00 µs  1.00 µs
  all      all     handler         2  150 ns  2.00 µs  2.00 µs  2.00 µs  2.00 µs  2.00 µs
  all      all     end to end      3  350 ns  3.00 ms  3.00 ms  3.00 ms  3.00 ms  3.00 ms

subscriptions
  id  name     pool     events               admitted    handled  failed  dead-lettered  skipped  withdrawn  abandoned  in flight
  1   billing  default  order.placed        1,234,567  1,234,000     400            100       40         20          0          7
  20  archive  slow     a, b, c and 2 more          0          0       0              0        0          0          0          0

handler time by subscription
  id  name     pool     count     p50      p90      p99    p99.9   p99.99      max
  1   billing  default      2  150 ns  2.00 µs  2.00 µs  2.00 µs  2.00 µs  2.00 µs
  20  archive  slow         0       -        -        -        -        -        -

lanes
  pool     worker  class   from       depth  capacity      taken  found full
  default  1       normal  publisher      7     2,048  1,234,567           9
  slow     all     low     shared         0     1,024          0           0

workers
  pool     worker  state           taken  last recorded
  default  1       in handler  1,234,567     1.50 s ago
  slow     0       parked              0     870 ns ago
";
    assert_eq!(sample().to_text(), expected);
    assert_eq!(sample().to_string(), expected);
}

#[test]
fn an_empty_report_says_none() {
    let text = Report::default().to_text();
    assert_eq!(text.matches("  none\n").count(), 4, "{text}");
    assert!(
        text.contains("  all   all    end to end      0    -    -    -      -       -    -\n"),
        "{text}"
    );
}

#[test]
fn names_cannot_break_the_table() {
    let mut report = sample();
    let lines = report.to_text().lines().count();
    report.subscriptions[0].name = "\u{1b}[31mred\r\nnext\u{2028}\u{9b}".into();
    report.workers[0].pool = "größer\t".into();
    let text = report.to_text();
    assert_eq!(text.lines().count(), lines);
    assert!(
        !text.contains(|c: char| c != '\n' && c.is_control()),
        "{text:?}"
    );
    assert!(
        text.contains(r"\u{1b}[31mred\r\nnext\u{2028}\u{9b}"),
        "{text}"
    );
    assert!(text.contains("  größer\\t  1       in handler"), "{text}");
}

#[test]
fn reports_say_how_time_was_read() {
    let mut report = Report::default();
    assert!(
        report
            .to_text()
            .contains("stamps      adaptive (short handlers")
    );
    report.stamps = StampsKind::Each;
    assert!(report.to_text().contains("stamps      each event\n"));
    report.wake = WakeKind::Spin;
    assert!(report.to_text().contains("wake        spin\n"));
}

#[test]
fn readable_times() {
    let check = |ns, expected| assert_eq!(readable_ns(ns), expected, "{ns}");
    check(0, "0 ns");
    check(999, "999 ns");
    check(1_000, "1.00 µs");
    check(1_245, "1.25 µs");
    check(9_994, "9.99 µs");
    check(9_995, "10.0 µs");
    check(99_949, "99.9 µs");
    check(99_950, "100 µs");
    check(999_499, "999 µs");
    check(999_500, "1.00 ms");
    check(12_345_678, "12.3 ms");
    check(999_500_000, "1.00 s");
    check(125_000_000_000, "125 s");
    check(999_499_999_999, "999 s");
    check(999_500_000_000, "1,000 s");
    check(u64::MAX, "18,446,744,074 s");
}

#[test]
fn grouped_counts() {
    let check = |count, expected| assert_eq!(grouped(count), expected);
    check(0, "0");
    check(999, "999");
    check(1_000, "1,000");
    check(123_456, "123,456");
    check(u64::MAX, "18,446,744,073,709,551,615");
}

proptest! {
    #[test]
    fn readable_times_keep_three_digits(shift in 0..64_u32, value: u64) {
        let ns = value >> shift;
        let text = readable_ns(ns);
        let (number, unit) = text.split_once(' ').unwrap();
        let unit_ns = match unit {
            "ns" => 1.0,
            "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => panic!("{text}"),
        };
        let number: f64 = number.replace(',', "").parse().unwrap();
        prop_assert!((number * unit_ns - ns as f64).abs() <= ns as f64 * 0.005_000_001, "{ns} is {text}");
        // Never 1000 of a unit that has a larger one.
        prop_assert!(unit == "s" || number < 1000.0, "{ns} is {text}");
    }
}

#[cfg(feature = "json")]
#[test]
fn json_has_the_same_data() {
    let report = sample();
    let text = report.to_json();
    assert!(!text.contains('\n'));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["elapsed_ns"], 2_034_999_999_u64);
    assert_eq!(json["stamps"], "adaptive");
    assert_eq!(json["wake"], "asymmetric");
    assert_eq!(json["totals"]["withdrawn"], 20);
    assert_eq!(json["subscriptions"][1]["events"][4], "e");
    assert_eq!(json["subscriptions"][0]["counts"]["failed"], 400);
    assert_eq!(json["lanes"][0]["kind"], "publisher");
    assert_eq!(json["lanes"][1]["class"], "low");
    assert_eq!(json["lanes"][0]["full_count"], 9);
    assert_eq!(json["workers"][0]["state"], "in_handler");
    assert_eq!(json["workers"][0]["age_ns"], 1_500_000_000_u64);
    assert_eq!(json["classes"][0]["class"], "normal");
    let end_to_end = report.end_to_end.summary();
    let expected = serde_json::json!({
        "count": 3, "p50": 350, "p90": end_to_end.max, "p99": end_to_end.max,
        "p99_9": end_to_end.max, "p99_99": end_to_end.max, "max": end_to_end.max,
        "min": 250, "mean": end_to_end.mean,
    });
    assert_eq!(json["end_to_end"], expected);
    assert_eq!(json["classes"][0]["end_to_end"], expected);
}
