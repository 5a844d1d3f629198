//! A mutex and a condition variable with `parking_lot`'s faces.
//!
//! The value lies in a cell beside loom's lock, so that a twin that does not take the lock is caught at
//! what it then does: to the value, or, if there is none in it, to what else the lock guards.

use super::weakness::locks;
use loom::cell::{MutPtr, UnsafeCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::Instant;

/// loom's mutex; a panic while it is held ends the model anyway.
pub(crate) struct Mutex<T> {
    lock: loom::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through the guard of the lock; loom checks that.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: the value moves with the mutex.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            lock: loom::sync::Mutex::new(()),
            value: UnsafeCell::new(value),
        }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = locks().then(|| held(self.lock.lock()));
        MutexGuard {
            value: self.watch(),
            held,
            mutex: self,
        }
    }
}

impl<T> Mutex<T> {
    /// The value, in the caller's hands alone, as loom is to check. There is nothing to check of nothing.
    fn watch(&self) -> Option<MutPtr<T>> {
        (size_of::<T>() > 0).then(|| self.value.get_mut())
    }
}

fn held<G>(locked: std::sync::LockResult<G>) -> G {
    locked.unwrap_or_else(|poison| poison.into_inner())
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// The mutex is held; the value is let go before the lock.
pub(crate) struct MutexGuard<'a, T> {
    /// `None` while the thread waits on a condition, and for a value that takes no place.
    value: Option<MutPtr<T>>,
    held: Option<loom::sync::MutexGuard<'a, ()>>,
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            // SAFETY: the lock is held, and loom watches the cell for as long as the guard lives.
            Some(value) => unsafe { value.deref() },
            // SAFETY: a value without a size is read nowhere.
            None => unsafe { NonNull::dangling().as_ref() },
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &self.value {
            // SAFETY: as above, and the guard is borrowed alone.
            Some(value) => unsafe { value.deref() },
            // SAFETY: as above.
            None => unsafe { NonNull::dangling().as_mut() },
        }
    }
}

/// A condition variable; a wait with a deadline is over at once, which is the least that it promises.
#[derive(Debug)]
pub(crate) struct Condvar(loom::sync::Condvar);

/// Whether a wait with a deadline ended by it.
pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.value = None;
        let lock = guard.held.take().expect("a wait begins with the lock held");
        guard.held = Some(held(self.0.wait(lock)));
        guard.value = guard.mutex.watch();
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Instant,
    ) -> WaitTimeoutResult {
        guard.value = None;
        guard.held = None;
        loom::thread::yield_now();
        guard.held = Some(held(guard.mutex.lock.lock()));
        guard.value = guard.mutex.watch();
        WaitTimeoutResult(true)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}
