//! The result of a run, as one JSON object and as text.

use crate::check::Tally;
use crate::faults::has_given_up;
use ringbolt::BreakerTransitions;
use ringbolt::metrics::{AttemptCounts, Latency, Report};
use ringbolt::store::StoreStats;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What became of the events. Figures are deliveries: `admitted` is the sum of `handled`, `failed`,
/// `dead_lettered`, `skipped`, `withdrawn` and `abandoned`; `dropped` was never admitted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) admitted: u64,
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) skipped: u64,
    pub(crate) withdrawn: u64,
    pub(crate) abandoned: u64,
    pub(crate) dropped: u64,
    /// Attempts that failed, by error or panic, whatever followed.
    pub(crate) failed_attempts: u64,
    /// Failed attempts that another one followed.
    pub(crate) retries: u64,
    /// Attempts that took longer than `--slow` says.
    pub(crate) timeouts: u64,
    /// How often the circuit breaker changed its state.
    pub(crate) breaker_transitions: u64,
    #[serde(skip)]
    transitions: Option<BreakerTransitions>,
    /// The letters that are there at the end, by their reason.
    pub(crate) letters: BTreeMap<String, u64>,
    /// Events that came out of the order of their key, or are missing from it without a letter; 0 unless the
    /// engine is broken.
    pub(crate) order_violations: u64,
    /// Lines of the input that could not be read.
    pub(crate) bad_lines: u64,
    /// Handled events over the time from the first publish to the last outcome.
    pub(crate) events_per_second: f64,
    pub(crate) latency: Latencies,
    /// `each` or `adaptive`: whether every event was stamped, or short handlers by the group.
    pub(crate) stamps: &'static str,
    /// Events handled, by the name of their type.
    pub(crate) types: BTreeMap<String, u64>,
    /// What became of a file's letters; the other figures are of their deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redelivery: Option<Redelivery>,
    /// What became of a log's events; the other figures are of their deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Replay>,
    /// What the event store has, if the run had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<StoreStats>,
}

/// What became of a log's events.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Replay {
    /// Events in the file.
    pub(crate) events: u64,
    /// Those of them that were meant, and dispatched.
    pub(crate) dispatched: u64,
}

/// What became of a file's letters.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Redelivery {
    /// Letters that were meant.
    pub(crate) chosen: u64,
    /// Those of them that the run could read: it has their types and their subscription.
    pub(crate) imported: u64,
    /// Letters that were handled, and are gone.
    pub(crate) handled: u64,
    /// Letters that failed again.
    pub(crate) failed_again: u64,
    /// Letters that were not delivered.
    pub(crate) given_up: u64,
    /// Letters in the file now.
    pub(crate) left: u64,
}

/// All in nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latencies {
    pub(crate) queue_wait: Figures,
    pub(crate) handler: Figures,
    pub(crate) end_to_end: Figures,
}

/// A distribution in a few figures, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) p99_99: u64,
    pub(crate) max: u64,
}

impl Figures {
    fn of(latency: &Latency) -> Self {
        let summary = latency.summary();
        Self {
            count: summary.count,
            p50: summary.p50,
            p90: summary.p90,
            p99: summary.p99,
            p99_9: summary.p99_9,
            p99_99: summary.p99_99,
            max: summary.max,
        }
    }
}

/// What the breaker and the dead-letter queue have to say.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    /// `None` without a breaker.
    pub(crate) transitions: Option<BreakerTransitions>,
    /// Letters by their reason.
    pub(crate) letters: BTreeMap<String, u64>,
}

impl Summary {
    /// Puts together what the engine, the self-check and the reader have counted.
    pub(crate) fn new(
        report: &Report,
        tally: Tally,
        failing: Failing,
        bad_lines: u64,
        elapsed: Duration,
    ) -> Self {
        let totals = report.totals;
        let mut attempts = AttemptCounts::default();
        for subscription in &report.subscriptions {
            attempts.add(&subscription.attempts);
        }
        let Failing {
            transitions,
            letters,
        } = failing;
        let per_second = totals.handled as f64 / elapsed.as_secs_f64();
        Self {
            admitted: totals.admitted,
            handled: totals.handled,
            failed: totals.failed,
            dead_lettered: totals.dead_lettered,
            skipped: totals.skipped,
            withdrawn: totals.withdrawn,
            abandoned: totals.abandoned,
            dropped: report.dropped,
            failed_attempts: attempts.failed_attempts,
            retries: attempts.retries,
            timeouts: attempts.timeouts,
            breaker_transitions: transitions.map_or(0, |transitions| transitions.total()),
            transitions,
            letters,
            order_violations: tally.order_violations,
            bad_lines,
            events_per_second: if per_second.is_finite() {
                (per_second * 10.0).round() / 10.0
            } else {
                0.0
            },
            latency: Latencies {
                queue_wait: Figures::of(&report.queue_wait),
                handler: Figures::of(&report.handler),
                end_to_end: Figures::of(&report.end_to_end),
            },
            stamps: report.stamps.name(),
            types: tally.types,
            redelivery: None,
            replay: None,
            store: None,
        }
    }

