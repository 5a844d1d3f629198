//! Looking at all of a log: its figures, and its streams.

use super::args::{Sort, StatsArgs, StreamsArgs};
use super::file::load;
use super::{exit, printed};
use crate::args::Format;
use crate::summary::{grouped, printable, shortened};
use anyhow::Result;
use ringbolt::store::StreamStats;
use serde_json::json;
use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

const HEAD: [&str; 6] = [
    "stream",
    "events",
    "first version",
    "last version",
    "bytes",
    "state",
];
/// Columns that hold numbers.
const RIGHT: [usize; 4] = [1, 2, 3, 4];

/// Tells what a file has.
///
/// # Errors
/// The file cannot be read, or nothing can be printed.
pub(super) fn stats(args: &StatsArgs) -> Result<ExitCode> {
    let loaded = load(&args.file)?;
    let stats = loaded.store.stats();
    let text = match args.format {
        Format::Json => serde_json::to_string(&stats)? + "\n",
        Format::Text => stats.to_string(),
    };
    printed(anstream::stdout().lock().write_all(text.as_bytes()))?;
    Ok(exit(loaded.refused == 0))
}

/// Lists the streams of a file.
///
/// # Errors
/// The file cannot be read, or nothing can be printed.
pub(super) fn streams(args: &StreamsArgs) -> Result<ExitCode> {
    let loaded = load(&args.file)?;
    let mut streams = loaded.store.streams();
    match args.sort {
        Sort::First => {}
        Sort::Name => streams.sort_by(|one, other| one.stream.cmp(&other.stream)),
        Sort::Events => streams.sort_by_key(|stream| Reverse(stream.events)),
        Sort::Bytes => streams.sort_by_key(|stream| Reverse(stream.bytes)),
    }
    let count = streams.len();
    streams.truncate(args.limit.unwrap_or(count));
    let text = match args.format {
        Format::Json => json!({"streams": streams, "count": count}).to_string() + "\n",
        Format::Text if io::stdout().is_terminal() => table(&streams, count),
        Format::Text => streams
            .iter()
            .map(|stream| row(stream).join("\t") + "\n")
            .collect(),
    };
    printed(anstream::stdout().lock().write_all(text.as_bytes()))?;
    Ok(exit(loaded.refused == 0))
}

/// A stream's cells; nothing in them moves the cursor or ends the line.
fn row(stream: &StreamStats) -> [String; 6] {
    let state = match (stream.is_deleted, stream.first_version) {
        (true, _) => "deleted",
        (false, 0) => "whole",
        (false, _) => "truncated",
    };
    [
        printable(&stream.stream),
        stream.events.to_string(),
        stream.first_version.to_string(),
        (stream.events - 1).to_string(),
        stream.bytes.to_string(),
        state.to_owned(),
    ]
}

fn table(streams: &[StreamStats], count: usize) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(
        streams
            .iter()
            .map(|stream| row(stream).map(|cell| shortened(&cell))),
    );
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if RIGHT.contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:width$}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    let shown = grouped(streams.len() as u64);
    let _ = if streams.len() == count {
        writeln!(text, "{shown} streams")
    } else {
        writeln!(text, "{shown} of {} streams", grouped(count as u64))
    };
    text
}
