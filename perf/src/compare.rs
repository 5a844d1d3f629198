//! `perf compare`: what an event costs when publishers go as fast as they can.
//!
//! Rounds are interleaved and take about the same time: a discarded probe tells how many events that is
//! for each system. What is printed is the median; a ratio takes the peer's fastest round.

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, PROBE_EVENTS, Setting};
use crate::findings::Findings;
use crate::load::{CAPACITY, Load, PAYLOAD_BYTES, Topology, WARM_UP};
use crate::statistics::{Rounds, interleave};
use crate::systems::{Stamps, System, Variant, Wake};
use crate::table::Table;
use serde::Serialize;

/// One system under one load. A peer has a row for each variant of ringbolt that it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    topology: &'static str,
    payload_bytes: usize,
    batch: u64,
    /// Of the ringbolt variant: `each`, `adaptive` or `sampled`.
    stamps: &'static str,
    /// Of the ringbolt variant: `asymmetric`, `fence` or `spin`.
    wake: &'static str,
    system: &'static str,
    /// The median of the rounds.
    ns_per_event: f64,
    ns_min: f64,
    ns_max: f64,
    /// ringbolt's median / this peer's fastest round: below 1 ringbolt is the cheaper. None for ringbolt itself.
    ratio: Option<f64>,
}

/// A variant of ringbolt and the systems beside it.
#[derive(Debug, Clone)]
struct Comparison {
    topology: Topology,
    variant: Variant,
    batch: u64,
    /// Without ringbolt itself.
    beside: Vec<System>,
}

impl Comparison {
    fn new(topology: Topology, variant: Variant, batch: u64, beside: &[System]) -> Self {
        let beside = beside.iter().copied().filter(|s| s.fits(topology));
        Self {
            topology,
            variant,
            batch,
            beside: beside.collect(),
        }
    }

    /// Who is measured for it, with the batch as each can use it.
    fn systems(&self) -> impl Iterator<Item = (System, u64)> {
        let own = System::Ringbolt(self.variant);
        let all = [own].into_iter().chain(self.beside.iter().copied());
        all.map(|system| (system, system.effective_batch(self.batch)))
    }
}

/// What the bars need, and all peers for the simplest load.
fn quick() -> Vec<Comparison> {
    let (channel, multi) = (System::CrossbeamChannel, System::DisruptorMulti);
    let default = Variant::DEFAULT;
    let with = |stamps, wake| Variant { stamps, wake };
    let mut all = vec![System::RingboltInbox(default)];
    all.extend(System::PEERS);
    let one = Topology::ONE_TO_ONE;
    vec![
        Comparison::new(one, default, 1, &all),
        Comparison::new(
            one,
            with(Stamps::Sampled, Wake::Asymmetric),
            1,
            &System::PEERS,
        ),
        Comparison::new(one, with(Stamps::Each, Wake::Asymmetric), 1, &System::PEERS),
        Comparison::new(one, with(Stamps::Adaptive, Wake::Fence), 64, &[channel]),
        Comparison::new(one, default, 64, &[System::DisruptorSingle, channel]),
        Comparison::new(Topology::TWO_TO_ONE, default, 1, &[multi, channel]),
        Comparison::new(Topology::FOUR_TO_ONE, default, 1, &[multi, channel]),
        Comparison::new(Topology::ONE_TO_TWO_KEYED, default, 1, &[channel]),
    ]
}

/// Every variant, every topology, every peer that fits.
fn full() -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for topology in [
        Topology::ONE_TO_ONE,
        Topology::TWO_TO_ONE,
        Topology::FOUR_TO_ONE,
        Topology::ONE_TO_TWO_KEYED,
    ] {
        for wake in [Wake::Asymmetric, Wake::Fence, Wake::Spin] {
            for stamps in [Stamps::Adaptive, Stamps::Sampled, Stamps::Each] {
                for batch in [1, 64] {
                    let variant = Variant { stamps, wake };
                    let mut beside = Vec::new();
                    if batch == 1 {
                        beside.push(System::RingboltInbox(variant));
                    }
                    beside.extend(System::PEERS);
                    comparisons.push(Comparison::new(topology, variant, batch, &beside));
                }
            }
        }
    }
    comparisons
}

