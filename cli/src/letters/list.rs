//! Looking: a list of letters, and everything about one.

use super::args::{ListArgs, ShowArgs};
use super::file::{Complaints, Lines};
use super::line::Letter;
use super::{exit, printed};
use crate::args::Format;
use crate::console::Console;
use crate::summary::{grouped, printable, shortened};
use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

const HEAD: [&str; 9] = [
    "id",
    "last failure",
    "event",
    "key",
    "subscription",
    "reason",
    "attempts",
    "replays",
    "error",
];
/// Columns that hold numbers.
const RIGHT: [usize; 3] = [0, 6, 7];

/// Lists the letters that are meant.
///
/// # Errors
/// The file cannot be read, or nothing can be printed.
pub(super) fn list(args: &ListArgs) -> Result<ExitCode> {
    let lines = Lines::open(&args.file)?;
    let mut complaints = Complaints::of(lines.name());
    let mut count = 0;
    let mut found = Vec::new();
    for line in lines {
        let line = line?;
        match line.letter {
            Err(reason) => complaints.note(line.number, &reason),
            Ok(letter) if args.filter.is_met(&letter) => {
                let is_shown =
                    count >= args.offset && args.limit.is_none_or(|limit| found.len() < limit);
                if is_shown {
                    found.push(letter);
                }
                count += 1;
            }
            Ok(_) => {}
        }
    }
    let text = match args.format {
        Format::Json => json_list(&found, count)?,
        Format::Text if io::stdout().is_terminal() => table(&found, count),
        Format::Text => found
            .iter()
            .map(|letter| row(letter).join("\t") + "\n")
            .collect(),
    };
    printed(anstream::stdout().lock().write_all(text.as_bytes()))?;
    Ok(exit(!complaints.end()))
}

/// As the file has them, in one object.
fn json_list(letters: &[Letter], count: usize) -> Result<String> {
    let mut text = String::from("{\"letters\":[");
    for (place, letter) in letters.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(&letter.raw)?);
    }
    let _ = writeln!(text, "],\"count\":{count}}}");
    Ok(text)
}

/// A letter's cells; nothing in them moves the cursor or ends the line.
fn row(letter: &Letter) -> [String; 9] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        or_none(letter.id.map(|id| id.to_string())),
        time(letter.last_failure_ms),
        printable(&letter.event_name),
        or_none(letter.key.as_deref().map(printable)),
        printable(&letter.subscription),
        letter.reason.name().to_owned(),
        letter.attempt_count.to_string(),
        letter.replays.to_string(),
        printable(letter.error()),
    ]
}

fn table(letters: &[Letter], count: usize) -> String {
    let head = HEAD.map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(
        letters
            .iter()
            .map(|letter| row(letter).map(|cell| shortened(&cell))),
    );
    let widths: [usize; 9] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if RIGHT.contains(&column) {
                let _ = write!(line, "{cell:>width$}  ");
            } else {
                let _ = write!(line, "{cell:width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    let shown = grouped(letters.len() as u64);
    let _ = if letters.len() == count {
        writeln!(text, "{shown} letters")
    } else {
        writeln!(text, "{shown} of {} letters", grouped(count as u64))
    };
    text
}

/// Wall milliseconds as people write them, or as they are where no calendar has them.
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok();
    let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| format!("{time:.3}"))
}

/// Tells everything about one letter; all of them, if several have its number.
///
/// # Errors
/// The file cannot be read, or nothing can be printed.
pub(super) fn show(args: &ShowArgs) -> Result<ExitCode> {
    let lines = Lines::open(&args.file)?;
    let file = lines.name();
    let mut complaints = Complaints::of(lines.name());
    let mut text = String::new();
    for line in lines {
        let line = line?;
        match line.letter {
            Err(reason) => complaints.note(line.number, &reason),
            Ok(letter) if letter.id == Some(args.id) => match args.format {
                Format::Json => text += &(serde_json::to_string(&letter.raw)? + "\n"),
                Format::Text => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    everything(&letter, &mut text);
                }
            },
            Ok(_) => {}
        }
    }
    let is_found = !text.is_empty();
    if !is_found {
        Console::default().complain(&format!("{file}: there is no letter {}", args.id));
    }
    printed(anstream::stdout().lock().write_all(text.as_bytes()))?;
    Ok(exit(!complaints.end() && is_found))
}

