//! The order book example, kept right: the shipped sample by one worker and by two, at full speed and by its own times,
//! and with lines lost, repeated, swapped and forged, which must show.
//!
//! The real capture is too large to ship; it is replayed where it lies beside the repository.

#![cfg(feature = "macros")]

#[path = "../examples/order_book/mod.rs"]
mod order_book;

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use order_book::book::{Seen, Summary};
use order_book::events::Decimal;
use order_book::{Replay, Result, capture, replay};

const SAMPLE: &str = include_str!("../examples/data/made_up.txt");

/// Replays a text that is a capture.
fn replayed(text: &str, workers: usize, speed: Option<f64>) -> Replay {
    replay(capture::read(text.as_bytes()), workers, speed).expect("the text is a capture")
}

/// The only book of a capture.
fn book(text: &str) -> Summary {
    only(replayed(text, 1, None))
}

fn only(replay: Replay) -> Summary {
    let [summary] = <[Summary; 1]>::try_from(replay.summaries).expect("there is one symbol");
    summary
}

fn decimal(text: &str) -> Decimal {
    text.try_into().expect("a decimal")
}

/// What the program that made the sample up knew of it.
fn check_sample(summary: &Summary) {
    let seen = Seen {
        shared: 27,
        agreed: 27,
        crossed: 0,
        breaks: 0,
        diffs: 58,
        trades: 74,
    };
    assert_eq!(summary.seen, seen);
    let top = summary.top.expect("neither side is empty");
    assert_eq!(
        (top.bid.price, top.ask.price),
        (decimal("1234.50"), decimal("1234.52"))
    );
    assert_eq!((summary.bid_levels, summary.ask_levels), (21, 15));
    let last = summary.last_trade.as_ref().expect("there were trades");
    assert_eq!(
        (last.price, last.quantity),
        (decimal("1234.51"), decimal("0.25"))
    );
    assert!(summary.is_right());
}

#[test]
fn the_sample_comes_out_the_same_however_it_is_replayed() {
    for workers in [1, 2] {
        // Three seconds of market: a moment at a hundred times their speed.
        for speed in [None, Some(100.0)] {
            let replay = replayed(SAMPLE, workers, speed);
            assert_eq!(replay.events, SAMPLE.lines().count() as u64);
            check_sample(&only(replay));
        }
    }
}

#[test]
fn books_of_many_symbols_do_not_meet() {
    // The sample under sixteen names, all at the same time.
    let names: Vec<String> = (0..16).map(|number| format!("MADEUP{number}")).collect();
    let captures: Vec<Vec<_>> = names
        .iter()
        .map(|name| {
            let text = SAMPLE.replace("\"MADEUP\"", &format!("\"{name}\""));
            capture::read(text.as_bytes())
                .collect::<Result<_>>()
                .expect("the sample is a capture")
        })
        .collect();
    let mut turns: Vec<_> = captures.into_iter().map(Vec::into_iter).collect();
    let together = (0..SAMPLE.lines().count())
        .flat_map(|_| {
            turns
                .iter_mut()
                .filter_map(Iterator::next)
                .collect::<Vec<_>>()
        })
        .map(Ok);
    let replay = replay(together, 2, None).expect("nothing fails");
    assert_eq!(replay.summaries.len(), names.len());
    for summary in &replay.summaries {
        check_sample(summary);
    }
}

/// The sample with something done to its lines; `at` is where the middle one of a kind is.
fn tampered(kind: &str, tamper: impl FnOnce(&mut Vec<String>, usize)) -> Summary {
    let mut lines: Vec<String> = SAMPLE.lines().map(str::to_owned).collect();
    let of_kind: Vec<usize> = (0..lines.len())
        .filter(|&line| lines[line].contains(kind))
        .collect();
    tamper(&mut lines, of_kind[of_kind.len() / 2]);
    book(&lines.join("\n"))
}

#[test]
fn what_is_lost_repeated_or_out_of_order_shows() {
    for kind in ["@depth", "@trade"] {
        let next = |lines: &[String], at: usize| {
            let after = lines[at + 1..].iter().position(|line| line.contains(kind));
            at + 1 + after.expect("the middle one is not the last")
        };
        let lost = tampered(kind, |lines, at| drop(lines.remove(at)));
        assert_eq!(lost.seen.breaks, 1, "{kind} lost: {lost:?}");
        let repeated = tampered(kind, |lines, at| lines.insert(at, lines[at].clone()));
        assert_eq!(repeated.seen.breaks, 1, "{kind} repeated: {repeated:?}");
        let swapped = tampered(kind, |lines, at| {
            let other = next(lines, at);
            lines.swap(at, other);
        });
        assert_eq!(swapped.seen.breaks, 3, "{kind} swapped: {swapped:?}");
        for summary in [lost, repeated, swapped] {
            assert!(!summary.is_right());
        }
    }
}

