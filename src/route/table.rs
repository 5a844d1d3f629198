//! Event type → pools, as an array that grows without moving.
//!
//! publish → **route** → lane → worker → handler → outcome

use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Types in the first part; each further part is twice as large.
const FIRST_PART: u32 = if cfg!(model) { 2 } else { 64 };
/// Enough parts for 2^32 types; a model has two.
const PART_COUNT: usize = if cfg!(model) { 2 } else { 27 };

/// For each event type, the set of pools that have a subscription of it, as bits.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The first types' words, which nearly every program gets along with, are here from the start.
    first: [AtomicU64; FIRST_PART as usize],
    parts: [OnceLock<Box<[AtomicU64]>>; PART_COUNT],
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            first: std::array::from_fn(|_| AtomicU64::new(0)),
            parts: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    #[inline(always)]
    fn place(type_index: u32) -> (usize, usize) {
        let number = u64::from(type_index) + u64::from(FIRST_PART);
        let part = (63 - number.leading_zeros()) - FIRST_PART.trailing_zeros();
        let offset = number - (u64::from(FIRST_PART) << part);
        (part as usize, offset as usize)
    }

    /// The pools that want this type; 0 if none does.
    #[inline(always)]
    pub(crate) fn pools(&self, type_index: u32) -> u64 {
        if let Some(word) = self.first.get(type_index as usize) {
            // Relaxed: no edge begins here. Whoever acts on a bit does so by a push, and the worker that takes
            // it set its table up before the bit was set: were the push taken before that, the bit would
            // have been read before it was written (R1).
            return word.load(Ordering::Relaxed);
        }
        let (part, offset) = Self::place(type_index);
        match self.parts[part].get() {
            // Relaxed: as above.
            Some(words) => words[offset].load(Ordering::Relaxed),
            None => 0,
        }
    }

    /// Sets the pools of a type; callers hold the registry's lock, so there is one at a time.
    pub(crate) fn set(&self, type_index: u32, pools: u64) {
        if let Some(word) = self.first.get(type_index as usize) {
            // Relaxed: see `pools`.
            word.store(pools, Ordering::Relaxed);
            return;
        }
        let (part, offset) = Self::place(type_index);
        let words = self.parts[part].get_or_init(|| {
            (0..(u64::from(FIRST_PART) << part))
                .map(|_| AtomicU64::new(0))
                .collect()
        });
        words[offset].store(pools, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_word_of_its_own() {
        let routes = Routes::new();
        let indexes: Vec<u32> = (0..1_000).chain([65_535, 65_536, 1_000_000]).collect();
        for &index in &indexes {
            assert_eq!(routes.pools(index), 0);
            routes.set(index, u64::from(index) + 1);
        }
        for &index in &indexes {
            assert_eq!(routes.pools(index), u64::from(index) + 1);
        }
        assert_eq!(Routes::place(u32::MAX).0, PART_COUNT - 1);
    }
}
