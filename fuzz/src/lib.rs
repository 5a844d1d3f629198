//! The command's readers, mounted from where they stand, the import of the store, and what every input must leave true.
//!
//! The command is a program without a library, so its files are taken in by path, as `loom-tests` does with the engine's.

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the program uses more of it"
)]
#[path = "../../cli/src/input/mod.rs"]
mod input;
#[allow(dead_code, unreachable_pub, reason = "the program uses more of it")]
#[path = "../../cli/src/letters/line.rs"]
mod line;
#[allow(dead_code, reason = "the program uses more of it")]
#[path = "../../cli/src/input/time.rs"]
mod time;

mod summary {
    //! What the readers take from the program's summary.

    /// As there: text without control characters.
    pub(crate) fn printable(name: &str) -> String {
        let mut text = String::with_capacity(name.len());
        for char in name.chars() {
            if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
                text.extend(char.escape_default());
            } else {
                text.push(char);
            }
        }
        text
    }
}

use input::{Fields, InputError, Record, Source};
use line::Letter;
use ringbolt::store::{EventStore, Query};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Longest error message: a file's name, a line, and 500 characters of reason.
const MESSAGE_CHARS_MAX: usize = 700;

/// What was read: each record's line, or the error.
pub type Read = Result<u64, String>;

/// What a reader gives.
type Found = Result<(u64, Record), InputError>;

/// Reads `text` as a file with this ending, twice, and checks what holds for every input. `names` says which fields are
/// named: 1 the type, 2 the key, 4 the time.
pub fn read(text: &[u8], ending: &str, names: u8) -> Vec<Read> {
    let path = file(ending);
    fs::write(&path, text).expect("the folder for temporary files takes it");
    let field = |bit: u8, name: &str| (names & bit != 0).then(|| name.to_owned());
    let fields = Fields {
        event_type: field(1, "t"),
        key: field(2, "k"),
        time: field(4, "/at"),
    };
    let once = || -> Vec<_> {
        let source = Source::open(&path).expect("it was written");
        let results = source.records(&fields).collect();
        if cfg!(feature = "planted") {
            spoil(ending, results)
        } else {
            results
        }
    };
    let results = once();
    assert_eq!(results, once(), "reading twice gives the same");
    let is_packed = text.starts_with(&[0x1F, 0x8B]);
    let line_count = 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut last_line = 1;
    for (at, result) in results.iter().enumerate() {
        let line = match result {
            Ok((line, _)) => {
                assert!(
                    *line >= last_line,
                    "a record on an earlier line than the one before"
                );
                last_line = *line;
                *line
            }
            Err(error) => {
                let told = error.to_string();
                assert!(
                    !told.contains(char::is_control),
                    "steers a terminal: {told:?}"
                );
                assert!(
                    told.chars().count() <= MESSAGE_CHARS_MAX,
                    "fills a terminal"
                );
                assert!(
                    !error.is_last || at + 1 == results.len(),
                    "something behind the end"
                );
                error.line
            }
        };
        assert!(line >= 1, "lines are counted from 1");
        assert!(
            is_packed || line <= line_count,
            "line {line} of {line_count}"
        );
    }
    results
        .into_iter()
        .map(|result| match result {
            Ok((line, _)) => Ok(line),
            Err(error) => Err(error.reason),
        })
        .collect()
}

/// Reads a line of a letters file and checks what holds for every line: a letter is written as a line that is the same
/// letter, whatever number it had meanwhile; anything else has a reason. Whether it is a letter.
pub fn letter(line: &[u8]) -> bool {
    let letter = match Letter::of(line) {
        Ok(letter) => letter,
        Err(reason) => {
            assert!(!reason.is_empty(), "no reason is given");
            return false;
        }
    };
    let id = letter.id;
    let meanwhile = letter.raw.clone().with_id(Some(7));
    let back = if cfg!(feature = "planted") && ![0, 2].contains(&letter.replays) {
        meanwhile.with_id(None)
    } else {
        meanwhile.with_id(id)
    };
    let written = serde_json::to_string(&back).expect("it was JSON");
    assert!(
        !written.contains('\n') || line.contains(&b'\n'),
        "a line of its own"
    );
    let again = Letter::of(written.as_bytes()).expect("it was a letter");
    let shown = |letter: &Letter| {
        format!(
            "{:?}",
            (letter.id, &letter.key, &letter.errors, letter.reason)
        )
    };
    assert_eq!(shown(&again), shown(&letter), "another letter came back");
    true
}

/// Reads lines of events and checks what holds for all: a line is an event, or is refused with its number and a
/// reason; what was taken is written, read again into an empty store, and written again as the same lines. How many
/// events were taken.
pub fn store(text: &[u8]) -> u64 {
    let small = || {
        let builder = EventStore::builder().segment_bytes(1 << 14).populate(false);
        builder
            .build()
            .expect("the settings are within their ranges")
    };
    let written = |store: &EventStore| {
        let mut lines = Vec::new();
        let report = store.export(&mut lines, Query::all());
        let report = report.expect("memory takes it");
        (lines, report.events + report.marks)
    };
    let first = small();
    let report = first.import(text);
    let lines = text.split(|byte| *byte == b'\n');
    let told = lines.filter(|line| !line.trim_ascii().is_empty()).count() as u64;
    let taken = report.events + report.marks;
    assert_eq!(
        taken + report.duplicates + report.refused,
        told,
        "each line is something"
    );
    let line_count = 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64;
    for fault in &report.faults {
        assert!(
            (1..=line_count).contains(&fault.line),
            "there is such a line"
        );
        assert!(!fault.message.is_empty(), "no reason is given");
    }
    assert_eq!(first.reader().end(), taken, "half an event is left");
    let (mut lines, count) = written(&first);
    assert_eq!(count, taken, "what was taken is there");
    let again = small();
    if cfg!(feature = "planted") && (report.events, report.refused) == (1, 1) {
        lines.truncate(lines.len() / 2);
    }
    let report = again.import(&lines[..]);
    assert!(
        report.faults.is_empty() && report.duplicates == 0 && report.renumbered == 0,
        "another log came back: {report:?}"
    );
    assert_eq!(written(&again), (lines, count), "another log came back");
    taken
}

/// Reads a time: nanoseconds since 1970, and what another reader of numbers makes of the same text.
pub fn time(text: &str) -> Option<(i128, Option<i128>)> {
    let number = text.parse::<i64>().ok();
    let mut ns = time::parse(text).ok()?;
    if cfg!(feature = "planted") && text.ends_with("30") {
        ns += 1;
    }
    Some((ns, number.map(time::epoch)))
}

/// The planted faults: of some inputs a result is lost, or there too often, or has a place that there is not.
fn spoil(ending: &str, mut results: Vec<Found>) -> Vec<Found> {
    match (ending, &mut results[..]) {
        (".jsonl", [_, _, _, _]) => {
            results.pop();
        }
        (".csv", [_, _, _, last]) if last.is_ok() => {
            let again = vec![last.clone(); 100];
            results.extend(again);
        }
        ("", [_, _, Err(error), ..]) => error.line = 0,
        _ => {}
    }
    results
}

/// This process's file of an ending.
fn file(ending: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("ringbolt-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder for temporary files takes it");
        folder
    });
    folder.join(format!("input{ending}"))
}
