//! Letters as lines of JSON: to a file that people and programs read, and back.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)
//!
//! A line has everything a [`LetterView`] says, then `codec` and `event`: with the codec `json` the event as JSON,
//! with another its text, and without one (or without a value) `null`. Such a letter is told, and cannot be read back.

use super::handle::DeadLetters;
use super::letter::{Attempts, Letter, LetterId, LetterStatus, Reason, StoredAttempt};
use super::query::Filter;
use super::view::{Attempt, LetterView};
use crate::event::{Class, EventId, Extras, Head, JSON, Metadata, Slot, Wide, descriptor_named};
use crate::sync::Arc;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::ops::ControlFlow;

/// Letters that are written between two looks at the queue.
const CHUNK: usize = 256;
/// Most bytes of a line that is read.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Most faults that are told one by one.
const FAULTS_MAX: usize = 1_000;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Lines, a letter each.
    pub letters: u64,
    /// Letters among them without their event: its type has no codec, or the codec failed, or the value is gone. They
    /// cannot be imported.
    pub without_event: u64,
}

/// A line that is no letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportFault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong and what to do; it begins with the field's name.
    pub message: String,
}

impl fmt::Display for ImportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Letters that are there now.
    pub imported: u64,
    /// Lines that are no letters, or found no room.
    pub refused: u64,
    /// The first 1,000 of those.
    pub faults: Vec<ImportFault>,
}

impl ImportReport {
    fn refuse(&mut self, line: u64, message: String) {
        self.refused += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(ImportFault { line, message });
        }
    }
}

/// Writes one letter; whether its event is in it.
fn write_line(letter: &LetterView, to: &mut impl Write) -> io::Result<bool> {
    let mut line = serde_json::to_string(letter)?;
    line.pop();
    let codec = letter.codec();
    let (event, error) = match letter.to_text() {
        None => (None, None),
        Some(Err(error)) => (None, Some(error)),
        // Text that claims to be JSON and is not would spoil the line.
        Some(Ok(text)) if codec == Some(JSON) => match serde_json::from_str::<&RawValue>(&text) {
            Ok(_) if !text.contains('\n') => (Some(text), None),
            Ok(_) => (Some(text.replace(['\n', '\r'], " ")), None),
            Err(error) => (None, Some(format!("the codec's text is no JSON: {error}"))),
        },
        Some(Ok(text)) => (Some(serde_json::to_string(&text)?), None),
    };
    line.push_str(",\"codec\":");
    line.push_str(&serde_json::to_string(&codec)?);
    if let Some(error) = error {
        line.push_str(",\"event_error\":");
        line.push_str(&serde_json::to_string(&error)?);
    }
    line.push_str(",\"event\":");
    line.push_str(event.as_deref().unwrap_or("null"));
    line.push_str("}\n");
    to.write_all(line.as_bytes())?;
    Ok(event.is_some())
}

impl LetterView {
    /// The letter as one line of JSON, as an export has it, without the line's end.
    ///
    /// # Errors
    ///
    /// None that is expected: what a letter says is text and numbers.
    pub fn to_json_line(&self) -> io::Result<String> {
        let mut line = Vec::new();
        write_line(self, &mut line)?;
        line.pop();
        String::from_utf8(line).map_err(io::Error::other)
    }
}

