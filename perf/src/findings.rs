//! What a command found, and how it is said: a text for people, or JSON.

use crate::bars::{self, Judgement, Measure, Topic};
use crate::machine::Machine;
use crate::table::Table;
use serde::Serialize;

/// Rows for machines, tables for people, measures for the bars.
#[derive(Debug)]
pub(crate) struct Findings<R> {
    pub(crate) topic: Topic,
    /// The set-up in a line.
    pub(crate) about: String,
    pub(crate) rows: Vec<R>,
    pub(crate) tables: Vec<Table>,
    /// How to read the tables.
    pub(crate) legend: &'static str,
    pub(crate) measures: Vec<Measure>,
}

/// The result in its final form.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) json: String,
    pub(crate) judgements: Vec<Judgement>,
}

/// What `compare` prints, and nothing else: others read it.
#[derive(Debug, Serialize)]
struct RowsOnly<'a, R> {
    rows: &'a [R],
}

#[derive(Debug, Serialize)]
struct All<'a, R> {
    machine: String,
    rows: &'a [R],
    bars: &'a [Judgement],
}

impl<R: Serialize> Findings<R> {
    pub(crate) fn say(&self, machine: &Machine) -> Result<Said, String> {
        let judgements = bars::judge(self.topic, &self.measures);
        let json = if self.topic == Topic::Compare {
            serde_json::to_string_pretty(&RowsOnly { rows: &self.rows })
        } else {
            serde_json::to_string_pretty(&All {
                machine: machine.to_string(),
                rows: &self.rows,
                bars: &judgements,
            })
        }
        .map_err(|error| format!("rows as JSON: {error}"))?;
        let mut parts = vec![machine.to_string(), self.about.clone()];
        parts.extend(self.tables.iter().map(Table::text));
        parts.push(self.legend.to_owned());
        parts.push(bars::text(&judgements));
        Ok(Said {
            text: parts.join("\n\n"),
            json,
            judgements,
        })
    }
}
