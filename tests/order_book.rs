//! The order-book example on its sample, on the sample with faults planted in it, and on a real capture where there is one.

#![cfg(feature = "macros")]

#[path = "../examples/order_book/mod.rs"]
mod order_book;

use std::io::{Cursor, Write};
use std::path::Path;

use order_book::book::{Book, Summary};
use order_book::capture::{self, Message, Record};
use order_book::events::{Decimal, Symbol};
use order_book::{Result, replay};

const SAMPLE: &str = include_str!("../examples/data/made_up.txt");
/// How many update ids the sample's diffs share with its ticker.
const SAMPLE_SHARED: u64 = 27;

/// A recording of an exchange's feed; it lies beside the project's folder, if anywhere.
const REAL: &str = "../shared/data/binance/spot_btcusdt_20240808.gz";

fn records(text: &str) -> Vec<Record> {
    capture::read(text.as_bytes())
        .collect::<Result<_>>()
        .expect("a capture")
}

/// Replays through the engine and gives the only summary.
fn replayed(records: Vec<Record>, workers: usize) -> Summary {
    let replay = replay(records.into_iter().map(Ok), workers, None).expect("a replay");
    let [summary] = &replay.summaries[..] else {
        panic!("not one summary but {:?}", replay.summaries)
    };
    summary.clone()
}

/// The same without the engine.
fn kept(records: &[Record]) -> Summary {
    let mut book = Book::default();
    for record in records {
        match &record.message {
            Message::Snapshot(snapshot) => book.begin(snapshot),
            Message::Diff(diff) => book.change(diff),
            Message::Ticker(ticker) => book.check(ticker),
            Message::Trade(trade) => book.trade(trade),
        }
    }
    Summary::of(records[0].message.symbol(), &book)
}

fn top(summary: &Summary) -> String {
    let top = summary.top.expect("both sides have levels");
    format!("{} / {}", top.bid.price, top.ask.price)
}

#[test]
fn the_sample_is_right_with_one_worker_and_with_two() {
    let alone = kept(&records(SAMPLE));
    for workers in [1, 2] {
        let summary = replayed(records(SAMPLE), workers);
        assert!(summary.is_right(), "{workers} workers: {summary:?}");
        assert_eq!(summary.seen.shared, SAMPLE_SHARED);
        assert_eq!(summary, alone, "{workers} workers");
        assert_eq!(top(&summary), "1234.50 / 1234.52");
    }
}

#[test]
fn each_symbol_has_its_own_book() {
    let mut both = Vec::new();
    let other = SAMPLE.replace("MADEUP", "OTHER");
    for (one, other) in records(SAMPLE).into_iter().zip(records(&other)) {
        both.extend([Ok(one), Ok(other)]);
    }
    let replay = replay(both, 2, None).expect("a replay");
    let symbols: Vec<String> = replay
        .summaries
        .iter()
        .map(|s| s.symbol.to_string())
        .collect();
    assert_eq!(symbols, ["MADEUP", "OTHER"]);
    assert_eq!(replay.events, 2 * SAMPLE.lines().count() as u64);
    let alone = [kept(&records(SAMPLE)), kept(&records(&other))];
    assert_eq!(replay.summaries, alone);
}

#[test]
fn a_replay_at_a_speed_keeps_its_time_and_its_order() {
    let records = records(SAMPLE);
    let speed = 20.0;
    let span_ns = records[records.len() - 1].received_ns - records[0].received_ns;
    let clock = ringbolt::Clock::real();
    let began = clock.raw();
    let replay = replay(records.into_iter().map(Ok), 2, Some(speed)).expect("a replay");
    let took_ns = clock.delta_ns(began, clock.raw());
    assert!(replay.summaries[0].is_right(), "{replay:?}");
    assert!(
        took_ns as f64 >= span_ns as f64 / speed,
        "{took_ns} of {span_ns} ns"
    );
}

#[test]
fn a_lost_diff_shows() {
    for (index, record) in records(SAMPLE).iter().enumerate().skip(60).take(60) {
        if matches!(record.message, Message::Diff(_)) {
            let mut records = records(SAMPLE);
            records.remove(index);
            assert!(!kept(&records).is_right(), "without line {}", index + 1);
        }
    }
}

#[test]
fn a_repeated_diff_shows() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    let index = lines
        .iter()
        .rposition(|line| line.contains("@depth"))
        .expect("a diff");
    let mut twice = lines.clone();
    twice.insert(index, lines[index]);
    assert!(!kept(&records(&twice.join("\n"))).is_right());
}

#[test]
fn reordered_diffs_show() {
    let mut records = records(SAMPLE);
    let diffs: Vec<usize> = (0..records.len())
        .filter(|&index| matches!(records[index].message, Message::Diff(_)))
        .collect();
    records.swap(diffs[30], diffs[31]);
    assert!(!kept(&records).is_right());
}

#[test]
fn a_lost_trade_shows() {
    let mut records = records(SAMPLE);
    let trade = records
        .iter()
        .rposition(|record| matches!(&record.message, Message::Trade(_)));
    records.swap(trade.expect("a trade"), 0);
    assert!(!kept(&records).is_right());
}

