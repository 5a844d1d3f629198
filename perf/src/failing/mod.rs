//! `perf failing`: what it costs to be ready for failures, and what they cost when they come.
//!
//! ringbolt beside itself, with its defaults, one publisher and one worker. Rounds of all questions are interleaved.
//! Letters are counted in a process of their own, before the rounds begin.

mod letters;
mod rounds;

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, PROBE_EVENTS, Setting};
use crate::findings::Findings;
use crate::load::{Load, Order, PAYLOAD_BYTES, Topology, Unkeyed, WARM_UP};
use crate::rows::{self, Row};
use crate::rules::Rules;
use crate::statistics::{Rounds, interleave};
pub(crate) use letters::{Case, child};

/// Deliveries on the timer wheel.
const WAITING: u64 = 1_000_000;

/// What is different about the events or their subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Nothing fails.
    Ready(Rules),
    /// So many of each hundred fail once.
    Unkeyed(u64),
    /// The same, and only the worker's side of it: publishing takes longer than handling, and hides it.
    Alone(u64),
    /// One by one with keys, whose later events wait.
    Keyed(u64),
    /// So many deliveries of another subscription wait.
    Waiting(u64),
}

/// The first of each name is what the others are held against.
const QUESTIONS: [Question; 14] = [
    Question::Ready(Rules::None),
    Question::Ready(Rules::CountWindow),
    Question::Ready(Rules::TimeWindow),
    Question::Unkeyed(0),
    Question::Unkeyed(1),
    Question::Unkeyed(10),
    Question::Alone(0),
    Question::Alone(1),
    Question::Alone(10),
    Question::Keyed(0),
    Question::Keyed(1),
    Question::Keyed(10),
    Question::Waiting(0),
    Question::Waiting(WAITING),
];

impl Question {
    const fn name(self) -> &'static str {
        match self {
            Self::Ready(_) => "nothing fails",
            Self::Unkeyed(_) => "some fail once, no key",
            Self::Alone(_) => "the same, handling alone",
            Self::Keyed(_) => "some fail once, keyed",
            Self::Waiting(_) => "others wait for a retry",
        }
    }

    fn case(self) -> String {
        match self {
            Self::Ready(rules) => rules.name().to_owned(),
            Self::Unkeyed(per_cent) | Self::Alone(per_cent) | Self::Keyed(per_cent) => {
                format!("{per_cent} %")
            }
            Self::Waiting(count) => count.to_string(),
        }
    }

    fn round(self, setting: Setting<'_>, events: u64) -> Result<f64, String> {
        let load = Load {
            topology: Topology::ONE_TO_ONE,
            batch: 1,
            events,
            warm_up: WARM_UP,
            placement: setting.machine.place(1, 1),
        };
        match self {
            Self::Ready(rules) => rounds::ready(load, rules),
            Self::Unkeyed(per_cent) => rounds::failing::<Unkeyed>(load, per_cent),
            Self::Alone(per_cent) => rounds::handling(load, per_cent),
            Self::Keyed(per_cent) => rounds::failing::<Order>(load, per_cent),
            Self::Waiting(count) => rounds::waiting(load, count),
        }
        .map_err(|reason| format!("{}, {}: {reason}", self.name(), self.case()))
    }
}

#[derive(Debug, Clone)]
struct Series {
    question: Question,
    events: u64,
    ns: Rounds,
}

fn cases(all: &[Series]) -> Vec<rows::Case<'_>> {
    all.iter()
        .map(|series| rows::Case {
            question: series.question.name(),
            case: series.question.case(),
            unit: "ns/event",
            rounds: &series.ns,
        })
        .collect()
}

/// A letter takes two sizes: what was asked for, and what the process has grown by.
fn of_letters() -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for case in Case::ALL {
        let taken = letters::measure(case)?;
        for (question, bytes) in [
            ("a letter, asked for", taken.live_each()),
            ("a letter, resident", taken.resident_each()),
        ] {
            rows.push(Row::single(question, case.name(), "bytes", bytes));
        }
    }
    rows.sort_by_key(|row| row.question);
    Ok(rows)
}

