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
use super::streams::{Run, Stream};
use super::view::Record;
use super::walk::{Cursor, Found, Held, Step};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::fmt;

/// A reader of the store, for one thread at a time.
pub struct Reader {
    pub(crate) log: Arc<Log>,
    held: Held,
    /// Reads so far, counted from somewhere: one in 64 is timed.
    reads: Cell<u64>,
    /// Times that are not told yet.
    times_ns: RefCell<SmallVec<[u64; TIMES_KEPT]>>,
}

/// Times that a reader keeps before it tells them.
const TIMES_KEPT: usize = 16;

impl Reader {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        // Readers that read once are sampled too: they do not all begin with the same number.
        let first = log.counts.readers.fetch_add(1, Ordering::Relaxed);
        Self {
            log,
            held: Held::default(),
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
        self.held.release(&self.log.segments);
    }

    /// The position behind the last committed record: how many records the log has ever had.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end_of(&mut self.log.watermark())
    }

    /// As [`end`](Self::end), of this watermark, or of a later one that takes its place.
    pub(crate) fn end_of(&self, watermark: &mut Watermark) -> u64 {
        self.held.end(&self.log.segments, watermark)
    }

    /// The position of the first record that is kept; [`end`](Self::end) if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.log.segments.first()
    }

    /// The record at a position; `None` above the last one.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if it is no longer kept.
    pub fn get(&self, position: u64) -> Result<Option<Record<'_>>, ReadError> {
        self.sampled(|| self.find(position))
    }

    fn find(&self, position: u64) -> Result<Option<Record<'_>>, ReadError> {
        let mut watermark = self.log.watermark();
        if position >= self.end_of(&mut watermark) {
            return Ok(None);
        }
        let location = self.locate(position, watermark);
        let record = location.and_then(|location| self.at(location));
        record.map(Some).ok_or_else(|| self.truncated())
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
        if last < self.log.segments.first_location() {
            return None;
        }
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
        self.held.locate(&self.log.segments, position, watermark)
    }

    /// How far the log is committed.
    pub(crate) fn watermark(&self) -> Watermark {
        self.log.watermark()
    }

    /// Whether a walk has nothing before it.
    pub(crate) fn is_at_end(&self, cursor: &Cursor) -> bool {
        cursor.is_at_end(&self.log.segments, self.log.watermark())
    }

    /// The record at a location that the watermark covers; `None` if it is not kept.
    #[inline(always)]
    pub(crate) fn at(&self, location: Location) -> Option<Record<'_>> {
        let found = self.held.at(&self.log.segments, location)?;
        Some(self.record(found))
    }

    #[inline(always)]
    pub(crate) fn record<'a>(&'a self, found: Found<'a>) -> Record<'a> {
        Record {
            log: &self.log,
            header: found.header,
            rest: found.rest,
        }
    }

    /// A walk from a position up to the end of the watermark, which may be that end.
    pub(crate) fn cursor(
        &self,
        position: u64,
        mut watermark: Watermark,
    ) -> Result<Cursor, ReadError> {
        let end = self.end_of(&mut watermark);
        if position > end {
            return Err(ReadError::Invalid(format!(
                "position {position} is above the end of the log, {end}"
            )));
        }
        let cursor = match watermark.last() {
            None => Some(Cursor::default()),
            Some(last) if position == end => {
                let record = self.held.at(&self.log.segments, last);
                record.map(|record| Cursor::behind(last, record.header))
            }
            Some(_) => {
                let location = self.locate(position, watermark);
                location.map(|location| Cursor::at(location, position))
            }
        };
        cursor.ok_or_else(|| self.truncated())
    }

    /// The next record of a walk, if the watermark covers it.
    #[inline(always)]
    pub(crate) fn step(&self, cursor: &mut Cursor, watermark: Watermark) -> Step<'_> {
        self.held.step(&self.log.segments, cursor, watermark)
    }

    /// The first version of a stream that is kept; that of the event to come if there is none. Retention frees a stream's
    /// events from the front, so it is found by halving.
    pub(crate) fn first_version(&self, stream: &Stream) -> u64 {
        let first = self.log.segments.first_location();
        let count = self.log.streams.committed(stream, self.log.watermark());
        let mut hint = Run::default();
        let (mut low, mut high) = (stream.first().min(count), count);
        while low < high {
            let middle = low + (high - low) / 2;
            let location = self.log.streams.location(stream, middle, &mut hint);
            if location < first {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
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
            .field("pinned", &self.held.count())
            .finish_non_exhaustive()
    }
}
