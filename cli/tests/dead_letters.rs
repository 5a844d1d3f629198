//! Files of dead letters: from a run, looked through, delivered again, thrown away.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Ran, file, folder, run, run_with_stdin};

/// A run that leaves letters; its file.
fn letters_of(test: &str, args: &[&str]) -> String {
    let path = file(&folder(test), "letters.jsonl", "");
    let line = ["run", "--events", "20000", "--dead-letters", &path];
    run(&[&line, args].concat()).expect_code(0);
    path
}

fn on(action: &str, path: &str, args: &[&str]) -> Ran {
    run(&[&["dead-letters", action, path], args].concat())
}

fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file is there");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn id(letter: &Value) -> u64 {
    letter["id"].as_u64().expect("a letter has a number")
}

/// Nothing but the files that a test knows of: no half-written one is left.
fn expect_files(path: &str, count: usize) {
    let folder = Path::new(path).parent().expect("it is in a folder");
    let files = fs::read_dir(folder).expect("the folder is there");
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), count, "{names:?}");
}

#[test]
fn what_a_run_left_is_listed_and_delivered_again_until_the_file_is_empty() {
    let path = letters_of(
        "round_trip",
        &["--fail-permanent", "0.005", "--workers", "2"],
    );
    let letters = lines(&path);
    assert!(letters.len() > 50);
    let listed = on("list", &path, &[]).expect_code(0);
    assert_eq!(listed.stdout.lines().count(), letters.len());
    let ran = on("redeliver", &path, &["--format", "json", "--workers", "2"]);
    let ran = ran.expect_code(0).expect_consistent();
    assert_eq!(ran.count("handled"), letters.len() as u64);
    let redelivery = &ran.json()["redelivery"];
    assert_eq!(redelivery["handled"], letters.len());
    assert_eq!(redelivery["left"], 0);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "");
    expect_files(&path, 1);
    // Nothing is left to be done, and that is no failure.
    on("redeliver", &path, &[]).expect_code(0);
    assert_eq!(on("list", &path, &[]).expect_code(0).stdout, "");
}

#[test]
fn letters_of_input_come_back_too() {
    let path = file(&folder("input_letters"), "letters.jsonl", "");
    let rows: String = (0..500)
        .map(|row| format!("{{\"user\":\"u\\t{}\",\"price\":0.1{row}}}\n", row % 5))
        .collect();
    let faults = ["--fail-permanent", "0.1", "--dead-letters", &path];
    for args in [&["--key", "/user"][..], &[]] {
        let ran = run_with_stdin(&[&["run", "-"], args, &faults].concat(), rows.as_bytes());
        let dead = ran
            .expect_code(0)
            .expect_consistent()
            .count("dead_lettered");
        let listed = on("list", &path, &[]).expect_code(0).stdout;
        assert_eq!(listed.lines().count() as u64, dead);
        assert!(
            listed.lines().all(|line| line.split('\t').count() == 9),
            "a tab in a key is no column: {listed}"
        );
        let ran = on("redeliver", &path, &["--format", "json"]);
        let ran = ran.expect_code(0).expect_consistent();
        assert_eq!(ran.count("handled"), dead);
        assert!(lines(&path).is_empty());
    }
}

#[test]
fn what_fails_again_stays_and_says_so() {
    let path = letters_of("again", &["--fail-permanent", "0.005"]);
    let before = lines(&path);
    let args = ["--fail", "0.8", "--format", "json"];
    let ran = on("redeliver", &path, &args)
        .expect_code(1)
        .expect_consistent();
    let after = lines(&path);
    assert_eq!(
        ran.count("handled") + after.len() as u64,
        before.len() as u64
    );
    assert_eq!(ran.count("dead_lettered"), after.len() as u64);
    assert!(!after.is_empty() && after.len() < before.len());
    assert!(ran.stderr.contains("were not handled"), "{ran:#?}");
    for letter in &after {
        let old = before.iter().find(|old| id(old) == id(letter));
        let old = old.expect("a letter keeps its number");
        assert_eq!(letter["event"], old["event"]);
        assert_eq!(letter["event_id"], old["event_id"]);
        assert_eq!(
            (&letter["replays"], &letter["attempt_count"]),
            (&1.into(), &5.into())
        );
        assert_eq!(letter["reason"], "exhausted");
        assert_eq!(letter["errors"][0], "planted failure, attempt 5");
    }
    // Attempts go on counting, so that the next redelivery is not the same again.
    let ran = on("redeliver", &path, &args).expect_consistent();
    assert!(ran.count("handled") > 0, "{ran:#?}");
}

