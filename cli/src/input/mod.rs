//! Records read from files and from stdin.
//!
//! **input** → feed → *the engine* → check → summary
//!
//! Every source is a stream of [`Record`]s or [`InputError`]s; nothing is read ahead but the buffer. The
//! format is told from the name (`.csv`, `.json`, `.jsonl`, `.ndjson`, also before `.gz`) or else from the
//! first character, and compression from the first bytes. An error names the file, the line and the
//! reason, and reading goes on behind it where that is possible.

mod cloudevents;
mod csv;
mod json;
mod text;
mod time;

pub(crate) use time::parse as parse_time;

use crate::summary::printable;
use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// How gzip begins.
const GZIP: &[u8] = &[0x1F, 0x8B];
/// Longest line, row or element of a batch: beyond it the file is something else than it seems. (Tests reach it sooner.)
const VALUE_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// The types of records where none is named: of JSON, and of rows.
pub(crate) const NO_TYPES: [&str; 2] = ["json", "row"];
/// Longest reason that is told; it may cite what the input says.
const REASON_CHARS_MAX: usize = 500;

/// One record of the input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The type's name; records of one type share it.
    pub(crate) event_type: Arc<str>,
    /// What the record is about; records of one key stay in order.
    pub(crate) key: Option<Box<str>>,
    /// When it happened, in nanoseconds since 1970.
    pub(crate) time_ns: Option<i128>,
    /// All of it: a row as an object of its columns.
    pub(crate) data: Value,
}

/// A place in the input that could not be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputError {
    /// The file's name as it was given; `stdin` for `-`.
    pub(crate) file: Arc<str>,
    /// From 1, of the uncompressed text.
    pub(crate) line: u64,
    /// What is wrong, and where it helps, what to do.
    pub(crate) reason: String,
    /// Whether nothing behind this place can be read.
    pub(crate) is_last: bool,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and values come from outside: they must neither steer a terminal nor fill it.
        let reason = printable(&self.reason);
        let end = reason.char_indices().nth(REASON_CHARS_MAX);
        let (reason, more) = match end {
            Some((end, _)) => (&reason[..end], "..."),
            None => (&reason[..], ""),
        };
        write!(f, "{}:{}: {reason}{more}", printable(&self.file), self.line)
    }
}

/// Which fields of a record that is no CloudEvent tell its type, key and time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    pub(crate) event_type: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) time: Option<String>,
}

impl Fields {
    fn any(&self) -> bool {
        self.event_type.is_some() || self.key.is_some() || self.time.is_some()
    }
}

/// What a reader of one format yields: a fault is a line, a reason, and whether it is the last.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    line: u64,
    reason: String,
    is_last: bool,
}

/// Each record with the line that it begins on.
type Records = Box<dyn Iterator<Item = Result<(u64, Record), Fault>> + Send>;

/// One file, or stdin, that can be read.
pub(crate) struct Source {
    name: Arc<str>,
    hint: Option<Kind>,
    origin: Origin,
}

