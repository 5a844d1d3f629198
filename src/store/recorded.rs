//! An event as its reader wants it: a record, or what upcasters have made of one.
//!
//! publish → **store** → worker → handler → outcome
//!
//! What reads events does not have to know whether they were written in their present shape: [`Recorded`] has the record's envelope
//! and the event's present type and payload, which are the record's own unless an upcaster stood between.

use super::error::ReadError;
use super::view::Record;
use crate::event::{Encoding, Event, codec};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;

/// An event as bytes, with the name of its type, their version and what the bytes are: whatever the type, known or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw<'a> {
    event_type: Cow<'a, str>,
    version: u16,
    encoding: Encoding,
    payload: Cow<'a, [u8]>,
}

impl<'a> Raw<'a> {
    /// These bytes.
    pub fn new(
        event_type: impl Into<Cow<'a, str>>,
        version: u16,
        encoding: Encoding,
        payload: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        Self {
            event_type: event_type.into(),
            version,
            encoding,
            payload: payload.into(),
        }
    }

    /// This JSON value.
    #[cfg(feature = "json")]
    pub fn of_json(
        event_type: impl Into<Cow<'a, str>>,
        version: u16,
        value: &serde_json::Value,
    ) -> Self {
        Self::new(
            event_type,
            version,
            Encoding::Json,
            value.to_string().into_bytes(),
        )
    }

    /// The name of its type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The version of its type.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What the bytes are.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The JSON value that the bytes are.
    ///
    /// # Errors
    /// The bytes are no JSON, by their encoding or in fact: the text says which.
    #[cfg(feature = "json")]
    pub fn json(&self) -> Result<serde_json::Value, String> {
        if self.encoding != Encoding::Json {
            return Err(format!("it is {}, not json", self.encoding.name()));
        }
        serde_json::from_slice(&self.payload).map_err(|error| error.to_string())
    }

    /// As an `E`, which its type is.
    pub(crate) fn decode<E: Event>(&self) -> Result<E, String> {
        let codec = codec::<E>().ok_or_else(|| "the type has no codec".to_owned())?;
        codec.decode(&self.payload)
    }
}

impl<'r> From<&Record<'r>> for Raw<'r> {
    fn from(record: &Record<'r>) -> Self {
        Self::new(
            record.event_type(),
            record.type_version(),
            record.encoding(),
            record.payload(),
        )
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("event_type", &self.event_type)
            .field("version", &self.version)
            .field("encoding", &self.encoding)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// Writes an event of a type that only the function knows.
type Encode = fn(&(dyn Any + Send + Sync)) -> Result<(Encoding, Vec<u8>), String>;

/// An event that a typed upcaster has made.
pub(crate) struct Value {
    event_type: &'static str,
    version: u16,
    value: Box<dyn Any + Send + Sync>,
    encode: Encode,
}

impl Value {
    pub(crate) fn of<E: Event>(event: E) -> Self {
        Self {
            event_type: E::NAME,
            version: E::VERSION,
            value: Box::new(event),
            encode: |event| {
                let codec = codec::<E>().ok_or_else(|| "the type has no codec".to_owned())?;
                let event = event
                    .downcast_ref()
                    .ok_or_else(|| "it is of another type".to_owned())?;
                let mut bytes = Vec::new();
                codec.encode_into(event, &mut bytes)?;
                Ok((codec.encoding(), bytes))
            },
        }
    }
}

/// The two ways in which an event can be there.
pub(crate) enum Form<'a> {
    Raw(Raw<'a>),
    Value(Value),
}

impl<'a> Form<'a> {
    pub(crate) fn event_type(&self) -> &str {
        match self {
            Self::Raw(raw) => raw.event_type(),
            Self::Value(value) => value.event_type,
        }
    }

    pub(crate) fn version(&self) -> u16 {
        match self {
            Self::Raw(raw) => raw.version,
            Self::Value(value) => value.version,
        }
    }

    pub(crate) fn is<E: Event>(&self) -> bool {
        self.version() == E::VERSION && self.event_type() == E::NAME
    }

    /// As bytes.
    pub(crate) fn raw(&self) -> Result<Raw<'_>, String> {
        match self {
            Self::Raw(raw) => Ok(Raw::new(
                raw.event_type(),
                raw.version,
                raw.encoding,
                raw.payload(),
            )),
            Self::Value(value) => {
                let (encoding, bytes) = (value.encode)(&*value.value)?;
                Ok(Raw::new(value.event_type, value.version, encoding, bytes))
            }
        }
    }

    /// As an `E`, which its type is.
    pub(crate) fn into_event<E: Event>(self) -> Result<E, String> {
        match self {
            Self::Raw(raw) => raw.decode(),
            Self::Value(value) => match value.value.downcast() {
                Ok(event) => Ok(*event),
                // Another Rust type of the same name and version.
                Err(other) => {
                    let (encoding, bytes) = (value.encode)(&*other)?;
                    Raw::new(value.event_type, value.version, encoding, bytes).decode()
                }
            },
        }
    }
}

