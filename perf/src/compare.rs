//! `perf compare`: what an event costs when publishers go as fast as they can.
//!
//! Rounds are interleaved: each round runs every system once before any runs again, so that a slow minute
//! of the machine falls on all of them, and each round begins with another system. Rounds take about the same
//! time: a discarded probe tells how many events that is for each. What is printed is the median; a ratio
//! takes the peer's fastest round, which is the peer's best case and not ours.

use crate::load::{Load, PAYLOAD_BYTES, Topology};
use crate::machine::Machine;
use crate::systems::{Stamps, System, Variant, Wake};
use crate::table::Row;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Events of the first, discarded look at a system; also the fewest of a round.
const PROBE_EVENTS: u64 = 50_000;
/// The most events of a round, so that a probe's good luck has its bounds.
const EVENTS_MAX: u64 = 50_000_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// How long a round is to take, whatever the system.
    round: Duration,
    is_full: bool,
}

impl Effort {
    pub(crate) const QUICK: Self = Self {
        rounds: 7,
        round: Duration::from_millis(60),
        is_full: false,
    };
    pub(crate) const FULL: Self = Self {
        rounds: 11,
        round: Duration::from_millis(250),
        is_full: true,
    };

    /// The effort in words.
    pub(crate) fn text(self) -> String {
        format!(
            "{} interleaved rounds of about {} ms, {PAYLOAD_BYTES}-byte payload; medians",
            self.rounds,
            self.round.as_millis()
        )
    }

    /// So many events take about a round.
    fn events(self, ns_per_event: f64) -> u64 {
        let events = self.round.as_nanos() as f64 / ns_per_event;
        (events as u64).clamp(PROBE_EVENTS, EVENTS_MAX)
    }

    /// ringbolt's variants, each with its batches.
    fn variants(self, topology: Topology) -> Vec<(Variant, u64)> {
        let mut variants = Vec::new();
        for wake in [Wake::Asymmetric, Wake::Fence, Wake::Spin] {
            for stamps in [Stamps::Adaptive, Stamps::Each] {
                for batch in [1, 64] {
                    let is_wanted = match (wake, stamps) {
                        (Wake::Spin, Stamps::Each) => false,
                        (Wake::Spin, _) => self.is_full,
                        // Who publishes does not change what a stamp costs.
                        (_, Stamps::Each) => self.is_full || topology.publishers == 1,
                        (_, Stamps::Adaptive) => true,
                    };
                    if is_wanted && wake.is_here() {
                        variants.push((Variant { stamps, wake }, batch));
                    }
                }
            }
        }
        variants
    }
}

/// One system under one load, and what its rounds took.
#[derive(Debug, Clone)]
struct Series {
    system: System,
    /// As the system can use it.
    batch: u64,
    /// Events in a round, by what the probe took.
    events: u64,
    ns: Vec<f64>,
}

impl Series {
    fn median(&self) -> f64 {
        let mut sorted = self.ns.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        }
    }

    fn min(&self) -> f64 {
        self.ns.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.ns.iter().copied().fold(0.0, f64::max)
    }
}

/// Measures all topologies.
pub(crate) fn run(machine: &Machine, effort: Effort) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for topology in [Topology::ONE_TO_ONE, Topology::FOUR_TO_ONE] {
        let variants = effort.variants(topology);
        let mut all = plan(topology, &variants);
        measure(machine, effort, topology, &mut all)?;
        rows.extend(tabulate(topology, &variants, &all)?);
    }
    Ok(rows)
}

/// Every system that fits the topology, once for each batch that makes a difference to it.
fn plan(topology: Topology, variants: &[(Variant, u64)]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for &(variant, batch) in variants {
        for system in [System::Ringbolt(variant)].into_iter().chain(System::PEERS) {
            let batch = system.effective_batch(batch);
            let is_new = find(&all, system, batch).is_none();
            if system.fits(topology) && is_new {
                all.push(Series {
                    system,
                    batch,
                    events: PROBE_EVENTS,
                    ns: Vec::new(),
                });
            }
        }
    }
    all
}

fn find(all: &[Series], system: System, batch: u64) -> Option<&Series> {
    all.iter()
        .find(|series| series.system == system && series.batch == batch)
}

