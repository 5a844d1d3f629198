//! Where an event goes: from its type to the pools that want it, from its key to a worker.
//!
//! publish → **route** → lane → worker → handler → outcome
//!
//! The table of types is a growing array of one word per type, a bit for each pool. A publisher reads
//! one word; subscribing changes one. It never moves, so nobody needs a lock or a generation to read it.

mod fabric;
mod table;

pub(crate) use fabric::{
    Attached, Control, Fabric, FabricParts, Keeper, POOL_COUNT_MAX, PoolInfo, PublisherState,
    Unwanted, WorkerPort,
};
pub(crate) use table::Routes;

/// The worker (0-based, of `count`) to which a key's hash belongs. Multiplying instead of dividing uses
/// the upper bits, which the hash mixes best (Lemire, "Fast random integer generation in an interval").
#[inline(always)]
pub(crate) fn pick(hash: u64, count: u32) -> u32 {
    (((hash >> 32) * u64::from(count)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_its_share_of_keys() {
        use crate::event::Key;
        for count in [1_u32, 2, 3, 7] {
            let mut shares = vec![0_u32; count as usize];
            for key in 0..10_000_u64 {
                shares[pick(Key::U64(key).hash().unwrap(), count) as usize] += 1;
            }
            let fair = 10_000 / count;
            assert!(
                shares.iter().all(|&share| share.abs_diff(fair) < fair / 5),
                "{shares:?}"
            );
        }
    }
}
