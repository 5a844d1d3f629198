//! Where an event stands, as apply functions and replay handlers see it.

use crate::event::EventId;
use crate::store::Record;
use std::time::SystemTime;

/// The place of the event that is applied, and how it came there.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) is_replay: bool,
    pub(crate) attempt: u32,
}

impl<'a> At<'a> {
    /// The event's position in the log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.record.position()
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.record.stream()
    }

    /// Its version in the stream.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.record.version()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.record.id()
    }

    /// When it was appended, by the store's clock.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.record.time()
    }

    /// All that the log says of it.
    #[must_use]
    pub fn record(&self) -> &Record<'a> {
        &self.record
    }

    /// Whether it comes again: in a replay, in a rebuild, or behind a reset. A side effect that is not to happen twice
    /// asks here, or is registered as one and not called at all (PC5).
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// Which attempt this is; the first is 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}
