//! Stopping a run from outside: what was admitted is handled and reported, and the exit code says why it ended.
#![cfg(unix)]

mod support;

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{ended, folder, ringbolt, run_with_stdin};

/// Longest that a run may take to get to its first event.
const PATIENCE: Duration = Duration::from_secs(60);

fn signal(child: &Child, signal: i32) {
    let id = child.id().to_string();
    let status = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &id])
        .status()
        .expect("kill is there");
    assert!(status.success());
}

/// A run that would go on for hours, once it listens to signals: it opens its inputs after that, so a
/// report directory that has appeared says that it does.
fn begin(test: &str, args: &[&str]) -> (Child, Option<std::process::ChildStdin>) {
    let report = folder(test).join("report");
    let mut child = ringbolt(args)
        .args(["--format", "json", "--report"])
        .arg(&report)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let stdin = child.stdin.take();
    let begun = Instant::now();
    while !report.join("latency.hlog").exists() {
        assert!(begun.elapsed() < PATIENCE, "the run does not begin");
        assert!(
            child.try_wait().expect("the command runs").is_none(),
            "the run has ended"
        );
        std::thread::yield_now();
    }
    (child, stdin)
}

#[test]
fn ctrl_c_drains_reports_and_exits_130() {
    let (child, _stdin) = begin("ctrl_c", &["--rate", "1000", "--events", "100000000"]);
    signal(&child, SIGINT);
    let ran = ended(child).expect_code(130).expect_consistent();
    assert_eq!(ran.count("abandoned"), 0);
}

#[test]
fn termination_drains_reports_and_exits_143() {
    let (child, _stdin) = begin("term", &["--events", "100000000000", "--publishers", "2"]);
    signal(&child, SIGTERM);
    let ran = ended(child).expect_code(143).expect_consistent();
    assert_eq!(ran.count("abandoned"), 0);
}

#[test]
fn a_reader_that_waits_for_a_pipe_does_not_hold_the_run_up() {
    let (child, stdin) = begin("waiting", &["-"]);
    let mut stdin = stdin.expect("stdin is a pipe");
    stdin.write_all(b"{\"k\":1}\n").expect("the run reads");
    signal(&child, SIGINT);
    let ran = ended(child).expect_code(130).expect_consistent();
    assert!(ran.count("handled") <= 1);
    drop(stdin);
}

#[test]
fn a_named_pipe_without_a_writer_does_not_hold_the_run_up() {
    let pipe = folder("pipe").join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let (child, _stdin) = begin(
        "no_writer",
        &[pipe.to_str().expect("the folder's name is text")],
    );
    signal(&child, SIGINT);
    let ran = ended(child).expect_code(130).expect_consistent();
    assert_eq!(ran.count("handled"), 0);
}

#[test]
fn without_a_signal_the_same_input_ends_by_itself() {
    assert_eq!(
        run_with_stdin(&["-"], b"{\"k\":1}\n")
            .expect_code(0)
            .count("handled"),
        1
    );
}
