//! Interval logs: read back, and the reference logs with the tables the reference tool made of them.

use super::*;
use crate::metrics::hgrm;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::PathBuf;

/// One interval as a reader sees it.
#[derive(Debug)]
struct Interval {
    tag: Option<String>,
    start: Duration,
    length: Duration,
    max: f64,
    latency: Latency,
}

fn read(log: &[u8]) -> Vec<Interval> {
    let mut deserializer = Deserializer::new();
    IntervalLogIterator::new(log)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        })
        .map(|interval| {
            let bytes = base64(interval.encoded_histogram());
            let histogram: Histogram<u64> = deserializer.deserialize(&mut &bytes[..]).unwrap();
            Interval {
                tag: interval.tag().map(|tag| tag.as_str().to_owned()),
                start: interval.start_timestamp(),
                length: interval.duration(),
                max: interval.max(),
                latency: Latency::from(histogram),
            }
        })
        .collect()
}

/// The bytes behind base64 text.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut bit_count) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{c} in base64"),
        };
        bits = bits << 6 | u32::from(six);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
        }
    }
    bytes
}

fn latency(values: &[u64]) -> Latency {
    let mut latency = Latency::new();
    for &value in values {
        latency.record(value);
    }
    latency
}

fn log_of(intervals: &[(Option<&str>, u64, u64, &Latency)]) -> String {
    let start = UNIX_EPOCH + Duration::from_millis(1_441_812_279_474);
    let mut log = IntervalLog::new(Vec::new(), start).unwrap();
    for &(tag, start_ms, length_ms, latency) in intervals {
        let (start, length) = (
            Duration::from_millis(start_ms),
            Duration::from_millis(length_ms),
        );
        log.write(tag, start, length, latency).unwrap();
    }
    String::from_utf8(log.into_inner().unwrap()).unwrap()
}

#[test]
fn head_and_columns() {
    let log = log_of(&[
        (None, 0, 1_000, &latency(&[1_500_000])),
        (Some("normal"), 1_000, 999, &Latency::new()),
    ]);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], "#[Histogram log format version 1.3]");
    assert_eq!(
        lines[1],
        "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 15:24:39 UTC 2015]"
    );
    assert_eq!(
        lines[2],
        r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
    );
    assert!(
        lines[3].starts_with("0.000,1.000,1.500,HISTFAAAA"),
        "{}",
        lines[3]
    );
    assert!(
        lines[4].starts_with("Tag=normal,1.000,0.999,0.000,HISTFAAAA"),
        "{}",
        lines[4]
    );
}

/// Written by the log writer of HdrHistogram 2.1.11 for Java.
const FROM_JAVA: &str = r#"#[Histogram log format version 1.3]
#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 15:24:39 UTC 2015]
"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
0.000,1.000,4.014,HISTFAAAAEx42pNpmSzMwMCgywABTFCaEUza//9v/wEisJ1P4y+z2mImleuMSmsZFYrlamXCpfwlosWsRUyFrAXs+Qx5lLlUOdTZtFl0mQBCEQ5K
Tag=normal,0.000,1.000,0.078,HISTFAAAACF42pNpmSzMwMDAzAABTFCaEUL+/2//ASKwVoQNAF0BBUI=
1.000,0.750,5.014,HISTFAAAACV42pNpmSzMwMDAxgABTFCaEUzW//9v/wEisJmR5accEwB4gAbN
"#;

/// What [`FROM_JAVA`] holds, recorded here.
fn as_from_java() -> [Latency; 3] {
    let [mut first, mut tagged, mut last] = [(); 3].map(|()| Latency::with_digits(2));
    for i in 1..=20 {
        first.record_n(i * i * 10_007, 21 - i);
    }
    tagged.record_n(77_777, 3);
    last.record_n(90, 2);
    last.record(5_000_000);
    [first, tagged, last]
}

#[test]
fn the_reference_writers_log_reads_as_recorded_here() {
    let read: Vec<_> = read(FROM_JAVA.as_bytes())
        .into_iter()
        .map(|interval| interval.latency.summary())
        .collect();
    assert_eq!(read, as_from_java().map(|latency| latency.summary()));

    // Printed by the reference log processor.
    let tagged = "       Value     Percentile TotalCount 1/(1-Percentile)

        0.08 0.000000000000          3           1.00
        0.08 1.000000000000          3
#[Mean    =         0.08, StdDeviation   =         0.00]
#[Max     =         0.08, Total count    =            3]
#[Buckets =           10, SubBuckets     =          256]
";
    assert_eq!(table(FROM_JAVA.as_bytes(), Some("normal")), tagged);
    let untagged_end = "
        4.01 0.994531250000        212         182.86
        5.01 0.995312500000        213         213.33
        5.01 1.000000000000        213
#[Mean    =         0.78, StdDeviation   =         0.92]
#[Max     =         5.01, Total count    =          213]
#[Buckets =           16, SubBuckets     =          256]
";
    let untagged = table(FROM_JAVA.as_bytes(), None);
    assert!(untagged.ends_with(untagged_end), "{untagged}");
}

