//! The bars: what has to come out, and what we aim at.
//!
//! Each row of [`BARS`] is one claim. A command reports what it measured as [`Measure`]s; a bar is held
//! against the measure of its name. A bar whose measure is missing is missed: a check that cannot fail is
//! worse than none.

use crate::table::Table;
use serde::Serialize;

/// The command that measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Compare,
    Latency,
    Scaling,
    Idle,
    Memory,
    Failing,
    Store,
    Instructions,
}

/// What a bar's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Ours / theirs, or ours here / ours there.
    Ratio,
    Nanoseconds,
    /// Of one core.
    Percent,
    Events,
    Megabytes,
    Bytes,
    /// For each event.
    Instructions,
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}"),
            Self::Nanoseconds => format!("{value:.1} ns"),
            Self::Percent => format!("{value:.2} %"),
            Self::Events => format!("{value:.0} events"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Bytes => format!("{value:.0} bytes"),
            Self::Instructions => format!("{value:.1}"),
        }
    }
}

/// On which side of its number a measure has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

/// One claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) topic: Topic,
    /// The name of the measure.
    pub(crate) measure: &'static str,
    what: &'static str,
    unit: Unit,
    side: Side,
    must: f64,
    aim: Option<f64>,
}

const fn at_most(
    topic: Topic,
    measure: &'static str,
    what: &'static str,
    unit: Unit,
    must: f64,
    aim: Option<f64>,
) -> Bar {
    Bar {
        topic,
        measure,
        what,
        unit,
        side: Side::AtMost,
        must,
        aim,
    }
}

const fn at_least(
    topic: Topic,
    measure: &'static str,
    what: &'static str,
    unit: Unit,
    must: f64,
    aim: Option<f64>,
) -> Bar {
    Bar {
        side: Side::AtLeast,
        ..at_most(topic, measure, what, unit, must, aim)
    }
}

/// A bar of `compare` is named after its row: topology, batch, stamps, wake, peer.
const fn row(measure: &'static str, what: &'static str, must: f64, aim: f64) -> Bar {
    at_most(Topic::Compare, measure, what, Unit::Ratio, must, Some(aim))
}

const fn latency(measure: &'static str, what: &'static str, must: f64, aim: f64) -> Bar {
    at_most(Topic::Latency, measure, what, Unit::Ratio, must, Some(aim))
}

