//! The systems, each with one function that does a round of the load.
//!
//! Every peer is used the way its documentation advises for speed, and does the same work as ringbolt's
//! handler: a look-up in a table of boxed handlers, then [`Run::handle`](crate::load::Run::handle). What
//! ringbolt does beyond that (keys, classes, panics caught, outcomes counted, latency recorded) is what the
//! comparison prices.

mod channels;
mod disruptors;
mod engine;
mod rtrb;
mod slot;

use crate::load::{Load, Topology};
use engine::Front;
pub(crate) use engine::{Stamps, Variant, Wake, build, builder, said};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Ringbolt(Variant),
    RingboltInbox(Variant),
    Rtrb,
    DisruptorSingle,
    DisruptorMulti,
    CrossbeamChannel,
    Kanal,
    Flume,
    StdMpsc,
    TokioMpsc,
}

impl System {
    /// All but ringbolt, in the order in which they are printed.
    pub(crate) const PEERS: [Self; 8] = [
        Self::Rtrb,
        Self::DisruptorSingle,
        Self::DisruptorMulti,
        Self::CrossbeamChannel,
        Self::Kanal,
        Self::Flume,
        Self::StdMpsc,
        Self::TokioMpsc,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ringbolt(_) => "ringbolt",
            Self::RingboltInbox(_) => "ringbolt-inbox",
            Self::Rtrb => "rtrb",
            Self::DisruptorSingle => "disruptor-rs-single",
            Self::DisruptorMulti => "disruptor-rs-multi",
            Self::CrossbeamChannel => "crossbeam-channel",
            Self::Kanal => "kanal",
            Self::Flume => "flume",
            Self::StdMpsc => "std-mpsc",
            Self::TokioMpsc => "tokio-mpsc",
        }
    }

    pub(crate) const fn is_own(self) -> bool {
        matches!(self, Self::Ringbolt(_) | Self::RingboltInbox(_))
    }

    /// Whether the system can be used by that many publishers and workers.
    pub(crate) const fn fits(self, topology: Topology) -> bool {
        match self {
            Self::Rtrb | Self::DisruptorSingle => topology.publishers == 1 && topology.workers == 1,
            Self::DisruptorMulti => topology.workers == 1,
            _ => true,
        }
    }

    /// The batch that makes a difference: a system that cannot take a batch sends its events one by one.
    pub(crate) const fn effective_batch(self, batch: u64) -> u64 {
        match self {
            Self::Ringbolt(_) | Self::Rtrb | Self::DisruptorSingle | Self::DisruptorMulti => batch,
            _ => 1,
        }
    }

    /// Does one round; nanoseconds for each event.
    pub(crate) fn round(self, load: Load) -> Result<f64, String> {
        let result = match self {
            Self::Ringbolt(variant) => engine::round(load, variant, Front::Lanes),
            Self::RingboltInbox(variant) => engine::round(load, variant, Front::Inbox),
            Self::Rtrb => rtrb::round(load),
            Self::DisruptorSingle => disruptors::single(load),
            Self::DisruptorMulti => disruptors::multi(load),
            Self::CrossbeamChannel => channels::round::<channels::Crossbeam>(load),
            Self::Kanal => channels::round::<channels::Kanal>(load),
            Self::Flume => channels::round::<channels::Flume>(load),
            Self::StdMpsc => channels::round::<channels::Std>(load),
            Self::TokioMpsc => channels::round::<channels::Tokio>(load),
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
    use crate::load::WARM_UP;
    use crate::machine::Placement;

    /// A round checks its own sum, so that a result is a proof of work.
    fn check(system: System, topology: Topology, batch: u64) {
        let load = Load {
            topology,
            batch,
            events: 8_192,
            warm_up: WARM_UP,
            placement: Placement::FREE,
        };
        let ns = system.round(load).expect("the round handles every event");
        assert!(ns > 0.0, "{} took {ns} ns", system.name());
    }

    #[test]
    fn every_system_does_a_round() {
        let variant = Variant {
            stamps: Stamps::Adaptive,
            wake: Wake::Fence,
        };
        let own = [System::Ringbolt(variant), System::RingboltInbox(variant)];
        for system in System::PEERS.into_iter().chain(own) {
            for topology in [
                Topology::ONE_TO_ONE,
                Topology::FOUR_TO_ONE,
                Topology::ONE_TO_TWO_KEYED,
            ] {
                if system.fits(topology) {
                    check(system, topology, 1);
                    check(system, topology, 64);
                }
            }
        }
    }
}
