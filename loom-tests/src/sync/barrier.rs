//! The two-sided barrier as the models know it: `fence(SeqCst)` on both sides.
//!
//! The asymmetric barrier is modelled by the same fences. `membarrier` returns only after every core
//! that runs the process has passed a full barrier, at some point of whatever that core's thread was
//! doing. A light side's store and load either stand both before that point, both after it, or the
//! point lies between them; in all three the store and load are ordered against the heavy side's as
//! if a fence stood at the light side's place. What a fence has beyond that is an order between two
//! *light* sides, and no protocol here rests on one: each race is between one light and one heavy
//! side (the tables in the READMEs name them).

use super::weakness::{Weakness, has};
use loom::sync::atomic::{Ordering, fence};

/// Which barrier an engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// `membarrier` on the heavy side.
    Asymmetric,
    /// `fence(SeqCst)` on both sides.
    Fence,
}

impl Barrier {
    pub(crate) fn light(self) {
        if !has(Weakness::NoLight) {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy(self) {
        if !has(Weakness::NoHeavy) {
            fence(Ordering::SeqCst);
        }
    }

    #[must_use]
    pub(crate) fn try_heavy(self) -> bool {
        self.heavy();
        true
    }
}
