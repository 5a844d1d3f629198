//! Replaying files and stdin: formats, fields, times, and what happens at bad lines.

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Ran, ended, file, folder, ringbolt, run, run_with_stdin};

fn ok(args: &[&str]) -> Ran {
    let args = [args, &["--format", "json"]].concat();
    run(&args).expect_code(0).expect_consistent()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).expect("memory takes all");
    packer.finish().expect("memory takes all")
}

/// Many rows over a few keys, so that order has something to go wrong with.
fn rows(count: u32) -> String {
    let mut text = String::from("sym,kind,ts\n");
    for row in 0..count {
        text += &format!(
            "S{},{},{}\n",
            row % 7,
            ["buy", "sell"][row as usize % 2],
            1_700_000_000 + row
        );
    }
    text
}

fn lines(count: u32) -> String {
    (0..count)
        .map(|line| {
            format!(
                "{{\"id\":{line},\"user\":{{\"id\":\"u{}\"}},\"kind\":\"k\"}}\n",
                line % 13
            )
        })
        .collect()
}

#[test]
fn csv_gives_types_and_keys_by_columns() {
    let path = file(&folder("csv"), "t.csv", rows(5_000));
    let ran = ok(&[
        &path,
        "--type",
        "kind",
        "--key",
        "sym",
        "--publishers",
        "3",
        "--workers",
        "2",
    ]);
    assert_eq!(
        ran.json()["types"],
        serde_json::json!({"buy": 2_500, "sell": 2_500})
    );
    assert_eq!(
        ok(&[&path]).json()["types"],
        serde_json::json!({"row": 5_000})
    );
}

#[test]
fn json_lines_give_types_and_keys_by_pointers() {
    let path = file(&folder("json"), "t.jsonl", lines(5_000));
    let ran = ok(&[
        &path,
        "--type",
        "/kind",
        "--key",
        "/user/id",
        "--workers",
        "2",
    ]);
    assert_eq!(ran.json()["types"], serde_json::json!({"k": 5_000}));
    assert_eq!(
        ok(&["run", &path]).json()["types"],
        serde_json::json!({"json": 5_000})
    );
}

#[test]
fn several_inputs_are_one_run_and_gzip_is_no_matter() {
    let folder = folder("several");
    let csv = file(&folder, "a.csv.gz", gzip(&rows(100)));
    // Told by content: neither name says anything.
    let json = file(&folder, "b", [gzip(&lines(50)), gzip(&lines(25))].concat());
    let ran = ok(&[&csv, &json]);
    assert_eq!(
        ran.json()["types"],
        serde_json::json!({"row": 100, "json": 75})
    );
    assert_eq!(ok(&[&csv, "--events", "30"]).count("handled"), 30);
}

#[test]
fn stdin_is_a_file_like_others() {
    let ran = run_with_stdin(&["-", "--key", "sym"], rows(300).as_bytes());
    let ran = ran.expect_code(0).expect_consistent();
    assert_eq!(ran.count("handled"), 300);
    let ran = run_with_stdin(&["-"], &gzip(&lines(300))).expect_code(0);
    assert_eq!(ran.count("handled"), 300);
    assert_eq!(
        run_with_stdin(&["-"], b"").expect_code(0).count("handled"),
        0
    );
}

#[test]
fn cloudevents_come_by_lines_and_by_arrays() {
    let event = |id: u32| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t.{}","subject":"s{}"}}"#,
            id % 2,
            id % 5
        )
    };
    let all: Vec<String> = (0..1_000).map(event).collect();
    for text in [all.join("\n"), format!("[\n{}\n]\n", all.join(",\n "))] {
        let ran = run_with_stdin(
            &["-", "--publishers", "2", "--workers", "2"],
            text.as_bytes(),
        );
        let ran = ran.expect_code(0).expect_consistent();
        assert_eq!(
            ran.json()["types"],
            serde_json::json!({"t.0": 500, "t.1": 500})
        );
    }
}

#[test]
fn a_bad_line_ends_the_run_after_what_came_before() {
    let text = "{\"k\":1}\n{\"k\":2}\n{\"k\":\n{\"k\":4}\n";
    let path = file(&folder("bad"), "bad.jsonl", text);
    let ran = run(&[&path, "--format", "json"])
        .expect_code(1)
        .expect_consistent();
    assert_eq!((ran.count("handled"), ran.count("bad_lines")), (2, 1));
    assert!(
        ran.stderr.contains(&format!("{path}:3: is not JSON")),
        "{}",
        ran.stderr
    );
}