/// One system under one load, and what its rounds took.
#[derive(Debug, Clone)]
struct Series {
    topology: Topology,
    system: System,
    /// As the system can use it.
    batch: u64,
    /// Events in a round, by what the probe took.
    events: u64,
    ns: Rounds,
}

/// Every system once for each load that makes a difference to it.
fn plan(comparisons: &[Comparison]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for comparison in comparisons {
        let topology = comparison.topology;
        for (system, batch) in comparison.systems() {
            if find(&all, topology, system, batch).is_none() {
                all.push(Series {
                    topology,
                    system,
                    batch,
                    events: PROBE_EVENTS,
                    ns: Rounds::default(),
                });
            }
        }
    }
    all
}

fn find(all: &[Series], topology: Topology, system: System, batch: u64) -> Option<&Series> {
    all.iter().find(|series| {
        series.topology == topology && series.system == system && series.batch == batch
    })
}

fn measure(setting: Setting<'_>, all: &mut [Series]) -> Result<(), String> {
    let names: Vec<String> = all
        .iter()
        .map(|series| format!("{}, {}", series.topology.name, series.system.name()))
        .collect();
    // The first round is the probe.
    interleave(
        "compare",
        1 + setting.effort.rounds,
        &names,
        |round, index| {
            let series = &mut all[index];
            let topology = series.topology;
            let ns = series.system.round(Load {
                topology,
                batch: series.batch,
                events: series.events,
                warm_up: WARM_UP,
                placement: setting.machine.place(topology.workers, topology.publishers),
            })?;
            if round == 0 {
                series.events = setting.effort.events(ns);
            } else {
                series.ns.push(ns);
            }
            Ok(())
        },
    )
}

/// A row for each variant of ringbolt, and below it one for each system beside it.
fn tabulate(comparisons: &[Comparison], all: &[Series]) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for comparison in comparisons {
        let Comparison {
            topology,
            variant,
            batch,
            ..
        } = *comparison;
        let series_of = |system: System, batch| {
            find(all, topology, system, batch)
                .ok_or_else(|| format!("{}, {}: not measured", topology.name, system.name()))
        };
        let own = series_of(System::Ringbolt(variant), batch)?;
        for (system, batch_of_system) in comparison.systems() {
            let series = series_of(system, batch_of_system)?;
            rows.push(Row {
                topology: topology.name,
                payload_bytes: PAYLOAD_BYTES,
                batch,
                stamps: variant.stamps.name(),
                wake: variant.wake.name(),
                system: system.name(),
                ns_per_event: series.ns.median(),
                ns_min: series.ns.min(),
                ns_max: series.ns.max(),
                ratio: (!system.is_own()).then(|| own.ns.ratio_to_fastest(&series.ns)),
            });
        }
    }
    Ok(rows)
}

