//! Setting up a store.

use super::EventStore;
use super::location::SEGMENT_BYTES_MAX;
use super::log::{Log, LogSettings};
use super::retention::Retention;
use super::snapshot::SNAPSHOTS_MAX;
use crate::error::{Error, ErrorKind};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Barrier};

/// The settings of an [`EventStore`].
#[derive(Debug, Clone)]
#[must_use = "nothing is made before `build`"]
pub struct StoreBuilder {
    segment_bytes: usize,
    capacity_bytes: u64,
    retention: Retention,
    is_populated: bool,
    clock: Option<Clock>,
    snapshots_max: usize,
}

impl StoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            segment_bytes: 16 << 20,
            capacity_bytes: u64::MAX,
            retention: Retention::everything(),
            is_populated: true,
            clock: None,
            snapshots_max: SNAPSHOTS_MAX,
        }
    }

    /// Bytes of a segment: memory is taken, and given back by retention, in pieces of this size, and no record can be larger.
    /// 1,536 to 268,435,456; 16 MiB.
    pub fn segment_bytes(mut self, bytes: usize) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The most bytes that all segments together may take; an append that would need more is refused as full. No bound.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// What may be forgotten. Nothing.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Whether the memory of segments is touched ahead of need, by a thread of its own, so that no append meets fresh
    /// pages. Yes; a store for a handful of events is smaller without.
    pub fn populate(mut self, is_populated: bool) -> Self {
        self.is_populated = is_populated;
        self
    }

    /// The clock that stamps records; [`Clock::real`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The most snapshots that are kept, of all streams together; the one that was not asked for longest makes room. 10,000.
    pub fn snapshots_max(mut self, snapshots: usize) -> Self {
        self.snapshots_max = snapshots;
        self
    }

    /// The store.
    ///
    /// # Errors
    /// A setting is out of its range; the text names all that are.
    pub fn build(self) -> Result<EventStore, Error> {
        let mut faults = Vec::new();
        if !(Log::SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            faults.push(format!(
                "store.segment_bytes: {} is outside {} to {SEGMENT_BYTES_MAX}",
                self.segment_bytes,
                Log::SEGMENT_BYTES_MIN
            ));
        }
        if self.capacity_bytes < self.segment_bytes as u64 {
            faults.push(format!(
                "store.capacity_bytes: {} is below one segment ({})",
                self.capacity_bytes, self.segment_bytes
            ));
        }
        if !faults.is_empty() {
            return Err(Error::new(ErrorKind::Setting, faults.join("; ")));
        }
        let settings = LogSettings {
            segment_bytes: self.segment_bytes & !15,
            is_populated: self.is_populated,
            capacity_bytes: self.capacity_bytes,
            retention: self.retention,
            clock: self.clock.unwrap_or_else(Clock::real),
        };
        let log = Log::new(settings, Barrier::best());
        log.snapshots.limit(self.snapshots_max);
        Ok(EventStore { log: Arc::new(log) })
    }
}
