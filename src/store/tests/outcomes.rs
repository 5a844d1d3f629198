//! What comes of an append: our table, all of it; and every row of the table that it was derived from, where that is at hand.

use super::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn table() -> Value {
    serde_json::from_str(include_str!("expected_version.json")).unwrap()
}

fn expectation(text: &str) -> ExpectedVersion {
    match text {
        "any" => ExpectedVersion::Any,
        "none" | "no stream" => ExpectedVersion::NoStream,
        "exists" => ExpectedVersion::StreamExists,
        version => ExpectedVersion::Exact(version.trim_start_matches("exact ").parse().unwrap()),
    }
}

fn told(state: StreamState) -> String {
    match state {
        StreamState::Missing => "missing".to_owned(),
        StreamState::At(version) => format!("at {version}"),
        StreamState::Deleted(version) => format!("deleted at {version}"),
    }
}

/// A store with the stream `s` in this state.
fn in_state(state: &str) -> EventStore {
    let store = small();
    if state != "missing" {
        let three = [step(0), step(1), step(2)];
        store
            .append_all("s", ExpectedVersion::NoStream, &three)
            .unwrap();
    }
    if state.starts_with("deleted") {
        store.delete("s", ExpectedVersion::Exact(2)).unwrap();
    }
    store
}

fn rows(table: &Value, name: &str) -> Vec<Value> {
    table[name].as_array().unwrap().clone()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {row}"))
}

