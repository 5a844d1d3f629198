//! Lives of the engine and of its store, one after the other, for ThreadSanitizer to watch: `stress [--lives N] [--seed S] [--ms N] [--plant race]`.

#[cfg(tsan)]
#[path = "stress/counts.rs"]
mod counts;

use checks::arguments::Arguments;
use checks::life::{Wish, live};
use checks::log;
use checks::random::Random;
use checks::settings::{Settings, Stop};
use checks::watchdog::Watchdog;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::read(&["lives", "seed", "ms", "plant"]);
    let lives: u64 = arguments.value("lives", 10);
    let seed: u64 = arguments.value("seed", 1);
    let plant = arguments.plant(&["race"]);
    let wish = Wish {
        length: Duration::from_millis(arguments.value("ms", 1_000)),
        races: plant == "race",
        ..Wish::default()
    };
    let watchdog = Watchdog::start();
    let mut random = Random::new(seed);
    let (mut events, mut calls) = (0, 0);
    for number in 0..lives {
        let mut settings = Settings::draw(&mut random);
        // Each way to stop has its turn.
        settings.stop = match number % 5 {
            0 => Stop::Drained,
            1 => Stop::Within(Duration::from_millis(5)),
            2 => Stop::Cut,
            3 => Stop::FromHandler,
            _ => Stop::Dropped,
        };
        let account = live(&settings, &mut random, wish, &watchdog);
        println!(
            "life {number}: {} events, {} calls, {} abandoned, {} visitors, {:?}",
            account.events, account.calls, account.abandoned, account.visitors, settings.stop
        );
        events += account.events;
        calls += account.calls;
        if account.wrong_count > 0 {
            eprintln!("{settings:#?}\n{}", account.wrong.join("\n"));
            eprintln!("{} violations, seed {seed}", account.wrong_count);
            return ExitCode::FAILURE;
        }
        let account = log::live(&mut random, wish.length / 2, &watchdog);
        println!(
            "log {number}: {} records, {} read, {} overtaken",
            account.records, account.read, account.overtaken
        );
        if !account.wrong.is_empty() {
            eprintln!("{}", account.wrong.join("\n"));
            eprintln!("{} violations, seed {seed}", account.wrong.len());
            return ExitCode::FAILURE;
        }
    }
    println!("{lives} lives, {events} events, {calls} calls, nothing wrong (seed {seed})");
    ExitCode::SUCCESS
}