/// A peer's row is a measure, by its load and its name.
fn measures(rows: &[Row]) -> Vec<Measure> {
    rows.iter()
        .filter_map(|row| {
            let name = format!(
                "{} {} {} {} {}",
                row.topology, row.batch, row.stamps, row.wake, row.system
            );
            row.ratio.map(|ratio| Measure::new(name, ratio))
        })
        .collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "<topology",
        "batch",
        "<stamps",
        "<wake",
        "<system",
        "ns/event",
        "min",
        "max",
        "ratio",
    ]);
    for row in rows {
        if row.system == "ringbolt" {
            table.gap();
        }
        table.row([
            row.topology.to_owned(),
            row.batch.to_string(),
            row.stamps.to_owned(),
            row.wake.to_owned(),
            row.system.to_owned(),
            format!("{:.1}", row.ns_per_event),
            format!("{:.1}", row.ns_min),
            format!("{:.1}", row.ns_max),
            row.ratio
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        ]);
    }
    table
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort { rounds, round, .. } = setting.effort;
    let mut comparisons = if setting.effort.is_full {
        full()
    } else {
        quick()
    };
    comparisons.retain(|comparison| comparison.variant.is_here());
    let mut all = plan(&comparisons);
    measure(setting, &mut all)?;
    let rows = tabulate(&comparisons, &all)?;
    Ok(Findings {
        topic: Topic::Compare,
        about: format!(
            "{rounds} interleaved rounds of about {} ms, {PAYLOAD_BYTES}-byte payload, queues of {CAPACITY}; medians",
            round.as_millis()
        ),
        tables: vec![table(&rows)],
        legend: "ratio: ringbolt's median / the peer's fastest round; below 1 ringbolt is the cheaper",
        measures: measures(&rows),
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BARS;

    const ONE: Topology = Topology::ONE_TO_ONE;
    const OWN: System = System::Ringbolt(Variant::DEFAULT);

    fn series(system: System, ns: &[f64]) -> Series {
        Series {
            topology: ONE,
            system,
            batch: 1,
            events: PROBE_EVENTS,
            ns: ns.iter().copied().collect(),
        }
    }

    fn rows() -> Vec<Row> {
        let beside = [
            System::RingboltInbox(Variant::DEFAULT),
            System::CrossbeamChannel,
        ];
        let comparison = Comparison::new(ONE, Variant::DEFAULT, 1, &beside);
        let all = [
            series(OWN, &[10.0, 30.0, 20.0]),
            series(beside[0], &[40.0, 40.0, 40.0]),
            series(beside[1], &[100.0, 25.0, 50.0]),
        ];
        tabulate(&[comparison], &all).expect("all were measured")
    }

    #[test]
    fn only_a_peers_row_has_a_ratio() {
        let rows = rows();
        let ratios: Vec<_> = rows.iter().map(|row| (row.system, row.ratio)).collect();
        assert_eq!(
            ratios,
            [
                ("ringbolt", None),
                ("ringbolt-inbox", None),
                ("crossbeam-channel", Some(0.8))
            ]
        );
        assert_eq!(rows[2].ns_per_event, 50.0);
        let names: Vec<String> = measures(&rows).into_iter().map(|m| m.name).collect();
        assert_eq!(
            names,
            ["one_to_one 1 adaptive asymmetric crossbeam-channel"]
        );
    }

    #[test]
    fn rows_as_json_have_their_fields_in_order() {
        let text = serde_json::to_string(&rows()).expect("rows are plain data");
        assert!(
            text.starts_with(
                r#"[{"topology":"one_to_one","payload_bytes":32,"batch":1,"stamps":"adaptive","wake":"asymmetric","system":"ringbolt","ns_per_event":20.0,"ns_min":10.0,"ns_max":30.0,"ratio":null},"#
            ),
            "{text}"
        );
        assert!(text.ends_with(r#""ratio":0.8}]"#), "{text}");
    }

    #[test]
    fn a_channel_is_measured_once_and_compared_with_every_variant() {
        let comparisons = quick();
        let mut all = plan(&comparisons);
        let is_channel = |s: &&Series| s.system == System::CrossbeamChannel && s.topology == ONE;
        assert_eq!(all.iter().filter(is_channel).count(), 1);
        for series in &mut all {
            series.ns.push(1.0);
        }
        let rows = tabulate(&comparisons, &all).expect("all were measured");
        let of_channel = rows
            .iter()
            .filter(|row| row.system == "crossbeam-channel" && row.topology == ONE.name);
        assert_eq!(of_channel.count(), 5);
    }

    #[test]
    fn every_bar_of_compare_has_its_row_also_in_a_quick_run() {
        for comparisons in [quick(), full()] {
            let mut all = plan(&comparisons);
            for series in &mut all {
                series.ns.push(1.0);
            }
            let rows = tabulate(&comparisons, &all).expect("all were measured");
            let measured = measures(&rows);
            for bar in BARS.iter().filter(|bar| bar.topic == Topic::Compare) {
                let is_there = measured.iter().any(|measure| measure.name == bar.measure);
                assert!(is_there, "{}", bar.measure);
            }
        }
    }
}
