//! A value that is made once: no stronger than `std`'s.

use super::Mutex;
use super::atomic::{AtomicU32, Ordering};
use loom::cell::UnsafeCell;
use std::fmt;

const MADE: u32 = 1;

/// As `std`'s, with the accessors that are used.
pub(crate) struct OnceLock<T> {
    state: AtomicU32,
    turn: Mutex<()>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, under the lock, and only shared once the state says so.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
// SAFETY: the value moves with the cell.
unsafe impl<T: Send> Send for OnceLock<T> {}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            turn: Mutex::new(()),
            value: UnsafeCell::new(None),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire [made]: pairs with the Release in `get_or_init`.
        if self.state.load(Ordering::Acquire) != MADE {
            return None;
        }
        // SAFETY: it was made, and nobody writes it any more.
        self.value.with(|value| unsafe { (*value).as_ref() })
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let _turn = self.turn.lock();
            if self.get().is_none() {
                let made = make();
                // SAFETY: it is this thread's turn, and nobody reads it before the state says so.
                self.value.with_mut(|value| unsafe { *value = Some(made) });
                // Release [made]: pairs with the Acquire in `get`.
                self.state.store(MADE, Ordering::Release);
            }
        }
        self.get().expect("made above, and never taken back")
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceLock").finish_non_exhaustive()
    }
}
