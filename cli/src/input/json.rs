//! JSON: one value per line, or arrays of objects over any number of lines, also mixed.
//!
//! An array whose first element is an object is a batch: its elements are records, taken one at a time,
//! so that a file that is one array is never held whole. Any other line is one record.
//! A line that is not JSON costs that line; broken JSON inside a batch costs the rest of the file, since
//! nobody knows where the next element begins.

use super::{
    Fault, Fields, NO_TYPES, Record, Records, Text, VALUE_BYTES_MAX, cloudevents, text, too_long,
};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{self, BufRead};
use std::sync::Arc;

/// The type of a record where none is named.
const DEFAULT_TYPE: &str = NO_TYPES[0];

pub(super) fn records(text: Text, fields: &Fields) -> Records {
    let mut reader = Reader::new(text, fields);
    Box::new(std::iter::from_fn(move || reader.next_record()))
}

struct Reader {
    text: Text,
    shape: Shape,
    /// The line that the next byte is on.
    line: u64,
    place: Place,
    /// The value being collected, and the line it began on.
    value: Vec<u8>,
    value_line: u64,
    /// Whether the value has outgrown what is collected: its end is found all the same, and so the next one.
    is_too_long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between values, outside any batch.
    Top,
    /// Behind the bracket of a batch.
    BatchStart,
    /// Behind an element of a batch.
    BatchNext,
    /// Nothing more can be read.
    End,
}

impl Reader {
    fn new(text: Text, fields: &Fields) -> Self {
        Self {
            text,
            shape: Shape::new(fields),
            line: 1,
            place: Place::Top,
            value: Vec::new(),
            value_line: 1,
            is_too_long: false,
        }
    }

    fn next_record(&mut self) -> Option<Result<(u64, Record), Fault>> {
        if self.place == Place::End {
            return None;
        }
        self.is_too_long = false;
        let is_element = match self.next_value() {
            Ok(None) => {
                self.place = Place::End;
                return None;
            }
            Ok(Some(is_element)) => is_element,
            Err(reason) => {
                self.place = Place::End;
                return Some(Err(Fault {
                    line: self.line,
                    reason,
                    is_last: true,
                }));
            }
        };
        if self.is_too_long {
            return Some(Err(Fault {
                line: self.value_line,
                reason: too_long(),
                is_last: false,
            }));
        }
        match self.shape.record(&self.value, is_element) {
            Ok(record) => Some(Ok((self.value_line, record))),
            Err(Bad::Syntax(error)) => {
                // A batch whose element is broken was cut at a place that may be wrong. One that is only too deep was not.
                let is_last = is_element && !is_too_deep(&error);
                if is_last {
                    self.place = Place::End;
                }
                let line = self.value_line + (error.line() as u64).saturating_sub(1);
                Some(Err(Fault {
                    line,
                    reason: syntax(&error, is_element),
                    is_last,
                }))
            }
            Err(Bad::Record(reason)) => Some(Err(Fault {
                line: self.value_line,
                reason,
                is_last: false,
            })),
        }
    }

    /// Collects the next value; says whether it is an element of a batch, or nothing at the end.
    fn next_value(&mut self) -> Result<Option<bool>, String> {
        loop {
            let Some(byte) = self.skip_space()? else {
                return match self.place {
                    Place::BatchStart | Place::BatchNext => {
                        Err("ends inside an array (is the file cut off?)".to_owned())
                    }
                    Place::Top | Place::End => Ok(None),
                };
            };
            self.value.clear();
            self.value_line = self.line;
            match (self.place, byte) {
                (Place::BatchStart | Place::BatchNext, b']') => {
                    self.take();
                    self.place = Place::Top;
                }
                (Place::BatchNext, b',') => {
                    self.take();
                    match self.skip_space()? {
                        Some(b']' | b',') => {
                            return Err("has a comma without an element behind it".to_owned());
                        }
                        _ => self.place = Place::BatchStart,
                    }
                }
                (Place::BatchNext, _) => {
                    return Err("lacks a comma between two elements".to_owned());
                }
                (Place::BatchStart, _) => {
                    self.collect_element()?;
                    self.place = Place::BatchNext;
                    return Ok(Some(true));
                }
                (_, b'[') if self.begins_batch()? => self.place = Place::BatchStart,
                _ => {
                    self.collect_line()?;
                    return Ok(Some(false));
                }
            }
        }
    }

    /// At a bracket: whether what it opens is a batch, which is then entered. Otherwise the bracket is
    /// kept as the beginning of a line.
    fn begins_batch(&mut self) -> Result<bool, String> {
        self.take();
        self.value.push(b'[');
        let is_batch = matches!(self.skip_space()?, Some(b'{' | b']'));
        Ok(is_batch)
    }

    /// The rest of the line.
    fn collect_line(&mut self) -> Result<(), String> {
        let reason = read_error;
        loop {
            let buffer = self.text.fill_buf().map_err(|error| reason(&error))?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.is_too_long |= self.value.len() + taken > VALUE_BYTES_MAX;
            if !self.is_too_long {
                self.value
                    .extend_from_slice(&buffer[..end.unwrap_or(taken)]);
            }
            self.text.consume(taken);
            if end.is_some() {
                self.line += 1;
                return Ok(());
            }
            if taken == 0 {
                return Ok(());
            }
        }
    }

