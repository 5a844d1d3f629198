//! `perf instructions`: how many instructions an event takes, by callgrind.
//!
//! This program runs itself under valgrind, each case at two sizes, and divides the difference: start and end
//! drop out. Counts are nearly the same on every run and every machine of a kind, so they are kept in
//! `record/instructions.json`, and a change that makes them grow is seen where a clock would see noise.
//! What being ready for failures costs an event that is handled has bars of its own.

mod cases;

use crate::bars::{self, Measure, Topic};
use crate::table::Table;
pub(crate) use cases::{Case, child};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/record/instructions.json");
/// A count may grow by so much of itself...
const GROWTH: f64 = 0.03;
/// ...and by so many instructions, before it counts as grown.
const SLACK: f64 = 2.0;

/// Instructions for each event, by case.
type Counts = BTreeMap<String, f64>;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Counts of another kind of processor say nothing.
    architecture: String,
    valgrind: String,
    command: String,
    instructions_per_event: Counts,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: String,
    pub(crate) is_well: bool,
}

/// Counts, and records or compares. Without valgrind there is a notice and nothing is amiss.
pub(crate) fn run(is_recording: bool) -> Result<Answer, String> {
    if cfg!(debug_assertions) {
        return Err(String::from(
            "instructions are counted in an optimised build (cargo run --release -p perf)",
        ));
    }
    let Some(valgrind) = version() else {
        return Ok(Answer {
            text: String::from(
                "NOT COUNTED: there is no valgrind here (install it to count instructions)",
            ),
            json: String::from("{\"instructions_per_event\": null}"),
            is_well: true,
        });
    };
    let mut counts = Counts::new();
    for case in Case::value_variants() {
        counts.insert(case.name().to_owned(), per_event(*case)?);
    }
    let record = Record {
        architecture: std::env::consts::ARCH.to_owned(),
        valgrind,
        command: String::from("cargo run --release -p perf -- instructions --record"),
        instructions_per_event: counts,
    };
    let json = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
    let judgements = bars::judge(
        Topic::Instructions,
        &beyond_handle(&record.instructions_per_event),
    );
    let (verdict, meets_bars) = bars::verdict(&judgements);
    let bars = format!("{}\n\nbars: {verdict}", bars::text(&judgements));
    let (text, is_well) = if is_recording {
        fs::write(RECORD, format!("{json}\n")).map_err(|error| format!("{RECORD}: {error}"))?;
        let (table, _) = compare(&record.instructions_per_event, None);
        (format!("{table}\n\n{bars}\n\nrecorded"), true)
    } else {
        let (text, has_not_grown) = judge(&record, kept(Path::new(RECORD))?.as_ref());
        (format!("{bars}\n\n{text}"), meets_bars && has_not_grown)
    };
    Ok(Answer {
        text,
        json,
        is_well,
    })
}

/// What policies add to an event that is handled.
fn beyond_handle(counts: &Counts) -> Vec<Measure> {
    let count = |case: Case| counts.get(case.name()).copied();
    [Case::HandlePolicies, Case::HandlePoliciesTime]
        .into_iter()
        .filter_map(|case| {
            let more = count(case)? - count(Case::Handle)?;
            Some(Measure::new(case.name(), more))
        })
        .collect()
}

/// The version of valgrind, if there is one that runs.
fn version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The record, if there is one.
fn kept(path: &Path) -> Result<Option<Record>, String> {
    if !path.exists() {
        return Ok(None);
    }
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| said(&error))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| said(&error))
}

fn per_event(case: Case) -> Result<f64, String> {
    let [small, large] = case.sizes();
    let per_event = difference(count(case, small)?, count(case, large)?);
    per_event.ok_or_else(|| format!("{}: both sizes had as many events", case.name()))
}

/// A whole run: the events it had, and its instructions.
#[derive(Debug, Clone, Copy)]
struct Total {
    events: u64,
    instructions: u64,
}

fn difference(small: Total, large: Total) -> Option<f64> {
    let events = large
        .events
        .checked_sub(small.events)
        .filter(|more| *more > 0)?;
    let instructions = large.instructions.saturating_sub(small.instructions);
    Some(instructions as f64 / events as f64)
}

fn count(case: Case, events: u64) -> Result<Total, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["instructions", "--child", case.name(), &events.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let wrong = |what: &str| format!("{} under valgrind: {what}\n{told}", case.name());
    if !output.status.success() {
        return Err(wrong(&output.status.to_string()));
    }
    let done = String::from_utf8_lossy(&output.stdout);
    Ok(Total {
        events: done.trim().parse().map_err(|_| wrong("tells no events"))?,
        instructions: collected(&told).ok_or_else(|| wrong("tells no count"))?,
    })
}

