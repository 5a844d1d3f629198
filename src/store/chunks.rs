//! A row of values that only grows, one writer at a time, while readers look at what is there.
//!
//! Values lie in chunks, each twice as large as the one before, and never move: so a reader needs no lock and a reference
//! stays good. What a value says is in its own atomics; here is only the way to it.

use crate::sync::OnceLock;

/// Values in the first chunk.
const FIRST: usize = if cfg!(model) { 2 } else { 16 };
/// More chunks than there can be memory for.
const CHUNKS_MAX: usize = if cfg!(model) { 2 } else { 36 };

/// The row.
pub(crate) struct Chunks<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS_MAX],
}

impl<T> Chunks<T> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// The chunk of a number, and the place in it.
    #[inline(always)]
    fn place(index: usize) -> (usize, usize) {
        let shifted = index + FIRST;
        let chunk = (usize::BITS - 1 - shifted.leading_zeros() - FIRST.trailing_zeros()) as usize;
        (chunk, shifted - (FIRST << chunk))
    }

    /// The value of this number; `None` where nothing has been made yet.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (chunk, at) = Self::place(index);
        self.chunks.get(chunk)?.get()?.get(at)
    }
}

impl<T: Default> Chunks<T> {
    /// The value of this number, made together with its neighbours if there is none.
    pub(crate) fn make(&self, index: usize) -> &T {
        let (chunk, at) = Self::place(index);
        &self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| T::default()).collect())[at]
    }
}

impl<T> std::fmt::Debug for Chunks<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let row = Chunks::<AtomicU64>::new();
        assert!(row.get(0).is_none() && row.get(usize::MAX - FIRST).is_none());
        for index in 0..10_000 {
            row.make(index).store(index as u64, Ordering::Relaxed);
        }
        for index in 0..10_000 {
            assert_eq!(
                row.get(index).unwrap().load(Ordering::Relaxed),
                index as u64
            );
        }
        assert_eq!(Chunks::<u8>::place(15), (0, 15));
        assert_eq!(Chunks::<u8>::place(16), (1, 0));
        assert_eq!(Chunks::<u8>::place(47), (1, 31));
        assert_eq!(Chunks::<u8>::place(48), (2, 0));
    }
}