    /// One element of a batch: an object or array to its last bracket, anything else to what ends it.
    fn collect_element(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        let mut in_string = false;
        let mut is_escaped = false;
        while let Some(byte) = self.peek()? {
            let mut is_end = false;
            if in_string {
                in_string = byte != b'"' || is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 0 => {
                        depth -= 1;
                        is_end = depth == 0;
                    }
                    b',' | b']' | b'}' if depth == 0 => return Ok(()),
                    _ => {}
                }
            }
            self.take();
            self.is_too_long |= self.value.len() == VALUE_BYTES_MAX;
            if !self.is_too_long {
                self.value.push(byte);
            }
            if is_end {
                return Ok(());
            }
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, String> {
        let buffer = self.text.fill_buf().map_err(|error| read_error(&error))?;
        Ok(buffer.first().copied())
    }

    /// Takes the byte that was peeked at.
    fn take(&mut self) {
        if let Ok([byte, ..]) = self.text.fill_buf() {
            self.line += u64::from(*byte == b'\n');
            self.text.consume(1);
        }
    }

    /// Peeks at the next byte that is no space.
    fn skip_space(&mut self) -> Result<Option<u8>, String> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.take(),
                other => return Ok(other),
            }
        }
    }
}

fn read_error(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// serde_json's own words, without its line, which would be the line of the value.
fn syntax(error: &serde_json::Error, is_element: bool) -> String {
    let column = error.column();
    if is_too_deep(error) {
        return format!("is nested too deep: more than 127 levels at column {column}");
    }
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or(&text);
    let remedy = if error.is_eof() && !is_element {
        " (outside an array, a value is on one line)"
    } else {
        ""
    };
    format!("is not JSON: {words} at column {column}{remedy}")
}

/// There is no predicate for it.
fn is_too_deep(error: &serde_json::Error) -> bool {
    error.is_syntax() && error.to_string().starts_with("recursion limit exceeded")
}

enum Bad {
    Syntax(serde_json::Error),
    Record(String),
}

/// How values become records.
struct Shape {
    event_type: Option<String>,
    key: Option<String>,
    time: Option<String>,
    names_fields: bool,
    /// Set by the first record: a file that begins with a CloudEvent has nothing else.
    only_cloudevents: Option<bool>,
    types: HashSet<Arc<str>>,
}

impl Shape {
    fn new(fields: &Fields) -> Self {
        let pointer = |field: &Option<String>| field.as_deref().map(pointer_of);
        Self {
            event_type: pointer(&fields.event_type),
            key: pointer(&fields.key),
            time: pointer(&fields.time),
            names_fields: fields.any(),
            only_cloudevents: None,
            types: HashSet::new(),
        }
    }

    fn record(&mut self, bytes: &[u8], is_element: bool) -> Result<Record, Bad> {
        let value: Value = serde_json::from_slice(bytes).map_err(Bad::Syntax)?;
        if let Value::Array(elements) = &value
            && let Some(place) = elements.iter().position(|element| !element.is_object())
            && elements.iter().any(Value::is_object)
        {
            let reason = format!("element {} of the array is not an object", place + 1);
            return Err(Bad::Record(reason));
        }
        let claims = match &value {
            Value::Object(object) if self.names_fields => object.contains_key("specversion"),
            Value::Object(object) => cloudevents::claims_to_be(object),
            _ => false,
        };
        let only_cloudevents = *self.only_cloudevents.get_or_insert(claims);
        if claims || only_cloudevents {
            let types = &mut self.types;
            return cloudevents::record(value, &mut |name| intern(types, name))
                .map_err(Bad::Record);
        }
        if is_element && !value.is_object() {
            return Err(Bad::Record(
                "is an element of a batch and not an object".to_owned(),
            ));
        }
        self.plain(value).map_err(Bad::Record)
    }

    fn plain(&mut self, value: Value) -> Result<Record, String> {
        let at = |pointer: &Option<String>| {
            pointer
                .as_deref()
                .and_then(|pointer| value.pointer(pointer))
                .unwrap_or(&Value::Null)
        };
        let name = text::of(at(&self.event_type), "the type")?;
        let key = text::of(at(&self.key), "the key")?.map(Into::into);
        let time_ns = text::time_ns_of(at(&self.time))?;
        let event_type = intern(&mut self.types, name.as_deref().unwrap_or(DEFAULT_TYPE));
        Ok(Record {
            event_type,
            key,
            time_ns,
            data: value,
        })
    }
}

/// A field's JSON pointer: as given, or for a plain name the field of that name at the top.
fn pointer_of(field: &str) -> String {
    if field.is_empty() || field.starts_with('/') {
        return field.to_owned();
    }
    format!("/{}", field.replace('~', "~0").replace('/', "~1"))
}

/// The one shared copy of a type's name.
pub(super) fn intern(types: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = types.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    types.insert(Arc::clone(&new));
    new
}