#[test]
fn lines_are_those_of_the_reference_writer() {
    let [first, tagged, last] = as_from_java();
    let ours = log_of(&[
        (None, 0, 1_000, &first),
        (Some("normal"), 0, 1_000, &tagged),
        (None, 1_000, 750, &last),
    ]);
    // But for the compressed bytes, which depend on the compressor.
    let before_bytes = |log: &str| -> Vec<String> {
        log.lines()
            .map(|line| line.split("HISTFAAAA").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(before_bytes(&ours), before_bytes(FROM_JAVA));
}

#[test]
fn what_would_end_a_tag_is_replaced() {
    let some = latency(&[5]);
    let log = log_of(&[
        (Some("slow pool,low\n\u{a0}x"), 0, 1, &some),
        (Some("größe/p:1"), 1, 1, &some),
        (Some(""), 2, 1, &some),
    ]);
    let tags: Vec<_> = read(log.as_bytes())
        .into_iter()
        .map(|interval| interval.tag)
        .collect();
    assert_eq!(
        tags,
        [
            Some("slow_pool_low__x".into()),
            Some("größe/p:1".into()),
            None
        ]
    );
}

#[test]
fn a_histogram_for_all_of_u64_is_written_within_the_signed_range() {
    let mut wide = Histogram::new_with_bounds(1, u64::MAX, 3).unwrap();
    wide.record_n(4_321, 9).unwrap();
    let wide = Latency::from(wide);
    let log = log_of(&[(None, 0, 1, &wide)]);
    let back = &read(log.as_bytes())[0].latency;
    assert!(
        back.histogram().high() <= Latency::NS_MAX,
        "high is {}",
        back.histogram().high()
    );
    assert_eq!(back.summary(), wide.summary());
}

#[test]
fn a_count_beyond_the_format_is_an_error_and_writes_nothing() {
    let mut huge = Latency::new();
    huge.record_n(1, u64::MAX);
    let mut log = IntervalLog::new(Vec::new(), UNIX_EPOCH).unwrap();
    let error = log
        .write(None, Duration::ZERO, Duration::from_secs(1), &huge)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let text = String::from_utf8(log.into_inner().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn times_for_people() {
    let check = |seconds, expected| assert_eq!(utc_text(seconds), expected);
    check(0, "Thu Jan 01 00:00:00 UTC 1970");
    check(951_827_696, "Tue Feb 29 12:34:56 UTC 2000");
    check(1_709_251_199, "Thu Feb 29 23:59:59 UTC 2024");
    check(1_709_251_200, "Fri Mar 01 00:00:00 UTC 2024");
    check(4_107_542_400, "Mon Mar 01 00:00:00 UTC 2100");
    check(13_569_465_600, "Sat Jan 01 00:00:00 UTC 2400");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn reads_back_what_was_written(
        intervals in vec((0..4_u8, vec((0..3_600_000_000_000_u64, 1..1_000_000_u64), 0..50)), 1..8),
    ) {
        let tags = [None, Some("a"), Some("b"), Some("default/normal/end_to_end")];
        let written: Vec<_> = intervals
            .iter()
            .map(|(tag, values)| {
                let mut latency = Latency::new();
                for &(value, count) in values {
                    latency.record_n(value, count);
                }
                (tags[usize::from(*tag)], latency)
            })
            .collect();
        let lines: Vec<_> = written
            .iter()
            .enumerate()
            .map(|(i, (tag, latency))| (*tag, i as u64 * 250, 250, latency))
            .collect();
        let back = read(log_of(&lines).as_bytes());
        prop_assert_eq!(back.len(), written.len());
        for ((i, interval), (tag, latency)) in back.iter().enumerate().zip(&written) {
            prop_assert_eq!(interval.tag.as_deref(), *tag);
            prop_assert_eq!(interval.start.as_millis(), i as u128 * 250);
            prop_assert_eq!(interval.length.as_millis(), 250);
            prop_assert!((interval.max - latency.max() as f64 / 1e6).abs() <= 0.0005);
            prop_assert_eq!(interval.latency.summary(), latency.summary());
        }
    }
}

/// The table of all intervals of `log` under `tag`, as the reference log processor makes it.
fn table(log: &[u8], tag: Option<&str>) -> String {
    let mut total: Option<Latency> = None;
    for interval in read(log)
        .into_iter()
        .filter(|interval| interval.tag.as_deref() == tag)
    {
        match &mut total {
            Some(total) => total.merge(&interval.latency),
            None => total = Some(interval.latency),
        }
    }
    let mut out = Vec::new();
    let total = total.expect("the log has intervals under the tag");
    hgrm::write_percentiles(&mut out, &total, hgrm::MILLISECONDS, hgrm::TICKS_PER_HALF).unwrap();
    String::from_utf8(out).unwrap()
}

/// The text of a file of reference data, `None` (said loudly) where this checkout has none.
fn reference(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/hdr")
        .join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            // Past the test harness, which keeps what `eprintln!` prints from a passing test.
            let _ = writeln!(
                io::stderr(),
                "NOT CHECKED against {}: {error}",
                path.display()
            );
            None
        }
    }
}

fn check_pair(name: &str, tags: &[Option<&str>]) {
    let (Some(log), Some(expected)) = (
        reference(&format!("{name}.hlog")),
        reference(&format!("{name}.hgrm")),
    ) else {
        return;
    };
    // The log processor puts comments about the log itself above the table.
    let (_, expected) = expected
        .split_once(" UTC 2015]\n")
        .expect("a comment with the start time");
    for &tag in tags {
        assert_eq!(table(log.as_bytes(), tag), expected, "{name}, tag {tag:?}");
    }

    // The same through our own writer.
    let intervals = read(log.as_bytes());
    let mut ours = IntervalLog::new(Vec::new(), UNIX_EPOCH).unwrap();
    for interval in &intervals {
        ours.write(
            interval.tag.as_deref(),
            interval.start,
            interval.length,
            &interval.latency,
        )
        .unwrap();
    }
    let ours = ours.into_inner().unwrap();
    assert_eq!(read(&ours).len(), intervals.len());
    for &tag in tags {
        assert_eq!(table(&ours, tag), expected, "{name} rewritten, tag {tag:?}");
    }
}

#[test]
fn reference_log_without_tags() {
    check_pair("jHiccup-2.0.7S.logV2", &[None]);
}

#[test]
fn reference_log_with_tags() {
    check_pair("tagged-Log.logV2", &[None, Some("A")]);
}