/// `==1234== Collected : 5678`
fn collected(told: &str) -> Option<u64> {
    let (_, count) = told
        .lines()
        .filter_map(|line| line.split_once("Collected :"))
        .next_back()?;
    count.trim().parse().ok()
}

fn judge(now: &Record, kept: Option<&Record>) -> (String, bool) {
    let counts = &now.instructions_per_event;
    let Some(kept) = kept else {
        let (table, _) = compare(counts, None);
        return (
            format!("{table}\n\nverdict: MISSED, there is no record (make one with --record)"),
            false,
        );
    };
    if kept.architecture != now.architecture {
        let (table, _) = compare(counts, None);
        let text = format!(
            "{table}\n\nNOT COMPARED: the record is of {}, and this is {}",
            kept.architecture, now.architecture
        );
        return (text, true);
    }
    let (table, grown) = compare(counts, Some(&kept.instructions_per_event));
    let is_well = grown.is_empty();
    let verdict = if is_well {
        String::from("verdict: PASSED, no count has grown")
    } else {
        format!(
            "verdict: MISSED, grown or not recorded: {}",
            grown.join(", ")
        )
    };
    (format!("{table}\n\n{verdict}"), is_well)
}

/// A table, and the cases that have grown or are not recorded.
fn compare(now: &Counts, kept: Option<&Counts>) -> (String, Vec<String>) {
    let mut table = Table::new(["<case", "instructions/event", "recorded", "at most"]);
    let mut grown = Vec::new();
    for (case, &count) in now {
        let recorded = kept.and_then(|kept| kept.get(case)).copied();
        let at_most = recorded.map(allowed);
        if !at_most.is_some_and(|at_most| count <= at_most) {
            grown.push(case.clone());
        }
        let cell =
            |number: Option<f64>| number.map_or_else(|| String::from("-"), |n| format!("{n:.1}"));
        table.row([
            case.clone(),
            cell(Some(count)),
            cell(recorded),
            cell(at_most),
        ]);
    }
    (table.text(), grown)
}

fn allowed(recorded: f64) -> f64 {
    recorded * (1.0 + GROWTH) + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(counts: &[(&str, f64)]) -> Record {
        Record {
            architecture: String::from("x86_64"),
            valgrind: String::new(),
            command: String::new(),
            instructions_per_event: counts.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect(),
        }
    }

    #[test]
    fn start_and_end_drop_out() {
        let total = |events, instructions| Total {
            events,
            instructions,
        };
        let (small, large) = (total(1_000, 500_000), total(11_000, 1_500_000));
        assert_eq!(difference(small, large), Some(100.0));
        assert_eq!(difference(small, small), None);
    }

    #[test]
    fn callgrinds_total_is_read() {
        let told = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(told), Some(123_456));
        assert_eq!(collected("==7== Collected : nothing\n"), None);
        assert_eq!(collected(""), None);
    }

    #[test]
    fn policies_are_held_against_handling_without() {
        let check = |handle: &[(&str, f64)], expected| {
            let measures = beyond_handle(&record(handle).instructions_per_event);
            let judgements = bars::judge(Topic::Instructions, &measures);
            let (text, is_met) = bars::verdict(&judgements);
            assert_eq!(is_met, expected, "{text}");
        };
        let with = |count, time| {
            [
                ("handle", 200.0),
                ("handle-policies", count),
                ("handle-policies-time", time),
            ]
        };
        check(&with(208.0, 208.0), true);
        check(&with(208.1, 200.0), false);
        check(&with(200.0, 208.1), false);
        check(&with(200.0, 200.0)[..2], false);
    }

    #[test]
    fn three_percent_and_two_instructions_more_are_let_pass() {
        let kept = record(&[("publish", 100.0)]);
        let check = |count, expected| {
            let (text, is_well) = judge(&record(&[("publish", count)]), Some(&kept));
            assert_eq!(is_well, expected, "{text}");
        };
        check(90.0, true);
        check(105.0, true);
        check(105.1, false);
    }

    #[test]
    fn what_is_not_recorded_does_not_pass() {
        let now = record(&[("publish", 1.0)]);
        assert!(!judge(&now, None).1);
        assert!(!judge(&now, Some(&record(&[("handle", 1.0)]))).1);
        let other = Record {
            architecture: String::from("aarch64"),
            ..record(&[])
        };
        let (text, is_well) = judge(&now, Some(&other));
        assert!(is_well && text.contains("NOT COMPARED"), "{text}");
    }
}
