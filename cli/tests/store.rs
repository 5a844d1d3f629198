//! Event stores: filled by a run, written to a file, looked through, read, and dispatched again.

mod support;

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use support::{Ran, file, folder, ringbolt, run, run_with_stdin};

/// A run that leaves its log; its file.
fn log_of(test: &str, args: &[&str]) -> String {
    let path = file(&folder(test), "log.jsonl", "");
    run(&[&["run", "--events", "2000", "--export", &path], args].concat()).expect_code(0);
    path
}

fn on(action: &str, path: &str, args: &[&str]) -> Ran {
    run(&[&["store", action, path], args].concat())
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn events(path: &str) -> Vec<Value> {
    lines(&fs::read_to_string(path).expect("the file is there"))
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().expect("it is text")
}

#[test]
fn a_run_appends_what_it_dispatches_and_tells_of_its_store() {
    let args = ["run", "--events", "20000", "--store", "--publishers", "2"];
    let ran = run(&[&args[..], &["--format", "json"]].concat());
    let ran = ran.expect_code(0).expect_consistent();
    let store = &ran.json()["store"];
    assert_eq!(
        (&store["events"], &store["streams"]),
        (&json!(20_000), &json!(1_024))
    );
    assert!(
        store["bytes"]["payload"].as_u64() > Some(500_000),
        "{store}"
    );
    assert!(store["append"]["count"].as_u64() >= Some(300), "{store}");
    assert!(store["rates"]["events_per_second"].as_f64() > Some(0.0));
    let told = run(&args).expect_code(0).stdout;
    for words in ["events handled", "segment bytes", "20,000", "most events"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Without the option there is none.
    let ran = run(&["run", "--events", "2000", "--format", "json"]).expect_code(0);
    assert!(ran.json().get("store").is_none());
}

#[test]
fn the_log_of_a_run_is_all_of_it_in_order() {
    let path = log_of("log", &["--publishers", "2", "--workers", "2"]);
    let events = events(&path);
    assert_eq!(events.len(), 2_000);
    let mut next: HashMap<&str, u64> = HashMap::new();
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(text(event, "ringboltposition"), position.to_string());
        let version = next.entry(text(event, "subject")).or_default();
        assert_eq!(text(event, "ringboltversion"), version.to_string());
        assert_eq!(event["data"]["sequence"], *version);
        assert_eq!(event["data"]["book"].to_string(), text(event, "subject"));
        *version += 1;
        let time: jiff::Timestamp = text(event, "time").parse().expect("it is RFC 3339");
        assert!(time > jiff::Timestamp::from_second(1_600_000_000).expect("it is a time"));
    }
    // As input it is CloudEvents like any others.
    let ran = run(&[&path, "--format", "json"]).expect_code(0);
    assert_eq!(ran.expect_consistent().count("handled"), 2_000);
}

#[test]
fn what_is_replayed_is_what_was_handled() {
    let path = log_of("replay", &["--workers", "2"]);
    let args = ["--format", "json", "--workers", "2"];
    let ran = on("replay", &path, &args)
        .expect_code(0)
        .expect_consistent();
    assert_eq!(ran.count("handled"), 2_000);
    let first = run(&["run", "--events", "2000", "--format", "json"]).expect_code(0);
    assert_eq!(ran.json()["types"], first.json()["types"]);
    assert_eq!(
        ran.json()["replay"],
        json!({"events": 2_000, "dispatched": 2_000})
    );
    let part = [
        "--stream",
        "3",
        "--stream",
        "4",
        "--from",
        "4",
        "--type",
        "order.placed",
    ];
    let ran = on("replay", &path, &[&part[..], &args].concat()).expect_code(0);
    let expected = events(&path)
        .iter()
        .skip(4)
        .filter(|event| {
            ["3", "4"].contains(&text(event, "subject")) && event["type"] == "order.placed"
        })
        .count();
    assert!(expected > 0);
    assert_eq!(ran.expect_consistent().count("handled"), expected as u64);
    let ran = on(
        "replay",
        &path,
        &[&args[..], &["--limit", "10", "--rate", "100"]].concat(),
    );
    let ran = ran.expect_code(0).expect_consistent();
    assert_eq!(ran.count("handled"), 10);
    let told = on("replay", &path, &[]).expect_code(0).stdout;
    assert!(told.contains("replayed: 2,000 of 2,000 events"), "{told}");
}

#[test]
fn a_log_out_of_order_is_noticed() {
    let path = log_of("out_of_order", &[]);
    let mut events = events(&path);
    // The data say that they are others than their places do.
    let mut latest: HashMap<(&str, &str), usize> = HashMap::new();
    let mut pair = None;
    for (at, event) in events.iter().enumerate() {
        let earlier = latest.insert((text(event, "subject"), text(event, "type")), at);
        pair = pair.or(earlier.map(|earlier| (earlier, at)));
    }
    let (early, late) = pair.expect("some stream has two of a type");
    let (one, other) = (events[early]["data"].clone(), events[late]["data"].clone());
    (events[early]["data"], events[late]["data"]) = (other, one);
    let all: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(&path, all).expect("it can be written");
    let ran = on("replay", &path, &["--format", "json"]).expect_code(1);
    assert!(ran.count("order_violations") > 0, "{ran:#?}");
    assert!(ran.stderr.contains("out of order"), "{ran:#?}");
}

#[test]
fn a_dry_run_tells_and_dispatches_nothing() {
    let path = log_of("dry_run", &[]);
    let args = ["--dry-run", "--from", "100", "--to", "199"];
    let ran = on(
        "replay",
        &path,
        &[&args[..], &["--format", "json"]].concat(),
    );
    let plan = ran.expect_code(0).json();
    assert_eq!(plan["events"], 100);
    assert_eq!(
        (&plan["first_position"], &plan["last_position"]),
        (&json!(100), &json!(199))
    );
    let by_type = plan["types"].as_object().expect("types is an object");
    assert_eq!(by_type.values().filter_map(Value::as_u64).sum::<u64>(), 100);
    assert!(plan.get("handled").is_none());
    let told = on("replay", &path, &args).expect_code(0).stdout;
    assert!(
        told.starts_with("would dispatch 100 events of 100 streams\n"),
        "{told}"
    );
}

#[test]
fn events_of_input_and_of_other_programs_are_replayed_by_their_streams() {
    let path = file(&folder("store_input"), "log.jsonl", "");
    let rows: String = (0..300)
        .map(|row| format!("{{\"user\":\"u{}\",\"price\":0.{row}}}\n", row % 7))
        .collect();
    let args = [
        "run",
        "-",
        "--key",
        "/user",
        "--publishers",
        "2",
        "--export",
        &path,
    ];
    let ran = run_with_stdin(&args, rows.as_bytes()).expect_code(0);
    assert_eq!(ran.expect_consistent().json()["store"]["streams"], 7);
    let mut log = fs::read_to_string(&path).expect("it is there");
    for (number, data) in ["{\"a\":1}", "[2]", "null"].into_iter().enumerate() {
        log += &format!(
            "{{\"specversion\":\"1.0\",\"id\":\"01a20e0e-3555-7aa5-b08a-e6aa7400012{number}\",\"source\":\"/mill\",\"type\":\"wheat.ground\",\"subject\":\"u1\",\"data\":{data}}}\n"
        );
    }
    let ran = run_with_stdin(&["store", "replay", "-"], log.as_bytes());
    let ran = ran.expect_code(0).expect_consistent();
    assert_eq!(ran.json()["types"], json!({"json": 300, "wheat.ground": 3}));
    // Rows without a key are in the stream of their type.
    let ran = run_with_stdin(&["run", "-", "--export", &path], rows.as_bytes());
    assert_eq!(ran.expect_code(0).json()["store"]["streams"], 1);
    on("replay", &path, &[]).expect_code(0);
}

#[test]
fn events_are_read_by_every_filter() {
    let path = log_of("filters_store", &[]);
    let all = events(&path);
    let check = |args: &[&str], expected: &dyn Fn(usize, &Value) -> bool| {
        let ran = on("read", &path, &[args, &["--format", "json"]].concat()).expect_code(0);
        let wanted: Vec<&Value> = all
            .iter()
            .enumerate()
            .filter(|(at, event)| expected(*at, event))
            .map(|(_, event)| event)
            .collect();
        let found = lines(&ran.stdout);
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{args:?}");
        found.len()
    };
    check(&[], &|_, _| true);
    let streams = |_: usize, event: &Value| ["1", "9"].contains(&text(event, "subject"));
    assert!(check(&["--stream", "1", "--stream", "9"], &streams) > 4);
    let types = |_: usize, event: &Value| event["type"] == "order.filled";
    assert!(check(&["--type", "order.filled"], &types) > 100);
    check(&["--from", "10", "--to", "12"], &|at, _| {
        (10..=12).contains(&at)
    });
    check(&["--from", "9999"], &|_, _| false);
    let id = text(&all[77], "correlationid");
    assert_eq!(check(&["--correlation", id], &|at, _| at == 77), 1);
    let (since, until) = (text(&all[500], "time"), text(&all[1_500], "time"));
    let within = |_: usize, event: &Value| (since..until).contains(&text(event, "time"));
    assert!(check(&["--since", since, "--until", until], &within) > 0);
    check(&["--metadata", "tenant=7"], &|_, _| false);
    let ran = on(
        "read",
        &path,
        &["--backward", "--limit", "2", "--format", "json"],
    );
    let last: Vec<Value> = all.iter().rev().take(2).cloned().collect();
    assert_eq!(lines(&ran.expect_code(0).stdout), last);
    // As text a line each, with tabs.
    let told = on("read", &path, &["--limit", "3"]).expect_code(0).stdout;
    let cells: Vec<&str> = told.lines().next().expect("a line").split('\t').collect();
    assert_eq!((told.lines().count(), cells.len()), (3, 7));
    assert_eq!(cells[1], text(&all[0], "time"));
    assert_eq!(cells[5], text(&all[0], "id"));
}

#[test]
fn metadata_of_other_programs_is_found() {
    let line = |number: u32, tenant: &str| {
        json!({"specversion": "1.0", "id": format!("01a20e0e-3555-7aa5-b08a-e6aa740001{number:02}"),
            "source": "/mill", "type": "wheat.ground", "subject": "\u{e9}", "tenant": tenant, "data": number})
    };
    let text = format!("{}\n{}\n", line(10, "7"), line(11, "8"));
    let path = file(&folder("metadata"), "log.jsonl", &text);
    let found = on(
        "read",
        &path,
        &["--metadata", "tenant=8", "--format", "json"],
    );
    let found = lines(&found.expect_code(0).stdout);
    assert_eq!((found.len(), &found[0]["data"]), (1, &json!(11)));
    assert_eq!(
        (&found[0]["tenant"], &found[0]["source"]),
        (&json!("8"), &json!("/mill"))
    );
}

#[test]
fn a_part_of_a_log_is_a_log() {
    let path = log_of("part", &[]);
    let part = on("read", &path, &["--stream", "5", "--format", "json"]).expect_code(0);
    let count = part.stdout.lines().count();
    let ran = run_with_stdin(&["store", "stats", "-"], part.stdout.as_bytes()).expect_code(0);
    assert_eq!(
        (&ran.json()["events"], &ran.json()["streams"]),
        (&json!(count), &json!(1))
    );
    assert!(ran.stderr.contains("a part of a log"), "{ran:#?}");
    let packed = file(&folder("packed"), "log.jsonl.gz", "");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &fs::read(&path).expect("it is there"))
        .expect("memory takes it");
    fs::write(&packed, gzip.finish().expect("memory takes it")).expect("it can be written");
    let told = on("stats", &packed, &["--format", "json"]).expect_code(0);
    assert_eq!(told.count("events"), 2_000);
}

