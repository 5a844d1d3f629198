//! Lines of JSON, a CloudEvent each, into the log: what an export wrote, or events from elsewhere.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A line becomes an event or is refused with its number, what is wrong and what to do; a refused one leaves nothing, and
//! stops nothing. Events of one append stay one append: it is there as a whole or not at all. A line that says where it stood
//! goes there if the stream has come so far, and so a file that is read twice is there once.

use super::batch::Foreign;
use super::cloudevents::{check, decode_base64, time_ns};
use super::export::{
    FOREIGN, OWN, PARTITION_KEY, SOURCE, STREAM_KEY, is_free, is_kept, key_without_a_word,
    media_type_of,
};
use super::record::write_metadata;
use super::{AppendError, Batch, EventStore, ExpectedVersion, StreamState};
use crate::event::{AsKey, Class, Encoding, EventId, Metadata, descriptor_named};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, Read};

/// Most bytes of a line that is read.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Most faults that are told one by one.
const FAULTS_MAX: usize = 1_000;

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportFault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, where, and what to do.
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
    /// Events that were appended.
    pub events: u64,
    /// Deletions and truncations of streams that were done again.
    pub marks: u64,
    /// Events and marks that were there already.
    pub duplicates: u64,
    /// Events and marks that have another position or version here than their line says: others were here before, or
    /// some are missing.
    pub renumbered: u64,
    /// Lines that are no events, or could not be appended.
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

impl EventStore {
    /// Reads events, a line each, as [`export`](Self::export) wrote them or as other programs write CloudEvents in JSON.
    /// Good lines are appended in their order; each bad one is told and stops nothing. Types are found by their names, so
    /// that an event of one that the process knows must be one that its codec can read: use a type (subscribe to it, or
    /// append one) before importing. Events of other types are taken as they are. A fault of `from` ends it, and is told
    /// as the last line's.
    ///
    /// An event without a `subject` goes to the stream named by its `partitionkey`, or else by its `source`.
    pub fn import(&self, mut from: impl BufRead) -> ImportReport {
        let mut import = Import {
            store: self,
            report: ImportReport::default(),
            group: Vec::new(),
            spoiled: None,
        };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = from
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line);
            match read {
                Ok(0) => break,
                Ok(read) if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") => {
                    let reason =
                        format!("it is longer than {LINE_BYTES_MAX} bytes (split the data)");
                    import.refuse(number, reason, None);
                    if let Err(error) = skip_line(&mut from) {
                        import.refuse(number, format!("cannot be read: {error}"), None);
                        break;
                    }
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => import.line(number, &line),
                Err(error) => {
                    import.refuse(number, format!("cannot be read: {error}"), None);
                    break;
                }
            }
        }
        import.commit();
        import.report
    }
}

/// An import on its way.
struct Import<'s> {
    store: &'s EventStore,
    report: ImportReport,
    /// Events of one append so far, with their lines.
    group: Vec<(u64, Line)>,
    /// The line for which an append is refused, and what its next event says of how many follow.
    spoiled: Option<(u64, u32)>,
}