#[test]
fn a_ticker_that_says_something_else_shows() {
    // All quantities of the ticker's bids end in another digit.
    let forged = SAMPLE
        .lines()
        .map(|line| match line.contains("@bookTicker") {
            true => line.replace("0\",\"a\":", "1\",\"a\":"),
            false => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    let seen = book(&forged).seen;
    assert_eq!((seen.agreed, seen.shared), (0, 27));
}

#[test]
fn a_book_that_was_never_compared_is_not_right() {
    let no_ticker: Vec<&str> = SAMPLE
        .lines()
        .filter(|line| !line.contains("@bookTicker"))
        .collect();
    let summary = book(&no_ticker.join("\n"));
    assert_eq!((summary.seen.shared, summary.seen.breaks), (0, 0));
    assert!(!summary.is_right());
}

#[test]
fn a_gzipped_capture_is_read_like_a_plain_one() {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped
        .write_all(SAMPLE.as_bytes())
        .expect("memory is writable");
    let zipped = zipped.finish().expect("memory is writable");
    assert_ne!(zipped, SAMPLE.as_bytes());
    let text = capture::unzipped(Cursor::new(zipped)).expect("this is gzip");
    let replay = replay(capture::read(text), 1, None).expect("this is a capture");
    check_sample(&only(replay));
}

#[test]
fn bad_lines_are_named() {
    let good = SAMPLE.lines().next().expect("the sample has lines");
    for (bad, says) in [
        ("17", "is not a receive time"),
        ("soon {}", "\"soon\" is no receive time"),
        ("17 {", "EOF"),
        (
            r#"17 {"stream":"x@kline","data":{}}"#,
            "\"kline\" is none of",
        ),
        (
            r#"17 {"stream":"x@trade","data":{"s":"MADEUP","t":1,"p":"1,5","q":"1"}}"#,
            "\"1,5\" is no number",
        ),
        (
            r#"17 {"stream":"x@trade","data":{"s":"MADEUP","t":1,"p":"1.5"}}"#,
            "`q`",
        ),
        (
            r#"17 {"stream":"x@trade","data":{"s":"OTHER","t":1,"p":"1","q":"1"}}"#,
            "another symbol",
        ),
    ] {
        let text = format!("{good}\n{bad}\n");
        let fault = replay(capture::read(text.as_bytes()), 1, None).expect_err(bad);
        let fault = fault.to_string();
        assert!(
            fault.starts_with("line 2: ") && fault.contains(says),
            "{bad}: {fault}"
        );
    }
}

#[test]
fn decimals_are_exact() {
    for (text, units, shown) in [
        ("61685.99000000", 6_168_599_000_000, "61685.99"),
        ("0.00000001", 1, "0.00000001"),
        ("7", 700_000_000, "7.00"),
        ("0.5", 50_000_000, "0.50"),
        ("92233720368.54775807", i64::MAX, "92233720368.54775807"),
    ] {
        assert_eq!(decimal(text), Decimal(units), "{text}");
        assert_eq!(decimal(text).to_string(), shown, "{text}");
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "1e5",
        "0.000000001",
        "92233720368.54775808",
    ] {
        assert!(Decimal::try_from(text).is_err(), "{text:?} was taken");
    }
}

/// The figures are the exchange's and an independent program's.
#[test]
fn the_real_capture_agrees_564_times() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/binance/spot_btcusdt_20240808.gz");
    if !file.exists() {
        eprintln!(
            "\n*** NOT TESTED: the real capture is not there ({}) ***\n",
            file.display()
        );
        return;
    }
    for workers in [1, 2] {
        let records = capture::open(&file).expect("the file can be read");
        let replay = replay(records, workers, None).expect("the file is a capture");
        assert_eq!(replay.events, 41_249);
        let summary = only(replay);
        let seen = summary.seen;
        assert_eq!((seen.agreed, seen.shared), (564, 564));
        assert_eq!((seen.crossed, seen.breaks), (0, 0));
        let top = summary.top.expect("neither side is empty");
        assert_eq!(
            (top.bid.price, top.ask.price),
            (decimal("61685.99"), decimal("61686.00"))
        );
        assert_eq!((summary.bid_levels, summary.ask_levels), (1_209, 2_196));
    }
}
