//! The CloudEvents conformance vectors, where they are present: every valid event and batch is taken, every
//! invalid one refused with its line and a reason.

mod support;

use serde_json::Value;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use support::{Ran, run_with_stdin};

/// Where the vectors lie beside a checkout; a machine without them checks less, and says so.
fn vectors(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/cloudevents/format-json")
        .join(name);
    let Ok(text) = fs::read_to_string(&path) else {
        // Not `eprintln!`, which the test harness keeps to itself when a test passes.
        let told = writeln!(
            io::stderr(),
            "NOT CHECKED: the CloudEvents conformance vectors are not here ({name})"
        );
        told.expect("stderr takes a line");
        return None;
    };
    let file: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let tests = file["tests"]
        .as_array()
        .expect("the vectors are in `tests`")
        .clone();
    assert!(!tests.is_empty(), "{name} has no vectors");
    Some(tests)
}

/// Runs what a vector has, on one line and over many.
fn each(name: &str, member: &str, check: impl Fn(&str, &Value, Ran)) {
    for test in vectors(name).unwrap_or_default() {
        let id = test["id"].as_str().expect("vectors have ids");
        let value = &test[member];
        let mut texts = vec![value.to_string()];
        if value.is_array() {
            texts.push(serde_json::to_string_pretty(value).expect("values are JSON"));
        }
        for text in texts {
            check(id, value, run_with_stdin(&["-"], text.as_bytes()));
        }
    }
}

#[test]
fn valid_events_are_taken() {
    each("valid-events.json", "event", |id, event, ran| {
        assert_eq!(ran.code, Some(0), "{id}: {ran:#?}");
        let name = event["type"].as_str().expect("valid events have a type");
        assert_eq!(ran.json()["types"][name], 1, "{id}");
    });
}

#[test]
fn valid_batches_are_taken() {
    each("valid-batches.json", "batch", |id, batch, ran| {
        assert_eq!(ran.code, Some(0), "{id}: {ran:#?}");
        let count = batch.as_array().map(Vec::len);
        assert_eq!(Some(ran.count("handled") as usize), count, "{id}");
    });
}

#[test]
fn invalid_events_are_refused() {
    each("invalid-events.json", "event", |id, _, ran| {
        assert_eq!(ran.code, Some(1), "{id}: {ran:#?}");
        assert_eq!(
            (ran.count("handled"), ran.count("bad_lines")),
            (0, 1),
            "{id}"
        );
        assert!(ran.stderr.contains("stdin:1: "), "{id}: {}", ran.stderr);
    });
}

#[test]
fn invalid_batches_are_refused() {
    each("invalid-batches.json", "batch", |id, _, ran| {
        assert_eq!(ran.code, Some(1), "{id}: {ran:#?}");
        assert!(ran.stderr.contains("stdin:"), "{id}: {}", ran.stderr);
    });
}
