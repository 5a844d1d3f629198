#![doc = include_str!("README.md")]

mod aggregate;
mod append;
mod batch;
mod bell;
mod builder;
mod chunks;
#[cfg(feature = "json")]
pub mod cloudevents;
mod counts;
mod deal;
mod decide;
mod draft;
mod error;
mod expected;
#[cfg(feature = "json")]
mod export;
mod filter;
mod follow;
mod group;
mod header;
#[cfg(feature = "json")]
mod import;
mod kinds;
mod location;
mod log;
mod member;
mod plain;
mod query;
mod reader;
mod record;
mod recorded;
mod retention;
mod scan;
mod segment;
mod segments;
mod signal;
mod snapshot;
mod spare;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_aggregate;
#[cfg(test)]
mod tests_common;
#[cfg(test)]
mod tests_follow;
#[cfg(test)]
mod tests_group;
#[cfg(test)]
mod tests_upcast;
mod upcast;
mod view;
mod walk;

pub use aggregate::{Aggregate, Loaded};
pub use batch::{Batch, BatchAppended};
pub(crate) use bell::{Bell, Listener};
pub use builder::StoreBuilder;
pub use decide::{Changes, ExecuteError, Executed};
pub use draft::{Draft, IntoDraft};
pub use error::{AppendError, Conflict, ReadError};
pub use expected::{ExpectedVersion, StreamState};
#[cfg(feature = "json")]
pub use export::ExportReport;
pub use filter::RecordFilter;
pub use follow::{FollowBuilder, Follower};
pub use group::{Group, GroupBuilder};
#[cfg(feature = "json")]
pub use import::{ImportFault, ImportReport};
pub(crate) use location::Watermark;
pub use member::Member;
pub use query::{Query, Records};
pub use reader::Reader;
pub use recorded::{Raw, Recorded};
pub use retention::{Retention, RetentionPin};
pub use scan::Events;
pub use signal::{Signal, SlowReader, Start, Stopper};
pub use snapshot::{Snapshot, SnapshotPolicy};
pub use stats::{
    LARGEST_STREAMS, SegmentCounts, StatsSampler, StoreBytes, StoreRates, StoreStats, StreamStats,
};
pub use upcast::{UnknownType, Upcasters};
pub use view::Record;
pub(crate) use walk::{Cursor, Step};

use crate::event::{Class, Encoding, Event, EventId, codec};
use crate::sync::{Arc, clock};
use append::{Entry, Target};
use log::Log;
use record::Extra;
use std::fmt;
use std::time::Duration;

/// An append-only log of events, in memory. Cheap to clone; all clones are the same log.
///
/// ```
/// use ringbolt::Event;
/// use ringbolt::store::{EventStore, ExpectedVersion, Query};
///
/// #[derive(Clone, Copy, Debug, PartialEq, Event, bytemuck::Pod, bytemuck::Zeroable)]
/// #[event(name = "account.credited", codec = "pod")]
/// #[repr(C)]
/// struct Credited {
///     cents: u64,
/// }
///
/// let store = EventStore::new();
/// let appended = store.append("account-7", ExpectedVersion::NoStream, &Credited { cents: 500 })?;
/// assert_eq!((appended.version, appended.last_position), (Some(0), 0));
/// store.append("account-7", ExpectedVersion::Exact(0), &Credited { cents: 250 })?;
/// let late = store.append("account-7", ExpectedVersion::Exact(0), &Credited { cents: 1 });
/// assert!(late.unwrap_err().is_conflict());
///
/// let reader = store.reader();
/// let mut cents = 0;
/// for record in reader.read(Query::stream("account-7"))? {
///     cents += record?.decode::<Credited>()?.cents;
/// }
/// assert_eq!(cents, 750);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EventStore {
    pub(crate) log: Arc<Log>,
}

/// What an append to one stream has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The position of its first event; of an append of nothing, that of the event to come.
    pub first_position: u64,
    /// The position of its last event.
    pub last_position: u64,
    /// The version of the stream's last event; `None` for a check of a stream that is not there.
    pub version: Option<u64>,
    /// The events were there already, from the same append: nothing was written.
    pub is_duplicate: bool,
}

impl EventStore {
    /// A store with the defaults: segments of 16 MiB, everything kept.
    ///
    /// # Panics
    /// Never: the defaults are within their ranges.
    #[must_use]
    pub fn new() -> Self {
        Self::builder()
            .build()
            .expect("the defaults are within their ranges")
    }

