//! Rounds of reads: all of a large log, and one record out of many.

use super::appending::{Changed, names, stream_of};
use crate::systems::said;
use ringbolt::store::{EventStore, ExpectedVersion, Query};
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

/// Bytes of the log that is read.
const LOG_BYTES: usize = 1 << 30;
/// Bytes of a record of 64 bytes of plain old data.
const RECORD_BYTES: usize = 160;
/// Streams that one is picked from.
const STREAMS: u64 = 1_000_000;
/// Looks in a round.
const LOOKS: u64 = 200_000;

/// A log of a gibibyte, and as many bytes to copy it to.
pub(super) struct Log {
    store: EventStore,
    from: Vec<u8>,
    to: std::cell::RefCell<Vec<u8>>,
}

impl Log {
    pub(super) fn make() -> Result<Self, String> {
        let (store, names) = (EventStore::new(), names());
        for number in 0..(LOG_BYTES / RECORD_BYTES) as u64 {
            let name = &names[stream_of(number)];
            store
                .append(name, ExpectedVersion::Any, &Changed::nth(number))
                .map_err(said)?;
        }
        Ok(Self {
            store,
            from: vec![1; LOG_BYTES],
            to: std::cell::RefCell::new(vec![2; LOG_BYTES]),
        })
    }

    /// Nanoseconds for each KiB.
    pub(super) fn copy(&self) -> Result<f64, String> {
        let began = Instant::now();
        let to = &mut *self.to.borrow_mut();
        to.copy_from_slice(&self.from);
        black_box(&to[to.len() / 2]);
        Ok(per_kib(began))
    }

    pub(super) fn scan(&self) -> Result<f64, String> {
        let reader = self.store.reader();
        let began = Instant::now();
        let (mut sum, mut count) = (0_u64, 0_u64);
        for record in reader.read(Query::all()).map_err(said)? {
            let record = record.map_err(said)?;
            let event = record
                .view::<Changed>()
                .ok_or("a record that is none of ours")?;
            sum = sum.wrapping_add(event.number ^ event.words[6]);
            count += 1;
        }
        let ns = per_kib(began);
        if black_box(sum) != 0 || count != (LOG_BYTES / RECORD_BYTES) as u64 {
            return Err(format!("the log was read wrongly: {count} records"));
        }
        Ok(ns)
    }
}

fn per_kib(began: Instant) -> f64 {
    began.elapsed().as_nanos() as f64 / (LOG_BYTES / 1_024) as f64
}

/// Lines of memory, each of which says where the next one is: as far apart as the records of a million streams.
pub(super) struct Chain(Vec<[u64; 20]>);

impl Chain {
    pub(super) fn make() -> Self {
        let mut order: Vec<u64> = (0..STREAMS).collect();
        let mut seed = 1_u64;
        for index in (1..order.len()).rev() {
            seed = next(seed);
            order.swap(index, (seed % (index as u64 + 1)) as usize);
        }
        let mut lines = vec![[0; 20]; STREAMS as usize];
        for (here, there) in order.iter().zip(order.iter().cycle().skip(1)) {
            lines[*here as usize][0] = *there;
        }
        Self(lines)
    }

    /// Nanoseconds for three loads that wait for each other.
    pub(super) fn walk(&self) -> f64 {
        let began = Instant::now();
        let mut at = 0;
        for _ in 0..3 * LOOKS {
            at = self.0[at as usize][0];
        }
        black_box(at);
        began.elapsed().as_nanos() as f64 / LOOKS as f64
    }
}

/// A store with a million streams.
pub(super) struct Streams {
    store: EventStore,
    /// Other streams in each round.
    seed: std::cell::Cell<u64>,
}

impl Streams {
    pub(super) fn make() -> Result<Self, String> {
        let store = EventStore::new();
        let mut name = String::new();
        // Not in the order of their numbers: neighbours are nobody's.
        for number in 0..STREAMS {
            named(&mut name, number.wrapping_mul(7_368_787) % STREAMS);
            store
                .append(&name, ExpectedVersion::Any, &Changed::nth(number))
                .map_err(said)?;
        }
        Ok(Self {
            store,
            seed: std::cell::Cell::new(1),
        })
    }

    /// Nanoseconds for each look; each waits for the one before.
    pub(super) fn look(&self) -> Result<f64, String> {
        let reader = self.store.reader();
        let mut name = String::new();
        let mut seed = self.seed.get();
        let began = Instant::now();
        for _ in 0..LOOKS {
            named(&mut name, seed % STREAMS);
            let record = reader.latest(&name).ok_or("a stream that is not there")?;
            let event = record
                .view::<Changed>()
                .ok_or("a record that is none of ours")?;
            seed = next(seed ^ (event.words[3] & 1));
        }
        self.seed.set(seed);
        Ok(began.elapsed().as_nanos() as f64 / LOOKS as f64)
    }
}

fn named(name: &mut String, stream: u64) {
    name.clear();
    let _ = write!(name, "s{stream}");
}

/// As by chance (xorshift, by George Marsaglia).
fn next(mut seed: u64) -> u64 {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^ (seed << 17)
}
