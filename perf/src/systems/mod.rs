//! The systems, each with one function that does a round of the load.
//!
//! Every peer is used the way its documentation advises for speed, and does the same work as ringbolt's
//! handler: a look-up in a table of boxed handlers, then [`Run::handle`](crate::load::Run::handle). What
//! ringbolt does beyond that (keys, classes, panics caught, outcomes counted, latency recorded) is what the
//! comparison prices.

mod crossbeam;
mod disruptors;
mod engine;
mod rtrb;

use crate::load::{Load, Topology};
pub(crate) use engine::{Stamps, Variant, Wake};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Ringbolt(Variant),
    CrossbeamChannel,
    DisruptorSingle,
    DisruptorMulti,
    Rtrb,
}

impl System {
    /// All but ringbolt, in the order in which they are printed.
    pub(crate) const PEERS: [Self; 4] = [
        Self::CrossbeamChannel,
        Self::DisruptorSingle,
        Self::DisruptorMulti,
        Self::Rtrb,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ringbolt(_) => "ringbolt",
            Self::CrossbeamChannel => "crossbeam-channel",
            Self::DisruptorSingle => "disruptor-rs-single",
            Self::DisruptorMulti => "disruptor-rs-multi",
            Self::Rtrb => "rtrb",
        }
    }

    /// Whether the system can be used by that many publishers.
    pub(crate) const fn fits(self, topology: Topology) -> bool {
        match self {
            Self::Ringbolt(_) | Self::CrossbeamChannel | Self::DisruptorMulti => true,
            Self::DisruptorSingle | Self::Rtrb => topology.publishers == 1,
        }
    }

    /// The batch that makes a difference: a system that cannot take a batch sends its events one by one.
    pub(crate) const fn effective_batch(self, batch: u64) -> u64 {
        match self {
            Self::CrossbeamChannel => 1,
            _ => batch,
        }
    }

    /// Does one round; nanoseconds for each event.
    pub(crate) fn round(self, load: Load) -> Result<f64, String> {
        let result = match self {
            Self::Ringbolt(variant) => engine::round(load, variant),
            Self::CrossbeamChannel => crossbeam::round(load),
            Self::DisruptorSingle => disruptors::single(load),
            Self::DisruptorMulti => disruptors::multi(load),
            Self::Rtrb => rtrb::round(load),
        };
        result.map_err(|reason| {
            format!(
                "{}, {}, batches of {}: {reason}",
                self.name(),
                load.topology.name,
                load.batch
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Placement;

    /// A round checks its own sum, so that a result is a proof of work.
    fn check(system: System, topology: Topology, batch: u64) {
        let load = Load {
            topology,
            batch,
            events: 20_000,
            placement: Placement::FREE,
        };
        let ns = system.round(load).expect("the round handles every event");
        assert!(ns > 0.0, "{} took {ns} ns", system.name());
    }

    #[test]
    fn every_system_does_a_round() {
        let own = System::Ringbolt(Variant {
            stamps: Stamps::Adaptive,
            wake: Wake::Fence,
        });
        for system in System::PEERS.into_iter().chain([own]) {
            for topology in [Topology::ONE_TO_ONE, Topology::FOUR_TO_ONE] {
                if system.fits(topology) {
                    check(system, topology, 1);
                    check(system, topology, 64);
                }
            }
        }
    }
}
