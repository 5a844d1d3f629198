//! What the store counts.

use crate::sync::atomic::AtomicU64;

/// What appends count, among what the lock protects: so it comes to an appender with the lock, and not on a line of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tallies {
    /// Appends that wrote something.
    pub(crate) appends: u64,
    /// Appends that were there already.
    pub(crate) duplicates: u64,
    /// Appends refused for an expectation.
    pub(crate) conflicts: u64,
    /// Bytes of payloads.
    pub(crate) payload_bytes: u64,
    /// Bytes of records.
    pub(crate) record_bytes: u64,
    /// Tombstones and truncations: positions that are no events.
    pub(crate) marks: u64,
}

impl Tallies {
    /// One append of so many bytes.
    #[inline(always)]
    pub(crate) fn add(&mut self, payload_bytes: u64, record_bytes: u64) {
        self.appends += 1;
        self.payload_bytes += payload_bytes;
        self.record_bytes += record_bytes;
    }
}

/// What others count.
#[derive(Debug, Default)]
pub(crate) struct StoreCounts {
    /// Bytes of segments that retention let go.
    pub(crate) bytes_retired: AtomicU64,
    /// Positions that lossy followers and groups were told to be gone.
    pub(crate) lost: AtomicU64,
    /// Readers that were made: where each begins to count what it samples.
    pub(crate) readers: AtomicU64,
}
