//! The log as lines of JSON, a CloudEvent each: to a file that other programs read, and back by the import.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A line is a CloudEvent 1.0 in structured mode. What CloudEvents have a name for is called so: `id`, `type`, `subject` for
//! the stream, `time`, `data` for JSON and text, `data_base64` for other codecs. The rest are extensions:
//!
//! | attribute | what |
//! | --- | --- |
//! | `ringboltposition`, `ringboltversion` | place in the log and in the stream, as text: integers of CloudEvents have 32 bits |
//! | `ringbolttypeversion` | version of the event type |
//! | `ringboltcodec` | `bytes`, `pod`, `postcard` or `text`; without it the payload is JSON |
//! | `ringboltclass` | the class, unless it is normal |
//! | `ringboltkey` | `stream`, or the key's hash, unless it is what the import would find: the event's own key, or else `partitionkey`, or else the stream |
//! | `ringboltbatch` | how many events of the same append follow, unless it is none |
//! | `ringboltmark` | `deleted` or `truncated`: no event, but a record of that about its stream |
//! | `ringboltstream`, `ringbolttype` | the names as JSON, where they have characters that an attribute may not have |
//! | `correlationid`, `causationid` | as the envelope has them |
//! | others | the metadata; what cannot be an attribute is in `ringboltmetadata`, an object as JSON |
//!
//! Attributes of events from elsewhere for which a record has no place (`source`, `dataschema`, an extension that is a
//! number) are kept as metadata whose name begins with `cloudevents:`, and written as they came.

use super::cloudevents::{attribute, attribute_name, encode_base64, time_text};
use super::record::{Header, flag};
use super::view::Record;
use super::{EventStore, Query};
use crate::event::{AsKey, Class, Encoding};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Where events come from that were appended here.
pub(super) const SOURCE: &str = "/ringbolt";
/// What begins the name of metadata that was an attribute.
pub(super) const FOREIGN: &str = "cloudevents:";
/// Begins the names of extensions that only this engine has.
pub(super) const OWN: &str = "ringbolt";
/// Says that the key is the stream's, where another would be found.
pub(super) const STREAM_KEY: &str = "stream";
pub(super) const PARTITION_KEY: &str = "partitionkey";
/// Attributes of the specification that an event from elsewhere may have, and a record has no place for.
const KEPT: [&str; 3] = ["source", "dataschema", "datacontenttype"];

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Lines that are events.
    pub events: u64,
    /// Lines that say that a stream was deleted or truncated.
    pub marks: u64,
}

/// Whether this is an extension's name that metadata can have: a valid one, and not taken.
pub(super) fn is_free(name: &str) -> bool {
    let is_taken = [
        "specversion",
        "id",
        "type",
        "subject",
        "time",
        "data",
        "correlationid",
        "causationid",
    ]
    .contains(&name)
        || KEPT.contains(&name)
        || name.starts_with(OWN);
    !is_taken && attribute_name(name).is_ok()
}

/// Whether an attribute from elsewhere is kept as metadata in the form of JSON: texts of free names are plain metadata.
pub(super) fn is_kept(name: &str, value: &Value) -> bool {
    (KEPT.contains(&name) || (is_free(name) && !value.is_string()))
        && !value.is_null()
        && attribute(name, value).is_ok()
}

/// What a payload is without another word.
pub(super) fn media_type_of(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Text => "text/plain",
        Encoding::Bytes | Encoding::Pod | Encoding::Postcard => "application/octet-stream",
    }
}

/// The key that an event gets when nothing is said: its own, if the process knows it, or what it is partitioned by, or
/// its stream.
pub(super) fn key_without_a_word(
    own: Option<u64>,
    partition: Option<&str>,
    stream: &str,
) -> Option<u64> {
    own.or_else(|| partition.and_then(|key| key.as_key().hash()))
        .or_else(|| stream.as_key().hash())
}

impl EventStore {
    /// Writes records that a query asks for as lines of JSON, a CloudEvent each. Tombstones and truncations are among
    /// them where the query is of the whole log, so that all of a log that begins at position 0 comes back from its
    /// lines record by record, into an empty store at the same positions. What is appended meanwhile is not written.
    ///
    /// ```
    /// use ringbolt::store::{EventStore, ExpectedVersion, Query};
    /// # #[derive(Clone, Copy, ringbolt::Event, bytemuck::Pod, bytemuck::Zeroable)]
    /// # #[event(name = "account.credited", codec = "pod")]
    /// # #[repr(C)]
    /// # struct Credited { cents: u64 }
    ///
    /// let store = EventStore::new();
    /// store.append("account-7", ExpectedVersion::Any, &Credited { cents: 500 })?;
    /// let mut lines = Vec::new();
    /// store.export(&mut lines, Query::all())?;
    ///
    /// let copy = EventStore::new();
    /// let report = copy.import(&lines[..]);
    /// assert_eq!((report.events, report.refused), (1, 0));
    /// let mut again = Vec::new();
    /// copy.export(&mut again, Query::all())?;
    /// assert_eq!(again, lines);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `to`, and as [`io::Error::other`] the [`ReadError`](super::ReadError) of the query.
    pub fn export(&self, mut to: impl Write, query: Query) -> io::Result<ExportReport> {
        let mut report = ExportReport::default();
        let mut reader = self.reader();
        let records = reader.read(query.with_marks());
        let mut line = String::new();
        for record in records.map_err(io::Error::other)? {
            let record = record.map_err(io::Error::other)?;
            line.clear();
            record.write_line(&mut line);
            line.push('\n');
            to.write_all(line.as_bytes())?;
            if record.is_mark() {
                report.marks += 1;
            } else {
                report.events += 1;
            }
        }
        reader.release();
        to.flush()?;
        Ok(report)
    }
}