#[test]
fn streams_and_figures_are_told() {
    let path = log_of("streams", &[]);
    let stats = on("stats", &path, &["--format", "json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&stats["events"], &stats["streams"]),
        (&json!(2_000), &json!(1_024))
    );
    let told = on("stats", &path, &[]).expect_code(0).stdout;
    assert!(
        told.contains("2,000") && told.contains("most bytes"),
        "{told}"
    );
    let list = |sort: &str| {
        let args = ["--sort", sort, "--limit", "20", "--format", "json"];
        let ran = on("streams", &path, &args).expect_code(0).json();
        assert_eq!(ran["count"], 1_024);
        ran["streams"]
            .as_array()
            .expect("streams is an array")
            .clone()
    };
    let numbers = |streams: &[Value], name: &str| -> Vec<u64> {
        streams
            .iter()
            .map(|stream| stream[name].as_u64().expect("a count"))
            .collect()
    };
    let by_events = numbers(&list("events"), "events");
    assert!(by_events.is_sorted_by(|one, other| one >= other) && by_events[0] > by_events[19]);
    assert_eq!(stats["largest_by_events"][0]["events"], by_events[0]);
    assert!(numbers(&list("bytes"), "bytes").is_sorted_by(|one, other| one >= other));
    assert_eq!(list("first")[7]["stream"], "7");
    assert_eq!(list("name")[2]["stream"], "10");
    let told = on("streams", &path, &[]).expect_code(0).stdout;
    assert_eq!(told.lines().count(), 1_024);
    assert!(
        told.lines().all(|line| line.split('\t').count() == 6),
        "{told}"
    );
}

#[test]
fn bad_lines_are_told_and_stop_nothing() {
    let path = log_of("bad_events", &[]);
    let mut bad: Vec<String> = fs::read_to_string(&path)
        .expect("it is there")
        .lines()
        .map(str::to_owned)
        .collect();
    bad[1] = "not json".to_owned();
    bad[3] = bad[3].replace("\"id\":\"", "\"id\":\"x");
    bad[5] = bad[5].replace("\"book\":", "\"cook\":");
    fs::write(&path, bad.join("\n")).expect("it can be written");
    for action in ["stats", "streams", "read"] {
        let ran = on(action, &path, &[]).expect_code(1);
        for words in [":2: the line is no JSON", ":4: id: "] {
            assert!(
                ran.stderr.contains(words),
                "{action}: {words}: {}",
                ran.stderr
            );
        }
        assert!(!ran.stdout.is_empty());
    }
    // Where the types are known it is seen what is no event of them.
    let ran = on("replay", &path, &["--format", "json"]).expect_code(1);
    assert_eq!((ran.count("handled"), ran.count("bad_lines")), (1_997, 3));
    assert!(ran.stderr.contains(":6: data: "), "{ran:#?}");
}

#[test]
fn the_log_on_stdout_is_nothing_but_the_log() {
    let args = [
        "run", "--events", "1000", "--export", "-", "--format", "json",
    ];
    let ran = run(&args).expect_code(0);
    assert_eq!(lines(&ran.stdout).len(), 1_000);
    let result = ran.stderr.lines().find(|line| line.starts_with('{'));
    let result: Value =
        serde_json::from_str(result.expect("the result is on stderr")).expect("it is JSON");
    assert_eq!(
        (&result["handled"], &result["store"]["events"]),
        (&json!(1_000), &json!(1_000))
    );
    let read = run_with_stdin(&["store", "read", "-"], ran.stdout.as_bytes());
    assert_eq!(read.expect_code(0).stdout, ran.stdout);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let path = log_of("leaves", &[]);
    for args in [
        &["run", "--events", "2000", "--export", "-"][..],
        &["store", "read", &path],
        &["store", "read", &path, "--format", "json"],
    ] {
        let mut child = ringbolt(args)
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        let mut out = child.stdout.take().expect("stdout is a pipe");
        let mut some = [0; 100];
        out.read_exact(&mut some).expect("it says something");
        drop(out);
        let code = child.wait().expect("the command ends").code();
        assert_eq!(code, Some(0), "{args:?}");
    }
}

#[test]
fn what_is_not_there_is_told_and_wrong_usage_too() {
    let path = log_of("usage", &[]);
    let folder = folder("no_log");
    let folder = folder.to_str().expect("the folder's name is text");
    let nowhere = format!("{folder}/nowhere.jsonl");
    for action in ["stats", "streams", "read", "replay"] {
        for path in [&nowhere, folder] {
            let ran = on(action, path, &[]).expect_code(1);
            assert!(
                ran.stderr.contains(path) && ran.stdout.is_empty(),
                "{ran:#?}"
            );
        }
    }
    for action in ["read", "replay"] {
        let ran = on(action, &path, &["--stream", "nobody"]).expect_code(1);
        assert!(
            ran.stderr.contains("no stream \"nobody\"") && ran.stdout.is_empty(),
            "{ran:#?}"
        );
        for (args, words) in [
            (&["--from", "5", "--to", "4"][..], "--from 5"),
            (&["--since", "noon"], "RFC 3339"),
            (&["--since", "5", "--until", "5"], "--until"),
            (&["--correlation", "7"], "UUID"),
            (&["--metadata", "tenant"], "NAME=VALUE"),
        ] {
            let ran = on(action, &path, args).expect_code(2);
            assert!(
                ran.stderr.contains(words) && ran.stdout.is_empty(),
                "{words}: {ran:#?}"
            );
        }
    }
    on("replay", &path, &["--rate", "1", "--speed", "1"]).expect_code(2);
    run(&["store"]).expect_code(2);
    let unwritable = format!("{nowhere}/log.jsonl");
    let ran = run(&["run", "--events", "10", "--export", &unwritable]).expect_code(1);
    assert!(
        ran.stderr.contains(&unwritable) && ran.stdout.is_empty(),
        "{ran:#?}"
    );
}

#[test]
fn help_tells_the_actions_and_the_exit_codes() {
    let help = run(&["store", "--help"]).expect_code(0).stdout;
    for words in [
        "stats",
        "streams",
        "read",
        "replay",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    for action in ["stats", "streams", "read", "replay"] {
        let help = run(&["store", action, "--help"]).expect_code(0).stdout;
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}