#[test]
fn bad_lines_may_be_skipped_and_are_counted() {
    let text = "{\"k\":1}\nnonsense\n{\"k\":\n{\"k\":4}\n";
    let path = file(&folder("skipped"), "bad.jsonl", text);
    let ran = run(&[&path, "--on-error", "skip", "--format", "json"]);
    let ran = ran.expect_code(0).expect_consistent();
    assert_eq!((ran.count("handled"), ran.count("bad_lines")), (2, 2));
    for words in ["bad.jsonl:2: ", "bad.jsonl:3: ", "2 bad lines were skipped"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[test]
fn a_thousand_bad_lines_are_not_all_described() {
    let ran = run_with_stdin(
        &["-", "--on-error", "skip"],
        &[b"{}\n", "{\n".repeat(1_000).as_bytes()].concat(),
    );
    let ran = ran.expect_code(0);
    assert_eq!(ran.count("bad_lines"), 1_000);
    assert!(ran.stderr.lines().count() < 30, "{}", ran.stderr);
}

#[test]
fn bad_rows_and_missing_columns_are_told() {
    let folder = folder("rows");
    let path = file(&folder, "r.csv", "a,b\n1,2\n3\n4,5\n");
    let ran = run(&[&path, "--format", "json"]).expect_code(1);
    assert_eq!(ran.count("handled"), 1);
    assert!(ran.stderr.contains("r.csv:3: "), "{}", ran.stderr);
    let ran = run(&[&path, "--key", "c"]).expect_code(1);
    assert!(ran.stderr.contains("no column \"c\""), "{}", ran.stderr);
}

#[test]
fn a_rest_that_cannot_be_read_is_a_failure_also_when_skipping() {
    let mut packed = gzip(&rows(1_000));
    packed.truncate(packed.len() / 2);
    let path = file(&folder("cut"), "cut.csv.gz", packed);
    let ran = run(&[&path, "--on-error", "skip", "--format", "json"]).expect_code(1);
    assert!(ran.stderr.contains("cannot be read"), "{}", ran.stderr);
}

#[test]
fn a_missing_file_is_told_before_anything_is_run() {
    let folder = folder("missing");
    let here = file(&folder, "here.csv", rows(5));
    let gone = folder.join("gone.csv");
    let ran = run(&[&here, path(&gone), "--format", "json"]).expect_code(1);
    assert!(
        ran.stdout.is_empty() && ran.stderr.contains("gone.csv"),
        "{ran:#?}"
    );
    let ran = run(&[path(&folder)]).expect_code(1);
    assert!(ran.stderr.contains("directory"), "{}", ran.stderr);
}

#[test]
fn replay_goes_by_the_inputs_own_times() {
    // A hundred seconds at two hundred times the speed are half a second.
    let text = "t,k\n2024-08-08T00:00:00Z,a\n1723075300000,b\n";
    let begun = Instant::now();
    let ran = run_with_stdin(&["-", "--time", "t", "--speed", "200"], text.as_bytes());
    assert_eq!(ran.expect_code(0).expect_consistent().count("handled"), 2);
    assert!(begun.elapsed().as_millis() >= 500);
}

#[test]
fn waiting_for_the_first_record_is_no_latency() {
    let mut child = ringbolt(&["-", "--rate", "1000", "--format", "json"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // Not for anything to happen meanwhile: the wait itself must not show.
    std::thread::sleep(Duration::from_secs(1));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(b"{}\n{}\n{}\n").expect("the run reads");
    drop(stdin);
    let ran = ended(child).expect_code(0).expect_consistent();
    let max_ns = ran.json()["latency"]["end_to_end"]["max"].as_u64();
    assert!(max_ns.is_some_and(|ns| ns < 500_000_000), "{ran:#?}");
}

#[test]
fn enough_is_enough_before_the_next_record_comes() {
    let mut child = ringbolt(&["-", "--events", "2", "--format", "json"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(b"{}\n{}\n").expect("the run reads");
    // The pipe stays open: nothing else tells the run that it is over.
    let ran = ended(child).expect_code(0).expect_consistent();
    assert_eq!(ran.count("handled"), 2);
    drop(stdin);
}

#[test]
fn times_that_go_backwards_are_due_at_once_and_in_order() {
    let text = "t,k\n1723075300,a\n1723075000,a\n1723075301,a\n1723075299,a\n,a\n";
    let begun = Instant::now();
    let args = ["-", "--time", "t", "--key", "k", "--speed", "10"];
    let ran = run_with_stdin(&args, text.as_bytes()).expect_code(0);
    assert_eq!(ran.expect_consistent().count("handled"), 5);
    let took_ms = begun.elapsed().as_millis();
    assert!((100..20_000).contains(&took_ms), "{took_ms}");
}

#[test]
#[cfg(unix)]
fn there_may_be_more_files_than_may_be_open() {
    let folder = folder("many");
    let files: Vec<String> = (0..60)
        .map(|place| file(&folder, &format!("{place}.csv"), "k\na\n"))
        .collect();
    let command = format!(
        "ulimit -n 40; exec {} --format json {}",
        env!("CARGO_BIN_EXE_ringbolt"),
        files.join(" ")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output();
    let ran = Ran::from(output.expect("a shell is there")).expect_code(0);
    assert_eq!(ran.count("handled"), 60);
}

#[test]
fn replay_without_times_is_told() {
    let ran = run_with_stdin(&["-", "--speed", "2"], rows(3).as_bytes()).expect_code(1);
    assert!(
        ran.stderr.contains("stdin:2: has no time"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("--time"), "{}", ran.stderr);
}

#[test]
fn a_field_that_no_record_has_is_told() {
    let ran = run_with_stdin(&["-", "--key", "/usr/id"], lines(3).as_bytes()).expect_code(0);
    assert!(ran.stderr.contains("--key /usr/id"), "{}", ran.stderr);
    let ran = run_with_stdin(&["-", "--type", "knid"], lines(3).as_bytes()).expect_code(0);
    assert!(ran.stderr.contains("--type knid"), "{}", ran.stderr);
    let ran = run_with_stdin(&["-", "--type", "kind"], lines(3).as_bytes()).expect_code(0);
    assert_eq!(ran.stderr, "");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the target folder's name is text")
}