fn everything(letter: &Letter, text: &mut String) {
    let field = |name: &str| {
        let value = letter.raw.text(name).unwrap_or("null");
        match serde_json::from_str(value) {
            Ok(Value::String(value)) => printable(&value),
            Ok(Value::Null) => "-".to_owned(),
            _ => printable(value),
        }
    };
    let rows = [
        ("letter", field("id")),
        (
            "event",
            format!(
                "{}, version {}",
                field("event_name"),
                field("event_version")
            ),
        ),
        ("event id", field("event_id")),
        ("correlation", field("correlation_id")),
        ("causation", field("causation_id")),
        ("class", field("class")),
        ("key", field("key")),
        ("metadata", field("metadata")),
        ("subscription", field("subscription")),
        ("sequential", field("sequential")),
        ("reason", field("reason")),
        ("first failure", time(letter.first_failure_ms)),
        ("last failure", time(letter.last_failure_ms)),
        ("attempts", letter.attempt_count.to_string()),
        ("replays", letter.replays.to_string()),
        ("codec", field("codec")),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:13}  {value}");
    }
    let _ = writeln!(text, "\nerrors, the latest first");
    for error in &letter.errors {
        let _ = writeln!(text, "  {}", printable(error));
    }
    let _ = writeln!(text, "\nattempts, the first and the last 15");
    for attempt in &letter.attempts {
        let _ = writeln!(
            text,
            "  {:>5}  {}  {:>6} ms  {}",
            attempt.number,
            time(attempt.started_ms),
            attempt.ended_ms.saturating_sub(attempt.started_ms),
            printable(&attempt.message)
        );
    }
    let _ = if letter.has_event {
        writeln!(
            text,
            "\nvalue\n  {}",
            printable(letter.raw.text("event").unwrap_or("null"))
        )
    } else {
        writeln!(
            text,
            "\nvalue\n  not in the file{}",
            match letter.raw.text("event_error") {
                Some(_) => format!(": {}", field("event_error")),
                None => ": the event's type has no codec".to_owned(),
            }
        )
    };
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::LINE;
    use super::*;

    #[test]
    fn a_table_is_aligned_and_says_how_many_there_are() {
        let letter = |line: &str| Letter::of(line.as_bytes()).expect("it is a letter");
        let other = LINE
            .replace("\"id\":4", "\"id\":4000")
            .replace("[\"no\"]", "[\"a\\tb\"]");
        let text = table(&[letter(LINE), letter(&other)], 7);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  id  last failure"), "{text}");
        assert!(
            lines[1].starts_with("   4  1970-01-01T00:00:00.006Z  order.placed  287  check"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("4000  ") && lines[2].ends_with("a\\tb"),
            "{text}"
        );
        assert_eq!(lines[3], "2 of 7 letters");
    }

    #[test]
    fn times_are_told_even_where_no_calendar_has_them() {
        assert_eq!(time(1_500), "1970-01-01T00:00:01.500Z");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn everything_is_told_of_a_letter() {
        let mut text = String::new();
        everything(
            &Letter::of(LINE.as_bytes()).expect("it is a letter"),
            &mut text,
        );
        for words in [
            "order.placed, version 1",
            "permanent",
            "287",
            "123456789012345678901234567890",
            "1 ms  no",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let line = LINE.replace(
            "\"codec\":\"json\",\"event\":{",
            "\"codec\":null,\"event\":null,\"x\":{",
        );
        let mut text = String::new();
        everything(
            &Letter::of(line.as_bytes()).expect("it is a letter"),
            &mut text,
        );
        assert!(
            text.contains("not in the file: the event's type has no codec"),
            "{text}"
        );
    }
}