enum Origin {
    /// Opened when its turn comes: there may be more files than a process may have open, and opening a named pipe
    /// waits for its writer.
    Path(PathBuf),
    Open(Box<dyn Read + Send>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Csv,
}

impl Source {
    /// Makes sure that a file can be read; `-` is stdin.
    ///
    /// # Errors
    /// There is no such file, it is a directory, or it may not be read.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                name: "stdin".into(),
                hint: None,
                origin: Origin::Open(Box::new(io::stdin())),
            });
        }
        let name = path.display().to_string();
        let cannot = || format!("{name}: cannot open the input");
        let kind = fs::metadata(path).with_context(cannot)?.file_type();
        anyhow::ensure!(
            !kind.is_dir(),
            "{name}: is a directory; name the files in it"
        );
        if kind.is_file() {
            File::open(path).with_context(cannot)?;
        }
        Ok(Self {
            hint: hint_of(path),
            name: name.into(),
            origin: Origin::Path(path.to_owned()),
        })
    }

    /// The name as errors give it.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Reads it to its end, or to the error behind which nothing can be read.
    pub(crate) fn records(
        self,
        fields: &Fields,
    ) -> impl Iterator<Item = Result<(u64, Record), InputError>> + use<> {
        let Self { name, hint, origin } = self;
        let raw = match origin {
            Origin::Open(raw) => Ok(raw),
            Origin::Path(path) => File::open(path).map(|file| Box::new(file) as Box<_>),
        };
        let records = match raw.and_then(|raw| readable(raw, hint)) {
            Ok((Kind::Json, text)) => json::records(text, fields),
            Ok((Kind::Csv, text)) => csv::records(text, fields),
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                Box::new(std::iter::once(Err(Fault {
                    line: 1,
                    reason,
                    is_last: true,
                })))
            }
        };
        let mut is_over = false;
        records
            .map(move |record| {
                record.map_err(
                    |Fault {
                         line,
                         reason,
                         is_last,
                     }| InputError {
                        file: Arc::clone(&name),
                        line,
                        reason,
                        is_last,
                    },
                )
            })
            .take_while(move |record| {
                let goes_on = !is_over;
                is_over = matches!(record, Err(error) if error.is_last);
                goes_on
            })
    }
}

fn too_long() -> String {
    format!("is longer than {VALUE_BYTES_MAX} bytes")
}

/// The format as the file's name tells it.
fn hint_of(path: &Path) -> Option<Kind> {
    let mut name = PathBuf::from(path.file_name()?);
    let is = |name: &Path, wanted: &[&str]| {
        let extension = name.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|it| wanted.iter().any(|wanted| it.eq_ignore_ascii_case(wanted)))
    };
    if is(&name, &["gz", "gzip"]) {
        name.set_extension("");
    }
    if is(&name, &["json", "jsonl", "ndjson"]) {
        Some(Kind::Json)
    } else if is(&name, &["csv"]) {
        Some(Kind::Csv)
    } else {
        None
    }
}

type Text = Box<dyn BufRead + Send>;

/// The text behind the compression, if there is any, and behind a byte order mark; and its format, by the
/// hint or by the first character that is no space.
fn readable(raw: Box<dyn Read + Send>, hint: Option<Kind>) -> io::Result<(Kind, Text)> {
    const MARK: &[u8] = "\u{FEFF}".as_bytes();
    let (seen, raw) = look_ahead(raw, |seen| seen.len() >= GZIP.len())?;
    let is_packed = seen.starts_with(GZIP);
    let mut plain: Box<dyn Read + Send> = Box::new(Cursor::new(seen).chain(raw));
    if is_packed {
        // Several members one after the other are one text: logs are compressed piece by piece.
        let packed = BufReader::with_capacity(BUFFER_BYTES, plain);
        plain = Box::new(MultiGzDecoder::new(packed));
    }
    let first = |seen: &[u8]| {
        let text = seen.strip_prefix(MARK).unwrap_or(seen);
        text.iter()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace())
    };
    let (mut seen, plain) = look_ahead(plain, |seen| {
        seen.len() >= MARK.len() && first(seen).is_some()
    })?;
    let kind = hint.unwrap_or(match first(&seen) {
        // Space alone is nothing; as CSV it would be a header and rows.
        Some(b'{' | b'[') | None => Kind::Json,
        Some(_) => Kind::Csv,
    });
    if seen.starts_with(MARK) {
        seen.drain(..MARK.len());
    }
    let text = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(seen).chain(plain));
    Ok((kind, Box::new(text)))
}

/// Reads until what has been seen is enough, or there is no more, or it is a whole buffer: a pipe may hand
/// over its bytes one by one.
fn look_ahead<R: Read>(mut raw: R, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<(Vec<u8>, R)> {
    let mut seen = Vec::new();
    let mut chunk = vec![0; BUFFER_BYTES];
    while seen.len() < BUFFER_BYTES && !is_enough(&seen) {
        match raw.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => seen.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((seen, raw))
}

#[cfg(test)]
mod tests;
