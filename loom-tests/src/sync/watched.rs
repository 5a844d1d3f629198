//! An `Arc` that loom watches: its last drop sees what all owners did.

use std::mem::ManuallyDrop;
use std::ops::Deref;

/// loom's `Arc`, but for a model that has failed: its drops come while it unwinds, and loom has no more
/// steps for them.
#[derive(Debug)]
pub(crate) struct WatchedArc<T>(ManuallyDrop<loom::sync::Arc<T>>);

impl<T> WatchedArc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(loom::sync::Arc::new(value)))
    }
}

impl<T> Clone for WatchedArc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for WatchedArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for WatchedArc<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
