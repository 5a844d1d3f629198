//! Reading: a reader pins what it has looked at, and its records borrow from it.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Readers take no lock and copy nothing (SD5). A segment is pinned when a reader first looks into it and let go by
//! [`Reader::release`], or with the reader; until then its memory stays, retired or not.

use super::append::SAMPLE_BITS;
use super::error::ReadError;
use super::location::{Location, Watermark};
use super::log::Log;
use super::query::{Query, Records};
use super::record::HEADER_BYTES;
use super::segment::Segment;
use super::streams::Run;
use super::view::Record;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::fmt;

/// A reader of the store, for one thread at a time.
pub struct Reader {
    pub(crate) log: Arc<Log>,
    pins: RefCell<SmallVec<[u64; 4]>>,
    /// Reads so far, counted from somewhere: one in 64 is timed.
    reads: Cell<u64>,
    /// Times that are not told yet.
    times_ns: RefCell<SmallVec<[u64; TIMES_KEPT]>>,
}

/// Times that a reader keeps before it tells them.
const TIMES_KEPT: usize = 16;

/// Where a walk through the log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    location: Location,
    /// The position of the next record.
    pub(crate) position: u64,
}

/// What a walk has found.
pub(crate) enum Step<'a> {
    /// The next record.
    Record(Record<'a>),
    /// Nothing more below the watermark.
    End,
    /// The next record is not kept any more.
    Gone,
}

