//! `perf memory`: what an engine keeps resident.
//!
//! Each measurement is a process of its own, this program run again, so that nothing that was measured before
//! is counted with it. What counts is the growth from before the engine was built.

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, Setting};
use crate::findings::Findings;
use crate::statistics::{Rounds, interleave};
use crate::systems::said;
use crate::table::Table;
use clap::ValueEnum;
use ringbolt::{Context, EventSystem, Publisher, Subscription};
use serde::{Deserialize, Serialize};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SUBSCRIPTIONS: u64 = 1_000;
/// Events to each subscription, of as many keys: both workers get some.
const EVENTS: u64 = 256;
/// Threads that have been started, or have handled the last event, come to rest.
const SETTLING: Duration = Duration::from_millis(100);
const HANDLING_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, ringbolt::Event)]
#[event(name = "tick", key = "number")]
struct Tick {
    number: u64,
}

/// What the process of its own is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// An engine with its defaults, and nothing else
    Started,
    /// Two workers, and a thousand subscriptions that all had events on both
    Subscriptions,
}

impl Case {
    const fn argument(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Subscriptions => "subscriptions",
        }
    }

    /// As the bar calls it.
    const fn measure(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Subscriptions => "1000 subscriptions",
        }
    }
}

/// Resident memory of a process before the engine and with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Resident {
    before_bytes: u64,
    after_bytes: u64,
}

impl Resident {
    fn growth_mb(self) -> f64 {
        self.after_bytes.saturating_sub(self.before_bytes) as f64 / 1e6
    }
}

/// The part of the process of its own: does its case and prints what was resident.
pub(crate) fn child(case: Case) -> Result<String, String> {
    let before_bytes = resident_bytes()?;
    let built = match case {
        Case::Started => (start(EventSystem::builder())?, None),
        Case::Subscriptions => {
            let system = start(EventSystem::builder().workers(2))?;
            let used = use_subscriptions(&system)?;
            (system, Some(used))
        }
    };
    thread::sleep(SETTLING);
    let after_bytes = resident_bytes()?;
    drop(built);
    serde_json::to_string(&Resident {
        before_bytes,
        after_bytes,
    })
    .map_err(said)
}

fn start(builder: ringbolt::Builder) -> Result<EventSystem, String> {
    builder.build().map_err(said)
}

fn use_subscriptions(system: &EventSystem) -> Result<(Publisher, Vec<Subscription>), String> {
    let handled = Arc::new(AtomicU64::new(0));
    let mut subscriptions = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        let handled = Arc::clone(&handled);
        let subscription = system
            .subscribe(move |tick: &Tick, _: &mut Context<'_>| {
                std::hint::black_box(tick.number);
                handled.fetch_add(1, Ordering::Relaxed);
            })
            .map_err(said)?;
        subscriptions.push(subscription);
    }
    let mut publisher = system.publisher();
    for number in 0..EVENTS {
        publisher.publish(Tick { number }).map_err(said)?;
    }
    let limit = Instant::now() + HANDLING_LIMIT;
    while handled.load(Ordering::Relaxed) < EVENTS * SUBSCRIPTIONS {
        if Instant::now() > limit {
            return Err(String::from("the events were not handled in time"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok((publisher, subscriptions))
}

/// Of this process.
pub(crate) fn resident_bytes() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("resident memory is known on Linux only: {error}"))?;
    resident_in(&status).ok_or_else(|| String::from("the kernel does not tell resident memory"))
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// One round of a case, in a process of its own.
fn round(case: Case) -> Result<Resident, String> {
    let program = std::env::current_exe().map_err(said)?;
    let output = Command::new(program)
        .args(["memory", "--child", case.argument()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(said)?;
    if !output.status.success() {
        return Err(format!(
            "{}: its process ended with {}",
            case.argument(),
            output.status
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(said)
}

/// Megabytes of 1,000,000 bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    case: &'static str,
    /// The median of the rounds: what the engine has added.
    engine_mb: f64,
    engine_mb_min: f64,
    engine_mb_max: f64,
    /// The whole process, the program's own pages included.
    process_mb: f64,
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort { rounds, .. } = setting.effort;
    let cases = [Case::Started, Case::Subscriptions];
    let names = cases.map(|case| case.measure().to_owned());
    let mut growth = [Rounds::default(), Rounds::default()];
    let mut whole = growth.clone();
    interleave("memory", rounds, &names, |_, index| {
        let resident = round(cases[index])?;
        growth[index].push(resident.growth_mb());
        whole[index].push(resident.after_bytes as f64 / 1e6);
        Ok(())
    })?;
    let mut rows = Vec::new();
    let mut table = Table::new(["<case", "engine MB", "min", "max", "process MB"]);
    for (index, case) in cases.into_iter().enumerate() {
        let row = Row {
            case: case.measure(),
            engine_mb: growth[index].median(),
            engine_mb_min: growth[index].min(),
            engine_mb_max: growth[index].max(),
            process_mb: whole[index].median(),
        };
        let numbers = [
            row.engine_mb,
            row.engine_mb_min,
            row.engine_mb_max,
            row.process_mb,
        ];
        let cells = numbers.map(|number| format!("{number:.2}"));
        table.row([row.case.to_owned()].into_iter().chain(cells));
        rows.push(row);
    }
    let measures = rows
        .iter()
        .map(|row| Measure::new(row.case, row.engine_mb))
        .collect();
    Ok(Findings {
        topic: Topic::Memory,
        about: format!(
            "{rounds} interleaved rounds, each in a process of its own; {SUBSCRIPTIONS} subscriptions of one type had {EVENTS} events each; medians"
        ),
        tables: vec![table],
        legend: "engine: resident memory with the engine less that before it was built, in 1,000,000 bytes",
        measures,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "VmPeak:\t  9000 kB\nVmRSS:\t    1624 kB\nRssAnon:\t 112 kB\n";
        assert_eq!(resident_in(status), Some(1_624 * 1_024));
        assert_eq!(resident_in("VmPeak:\t 1 kB\n"), None);
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let resident = Resident {
            before_bytes: 2_000_000,
            after_bytes: 5_500_000,
        };
        assert_eq!(resident.growth_mb(), 3.5);
    }

    #[test]
    fn arguments_are_those_that_are_understood() {
        for case in [Case::Started, Case::Subscriptions] {
            assert_eq!(Case::from_str(case.argument(), false), Ok(case));
        }
    }
}
