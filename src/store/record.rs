//! A record: its size, and what follows the payload.
//!
//! The layout is specified in the store's README; this file and `header.rs` are its only readers and writers.

pub(crate) use super::header::{HEADER_BYTES, Header, NAME_BYTES_MAX, flag};
use super::location::UNIT;
use crate::event::{Class, EventId, Metadata};

impl Header {
    pub(crate) fn class(&self) -> Class {
        Class::ALL[usize::from(self.class) % Class::ALL.len()]
    }
}

/// Bytes of a record with a payload and extras of these lengths; `None` if no segment could hold it.
pub(crate) fn size_of_record(payload: usize, extra: usize) -> Option<usize> {
    let size = HEADER_BYTES.checked_add(payload)?.checked_add(extra)?;
    let size = size.checked_next_multiple_of(UNIT)?;
    u32::try_from(size).ok()?;
    Some(size)
}

/// What follows the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extra<'a> {
    pub(crate) causation: Option<EventId>,
    /// As [`write_metadata`] made it.
    pub(crate) metadata: Option<&'a [u8]>,
    pub(crate) stream_name: Option<&'a str>,
    pub(crate) kind_name: Option<(&'a str, u16)>,
}

impl<'a> Extra<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.causation.is_none()
            && self.metadata.is_none()
            && self.stream_name.is_none()
            && self.kind_name.is_none()
    }

    pub(crate) fn flags(&self) -> u16 {
        let mut flags = 0;
        if self.causation.is_some() {
            flags |= flag::CAUSATION;
        }
        if self.metadata.is_some() {
            flags |= flag::METADATA;
        }
        if self.stream_name.is_some() {
            flags |= flag::STREAM_NAME;
        }
        if self.kind_name.is_some() {
            flags |= flag::KIND_NAME;
        }
        flags
    }

    pub(crate) fn bytes(&self) -> usize {
        self.causation.map_or(0, |_| 16)
            + self.metadata.map_or(0, |metadata| 4 + metadata.len())
            + self.stream_name.map_or(0, |name| 2 + name.len())
            + self.kind_name.map_or(0, |(name, _)| 4 + name.len())
    }

    /// Hands the parts to `put`, in order.
    pub(crate) fn write(&self, mut put: impl FnMut(&[u8])) {
        if let Some(causation) = self.causation {
            put(&causation.as_u128().to_le_bytes());
        }
        if let Some(metadata) = self.metadata {
            put(&(metadata.len() as u32).to_le_bytes());
            put(metadata);
        }
        if let Some(name) = self.stream_name {
            put(&(name.len() as u16).to_le_bytes());
            put(name.as_bytes());
        }
        if let Some((name, version)) = self.kind_name {
            put(&(name.len() as u16).to_le_bytes());
            put(name.as_bytes());
            put(&version.to_le_bytes());
        }
    }

    /// Takes the parts apart again; `None` if the bytes are not what the flags say.
    pub(crate) fn read(flags: u16, mut bytes: &'a [u8]) -> Option<Self> {
        let mut extra = Self::default();
        if flags & flag::CAUSATION != 0 {
            let (id, rest) = bytes.split_first_chunk()?;
            extra.causation = Some(EventId::from_u128(u128::from_le_bytes(*id))?);
            bytes = rest;
        }
        if flags & flag::METADATA != 0 {
            let (length, rest) = bytes.split_first_chunk()?;
            let (metadata, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            extra.metadata = Some(metadata);
            bytes = rest;
        }
        if flags & flag::STREAM_NAME != 0 {
            let (length, rest) = bytes.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            extra.stream_name = Some(std::str::from_utf8(name).ok()?);
            bytes = rest;
        }
        if flags & flag::KIND_NAME != 0 {
            let (length, rest) = bytes.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            let (version, _) = rest.split_first_chunk()?;
            extra.kind_name = Some((
                std::str::from_utf8(name).ok()?,
                u16::from_le_bytes(*version),
            ));
        }
        Some(extra)
    }
}

/// Metadata as it lies in a record.
pub(crate) fn write_metadata(metadata: &Metadata) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in metadata.iter() {
        for part in [name, value] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}

/// The named values of a record; what cannot be read ends them.
pub(crate) fn read_metadata(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let mut part = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            std::str::from_utf8(text).ok()
        };
        Some((part()?, part()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extra: Extra<'_>) {
        let mut bytes = Vec::new();
        extra.write(|part| bytes.extend_from_slice(part));
        assert_eq!(bytes.len(), extra.bytes());
        assert_eq!(Extra::read(extra.flags(), &bytes), Some(extra));
        for end in 0..bytes.len() {
            assert_eq!(
                Extra::read(extra.flags(), &bytes[..end]),
                None,
                "cut off at {end}"
            );
        }
    }

    #[test]
    fn extras_come_back_and_a_cut_is_noticed() {
        let all = Extra {
            causation: EventId::from_u128(5),
            metadata: Some(b"abc"),
            stream_name: Some("order-7"),
            kind_name: Some(("order.placed", 2)),
        };
        check(Extra::default());
        check(all);
        check(Extra {
            metadata: None,
            ..all
        });
        check(Extra {
            kind_name: None,
            causation: None,
            ..all
        });
    }

    #[test]
    fn metadata_comes_back_in_the_order_of_names() {
        let metadata = Metadata::new().with("b", "2").with("a", "ä").with("c", "");
        let bytes = write_metadata(&metadata);
        let back: Vec<_> = read_metadata(&bytes).collect();
        assert_eq!(back, [("a", "ä"), ("b", "2"), ("c", "")]);
        assert_eq!(read_metadata(&bytes[..bytes.len() - 1]).count(), 2);
    }

    #[test]
    fn sizes_are_whole_units_and_bounded() {
        assert_eq!(size_of_record(0, 0), Some(96));
        assert_eq!(size_of_record(64, 0), Some(160));
        assert_eq!(size_of_record(1, 0), Some(112));
        assert_eq!(size_of_record(usize::MAX, 1), None);
        assert_eq!(size_of_record(u32::MAX as usize, 0), None);
    }

    #[test]
    fn the_header_lies_as_the_readme_says() {
        let header = Header {
            size: 1,
            checksum: 2,
            position: 3,
            version: 4,
            stream: 5,
            kind: 6,
            id: 7,
            correlation: 8,
            stamp: 9,
            key: 10,
            payload_bytes: 11,
            extra_bytes: 12,
            batch: 13,
            class: 14,
            codec: 15,
            flags: 16,
        };
        let bytes: &[u8] = bytemuck::bytes_of(&header);
        let at = [0, 4, 8, 16, 24, 28, 32, 48, 64, 72, 80, 84, 88, 92, 93, 94];
        for (number, at) in at.into_iter().enumerate() {
            assert_eq!(usize::from(bytes[at]), number + 1, "byte {at}");
        }
        let readme = include_str!("README.md");
        for row in [
            "| 0..4 | `size`",
            "| 8..16 | `position`",
            "| 16..24 | `version`",
            "| 24..28 | `stream`",
            "| 28..32 | `kind`",
            "| 32..48 | `id`",
            "| 48..64 | `correlation`",
            "| 64..72 | `stamp`",
            "| 72..80 | `key`",
            "| 80..84 | `payload_bytes`",
            "| 84..88 | `extra_bytes`",
            "| 88..92 | `batch`",
            "| 92 | `class`",
            "| 93 | `codec`",
            "| 94..96 | `flags`",
        ] {
            assert!(readme.contains(row), "the README has lost its row {row}");
        }
    }
}
