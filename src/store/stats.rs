//! What a store has, and how fast it is filled and read.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Figures are taken at any time and without stopping anybody: the appender's counters are read as they are, and its
//! lock is taken for as long as a small histogram is copied. Of appends one in 64 is timed: the one that takes the log past
//! a multiple of 64 positions, so that the others pay for a comparison and not for reading a clock. Its time is that from
//! the encoded event, before the lock, until every reader can see it. Of reads one in 64 is timed too, counted by each
//! reader for itself: a `get`, a `latest`, or the finding of where a query begins; a reader tells its times now and
//! then, and all of them at its end. Both keep 2 significant digits.

use super::EventStore;
use super::location::Watermark;
use super::streams::Stream;
use crate::metrics::{CoarseBuckets, Latency, Table, grouped, printable, readable_ns};
use crate::sync::atomic::Ordering;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

/// How many of the largest streams [`EventStore::stats`] names.
pub const LARGEST_STREAMS: usize = 10;
/// The most characters of a name in the text.
const NAME_CHARS_MAX: usize = 60;

/// What a store has; made by [`EventStore::stats`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Time since the store was made.
    pub elapsed_ns: u64,
    /// Events that were ever appended.
    pub events: u64,
    /// Tombstones and truncations, which have positions as events do.
    pub marks: u64,
    /// The position of the first record that is kept.
    pub first_position: u64,
    /// The position of the record to come.
    pub end_position: u64,
    /// Streams, deleted ones included.
    pub streams: u64,
    /// Event types, each version by itself.
    pub event_types: u64,
    /// Appends that wrote something; a batch is one.
    pub appends: u64,
    /// Appends whose events were there already.
    pub duplicates: u64,
    /// Appends that were refused for an expectation.
    pub conflicts: u64,
    /// Where the bytes are.
    pub bytes: StoreBytes,
    /// How many segments there are.
    pub segments: SegmentCounts,
    /// What happened in a second, between two looks; only a [`StatsSampler`] knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<StoreRates>,
    /// The streams with most events, the largest first.
    pub largest_by_events: Vec<StreamStats>,
    /// The streams with most bytes of records, the largest first.
    pub largest_by_bytes: Vec<StreamStats>,
    /// How long an append took, of one in 64.
    pub append: Latency,
    /// How long a read took to find its first record, of one in 64.
    pub read: Latency,
}

/// Bytes of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreBytes {
    /// Of all payloads that were ever appended.
    pub payload: u64,
    /// Of all records that were ever appended, payloads included.
    pub records: u64,
    /// Of the segments that are kept: what the store takes for records.
    pub segments: u64,
    /// Of the index of streams.
    pub index: u64,
    /// Of segments that retention let go and a reader still has.
    pub held: u64,
    /// Of all segments that retention let go.
    pub retired: u64,
}

/// Segments of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentCounts {
    /// That are kept, the open one included.
    pub kept: u64,
    /// That retention let go, and whose bytes are free again.
    pub freed: u64,
    /// That retention let go, and a reader still has.
    pub held: u64,
}

/// What happened in a second, on average between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreRates {
    /// The time between the two looks.
    pub over_ns: u64,
    /// Events.
    pub events_per_second: f64,
    /// Appends.
    pub appends_per_second: f64,
    /// Bytes of payloads.
    pub payload_bytes_per_second: f64,
    /// Bytes of records.
    pub record_bytes_per_second: f64,
    /// Duplicates.
    pub duplicates_per_second: f64,
    /// Conflicts.
    pub conflicts_per_second: f64,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStats {
    /// Its name.
    pub stream: String,
    /// The number of events it ever had: the version of the one to come.
    pub events: u64,
    /// The version of the first that was not truncated; retention may have taken some behind it.
    pub first_version: u64,
    /// Bytes of all records it ever had.
    pub bytes: u64,
    /// It was deleted.
    pub is_deleted: bool,
}

impl StreamStats {
    fn of(stream: &Stream, events: u64, watermark: Watermark) -> Self {
        Self {
            stream: stream.name().to_owned(),
            events,
            first_version: stream.first().min(events),
            bytes: stream.bytes(),
            is_deleted: stream.is_deleted(watermark),
        }
    }
}