#[test]
fn some_are_delivered_again_and_the_others_stay_as_they_are() {
    let path = letters_of("some", &["--fail-permanent", "0.005"]);
    let before = fs::read_to_string(&path).expect("it is there");
    let letters = lines(&path);
    let output = Path::new(&path).with_file_name("left.jsonl");
    let output = output.to_str().expect("the folder's name is text");
    let ids = format!("{},{}", id(&letters[3]), id(&letters[5]));
    on("redeliver", &path, &["--id", &ids, "--output", output]).expect_code(0);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), before);
    let left: Vec<&str> = before
        .lines()
        .enumerate()
        .filter_map(|(place, line)| (![3, 5].contains(&place)).then_some(line))
        .collect();
    let text = fs::read_to_string(output).expect("it is written");
    assert_eq!(text.lines().collect::<Vec<_>>(), left);

    let key = letters[0]["key"].as_str().expect("books are keys");
    on("redeliver", &path, &["--key", key]).expect_code(0);
    let after = lines(&path);
    assert!(after.len() < letters.len());
    assert!(after.iter().all(|letter| letter["key"] != key));
    on("redeliver", &path, &["--id", "999999"]).expect_code(1);
    assert_eq!(lines(&path), after);
}

#[test]
fn a_parked_key_comes_back_in_order_and_as_a_whole() {
    let path = letters_of("parked", &["--fail-permanent", "0.0005", "--sequential"]);
    let letters = lines(&path);
    let blocked = letters
        .iter()
        .find(|letter| letter["reason"] == "sequence_blocked")
        .expect("later events were parked");
    let of_key = |letters: &[Value]| {
        let key = &blocked["key"];
        letters
            .iter()
            .filter(|letter| letter["key"] == *key)
            .count()
    };
    let args = ["--id", &id(blocked).to_string(), "--format", "json"];
    let ran = on("redeliver", &path, &args)
        .expect_code(0)
        .expect_consistent();
    assert_eq!(ran.count("handled"), of_key(&letters) as u64);
    assert_eq!(of_key(&lines(&path)), 0);
    // One that fails stops its key, whose other letters stay as they were.
    let before = lines(&path).len();
    let ran = on(
        "redeliver",
        &path,
        &["--fail-permanent", "0.05", "--format", "json"],
    );
    let ran = ran.expect_code(1).expect_consistent();
    assert_eq!(ran.count("handled") as usize + lines(&path).len(), before);
    let ran = on("redeliver", &path, &["--format", "json"]);
    ran.expect_code(0).expect_consistent();
    assert!(lines(&path).is_empty());
}

#[test]
fn letters_are_filtered_and_paged() {
    let args = [
        "--fail",
        "0.3",
        "--fail-permanent",
        "0.005",
        "--panic",
        "0.1",
    ];
    let path = letters_of("filters", &args);
    let all = lines(&path);
    let count = |args: &[&str]| {
        let json = on("list", &path, &[args, &["--format", "json"]].concat());
        let json = json.expect_code(0).json();
        let letters = json["letters"]
            .as_array()
            .expect("letters is an array")
            .clone();
        (
            letters,
            json["count"].as_u64().expect("count is a count") as usize,
        )
    };
    for (option, field, value) in [
        ("--reason", "reason", "panic"),
        ("--event", "event_name", "order.filled"),
        ("--key", "key", "7"),
        ("--subscription", "subscription", "check"),
        ("--subscription", "subscription", "nobody"),
    ] {
        let expected: Vec<Value> = all
            .iter()
            .filter(|letter| letter[field] == value)
            .cloned()
            .collect();
        assert_eq!(
            count(&[option, value]),
            (expected.clone(), expected.len()),
            "{option}"
        );
    }
    let (page, of) = count(&["--limit", "5", "--offset", "10"]);
    assert_eq!((page.as_slice(), of), (&all[10..15], all.len()));
    let both = count(&["--reason", "panic", "--event", "order.filled"]).1;
    assert!(both < count(&["--reason", "panic"]).1);
    assert_eq!(
        on("list", &path, &["--reason", "mood"])
            .expect_code(2)
            .stdout,
        ""
    );
}

