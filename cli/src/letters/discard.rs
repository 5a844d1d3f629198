//! Throwing letters away, on record.

use super::args::DiscardArgs;
use super::file::{Complaints, Lines};
use super::list::time;
use super::{Rewrite, exit, missing, not_stdin, printed};
use crate::args::Format;
use crate::summary::{grouped, printable};
use anyhow::{Result, bail};
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers that a text names; a record has all of them.
const NAMED_MAX: usize = 20;

/// Who discarded which letters, when and why.
#[derive(Debug, Serialize)]
struct Record<'a> {
    /// Wall milliseconds since 1970.
    at_ms: u64,
    who: &'a str,
    why: &'a str,
    count: usize,
    letters: Vec<Option<u64>>,
    /// Letters that are left in the file.
    left: u64,
}

/// Takes the letters that are meant out of the file and prints the record of it.
///
/// # Errors
/// The file cannot be read or written, it has no such letter, or a number is there more than once. The file
/// is then as it was.
pub(super) fn discard(args: &DiscardArgs) -> Result<ExitCode> {
    not_stdin(&args.file)?;
    let lines = Lines::open(&args.file)?;
    let file = lines.name();
    let mut complaints = Complaints::of(lines.name());
    let mut rewrite = Rewrite::begin(&args.file)?;
    let mut discarded = Vec::new();
    let mut left = 0;
    let mut seen: HashMap<u64, u64> = args.ids.ids.iter().map(|id| (*id, 0)).collect();
    for line in lines {
        let line = line?;
        let letter = line.letter.as_ref();
        if let Err(reason) = letter {
            complaints.note(line.number, reason);
        }
        let is_meant = letter.is_ok_and(|letter| {
            let is_asked_for = args.ids.ids.is_empty()
                || letter
                    .id
                    .and_then(|id| seen.get_mut(&id))
                    .is_some_and(|line_count| {
                        *line_count += 1;
                        true
                    });
            is_asked_for && args.filter.is_met(letter)
        });
        match letter {
            Ok(letter) if is_meant => discarded.push(letter.id),
            _ => {
                left += u64::from(letter.is_ok());
                rewrite.out().write_all(&line.bytes)?;
                rewrite.out().write_all(b"\n")?;
            }
        }
    }
    if let Some(id) = args.ids.ids.iter().find(|id| seen[id] != 1) {
        match seen[id] {
            0 => bail!(missing(&file, *id)),
            count => bail!(
                "{file}: there are {count} letters {id}, and only one can be meant: nothing was discarded"
            ),
        }
    }
    if discarded.is_empty() {
        bail!("{file}: no letter is meant: nothing was discarded");
    }
    rewrite.finish()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let record = Record {
        at_ms: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        who: &args.who,
        why: &args.why,
        count: discarded.len(),
        letters: discarded,
        left,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string(&record)?,
        Format::Text => told(&record),
    };
    printed(writeln!(anstream::stdout(), "{text}"))?;
    Ok(exit(!complaints.end()))
}

fn told(record: &Record<'_>) -> String {
    let named = record.letters.iter().flatten().take(NAMED_MAX);
    let mut ids: Vec<String> = named.map(u64::to_string).collect();
    if record.count > ids.len() {
        ids.push("...".to_owned());
    }
    format!(
        "{} discarded {} by {}: {}\nletters: {}\nleft: {}",
        time(record.at_ms),
        grouped(record.count as u64),
        printable(record.who),
        printable(record.why),
        ids.join(", "),
        grouped(record.left)
    )
}
