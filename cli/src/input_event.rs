//! A record as the engine carries it, and as a line of a letters file has it.
//!
//! input → feed → *the engine* → check → summary

use crate::input::Record;
use ringbolt::{Codec, Event, Key};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A record as the engine carries it.
#[derive(Debug)]
pub(crate) struct InputEvent {
    /// Behind one pointer, so that the event fits its slot.
    pub(crate) record: Box<Record>,
    /// The record's place among the records of its key, from 0; without a key, among all.
    pub(crate) sequence: u64,
}

impl Event for InputEvent {
    const NAME: &'static str = "input.record";

    fn key(&self) -> Key<'_> {
        self.record
            .key
            .as_deref()
            .map_or(Key::None, |key| Key::Bytes(key.as_bytes()))
    }

    fn codec() -> Option<Codec<Self>> {
        Some(Codec::json())
    }
}

#[derive(Serialize)]
struct Written<'a> {
    r#type: &'a str,
    key: Option<&'a str>,
    time_ns: Option<i128>,
    sequence: u64,
    data: &'a Value,
}

#[derive(Deserialize)]
struct Read {
    r#type: String,
    key: Option<Box<str>>,
    time_ns: Option<i128>,
    sequence: u64,
    data: Value,
}

impl Serialize for InputEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            r#type: &self.record.event_type,
            key: self.record.key.as_deref(),
            time_ns: self.record.time_ns,
            sequence: self.sequence,
            data: &self.record.data,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InputEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(deserializer)?;
        let record = Record {
            event_type: read.r#type.into(),
            key: read.key,
            time_ns: read.time_ns,
            data: read.data,
        };
        Ok(Self {
            record: Box::new(record),
            sequence: read.sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_comes_back_from_its_line() {
        for (key, time_ns) in [(Some("a\n"), Some(-(1_i128 << 70))), (None, None)] {
            let record = Record {
                event_type: "trade".into(),
                key: key.map(Into::into),
                time_ns,
                data: json!({"price": 0.1, "far": 1.0e300, "n": u64::MAX, "null": null}),
            };
            let event = InputEvent {
                record: Box::new(record),
                sequence: 7,
            };
            let line = serde_json::to_string(&event).expect("it is data");
            let back: InputEvent = serde_json::from_str(&line).expect("it was written");
            assert_eq!((back.record, back.sequence), (event.record, 7), "{line}");
        }
    }
}
