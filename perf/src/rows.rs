//! Rows of questions: each with its cases, of which the first is what the others are held against.

use crate::statistics::Rounds;
use crate::table::Table;
use serde::Serialize;

/// One case of one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) question: &'static str,
    pub(crate) case: String,
    /// What the numbers count.
    pub(crate) unit: &'static str,
    /// Of the rounds; what is looked at once has only this.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Each round by that of the question's first row in the same turn, the median of these; none on the first itself.
    pub(crate) relative: Option<f64>,
}

impl Row {
    /// What was looked at once.
    pub(crate) fn single(
        question: &'static str,
        case: impl Into<String>,
        unit: &'static str,
        value: f64,
    ) -> Self {
        Self {
            question,
            case: case.into(),
            unit,
            median: value,
            min: value,
            max: value,
            relative: None,
        }
    }
}

/// The rounds of one case.
pub(crate) struct Case<'a> {
    pub(crate) question: &'static str,
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) rounds: &'a Rounds,
}

pub(crate) fn tabulate(cases: &[Case<'_>]) -> Vec<Row> {
    let row = |(number, case): (usize, &Case<'_>)| {
        let first = cases
            .iter()
            .position(|first| first.question == case.question);
        let relative = first
            .filter(|&first| first != number)
            .map(|first| case.rounds.pairwise(cases[first].rounds).median());
        Row {
            question: case.question,
            case: case.case.clone(),
            unit: case.unit,
            median: case.rounds.median(),
            min: case.rounds.min(),
            max: case.rounds.max(),
            relative,
        }
    };
    cases.iter().enumerate().map(row).collect()
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "<question",
        "<case",
        "<unit",
        "median",
        "min",
        "max",
        "/ first",
    ]);
    let mut question = "";
    for row in rows {
        if row.question != question {
            table.gap();
            question = row.question;
        }
        let numbers = [row.median, row.min, row.max].map(|number| format!("{number:.1}"));
        let words = [
            row.question.to_owned(),
            row.case.clone(),
            row.unit.to_owned(),
        ];
        let relative = row
            .relative
            .map_or_else(String::new, |relative| format!("{relative:.2}"));
        table.row(words.into_iter().chain(numbers).chain([relative]));
    }
    table
}