impl Import<'_> {
    fn line(&mut self, number: u64, bytes: &[u8]) {
        let line = match Line::of(bytes) {
            Ok(line) => line,
            Err(Bad { reason, batch }) => return self.refuse(number, reason, batch),
        };
        if let Some((culprit, next)) = self.spoiled.take()
            && line.batch == next
        {
            self.spoiled = next.checked_sub(1).map(|next| (culprit, next));
            return self.report.refuse(number, spoiled_by(culprit));
        }
        let follows = self.group.last().map(|(_, last)| last.batch.checked_sub(1));
        if follows.is_some_and(|next| next != Some(line.batch)) {
            // The rest of that append is not in the file: a part of the log was exported.
            self.commit();
        }
        if let Some(mark) = line.mark {
            self.commit();
            return self.mark(number, &line, mark);
        }
        let is_last = line.batch == 0;
        self.group.push((number, line));
        if is_last {
            self.commit();
        }
    }

    /// Refuses a line, and with it the append that it belongs to.
    fn refuse(&mut self, number: u64, reason: String, batch: Option<u32>) {
        let expected = self
            .group
            .last()
            .map(|(_, last)| last.batch.saturating_sub(1));
        let expected = expected.or(self.spoiled.map(|(_, next)| next));
        for (other, _) in self.group.drain(..) {
            self.report.refuse(other, spoiled_by(number));
        }
        self.report.refuse(number, reason);
        let left = batch.or(expected).and_then(|batch| batch.checked_sub(1));
        self.spoiled = left.map(|next| (number, next));
    }

    /// Appends what has been gathered, together.
    fn commit(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return;
        }
        let done = match self.append(&group, true) {
            // Where the lines stood there is something else: then they come behind it.
            Err(error) if error.is_conflict() => self.append(&group, false),
            done => done,
        };
        if let Err(error) = done {
            for (number, _) in &group {
                self.report.refuse(*number, told(&error));
            }
        }
    }

    fn append(&mut self, group: &[(u64, Line)], by_place: bool) -> Result<(), AppendError> {
        let mut batch = Batch::new(self.store);
        let mut streams: HashMap<&str, u64> = HashMap::new();
        for (_, line) in group {
            let is_first = !streams.contains_key(&*line.stream);
            *streams.entry(&line.stream).or_default() += 1;
            if is_first && by_place {
                let state = self.store.stream_state(&line.stream);
                batch.expect(&*line.stream, line.place(state))?;
            }
            batch.push_foreign(&line.foreign())?;
        }
        let appended = batch.commit()?;
        let count = group.len() as u64;
        if appended.is_duplicate {
            self.report.duplicates += count;
            return Ok(());
        }
        self.report.events += count;
        // The first version that each stream got.
        for (stream, state) in &appended.streams {
            if let Some(events) = streams.get_mut(&**stream) {
                *events = (state.version().unwrap_or(0) + 1).saturating_sub(*events);
            }
        }
        for ((_, line), position) in group.iter().zip(appended.first_position..) {
            let version = streams.entry(&line.stream).or_default();
            let is_moved = line.position.is_some_and(|told| told != position)
                || line.version.is_some_and(|told| told != *version);
            self.report.renumbered += u64::from(is_moved);
            *version += 1;
        }
        Ok(())
    }

    fn mark(&mut self, number: u64, line: &Line, mark: Mark) {
        let version = line.version.unwrap_or(0);
        let log = &self.store.log;
        let state = self.store.stream_state(&line.stream);
        let is_there = match (mark, state) {
            (Mark::Deleted, StreamState::Deleted(_)) => true,
            (Mark::Truncated, StreamState::At(_) | StreamState::Deleted(_)) => {
                let found = log
                    .streams
                    .find(log.streams.hash(&line.stream), &line.stream);
                let found = found.and_then(|number| log.streams.get(number));
                found.is_some_and(|stream| version > 0 && stream.first() >= version)
            }
            _ => false,
        };
        if is_there {
            self.report.duplicates += 1;
            return;
        }
        let truncate = (mark == Mark::Truncated).then_some(version);
        match log.mark_foreign(&line.stream, truncate, line.id, line.stamp) {
            Ok(position) => {
                self.report.marks += 1;
                let is_moved = line.position.is_some_and(|told| told != position);
                self.report.renumbered += u64::from(is_moved);
            }
            Err(error) => self.report.refuse(number, told(&error)),
        }
    }
}

fn spoiled_by(line: u64) -> String {
    format!(
        "it was appended together with line {line}, which is refused (mend that one, and import both again)"
    )
}