/// An event of the log in its present shape, with the record it comes from.
///
/// ```
/// # use ringbolt::{Codec, Event};
/// # struct Opened;
/// # impl Event for Opened {
/// #     const NAME: &'static str = "recorded.opened";
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(|_| Ok(String::new()), |_| Ok(Self)))
/// #     }
/// # }
/// # struct Credited(u64);
/// # impl Event for Credited {
/// #     const NAME: &'static str = "recorded.credited";
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(|event| Ok(event.0.to_string()), |text| text.parse().map(Self).map_err(|_| "no number".into())))
/// #     }
/// # }
/// use ringbolt::store::{EventStore, ExpectedVersion, Query, ReadError, Recorded};
///
/// fn credit(event: &Recorded<'_>) -> Result<u64, ReadError> {
///     Ok(if let Some(credited) = event.decode_if::<Credited>()? {
///         credited.0
///     } else {
///         0
///     })
/// }
///
/// let store = EventStore::new();
/// store.append("a", ExpectedVersion::Any, &Opened)?;
/// store.append("a", ExpectedVersion::Any, &Credited(7))?;
/// let mut sum = 0;
/// for record in store.reader().read(Query::all())? {
///     sum += credit(&Recorded::from(record?))?;
/// }
/// assert_eq!(sum, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Recorded<'r> {
    record: Record<'r>,
    pub(crate) form: Form<'r>,
}

impl<'r> Recorded<'r> {
    pub(crate) fn new(record: Record<'r>, form: Form<'r>) -> Self {
        Self { record, form }
    }

    /// The record that it comes from: position, version in the stream, id and all else that is not the event itself.
    #[must_use]
    pub fn record(&self) -> &Record<'r> {
        &self.record
    }

    /// The name of its type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.form.event_type()
    }

    /// The version of its type.
    #[must_use]
    pub fn type_version(&self) -> u16 {
        self.form.version()
    }

    /// Whether it is an `E`, of the version that this process has.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.form.is::<E>()
    }

    /// The event.
    ///
    /// # Errors
    /// [`ReadError::OtherType`] if it is not an `E`, [`ReadError::Decode`] if the codec cannot read it.
    pub fn decode<E: Event>(&self) -> Result<E, ReadError> {
        self.decode_if()?
            .ok_or_else(|| other_type::<E>(&self.record, &self.form))
    }

    /// The event, if it is an `E`.
    ///
    /// # Errors
    /// [`ReadError::Decode`] if the codec cannot read it.
    pub fn decode_if<E: Event>(&self) -> Result<Option<E>, ReadError> {
        if !self.is::<E>() {
            return Ok(None);
        }
        match &self.form {
            Form::Raw(raw) => raw.decode(),
            form @ Form::Value(_) => form.raw().and_then(|raw| raw.decode()),
        }
        .map(Some)
        .map_err(|reason| self.record.fault(reason))
    }

    /// The event as bytes, whatever its type.
    ///
    /// # Errors
    /// [`ReadError::Decode`] if an upcaster has made it and its codec cannot write it.
    pub fn raw(&self) -> Result<Raw<'_>, ReadError> {
        self.form.raw().map_err(|reason| self.record.fault(reason))
    }
}

pub(crate) fn other_type<E: Event>(record: &Record<'_>, form: &Form<'_>) -> ReadError {
    ReadError::OtherType {
        position: record.position(),
        found: (form.event_type().to_owned(), form.version()),
        wanted: (E::NAME.to_owned(), E::VERSION),
    }
}

impl<'r> From<Record<'r>> for Recorded<'r> {
    fn from(record: Record<'r>) -> Self {
        Self::new(record, Form::Raw(Raw::from(&record)))
    }
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("record", &self.record)
            .field("event_type", &self.event_type())
            .field("type_version", &self.type_version())
            .finish()
    }
}
