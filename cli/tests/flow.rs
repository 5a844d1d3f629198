//! The built-in flow, the options that shape a run, and what is printed.

mod support;

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Instant;
use support::{Ran, folder, ringbolt, run};

fn flow(args: &[&str]) -> Ran {
    let args = [&["--events", "20000", "--format", "json"], args].concat();
    run(&args).expect_code(0).expect_consistent()
}

#[test]
fn the_result_is_one_object_with_every_figure() {
    let ran = flow(&[]);
    let result = ran.json();
    assert_eq!(ran.count("handled"), 20_000);
    for name in [
        "failed",
        "skipped",
        "withdrawn",
        "abandoned",
        "dropped",
        "bad_lines",
    ] {
        assert_eq!(ran.count(name), 0, "{name}");
    }
    assert!(
        result["events_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
    assert!(["each", "adaptive"].contains(&result["stamps"].as_str().expect("stamps is a name")));
    for distribution in ["queue_wait", "handler", "end_to_end"] {
        let figures = &result["latency"][distribution];
        assert_eq!(figures["count"], 20_000, "{distribution}");
        let rising: Vec<u64> = ["p50", "p90", "p99", "p99_9", "p99_99", "max"]
            .iter()
            .map(|name| {
                figures[*name]
                    .as_u64()
                    .expect("figures are in whole nanoseconds")
            })
            .collect();
        assert!(
            rising.is_sorted() && rising[5] > 0,
            "{distribution}: {rising:?}"
        );
    }
    assert_eq!(
        result["types"].as_object().map(serde_json::Map::len),
        Some(4)
    );
    assert_eq!(
        ran.stderr, "",
        "stderr is no terminal, so nothing is said there"
    );
}

#[test]
fn the_word_run_changes_nothing() {
    let with = run(&["run", "--events", "3000", "--format", "json"]).expect_code(0);
    let without = run(&["--events", "3000", "--format", "json"]).expect_code(0);
    assert_eq!(with.json()["types"], without.json()["types"]);
}

#[test]
fn the_seed_decides_the_events_and_threads_do_not() {
    let types = |args: &[&str]| flow(args).json()["types"].clone();
    let one = types(&["--seed", "7"]);
    assert_eq!(
        one,
        types(&["--seed", "7", "--publishers", "3", "--workers", "2"])
    );
    assert_ne!(one, types(&["--seed", "8"]));
}

#[test]
fn text_is_for_people() {
    let ran = run(&["--events", "2000"]).expect_code(0);
    for words in [
        "2,000 events handled",
        "order violations: 0",
        "order.placed",
        "p99.99",
        "max",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'), "a pipe gets no colours");
}

#[test]
fn no_events_are_a_result_too() {
    let ran = run(&["--events", "0", "--format", "json"])
        .expect_code(0)
        .expect_consistent();
    assert_eq!(ran.count("admitted"), 0);
}

#[test]
fn a_rate_is_kept_from_below() {
    let begun = Instant::now();
    // The last of 501 events at 1,000 a second is due after half a second.
    let ran = run(&["--events", "501", "--rate", "1000", "--format", "json"])
        .expect_code(0)
        .expect_consistent();
    assert!(begun.elapsed().as_millis() >= 500);
    assert!(
        ran.json()["events_per_second"]
            .as_f64()
            .is_some_and(|rate| rate <= 1_003.0)
    );
}

#[test]
fn latency_counts_from_the_intended_time() {
    // All events are due within a microsecond, so the last one waits for all the others: a closed
    // loop, which stamps when it publishes, would show a small part of that.
    let args = ["--events", "100000", "--rate", "1e12", "--format", "json"];
    let ran = run(&args).expect_code(0).expect_consistent();
    let result = ran.json();
    let seconds = 100_000.0 / result["events_per_second"].as_f64().expect("a number");
    let max_ns = result["latency"]["end_to_end"]["max"]
        .as_f64()
        .expect("a number");
    assert!(
        max_ns > seconds * 1e9 * 0.5,
        "{max_ns} ns in a run of {seconds} s"
    );
}

#[test]
fn the_flow_has_times_of_its_own() {
    // Ten microseconds apart in the mean: twenty thousand events are a fifth of a second.
    let begun = Instant::now();
    flow(&["--speed", "2"]);
    assert!(begun.elapsed().as_millis() >= 80);
}

#[test]
fn a_report_directory_has_every_form() {
    let path = folder("report").join("made/on/demand");
    let ran = flow(&[
        "--report",
        path.to_str().expect("the folder's name is text"),
    ]);
    let read = |name: &str| fs::read_to_string(path.join(name)).expect("the file is there");
    for name in ["end_to_end.hgrm", "queue_wait.hgrm", "handler.hgrm"] {
        let table = read(name);
        assert!(table.trim_start().starts_with("Value"), "{name}");
        assert!(
            table.contains("Total count    =        20000]"),
            "{name}: {table}"
        );
    }
    let log = read("latency.hlog");
    let heads = log.lines().filter(|line| line.starts_with('#')).count();
    let intervals: Vec<&str> = log.lines().filter(|line| line.contains(",HIST")).collect();
    assert!(
        heads >= 2 && log.contains("\"StartTimestamp\"") && !intervals.is_empty(),
        "{log}"
    );
    let report: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(report["result"], ran.json());
    assert_eq!(report["engine"]["totals"]["handled"], 20_000);
    let plot = read("latency.svg");
    assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"));
    assert!(plot.contains("99.99 %") && plot.matches("<polyline").count() == 3);
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &["--workers", "0"][..],
        &["--rate", "fast"],
        &["--speed", "0"],
        &["--rate", "5", "--speed", "5"],
        &["--format", "xml"],
        &["--key", "/k"],
        &["-", "-"],
        &["--unknown"],
    ] {
        let ran = run(args).expect_code(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:#?}");
    }
}

#[test]
fn help_tells_the_options() {
    for args in [&["--help"][..], &["run", "--help"]] {
        let help = run(args).expect_code(0).stdout;
        for option in [
            "--workers",
            "--publishers",
            "--rate",
            "--speed",
            "--on-error",
            "--report",
            "Examples:",
            "Exit status:",
        ] {
            assert!(help.contains(option), "{option}: {help}");
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = ringbolt(&["--events", "50000", "--rate", "500000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // Closed while events are still due, so before anything is printed.
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .expect("stderr is a pipe")
        .read_to_string(&mut stderr)
        .expect("stderr is text");
    let status = child.wait().expect("the command ends");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_stderr_that_takes_nothing_changes_no_exit_code() {
    for (args, code) in [(&["nowhere.csv"][..], 1), (&["--events", "x"], 2)] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let status = ringbolt(args)
            .stderr(full.expect("Linux has /dev/full"))
            .status()
            .expect("the command starts");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_report_directory_that_cannot_be_made_is_told_before_the_run() {
    let file = support::file(&folder("no_directory"), "taken", "");
    let ran = run(&["--events", "10", "--report", &file]).expect_code(1);
    assert!(
        ran.stdout.is_empty() && ran.stderr.contains(&file),
        "{ran:#?}"
    );
}

#[test]
fn a_report_that_cannot_be_written_does_not_hide_the_result() {
    let path = folder("in_the_way");
    fs::create_dir(path.join("end_to_end.hgrm")).expect("the target folder can be written");
    let at = path.to_str().expect("the folder's name is text");
    let args = ["--events", "10", "--format", "json", "--report", at];
    let ran = run(&args).expect_code(1).expect_consistent();
    assert_eq!(ran.count("handled"), 10);
    assert!(ran.stderr.contains("end_to_end.hgrm"), "{ran:#?}");
}
