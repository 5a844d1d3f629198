//! `perf latency`: how long an event takes from the moment it was meant to be sent to the start of its handler.
//!
//! An open loop: events are due at times fixed beforehand, and a sender that falls behind is late on its own
//! account, so no wait is left out (coordinated omission). Rounds of ringbolt and of its peer alternate, and
//! ratios are formed from neighbours in time: the tail of a virtual machine belongs to its host, and tails
//! compare only within a run.

mod open_loop;
mod samples;
mod wake;

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, Setting};
use crate::findings::Findings;
use crate::load::CAPACITY;
use crate::statistics::{Rounds, interleave};
use crate::table::Table;
use open_loop::{Pace, Waiting};
use serde::Serialize;
use std::time::Duration;

/// How long the sender and the receiver get used to each other before times count.
const WARM_UP: Duration = Duration::from_millis(20);

/// What is measured of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OpenLoop { waiting: Waiting, rate: u64 },
    Wake,
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::OpenLoop { waiting, rate } => format!("open_loop {} {rate}", waiting.name()),
            Self::Wake => String::from("wake"),
        }
    }

    /// ringbolt's opponent.
    const fn peer(self) -> &'static str {
        match self {
            Self::OpenLoop { waiting, .. } => waiting.peer(),
            Self::Wake => "thread-unpark",
        }
    }
}

/// What bars are about; in a full run also what lies around it.
fn kinds(is_full: bool) -> Vec<Kind> {
    let open = |waiting, rate| Kind::OpenLoop { waiting, rate };
    let mut kinds = vec![
        open(Waiting::BusySpin, 100_000),
        open(Waiting::BusySpin, 1_000_000),
        open(Waiting::Adaptive, 100_000),
        Kind::Wake,
    ];
    if is_full {
        kinds.extend([
            open(Waiting::BusySpin, 10_000),
            open(Waiting::Adaptive, 10_000),
            open(Waiting::Adaptive, 1_000_000),
        ]);
    }
    kinds
}

/// Percentiles of one round, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Percentiles {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// One side of one kind.
#[derive(Debug, Clone)]
struct Series {
    kind: Kind,
    is_own: bool,
    p50: Rounds,
    p90: Rounds,
    p99: Rounds,
    max: Rounds,
}

impl Series {
    fn new(kind: Kind, is_own: bool) -> Self {
        Self {
            kind,
            is_own,
            p50: Rounds::default(),
            p90: Rounds::default(),
            p99: Rounds::default(),
            max: Rounds::default(),
        }
    }

    const fn system(&self) -> &'static str {
        if self.is_own {
            "ringbolt"
        } else {
            self.kind.peer()
        }
    }

    fn push(&mut self, round: Percentiles) {
        self.p50.push(round.p50 as f64);
        self.p90.push(round.p90 as f64);
        self.p99.push(round.p99 as f64);
        self.max.push(round.max as f64);
    }

    fn round(&self, setting: Setting<'_>) -> Result<Percentiles, String> {
        let placement = setting.machine.place(1, 1);
        let result = match self.kind {
            Kind::OpenLoop { waiting, rate } => {
                let events = |time: Duration| (time.as_secs_f64() * rate as f64) as usize;
                let pace = Pace {
                    rate,
                    warm_up: events(WARM_UP),
                    events: events(setting.effort.paced),
                    placement,
                };
                if self.is_own {
                    open_loop::ringbolt(pace, waiting)
                } else {
                    open_loop::crossbeam(pace, waiting)
                }
            }
            Kind::Wake => {
                let wakes = if setting.effort.is_full { 200 } else { 40 };
                if self.is_own {
                    wake::ringbolt(wakes, placement)
                } else {
                    wake::bare(wakes, placement)
                }
            }
        };
        result.map_err(|reason| format!("{}, {}: {reason}", self.kind.name(), self.system()))
    }

    fn row(&self, own: Option<&Self>) -> Row {
        let ratio = |of: fn(&Self) -> &Rounds| own.map(|own| of(own).pairwise(of(self)).median());
        let (wait, rate_per_s) = match self.kind {
            Kind::OpenLoop { waiting, rate } => (waiting.name(), Some(rate)),
            Kind::Wake => ("parked", None),
        };
        Row {
            measure: if rate_per_s.is_some() {
                "open_loop"
            } else {
                "wake"
            },
            wait,
            rate_per_s,
            system: self.system(),
            p50_ns: self.p50.median(),
            p50_ns_min: self.p50.min(),
            p50_ns_max: self.p50.max(),
            p90_ns: self.p90.median(),
            p99_ns: self.p99.median(),
            max_ns: self.max.max(),
            ratio_p50: ratio(|series| &series.p50),
            ratio_p90: ratio(|series| &series.p90),
            ratio_p99: ratio(|series| &series.p99),
        }
    }
}

