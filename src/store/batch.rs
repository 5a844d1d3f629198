//! An append of many events, to one stream or several: all or nothing.

use super::append::{Committed, Entry, Target};
use super::draft::IntoDraft;
use super::error::AppendError;
use super::expected::{ExpectedVersion, StreamState};
use super::log::Log;
use super::record::Extra;
use super::{Appended, EventStore};
use crate::event::{Class, Encoding, Event, EventId, codec};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// What is to be appended together. Made by [`EventStore::batch`].
///
/// Events are encoded when they are pushed, so a codec's failure is told where it happens; nothing is written before
/// [`commit`](Self::commit).
pub struct Batch<'s> {
    store: &'s EventStore,
    streams: Vec<(String, ExpectedVersion)>,
    numbers: HashMap<String, usize>,
    drafts: Vec<Encoded>,
    bytes: Vec<u8>,
}

struct Encoded {
    target: usize,
    kind: u32,
    encoding: Encoding,
    class: Class,
    key: Option<u64>,
    id: Option<EventId>,
    correlation: u128,
    causation: Option<EventId>,
    stamp: Option<u64>,
    payload: Range<usize>,
    metadata: Option<Range<usize>>,
}

/// What a batch has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAppended {
    /// The position of its first event; for a batch of checks only, that of the event to come.
    pub first_position: u64,
    /// The position of its last event.
    pub last_position: u64,
    /// Its events were there already, from the same batch: nothing was written.
    pub is_duplicate: bool,
    /// Each stream of the batch, in the order of their first mention, as it is now.
    pub streams: Vec<(String, StreamState)>,
}

/// An event that was written somewhere else and is taken over as it is.
#[cfg(any(feature = "json", test))]
#[derive(Debug, Clone)]
pub(crate) struct Foreign<'a> {
    pub(crate) stream: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) type_version: u16,
    pub(crate) encoding: Encoding,
    pub(crate) id: EventId,
    pub(crate) correlation: Option<EventId>,
    pub(crate) causation: Option<EventId>,
    pub(crate) stamp: Option<u64>,
    pub(crate) class: Class,
    /// `None`: the stream's.
    pub(crate) key: Option<u64>,
    /// As a record has them.
    pub(crate) metadata: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
}

