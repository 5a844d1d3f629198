//! An append, and those who wait for it or listen (S8).

use super::{BARRIER, every};
use crate::store::AppendError;
use crate::store::bell::{Bell, Listener};
use crate::store::location::{Location, Watermark};
use crate::store::segments::Segments;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Weakness, thread, weakened};
use std::cell::Cell;

struct Log {
    segments: Segments,
    bell: Bell,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            segments: Segments::new(),
            bell: Bell::new(BARRIER),
        })
    }

    /// As `Log::append` ends; nobody reads the record.
    fn append(&self) {
        self.segments.commit(Location::new(0, 0));
        self.bell.ring();
        if self.bell.is_listened_to() {
            self.bell.tell(None);
        }
    }

    fn is_there(&self) -> bool {
        self.segments.watermark() > Watermark::NOTHING
    }
}

/// A thread waits, with what it asks while it does, for the append of another.
fn wait_beside(is_done: fn(&Log) -> bool) {
    let log = Log::new();
    let waiter = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let is_past = log.bell.wait(|| is_done(&log), None);
            assert!(is_past && log.is_there(), "who is woken sees what for");
        }
    });
    log.append();
    waiter.join().unwrap();
}

#[test]
fn s8_edge_ring_a_sleeper_misses_no_append() {
    every(|| wait_beside(Log::is_there));
}

#[test]
#[should_panic(expected = "deadlock")]
fn s8_edge_ring_twin_without_the_lock() {
    weakened(Weakness::NoLock("ring"), || {
        every(|| wait_beside(Log::is_there));
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn s8_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| wait_beside(Log::is_there)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn s8_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| wait_beside(Log::is_there)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn s8_twin_that_sleeps_without_a_second_look() {
    every(|| {
        let log = Log::new();
        let waiter = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                let looked_before = Cell::new(Some(log.is_there()));
                let is_done = || looked_before.take().unwrap_or_else(|| log.is_there());
                log.bell.wait(is_done, None)
            }
        });
        log.append();
        waiter.join().unwrap();
    });
}

/// Counts what it is told.
#[derive(Default)]
struct Told(AtomicU32);

impl Listener for Told {
    fn admit(&self, _key: Option<u64>) -> Result<(), AppendError> {
        Ok(())
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn appended(&self, _key: Option<u64>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn rolled(&self) {}
}

/// Whoever has begun to listen sees an append when it looks, or is told of it.
fn listen_beside() {
    let log = Log::new();
    let appender = thread::spawn({
        let log = Arc::clone(&log);
        move || log.append()
    });
    let told = Arc::new(Told::default());
    let listener: Arc<dyn Listener> = told.clone();
    log.bell.listen(Arc::clone(&listener));
    let is_seen = log.is_there();
    appender.join().unwrap();
    let count = told.0.load(Ordering::Relaxed);
    assert!(is_seen || count == 1, "an append is seen or told");
    log.bell.leave(&listener);
    log.append();
    assert_eq!(
        told.0.load(Ordering::Relaxed),
        count,
        "who has left is left alone"
    );
}

#[test]
fn s8_a_listener_misses_no_append() {
    every(listen_beside);
}

#[test]
#[should_panic(expected = "an append is seen or told")]
fn s8_twin_of_a_listener_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(listen_beside));
}

#[test]
#[should_panic(expected = "an append is seen or told")]
fn s8_twin_of_a_listener_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(listen_beside));
}
