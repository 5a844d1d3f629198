//! The command as it is run: what it says and how it ends.

use std::process::{Command, Output};

fn perf(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf"))
        .args(arguments)
        .output()
        .expect("the program is built beside its tests")
}

#[test]
fn bad_usage_exits_with_2_and_says_why() {
    for arguments in [
        &[][..],
        &["compar"],
        &["compare", "--quick", "--full"],
        &["compare", "--threshold", "0.8"],
        &["memory", "--child", "nothing"],
        &["failing", "--child", "nothing"],
        &["instructions", "--child", "publish", "many"],
        &["instructions", "--child", "nothing", "1"],
    ] {
        let output = perf(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_tells_of_every_command_and_option() {
    let text = |arguments: &[&str]| {
        let output = perf(arguments);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).expect("help is text")
    };
    let all = text(&["--help"]);
    for command in [
        "compare",
        "latency",
        "scaling",
        "idle",
        "memory",
        "failing",
        "instructions",
        "soak",
    ] {
        assert!(all.contains(command), "{command} in {all}");
        let help = text(&[command, "--help"]);
        assert!(!help.contains("--child"), "{help}");
        if !["instructions", "soak"].contains(&command) {
            for option in ["--quick", "--full", "--format", "--threshold"] {
                assert!(help.contains(option), "{option} in {help}");
            }
        }
    }
}

#[test]
fn a_soak_finds_what_was_planted_and_nothing_else() {
    let output = perf(&["soak", "--minutes", "0.03", "--format", "json"]);
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\"violation_count\": 0"), "{text}");
    let output = perf(&["soak", "--minutes", "0.03", "--plant", "loss"]);
    let text = String::from_utf8(output.stdout).expect("the summary is text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().any(|line| line.starts_with("PD1:")), "{text}");
}

/// The whole way of a bar: measured by children, judged, said in the last line and by the exit code.
#[cfg(target_os = "linux")]
#[test]
fn the_verdict_is_the_last_line_and_the_exit_code() {
    let output = perf(&["memory", "--quick", "--threshold"]);
    let text = String::from_utf8(output.stdout).expect("tables are text");
    let verdict = text.lines().last().unwrap_or_default();
    let expected = match output.status.code() {
        Some(0) => "verdict: PASSED",
        Some(1) => "verdict: MISSED",
        code => panic!("{code:?}: {text}"),
    };
    assert!(verdict.starts_with(expected), "{text}");
}
