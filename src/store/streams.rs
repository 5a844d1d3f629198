//! The streams of a log: by name and by number, each with its head and the way to its records.
//!
//! publish → **store** → worker → handler → outcome
//!
//! One writer, the holder of the append's lock; readers take no lock. A name is found in an open-addressed table of words
//! that only fills; a table that is half full is followed by one twice its size, and the old ones stay until the end. A
//! stream's records are found by version through its index: the first two locations lie in the stream itself, the others
//! in runs of words from a pool, each half as long as all before it.

use super::chunks::Chunks;
use super::location::{Location, Watermark};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{OnceLock, Words, prefetch_slot_for_writing};
use smallvec::SmallVec;
use std::fmt;

/// Locations that lie in the stream itself.
const INLINE: u64 = 2;
/// Words of the first run, its own three included.
const RUN_MIN: u64 = if cfg!(model) { 4 } else { 8 };
/// Words at the start of a run: where the one before begins, plus one; the first version in it; how many it has room for.
const RUN_HEAD: u64 = 3;
/// Slots of the first table of names.
const SLOTS_MIN: usize = if cfg!(model) { 2 } else { 64 };
/// More tables than there can be memory for.
const TABLES_MAX: usize = if cfg!(model) { 2 } else { 32 };

/// One stream.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Stream {
    name: OnceLock<SmallVec<[u8; 16]>>,
    hash: AtomicU64,
    /// How many events it has ever had: the version of the next.
    count: AtomicU64,
    /// Where the latest lies, plus one; 0 before the first, when the stream has its name only.
    last: AtomicU64,
    /// The first version that was not truncated.
    first: AtomicU64,
    /// The watermark of its tombstone; 0 while it lives.
    deleted: AtomicU64,
    inline: [AtomicU64; INLINE as usize],
    /// Where the latest run begins in the pool, plus one.
    run: AtomicU64,
    /// The writer's own: the word of the pool for the next location, and where the run ends.
    place: AtomicU64,
    room: AtomicU64,
    /// The hash of its name as a key, for events that have none.
    key: AtomicU64,
    /// Bytes of all its records that there ever were.
    bytes: AtomicU64,
}

impl Stream {
    pub(crate) fn name(&self) -> &str {
        self.name
            .get()
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or("")
    }

    /// Events appended so far, committed or about to be. The lock's holder sees them all.
    pub(crate) fn count(&self) -> u64 {
        // Acquire [index]: the locations of so many events are there (S7).
        self.count.load(Ordering::Acquire)
    }

    /// The same, to the lock's holder, who writes it.
    #[inline(always)]
    pub(crate) fn count_here(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The hash of its name as a key.
    #[inline(always)]
    pub(crate) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    /// Sets it. The lock's holder's, before the first event.
    pub(crate) fn set_key(&self, key: u64) {
        self.key.store(key, Ordering::Relaxed);
    }

    /// Bytes of all its records that there ever were.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a record's bytes. The lock's holder's.
    #[inline(always)]
    pub(crate) fn add_bytes(&self, bytes: u64) {
        let sum = self.bytes.load(Ordering::Relaxed) + bytes;
        self.bytes.store(sum, Ordering::Relaxed);
    }

    /// The first version that was not truncated.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Forgets the events before `version`. The lock's holder's.
    pub(crate) fn truncate(&self, version: u64) {
        self.first.store(version, Ordering::Relaxed);
    }

    /// Whether it is deleted, as far as the watermark goes.
    pub(crate) fn is_deleted(&self, watermark: Watermark) -> bool {
        let deleted = self.deleted.load(Ordering::Relaxed);
        deleted != 0 && deleted <= watermark.word()
    }

    /// Says that its tombstone lies at `location`. The lock's holder's.
    pub(crate) fn delete(&self, location: Location) {
        self.deleted
            .store(Watermark::after(location).word(), Ordering::Relaxed);
    }

    /// The location of its latest event, if the watermark covers that.
    #[inline(always)]
    pub(crate) fn last(&self, watermark: Watermark) -> Option<Location> {
        // Relaxed: what the watermark covers was written before it ([commit]); a later one is not used.
        let last = Watermark::from_word(self.last.load(Ordering::Relaxed)).last()?;
        watermark.covers(last).then_some(last)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name())
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// All streams.
pub(crate) struct Streams {
    rows: Chunks<Stream>,
    count: AtomicU32,
    tables: [OnceLock<Box<[AtomicU64]>>; TABLES_MAX],
    table: AtomicU32,
    hasher: ahash::RandomState,
    pool: Pool,
}

impl Streams {
    pub(crate) fn new(pool: Pool) -> Self {
        let streams = Self {
            rows: Chunks::new(),
            count: AtomicU32::new(0),
            tables: std::array::from_fn(|_| OnceLock::new()),
            table: AtomicU32::new(0),
            hasher: ahash::RandomState::new(),
            pool,
        };
        streams.tables[0].get_or_init(|| empty(SLOTS_MIN));
        streams
    }

    #[inline(always)]
    pub(crate) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name.as_bytes())
    }

