//! A log's file: read into a store, and written from one.

use crate::console::Console;
use crate::input::InputError;
use crate::letters::Rewrite;
use crate::summary::grouped;
use anyhow::{Context as _, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use ringbolt::store::{EventStore, Query, ReadError};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

/// Bad lines that are described; more are only counted.
const DESCRIBED_MAX: usize = 100;
/// Room for the longest line that is read; memory that nothing is written to costs nothing.
const SEGMENT_BYTES: usize = 128 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) store: EventStore,
    /// The file's name as errors give it.
    name: Arc<str>,
    /// Lines that are no events.
    pub(super) refused: u64,
}

/// Reads a file, and tells which lines are no events.
///
/// # Errors
/// It is not there, or may not be read.
pub(super) fn load(path: &Path) -> Result<Loaded> {
    let (name, from) = open(path)?;
    let builder = EventStore::builder().segment_bytes(SEGMENT_BYTES);
    let store = builder.populate(false).build()?;
    let report = store.import(from);
    let console = Console::default();
    for fault in report.faults.iter().take(DESCRIBED_MAX) {
        let error = InputError {
            file: Arc::clone(&name),
            line: fault.line,
            reason: fault.message.clone(),
            is_last: false,
        };
        console.complain(&error.to_string());
    }
    let more = report.refused.saturating_sub(DESCRIBED_MAX as u64);
    if more > 0 {
        console.complain(&format!("{} further lines are no events", grouped(more)));
    }
    if report.duplicates > 0 {
        console.warn(&format!(
            "{} events are in the file twice and were taken once",
            grouped(report.duplicates)
        ));
    }
    if report.renumbered > 0 {
        console.warn(&format!(
            "the file is a part of a log: {} events have another position or version here than in it",
            grouped(report.renumbered)
        ));
    }
    Ok(Loaded {
        store,
        name,
        refused: report.refused,
    })
}

impl Loaded {
    /// Checks that streams that were named are there: a name that is not is more likely a slip than a wish.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn expect_streams(&self, streams: &[String]) -> Result<()> {
        for stream in streams {
            if self.store.stream_state(stream).version().is_none() {
                let stream = stream.clone();
                bail!("{}: {}", self.name, ReadError::NoStream { stream });
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<(Arc<str>, Box<dyn BufRead>)> {
    const GZIP: &[u8] = &[0x1F, 0x8B];
    let (name, mut raw): (Arc<str>, Box<dyn BufRead>) = if path == Path::new("-") {
        ("stdin".into(), Box::new(io::stdin().lock()))
    } else {
        let name = path.display().to_string();
        let cannot = || format!("{name}: cannot open the events");
        let is_dir = fs::metadata(path).with_context(cannot)?.is_dir();
        ensure!(!is_dir, "{name}: is a directory; name a file of events");
        let file = File::open(path).with_context(cannot)?;
        (name.into(), Box::new(BufReader::new(file)))
    };
    let is_packed = raw
        .fill_buf()
        .with_context(|| format!("{name}: cannot be read"))?
        .starts_with(GZIP);
    if is_packed {
        raw = Box::new(BufReader::new(MultiGzDecoder::new(raw)));
    }
    Ok((name, raw))
}

/// Where the log of a run goes.
#[derive(Debug)]
pub(crate) enum Export {
    Stdout,
    File(Rewrite),
}

impl Export {
    /// Makes the file, so that what cannot be written is known before there is something to write.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        Ok(Self::File(Rewrite::begin(path)?))
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Writes all of a log.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(self, store: &EventStore) -> Result<()> {
        match self {
            Self::Stdout => write_to_stdout(store, Query::all()),
            Self::File(mut file) => {
                let written = store.export(file.out(), Query::all());
                written.context("the log cannot be written")?;
                file.finish()
            }
        }
    }
}

/// Writes a part of a log to stdout, as a file has it.
///
/// # Errors
/// It cannot be written. A reader that has left has seen enough.
pub(super) fn write_to_stdout(store: &EventStore, query: Query) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = store.export(&mut out, query).map(|_| ());
    super::printed(written.and_then(|()| out.flush()))
}
