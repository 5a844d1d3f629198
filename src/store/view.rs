//! A record as its readers see it: borrowed from the segment, decoded on demand.
//!
//! publish → **store** → worker → handler → outcome

use super::error::ReadError;
use super::log::Log;
use super::record::{Extra, Header, flag, read_metadata};
use crate::event::{Class, Descriptor, Encoding, Event, EventId, codec};
use std::fmt;
use std::time::{Duration, SystemTime};

/// One record of the log, where it lies.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(crate) log: &'a Log,
    pub(crate) header: &'a Header,
    /// The payload and what follows it.
    pub(crate) rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// Its place in the log: 0, 1, 2, … without a gap.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.header.position
    }

    /// Its place in its stream: 0, 1, 2, … without a gap.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.header.version
    }

    /// The name of its stream.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.log
            .streams
            .get(self.header.stream)
            .map_or("", |stream| stream.name())
    }

    /// The name of its event type.
    #[must_use]
    pub fn event_type(&self) -> &'a str {
        self.log
            .kinds
            .get(self.header.kind)
            .map_or("", |kind| kind.name())
    }

    /// The version of its event type when it was written.
    #[must_use]
    pub fn type_version(&self) -> u16 {
        self.log
            .kinds
            .get(self.header.kind)
            .map_or(0, |kind| kind.version())
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> EventId {
        EventId::from_u128(self.header.id).expect("no record is written without an id")
    }

    /// The id that all events of one story share: given, or the event's own.
    #[must_use]
    pub fn correlation_id(&self) -> EventId {
        EventId::from_u128(self.header.correlation).unwrap_or_else(|| self.id())
    }

    /// The id of the event that caused this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<EventId> {
        if !self.header.has(flag::CAUSATION) {
            return None;
        }
        self.extra().causation
    }

    /// Named values that were appended with it.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        read_metadata(self.extra().metadata.unwrap_or(&[]))
    }

    /// The wall time of the append, by the store's clock; for people and filters, never for order.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.header.stamp)
    }

    /// The event's priority class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.header.class()
    }

    /// The hash of the event's key, if it has one.
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        (!self.header.has(flag::NO_KEY)).then_some(self.header.key)
    }

    pub(crate) fn key(&self) -> u64 {
        self.header.key
    }

    pub(crate) fn stamp_ns(&self) -> u64 {
        self.header.stamp
    }

    /// 0: its own id.
    pub(crate) fn correlation(&self) -> u128 {
        self.header.correlation
    }

    pub(crate) fn has_metadata(&self) -> bool {
        self.header.has(flag::METADATA)
    }

    /// Its type in this process, if there is one of this name and version.
    pub(crate) fn known(&self) -> Option<&'static Descriptor> {
        self.log.kinds.get(self.header.kind)?.known()
    }

    /// What its payload is.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        Encoding::of(self.header.codec)
    }

    /// The event as its codec wrote it; at a multiple of 16 bytes.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.rest[..self.header.payload_bytes as usize]
    }

    /// How many records of the same append follow this one.
    #[must_use]
    pub fn batch_left(&self) -> u32 {
        self.header.batch
    }

    /// Whether it is no event, but says that its stream was deleted or truncated. Only reads of the whole log that ask for
    /// marks see one.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.header.has(flag::MARK)
    }

    /// Whether it is an `E`, of the version that this process has.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.type_version() == E::VERSION && self.event_type() == E::NAME
    }

    /// The event.
    ///
    /// # Errors
    /// [`ReadError::OtherType`] if it is not an `E`, [`ReadError::Decode`] if the codec cannot read it.
    pub fn decode<E: Event>(&self) -> Result<E, ReadError> {
        self.wants::<E>()?;
        let codec = codec::<E>().ok_or_else(|| self.fault("the type has no codec".to_owned()))?;
        codec
            .decode(self.payload())
            .map_err(|reason| self.fault(reason))
    }

    /// The event where it lies, if it is plain old data: nothing is copied.
    #[must_use]
    pub fn view<E: Event>(&self) -> Option<&'a E> {
        if self.header.codec != Encoding::Pod as u8 || !self.is::<E>() {
            return None;
        }
        codec::<E>()?.view(self.payload())
    }

    fn wants<E: Event>(&self) -> Result<(), ReadError> {
        if self.is::<E>() {
            return Ok(());
        }
        Err(ReadError::OtherType {
            position: self.position(),
            found: (self.event_type().to_owned(), self.type_version()),
            wanted: (E::NAME.to_owned(), E::VERSION),
        })
    }

    pub(crate) fn fault(&self, reason: String) -> ReadError {
        ReadError::Decode {
            position: self.position(),
            event: self.event_type().to_owned(),
            reason,
        }
    }

    pub(crate) fn extra(&self) -> Extra<'a> {
        let start = self.header.payload_bytes as usize;
        let bytes = self
            .rest
            .get(start..start + self.header.extra_bytes as usize);
        Extra::read(self.header.flags, bytes.unwrap_or(&[])).unwrap_or_default()
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("position", &self.position())
            .field("stream", &self.stream())
            .field("version", &self.version())
            .field("event_type", &self.event_type())
            .field("id", &self.id())
            .field("payload_bytes", &self.header.payload_bytes)
            .finish_non_exhaustive()
    }
}
