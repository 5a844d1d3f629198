//! CSV with a header.
//!
//! A row becomes an object of its columns. A row with too few or too many fields, or one that is not
//! UTF-8, costs that row; a column that was named and is not there, or is there twice, costs the file, and so
//! does a quote that nobody closes, since it has swallowed what came behind it.

use super::json::intern;
use super::{Fault, Fields, NO_TYPES, Record, Records, Text, VALUE_BYTES_MAX, time, too_long};
use csv::{ErrorKind, StringRecord};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// The type of a row where none is named.
const DEFAULT_TYPE: &str = NO_TYPES[1];

pub(super) fn records(text: Text, fields: &Fields) -> Records {
    match Reader::new(text, fields) {
        Ok(mut reader) => Box::new(std::iter::from_fn(move || reader.next_record())),
        Err(fault) => Box::new(std::iter::once(Err(fault))),
    }
}

struct Reader {
    rows: csv::Reader<Lines>,
    names: Vec<String>,
    event_type: Option<usize>,
    key: Option<usize>,
    time: Option<usize>,
    types: HashSet<Arc<str>>,
    row: StringRecord,
    is_over: bool,
}

impl Reader {
    fn new(text: Text, fields: &Fields) -> Result<Self, Fault> {
        let mut rows = csv::Reader::from_reader(Lines::of(text));
        let header = rows.headers().cloned();
        let lines = rows.get_ref();
        let names: Vec<String> = match header {
            _ if lines.is_cut_off() => return Err(unclosed(lines.row)),
            Ok(names) => names.iter().map(str::to_owned).collect(),
            Err(error) => {
                return Err(Fault {
                    is_last: true,
                    ..fault(&error, lines.row)
                });
            }
        };
        let mut reader = Self {
            rows,
            event_type: None,
            key: None,
            time: None,
            names,
            types: HashSet::new(),
            row: StringRecord::new(),
            is_over: false,
        };
        // An empty file has no columns and no rows that could miss them.
        if !reader.names.is_empty() {
            reader.event_type = reader.column(fields.event_type.as_deref())?;
            reader.key = reader.column(fields.key.as_deref())?;
            reader.time = reader.column(fields.time.as_deref())?;
        }
        Ok(reader)
    }

    /// The place of a column, by its name or by the pointer that it would have in JSON.
    fn column(&self, field: Option<&str>) -> Result<Option<usize>, Fault> {
        let Some(field) = field else { return Ok(None) };
        let places = |wanted: &str| -> Vec<usize> {
            let fits = |place: &usize| self.names[*place] == wanted;
            (0..self.names.len()).filter(fits).collect()
        };
        let mut found = places(field);
        if let (true, Some(name)) = (found.is_empty(), field.strip_prefix('/')) {
            found = places(name);
        }
        let reason = match found[..] {
            [place] => return Ok(Some(place)),
            [] => format!("has no column {field:?} (there are: {:?})", self.names),
            _ => format!("has {} columns {field:?}", found.len()),
        };
        Err(Fault {
            line: self.rows.get_ref().row,
            reason,
            is_last: true,
        })
    }

    fn next_record(&mut self) -> Option<Result<(u64, Record), Fault>> {
        if self.is_over {
            return None;
        }
        self.rows.get_mut().begin_row();
        let read = self.rows.read_record(&mut self.row);
        let lines = self.rows.get_ref();
        let line = lines.row;
        let result = match read {
            _ if lines.is_cut_off() => Err(unclosed(line)),
            Ok(false) => return None,
            Ok(true) => match self.record() {
                Ok(record) => Ok((line, record)),
                Err(reason) => Err(Fault {
                    line,
                    reason,
                    is_last: false,
                }),
            },
            Err(error) => Err(fault(&error, line)),
        };
        self.is_over = matches!(&result, Err(fault) if fault.is_last);
        Some(result)
    }

    fn record(&mut self) -> Result<Record, String> {
        // An empty field says nothing.
        let at = |column: Option<usize>| {
            column
                .and_then(|column| self.row.get(column))
                .filter(|text| !text.is_empty())
        };
        let time_ns = at(self.time).map(time::parse).transpose()?;
        let key = at(self.key).map(Into::into);
        let name = at(self.event_type).unwrap_or(DEFAULT_TYPE);
        let event_type = intern(&mut self.types, name);
        let fields = self
            .names
            .iter()
            .cloned()
            .zip(self.row.iter().map(Value::from));
        let data = Value::Object(fields.collect::<Map<_, _>>());
        Ok(Record {
            event_type,
            key,
            time_ns,
            data,
        })
    }
}

fn fault(error: &csv::Error, line: u64) -> Fault {
    let (reason, is_last) = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => (
            format!("has {len} field(s) where the header has {expected_len}"),
            false,
        ),
        ErrorKind::Utf8 { err, .. } => (format!("field {} is not UTF-8", err.field() + 1), false),
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => (too_long(), true),
        ErrorKind::Io(error) => (format!("cannot be read: {error}"), true),
        _ => (error.to_string(), true),
    };
    Fault {
        line,
        reason,
        is_last,
    }
}

fn unclosed(line: u64) -> Fault {
    Fault {
        line,
        reason: "opens a quote that is not closed to the end of the file".to_owned(),
        is_last: true,
    }
}

/// The text, handed over by at most a line at a time: so the parser never holds anything behind the row it is at, and
/// it is known here on which line a row begins. (The parser's own count is behind where lines end in CRLF or are
/// blank.) A line end is added where the last line has none: a row that goes on to the very end has an open quote.
struct Lines {
    text: Text,
    /// The line that the next byte is on.
    line: u64,
    /// Where the row begins that is being read; before its first byte, where the text has got to.
    row: u64,
    /// Bytes of that row so far: 0 before its first line that is not blank.
    row_bytes: usize,
    at_line_start: bool,
    is_over: bool,
}

impl Lines {
    fn of(text: Text) -> Self {
        Self {
            text,
            line: 1,
            row: 1,
            row_bytes: 0,
            at_line_start: true,
            is_over: false,
        }
    }

    /// The next byte belongs to the next row.
    fn begin_row(&mut self) {
        self.row_bytes = 0;
    }

    /// Whether the text has ended within a row.
    fn is_cut_off(&self) -> bool {
        self.is_over && self.row_bytes > 0
    }
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let seen = self.text.fill_buf()?;
        let seen = &seen[..seen.len().min(out.len())];
        if seen.is_empty() {
            if self.at_line_start || out.is_empty() {
                self.is_over = true;
                return Ok(0);
            }
            self.at_line_start = true;
            out[0] = b'\n';
            return Ok(1);
        }
        let end = seen.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(seen.len(), |end| end + 1);
        out[..count].copy_from_slice(&seen[..count]);
        let is_blank = out[..count].iter().all(|byte| b"\r\n".contains(byte));
        if self.row_bytes > 0 || !is_blank {
            if self.row_bytes == 0 {
                self.row = self.line;
            }
            self.row_bytes += count;
        }
        self.at_line_start = end.is_some();
        self.line += u64::from(end.is_some());
        self.text.consume(count);
        if self.row_bytes > VALUE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(count)
    }
}