    /// A store to be set up.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::new()
    }

    /// Appends an event to a stream; returns once every reader can see it.
    ///
    /// # Errors
    /// [`AppendError`]: nothing was written.
    #[inline]
    pub fn append<'e, D: IntoDraft<'e>>(
        &self,
        stream: &str,
        expected: ExpectedVersion,
        draft: D,
    ) -> Result<Appended, AppendError> {
        let draft = draft.into_draft();
        let event = || <D::Event as Event>::NAME.to_owned();
        let codec = codec::<D::Event>().ok_or_else(|| AppendError::NoCodec { event: event() })?;
        let kind = self
            .log
            .kinds
            .of::<D::Event>()
            .map_err(AppendError::Invalid)?;
        let mut buffer = Vec::new();
        let payload =
            codec
                .encode(draft.event, &mut buffer)
                .map_err(|reason| AppendError::Encode {
                    event: event(),
                    reason,
                })?;
        let entry = Entry {
            target: 0,
            kind,
            codec: codec.encoding() as u8,
            class: draft.class,
            key: draft.key.or_else(|| draft.event.key().hash()),
            id: draft.id,
            correlation: draft.correlation.map_or(0, EventId::as_u128),
            stamp: None,
            extra: Extra {
                causation: draft.causation,
                metadata: draft.metadata.as_deref(),
                ..Extra::default()
            },
            payload,
        };
        self.append_entries(stream, expected, &mut [entry])
    }

    fn append_entries<'a>(
        &'a self,
        stream: &'a str,
        expected: ExpectedVersion,
        entries: &mut [Entry<'a>],
    ) -> Result<Appended, AppendError> {
        let target = Target::new(&self.log, stream, expected)?;
        let (committed, state) = self.log.append_to(target, entries)?;
        Ok(Appended {
            first_position: committed.first,
            last_position: committed.last,
            version: state.version(),
            is_duplicate: committed.is_duplicate,
        })
    }

    /// Appends events of one type to a stream, all or nothing. None at all is a check of the expectation.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_all<E: Event>(
        &self,
        stream: &str,
        expected: ExpectedVersion,
        events: &[E],
    ) -> Result<Appended, AppendError> {
        let event = || E::NAME.to_owned();
        let codec = codec::<E>().ok_or_else(|| AppendError::NoCodec { event: event() })?;
        let kind = self.log.kinds.of::<E>().map_err(AppendError::Invalid)?;
        // What is no plain old data is encoded behind one another.
        let (mut buffer, mut ends) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|_| codec.encoding() != Encoding::Pod) {
            codec
                .encode_into(event, &mut buffer)
                .map_err(|reason| AppendError::Encode {
                    event: E::NAME.to_owned(),
                    reason,
                })?;
            ends.push(buffer.len());
        }
        let mut start = 0;
        let payload = |(number, event)| match codec.bytes_of(event) {
            Some(bytes) => bytes,
            None => {
                let bytes = &buffer[start..ends[number]];
                start = ends[number];
                bytes
            }
        };
        let payloads = events.iter().enumerate().map(payload);
        let mut entries: Vec<Entry<'_>> = payloads
            .zip(events)
            .map(|(payload, event)| Entry {
                target: 0,
                kind,
                codec: codec.encoding() as u8,
                class: Class::Normal,
                key: event.key().hash(),
                id: None,
                correlation: 0,
                stamp: None,
                extra: Extra::default(),
                payload,
            })
            .collect();
        self.append_entries(stream, expected, &mut entries)
    }

    /// Collects events for one stream or several, to be appended together.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Deletes a stream: it takes no more events, and what it had is read with the whole log only.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if the expectation does not hold, there is no such stream, or it was deleted before.
    pub fn delete(&self, stream: &str, expected: ExpectedVersion) -> Result<u64, AppendError> {
        self.log.delete(stream, expected)
    }

    /// Forgets the events of a stream before a version: it reads as if it began there, and its versions go on as before.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if there is no such stream, [`AppendError::Invalid`] for a version beyond the next.
    pub fn truncate(&self, stream: &str, before_version: u64) -> Result<u64, AppendError> {
        self.log.truncate(stream, before_version)
    }

    /// A reader, for one thread at a time.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.log))
    }

    /// Waits until the log has a record at this position, or for so long at most; whether it has.
    #[must_use]
    pub fn wait(&self, position: u64, timeout: Duration) -> bool {
        // A reader for each look: one that waits keeps nothing from being freed.
        let is_there = || self.reader().end() > position;
        is_there() || self.log.bell.wait(is_there, clock::deadline(timeout))
    }

    /// What a stream is.
    #[must_use]
    pub fn stream_state(&self, stream: &str) -> StreamState {
        let streams = &self.log.streams;
        let watermark = self.log.watermark();
        let found = streams
            .find(streams.hash(stream), stream)
            .and_then(|number| streams.get(number));
        let Some(stream) = found else {
            return StreamState::Missing;
        };
        match streams.committed(stream, watermark).checked_sub(1) {
            None => StreamState::Missing,
            Some(version) if stream.is_deleted(watermark) => StreamState::Deleted(version),
            Some(version) => StreamState::At(version),
        }
    }

    /// Keeps everything from this position on, whatever retention says, until the pin is moved or dropped.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if the record there is not kept any more.
    pub fn pin(&self, position: u64) -> Result<RetentionPin, ReadError> {
        let _locked = self.log.lock();
        let first = self.log.segments.first();
        if position < first {
            return Err(ReadError::Truncated { first });
        }
        Ok(self.log.pins.add(position))
    }

    /// Frees what retention lets go of now; returns how many segments. It happens by itself whenever a segment is full, and
    /// needs a call only where time passes without appends.
    pub fn retain(&self) -> u64 {
        self.log.retain(&mut self.log.lock().tail)
    }
}

impl Default for EventStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStore")
            .field("streams", &self.log.streams.len())
            .finish_non_exhaustive()
    }
}