impl<'s> Batch<'s> {
    pub(crate) fn new(store: &'s EventStore) -> Self {
        Self {
            store,
            streams: Vec::new(),
            numbers: HashMap::new(),
            drafts: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Says what is expected of a stream. With no event for it, that is a check: the batch fails if it does not hold.
    ///
    /// # Errors
    /// [`AppendError::Invalid`] if something else was expected of the stream before.
    pub fn expect(
        &mut self,
        stream: impl Into<String>,
        expected: ExpectedVersion,
    ) -> Result<&mut Self, AppendError> {
        let stream = stream.into();
        let number = self.target(&stream);
        let place = &mut self.streams[number].1;
        if *place != ExpectedVersion::Any && *place != expected {
            return Err(AppendError::Invalid(format!(
                "stream {stream:?}: {place} and {expected} are expected of it in one batch (say one of them)"
            )));
        }
        *place = expected;
        Ok(self)
    }

    /// Adds an event for a stream, of which nothing is expected unless [`expect`](Self::expect) says so.
    ///
    /// # Errors
    /// [`AppendError::NoCodec`] or [`AppendError::Encode`]; the batch is as it was.
    pub fn push<'e>(
        &mut self,
        stream: &str,
        draft: impl IntoDraft<'e>,
    ) -> Result<&mut Self, AppendError> {
        self.push_draft(stream, draft)?;
        Ok(self)
    }

    fn push_draft<'e, D: IntoDraft<'e>>(
        &mut self,
        stream: &str,
        draft: D,
    ) -> Result<(), AppendError> {
        let draft = draft.into_draft();
        let event = || D::Event::NAME.to_owned();
        let codec = codec::<D::Event>().ok_or_else(|| AppendError::NoCodec { event: event() })?;
        let kind = self
            .store
            .log
            .kinds
            .of::<D::Event>()
            .map_err(AppendError::Invalid)?;
        let start = self.bytes.len();
        if let Err(reason) = codec.encode_into(draft.event, &mut self.bytes) {
            self.bytes.truncate(start);
            return Err(AppendError::Encode {
                event: event(),
                reason,
            });
        }
        let payload = start..self.bytes.len();
        let metadata = draft.metadata.map(|metadata| {
            self.bytes.extend_from_slice(&metadata);
            payload.end..self.bytes.len()
        });
        let encoded = Encoded {
            target: self.target(stream),
            kind,
            encoding: codec.encoding(),
            class: draft.class,
            key: draft.key.or_else(|| draft.event.key().hash()),
            id: draft.id,
            correlation: draft.correlation.map_or(0, EventId::as_u128),
            causation: draft.causation,
            stamp: None,
            payload,
            metadata,
        };
        self.drafts.push(encoded);
        Ok(())
    }

    /// Adds an event as it was written elsewhere.
    #[cfg(any(feature = "json", test))]
    pub(crate) fn push_foreign(&mut self, foreign: &Foreign<'_>) -> Result<(), AppendError> {
        let named = self
            .store
            .log
            .kinds
            .named(foreign.event_type, foreign.type_version);
        let kind = named.map_err(AppendError::Invalid)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(foreign.payload);
        let payload = start..self.bytes.len();
        let metadata = foreign.metadata.map(|metadata| {
            self.bytes.extend_from_slice(metadata);
            payload.end..self.bytes.len()
        });
        let encoded = Encoded {
            target: self.target(foreign.stream),
            kind,
            encoding: foreign.encoding,
            class: foreign.class,
            key: foreign.key,
            id: Some(foreign.id),
            correlation: foreign.correlation.map_or(0, EventId::as_u128),
            causation: foreign.causation,
            stamp: foreign.stamp,
            payload,
            metadata,
        };
        self.drafts.push(encoded);
        Ok(())
    }

    fn target(&mut self, stream: &str) -> usize {
        if let Some(&number) = self.numbers.get(stream) {
            return number;
        }
        let number = self.streams.len();
        self.streams.push((stream.to_owned(), ExpectedVersion::Any));
        self.numbers.insert(stream.to_owned(), number);
        number
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Whether it has no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Appends all of it, or nothing. The batch can be committed again, after a conflict for example.
    ///
    /// # Errors
    /// [`AppendError`]; every expectation that does not hold is told.
    pub fn commit(&self) -> Result<BatchAppended, AppendError> {
        let log: &Log = &self.store.log;
        let mut targets = Vec::with_capacity(self.streams.len());
        for (name, expected) in &self.streams {
            targets.push(Target::new(log, name, *expected)?);
        }
        let mut entries: Vec<Entry<'_>> = Vec::with_capacity(self.drafts.len());
        for draft in &self.drafts {
            targets[draft.target].events += 1;
            entries.push(Entry {
                target: draft.target,
                kind: draft.kind,
                codec: draft.encoding as u8,
                class: draft.class,
                key: draft.key,
                id: draft.id,
                correlation: draft.correlation,
                stamp: draft.stamp,
                extra: Extra {
                    causation: draft.causation,
                    metadata: draft.metadata.clone().map(|range| &self.bytes[range]),
                    ..Extra::default()
                },
                payload: &self.bytes[draft.payload.clone()],
            });
        }
        let Committed {
            first,
            last,
            is_duplicate,
        } = log.append(&mut targets, &mut entries)?;
        Ok(BatchAppended {
            first_position: first,
            last_position: last,
            is_duplicate,
            streams: targets
                .iter()
                .map(|target| (target.name.to_owned(), target.state))
                .collect(),
        })
    }
}

impl BatchAppended {
    /// What the batch did to its only stream, as a single append tells it.
    pub(crate) fn single(&self) -> Appended {
        Appended {
            first_position: self.first_position,
            last_position: self.last_position,
            version: self.streams.first().and_then(|(_, state)| state.version()),
            is_duplicate: self.is_duplicate,
        }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("streams", &self.streams)
            .field("events", &self.drafts.len())
            .finish_non_exhaustive()
    }
}