impl Reader {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        // Readers that read once are sampled too: they do not all begin with the same number.
        let first = log.counts.readers.fetch_add(1, Ordering::Relaxed);
        Self {
            log,
            pins: RefCell::default(),
            reads: Cell::new(first),
            times_ns: RefCell::default(),
        }
    }

    /// Does a read, and times it if it is one of the few.
    #[inline(always)]
    fn sampled<T>(&self, read: impl FnOnce() -> T) -> T {
        let count = self.reads.get() + 1;
        self.reads.set(count);
        if count & ((1 << SAMPLE_BITS) - 1) != 0 {
            return read();
        }
        let clock = &self.log.settings.clock;
        let raw = clock.raw();
        let found = read();
        self.note_time(clock.delta_ns(raw, clock.raw()));
        found
    }

    #[cold]
    fn note_time(&self, time_ns: u64) {
        let mut times = self.times_ns.borrow_mut();
        if times.len() == TIMES_KEPT {
            self.tell(&mut times);
        }
        times.push(time_ns);
    }

    #[cold]
    fn tell(&self, times: &mut SmallVec<[u64; TIMES_KEPT]>) {
        let mut told = self.log.read_times.lock();
        for time_ns in times.drain(..) {
            told.record_n(time_ns, 1);
        }
    }

    /// Lets go of all that was looked at. Records that were read are gone before, as the borrow says.
    pub fn release(&mut self) {
        for segment in self.pins.get_mut().drain(..) {
            if let Some(segment) = self.log.segments.get(segment as usize) {
                segment.unpin();
            }
        }
    }

    /// The position behind the last committed record: how many records the log has ever had.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end_at(self.log.watermark())
    }

    pub(crate) fn end_at(&self, watermark: Watermark) -> u64 {
        let mut watermark = watermark;
        loop {
            let Some(last) = watermark.last() else {
                return 0;
            };
            if let Some(record) = self.at(last) {
                return record.position() + 1;
            }
            // Retired since: the watermark is further by now.
            watermark = self.log.watermark();
        }
    }

    /// The position of the first record that is kept; [`end`](Self::end) if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        let kept = self.log.kept();
        let is_there = self.log.watermark() > Watermark::NOTHING;
        self.log
            .segments
            .get(kept as usize)
            .filter(|_| is_there)
            .map_or(0, Segment::first)
    }

    /// The position of the first record that is kept together with all of its append.
    pub(crate) fn first_whole(&self) -> u64 {
        let kept = self.log.kept();
        let is_there = self.log.watermark() > Watermark::NOTHING;
        self.log
            .segments
            .get(kept as usize)
            .filter(|_| is_there)
            .map_or(0, Segment::first_whole)
    }

    /// The record at a position; `None` above the last one.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if it is no longer kept.
    pub fn get(&self, position: u64) -> Result<Option<Record<'_>>, ReadError> {
        self.sampled(|| self.find(position))
    }

    fn find(&self, position: u64) -> Result<Option<Record<'_>>, ReadError> {
        let watermark = self.log.watermark();
        if position >= self.end_at(watermark) {
            return Ok(None);
        }
        match self.locate(position, watermark) {
            Some(location) => self.at(location).map(Some).ok_or_else(|| self.truncated()),
            None => Err(self.truncated()),
        }
    }

    /// The latest event of a stream.
    #[must_use]
    pub fn latest(&self, stream: &str) -> Option<Record<'_>> {
        self.sampled(|| self.find_latest(stream))
    }

    #[inline(always)]
    fn find_latest(&self, stream: &str) -> Option<Record<'_>> {
        let streams = &self.log.streams;
        let watermark = self.log.watermark();
        let stream = streams.get(streams.find(streams.hash(stream), stream)?)?;
        if stream.is_deleted(watermark) {
            return None;
        }
        let last = match stream.last(watermark) {
            Some(last) => last,
            None => {
                let version = streams.committed(stream, watermark).checked_sub(1)?;
                streams.location(stream, version, &mut Run::default())
            }
        };
        self.at(last)
            .filter(|record| record.version() >= stream.first())
    }

    /// Records that a query asks for, in its order.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if it begins below what is kept, [`ReadError::NoStream`] for a stream that is not there,
    /// [`ReadError::Invalid`] for a range that ends before it begins.
    pub fn read(&self, query: Query) -> Result<Records<'_>, ReadError> {
        self.sampled(|| Records::new(self, query))
    }

    pub(crate) fn truncated(&self) -> ReadError {
        ReadError::Truncated {
            first: self.first(),
        }
    }

    /// Where the record at a position below the watermark lies; `None` if it is not kept.
    pub(crate) fn locate(&self, position: u64, watermark: Watermark) -> Option<Location> {
        let last = watermark.last()?.segment();
        let (mut low, mut high) = (self.log.kept().min(last), last);
        if position < self.log.segments.get(low as usize)?.first() {
            return None;
        }
        // The last segment whose first position is not above.
        while low < high {
            let middle = high - (high - low) / 2;
            if self.log.segments.get(middle as usize)?.first() <= position {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let segment = self.pinned(low)?;
        let offset = segment.offset_of(position - segment.first());
        Some(Location::new(low, offset))
    }

    /// The segment, pinned; `None` if it was retired.
    #[inline(always)]
    fn pinned(&self, number: u64) -> Option<&Segment> {
        let segment = self.log.segments.get(number as usize)?;
        let mut pins = self.pins.borrow_mut();
        if !pins.iter().rev().any(|&pin| pin == number) {
            if !segment.pin() {
                return None;
            }
            pins.push(number);
        }
        Some(segment)
    }

    /// How far the log is committed.
    pub(crate) fn watermark(&self) -> Watermark {
        self.log.watermark()
    }

    /// Whether a walk has nothing before it.
    pub(crate) fn is_at_end(&self, cursor: &Cursor) -> bool {
        let watermark = self.log.watermark();
        // A sealed segment's end is the next one's start, which may not be committed.
        !watermark.covers(cursor.location) || {
            let segment = self.log.segments.get(cursor.location.segment() as usize);
            segment.is_some_and(|segment| {
                segment.end() > 0
                    && segment.end() == cursor.location.offset()
                    && !watermark.covers(Location::new(cursor.location.segment() + 1, 0))
            })
        }
    }

    /// The record at a location that the watermark covers; `None` if it is not kept.
    #[inline(always)]
    pub(crate) fn at(&self, location: Location) -> Option<Record<'_>> {
        let segment = self.pinned(location.segment())?;
        let header = segment.header(location.offset());
        let rest = segment.read(
            location.offset() + HEADER_BYTES,
            header.size() - HEADER_BYTES,
        );
        Some(Record {
            log: &self.log,
            header,
            rest,
        })
    }

    /// A walk from a position, which may be the end.
    pub(crate) fn cursor(&self, position: u64) -> Result<Cursor, ReadError> {
        let watermark = self.log.watermark();
        let end = self.end_at(watermark);
        if position > end {
            return Err(ReadError::Invalid(format!(
                "position {position} is above the end of the log, {end}"
            )));
        }
        if position < self.first() {
            return Err(self.truncated());
        }
        if position == end {
            // Behind the last record of that watermark.
            return Ok(match watermark.last() {
                None => Cursor {
                    location: Location::default(),
                    position,
                },
                Some(last) => {
                    let record = self.at(last).ok_or_else(|| self.truncated())?;
                    let offset = last.offset() + record.size();
                    let position = record.position() + 1;
                    Cursor {
                        location: behind(last.segment(), offset),
                        position,
                    }
                }
            });
        }
        let location = self
            .locate(position, watermark)
            .ok_or_else(|| self.truncated())?;
        Ok(Cursor { location, position })
    }

    /// The next record of a walk, if the watermark covers it.
    #[inline(always)]
    pub(crate) fn step(&self, cursor: &mut Cursor, watermark: Watermark) -> Step<'_> {
        if !watermark.covers(cursor.location) {
            return Step::End;
        }
        let number = cursor.location.segment();
        let Some(mut segment) = self.pinned(number) else {
            return Step::Gone;
        };
        // A record of a later segment is committed, or this one has another: [commit] shows which.
        if cursor.location.offset() == segment.end() && segment.end() > 0 {
            cursor.location = Location::new(number + 1, 0);
            if !watermark.covers(cursor.location) {
                return Step::End;
            }
            match self.pinned(number + 1) {
                Some(next) => segment = next,
                None => return Step::Gone,
            }
        }
        let at = cursor.location;
        let header = segment.header(at.offset());
        let rest = segment.read(at.offset() + HEADER_BYTES, header.size() - HEADER_BYTES);
        cursor.location = behind(at.segment(), at.offset() + header.size());
        cursor.position = header.position + 1;
        Step::Record(Record {
            log: &self.log,
            header,
            rest,
        })
    }
}

/// The place behind a record; the start of the next segment if this one can hold no more.
#[inline(always)]
fn behind(segment: u64, offset: usize) -> Location {
    if offset < super::location::SEGMENT_BYTES_MAX {
        Location::new(segment, offset)
    } else {
        Location::new(segment + 1, 0)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.release();
        let times = &mut *self.times_ns.borrow_mut();
        if !times.is_empty() {
            self.tell(times);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("end", &self.end())
            .field("pinned", &self.pins.borrow().len())
            .finish_non_exhaustive()
    }
}