/// All bars, in the order in which they are printed.
pub(crate) const BARS: &[Bar] = &[
    row(
        "one_to_one 1 adaptive asymmetric crossbeam-channel",
        "one publish, all defaults / crossbeam-channel",
        0.8,
        0.6,
    ),
    row(
        "one_to_one 1 sampled asymmetric crossbeam-channel",
        "one publish, stamps sampled / crossbeam-channel",
        0.6,
        0.45,
    ),
    row(
        "one_to_one 64 adaptive fence crossbeam-channel",
        "batches of 64, fence wake / crossbeam-channel",
        0.7,
        0.45,
    ),
    row(
        "one_to_one 1 each asymmetric crossbeam-channel",
        "one publish, stamps at both ends of each / crossbeam-channel",
        1.0,
        0.8,
    ),
    row(
        "one_to_one 1 adaptive asymmetric rtrb",
        "one publish, all defaults / rtrb, 128 bytes",
        3.0,
        2.0,
    ),
    row(
        "one_to_one 64 adaptive asymmetric disruptor-rs-single",
        "batches of 64 / disruptor-rs batch_publish, 128 bytes",
        2.5,
        1.5,
    ),
    row(
        "two_to_one 1 adaptive asymmetric crossbeam-channel",
        "two publishers / crossbeam-channel",
        0.9,
        0.55,
    ),
    row(
        "four_to_one 1 adaptive asymmetric crossbeam-channel",
        "four publishers / crossbeam-channel",
        0.9,
        0.55,
    ),
    row(
        "two_to_one 1 adaptive asymmetric disruptor-rs-multi",
        "two publishers / disruptor-rs, many producers",
        0.15,
        0.08,
    ),
    row(
        "four_to_one 1 adaptive asymmetric disruptor-rs-multi",
        "four publishers / disruptor-rs, many producers",
        0.15,
        0.08,
    ),
    row(
        "one_to_two_keyed 1 adaptive asymmetric crossbeam-channel",
        "two workers, keyed / two crossbeam-channels by hash",
        1.0,
        0.7,
    ),
    latency(
        "open_loop busy_spin 100000 p50",
        "100,000/s, p50, busy spin / try_recv",
        0.8,
        0.55,
    ),
    latency(
        "open_loop busy_spin 100000 p90",
        "100,000/s, p90, busy spin / try_recv",
        0.8,
        0.55,
    ),
    latency(
        "open_loop busy_spin 1000000 p50",
        "1,000,000/s, p50, busy spin / try_recv",
        0.8,
        0.55,
    ),
    latency(
        "open_loop busy_spin 1000000 p90",
        "1,000,000/s, p90, busy spin / try_recv",
        0.8,
        0.55,
    ),
    latency(
        "open_loop adaptive 100000 p50",
        "100,000/s, p50, all defaults / recv",
        0.1,
        0.03,
    ),
    latency(
        "open_loop busy_spin 100000 p99",
        "100,000/s, p99, busy spin / try_recv",
        2.0,
        1.0,
    ),
    latency(
        "open_loop busy_spin 1000000 p99",
        "1,000,000/s, p99, busy spin / try_recv",
        2.0,
        1.0,
    ),
    latency(
        "open_loop adaptive 100000 p99",
        "100,000/s, p99, all defaults / recv",
        2.0,
        1.0,
    ),
    latency(
        "wake p50",
        "wake of a parked worker, p50 / a bare Thread::unpark",
        1.3,
        1.1,
    ),
    at_most(
        Topic::Scaling,
        "extra per subscription",
        "each subscription of a type after the first",
        Unit::Nanoseconds,
        14.0,
        Some(6.0),
    ),
    at_most(
        Topic::Scaling,
        "types 100",
        "100 types at random / 1 type",
        Unit::Ratio,
        1.5,
        Some(1.1),
    ),
    at_most(
        Topic::Scaling,
        "types 10000",
        "10,000 types at random / 1 type",
        Unit::Ratio,
        4.0,
        Some(2.5),
    ),
    Bar {
        topic: Topic::Scaling,
        measure: "threads 4x",
        what: "throughput, threads = 4 x cores / threads = cores",
        unit: Unit::Ratio,
        side: Side::AtLeast,
        must: 0.7,
        aim: Some(0.9),
    },
    at_most(
        Topic::Idle,
        "idle processor time",
        "two idle workers, adaptive: of one core",
        Unit::Percent,
        1.0,
        Some(0.0),
    ),
    // A batch holds 128 events by default, and ends after 20 us: 20 events of 1 us.
    at_most(
        Topic::Idle,
        "low before critical",
        "low events before a critical one: one batch",
        Unit::Events,
        128.0,
        None,
    ),
    at_most(
        Topic::Idle,
        "low before critical, 1 us each",
        "low events of 1 us before a critical one: 20 us",
        Unit::Events,
        20.0,
        None,
    ),
    at_most(
        Topic::Memory,
        "started",
        "resident memory of a default engine",
        Unit::Megabytes,
        10.0,
        Some(4.0),
    ),
    at_most(
        Topic::Memory,
        "1000 subscriptions",
        "the same, 1,000 subscriptions used, two workers",
        Unit::Megabytes,
        96.0,
        Some(32.0),
    ),
    at_most(
        Topic::Failing,
        "some fail once, no key, 1 %",
        "1 % fail once, no key, no delay / none",
        Unit::Ratio,
        1.5,
        None,
    ),
    at_most(
        Topic::Failing,
        "the same, handling alone, 1 %",
        "the same, handling alone",
        Unit::Ratio,
        1.5,
        None,
    ),
    at_most(
        Topic::Failing,
        "a letter, asked for, each attempt in its own words",
        "each of a million letters, beside the payload",
        Unit::Bytes,
        512.0,
        None,
    ),
    at_most(
        Topic::Store,
        "append, one thread",
        "append, one thread / locked Vec",
        Unit::Ratio,
        0.4,
        Some(0.2),
    ),
    at_most(
        Topic::Store,
        "append, two threads",
        "append, two threads / locked Vec",
        Unit::Ratio,
        0.45,
        None,
    ),
    at_least(
        Topic::Store,
        "append, batches of 16",
        "batches of 16, two threads / one, throughput",
        Unit::Ratio,
        1.5,
        None,
    ),
    at_most(
        Topic::Store,
        "scan",
        "scan of a gibibyte / memcpy",
        Unit::Ratio,
        2.0,
        None,
    ),
    at_most(
        Topic::Store,
        "latest of a random stream",
        "latest of a million streams / three dependent loads",
        Unit::Ratio,
        1.0,
        None,
    ),
    at_most(
        Topic::Store,
        "handled, one worker",
        "append to handled / publish to handled",
        Unit::Ratio,
        2.5,
        None,
    ),
    at_most(
        Topic::Store,
        "append, p99.9 by p50",
        "append, p99.9 / p50",
        Unit::Ratio,
        20.0,
        None,
    ),
    at_most(
        Topic::Store,
        "an event, beside its payload",
        "an event beside its payload, indexes included",
        Unit::Bytes,
        128.0,
        None,
    ),
    at_least(
        Topic::Store,
        "projection",
        "projection of ten million events, million a second",
        Unit::Ratio,
        10.0,
        None,
    ),
    at_most(
        Topic::Instructions,
        "handle-policies",
        "retry, count window and dead letters, beyond handle",
        Unit::Instructions,
        8.0,
        Some(0.0),
    ),
    at_most(
        Topic::Instructions,
        "handle-policies-time",
        "retry, time window and dead letters, beyond handle",
        Unit::Instructions,
        8.0,
        Some(0.0),
    ),
];

