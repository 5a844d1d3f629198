//! `perf store`: what it costs to append, to read, and to have appended events handled.
//!
//! Appends are held against a `Mutex` around a `Vec` of records and a hash map of streams, which is what one writes at
//! first; both on fresh memory, as a log only grows. Reads are held against `memcpy` and against loads that wait for each
//! other. Rounds of all questions are interleaved.

mod appending;
mod handling;
mod projecting;
mod reading;
mod taken;

use crate::bars::{Measure, Topic};
use crate::effort::{Effort, Setting};
use crate::findings::Findings;
use crate::rows::{self, Row};
use crate::statistics::{Rounds, interleave};
pub(crate) use appending::Changed;
pub(crate) use taken::child;

/// What is asked, and of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// One thread appends single events.
    One(Peer),
    /// Two threads do.
    Two(Peer),
    /// So many threads append batches of 16.
    Batches(u64),
    /// All of a log is read, or copied.
    Scan(Peer),
    /// The latest event of a random stream of many, or so many loads that wait for each other.
    Latest(Peer),
    /// From publish, or from append, to handled.
    Handled(Peer),
}

/// Ours, or what it is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Other,
    Ours,
}

use Peer::{Other, Ours};

/// The first of each name is what the others are held against.
const QUESTIONS: [Question; 12] = [
    Question::One(Other),
    Question::One(Ours),
    Question::Two(Other),
    Question::Two(Ours),
    Question::Batches(1),
    Question::Batches(2),
    Question::Scan(Other),
    Question::Scan(Ours),
    Question::Latest(Other),
    Question::Latest(Ours),
    Question::Handled(Other),
    Question::Handled(Ours),
];

impl Question {
    const fn name(self) -> &'static str {
        match self {
            Self::One(_) => "append, one thread",
            Self::Two(_) => "append, two threads",
            Self::Batches(_) => "append, batches of 16",
            Self::Scan(_) => "scan",
            Self::Latest(_) => "latest of a random stream",
            Self::Handled(_) => "handled, one worker",
        }
    }

    const fn case(self) -> &'static str {
        match self {
            Self::One(Other) | Self::Two(Other) => "locked Vec",
            Self::One(Ours) | Self::Two(Ours) | Self::Scan(Ours) | Self::Latest(Ours) => "ringbolt",
            Self::Batches(1) => "one thread",
            Self::Batches(_) => "two threads",
            Self::Scan(Other) => "memcpy",
            Self::Latest(Other) => "three loads",
            Self::Handled(Other) => "published",
            Self::Handled(Ours) => "appended",
        }
    }

    /// What a round's number counts.
    const fn unit(self) -> &'static str {
        match self {
            Self::Scan(_) => "ns/KiB",
            Self::Latest(_) => "ns/look",
            _ => "ns/event",
        }
    }

    fn round(self, setting: Setting<'_>, kept: &Kept) -> Result<f64, String> {
        let effort = setting.effort;
        match self {
            Self::One(Other) => Ok(appending::locked(effort, 1)),
            Self::One(Ours) => appending::single(effort, 1),
            Self::Two(Other) => Ok(appending::locked(effort, 2)),
            Self::Two(Ours) => appending::single(effort, 2),
            Self::Batches(threads) => appending::batches(effort, threads as usize),
            Self::Scan(Other) => kept.log.copy(),
            Self::Scan(Ours) => kept.log.scan(),
            Self::Latest(Other) => Ok(kept.chain.walk()),
            Self::Latest(Ours) => kept.streams.look(),
            Self::Handled(Other) => handling::published(setting),
            Self::Handled(Ours) => handling::appended(setting),
        }
    }
}

/// What is made once and read in every round.
struct Kept {
    log: reading::Log,
    chain: reading::Chain,
    streams: reading::Streams,
}

#[derive(Debug, Clone)]
struct Series {
    question: Question,
    rounds: Rounds,
}

fn cases(all: &[Series]) -> Vec<rows::Case<'_>> {
    all.iter()
        .map(|series| rows::Case {
            question: series.question.name(),
            case: series.question.case().to_owned(),
            unit: series.question.unit(),
            rounds: &series.rounds,
        })
        .collect()
}

