//! Lives of the engine for as long as asked: `soak [--minutes N] [--seed S] [--plant loss|leak]`.
//!
//! Settings, traffic and stops are drawn from the seed, life by life. Zero violations are allowed, and the memory that is
//! asked for and not given back between two lives may not grow: the last quarter is compared with the first half. What
//! is resident is told and not judged: the system's allocator keeps arenas for threads that have gone, more of them the
//! more threads meet.
//! A terminal gets a progress line. What threads did to each other is not in the seed: a life that failed is one to be
//! tried again and again.

#[path = "../../../tests/support/counting.rs"]
mod counting;

use checks::arguments::Arguments;
use checks::life::{Wish, live};
use checks::memory::resident_bytes;
use checks::random::Random;
use checks::settings::Settings;
use checks::watchdog::Watchdog;
use std::hint::black_box;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longest and shortest life.
const LENGTHS_MS: [u64; 5] = [5, 100, 400, 1_000, 3_000];
/// Growth that is not the engine's: tables of the standard library and of parking_lot, made for as many threads as met.
const GROWTH_BYTES_MAX: i64 = 32 << 10;
/// What the planted leak keeps of each life.
const LEAK_BYTES: usize = 64 << 10;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() -> ExitCode {
    let arguments = Arguments::read(&["minutes", "seed", "plant"]);
    let minutes: f64 = arguments.value("minutes", 10.0);
    let seed: u64 = arguments.value("seed", std::process::id().into());
    let fault = arguments.plant(&["loss", "leak"]);
    let end = Duration::from_secs_f64(minutes * 60.0);
    let watchdog = Watchdog::start();
    let born = Instant::now();
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while born.elapsed() < end {
        let mut own = random.fork();
        let settings = Settings::draw(&mut own);
        let length = Duration::from_millis(own.pick(&LENGTHS_MS));
        let wish = Wish {
            length: length.min(end.saturating_sub(born.elapsed())),
            loses: fault == "loss",
            ..Wish::default()
        };
        let account = live(&settings, &mut own, wish, &watchdog);
        tally.lives += 1;
        tally.events += account.events;
        tally.calls += account.calls;
        tally.abandoned += account.abandoned;
        tally.visitors += u64::from(account.visitors);
        if account.wrong_count > 0 {
            eprintln!("\n{settings:#?}\n{}", account.wrong.join("\n"));
            eprintln!(
                "{} violations in life {}, seed {seed}",
                account.wrong_count, tally.lives
            );
            return ExitCode::FAILURE;
        }
        if fault == "leak" {
            std::mem::forget(black_box(vec![1_u8; LEAK_BYTES]));
        }
        tally.look(born.elapsed() > end / 2);
        tally.show(born.elapsed(), end);
    }
    tally.sum_up(born.elapsed(), seed)
}

#[derive(Debug, Default)]
struct Tally {
    lives: u64,
    events: u64,
    calls: u64,
    abandoned: u64,
    visitors: u64,
    /// The most that was held between two lives of the first half, and what was held after each later one.
    before_bytes: i64,
    recent_bytes: Vec<i64>,
}

impl Tally {
    fn look(&mut self, is_late: bool) {
        // What this list itself holds grows with the run and is not the engine's.
        let list = self.recent_bytes.capacity() * size_of::<i64>();
        let held = counting::live_bytes() - list as i64;
        if is_late {
            self.recent_bytes.push(held);
        } else {
            self.before_bytes = self.before_bytes.max(held);
        }
    }

    /// The least of the last quarter: what grows for good is in all of them.
    fn after_bytes(&self) -> i64 {
        let late = &self.recent_bytes[self.recent_bytes.len() / 2..];
        late.iter().copied().min().unwrap_or_default()
    }

    fn show(&self, elapsed: Duration, end: Duration) {
        if !stderr().is_terminal() {
            return;
        }
        eprint!(
            "\r{:>5} of {} s, {} lives, {} events, {} calls, {} MB resident ",
            elapsed.as_secs(),
            end.as_secs(),
            self.lives,
            self.events,
            self.calls,
            resident_bytes().unwrap_or_default() >> 20
        );
        let _ = stderr().flush();
    }

    fn sum_up(&self, elapsed: Duration, seed: u64) -> ExitCode {
        if stderr().is_terminal() {
            eprintln!();
        }
        let (before, after) = (self.before_bytes, self.after_bytes());
        println!(
            "{} s: {} lives, {} events, {} calls, {} abandoned, {} subscriptions that came and went; at most {} kB held between lives in the first half, at least {} kB in the last quarter; {} MB resident",
            elapsed.as_secs(),
            self.lives,
            self.events,
            self.calls,
            self.abandoned,
            self.visitors,
            before >> 10,
            after >> 10,
            resident_bytes().unwrap_or_default() >> 20
        );
        if after > before + GROWTH_BYTES_MAX {
            eprintln!("memory grows: {before} bytes became {after}, seed {seed}");
            return ExitCode::FAILURE;
        }
        println!("nothing wrong (seed {seed})");
        ExitCode::SUCCESS
    }
}
