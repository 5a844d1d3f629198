//! The fixed part of a record, as plain old data.
//!
//! The layout is specified in the store's README; `record.rs` has what follows.

use bytemuck::{Pod, Zeroable};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 96;
/// The longest name of a stream or of a type.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;

/// Bits of [`Header::flags`].
pub(crate) mod flag {
    pub(crate) const CAUSATION: u16 = 1;
    pub(crate) const METADATA: u16 = 1 << 1;
    pub(crate) const STREAM_NAME: u16 = 1 << 2;
    pub(crate) const KIND_NAME: u16 = 1 << 3;
    pub(crate) const TOMBSTONE: u16 = 1 << 4;
    pub(crate) const TRUNCATION: u16 = 1 << 5;
    pub(crate) const NO_KEY: u16 = 1 << 6;
    /// Of a record that is no event.
    pub(crate) const MARK: u16 = TOMBSTONE | TRUNCATION;
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(16))]
pub(crate) struct Header {
    pub(crate) size: u32,
    pub(crate) checksum: u32,
    pub(crate) position: u64,
    pub(crate) version: u64,
    pub(crate) stream: u32,
    pub(crate) kind: u32,
    pub(crate) id: u128,
    pub(crate) correlation: u128,
    pub(crate) stamp: u64,
    pub(crate) key: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) extra_bytes: u32,
    pub(crate) batch: u32,
    pub(crate) class: u8,
    pub(crate) codec: u8,
    pub(crate) flags: u16,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(
    cfg!(target_endian = "little"),
    "records are written as they lie in memory, little-endian"
);

impl Header {
    pub(crate) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Where the next record begins, from this one's start.
    #[inline(always)]
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }
}