/// A number that a command has found, under the name that a bar knows it by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) value: f64,
}

impl Measure {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Missed,
    NotMeasured,
    Met,
    AimReached,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Missed => "MISSED",
            Self::NotMeasured => "NOT MEASURED",
            Self::Met => "met",
            Self::AimReached => "met, and the aim",
        }
    }

    const fn is_met(self) -> bool {
        matches!(self, Self::Met | Self::AimReached)
    }
}

/// A bar, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judgement {
    what: &'static str,
    measure: &'static str,
    value: Option<f64>,
    side: &'static str,
    must: f64,
    aim: Option<f64>,
    outcome: Outcome,
    #[serde(skip)]
    unit: Unit,
}

impl Bar {
    /// At the bar is met. What is not a number is not measured.
    fn judge(&self, value: Option<f64>) -> Judgement {
        let value = value.filter(|value| value.is_finite());
        let reaches = |limit: f64, value: f64| match self.side {
            Side::AtMost => value <= limit,
            Side::AtLeast => value >= limit,
        };
        let outcome = match value {
            None => Outcome::NotMeasured,
            Some(value) if !reaches(self.must, value) => Outcome::Missed,
            Some(value) if self.aim.is_some_and(|aim| reaches(aim, value)) => Outcome::AimReached,
            Some(_) => Outcome::Met,
        };
        Judgement {
            what: self.what,
            measure: self.measure,
            value,
            side: match self.side {
                Side::AtMost => "at most",
                Side::AtLeast => "at least",
            },
            must: self.must,
            aim: self.aim,
            outcome,
            unit: self.unit,
        }
    }
}

/// Holds the bars of a topic against what was measured.
pub(crate) fn judge(topic: Topic, measures: &[Measure]) -> Vec<Judgement> {
    BARS.iter()
        .filter(|bar| bar.topic == topic)
        .map(|bar| {
            let measure = measures.iter().find(|measure| measure.name == bar.measure);
            bar.judge(measure.map(|measure| measure.value))
        })
        .collect()
}

