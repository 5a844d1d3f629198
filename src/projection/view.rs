//! A view: a state, and how far it is.

use super::policy::SkippedList;

/// What readers see, always together.
#[derive(Debug)]
pub(crate) struct View<S> {
    pub(crate) state: S,
    /// The position of the first record that is not applied.
    pub(crate) next: u64,
    pub(crate) skipped: SkippedList,
}

impl<S> View<S> {
    pub(crate) fn new(state: S, next: u64, skipped_max: usize) -> Self {
        Self {
            state,
            next,
            skipped: SkippedList::new(skipped_max),
        }
    }

    /// The position of the last record that is applied (PC1).
    pub(crate) fn checkpoint(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }
}