/// One side under one load: medians of the rounds' percentiles, and the worst of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    measure: &'static str,
    /// Of ringbolt: `busy_spin`, `adaptive` or `parked`.
    wait: &'static str,
    rate_per_s: Option<u64>,
    system: &'static str,
    p50_ns: f64,
    p50_ns_min: f64,
    p50_ns_max: f64,
    p90_ns: f64,
    p99_ns: f64,
    max_ns: f64,
    /// The median of ringbolt's rounds by the peer's of the same number; none for ringbolt itself.
    ratio_p50: Option<f64>,
    ratio_p90: Option<f64>,
    ratio_p99: Option<f64>,
}

/// Pairs of ringbolt and its peer, as rows and as what bars know them by.
fn tabulate(pairs: &[Series]) -> (Vec<Row>, Vec<Measure>) {
    let mut rows = Vec::new();
    let mut measures = Vec::new();
    for pair in pairs.chunks_exact(2) {
        let (own, peer) = (&pair[0], &pair[1]);
        rows.push(own.row(None));
        let row = peer.row(Some(own));
        let kind = own.kind.name();
        for (percentile, ratio) in [
            ("p50", row.ratio_p50),
            ("p90", row.ratio_p90),
            ("p99", row.ratio_p99),
        ] {
            measures.extend(ratio.map(|ratio| Measure::new(format!("{kind} {percentile}"), ratio)));
        }
        rows.push(row);
    }
    (rows, measures)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "<measure",
        "<wait",
        "rate/s",
        "<system",
        "p50 ns",
        "min",
        "max",
        "p90 ns",
        "p99 ns",
        "worst ns",
        "p50 ratio",
        "p90 ratio",
        "p99 ratio",
    ]);
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    for row in rows {
        if row.ratio_p50.is_none() {
            table.gap();
        }
        table.row([
            row.measure.to_owned(),
            row.wait.to_owned(),
            row.rate_per_s
                .map_or_else(|| String::from("-"), |rate| rate.to_string()),
            row.system.to_owned(),
            format!("{:.0}", row.p50_ns),
            format!("{:.0}", row.p50_ns_min),
            format!("{:.0}", row.p50_ns_max),
            format!("{:.0}", row.p90_ns),
            format!("{:.0}", row.p99_ns),
            format!("{:.0}", row.max_ns),
            ratio(row.ratio_p50),
            ratio(row.ratio_p90),
            ratio(row.ratio_p99),
        ]);
    }
    table
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort {
        pairs,
        paced,
        is_full,
        ..
    } = setting.effort;
    let mut all: Vec<Series> = kinds(is_full)
        .into_iter()
        .flat_map(|kind| [Series::new(kind, true), Series::new(kind, false)])
        .collect();
    let names: Vec<String> = all
        .iter()
        .map(|series| format!("{}, {}", series.kind.name(), series.system()))
        .collect();
    interleave("latency", pairs, &names, |_, index| {
        let round = all[index].round(setting)?;
        all[index].push(round);
        Ok(())
    })?;
    let (rows, measures) = tabulate(&all);
    Ok(Findings {
        topic: Topic::Latency,
        about: format!(
            "{pairs} interleaved rounds of {} ms for each side, 32-byte payload, queues of {CAPACITY}; from the intended time to the handler's start",
            paced.as_millis()
        ),
        tables: vec![table(&rows)],
        legend: "percentiles: medians of the rounds; worst: of all rounds; ratio: the median of the pairwise ratios, ringbolt / peer",
        measures,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BARS;

    fn pair(kind: Kind, own: &[u64], peer: &[u64]) -> [Series; 2] {
        let filled = |is_own, values: &[u64]| {
            let mut series = Series::new(kind, is_own);
            for &p50 in values {
                series.push(Percentiles {
                    p50,
                    p90: 2 * p50,
                    p99: 10,
                    max: 100,
                });
            }
            series
        };
        [filled(true, own), filled(false, peer)]
    }

    #[test]
    fn a_peers_row_has_the_median_of_the_pairwise_ratios() {
        let (rows, measures) = tabulate(&pair(Kind::Wake, &[10, 90, 30], &[20, 90, 20]));
        assert_eq!((rows[0].system, rows[0].ratio_p50), ("ringbolt", None));
        assert_eq!(rows[0].p50_ns, 30.0);
        assert_eq!(rows[1].system, "thread-unpark");
        assert_eq!(rows[1].ratio_p50, Some(1.0));
        assert_eq!(measures[0], Measure::new("wake p50", 1.0));
    }

    #[test]
    fn every_bar_of_latency_is_measured_also_in_a_quick_run() {
        let all: Vec<Series> = kinds(false)
            .into_iter()
            .flat_map(|kind| pair(kind, &[1], &[1]))
            .collect();
        let (_, measures) = tabulate(&all);
        for bar in BARS.iter().filter(|bar| bar.topic == Topic::Latency) {
            let is_there = measures.iter().any(|measure| measure.name == bar.measure);
            assert!(is_there, "{}", bar.measure);
        }
    }
}
