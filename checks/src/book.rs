//! What everybody in a life writes down: counts, what is wrong, and, if asked for, the whole history.

use crate::history::{Call, Publish};
use crate::item::KINDS;
use parking_lot::Mutex;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Complaints that are kept word for word.
const WRONG_MAX: usize = 20;

/// The books of one life. Counters are relaxed on purpose: the books must not order what they watch.
#[derive(Debug)]
pub struct Book {
    /// Events that were made.
    pub made: AtomicU64,
    /// Events that were dropped.
    pub dropped: AtomicU64,
    /// Events that were admitted, by type.
    pub admitted: [AtomicU64; KINDS],
    /// Calls of handlers.
    pub calls: AtomicU64,
    /// Calls that failed, by error or by panic.
    pub failed: AtomicU64,
    /// Those of them that panicked.
    pub panicked: AtomicU64,
    /// Failures of which the engine's error observer was told.
    pub told: AtomicU64,
    /// Pauses of publishers between two bursts.
    pub pauses: AtomicU64,
    /// Set once nobody is to begin anything any more.
    pub is_ending: AtomicBool,
    /// Whether the history is kept.
    pub is_recorded: bool,
    /// What publishers recorded.
    pub publishes: Mutex<Vec<Publish>>,
    /// What handlers recorded.
    pub handled: Mutex<Vec<Call>>,
    turn: AtomicU64,
    wrong: Mutex<Vec<String>>,
    wrong_count: AtomicU64,
    plant: Option<Racy>,
}

impl Book {
    /// Empty books.
    #[must_use]
    pub fn new(is_recorded: bool, races: bool) -> Self {
        Self {
            made: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            admitted: Default::default(),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            told: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            is_recorded,
            publishes: Mutex::default(),
            handled: Mutex::default(),
            turn: AtomicU64::new(0),
            wrong: Mutex::default(),
            wrong_count: AtomicU64::new(0),
            plant: races.then(Racy::default),
        }
    }

    /// The next number of the one order that a recorded history has; 0 if none is kept.
    ///
    /// A change of one word: of two calls, the one with the lower number happened before the other.
    pub fn turn(&self) -> u64 {
        if self.is_recorded {
            self.turn.fetch_add(1, Ordering::AcqRel) + 1
        } else {
            0
        }
    }

    /// Notes that a promise was broken.
    pub fn wrong(&self, text: impl Into<String>) {
        self.wrong_count.fetch_add(1, Ordering::Relaxed);
        let mut wrong = self.wrong.lock();
        if wrong.len() < WRONG_MAX {
            wrong.push(text.into());
        }
    }

    /// What is wrong: how much, and the first of it.
    #[must_use]
    pub fn all_wrong(&self) -> (u64, Vec<String>) {
        (
            self.wrong_count.load(Ordering::Relaxed),
            self.wrong.lock().clone(),
        )
    }

    /// The planted fault, where one is: handlers of several workers write one word.
    pub fn race(&self) {
        if let Some(racy) = &self.plant {
            racy.write();
        }
    }
}

/// A word that is written without any order.
#[derive(Debug, Default)]
struct Racy(UnsafeCell<u64>);

#[allow(
    unsafe_code,
    reason = "the planted fault: an unordered write that a sanitizer has to see"
)]
mod racy {
    use super::Racy;

    // SAFETY: none: that is the fault.
    unsafe impl Sync for Racy {}

    impl Racy {
        #[inline(never)]
        pub(super) fn write(&self) {
            // SAFETY: none: that is the fault.
            unsafe { *self.0.get() += 1 };
        }
    }
}
