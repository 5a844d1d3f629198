//! `perf soak`: lives of the engine for as long as asked, with zero violations and memory that stays flat.
//!
//! Settings, traffic, faults and stops are drawn from the seed, life by life (`checks` has the lives and the books that
//! are kept of them). No violation is allowed, and the memory that is asked for and not given back between two lives may
//! not grow: the last quarter is compared with the first half. What is resident is told and not judged: the system's
//! allocator keeps arenas for threads that have gone, more of them the more threads meet.
//! What threads did to each other is not in the seed: a life that failed is one to be tried again and again.

use crate::held;
use crate::memory::resident_bytes;
use crate::progress::Progress;
use crate::systems::said;
use checks::life::{Account, Wish, live};
use checks::random::Random;
use checks::settings::Settings;
use checks::watchdog::Watchdog;
use clap::ValueEnum;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long a life is.
const LENGTHS_MS: [u64; 5] = [5, 100, 400, 1_000, 3_000];
/// Growth that is not the engine's: tables of the standard library and of parking_lot, made for as many threads as met.
const GROWTH_BYTES_MAX: i64 = 32 << 10;
/// What the planted leak keeps of each life.
const LEAK_BYTES: usize = 64 << 10;
/// A run of this length has met every kind of fault, or it has looked at nothing.
const EVERYTHING_COMES: Duration = Duration::from_secs(60);

/// A fault that has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// An event of each life is counted and never published
    Loss,
    /// Some memory of each life is kept
    Leak,
}

/// What came of a soak.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    seconds: u64,
    seed: u64,
    lives: u64,
    events: u64,
    calls: u64,
    /// Calls of handlers that failed, by error or by panic.
    failed: u64,
    panicked: u64,
    /// Failed attempts that another was to follow, letters, those that were redelivered, and openings of breakers.
    retries: u64,
    letters: u64,
    redelivered: u64,
    opened: u64,
    /// Deliveries that were abandoned by a stop.
    abandoned: u64,
    /// Publishers and subscriptions that came and went.
    publishers: u64,
    subscriptions: u64,
    /// Pauses of publishers between two bursts.
    pauses: u64,
    /// The most that was held between two lives of the first half.
    held_before_bytes: i64,
    /// The least that was held between two lives of the last quarter.
    held_after_bytes: i64,
    resident_bytes: u64,
    /// Promises that were broken.
    violation_count: u64,
    /// What is wrong, the first of it, word for word.
    wrong: Vec<String>,
}

impl Summary {
    pub(crate) fn is_well(&self) -> bool {
        self.wrong.is_empty()
    }

    fn add(&mut self, account: &Account) {
        self.lives += 1;
        self.events += account.events;
        self.calls += account.calls;
        self.failed += account.failed;
        self.panicked += account.panicked;
        self.retries += account.retries;
        self.letters += account.letters;
        self.redelivered += account.redelivered;
        self.opened += account.opened;
        self.abandoned += account.abandoned;
        self.publishers += u64::from(account.publishers);
        self.subscriptions += u64::from(account.visitors);
        self.pauses += account.pauses;
        self.violation_count += account.wrong_count;
    }

    /// What is wrong with the run as a whole.
    fn judge(&mut self, length: Duration) {
        let (before, after) = (self.held_before_bytes, self.held_after_bytes);
        if after > before + GROWTH_BYTES_MAX {
            let text = format!("memory grows: {before} bytes held became {after}");
            self.wrong.push(text);
        }
        if length < EVERYTHING_COMES {
            return;
        }
        for (what, count) in [
            ("failed calls", self.failed),
            ("panics", self.panicked),
            ("retries", self.retries),
            ("letters", self.letters),
            ("redeliveries that succeed", self.redelivered),
            ("breakers that open", self.opened),
            ("abandoned deliveries", self.abandoned),
            ("publishers that come and go", self.publishers),
            ("subscriptions that come and go", self.subscriptions),
            ("pauses between bursts", self.pauses),
        ] {
            if count == 0 {
                self.wrong.push(format!("a soak without {what}"));
            }
        }
    }

    fn counts(&self) -> String {
        format!(
            "{} lives, {} events, {} calls, {} of them failed, {} by panic; {} retries, {} letters, {} redelivered, breakers opened {} times",
            self.lives,
            self.events,
            self.calls,
            self.failed,
            self.panicked,
            self.retries,
            self.letters,
            self.redelivered,
            self.opened
        )
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!("{} s, seed {}: {}", self.seconds, self.seed, self.counts()),
            format!(
                "{} publishers and {} subscriptions came and went, {} pauses between bursts, {} deliveries abandoned by a stop",
                self.publishers, self.subscriptions, self.pauses, self.abandoned
            ),
            format!(
                "held between lives: at most {} kB in the first half, at least {} kB in the last quarter; {} MB resident",
                self.held_before_bytes >> 10,
                self.held_after_bytes >> 10,
                self.resident_bytes / 1_000_000
            ),
        ];
        lines.extend(self.wrong.iter().cloned());
        lines.push(match self.wrong.len() {
            0 => String::from("verdict: PASSED, zero violations, memory is flat"),
            _ => format!(
                "verdict: FAILED, {} violations; what was drawn: --seed {}",
                self.violation_count, self.seed
            ),
        });
        lines.join("\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(said)
    }
}