impl EventStore {
    /// What the store has. It looks at every stream once; the figures of one moment need not be those of another.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let log = &*self.log;
        let clock = &log.settings.clock;
        let (append, first_segment, segments, bytes_kept, tallies) = {
            let locked = log.lock();
            let segments = if locked.tail.bytes == 0 {
                0
            } else {
                locked.tail.segment + 1
            };
            let append = locked.append_times.to_latency();
            (
                append,
                locked.tail.first,
                segments,
                locked.tail.bytes_kept,
                locked.tallies,
            )
        };
        let read = CoarseBuckets::to_latency(&log.read_times.lock());
        let reader = self.reader();
        let (held_segments, held_bytes) = log.held();
        let (first_position, end_position) = (reader.first(), reader.end());
        let (largest_by_events, largest_by_bytes) = self.largest(LARGEST_STREAMS);
        StoreStats {
            elapsed_ns: clock.delta_ns(log.started_raw, clock.raw()),
            events: end_position.saturating_sub(tallies.marks),
            marks: tallies.marks,
            first_position,
            end_position,
            streams: u64::from(log.streams.len()),
            event_types: u64::from(log.kinds.len()),
            appends: tallies.appends,
            duplicates: tallies.duplicates,
            conflicts: tallies.conflicts,
            bytes: StoreBytes {
                payload: tallies.payload_bytes,
                records: tallies.record_bytes,
                segments: bytes_kept,
                index: log.streams.bytes(),
                held: held_bytes,
                retired: log.counts.bytes_retired.load(Ordering::Relaxed),
            },
            segments: SegmentCounts {
                kept: segments - first_segment,
                freed: first_segment.saturating_sub(held_segments),
                held: held_segments,
            },
            rates: None,
            largest_by_events,
            largest_by_bytes,
            append,
            read,
        }
    }

    /// All streams, in the order of their first events, deleted ones included.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamStats> {
        let mut streams = Vec::with_capacity(self.log.streams.len() as usize);
        self.each_stream(|stream, events, watermark| {
            streams.push(StreamStats::of(stream, events, watermark));
        });
        streams
    }

    /// A sampler, whose looks know what happened since the one before.
    #[must_use]
    pub fn stats_sampler(&self) -> StatsSampler {
        StatsSampler {
            store: self.clone(),
            last: Totals::of(&self.stats()),
        }
    }

    fn each_stream(&self, mut see: impl FnMut(&Stream, u64, Watermark)) {
        let streams = &self.log.streams;
        let watermark = self.log.watermark();
        for number in 0..streams.len() {
            if let Some(stream) = streams.get(number) {
                let events = streams.committed(stream, watermark);
                if events > 0 {
                    see(stream, events, watermark);
                }
            }
        }
    }

    /// The largest streams by events and by bytes; of equal ones the earlier first.
    fn largest(&self, count: usize) -> (Vec<StreamStats>, Vec<StreamStats>) {
        let mut by_events = Largest::new(count);
        let mut by_bytes = Largest::new(count);
        let mut number = 0;
        self.each_stream(|stream, events, watermark| {
            let made = || StreamStats::of(stream, events, watermark);
            by_events.see(events, number, made);
            by_bytes.see(stream.bytes(), number, made);
            number += 1;
        });
        (by_events.end(), by_bytes.end())
    }
}

/// The largest of a row, without keeping the row.
struct Largest {
    /// The smallest of them on top: by size, and of equal ones the latest.
    heap: BinaryHeap<Reverse<(u64, Reverse<u64>)>>,
    found: std::collections::HashMap<u64, StreamStats>,
    count: usize,
}

impl Largest {
    fn new(count: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            found: std::collections::HashMap::new(),
            count,
        }
    }

    fn see(&mut self, size: u64, number: u64, made: impl Fn() -> StreamStats) {
        let this = Reverse((size, Reverse(number)));
        if self.heap.len() == self.count {
            // The top is the smallest; a larger one takes its place.
            if self.heap.peek().is_none_or(|smallest| this >= *smallest) {
                return;
            }
            if let Some(Reverse((_, Reverse(smallest)))) = self.heap.pop() {
                self.found.remove(&smallest);
            }
        }
        self.heap.push(this);
        self.found.insert(number, made());
    }

    fn end(mut self) -> Vec<StreamStats> {
        let order = self.heap.into_sorted_vec();
        order
            .into_iter()
            .filter_map(|Reverse((_, Reverse(number)))| self.found.remove(&number))
            .collect()
    }
}

impl StoreStats {
    /// What happened in a second since an `earlier` look at the same store.
    #[must_use]
    pub fn rates_since(&self, earlier: &Self) -> StoreRates {
        Totals::of(self).rates_since(&Totals::of(earlier))
    }
}

