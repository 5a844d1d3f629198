//! A line of a letters file: the letter it is, or what is wrong with it, field by field.
//!
//! The file may be of any program, so nothing here needs to know the events' types: only redelivering does.
//! What is not looked at stays as it was written.

use ringbolt::{Attempt, EventId, Reason};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// What is asked of a letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) raw: Raw,
    /// Written by hand it may have none.
    pub(crate) id: Option<u64>,
    pub(crate) event_name: String,
    pub(crate) event_id: EventId,
    pub(crate) key: Option<String>,
    pub(crate) subscription: String,
    pub(crate) is_sequential: bool,
    pub(crate) reason: Reason,
    pub(crate) errors: Vec<String>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) attempt_count: u32,
    pub(crate) first_failure_ms: u64,
    pub(crate) last_failure_ms: u64,
    pub(crate) replays: u32,
    /// Whether its event is in the line.
    pub(crate) has_event: bool,
}

impl Letter {
    /// # Errors
    /// What is wrong; it begins with the field's name.
    pub(crate) fn of(line: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(line).map_err(|error| {
            format!("the line is no JSON object: {error}: a line of letters begins with `{{` and ends with `}}`")
        })?;
        let codec: Option<String> = raw.get("codec")?;
        let event_error: Option<String> = raw.get("event_error")?;
        let _version: u16 = raw.get("event_version")?;
        Ok(Self {
            id: raw.get("id")?,
            event_name: raw.get("event_name")?,
            event_id: raw.get("event_id")?,
            key: raw.get("key")?,
            subscription: raw.get("subscription")?,
            is_sequential: raw.get::<Option<bool>>("sequential")?.unwrap_or(false),
            reason: raw.get("reason")?,
            errors: raw.get("errors")?,
            attempts: raw.get("attempts")?,
            attempt_count: raw.get("attempt_count")?,
            first_failure_ms: raw.get("first_failure_ms")?,
            last_failure_ms: raw.get("last_failure_ms")?,
            replays: raw.get("replays")?,
            has_event: codec.is_some() && event_error.is_none(),
            raw,
        })
    }

    /// The message of the last failure.
    pub(crate) fn error(&self) -> &str {
        self.errors.first().map_or("", String::as_str)
    }
}

/// An object whose fields are in their order and as they were written.
#[derive(Debug, Clone)]
pub(crate) struct Raw(Vec<(String, Box<RawValue>)>);

impl Raw {
    /// A field's text. Of two fields of one name the last counts.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().rev();
        fields
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.get())
    }

    /// A field that is not there is read as `null`, which only some may be.
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name);
        serde_json::from_str(text.unwrap_or("null")).map_err(|error| match text {
            None => format!("{name}: it is missing"),
            Some(_) => format!("{name}: {error}"),
        })
    }

    /// The same with another number, or without one.
    pub(crate) fn with_id(mut self, id: Option<u64>) -> Self {
        let id = serde_json::value::to_raw_value(&id).expect("a number is JSON");
        self.0.retain(|(field, _)| field != "id");
        self.0.insert(0, ("id".to_owned(), id));
        self
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, value)| (field, value)))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Raw(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const LINE: &str = r#"{"id":4,"event_name":"order.placed","event_version":1,"event_id":"01a20e0e-3555-7aa5-b08a-e6aa7400011f","correlation_id":"01a20e0e-3555-7aa5-b08a-e6aa7400011f","causation_id":null,"class":"normal","metadata":null,"key":"287","key_hash":9,"subscription":"check","subscription_id":1,"sequential":false,"reason":"permanent","errors":["no"],"attempts":[{"number":1,"started_ms":5,"ended_ms":6,"message":"no"}],"attempt_count":1,"first_failure_ms":6,"last_failure_ms":6,"replays":0,"status":"waiting","codec":"json","event":{"wide":123456789012345678901234567890}}"#;

    #[test]
    fn a_line_comes_back_as_it_was() {
        let letter = Letter::of(LINE.as_bytes()).expect("it is a letter");
        assert_eq!((letter.id, letter.key.as_deref()), (Some(4), Some("287")));
        assert!(letter.has_event);
        let back = |raw: &Raw| serde_json::to_string(raw).expect("it is JSON");
        assert_eq!(back(&letter.raw), LINE);
        let other = letter.raw.with_id(Some(40));
        assert_eq!(back(&other), LINE.replace("\"id\":4,", "\"id\":40,"));
        assert_eq!(back(&other.with_id(Some(4))), LINE);
    }

    #[test]
    fn what_is_wrong_has_its_field() {
        for (from, to, words) in [
            (
                "\"reason\":\"permanent\"",
                "\"reason\":\"mood\"",
                "reason: unknown variant `mood`",
            ),
            ("\"attempt_count\":1,", "", "attempt_count: it is missing"),
            ("\"id\":4", "\"id\":-4", "id: invalid value"),
            (
                "\"errors\":[\"no\"]",
                "\"errors\":\"no\"",
                "errors: invalid type",
            ),
            ("\"key\":\"287\"", "\"key\":287", "key: invalid type"),
            ("e6aa7400011f\",\"corr", "x\",\"corr", "event_id: "),
            ("}}", "}", "the line is no JSON object"),
        ] {
            assert!(LINE.contains(from), "{from}");
            let line = LINE.replacen(from, to, 1);
            let told = Letter::of(line.as_bytes()).expect_err("it is no letter");
            assert!(told.starts_with(words), "{words}: {told}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_letter_or_told(at in 0..LINE.len(), byte: u8) {
            let mut line = LINE.as_bytes().to_vec();
            line[at] = byte;
            match Letter::of(&line) {
                Ok(letter) => prop_assert!(serde_json::to_string(&letter.raw).is_ok()),
                Err(told) => prop_assert!(!told.is_empty()),
            }
        }
    }
}