#[test]
fn ev1_every_cell_of_the_table() {
    let table = table();
    for (part, events) in [("append", &[step(9)][..]), ("check", &[][..])] {
        for (expected, cells) in table[part].as_object().unwrap() {
            for (state, cell) in rows(&table, "states").iter().zip(cells.as_array().unwrap()) {
                let store = in_state(state.as_str().unwrap());
                let (end, before) = (store.reader().end(), store.stream_state("s"));
                let found = match store.append_all("s", expectation(expected), events) {
                    Ok(appended) => {
                        let head = before.version().map_or(0, |version| version + 1);
                        let head = (head + events.len() as u64).checked_sub(1);
                        assert_eq!(appended.version, head, "EV5: {part} {expected} {state}");
                        "ok".to_owned()
                    }
                    Err(AppendError::Conflict(conflicts)) => {
                        let [conflict] = &conflicts[..] else {
                            panic!("{conflicts:?}")
                        };
                        assert_eq!(conflict.expected, expectation(expected));
                        assert_eq!(store.reader().end(), end, "nothing was written");
                        assert_eq!(store.stream_state("s"), before);
                        told(conflict.actual)
                    }
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(found, cell.as_str().unwrap(), "{part} {expected}, {state}");
            }
        }
    }
}

#[test]
fn ev3_every_batch_of_the_table() {
    for row in rows(&table(), "batches") {
        let name = text(&row, "name");
        let store = small();
        for word in text(&row, "given").split_whitespace() {
            if let Some((stream, count)) = word.split_once('*') {
                let events: Vec<_> = (0..count.parse().unwrap()).map(step).collect();
                store
                    .append_all(stream, ExpectedVersion::NoStream, &events)
                    .unwrap();
            } else if let Some((stream, what)) = word.split_once(':') {
                match what {
                    "delete" => store.delete(stream, ExpectedVersion::Any).unwrap(),
                    _ => store.truncate(stream, 3).unwrap(),
                };
            }
        }
        let end = store.reader().end();
        let mut batch = store.batch();
        let mut refused = None;
        for word in text(&row, "batch").split_whitespace() {
            if let Some((stream, expected)) = word.split_once('=') {
                if let Err(error) = batch.expect(stream, expectation(expected)) {
                    refused = Some(error);
                }
            } else if let Some((stream, what)) = word.split_once('+') {
                if what == "large" {
                    batch.push(stream, &Text("x".repeat(5_000))).unwrap();
                } else {
                    batch.push(stream, &step(7)).unwrap();
                }
            }
        }
        match refused.map_or_else(|| batch.commit(), Err) {
            Ok(done) => {
                assert_eq!(store.reader().end(), end + batch.len() as u64, "{name}");
                for (stream, version) in row["ok"].as_object().expect(name) {
                    let (_, state) = done
                        .streams
                        .iter()
                        .find(|(name, _)| name == stream)
                        .unwrap();
                    assert_eq!(state.version(), version.as_u64(), "{name}: {stream}");
                    assert_eq!(*state, store.stream_state(stream));
                }
            }
            Err(error) => {
                assert_eq!(store.reader().end(), end, "{name}: nothing was written");
                match &error {
                    AppendError::Conflict(conflicts) => {
                        let found: serde_json::Map<String, Value> = conflicts
                            .iter()
                            .map(|found| (found.stream.clone(), told(found.actual).into()))
                            .collect();
                        assert_eq!(Value::Object(found), row["conflict"], "{name}");
                    }
                    other => assert!(
                        format!("{other:?}").starts_with(text(&row, "error")),
                        "{name}: {other}"
                    ),
                }
            }
        }
    }
}

#[test]
fn ev4_every_retry_of_the_table() {
    for row in rows(&table(), "retries") {
        let name = text(&row, "name");
        let store = small();
        let mut last = None;
        let steps: Vec<&str> = text(&row, "steps").split_whitespace().collect();
        for (number, word) in steps.iter().enumerate() {
            let (ids, expected) = word.trim_start_matches('!').split_once('@').unwrap();
            let mut batch = store.batch();
            batch.expect("s", expectation(expected)).unwrap();
            for id in ids.split('+').filter(|id| !id.is_empty()) {
                let event = match id {
                    "large" => Text("x".repeat(5_000)),
                    id => Text(id.to_owned()),
                };
                let draft = Draft::new(&event);
                batch
                    .push(
                        "s",
                        match id.trim_end_matches('\'') {
                            "-" | "large" => draft,
                            id => draft.id(id_of(u128::from_str_radix(id, 16).unwrap())),
                        },
                    )
                    .unwrap();
            }
            let result = batch.commit();
            if number + 1 < steps.len() {
                assert_eq!(result.is_err(), word.starts_with('!'), "{name}: {word}");
            }
            last = Some((ids.is_empty(), result));
        }
        let (is_empty, result) = last.unwrap();
        let state = store.stream_state("s");
        if let Ok(done) = &result {
            assert_eq!(done.streams[0].1, state, "{name}");
        }
        let found = match result {
            Ok(_) if is_empty => "checked",
            Ok(done) if done.is_duplicate => "duplicate",
            Ok(_) => "appended",
            Err(AppendError::Conflict(_)) => "conflict",
            Err(AppendError::IdReused { .. }) => "reused",
            Err(other) => panic!("{name}: {other}"),
        };
        assert_eq!(found, text(&row, "result"), "{name}");
        let events = state.version().map_or(0, |version| version + 1);
        assert_eq!(Some(events), row["events"].as_u64(), "{name}");
        assert_eq!(store.reader().end(), events, "{name}");
    }
}

/// What a result of the other table comes to in words of ours.
fn class(result: &str) -> &str {
    let starts = |word: &str| result.starts_with(word);
    match result {
        _ if starts("idempotent") => "duplicate",
        _ if starts("NOT idempotent") => "appended",
        _ if starts("wrong expected version") => "conflict",
        _ if starts("fail") => "conflict",
        _ if starts("invalid_argument") => "invalid",
        _ if starts("ok") => "ok",
        other => other,
    }
}

/// Where the other table is kept beside the project, each of its rows has one of ours that says the same, or says why not.
#[test]
fn ev1_the_table_that_ours_was_derived_from_is_accounted_for() {
    let of_folder = |folder: &Path| folder.join("shared/data/tables/expected_version.json");
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(1)
        .find_map(|folder| fs::read_to_string(of_folder(folder)).ok());
    let Some(found) = found else {
        eprintln!(
            "the table that ours was derived from is not beside the project: not compared with it"
        );
        return;
    };
    let (theirs, ours): (Value, Value) = (serde_json::from_str(&found).unwrap(), table());
    // A case has a reason if and only if it differs.
    let check = |case: &str, is_same: bool, deviation: Option<&str>| match deviation {
        Some(name) => {
            assert!(ours["deviations"][name].is_string(), "{case}: why {name}?");
            assert!(!is_same, "{case}: the reason {name} is given for nothing");
        }
        None => assert!(is_same, "{case}: differs without a reason"),
    };

    for (theirs_part, ours_part) in [("write_target", "append"), ("check_only", "check")] {
        for (expected, cells) in theirs[theirs_part].as_object().unwrap() {
            let name = match expected.as_str() {
                "no_stream" => "no stream",
                "revision_10" => "exact 10",
                name => name,
            };
            for (number, cell) in cells.as_array().unwrap().iter().enumerate() {
                let case = format!("{theirs_part} {expected} {number}");
                let cell = cell.as_str().unwrap();
                if number == 2 {
                    check(&case, false, Some("no soft delete"));
                    continue;
                }
                let Some(row) = ours[ours_part].get(name) else {
                    assert!(["deleted", "tombstoned"].contains(&name), "{case}");
                    check(&case, false, Some("no expectation of deletion"));
                    continue;
                };
                let our_cell = row[number.min(2)].as_str().unwrap();
                let meant = cell.split([' ', '(']).next().unwrap();
                let meant = match meant {
                    "fail:not_found" => "missing",
                    "fail:2" => "at 2",
                    "fail:tombstoned" => "deleted at 2",
                    other => other,
                };
                let deviation = (meant == "invalid_argument").then_some("any can be checked");
                check(&case, meant == our_cell, deviation);
            }
        }
    }

    let of_row = |part: &str, number: usize| -> Value {
        let found = rows(&ours, part)
            .into_iter()
            .find(|row| row["row"] == number);
        found.unwrap_or_else(|| panic!("{part}: row {number} of the other table has no row here"))
    };
    for (number, row) in rows(&theirs, "multi_stream").iter().enumerate() {
        let our_row = of_row("batches", number);
        let result = text(row, "result");
        let is_same = match class(result) {
            "ok" => our_row["ok"].is_object(),
            "conflict" => our_row["conflict"].as_object().is_some_and(|conflicts| {
                result.contains(&format!("{} violation", conflicts.len()))
            }),
            _ => our_row["error"].is_string(),
        };
        check(result, is_same, our_row["deviation"].as_str());
    }
    for (number, row) in rows(&theirs, "idempotent_retry").iter().enumerate() {
        let our_row = of_row("retries", number);
        let class = class(text(row, "result"));
        let our_result = text(&our_row, "result");
        let is_same =
            class == our_result || (class == "ok" && ["appended", "checked"].contains(&our_result));
        check(
            text(row, "sequence"),
            is_same,
            our_row["deviation"].as_str(),
        );
    }

    let mut rules = Vec::new();
    for (name, rule) in theirs["rule"].as_object().unwrap() {
        match rule.as_object() {
            None => rules.push(name.clone()),
            Some(parts) => rules.extend(parts.keys().map(|part| format!("{name}/{part}"))),
        }
    }
    let retries = rows(&ours, "retries");
    for rule in rules {
        let row = rows(&ours, "rules")
            .into_iter()
            .find(|row| text(row, "theirs") == rule);
        let row = row.unwrap_or_else(|| panic!("the rule {rule} is not accounted for"));
        for shown_by in row["shown_by"].as_array().unwrap() {
            assert!(
                retries.iter().any(|retry| retry["name"] == *shown_by),
                "{shown_by}"
            );
        }
    }
    for number in 0..rows(&theirs, "soft_delete").len() {
        let row = rows(&ours, "soft_delete").into_iter().find(|row| {
            row["rows"]
                .as_array()
                .unwrap()
                .iter()
                .any(|found| *found == number)
        });
        let row = row.unwrap_or_else(|| panic!("soft_delete: row {number} is not accounted for"));
        check("soft_delete", false, row["deviation"].as_str());
    }
}