/// Takes [`StoreStats`] again and again, each with the rates since the one before. Made by
/// [`EventStore::stats_sampler`].
#[derive(Debug)]
pub struct StatsSampler {
    store: EventStore,
    last: Totals,
}

impl StatsSampler {
    /// What the store has now, with the rates since the last look; of the first, since the sampler was made.
    pub fn sample(&mut self) -> StoreStats {
        let mut stats = self.store.stats();
        let totals = Totals::of(&stats);
        stats.rates = Some(totals.rates_since(&self.last));
        self.last = totals;
        stats
    }
}

/// What rates are made of.
#[derive(Debug, Clone, Copy)]
struct Totals {
    elapsed_ns: u64,
    counts: [u64; 6],
}

impl Totals {
    fn of(stats: &StoreStats) -> Self {
        Self {
            elapsed_ns: stats.elapsed_ns,
            counts: [
                stats.events,
                stats.appends,
                stats.bytes.payload,
                stats.bytes.records,
                stats.duplicates,
                stats.conflicts,
            ],
        }
    }

    fn rates_since(&self, earlier: &Self) -> StoreRates {
        let over_ns = self.elapsed_ns.saturating_sub(earlier.elapsed_ns);
        let rate = |place: usize| {
            let more = self.counts[place].saturating_sub(earlier.counts[place]);
            // Two looks at one moment: nothing has happened in no time.
            let per_second = more as f64 * 1e9 / over_ns.max(1) as f64;
            if over_ns == 0 {
                0.0
            } else {
                (per_second * 10.0).round() / 10.0
            }
        };
        StoreRates {
            over_ns,
            events_per_second: rate(0),
            appends_per_second: rate(1),
            payload_bytes_per_second: rate(2),
            record_bytes_per_second: rate(3),
            duplicates_per_second: rate(4),
            conflicts_per_second: rate(5),
        }
    }
}

/// Aligned text without escape codes; it may change from version to version.
impl fmt::Display for StoreStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = Table::new(["store"], ["count"]);
        let mut row = |name: &str, count: u64| counts.row([name.to_owned()], [grouped(count)]);
        row("events", self.events);
        if self.marks > 0 {
            row("marks", self.marks);
        }
        row("streams", self.streams);
        row("event types", self.event_types);
        row("appends", self.appends);
        row("duplicates", self.duplicates);
        row("conflicts", self.conflicts);
        row("first position", self.first_position);
        row("end position", self.end_position);
        row("segments kept", self.segments.kept);
        row("segments freed", self.segments.freed);
        row("segments held", self.segments.held);
        row("payload bytes", self.bytes.payload);
        row("record bytes", self.bytes.records);
        row("segment bytes", self.bytes.segments);
        row("index bytes", self.bytes.index);
        row("held bytes", self.bytes.held);
        if let Some(rates) = &self.rates {
            row("events a second", rates.events_per_second as u64);
            row("bytes a second", rates.record_bytes_per_second as u64);
        }
        f.write_str(&counts.to_text())?;
        let mut times = Table::new(["of one in 64"], ["count", "p50", "p99", "p99.9", "max"]);
        for (name, latency) in [("append", &self.append), ("read", &self.read)] {
            if !latency.is_empty() {
                let figures = latency.summary();
                let numbers = [figures.p50, figures.p99, figures.p99_9, figures.max];
                let [p50, p99, p99_9, max] = numbers.map(readable_ns);
                let count = grouped(figures.count);
                times.row([name.to_owned()], [count, p50, p99, p99_9, max]);
            }
        }
        if !times.is_empty() {
            write!(f, "\n{}", times.to_text())?;
        }
        for (title, streams) in [
            ("most events", &self.largest_by_events),
            ("most bytes", &self.largest_by_bytes),
        ] {
            let mut largest = Table::new([title], ["events", "bytes"]);
            for stream in streams {
                let numbers = [grouped(stream.events), grouped(stream.bytes)];
                largest.row([shortened(&stream.stream)], numbers);
            }
            if !largest.is_empty() {
                write!(f, "\n{}", largest.to_text())?;
            }
        }
        Ok(())
    }
}

fn shortened(name: &str) -> String {
    let name = printable(name);
    if name.chars().count() <= NAME_CHARS_MAX {
        return name;
    }
    let kept: String = name.chars().take(NAME_CHARS_MAX - 3).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests;