/// A time's measure is what it is relative to its question's first row; of throughput, the other way round.
fn measures(rows: &[Row]) -> Vec<Measure> {
    rows.iter()
        .filter_map(|row| {
            let value = row.relative?;
            let value = if row.question == "append, batches of 16" {
                1.0 / value
            } else {
                value
            };
            Some(Measure::new(row.question, value))
        })
        .collect()
}

pub(crate) fn run(setting: Setting<'_>) -> Result<Findings<Row>, String> {
    let Effort { rounds, .. } = setting.effort;
    let bytes_each = taken::measure()?;
    let kept = Kept {
        log: reading::Log::make()?,
        chain: reading::Chain::make(),
        streams: reading::Streams::make()?,
    };
    let mut all: Vec<Series> = QUESTIONS
        .into_iter()
        .map(|question| Series {
            question,
            rounds: Rounds::default(),
        })
        .collect();
    let names: Vec<String> = QUESTIONS
        .iter()
        .map(|question| format!("{}, {}", question.name(), question.case()))
        .collect();
    // The first round is thrown away.
    interleave("store", 1 + rounds, &names, |number, index| {
        let series = &mut all[index];
        let ns = series.question.round(setting, &kept)?;
        if number > 0 {
            series.rounds.push(ns);
        }
        Ok(())
    })?;
    let mut rows = rows::tabulate(&cases(&all));
    let mut measures = measures(&rows);
    for (case, is_populated) in [("made ahead", true), ("made when needed", false)] {
        let [p50, p999] = appending::tail(is_populated)?;
        let ratio = p999 / p50;
        rows.push(Row {
            min: p50,
            max: p999,
            ..Row::single("append, p99.9 by p50", case, "p50 and p99.9 in ns", ratio)
        });
        if is_populated {
            measures.push(Measure::new("append, p99.9 by p50", ratio));
        }
    }
    rows.push(Row::single(
        "an event, beside its payload",
        "10,000 streams",
        "bytes",
        bytes_each,
    ));
    let millions = projecting::millions_a_second()?;
    rows.push(Row::single(
        "projection",
        "10 million events",
        "million events/s",
        millions,
    ));
    measures.push(Measure::new("projection", millions));
    measures.push(Measure::new("an event, beside its payload", bytes_each));
    Ok(Findings {
        topic: Topic::Store,
        about: format!(
            "an event store with its defaults, {rounds} interleaved rounds, 64-byte plain old data to 10,000 streams by name; medians"
        ),
        tables: vec![rows::table(&rows)],
        legend: "/ first: each round by that of the question's first row in the same turn, the median of these\nthreads: time by events of all threads together; locked Vec: parking_lot::Mutex around a Vec of 160-byte records and a hash map of streams, made anew in each round as the log is",
        measures,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BARS;

    fn series(question: Question, ns: &[f64]) -> Series {
        Series {
            question,
            rounds: ns.iter().copied().collect(),
        }
    }

    #[test]
    fn throughput_of_two_threads_is_held_against_one() {
        let all = [
            series(Question::Batches(1), &[30.0, 300.0]),
            series(Question::Batches(2), &[15.0, 150.0]),
        ];
        assert_eq!(
            measures(&rows::tabulate(&cases(&all))),
            [Measure::new("append, batches of 16", 2.0)]
        );
    }

    #[test]
    fn every_bar_of_the_store_has_its_row() {
        let all = QUESTIONS.map(|question| series(question, &[1.0]));
        let mut names: Vec<String> = measures(&rows::tabulate(&cases(&all)))
            .into_iter()
            .map(|measure| measure.name)
            .collect();
        names.extend(
            [
                "append, p99.9 by p50",
                "an event, beside its payload",
                "projection",
            ]
            .map(String::from),
        );
        let mut bars = BARS.iter().filter(|bar| bar.topic == Topic::Store);
        assert!(bars.all(|bar| names.iter().any(|name| name == bar.measure)));
    }
}
