//! Rounds of appends: ours, and a locked `Vec`'s.

use crate::effort::Effort;
use crate::statistics::percentile;
use crate::systems::said;
use parking_lot::Mutex;
use ringbolt::Clock;
use ringbolt::store::{EventStore, ExpectedVersion};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Streams that events go to, one after another as by chance.
pub(super) const STREAMS: u64 = 10_000;
/// Appends whose time is looked at one by one.
const TIMED: u64 = 1_000_000;

/// 64 bytes of plain old data.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, ringbolt::Event)]
#[event(name = "account.changed", codec = "pod")]
#[repr(C)]
pub(crate) struct Changed {
    pub(crate) number: u64,
    pub(super) words: [u64; 7],
}

impl Changed {
    pub(crate) fn nth(number: u64) -> Self {
        Self {
            number,
            words: [number; 7],
        }
    }
}

/// A record as one would write it: as large as ours.
#[derive(Clone, Copy)]
struct Record {
    #[expect(dead_code, reason = "written, which is what is measured")]
    words: [u64; 20],
}

pub(super) fn names() -> Vec<String> {
    (0..STREAMS)
        .map(|stream| format!("account-{stream}"))
        .collect()
}

/// The stream of an event.
#[inline(always)]
pub(super) fn stream_of(number: u64) -> usize {
    (number.wrapping_mul(7_919) % STREAMS) as usize
}

/// Events of a round: enough to fill many segments.
fn events(effort: Effort) -> u64 {
    if effort.is_full { 2_000_000 } else { 600_000 }
}

/// Nanoseconds for each event of all threads together.
fn timed(events: u64, threads: usize, body: impl Fn(u64) + Sync) -> f64 {
    let (start, body) = (Barrier::new(threads + 1), &body);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads as u64)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for number in (thread..events).step_by(threads) {
                        body(number);
                    }
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for thread in running {
            let _ = thread.join();
        }
        began.elapsed().as_nanos() as f64 / events as f64
    })
}

pub(super) fn locked(effort: Effort, threads: usize) -> f64 {
    type Streams = HashMap<String, Vec<u64>, ahash::RandomState>;
    let names = names();
    let log = Mutex::new((Vec::<Record>::new(), Streams::default()));
    timed(events(effort), threads, |number| {
        let name = &names[stream_of(number)];
        let (records, streams) = &mut *log.lock();
        let position = records.len() as u64;
        let mut words = [number; 20];
        words[0] = position;
        records.push(Record { words });
        match streams.get_mut(name) {
            Some(stream) => stream.push(position),
            None => {
                streams.insert(name.clone(), vec![position]);
            }
        }
    })
}

pub(super) fn single(effort: Effort, threads: usize) -> Result<f64, String> {
    let (names, store) = (names(), EventStore::new());
    let events = events(effort);
    let ns = timed(events, threads, |number| {
        let name = &names[stream_of(number)];
        let appended = store.append(name, ExpectedVersion::Any, &Changed::nth(number));
        black_box(&appended);
    });
    has_all(&store, events)?;
    Ok(ns)
}

pub(super) fn batches(effort: Effort, threads: usize) -> Result<f64, String> {
    const BATCH: u64 = 16;
    let (names, store) = (names(), EventStore::new());
    let batches = events(effort) / BATCH;
    let ns = timed(batches, threads, |batch| {
        let events: [Changed; BATCH as usize] =
            std::array::from_fn(|number| Changed::nth(batch * BATCH + number as u64));
        let name = &names[stream_of(batch)];
        black_box(&store.append_all(name, ExpectedVersion::Any, &events));
    });
    has_all(&store, batches * BATCH)?;
    Ok(ns / BATCH as f64)
}

fn has_all(store: &EventStore, events: u64) -> Result<(), String> {
    let end = store.reader().end();
    if end == events {
        return Ok(());
    }
    Err(format!("{end} of {events} events were appended"))
}

/// Of appends one by one, in nanoseconds: the middle one, and the one that one in a thousand passes.
pub(super) fn tail(is_populated: bool) -> Result<[f64; 2], String> {
    let store = EventStore::builder()
        .populate(is_populated)
        .build()
        .map_err(said)?;
    let (names, clock) = (names(), Clock::real());
    // Touched before: a fresh page of the list would be taken for an append's.
    let mut times = vec![1; TIMED as usize];
    let mut before = clock.raw();
    for number in 0..TIMED {
        let name = &names[stream_of(number)];
        store
            .append(name, ExpectedVersion::Any, &Changed::nth(number))
            .map_err(said)?;
        let now = clock.raw();
        times[number as usize] = clock.delta_ns(before, now);
        before = now;
    }
    // The first of each stream has more to do.
    let mut times = times.split_off(STREAMS as usize);
    times.sort_unstable();
    Ok([50.0, 99.9].map(|percent| percentile(&times, percent) as f64))
}