impl Record<'_> {
    /// The record as one line of JSON, as an export has it, without the line's end.
    #[must_use]
    pub fn to_json_line(&self) -> String {
        let mut line = String::new();
        self.write_line(&mut line);
        line
    }

    fn write_line(&self, line: &mut String) {
        let header: &Header = self.header;
        let (mut plain, mut kept, mut rest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, value) in self.metadata() {
            let foreign = name.strip_prefix(FOREIGN);
            let foreign = foreign.filter(|name| {
                serde_json::from_str(value).is_ok_and(|value| is_kept(name, &value))
            });
            if let Some(name) = foreign {
                kept.insert(name, value);
            } else if is_free(name) && attribute(name, &Value::String(value.to_owned())).is_ok() {
                plain.insert(name, value);
            } else {
                rest.insert(name, value);
            }
        }
        // Two attributes of one name would be none.
        for name in kept.keys() {
            if let Some(value) = plain.remove(name) {
                rest.insert(name, value);
            }
        }
        line.push_str("{\"specversion\":\"1.0\"");
        text(line, "id", &self.id().to_string());
        match kept.remove("source") {
            Some(source) => raw(line, "source", source),
            None => text(line, "source", SOURCE),
        }
        let kind = match header.flags & flag::MARK {
            flag::TOMBSTONE => "ringbolt.stream.deleted",
            flag::TRUNCATION => "ringbolt.stream.truncated",
            _ => self.event_type(),
        };
        name(line, "type", "ringbolttype", kind);
        name(line, "subject", "ringboltstream", self.stream());
        text(line, "time", &time_text(header.stamp));
        if let Some(schema) = kept.remove("dataschema") {
            raw(line, "dataschema", schema);
        }
        text(line, "ringboltposition", &header.position.to_string());
        text(line, "ringboltversion", &header.version.to_string());
        if self.is_mark() {
            let mark = if header.has(flag::TOMBSTONE) {
                "deleted"
            } else {
                "truncated"
            };
            text(line, "ringboltmark", mark);
            line.push('}');
            return;
        }
        match kept.remove("datacontenttype") {
            Some(kind) => raw(line, "datacontenttype", kind),
            None => text(line, "datacontenttype", media_type_of(self.encoding())),
        }
        raw(
            line,
            "ringbolttypeversion",
            &self.type_version().to_string(),
        );
        if self.class() != Class::Normal {
            text(line, "ringboltclass", self.class().name());
        }
        if header.batch > 0 {
            text(line, "ringboltbatch", &header.batch.to_string());
        }
        let own = self.own_key();
        let partition = plain.get(PARTITION_KEY).copied();
        if self.key_hash() != key_without_a_word(own, partition, self.stream()) {
            if self.key_hash() == self.stream().as_key().hash() {
                text(line, "ringboltkey", STREAM_KEY);
            } else {
                text(line, "ringboltkey", &format!("{:016x}", header.key));
            }
        }
        text(line, "correlationid", &self.correlation_id().to_string());
        if let Some(causation) = self.causation_id() {
            text(line, "causationid", &causation.to_string());
        }
        for (name, value) in plain {
            text(line, name, value);
        }
        for (name, value) in kept {
            raw(line, name, value);
        }
        if !rest.is_empty() {
            let object: Vec<String> = rest
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", without_controls(name), without_controls(value))
                })
                .collect();
            text(
                line,
                "ringboltmetadata",
                &format!("{{{}}}", object.join(",")),
            );
        }
        self.write_data(line);
        line.push('}');
    }

    /// The payload, last: it may be long.
    fn write_data(&self, line: &mut String) {
        let payload = self.payload();
        let as_text = std::str::from_utf8(payload).ok();
        let encoding = self.encoding();
        match (encoding, as_text) {
            (Encoding::Json, Some(json)) if serde_json::from_str::<&RawValue>(json).is_ok() => {
                // Within a string a line's end is written as an escape, so one that is there is space.
                raw(line, "data", &json.trim_ascii().replace(['\n', '\r'], " "));
            }
            (Encoding::Text, Some(value)) => {
                text(line, "ringboltcodec", encoding.name());
                text(line, "data", value);
            }
            _ => {
                text(line, "ringboltcodec", encoding.name());
                text(line, "data_base64", &encode_base64(payload));
            }
        }
    }

    /// The hash of the event's own key, if the process knows the type.
    fn own_key(&self) -> Option<u64> {
        let known = self.log.kinds.get(self.header.kind)?.known()?;
        let (encoding, key) = known.text_fns.look(self.payload())?;
        key.ok().flatten().filter(|_| encoding == self.encoding())
    }
}

/// Adds an attribute that is text.
fn text(line: &mut String, name: &str, value: &str) {
    let value = serde_json::to_string(value).expect("text is JSON");
    raw(line, name, &value);
}

/// Adds an attribute that is JSON.
fn raw(line: &mut String, name: &str, value: &str) {
    for part in [",\"", name, "\":", value] {
        line.push_str(part);
    }
}

/// Adds a name that may have characters that attributes may not have, which is then told in another one too.
fn name(line: &mut String, attribute: &str, own: &str, value: &str) {
    if value.contains(char::is_control) {
        let shown: String = value.escape_debug().collect();
        text(line, attribute, &shown.replace(char::is_control, "?"));
        text(line, own, &without_controls(value));
    } else {
        text(line, attribute, value);
    }
}

/// Text as JSON in which all control characters are escapes.
fn without_controls(value: &str) -> String {
    use std::fmt::Write as _;
    let mut json = String::new();
    for char in serde_json::to_string(value).expect("text is JSON").chars() {
        if char.is_control() {
            let _ = write!(json, "\\u{:04x}", u32::from(char));
        } else {
            json.push(char);
        }
    }
    json
}