#[test]
fn a_wrong_ticker_shows() {
    let mut told = 0;
    for index in 0..SAMPLE.lines().count() {
        let mut records = records(SAMPLE);
        if let Message::Ticker(ticker) = &mut records[index].message {
            ticker.ask_quantity.0 += 1;
            let summary = kept(&records);
            assert_eq!(summary.seen.shared, SAMPLE_SHARED);
            told += SAMPLE_SHARED - summary.seen.agreed;
        }
    }
    // Each of the shared ids once, and none of the others.
    assert_eq!(told, SAMPLE_SHARED);
}

#[test]
fn gzipped_and_plain_read_the_same() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(SAMPLE.as_bytes()).expect("room in memory");
    let gzipped = gzip.finish().expect("room in memory");
    assert!(gzipped.len() < SAMPLE.len() / 2);
    for bytes in [gzipped, SAMPLE.as_bytes().to_vec()] {
        let input = capture::unzipped(Cursor::new(bytes)).expect("a readable text");
        let read: Vec<Record> = capture::read(input)
            .collect::<Result<_>>()
            .expect("a capture");
        assert_eq!(kept(&read), kept(&records(SAMPLE)));
    }
}

#[test]
fn faults_in_a_capture_name_their_line() {
    let good = SAMPLE.lines().next().expect("a line");
    for (bad, fault) in [
        ("", "line 2: is not a receive time, a space and a message"),
        (
            "soon {}",
            "line 2: \"soon\" is no receive time in nanoseconds",
        ),
        ("1 {\"stream\":", "line 2: EOF while parsing"),
        (
            "1 {\"stream\":\"a@kline\"}",
            "line 2: stream \"kline\" is none of",
        ),
        (
            "1 {\"stream\":\"a@trade\",\"data\":{\"s\":\"A\",\"t\":1,\"p\":\"x\",\"q\":\"1\"}}",
            "line 2: \"x\" is no number",
        ),
        (
            "1 {\"stream\":\"a@trade\",\"data\":{\"s\":\"A\",\"t\":1,\"p\":\"1\",\"q\":\"1\"}}",
            "line 2: A in a capture of another symbol",
        ),
    ] {
        let text = format!("{good}\n{bad}\n");
        let faults: Vec<String> = capture::read(text.as_bytes())
            .filter_map(|record| Some(record.err()?.to_string()))
            .collect();
        let [told] = &faults[..] else {
            panic!("{bad:?}: {faults:?}")
        };
        assert!(told.starts_with(fault), "{told}");
        let ended = replay(capture::read(text.as_bytes()), 1, None);
        assert_eq!(ended.expect_err("a bad line").to_string(), *told);
    }
    let early = "1 {\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}";
    let first = capture::read(early.as_bytes()).next().expect("one line");
    let told = first.expect_err("nobody named a symbol").to_string();
    assert_eq!(
        told,
        "line 1: a snapshot before any message that names a symbol"
    );
}

#[test]
fn decimals_are_exact() {
    for (text, value, shown) in [
        ("61685.99000000", 6_168_599_000_000, "61685.99"),
        ("0.00000001", 1, "0.00000001"),
        ("0.00", 0, "0.00"),
        ("7", 700_000_000, "7.00"),
        ("1.5", 150_000_000, "1.50"),
        ("92233720368.54775807", i64::MAX, "92233720368.54775807"),
    ] {
        let decimal = Decimal::try_from(text).expect(text);
        assert_eq!(decimal, Decimal(value), "{text}");
        assert_eq!(decimal.to_string(), shown);
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        "1e3",
        "1.123456789",
        "1 ",
        "92233720368.54775808",
    ] {
        assert!(Decimal::try_from(text).is_err(), "{text:?}");
    }
    assert!(Symbol::try_from("SIXTEEN-BYTES-OK").is_ok());
    assert!(Symbol::try_from("SEVENTEEN-BYTES-X").is_err());
}

#[test]
fn the_real_capture_is_right_with_one_worker_and_with_two() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
    if !path.exists() {
        // Not `eprintln!`, which the test harness keeps to itself when a test passes.
        let told = writeln!(
            std::io::stderr(),
            "NOT RUN: the real capture is not here ({REAL}); only the made-up sample was checked"
        );
        return told.expect("stderr takes a line");
    }
    for (workers, speed) in [(1, None), (2, None), (2, Some(200.0))] {
        let records = capture::open(&path).expect("the file is there");
        let replay = replay(records, workers, speed).expect("a replay");
        assert_eq!(replay.events, 41_249);
        let [summary] = &replay.summaries[..] else {
            panic!("not one summary but {:?}", replay.summaries)
        };
        assert!(summary.is_right(), "{workers} workers: {summary:?}");
        let seen = summary.seen;
        assert_eq!((seen.agreed, seen.shared), (564, 564));
        assert_eq!((seen.crossed, seen.breaks, seen.trades), (0, 0, 9_757));
        assert_eq!(top(summary), "61685.99 / 61686.00");
        assert_eq!((summary.bid_levels, summary.ask_levels), (1_209, 2_196));
    }
}
