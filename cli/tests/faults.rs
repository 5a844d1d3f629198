//! Planted faults: what fails is decided by the seed, tried again in order, and accounted for.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::{Ran, file, folder, run, run_with_stdin};

fn faulty(args: &[&str]) -> Ran {
    faulty_of("20000", args)
}

fn faulty_of(events: &str, args: &[&str]) -> Ran {
    let args = [&["run", "--events", events, "--format", "json"], args].concat();
    let ran = run(&args).expect_code(0).expect_consistent();
    assert_eq!(ran.count("failed"), 0, "{ran:#?}");
    assert_eq!(ran.stderr, "", "a planted panic prints nothing");
    ran
}

/// What is the same in two runs of a letters file: of each letter what it is of and why it is there.
fn letters(path: &str) -> BTreeMap<String, (String, u64)> {
    let text = fs::read_to_string(path).expect("the run wrote it");
    let letters = text.lines().map(|line| {
        let letter: Value = serde_json::from_str(line).expect("each line is JSON");
        let event = format!("{} {}", letter["event_name"], letter["event"]);
        let errors = letter["errors"].to_string();
        (event, (errors, letter["attempt_count"].as_u64().unwrap()))
    });
    letters.collect()
}

#[test]
fn everything_is_accounted_for_and_every_key_in_order() {
    let ran = faulty(&[
        "--fail",
        "0.1",
        "--fail-permanent",
        "0.01",
        "--panic",
        "0.02",
        "--slow",
        "0.001:1ms",
        "--workers",
        "2",
        "--publishers",
        "2",
    ]);
    assert_eq!(ran.count("admitted"), 20_000);
    let dead = ran.count("dead_lettered");
    assert!((150..300).contains(&dead), "{ran:#?}");
    // Each failed attempt was followed by another, or its delivery became a letter.
    assert_eq!(
        ran.count("failed_attempts"),
        ran.count("retries") + dead,
        "{ran:#?}"
    );
    assert!(ran.count("timeouts") > 0, "{ran:#?}");
    let reasons = ran.json()["letters"].clone();
    let by_reason: u64 = reasons
        .as_object()
        .expect("letters is an object")
        .values()
        .map(|count| count.as_u64().expect("letters has counts"))
        .sum();
    assert_eq!(by_reason, dead, "{reasons}");
    assert!(reasons["permanent"].as_u64() > Some(100), "{reasons}");
}

#[test]
fn the_seed_decides_the_letters_and_threads_do_not() {
    let folder = folder("same_letters");
    let letters_of = |seed: &str, workers: &str, publishers: &str| {
        let path = file(&folder, "letters.jsonl", "");
        let ran = faulty(&[
            "--fail",
            "0.3",
            "--fail-permanent",
            "0.005",
            "--panic",
            "0.1",
            "--seed",
            seed,
            "--workers",
            workers,
            "--publishers",
            publishers,
            "--dead-letters",
            &path,
        ]);
        let letters = letters(&path);
        assert_eq!(letters.len() as u64, ran.count("dead_lettered"));
        letters
    };
    let one = letters_of("7", "1", "1");
    assert!(one.len() > 300);
    assert_eq!(one, letters_of("7", "3", "2"));
    assert_ne!(one, letters_of("8", "1", "1"));
}

#[test]
fn the_letters_of_a_breaker_that_opens_are_the_same_too() {
    let folder = folder("open_breaker");
    let letters_of = |workers: &str| {
        let path = file(&folder, "letters.jsonl", "");
        let ran = run(&[
            "run",
            "--events",
            "3000",
            "--fail",
            "0.6",
            "--workers",
            workers,
            "--dead-letters",
            &path,
            "--format",
            "json",
        ]);
        let ran = ran.expect_code(0).expect_consistent();
        assert!(ran.count("breaker_transitions") >= 2, "{ran:#?}");
        letters(&path)
    };
    assert_eq!(letters_of("1"), letters_of("2"));
}

