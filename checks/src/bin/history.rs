//! Records whole lives of the engine and has the judge look at them:
//! `history [--lives N] [--seed S] [--events N] [--plant reorder|causal|loss|duplicate|late|uncounted]`.

use checks::arguments::Arguments;
use checks::history::{check, plant};
use checks::life::{Wish, live};
use checks::random::Random;
use checks::settings::{Settings, Stop};
use checks::watchdog::Watchdog;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::read(&["lives", "seed", "events", "plant"]);
    let lives: u64 = arguments.value("lives", 20);
    let first: u64 = arguments.value("seed", 1);
    let fault = arguments.plant(&[
        "reorder",
        "causal",
        "loss",
        "duplicate",
        "late",
        "uncounted",
    ]);
    let wish = Wish {
        // Ended by the number of events, or by the time if they are slow.
        length: Duration::from_secs(2),
        is_recorded: true,
        events_max: arguments.value("events", 100_000),
        ..Wish::default()
    };
    let watchdog = Watchdog::start();
    let (mut publishes, mut calls, mut visitors) = (0, 0, 0);
    let mut has_planted = fault.is_empty();
    for seed in first..first + lives {
        let mut random = Random::new(seed);
        let mut settings = Settings::draw(&mut random);
        settings.stop = match seed % 5 {
            0 => Stop::Within(Duration::from_millis(5)),
            1 => Stop::Drained,
            2 => Stop::Cut,
            3 => Stop::FromHandler,
            _ => Stop::Dropped,
        };
        let account = live(&settings, &mut random, wish, &watchdog);
        let mut history = account.history.unwrap_or_default();
        has_planted |= plant(&mut history, &fault);
        let mut wrong = account.wrong;
        wrong.extend(check(&history));
        println!(
            "seed {seed}: {} publishes, {} calls, {} subscriptions, {} abandoned, {:?}",
            history.publishes.len(),
            history.calls.len(),
            history.subscriptions.len(),
            account.abandoned,
            settings.stop
        );
        publishes += history.publishes.len();
        calls += history.calls.len();
        visitors += account.visitors;
        if !wrong.is_empty() {
            eprintln!("{settings:#?}\n{}", wrong.join("\n"));
            eprintln!("again: history --lives 1 --seed {seed}");
            return ExitCode::FAILURE;
        }
    }
    if !has_planted {
        eprintln!("{fault}: no life had anything to tamper with");
        return ExitCode::SUCCESS;
    }
    println!(
        "{lives} lives: {publishes} publishes, {calls} calls, {visitors} subscriptions that came and went, nothing wrong"
    );
    ExitCode::SUCCESS
}
