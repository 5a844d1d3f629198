//! Walking the row of segments: what a reader has pinned, and how it comes from record to record.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A segment is pinned when it is first looked into, and let go with all the others by [`Held::release`]; until then its
//! bytes stay, retired or not (S5). A walk goes on to the next segment where one is sealed and the watermark is past it (S4).

use super::header::{HEADER_BYTES, Header};
use super::location::{Location, SEGMENT_BYTES_MAX, Watermark};
use super::segment::Segment;
use super::segments::Segments;
use smallvec::SmallVec;
use std::cell::RefCell;

/// The segments that a reader has pinned.
#[derive(Debug, Default)]
pub(crate) struct Held(RefCell<SmallVec<[u64; 4]>>);

/// A record where it lies: its header, its payload and what follows that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) header: &'a Header,
    pub(crate) rest: &'a [u8],
}

/// Where a walk goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    location: Location,
    /// The position of the next record.
    pub(crate) position: u64,
}

/// What a walk has found.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// The next record.
    Record(Found<'a>),
    /// Nothing more below the watermark.
    End,
    /// The next record is not kept any more.
    Gone,
}

impl Cursor {
    /// At this record.
    pub(crate) fn at(location: Location, position: u64) -> Self {
        Self { location, position }
    }

    /// Behind this record.
    #[inline(always)]
    pub(crate) fn behind(location: Location, header: &Header) -> Self {
        let offset = location.offset() + header.size();
        Self {
            location: if offset < SEGMENT_BYTES_MAX {
                Location::new(location.segment(), offset)
            } else {
                Location::new(location.segment() + 1, 0)
            },
            position: header.position + 1,
        }
    }
}

impl Cursor {
    /// Whether the watermark covers nothing from here on.
    pub(crate) fn is_at_end(&self, segments: &Segments, watermark: Watermark) -> bool {
        // A sealed segment's end is the next one's start, which may not be committed.
        !watermark.covers(self.location) || {
            let segment = segments.get(self.location.segment());
            segment.is_some_and(|segment| {
                segment.end() > 0
                    && segment.end() == self.location.offset()
                    && !watermark.covers(Location::new(self.location.segment() + 1, 0))
            })
        }
    }
}

impl Held {
    /// Lets go of all. Whoever borrows a record borrows the reader too, which is to be had alone here.
    pub(crate) fn release(&mut self, segments: &Segments) {
        for segment in self.0.get_mut().drain(..) {
            if let Some(segment) = segments.get(segment) {
                segment.unpin();
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// The segment, pinned; `None` if it was retired.
    #[inline(always)]
    fn pinned<'a>(&'a self, segments: &'a Segments, number: u64) -> Option<&'a Segment> {
        let segment = segments.get(number)?;
        let mut pins = self.0.borrow_mut();
        if !pins.iter().rev().any(|&pin| pin == number) {
            if !segment.pin() {
                return None;
            }
            pins.push(number);
        }
        Some(segment)
    }

    /// The record at a location that the watermark covers; `None` if it is not kept.
    #[inline(always)]
    pub(crate) fn at<'a>(
        &'a self,
        segments: &'a Segments,
        location: Location,
    ) -> Option<Found<'a>> {
        let segment = self.pinned(segments, location.segment())?;
        Some(found(segment, location.offset()))
    }

    /// The position behind the last committed record. The watermark is taken anew where its last record is not kept any
    /// more: then it is further by now, and what it was before is of no use to the caller either.
    pub(crate) fn end(&self, segments: &Segments, watermark: &mut Watermark) -> u64 {
        loop {
            let Some(last) = watermark.last() else {
                return 0;
            };
            if let Some(record) = self.at(segments, last) {
                return record.header.position + 1;
            }
            *watermark = segments.watermark();
        }
    }

    /// Where the record at a position below the watermark lies; `None` if it is not kept.
    pub(crate) fn locate(
        &self,
        segments: &Segments,
        position: u64,
        watermark: Watermark,
    ) -> Option<Location> {
        if position < segments.first() {
            return None;
        }
        let last = watermark.last()?.segment();
        let (mut low, mut high) = (segments.kept().min(last), last);
        if position < segments.get(low)?.first() {
            return None;
        }
        // The last segment whose first position is not above.
        while low < high {
            let middle = high - (high - low) / 2;
            if segments.get(middle)?.first() <= position {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let segment = self.pinned(segments, low)?;
        let offset = segment.offset_of(position - segment.first());
        Some(Location::new(low, offset))
    }

    /// The next record of a walk, if the watermark covers it.
    #[inline(always)]
    pub(crate) fn step<'a>(
        &'a self,
        segments: &'a Segments,
        cursor: &mut Cursor,
        watermark: Watermark,
    ) -> Step<'a> {
        if !watermark.covers(cursor.location) {
            return Step::End;
        }
        // Either a record lies here or one of a later segment is committed, and [commit] shows which (S4). Of a segment that
        // was walked through nothing is needed: it may be gone.
        let number = cursor.location.segment();
        let here = segments.get(number);
        if here.is_some_and(|here| here.end() > 0 && here.end() == cursor.location.offset()) {
            cursor.location = Location::new(number + 1, 0);
            debug_assert!(
                watermark.covers(cursor.location),
                "it was past the last place of this one"
            );
        }
        let Some(segment) = self.pinned(segments, cursor.location.segment()) else {
            return Step::Gone;
        };
        let record = found(segment, cursor.location.offset());
        *cursor = Cursor::behind(cursor.location, record.header);
        Step::Record(record)
    }
}

#[inline(always)]
fn found(segment: &Segment, at: usize) -> Found<'_> {
    let header = segment.header(at);
    let rest = segment.read(at + HEADER_BYTES, header.size() - HEADER_BYTES);
    Found { header, rest }
}