#[test]
fn what_always_fails_ends_too() {
    let ran = faulty_of("2000", &["--fail", "1"]);
    assert_eq!(ran.count("dead_lettered"), 2_000);
    assert_eq!(ran.count("failed_attempts"), 8_000);
    let ran = run(&["run", "--events", "2000", "--panic", "1"]).expect_code(0);
    for words in [
        "0 events handled",
        "accounted for: 2,000 admitted = 0 handled + 2,000 dead-lettered",
        "attempts: 8,000 failed, 6,000 retried",
        "then disabled so that the run ends",
        "dead letters: 2,000 (panic 2,000)",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
}

#[test]
fn input_has_faults_as_the_flow_has() {
    let mut rows = String::from("sym,n\n");
    for row in 0..3_000 {
        rows += &format!("S{},{row}\n", row % 7);
    }
    for args in [&["--key", "sym"][..], &[]] {
        let args = [
            &["run", "-", "--fail-permanent", "0.05", "--fail", "0.1"],
            args,
        ]
        .concat();
        let ran = run_with_stdin(&args, rows.as_bytes());
        let ran = ran.expect_code(0).expect_consistent();
        assert!((80..250).contains(&ran.count("dead_lettered")), "{ran:#?}");
    }
}

#[test]
fn nothing_that_fails_is_no_fault() {
    let path = file(&folder("no_letters"), "letters.jsonl", "what was there");
    let ran = faulty(&["--fail", "0", "--dead-letters", &path]);
    assert_eq!(
        (ran.count("handled"), ran.count("failed_attempts")),
        (20_000, 0)
    );
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "");
    let plain = run(&["--events", "100", "--format", "json"]).expect_code(0);
    for name in [
        "failed_attempts",
        "retries",
        "timeouts",
        "breaker_transitions",
    ] {
        assert_eq!(plain.count(name), 0, "{name}");
    }
    let text = run(&["--events", "100"]).expect_code(0).stdout;
    assert!(!text.contains("accounted"), "{text}");
}

#[test]
fn a_parked_key_keeps_its_later_events() {
    let ran = faulty(&["--fail-permanent", "0.001", "--sequential"]);
    let reasons = ran.json()["letters"].clone();
    assert!(
        reasons["sequence_blocked"].as_u64() > reasons["permanent"].as_u64(),
        "{reasons}"
    );
}

#[test]
fn bad_rates_are_told_with_what_they_may_be() {
    for (args, words) in [
        (&["--fail", "1.5"][..], &["--fail", "1.5", "0 to 1"][..]),
        (&["--fail", "-0.1"], &["--fail", "-0.1", "0 to 1"]),
        (
            &["--fail-permanent", "nan"],
            &["--fail-permanent", "nan", "0 to 1"],
        ),
        (&["--panic", "often"], &["--panic", "often", "0 to 1"]),
        (&["--slow", "0.1"], &["--slow", "0.1", "RATE:DURATION"]),
        (&["--slow", "7:5ms"], &["--slow", "7:5ms", "0 to 1"]),
        (
            &["--slow", "0.1:0s"],
            &["--slow", "0.1:0s", "above 0", "60s"],
        ),
        (
            &["--fail", "0.6", "--panic", "0.6"],
            &["--fail 0.6", "--panic 0.6", "1.2", "0 to 1"],
        ),
    ] {
        let ran = run(&[&["run"], args].concat()).expect_code(2);
        for word in words {
            assert!(ran.stderr.contains(word), "{word}: {ran:#?}");
        }
        assert!(ran.stdout.is_empty(), "{ran:#?}");
    }
}

#[test]
fn letters_that_cannot_be_written_are_told_before_the_run() {
    let folder = folder("no_place");
    let nowhere = folder.join("none/letters.jsonl");
    for path in [nowhere.as_path(), folder.as_path()] {
        let path = path.to_str().expect("the folder's name is text");
        let ran = run(&["--events", "10", "--fail", "1", "--dead-letters", path]).expect_code(1);
        assert!(
            ran.stdout.is_empty() && ran.stderr.contains(path),
            "{ran:#?}"
        );
    }
}
