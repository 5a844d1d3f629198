//! Reading events of a log, as they lie.

use super::args::{Lines, ReadArgs};
use super::file::{load, write_to_stdout};
use super::{exit, printed};
use crate::summary::{printable, shortened};
use anyhow::Result;
use jiff::Timestamp;
use ringbolt::store::{EventStore, Query, Record};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::SystemTime;

const HEAD: [&str; 7] = [
    "position", "time", "stream", "version", "type", "id", "data",
];
/// Least widths on a terminal: lines are printed as they are read, and a longer cell moves those behind it.
const WIDTHS: [usize; 7] = [8, 30, 12, 7, 16, 36, 0];

/// Prints the events that are meant.
///
/// # Errors
/// The file cannot be read, a stream is not there, or nothing can be printed.
pub(super) fn read(args: &ReadArgs) -> Result<ExitCode> {
    let loaded = load(&args.file)?;
    loaded.expect_streams(&args.filter.streams)?;
    let mut query = args.filter.query();
    if args.backward {
        query = query.backward();
    }
    if let Some(limit) = args.limit {
        query = query.limit(limit);
    }
    match args.format {
        Lines::Json => write_to_stdout(&loaded.store, query)?,
        Lines::Text => {
            let written = write_table(&loaded.store, query)?;
            printed(written)?;
        }
    }
    Ok(exit(loaded.refused == 0))
}

fn write_table(store: &EventStore, query: Query) -> Result<io::Result<()>> {
    let is_terminal = io::stdout().is_terminal();
    let mut out = BufWriter::new(anstream::stdout().lock());
    let mut write = |cells: [String; 7]| {
        if !is_terminal {
            return writeln!(out, "{}", cells.join("\t"));
        }
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(WIDTHS) {
            line += &format!("{:width$}  ", shortened(cell));
        }
        writeln!(out, "{}", line.trim_end())
    };
    if is_terminal && let Err(error) = write(HEAD.map(str::to_owned)) {
        return Ok(Err(error));
    }
    let reader = store.reader();
    for record in reader.read(query)? {
        if let Err(error) = write(row(&record?)) {
            return Ok(Err(error));
        }
    }
    Ok(out.flush())
}

/// An event's cells; nothing in them moves the cursor or ends the line.
fn row(record: &Record<'_>) -> [String; 7] {
    let payload = record.payload();
    let text = record.encoding().is_text();
    let text = std::str::from_utf8(payload).ok().filter(|_| text);
    let data = text.map_or_else(
        || format!("({}, {} bytes)", record.encoding().name(), payload.len()),
        printable,
    );
    [
        record.position().to_string(),
        told(record.time()),
        printable(record.stream()),
        record.version().to_string(),
        printable(record.event_type()),
        record.id().to_string(),
        data,
    ]
}

/// A time as people write it, to the nanosecond.
pub(super) fn told(time: SystemTime) -> String {
    let shown = Timestamp::try_from(time).map(|time| format!("{time:.9}"));
    shown.unwrap_or_else(|_| format!("{time:?}"))
}
