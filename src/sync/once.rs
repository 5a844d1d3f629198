//! `OnceLock` for ThreadSanitizer, which does not see inside the standard library's.

use super::Mutex;
use super::atomic::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::AtomicPtr;

/// A value that is made once, with the accessors of `std`'s that are used here.
pub(crate) struct OnceLock<T> {
    value: AtomicPtr<T>,
    turn: Mutex<()>,
    owns: PhantomData<T>,
}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            turn: Mutex::new(()),
            owns: PhantomData,
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire [made]: pairs with the Release in `get_or_init` (H3).
        // SAFETY: the pointer is null or that of a value that lives as long as the cell and is only shared.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let _turn = self.turn.lock();
            if self.get().is_none() {
                let made = Box::into_raw(Box::new(make()));
                // Release [made]: pairs with the Acquire in `get` (H3).
                self.value.store(made, Ordering::Release);
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

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: it came from a box, and nobody shares the cell any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}