/// The bars as a table.
pub(crate) fn text(judgements: &[Judgement]) -> String {
    let mut table = Table::new(["<bar", "measured", "must be", "aim", "<"]);
    for judgement in judgements {
        let unit = judgement.unit;
        table.row([
            judgement.what.to_owned(),
            judgement
                .value
                .map_or_else(|| String::from("-"), |value| unit.text(value)),
            format!("{} {}", judgement.side, unit.text(judgement.must)),
            judgement
                .aim
                .map_or_else(|| String::from("-"), |aim| unit.text(aim)),
            judgement.outcome.name().to_owned(),
        ]);
    }
    table.text()
}

/// One line, and whether all is well.
pub(crate) fn verdict(judgements: &[Judgement]) -> (String, bool) {
    let count = judgements.len();
    let met = judgements.iter().filter(|j| j.outcome.is_met()).count();
    let aimed = judgements
        .iter()
        .filter(|j| j.outcome == Outcome::AimReached)
        .count();
    let failed: Vec<&str> = judgements
        .iter()
        .filter(|j| !j.outcome.is_met())
        .map(|j| j.what)
        .collect();
    if failed.is_empty() {
        let text = format!("verdict: PASSED, {met} of {count} bars met, {aimed} reach the aim");
        (text, true)
    } else {
        let text = format!(
            "verdict: MISSED, {met} of {count} bars met; not met: {}",
            failed.join("; ")
        );
        (text, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bar: &Bar, value: Option<f64>, expected: Outcome) {
        assert_eq!(bar.judge(value).outcome, expected, "{value:?}");
    }

    #[test]
    fn a_bar_is_met_at_its_number_and_missed_beyond() {
        let bar = row("name", "what", 0.8, 0.6);
        check(&bar, Some(0.81), Outcome::Missed);
        check(&bar, Some(0.8), Outcome::Met);
        check(&bar, Some(0.61), Outcome::Met);
        check(&bar, Some(0.6), Outcome::AimReached);
        let bar = Bar {
            side: Side::AtLeast,
            aim: Some(0.9),
            ..bar
        };
        check(&bar, Some(0.79), Outcome::Missed);
        check(&bar, Some(0.8), Outcome::Met);
        check(&bar, Some(0.95), Outcome::AimReached);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let bar = row("name", "what", 0.8, 0.6);
        check(&bar, None, Outcome::NotMeasured);
        check(&bar, Some(f64::NAN), Outcome::NotMeasured);
        check(&bar, Some(f64::INFINITY), Outcome::NotMeasured);
        assert!(!verdict(&judge(Topic::Memory, &[])).1);
    }

    #[test]
    fn one_missed_bar_is_a_missed_verdict() {
        let good = [
            Measure::new("started", 3.0),
            Measure::new("1000 subscriptions", 96.0),
        ];
        let (text, is_met) = verdict(&judge(Topic::Memory, &good));
        assert!(is_met, "{text}");
        assert_eq!(text, "verdict: PASSED, 2 of 2 bars met, 1 reach the aim");
        let bad = [
            Measure::new("started", 3.0),
            Measure::new("1000 subscriptions", 96.1),
        ];
        let (text, is_met) = verdict(&judge(Topic::Memory, &bad));
        assert!(!is_met, "{text}");
        assert!(text.starts_with("verdict: MISSED, 1 of 2"), "{text}");
    }

    #[test]
    fn no_two_bars_share_a_measure_and_no_aim_lies_behind_its_bar() {
        for (index, bar) in BARS.iter().enumerate() {
            assert!(
                BARS[..index].iter().all(|b| b.measure != bar.measure),
                "{}",
                bar.measure
            );
            let Some(aim) = bar.aim else { continue };
            match bar.side {
                Side::AtMost => assert!(aim <= bar.must, "{}", bar.measure),
                Side::AtLeast => assert!(aim >= bar.must, "{}", bar.measure),
            }
        }
    }
}