    /// How many there are, those about to be committed included.
    pub(crate) fn len(&self) -> u32 {
        // Acquire [stream]: pairs with the Release in `insert`; so many are there.
        self.count.load(Ordering::Acquire)
    }

    /// The stream of this number.
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Option<&Stream> {
        self.rows.get(number as usize)
    }

    /// The number of the stream of this name.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, name: &str) -> Option<u32> {
        self.find_row(hash, name).map(|(number, _)| number)
    }

    /// The same, and the stream.
    #[inline(always)]
    pub(crate) fn find_row(&self, hash: u64, name: &str) -> Option<(u32, &Stream)> {
        // Acquire [stream]: the table of this number is filled with all that there was (S6).
        let table = self.table.load(Ordering::Acquire) as usize;
        let slots = self.tables[table].get()?;
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            // Acquire [stream]: the stream of this number has its name (S6).
            let slot = slots[at].load(Ordering::Acquire);
            if slot == 0 {
                return None;
            }
            if slot >> 32 == hash >> 32 {
                let number = slot as u32 - 1;
                if let Some(stream) = self.get(number)
                    && stream
                        .name
                        .get()
                        .is_some_and(|found| found[..] == *name.as_bytes())
                {
                    return Some((number, stream));
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// A new stream of this name, which there is not yet; `None` if there are too many. The lock's holder's.
    pub(crate) fn insert(&self, hash: u64, name: &str) -> Option<u32> {
        let number = self.count.load(Ordering::Relaxed);
        let next = number.checked_add(1).filter(|&next| next < u32::MAX)?;
        let stream = self.rows.make(number as usize);
        stream.hash.store(hash, Ordering::Relaxed);
        stream
            .name
            .get_or_init(|| SmallVec::from_slice(name.as_bytes()));
        let mut table = self.table.load(Ordering::Relaxed) as usize;
        let half = (SLOTS_MIN << table) / 2;
        if next as usize > half {
            table += 1;
            let slots = self.tables[table].get_or_init(|| empty(SLOTS_MIN << table));
            for number in 0..number {
                if let Some(stream) = self.get(number) {
                    put(slots, stream.hash.load(Ordering::Relaxed), number);
                }
            }
            // Release [stream]: pairs with the Acquire in `find`.
            self.table.store(table as u32, Ordering::Release);
        }
        put(self.tables[table].get()?, hash, number);
        // Release [stream]: pairs with the Acquire in `len`.
        self.count.store(next, Ordering::Release);
        Some(number)
    }

    /// Enters the stream's next event. The lock's holder's; the room was reserved.
    #[inline(always)]
    pub(crate) fn push(&self, stream: &Stream, location: Location) {
        let version = stream.count.load(Ordering::Relaxed);
        match stream.inline.get(version as usize) {
            Some(place) => place.store(location.word(), Ordering::Relaxed),
            None => {
                let mut at = stream.place.load(Ordering::Relaxed);
                if at == stream.room.load(Ordering::Relaxed) {
                    at = self.begin_run(stream, version);
                }
                self.pool.at(at).store(location.word(), Ordering::Relaxed);
                stream.place.store(at + 1, Ordering::Relaxed);
            }
        }
        stream
            .last
            .store(Watermark::after(location).word(), Ordering::Relaxed);
        // Release [index]: pairs with the Acquire in `Stream::count`.
        stream.count.store(version + 1, Ordering::Release);
    }

    /// Begins the run in which this version, the stream's next, is the first; the word for it.
    #[cold]
    fn begin_run(&self, stream: &Stream, version: u64) -> u64 {
        let before = stream.run.load(Ordering::Relaxed);
        let room = (version / 2).max(RUN_MIN - RUN_HEAD);
        let run = self.pool.take(room + RUN_HEAD);
        self.pool.at(run).store(before, Ordering::Relaxed);
        self.pool.at(run + 1).store(version, Ordering::Relaxed);
        self.pool.at(run + 2).store(room, Ordering::Relaxed);
        stream.room.store(run + RUN_HEAD + room, Ordering::Relaxed);
        // Release [index]: whoever follows it finds the run's head.
        stream.run.store(run + 1, Ordering::Release);
        run + RUN_HEAD
    }

    /// Asks for what the stream's next event will write in the index, ahead of the lock: whoever gives the lock back waits for
    /// every line that it has written, and this one is nearly never at hand.
    #[inline(always)]
    pub(crate) fn prefetch(&self, stream: &Stream) {
        let at = stream.place.load(Ordering::Relaxed);
        if at != stream.room.load(Ordering::Relaxed) {
            prefetch_slot_for_writing(self.pool.at(at), 0);
        }
    }

    /// The location of a version that [`Stream::count`] said is there.
    pub(crate) fn location(&self, stream: &Stream, version: u64, hint: &mut Run) -> Location {
        if let Some(place) = stream.inline.get(version as usize) {
            return Location::from_word(place.load(Ordering::Relaxed));
        }
        if version.wrapping_sub(hint.first) >= hint.room {
            // Acquire [index]: the run's head is there.
            let mut run = stream.run.load(Ordering::Acquire);
            loop {
                let at = run
                    .checked_sub(1)
                    .expect("a version that is there is in a run");
                let first = self.pool.load(at + 1);
                if version >= first {
                    *hint = Run {
                        at,
                        first,
                        room: self.pool.load(at + 2),
                    };
                    break;
                }
                run = self.pool.load(at);
            }
        }
        Location::from_word(self.pool.load(hint.at + RUN_HEAD + (version - hint.first)))
    }

    /// How many of its events the watermark covers.
    pub(crate) fn committed(&self, stream: &Stream, watermark: Watermark) -> u64 {
        let count = stream.count();
        let mut hint = Run::default();
        let mut covered = count;
        // Nearly always the first look ends it; a batch in the making is the other case.
        let mut step = 1;
        while covered > 0 && !watermark.covers(self.location(stream, covered - 1, &mut hint)) {
            covered = covered.saturating_sub(step);
            step *= 2;
        }
        // Between what is covered and what was found not to be: halve.
        let (mut low, mut high) = (covered, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if watermark.covers(self.location(stream, middle, &mut hint)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes of names' tables, rows and runs.
    pub(crate) fn bytes(&self) -> u64 {
        let table = self.table.load(Ordering::Relaxed);
        let slots = (SLOTS_MIN << (table + 1)) * size_of::<u64>();
        let rows = self.len() as usize * size_of::<Stream>();
        (slots + rows) as u64 + self.pool.bytes()
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("count", &self.len())
            .finish_non_exhaustive()
    }
}

/// The run that was looked into last: its neighbours are found without a walk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    at: u64,
    first: u64,
    room: u64,
}

fn empty(slots: usize) -> Box<[AtomicU64]> {
    (0..slots).map(|_| AtomicU64::new(0)).collect()
}

fn put(slots: &[AtomicU64], hash: u64, number: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].load(Ordering::Relaxed) != 0 {
        at = (at + 1) & mask;
    }
    // Release [stream]: pairs with the Acquire in `find`.
    slots[at].store(
        (hash >> 32 << 32) | u64::from(number + 1),
        Ordering::Release,
    );
}

/// Words for the runs of all streams, given out one after another and never taken back.
#[derive(Debug)]
pub(crate) struct Pool {
    pages: Chunks<OnceLock<Words>>,
    page_bits: u32,
    is_populated: bool,
    taken: AtomicU64,
}

impl Pool {
    /// Pages of 2^`page_bits` words.
    pub(crate) fn new(page_bits: u32, is_populated: bool) -> Self {
        Self {
            pages: Chunks::new(),
            page_bits,
            is_populated,
            taken: AtomicU64::new(0),
        }
    }

    /// So many words in a row; their number. The lock's holder's.
    fn take(&self, words: u64) -> u64 {
        let at = self.taken.load(Ordering::Relaxed);
        let end = at + words;
        for page in at >> self.page_bits..=(end - 1) >> self.page_bits {
            self.pages.make(page as usize).get_or_init(|| {
                let words = Words::new(1 << self.page_bits, self.is_populated);
                words.unwrap_or_else(|| {
                    std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>())
                })
            });
        }
        self.taken.store(end, Ordering::Relaxed);
        at
    }

    #[inline(always)]
    fn at(&self, word: u64) -> &AtomicU64 {
        let page = self.pages.get((word >> self.page_bits) as usize);
        let page = page
            .and_then(OnceLock::get)
            .expect("a word that was taken is there");
        page.at((word & ((1 << self.page_bits) - 1)) as usize)
    }

    #[inline(always)]
    fn load(&self, word: u64) -> u64 {
        // Relaxed: whoever reads a word came by [index].
        self.at(word).load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        let pages = self
            .taken
            .load(Ordering::Relaxed)
            .div_ceil(1 << self.page_bits);
        (pages << self.page_bits) * size_of::<u64>() as u64
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn streams() -> Streams {
        Streams::new(Pool::new(6, false))
    }

    #[test]
    fn s6_names_are_found_again_through_every_growth() {
        let streams = streams();
        for number in 0..5_000_u32 {
            let name = format!("stream-{number}-{}", "x".repeat(number as usize % 40));
            let hash = streams.hash(&name);
            assert_eq!(streams.find(hash, &name), None);
            assert_eq!(streams.insert(hash, &name), Some(number));
            assert_eq!(streams.find(hash, &name), Some(number));
            assert_eq!(streams.get(number).unwrap().name(), name);
        }
        for number in 0..5_000_u32 {
            let name = format!("stream-{number}-{}", "x".repeat(number as usize % 40));
            assert_eq!(streams.find(streams.hash(&name), &name), Some(number));
        }
        assert_eq!(streams.len(), 5_000);
        assert_eq!(size_of::<Stream>(), 128);
    }

    #[test]
    fn s7_versions_lead_to_their_locations() {
        let streams = streams();
        let numbers = ["a", "b", "c"].map(|name| streams.insert(streams.hash(name), name).unwrap());
        let lengths = [1, 2, 3_000];
        let at = |stream: usize, version: u64| Location::new(version, stream * 16);
        for version in 0..3_000 {
            for (stream, &number) in numbers.iter().enumerate() {
                if version < lengths[stream] {
                    streams.push(streams.get(number).unwrap(), at(stream, version));
                }
            }
        }
        for (stream, &number) in numbers.iter().enumerate() {
            let row = streams.get(number).unwrap();
            assert_eq!(row.count(), lengths[stream]);
            let mut hint = Run::default();
            for version in (0..lengths[stream]).chain((0..lengths[stream]).rev()) {
                let found = streams.location(row, version, &mut hint);
                assert_eq!(found, at(stream, version), "{version} of {stream}");
                let watermark = Watermark::after(found);
                assert_eq!(streams.committed(row, watermark), version + 1);
            }
            assert_eq!(streams.committed(row, Watermark::NOTHING), 0);
        }
        // A stream that has its name and no event yet: nothing is its latest, wherever the log is.
        let new = streams.insert(streams.hash("d"), "d").unwrap();
        assert_eq!(
            streams
                .get(new)
                .unwrap()
                .last(Watermark::after(at(0, 2_999))),
            None
        );
        // Half as much again at most, and what a run says of itself.
        assert!(streams.pool.taken.load(Ordering::Relaxed) < 3_000 * 3 / 2 + 100);
    }
}