fn measure(
    machine: &Machine,
    effort: Effort,
    topology: Topology,
    all: &mut [Series],
) -> Result<(), String> {
    let placement = machine.place(topology.threads());
    let is_watched = io::stderr().is_terminal();
    let count = all.len();
    for round in 0..=effort.rounds {
        for step in 0..count {
            let series = &mut all[(round + step) % count];
            if is_watched {
                let (name, of) = (series.system.name(), effort.rounds);
                eprint!("\r\x1b[K{}: round {round} of {of}, {name}", topology.name);
            }
            let ns = series.system.round(Load {
                topology,
                batch: series.batch,
                events: series.events,
                placement,
            })?;
            if round == 0 {
                series.events = effort.events(ns);
            } else {
                series.ns.push(ns);
            }
        }
    }
    if is_watched {
        eprint!("\r\x1b[K");
    }
    Ok(())
}

/// A row for each variant of ringbolt, and below it one for each peer it is compared with.
fn tabulate(
    topology: Topology,
    variants: &[(Variant, u64)],
    all: &[Series],
) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for &(variant, batch) in variants {
        let own = System::Ringbolt(variant);
        let measured = find(all, own, batch)
            .ok_or_else(|| format!("{}: a variant was not measured", topology.name))?;
        let own_median = measured.median();
        for system in [own].into_iter().chain(System::PEERS) {
            let Some(series) = find(all, system, system.effective_batch(batch)) else {
                continue;
            };
            rows.push(Row {
                topology: topology.name,
                payload_bytes: PAYLOAD_BYTES,
                batch,
                stamps: variant.stamps.name(),
                wake: variant.wake.name(),
                system: system.name(),
                ns_per_event: series.median(),
                ns_min: series.min(),
                ns_max: series.max(),
                ratio: (system != own).then(|| own_median / series.min()),
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Variant = Variant {
        stamps: Stamps::Adaptive,
        wake: Wake::Fence,
    };

    fn series(system: System, batch: u64, ns: &[f64]) -> Series {
        Series {
            system,
            batch,
            events: PROBE_EVENTS,
            ns: ns.to_vec(),
        }
    }

    #[test]
    fn a_median_is_the_middle_and_not_the_mean() {
        let odd = series(System::Rtrb, 1, &[9.0, 1.0, 200.0]);
        assert_eq!((odd.median(), odd.min(), odd.max()), (9.0, 1.0, 200.0));
        assert_eq!(
            series(System::Rtrb, 1, &[4.0, 1.0, 2.0, 90.0]).median(),
            3.0
        );
    }

    #[test]
    fn a_ratio_is_our_median_by_the_fastest_round_of_the_peer() {
        let all = [
            series(System::Ringbolt(DEFAULT), 1, &[10.0, 30.0, 20.0]),
            series(System::CrossbeamChannel, 1, &[100.0, 25.0, 50.0]),
        ];
        let rows =
            tabulate(Topology::ONE_TO_ONE, &[(DEFAULT, 1)], &all).expect("both were measured");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].system, rows[0].ratio), ("ringbolt", None));
        assert_eq!(
            (rows[1].system, rows[1].ratio),
            ("crossbeam-channel", Some(0.8))
        );
        assert_eq!(rows[1].ns_per_event, 50.0);
    }

    #[test]
    fn a_channel_is_measured_once_and_compared_with_every_variant() {
        let variants = [(DEFAULT, 1), (DEFAULT, 64)];
        let mut all = plan(Topology::ONE_TO_ONE, &variants);
        let channels = all.iter().filter(|s| s.system == System::CrossbeamChannel);
        assert_eq!(channels.count(), 1);
        for series in &mut all {
            series.ns.push(1.0);
        }
        let rows = tabulate(Topology::ONE_TO_ONE, &variants, &all).expect("all were measured");
        let channels = rows.iter().filter(|row| row.system == "crossbeam-channel");
        assert_eq!(channels.map(|row| row.batch).collect::<Vec<_>>(), [1, 64]);
        assert_eq!(rows.len(), 2 * (1 + System::PEERS.len()));
    }

    #[test]
    fn single_producer_peers_are_left_out_of_four_to_one() {
        let all = plan(Topology::FOUR_TO_ONE, &[(DEFAULT, 1)]);
        let names: Vec<&str> = all.iter().map(|series| series.system.name()).collect();
        assert_eq!(
            names,
            ["ringbolt", "crossbeam-channel", "disruptor-rs-multi"]
        );
    }
}