    /// The object in one line.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// What the engine's own table does not say, for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} events handled, {} a second",
            grouped(self.handled),
            grouped(self.events_per_second as u64)
        );
        let _ = writeln!(text, "order violations: {}", grouped(self.order_violations));
        if let Some(redelivery) = &self.redelivery {
            let _ = writeln!(
                text,
                "redelivered: {} of {} letters handled, {} failed again, {} given up; {} left",
                grouped(redelivery.handled),
                grouped(redelivery.chosen),
                grouped(redelivery.failed_again),
                grouped(redelivery.given_up),
                grouped(redelivery.left)
            );
        }
        if let Some(replay) = &self.replay {
            let _ = writeln!(
                text,
                "replayed: {} of {} events",
                grouped(replay.dispatched),
                grouped(replay.events)
            );
        }
        self.tell_failing(&mut text);
        if self.bad_lines > 0 {
            let _ = writeln!(text, "bad lines: {}", grouped(self.bad_lines));
        }
        if !self.types.is_empty() {
            text.push('\n');
        }
        let rows: Vec<(String, String)> = self
            .types
            .iter()
            .map(|(name, count)| (shortened(&printable(name)), grouped(*count)))
            .collect();
        let width = |cells: &mut dyn Iterator<Item = &String>| {
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let name_width = width(&mut rows.iter().map(|(name, _)| name));
        let count_width = width(&mut rows.iter().map(|(_, count)| count));
        for (name, count) in &rows {
            let _ = writeln!(text, "{name:name_width$}  {count:>count_width$}");
        }
        text
    }
}

impl Summary {
    /// What failed, and that nothing is unaccounted for; nothing where nothing was to fail and nothing did.
    fn tell_failing(&self, text: &mut String) {
        if self.transitions.is_none() && self.failed_attempts == 0 && self.dead_lettered == 0 {
            return;
        }
        let endings = [
            (self.handled, "handled"),
            (self.failed, "failed"),
            (self.dead_lettered, "dead-lettered"),
            (self.skipped, "skipped"),
            (self.withdrawn, "withdrawn"),
            (self.abandoned, "abandoned"),
        ];
        let ended: u64 = endings.iter().map(|(count, _)| count).sum();
        let told: Vec<String> = endings
            .iter()
            .filter(|(count, name)| *count > 0 || ["handled", "dead-lettered"].contains(name))
            .map(|(count, name)| format!("{} {name}", grouped(*count)))
            .collect();
        let sign = if ended == self.admitted { "=" } else { "≠" };
        let _ = writeln!(
            text,
            "accounted for: {} admitted {sign} {}",
            grouped(self.admitted),
            told.join(" + ")
        );
        let _ = writeln!(
            text,
            "attempts: {} failed, {} retried, {} over their time",
            grouped(self.failed_attempts),
            grouped(self.retries),
            grouped(self.timeouts)
        );
        if let Some(made) = &self.transitions {
            let _ = writeln!(
                text,
                "breaker: {} transitions, opened {}, closed {}{}",
                grouped(made.total()),
                grouped(made.to_open),
                grouped(made.to_closed),
                if has_given_up(made) {
                    ", then disabled so that the run ends"
                } else {
                    ""
                }
            );
        }
        let reasons: Vec<String> = self
            .letters
            .iter()
            .map(|(reason, count)| format!("{reason} {}", grouped(*count)))
            .collect();
        let _ = writeln!(
            text,
            "dead letters: {}{}",
            grouped(self.letters.values().sum()),
            if reasons.is_empty() {
                String::new()
            } else {
                format!(" ({})", reasons.join(", "))
            }
        );
    }
}

/// A name that fits a table: a long one ends in dots. The JSON has it whole.
pub(crate) fn shortened(name: &str) -> String {
    const WIDTH_MAX: usize = 60;
    if name.chars().count() <= WIDTH_MAX {
        return name.to_owned();
    }
    let kept: String = name.chars().take(WIDTH_MAX - 3).collect();
    format!("{kept}...")
}

/// A name from the input with what would move the cursor or break the line escaped.
pub(crate) fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

/// A number with a comma at every thousand.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_fits_the_table() {
        let text = shortened(&"x".repeat(70_000));
        assert_eq!(text.chars().count(), 60);
        assert!(text.ends_with("..."));
        assert_eq!(shortened("order.placed"), "order.placed");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(2_000_000), "2,000,000");
        assert_eq!(printable("a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
    }

    #[test]
    fn figures_are_those_of_the_distribution() {
        let mut latency = Latency::new();
        for ns in 1..=1_000 {
            latency.record(ns);
        }
        let figures = Figures::of(&latency);
        assert_eq!(
            (figures.count, figures.p50, figures.max),
            (1_000, 500, 1_000)
        );
    }
}
