//! `perf scaling`: what an event costs when there is more of something: publishers, subscriptions, types, threads.
//!
//! ringbolt beside itself, with its defaults. Rounds of all questions are interleaved.

mod rounds;
mod types;

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, PROBE_EVENTS, Setting};
use crate::findings::Findings;
use crate::load::{Load, Topology, WARM_UP};
use crate::machine::Placement;
use crate::statistics::{Rounds, interleave};
use crate::table::Table;
use serde::Serialize;

/// Types that one bar is about, where they are compiled in.
const MANY_TYPES: usize = 10_000;

/// More of what, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// To one worker.
    Publishers(usize),
    /// Of one type.
    Subscriptions(usize),
    /// Used at random.
    Types(usize),
    /// Half of them publish, half of them work.
    Threads(usize),
}

impl Question {
    const fn name(self) -> &'static str {
        match self {
            Self::Publishers(_) => "publishers",
            Self::Subscriptions(_) => "subscriptions",
            Self::Types(_) => "types",
            Self::Threads(_) => "threads",
        }
    }

    const fn count(self) -> usize {
        match self {
            Self::Publishers(count)
            | Self::Subscriptions(count)
            | Self::Types(count)
            | Self::Threads(count) => count,
        }
    }

    fn round(self, setting: Setting<'_>, events: u64) -> Result<f64, String> {
        let topology = match self {
            Self::Publishers(count) => Topology::new("publishers", count, 1),
            Self::Subscriptions(_) | Self::Types(_) => Topology::ONE_TO_ONE,
            Self::Threads(count) => Topology::new("threads", count / 2, count / 2),
        };
        let load = Load {
            topology,
            batch: 1,
            events,
            warm_up: match self {
                Self::Types(_) => rounds::TYPES_ORDER as u64,
                _ => WARM_UP,
            },
            placement: match self {
                // More threads than cores cannot be pinned one to one, and both sides are to be alike.
                Self::Threads(_) => Placement::FREE,
                _ => setting.machine.place(topology.workers, topology.publishers),
            },
        };
        match self {
            Self::Publishers(_) | Self::Threads(_) => rounds::plain(load),
            Self::Subscriptions(count) => rounds::subscriptions(load, count),
            Self::Types(count) => rounds::types(load, count),
        }
        .map_err(|reason| format!("{} {}: {reason}", self.count(), self.name()))
    }
}

/// The first of each name is what the others are held against.
fn questions(setting: Setting<'_>) -> Vec<Question> {
    let cores = setting.machine.cores();
    // A publisher and a worker at least, and as many of one as of the other.
    let even = (cores - cores % 2).max(2);
    let mut questions = vec![
        Question::Publishers(1),
        Question::Publishers(2),
        Question::Publishers(4),
        Question::Subscriptions(1),
        Question::Subscriptions(3),
        Question::Types(1),
        Question::Types(100),
    ];
    if types::COUNT >= MANY_TYPES {
        questions.push(Question::Types(MANY_TYPES));
    }
    questions.extend([Question::Threads(even), Question::Threads(4 * even)]);
    if setting.effort.is_full {
        questions.insert(3, Question::Publishers(8));
        questions.insert(6, Question::Subscriptions(10));
    }
    questions
}

#[derive(Debug, Clone)]
struct Series {
    question: Question,
    events: u64,
    ns: Rounds,
}

/// One amount of something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    question: &'static str,
    count: usize,
    /// The median of the rounds.
    ns_per_event: f64,
    ns_min: f64,
    ns_max: f64,
    /// By the median of the question's first row; none on the first itself.
    relative: Option<f64>,
}

fn tabulate(all: &[Series]) -> (Vec<Row>, Vec<Measure>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut measures = Vec::new();
    for series in all {
        let name = series.question.name();
        let count = series.question.count();
        let median = series.ns.median();
        let first = rows.iter().find(|row| row.question == name);
        let relative = first.map(|first| median / first.ns_per_event);
        if let Some(first) = first {
            let relative = median / first.ns_per_event;
            match series.question {
                Question::Subscriptions(3) => {
                    let extra = (median - first.ns_per_event) / (count - first.count) as f64;
                    measures.push(Measure::new("extra per subscription", extra));
                }
                Question::Types(_) => {
                    measures.push(Measure::new(format!("types {count}"), relative))
                }
                Question::Threads(_) => measures.push(Measure::new("threads 4x", 1.0 / relative)),
                _ => {}
            }
        }
        rows.push(Row {
            question: name,
            count,
            ns_per_event: median,
            ns_min: series.ns.min(),
            ns_max: series.ns.max(),
            relative,
        });
    }
    (rows, measures)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["<question", "count", "ns/event", "min", "max", "/ first"]);
    for row in rows {
        if row.relative.is_none() {
            table.gap();
        }
        table.row([
            row.question.to_owned(),
            row.count.to_string(),
            format!("{:.1}", row.ns_per_event),
            format!("{:.1}", row.ns_min),
            format!("{:.1}", row.ns_max),
            row.relative
                .map_or_else(String::new, |relative| format!("{relative:.2}")),
        ]);
    }
    table
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort { rounds, round, .. } = setting.effort;
    let mut all: Vec<Series> = questions(setting)
        .into_iter()
        .map(|question| Series {
            question,
            events: PROBE_EVENTS,
            ns: Rounds::default(),
        })
        .collect();
    let names: Vec<String> = all
        .iter()
        .map(|series| format!("{} {}", series.question.count(), series.question.name()))
        .collect();
    // The first round is the probe.
    interleave("scaling", 1 + rounds, &names, |number, index| {
        let series = &mut all[index];
        let ns = series.question.round(setting, series.events)?;
        if number == 0 {
            series.events = setting.effort.events(ns);
        } else {
            series.ns.push(ns);
        }
        Ok(())
    })?;
    let (rows, measures) = tabulate(&all);
    Ok(Findings {
        topic: Topic::Scaling,
        about: format!(
            "ringbolt with its defaults, {rounds} interleaved rounds of about {} ms; medians",
            round.as_millis()
        ),
        tables: vec![table(&rows)],
        legend: if types::COUNT >= MANY_TYPES {
            "threads: half publish, half work, nobody is pinned"
        } else {
            "threads: half publish, half work, nobody is pinned\n10,000 types: only with `--profile many-types --features many-types`, as they take long to compile"
        },
        measures,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(question: Question, ns: f64) -> Series {
        Series {
            question,
            events: PROBE_EVENTS,
            ns: [ns].into_iter().collect(),
        }
    }

    #[test]
    fn each_question_is_held_against_its_first_row() {
        let all = [
            series(Question::Subscriptions(1), 20.0),
            series(Question::Subscriptions(3), 32.0),
            series(Question::Types(1), 10.0),
            series(Question::Types(100), 12.0),
            series(Question::Threads(2), 20.0),
            series(Question::Threads(8), 25.0),
        ];
        let (rows, measures) = tabulate(&all);
        assert_eq!(rows[0].relative, None);
        assert_eq!(rows[3].relative, Some(1.2));
        assert_eq!(
            measures,
            [
                Measure::new("extra per subscription", 6.0),
                Measure::new("types 100", 1.2),
                Measure::new("threads 4x", 0.8),
            ]
        );
    }

    #[test]
    fn every_question_has_a_round() {
        let machine = crate::machine::Machine::look().expect("a machine");
        let setting = Setting {
            machine: &machine,
            effort: Effort::QUICK,
        };
        for question in questions(setting) {
            let ns = question.round(setting, 4_096).expect("a round");
            assert!(ns > 0.0, "{question:?}");
        }
    }
}