/// A time's measure is what it is relative to its question's first row.
fn measures(rows: &[Row]) -> Vec<Measure> {
    rows.iter()
        .filter_map(|row| {
            let value = match row.unit {
                "bytes" => Some(row.median),
                _ => row.relative,
            };
            value.map(|value| Measure::new(format!("{}, {}", row.question, row.case), value))
        })
        .collect()
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort { rounds, round, .. } = setting.effort;
    let of_letters = of_letters()?;
    let mut all: Vec<Series> = QUESTIONS
        .into_iter()
        .map(|question| Series {
            question,
            events: PROBE_EVENTS,
            ns: Rounds::default(),
        })
        .collect();
    let names: Vec<String> = QUESTIONS
        .iter()
        .map(|question| format!("{}, {}", question.name(), question.case()))
        .collect();
    // The first round is the probe.
    interleave("failing", 1 + rounds, &names, |number, index| {
        let series = &mut all[index];
        let ns = series.question.round(setting, series.events)?;
        if number == 0 {
            series.events = setting.effort.events(ns);
        } else {
            series.ns.push(ns);
        }
        Ok(())
    })?;
    let mut rows = rows::tabulate(&cases(&all));
    rows.extend(of_letters);
    Ok(Findings {
        topic: Topic::Failing,
        about: format!(
            "ringbolt with its defaults, {rounds} interleaved rounds of about {} ms, {PAYLOAD_BYTES}-byte payload, one publisher, one worker; medians",
            round.as_millis()
        ),
        tables: vec![rows::table(&rows)],
        legend: "/ first: each round by that of the question's first row in the same turn, the median of these\nletters: a million with three attempts and a chain of two, beside the payload; resident has the allocator's own bytes in it",
        measures: measures(&rows),
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BARS;
    use crate::machine::Machine;

    fn series(question: Question, ns: &[f64]) -> Series {
        Series {
            question,
            events: PROBE_EVENTS,
            ns: ns.iter().copied().collect(),
        }
    }

    #[test]
    fn each_round_is_held_against_its_neighbour_of_the_first_row() {
        // The machine was slow in the second turn, for both.
        let all = [
            series(Question::Unkeyed(0), &[20.0, 200.0, 20.0]),
            series(Question::Unkeyed(1), &[30.0, 250.0, 28.0]),
            series(Question::Keyed(0), &[40.0]),
        ];
        let rows = rows::tabulate(&cases(&all));
        assert_eq!(
            rows.iter().map(|row| row.relative).collect::<Vec<_>>(),
            [None, Some(1.4), None]
        );
        assert_eq!(
            (rows[1].median, rows[1].min, rows[1].max),
            (30.0, 28.0, 250.0)
        );
        assert_eq!(
            measures(&rows),
            [Measure::new("some fail once, no key, 1 %", 1.4)]
        );
    }

    #[test]
    fn every_bar_of_failing_has_its_row() {
        let all = QUESTIONS.map(|question| series(question, &[1.0]));
        let mut names: Vec<String> = measures(&rows::tabulate(&cases(&all)))
            .into_iter()
            .map(|measure| measure.name)
            .collect();
        names.extend(Case::ALL.map(|case| format!("a letter, asked for, {}", case.name())));
        let mut bars = BARS.iter().filter(|bar| bar.topic == Topic::Failing);
        assert!(bars.all(|bar| names.iter().any(|name| name == bar.measure)));
    }

    #[test]
    fn every_question_has_a_round() {
        let machine = Machine::look().expect("a machine");
        let setting = Setting {
            machine: &machine,
            effort: Effort::QUICK,
        };
        let few = |question| match question {
            Question::Waiting(WAITING) => Question::Waiting(1_000),
            other => other,
        };
        for question in QUESTIONS.map(few) {
            let ns = question.round(setting, 4_096).expect("a round");
            assert!(ns > 0.0, "{question:?}");
        }
    }
}
