//! `perf idle`: what an engine costs that has nothing to do, and what waits where something urgent comes.

mod critical;
mod processor;

use crate::bars::{Measure, Topic};
use crate::effort::Setting;
use crate::findings::Findings;
use crate::statistics::Rounds;
use crate::table::Table;
use serde::Serialize;
use std::time::Duration;

/// Rounds into which the watch over an idle engine is divided.
const ROUNDS: u32 = 7;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    measure: &'static str,
    unit: &'static str,
    /// What the bar is about: the whole watch, or the worst of all arrivals.
    value: f64,
    median: f64,
    min: f64,
    max: f64,
}

impl Row {
    fn new(measure: &'static str, unit: &'static str, value: f64, rounds: &Rounds) -> Self {
        Self {
            measure,
            unit,
            value,
            median: rounds.median(),
            min: rounds.min(),
            max: rounds.max(),
        }
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["<measure", "<unit", "value", "median", "min", "max"]);
    for row in rows {
        let number = |value: f64| match row.unit {
            "events" => format!("{value:.0}"),
            _ => format!("{value:.3}"),
        };
        table.row([
            row.measure.to_owned(),
            row.unit.to_owned(),
            number(row.value),
            number(row.median),
            number(row.min),
            number(row.max),
        ]);
    }
    table
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let mut rows = Vec::new();
    if let Some((whole, rounds)) = processor::idle_percent(setting.effort.watch, ROUNDS)? {
        let measure = "idle processor time";
        rows.push(Row::new(measure, "% of a core", whole, &rounds));
    }
    for (measure, each) in [
        ("low before critical", Duration::ZERO),
        ("low before critical, 1 us each", Duration::from_micros(1)),
    ] {
        let passed = critical::low_events_before(each)?;
        rows.push(Row::new(measure, "events", passed.max(), &passed));
    }
    let measures = rows
        .iter()
        .map(|row| Measure::new(row.measure, row.value))
        .collect();
    Ok(Findings {
        topic: Topic::Idle,
        about: format!(
            "two adaptive workers, after traffic and asleep, watched for {ROUNDS} rounds of {} ms; then a critical event that arrives while low ones saturate the worker, counted under the manual clock",
            (setting.effort.watch / ROUNDS).as_millis()
        ),
        tables: vec![table(&rows)],
        legend: "value: over the whole watch; of events, the worst of all arrivals",
        measures,
        rows,
    })
}
