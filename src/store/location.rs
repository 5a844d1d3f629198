//! Where a record lies: its segment and its place in it, in one word.

use std::fmt;

/// Records begin at multiples of so many bytes.
pub(crate) const UNIT: usize = 16;
const OFFSET_BITS: u32 = 24;

/// The most bytes a segment can have.
pub(crate) const SEGMENT_BYTES_MAX: usize = UNIT << OFFSET_BITS;

/// The address of a record; ordered as positions are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Location(u64);

impl Location {
    #[inline(always)]
    pub(crate) fn new(segment: u64, offset: usize) -> Self {
        debug_assert!(offset.is_multiple_of(UNIT) && offset < SEGMENT_BYTES_MAX);
        Self((segment << OFFSET_BITS) | (offset / UNIT) as u64)
    }

    #[inline(always)]
    pub(crate) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn segment(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    /// In bytes from the segment's start.
    #[inline(always)]
    pub(crate) fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize * UNIT
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}

/// What is committed: everything at a location below this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Watermark(u64);

impl Watermark {
    /// Of a log without records.
    pub(crate) const NOTHING: Self = Self(0);

    #[inline(always)]
    pub(crate) fn after(last: Location) -> Self {
        Self(last.0 + 1)
    }

    #[inline(always)]
    pub(crate) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn covers(self, location: Location) -> bool {
        location.0 < self.0
    }

    /// The last committed record.
    #[inline(always)]
    pub(crate) fn last(self) -> Option<Location> {
        self.0.checked_sub(1).map(Location)
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn locations_are_ordered_and_come_apart_again() {
        let last_place = SEGMENT_BYTES_MAX - UNIT;
        let row = [(0, 0), (0, 16), (0, last_place), (1, 0), (1 << 39, 32)];
        let locations = row.map(|(segment, offset)| Location::new(segment, offset));
        assert!(locations.is_sorted());
        for (location, expected) in locations.iter().zip(row) {
            assert_eq!((location.segment(), location.offset()), expected);
            let watermark = Watermark::after(*location);
            assert!(watermark.covers(*location) && watermark.last() == Some(*location));
        }
        assert!(!Watermark::NOTHING.covers(locations[0]) && Watermark::NOTHING.last().is_none());
        assert!(!Watermark::after(locations[1]).covers(locations[2]));
    }
}