impl DeadLetters {
    /// Writes the letters that are meant, the oldest first, a line each, while others come and go. A letter stays where
    /// it is; an event whose type has no codec is told without its value.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn export(&self, filter: &Filter, mut to: impl Write) -> io::Result<ExportReport> {
        let mut report = ExportReport::default();
        let mut cursor = None;
        let last = self.queue.last_id();
        loop {
            let mut letters = Vec::with_capacity(CHUNK);
            self.queue.scan(cursor, false, |letter| {
                if letter.id > last {
                    return ControlFlow::Break(());
                }
                if filter.is_met(letter) {
                    letters.push(letter.clone());
                }
                if letters.len() < CHUNK {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            let Some(seen) = letters.last().map(|letter| letter.id) else {
                to.flush()?;
                return Ok(report);
            };
            cursor = Some(seen);
            for letter in letters {
                let view = LetterView::new(letter, self.queue.clock());
                report.letters += 1;
                if !write_line(&view, &mut to)? {
                    report.without_event += 1;
                }
            }
        }
    }

    /// Reads letters, a line each, as [`export`](Self::export) wrote them. Good lines become letters under the number
    /// they had, if that is free; each bad one is told with its line and field, and stops nothing. The types of the
    /// events and the subscriptions are found by their names, so subscribe first. A fault of `from` ends it, and is
    /// told as the last line's.
    pub fn import(&self, mut from: impl BufRead) -> ImportReport {
        let mut report = ImportReport::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            match from
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
            {
                Ok(0) => break,
                Ok(read) if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") => {
                    report.refuse(number, format!("it is longer than {LINE_BYTES_MAX} bytes"));
                    if let Err(error) = skip_line(&mut from) {
                        report.refuse(number, format!("cannot be read: {error}"));
                        break;
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    report.refuse(number, format!("cannot be read: {error}"));
                    break;
                }
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.import_line(&line) {
                Ok(()) => report.imported += 1,
                Err(message) => report.refuse(number, message),
            }
        }
        report
    }

    fn import_line(&self, line: &[u8]) -> Result<(), String> {
        let letter = self.read_letter(&Fields::of(line)?)?;
        match self.queue.import(letter) {
            Some(_) => Ok(()),
            None => Err(
                "the queue is full: redeliver or discard letters, or raise dead_letters.capacity, and import this line again"
                    .to_owned(),
            ),
        }
    }

    fn read_letter(&self, fields: &Fields) -> Result<Letter, String> {
        let slot = self.read_event(fields)?;
        let name: String = fields.get("subscription")?;
        let id: Option<u64> = fields.get("subscription_id")?;
        let mut known = self.redeliverer.subscribers_named(&name, slot.type_index());
        if known.len() > 1 {
            known.retain(|known| Some(known.id) == id);
        }
        let Some(subscriber) = known.pop() else {
            let event: String = fields.get("event_name")?;
            return Err(format!(
                "subscription: there is no `{name}` (or there are several) for `{event}`: subscribe it under this name before importing"
            ));
        };
        let attempts: Vec<Attempt> = fields.get("attempts")?;
        let errors: Vec<String> = fields.get("errors")?;
        let reason: Reason = fields.get("reason")?;
        // Whatever it was in the middle of, it is not any more.
        let _: Option<LetterStatus> = fields.get("status")?;
        let mut stored = Attempts::default();
        for attempt in attempts {
            stored.record(attempt.started_ms, attempt.ended_ms, &attempt.message);
            if let Some(last) = stored.stored.last_mut() {
                let last: &mut StoredAttempt = last;
                last.number = attempt.number;
            }
        }
        let count: u32 = fields.get("attempt_count")?;
        stored.count = stored.count.max(count);
        let last_failure_ms = fields.get("last_failure_ms")?;
        let mut letter = Letter::new(slot, subscriber, reason, &errors, stored, last_failure_ms);
        letter.first_failure_ms = fields.get("first_failure_ms")?;
        letter.replays = fields.get("replays")?;
        // A line that was written by hand may have none, and is given one.
        letter.id = fields.get::<Option<LetterId>>("id")?.unwrap_or_default();
        Ok(letter)
    }

    fn read_event(&self, fields: &Fields) -> Result<Slot, String> {
        let name: String = fields.get("event_name")?;
        let Some(descriptor) = descriptor_named(&name) else {
            return Err(format!(
                "event_name: no type of this program is called `{name}`, or none was used yet: subscribe to it before importing"
            ));
        };
        let version: u16 = fields.get("event_version")?;
        if version != descriptor.version {
            return Err(format!(
                "event_version: {version} is not {}, the version of `{name}` in this program: import it where that version is",
                descriptor.version
            ));
        }
        let Some(own_codec) = descriptor.text_fns.codec() else {
            return Err(format!(
                "event_name: `{name}` has no codec, so the event cannot be read: give the type one (#[event(codec = \"json\")])"
            ));
        };
        let codec: Option<String> = fields.get("codec")?;
        let codec = codec.ok_or(
            "codec: it is null, as the type had none when this was written: the event is not in the line",
        )?;
        if codec != own_codec {
            return Err(format!(
                "codec: `{codec}` is not `{own_codec}`, the codec of `{name}` in this program: import it where the type has that one"
            ));
        }
        if let Some(error) = fields.get::<Option<String>>("event_error")? {
            return Err(format!("event_error: the event was not written: {error}"));
        }
        let text = if own_codec == JSON {
            // Of a type without content, `null` is the JSON.
            fields.raw("event").unwrap_or("null").to_owned()
        } else {
            fields.get("event")?
        };
        let id: EventId = fields.get("event_id")?;
        let correlation: EventId = fields.get("correlation_id")?;
        let causation: Option<EventId> = fields.get("causation_id")?;
        let metadata: Option<Metadata> = fields.get("metadata")?;
        let class: Class = fields.get("class")?;
        let correlation = if correlation == id {
            0
        } else {
            correlation.as_u128()
        };
        let head = Head {
            stamp: self.queue.clock().raw(),
            correlation: Wide::new(correlation),
            causation: Wide::new(causation.map_or(0, EventId::as_u128)),
            extras: Some(Arc::new(Extras {
                id: Some(id),
                metadata,
                receipt: None,
                stored: None,
            })),
            ..Head::default()
        };
        let decoded = descriptor.text_fns.decode(&text, class, head);
        let decoded = decoded.unwrap_or_else(|| Err("the type has no codec".to_owned()));
        decoded.map_err(|error| format!("event: {error}"))
    }
}

/// A line's fields, each to be read by itself, so that a fault has a name.
struct Fields(HashMap<String, Box<RawValue>>);

impl Fields {
    fn of(line: &[u8]) -> Result<Self, String> {
        let fields = serde_json::from_slice(line).map_err(|error| {
            format!("the line is no JSON object: {error}: a line of an export begins with `{{` and ends with `}}`")
        })?;
        Ok(Self(fields))
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// A field that is not there is read as `null`, which only some may be.
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let value = self.raw(name);
        serde_json::from_str(value.unwrap_or("null")).map_err(|error| match value {
            None => format!("{name}: it is missing"),
            Some(_) => format!("{name}: {error}"),
        })
    }
}

/// Reads on to the end of a line.
fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let read = from.fill_buf()?;
        if read.is_empty() {
            return Ok(());
        }
        let end = read.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(read.len(), |end| end + 1);
        from.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}