#[test]
fn everything_is_shown_of_one_letter() {
    let path = letters_of("show", &["--fail", "0.4"]);
    let letter = &lines(&path)[2];
    let number = id(letter).to_string();
    let shown = on("show", &path, &[&number, "--format", "json"]).expect_code(0);
    assert_eq!(&shown.json(), letter);
    let text = on("show", &path, &[&number]).expect_code(0).stdout;
    for words in [
        letter["event_id"].as_str().expect("text"),
        "planted failure, attempt 1",
        "planted failure, attempt 4",
        "exhausted",
        "\"book\":",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let ran = on("show", &path, &["999999"]).expect_code(1);
    assert!(
        ran.stderr.contains("no letter 999999") && ran.stdout.is_empty(),
        "{ran:#?}"
    );
    let piped = fs::read(&path).expect("it is there");
    let ran = run_with_stdin(&["dead-letters", "show", "-", &number], &piped);
    assert_eq!(&ran.expect_code(0).json(), letter);
}

#[test]
fn what_is_discarded_is_on_record() {
    let path = letters_of("discard", &["--fail-permanent", "0.005", "--fail", "0.3"]);
    let before = lines(&path);
    let record = ["--who", "ann", "--why", "test orders", "--format", "json"];
    let gone = [id(&before[0]), id(&before[4])];
    let ids = format!("{},{}", gone[0], gone[1]);
    let ran = on("discard", &path, &[&["--id", &ids][..], &record].concat());
    let told = ran.expect_code(0).json();
    assert_eq!(
        (&told["who"], &told["why"]),
        (&"ann".into(), &"test orders".into())
    );
    assert_eq!(
        (&told["count"], &told["letters"]),
        (&2.into(), &gone.to_vec().into())
    );
    assert!(told["at_ms"].as_u64() > Some(1_700_000_000_000));
    let after = lines(&path);
    assert_eq!(told["left"], after.len());
    let expected: Vec<Value> = before
        .iter()
        .filter(|letter| !gone.contains(&id(letter)))
        .cloned()
        .collect();
    assert_eq!(after, expected);
    let text = on(
        "discard",
        &path,
        &["--reason", "permanent", "--who", "ann", "--why", "no"],
    );
    let text = text.expect_code(0).stdout;
    assert!(text.contains("by ann: no"), "{text}");
    assert!(
        lines(&path)
            .iter()
            .all(|letter| letter["reason"] == "exhausted")
    );
    on("discard", &path, &[&["--all"][..], &record].concat()).expect_code(0);
    assert!(lines(&path).is_empty());
    expect_files(&path, 1);
}

#[test]
fn nothing_is_discarded_by_a_slip() {
    let path = letters_of("slip", &["--fail-permanent", "0.005"]);
    let text = fs::read_to_string(&path).expect("it is there");
    // The first letter is there twice.
    let text = format!(
        "{text}{}\n",
        text.lines().next().expect("there are letters")
    );
    fs::write(&path, &text).expect("it can be written");
    let first = id(&lines(&path)[0]).to_string();
    let one_of_two = format!("{},999999", id(&lines(&path)[1]));
    let who = ["--who", "ann", "--why", "no"];
    for (args, code, words) in [
        (&[&who[..]].concat(), 2, "--all"),
        (&["--all", "--who", " ", "--why", "no"].to_vec(), 2, "--who"),
        (&["--all", "--who", "ann"].to_vec(), 2, "--why"),
        (&[&["--all", "--id", "1"], &who[..]].concat(), 2, "--all"),
        (&[&["--id", &one_of_two], &who[..]].concat(), 1, "999999"),
        (&[&["--id", &first], &who[..]].concat(), 1, "2 letters"),
        (&[&["--key", "nowhere"], &who[..]].concat(), 1, "no letter"),
    ] {
        let ran = on("discard", &path, args).expect_code(code);
        assert!(
            ran.stderr.contains(words) && ran.stdout.is_empty(),
            "{words}: {ran:#?}"
        );
        assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
    }
    expect_files(&path, 1);
}

#[test]
fn bad_lines_are_told_with_their_field_and_stop_nothing() {
    let path = letters_of("bad_lines", &["--fail-permanent", "0.005"]);
    let text = fs::read_to_string(&path).expect("it is there");
    let mut good = text.lines();
    let first = good.next().expect("there are letters");
    let bad = [
        "not json".to_owned(),
        first.replace("\"reason\":\"permanent\"", "\"reason\":\"mood\""),
        first.replace("\"errors\"", "\"eros\""),
    ];
    // Letters that are well formed, and which this command cannot deliver.
    let strange = [
        first.replace("\"event_name\":\"order.", "\"event_name\":\"other."),
        first.replace("\"subscription\":\"check\"", "\"subscription\":\"billing\""),
        first.replace("\"codec\":\"json\"", "\"codec\":null"),
        first.replace("\"book\":", "\"cook\":"),
    ];
    let rest: Vec<&str> = good.collect();
    let all = [&bad[..], &strange[..]].concat().join("\n") + "\n\n" + &rest.join("\n");
    fs::write(&path, &all).expect("it can be written");

    let listed = on("list", &path, &[]).expect_code(1);
    assert_eq!(listed.stdout.lines().count(), strange.len() + rest.len());
    for words in [":1: the line", ":2: reason: ", ":3: errors: it is missing"] {
        assert!(listed.stderr.contains(words), "{words}: {listed:#?}");
    }
    let ran = on("redeliver", &path, &["--format", "json"]).expect_code(1);
    assert_eq!(ran.count("handled"), rest.len() as u64);
    for words in [
        ":1: the line",
        ":2: reason: ",
        ":3: errors: ",
        ":4: event_name: ",
        ":5: subscription: ",
        ":6: codec: ",
        ":7: event: ",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran:#?}");
    }
    let left = fs::read_to_string(&path).expect("it is there");
    assert_eq!(left, [&bad[..], &strange[..]].concat().join("\n") + "\n");
    // Of any program: what cannot be delivered can be thrown away.
    let args = [
        "--subscription",
        "billing",
        "--who",
        "ann",
        "--why",
        "not ours",
    ];
    on("discard", &path, &args).expect_code(1);
    let left = fs::read_to_string(&path).expect("it is there");
    assert!(
        !left.contains("billing") && left.starts_with("not json\n"),
        "{left}"
    );
}

#[test]
fn files_that_are_not_there_are_told() {
    let folder = folder("no_letters_file");
    let folder = folder.to_str().expect("the folder's name is text");
    let nowhere = format!("{folder}/nowhere.jsonl");
    let who = ["--all", "--who", "ann", "--why", "no"];
    for (action, args) in [
        ("list", &[][..]),
        ("show", &["1"]),
        ("redeliver", &[]),
        ("discard", &who),
    ] {
        for path in [&nowhere, folder] {
            let ran = on(action, path, args).expect_code(1);
            assert!(
                ran.stderr.contains(path) && ran.stdout.is_empty(),
                "{ran:#?}"
            );
        }
    }
    assert!(
        on("redeliver", "-", &[])
            .expect_code(1)
            .stderr
            .contains("stdin")
    );
    on("redeliver", &nowhere, &["--fail", "2"]).expect_code(2);
    run(&["dead-letters"]).expect_code(2);
}

#[test]
fn help_tells_the_actions_and_the_exit_codes() {
    let help = run(&["dead-letters", "--help"]).expect_code(0).stdout;
    for words in [
        "list",
        "show",
        "redeliver",
        "discard",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    for action in ["list", "show", "redeliver", "discard"] {
        let help = run(&["dead-letters", action, "--help"])
            .expect_code(0)
            .stdout;
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}