/// What is held between two lives.
#[derive(Debug, Default)]
struct Held {
    /// The most of the first half, and what was held after each later life.
    before_bytes: Option<i64>,
    late_bytes: Vec<i64>,
}

impl Held {
    fn look(&mut self, is_late: bool) {
        // What this list itself holds grows with the run and is not the engine's.
        let list = self.late_bytes.capacity() * size_of::<i64>();
        self.note(is_late, held::bytes() - list as i64);
    }

    fn note(&mut self, is_late: bool, held: i64) {
        if is_late {
            self.late_bytes.push(held);
        } else {
            self.before_bytes = self.before_bytes.max(Some(held));
        }
    }

    /// The least of the last quarter: what grows for good is in all of them.
    fn after_bytes(&self) -> Option<i64> {
        let late = &self.late_bytes[self.late_bytes.len() / 2..];
        late.iter().copied().min()
    }
}

/// Lives until the time is up, or until something is wrong.
pub(crate) fn run(length: Duration, seed: u64, plant: Option<Plant>) -> Summary {
    held::start();
    let watchdog = Watchdog::start();
    let progress = Progress::new();
    let born = Instant::now();
    let mut random = Random::new(seed);
    let mut held = Held::default();
    let mut summary = Summary {
        seed,
        ..Summary::default()
    };
    while born.elapsed() < length && summary.is_well() {
        let mut own = random.fork();
        let settings = Settings::draw(&mut own);
        let asked = Duration::from_millis(own.pick(&LENGTHS_MS));
        let wish = Wish {
            length: asked.min(length.saturating_sub(born.elapsed())),
            loses: plant == Some(Plant::Loss),
            ..Wish::default()
        };
        let account = live(&settings, &mut own, wish, &watchdog);
        summary.add(&account);
        if account.wrong_count > 0 {
            summary.wrong = account.wrong;
            summary
                .wrong
                .push(format!("in life {}: {settings:#?}", summary.lives));
            break;
        }
        drop(account);
        if plant == Some(Plant::Leak) {
            std::mem::forget(black_box(vec![1_u8; LEAK_BYTES]));
        }
        held.look(born.elapsed() > length / 2);
        progress.show(|| {
            let (now, end) = (born.elapsed().as_secs(), length.as_secs());
            format!("{now} of {end} s, {}", summary.counts())
        });
    }
    drop(progress);
    summary.seconds = born.elapsed().as_secs();
    summary.resident_bytes = resident_bytes().unwrap_or_default();
    // A run of one life has nothing to compare.
    if let (Some(before), Some(after)) = (held.before_bytes, held.after_bytes()) {
        (summary.held_before_bytes, summary.held_after_bytes) = (before, after);
    }
    if summary.is_well() {
        summary.judge(length);
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met_everything() -> Summary {
        Summary {
            failed: 1,
            panicked: 1,
            retries: 1,
            letters: 1,
            redelivered: 1,
            opened: 1,
            abandoned: 1,
            publishers: 1,
            subscriptions: 1,
            pauses: 1,
            ..Summary::default()
        }
    }

    #[test]
    fn growth_is_what_all_late_lives_hold() {
        let mut held = Held::default();
        for bytes in [1_000, 3_000, 2_000] {
            held.note(false, bytes);
        }
        for bytes in [90_000, 90_000, 50_000, 40_000] {
            held.note(true, bytes);
        }
        assert_eq!(held.before_bytes, Some(3_000));
        assert_eq!(held.after_bytes(), Some(40_000));
        let mut summary = Summary {
            held_before_bytes: 3_000,
            held_after_bytes: 40_000,
            ..met_everything()
        };
        summary.judge(EVERYTHING_COMES);
        assert!(!summary.is_well());
        assert!(
            summary.text().contains("memory grows: 3000"),
            "{}",
            summary.text()
        );
        summary.wrong.clear();
        summary.held_after_bytes = 3_000 + GROWTH_BYTES_MAX;
        summary.judge(EVERYTHING_COMES);
        assert!(summary.is_well(), "{:?}", summary.wrong);
    }

    #[test]
    fn a_long_run_that_met_no_fault_is_a_failure() {
        let mut summary = met_everything();
        summary.panicked = 0;
        summary.judge(EVERYTHING_COMES - Duration::from_secs(1));
        assert!(summary.is_well());
        summary.judge(EVERYTHING_COMES);
        assert_eq!(summary.wrong, ["a soak without panics"]);
    }
}
