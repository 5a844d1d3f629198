//! CSV with a header.
//!
//! A row becomes an object of its columns. A row with too few or too many fields, or one that is not
//! UTF-8, costs that row; a column that was named and is not there costs the file.

use super::json::intern;
use super::{Fault, Fields, Record, Records, Text, time};
use csv::{ErrorKind, StringRecord};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// The type of a row where none is named.
const DEFAULT_TYPE: &str = "row";

pub(super) fn records(text: Text, fields: &Fields) -> Records {
    match Reader::new(text, fields) {
        Ok(mut reader) => Box::new(std::iter::from_fn(move || reader.next_record())),
        Err(fault) => Box::new(std::iter::once(Err(fault))),
    }
}

struct Reader {
    rows: csv::Reader<Text>,
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
        let mut rows = csv::Reader::from_reader(text);
        let names: Vec<String> = match rows.headers() {
            Ok(names) => names.iter().map(str::to_owned).collect(),
            Err(error) => {
                return Err(Fault {
                    is_last: true,
                    ..fault(&error, 1)
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
        let place = |wanted: &str| self.names.iter().position(|name| name == wanted);
        let found = place(field).or_else(|| place(field.strip_prefix('/')?));
        found.map(Some).ok_or_else(|| Fault {
            line: 1,
            reason: format!(
                "has no column {field:?} (there are: {})",
                self.names.join(", ")
            ),
            is_last: true,
        })
    }

    fn next_record(&mut self) -> Option<Result<Record, Fault>> {
        if self.is_over {
            return None;
        }
        let line_before = self.rows.position().line();
        match self.rows.read_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.row.position().map_or(line_before, csv::Position::line);
                Some(self.record().map_err(|reason| Fault {
                    line,
                    reason,
                    is_last: false,
                }))
            }
            Err(error) => {
                let fault = fault(&error, line_before);
                self.is_over = fault.is_last;
                Some(Err(fault))
            }
        }
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
    let line = error.position().map_or(line, csv::Position::line);
    let (reason, is_last) = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => (
            format!("has {len} fields where the header has {expected_len}"),
            false,
        ),
        ErrorKind::Utf8 { err, .. } => (format!("field {} is not UTF-8", err.field() + 1), false),
        ErrorKind::Io(error) => (format!("cannot be read: {error}"), true),
        _ => (error.to_string(), true),
    };
    Fault {
        line,
        reason,
        is_last,
    }
}
