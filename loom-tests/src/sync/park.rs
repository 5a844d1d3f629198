//! A word on which a thread can sleep, made of a word, a mutex and a condition variable.
//!
//! The mutex is what the futex's bucket lock is: the sleeper compares the word and falls asleep in
//! one step as far as a waker can tell. A timeout is over at once, which is the least a wait with a
//! timeout promises.
//!
//! Stronger than the original: a store is a swap here. loom does not know that a swap by one thread
//! comes right after the store that it read, and so would let a third thread see the swap's value
//! when the first thread has long stored again. What the swap adds is that it goes on with the
//! release sequence of what it replaces; the only plain stores are the sleeper's own, all Relaxed,
//! and no edge begins at what they replace.

use super::atomic::{AtomicU32, Ordering};
use super::weakness::{Weakness, has};
use std::time::Duration;

/// A 32-bit state with sleeping.
#[derive(Debug)]
pub(crate) struct ParkWord {
    word: AtomicU32,
    bucket: loom::sync::Mutex<()>,
    sleepers: loom::sync::Condvar,
}

impl ParkWord {
    pub(crate) fn new(value: u32) -> Self {
        Self {
            word: AtomicU32::new(value),
            bucket: loom::sync::Mutex::new(()),
            sleepers: loom::sync::Condvar::new(),
        }
    }

    #[track_caller]
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.word.load(order)
    }

    #[track_caller]
    pub(crate) fn store(&self, value: u32, order: Ordering) {
        self.word.swap(value, order);
    }

    #[track_caller]
    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.word.swap(value, order)
    }

    pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) {
        if timeout.is_some() {
            loom::thread::yield_now();
            return;
        }
        let bucket = self.bucket.lock().expect("nobody panics inside");
        if self.word.load(Ordering::Relaxed) == expected {
            drop(self.sleepers.wait(bucket));
        }
    }

    pub(crate) fn wake_all(&self) {
        if has(Weakness::NoWakeCall) {
            return;
        }
        let _bucket = self.bucket.lock().expect("nobody panics inside");
        self.sleepers.notify_all();
    }
}