/// Why a good line could not be appended, and what to do.
fn told(error: &AppendError) -> String {
    match error {
        AppendError::Conflict(_) => {
            format!(
                "{error} (a stream that was deleted or is missing takes nothing: import into an empty store)"
            )
        }
        AppendError::IdReused { .. } => {
            format!("{error}, or import into an empty store")
        }
        error => error.to_string(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Deleted,
    Truncated,
}

/// What a line says.
#[derive(Debug)]
struct Line {
    stream: String,
    event_type: String,
    type_version: u16,
    encoding: Encoding,
    id: EventId,
    correlation: Option<EventId>,
    causation: Option<EventId>,
    stamp: Option<u64>,
    class: Class,
    key: Option<u64>,
    metadata: Option<Vec<u8>>,
    payload: Vec<u8>,
    position: Option<u64>,
    version: Option<u64>,
    batch: u32,
    mark: Option<Mark>,
}

/// Why a line is refused, and what it says of its append all the same.
struct Bad {
    reason: String,
    batch: Option<u32>,
}

impl Line {
    fn of(bytes: &[u8]) -> Result<Self, Bad> {
        let bad = |reason| Bad {
            reason,
            batch: None,
        };
        let Members(members) = serde_json::from_slice(bytes).map_err(|error| {
            bad(format!(
                "the line is no JSON object: {error} (an event is one line, from `{{` to `}}`)"
            ))
        })?;
        let mut event = Map::new();
        let mut data = None;
        for (name, value) in members {
            if event.contains_key(&name) {
                return Err(bad(format!("{name}: it is there twice (leave one)")));
            }
            if name == "data" {
                event.insert(name, Value::Bool(true));
                data = Some(value);
            } else {
                let value = serde_json::from_str(value.get())
                    .map_err(|error| bad(format!("{name}: {error}")))?;
                event.insert(name, value);
            }
        }
        if let (Some(value), Some(Value::String(_))) = (&data, event.get("data_base64"))
            && value.get() == "null"
        {
            // Null stands for data that are not there, where there are others.
            event.remove("data");
            data = None;
        }
        let attributes = Attributes(event);
        Self::read(&attributes, data.as_deref()).map_err(|reason| Bad {
            reason,
            batch: attributes.number("ringboltbatch").ok().flatten(),
        })
    }

    fn read(event: &Attributes, data: Option<&RawValue>) -> Result<Self, String> {
        check(&event.0)?;
        let id = event.id("id")?.ok_or("id: it is missing")?;
        let text = |name: &str| event.text(name).map(str::to_owned);
        let stream = match event.json::<String>("ringboltstream")? {
            Some(stream) => stream,
            None => text("subject")
                .or_else(|| text(PARTITION_KEY))
                .or_else(|| text("source"))
                .unwrap_or_default(),
        };
        let event_type = match event.json::<String>("ringbolttype")? {
            Some(name) => name,
            None => text("type").unwrap_or_default(),
        };
        let mark = match event.text("ringboltmark") {
            None => None,
            Some("deleted") => Some(Mark::Deleted),
            Some("truncated") => Some(Mark::Truncated),
            Some(other) => {
                return Err(format!(
                    "ringboltmark: {other:?} is neither deleted nor truncated"
                ));
            }
        };
        let position = event.number("ringboltposition")?;
        let version = event.number("ringboltversion")?;
        if mark == Some(Mark::Truncated) && version.is_none() {
            return Err("ringboltversion: it is missing (say before which version the stream was truncated)".to_owned());
        }
        let known = descriptor_named(&event_type);
        let known_version = known.map_or(1, |known| known.version);
        let type_version = event
            .number("ringbolttypeversion")?
            .unwrap_or(known_version);
        let known = known.filter(|known| known.version == type_version && mark.is_none());
        let (encoding, payload) = event.payload(data)?;
        let own = match known.and_then(|known| known.text_fns.look(&payload)) {
            None => None,
            Some((own, _)) if own != encoding => {
                return Err(format!(
                    "data: they are {}, and {event_type:?} is {} in this program (import it where the type has that codec)",
                    encoding.name(),
                    own.name()
                ));
            }
            Some((_, Err(error))) => {
                return Err(format!(
                    "data: they are no {event_type:?} of version {type_version}: {error} (mend them, or say of which version they are by ringbolttypeversion)"
                ));
            }
            Some((_, Ok(own))) => own,
        };
        let key = match event.text("ringboltkey") {
            None => key_without_a_word(own, event.text(PARTITION_KEY), &stream),
            Some(STREAM_KEY) => stream.as_key().hash(),
            Some(key) => {
                let is_hash = key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
                let hash = u64::from_str_radix(key, 16).ok().filter(|_| is_hash);
                Some(hash.ok_or_else(|| {
                    format!("ringboltkey: {key:?} is neither `stream` nor 16 hexadecimal digits (leave it away to have the event's own key)")
                })?)
            }
        };
        let class = match event.text("ringboltclass") {
            None => Class::Normal,
            Some(name) => *Class::ALL
                .iter()
                .find(|class| class.name() == name)
                .ok_or_else(|| {
                    format!("ringboltclass: {name:?} is none of critical, high, normal, low")
                })?,
        };
        let line = Self {
            type_version,
            encoding,
            correlation: event.id("correlationid")?.filter(|given| *given != id),
            causation: event.id("causationid")?,
            id,
            stamp: event.stamp()?,
            class,
            key,
            metadata: event.metadata(encoding)?,
            payload,
            position,
            version,
            batch: event.number("ringboltbatch")?.unwrap_or(0),
            mark,
            stream,
            event_type,
        };
        event.no_others()?;
        Ok(line)
    }

    /// What to expect of the stream so that the event comes where it stood.
    fn place(&self, state: StreamState) -> ExpectedVersion {
        match (self.version, state) {
            (Some(0), _) => ExpectedVersion::NoStream,
            (Some(version), StreamState::At(last)) if version <= last.saturating_add(1) => {
                ExpectedVersion::Exact(version - 1)
            }
            _ => ExpectedVersion::Any,
        }
    }

    fn foreign(&self) -> Foreign<'_> {
        Foreign {
            stream: &self.stream,
            event_type: &self.event_type,
            type_version: self.type_version,
            encoding: self.encoding,
            id: self.id,
            correlation: self.correlation,
            causation: self.causation,
            stamp: self.stamp,
            class: self.class,
            key: self.key,
            metadata: self.metadata.as_deref(),
            payload: &self.payload,
        }
    }
}

/// Extensions that only this engine has.
const OWN_NAMES: [&str; 11] = [
    "ringboltposition",
    "ringboltversion",
    "ringbolttypeversion",
    "ringboltcodec",
    "ringboltclass",
    "ringboltkey",
    "ringboltbatch",
    "ringboltmark",
    "ringboltstream",
    "ringbolttype",
    "ringboltmetadata",
];

/// A line's members but for `data`, of which there is only whether it is there.
struct Attributes(Map<String, Value>);

impl Attributes {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// An attribute of ours that is JSON in a text.
    fn json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, String> {
        let text = self.text(name);
        text.map(|text| serde_json::from_str(text).map_err(|error| format!("{name}: {error}")))
            .transpose()
    }

    fn id(&self, name: &str) -> Result<Option<EventId>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let id = uuid::Uuid::try_parse(text).ok();
        let id = id.and_then(|id| EventId::from_u128(id.as_u128()));
        id.map(Some).ok_or_else(|| {
            format!("{name}: {text:?} is no id of an event (give it a UUID that is not zero, of version 5 from source and id for example)")
        })
    }

    /// A number, or the text of one.
    fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, String> {
        let refused = |value: &Value| {
            format!(
                "{name}: {value} is no such number (leave it away, or say a whole number from 0 on)"
            )
        };
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<u64>().ok()
            }
            value => value.as_u64(),
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| refused(value))
    }

    /// The time in nanoseconds since 1970.
    fn stamp(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.text("time") else {
            return Ok(None);
        };
        let stamp = u64::try_from(time_ns(text)?);
        stamp.map(Some).map_err(|_| {
            format!("time: {text:?} is outside 1970 to 2554 (leave it away to have it stamped now)")
        })
    }

    /// What the payload is and the payload.
    fn payload(&self, data: Option<&RawValue>) -> Result<(Encoding, Vec<u8>), String> {
        let codec = match self.text("ringboltcodec") {
            None => None,
            Some(name) => Some(encoding_named(name).ok_or_else(|| {
                format!("ringboltcodec: {name:?} is none of bytes, pod, postcard, json, text")
            })?),
        };
        let is_json = self.text("datacontenttype").is_none_or(is_json);
        if let Some(base64) = self.text("data_base64") {
            let bytes = decode_base64(base64)?;
            let is_value = || serde_json::from_slice::<&RawValue>(&bytes).is_ok();
            let has_type = self.text("datacontenttype").is_some();
            let found = if has_type && is_json && is_value() {
                Encoding::Json
            } else {
                Encoding::Bytes
            };
            return Ok((codec.unwrap_or(found), bytes));
        }
        let Some(data) = data else {
            return Ok((codec.unwrap_or(Encoding::Bytes), Vec::new()));
        };
        let found = if !is_json && data.get().starts_with('"') {
            Encoding::Text
        } else {
            Encoding::Json
        };
        match codec.unwrap_or(found) {
            Encoding::Json => Ok((Encoding::Json, data.get().as_bytes().to_vec())),
            Encoding::Text => {
                let text: String = serde_json::from_str(data.get())
                    .map_err(|error| format!("data: {error} (a text codec's are a text)"))?;
                Ok((Encoding::Text, text.into_bytes()))
            }
            other => Err(format!(
                "data: a {} codec's are no JSON (give them as data_base64)",
                other.name()
            )),
        }
    }

    /// The named values, and what a record has no place for.
    fn metadata(&self, encoding: Encoding) -> Result<Option<Vec<u8>>, String> {
        let mut metadata = Metadata::new();
        let mut is_empty = true;
        let mut add = |name: String, value: String| {
            metadata = std::mem::take(&mut metadata).with(name, value);
            is_empty = false;
        };
        for (name, value) in &self.0 {
            let is_usual = match name.as_str() {
                "source" => value == SOURCE,
                "datacontenttype" => value == media_type_of(encoding),
                _ => false,
            };
            if is_usual {
                continue;
            }
            match value {
                Value::String(text) if is_free(name) => add(name.clone(), text.clone()),
                value if is_kept(name, value) => add(format!("{FOREIGN}{name}"), value.to_string()),
                _ => {}
            }
        }
        let rest: Option<BTreeMap<String, String>> = self.json("ringboltmetadata")?;
        for (name, value) in rest.into_iter().flatten() {
            add(name, value);
        }
        Ok((!is_empty).then(|| write_metadata(&metadata)))
    }

    /// Extensions that begin with our name and that nobody knows are slips, or of a later version.
    fn no_others(&self) -> Result<(), String> {
        for (name, value) in &self.0 {
            if !name.starts_with(OWN) {
                continue;
            }
            if !OWN_NAMES.contains(&name.as_str()) {
                return Err(format!(
                    "{name}: there is no such attribute (leave it away, or import it with a later version)"
                ));
            }
            let is_number = [
                "ringbolttypeversion",
                "ringboltposition",
                "ringboltversion",
                "ringboltbatch",
            ];
            if !value.is_string() && !value.is_null() && !is_number.contains(&name.as_str()) {
                return Err(format!("{name}: {value} is no text"));
            }
        }
        for name in ["correlationid", "causationid"] {
            if let Some(value) = self.0.get(name)
                && !value.is_string()
                && !value.is_null()
            {
                return Err(format!(
                    "{name}: {value} is no id of an event (give it a UUID)"
                ));
            }
        }
        Ok(())
    }
}

fn encoding_named(name: &str) -> Option<Encoding> {
    [
        Encoding::Bytes,
        Encoding::Pod,
        Encoding::Postcard,
        Encoding::Json,
        Encoding::Text,
    ]
    .into_iter()
    .find(|encoding| encoding.name() == name)
}

/// Whether a media type is one of JSON: `…/json`, or `…+json`.
fn is_json(media_type: &str) -> bool {
    let main = media_type.split(';').next().unwrap_or("").trim();
    let subtype = main.rsplit('/').next().unwrap_or("");
    subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
}

/// A line's members in their order, as they were written.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;

        impl<'de> Visitor<'de> for Seen {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Seen)
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

#[cfg(test)]
mod tests;
