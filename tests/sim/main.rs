//! The whole engine under a manual clock, on one thread, as a function of a list of actions that is drawn from a seed.
//!
//! Several polled pools with tiny lanes, inboxes and spills; publishers, handles and handlers that publish, in circles
//! too; subscriptions, pollers and publishers that come and go; handlers that fail for a while or for good, with retries,
//! breakers and letters behind them; panics wherever user code runs; a stop at any point. What is
//! looked at: PD1, PD2, PD3, PD5 to PD8, PD11, PD12, RO1, RO3, RO4, RO6, DQ1 to DQ5, CB3, DR1, DR2, OB1. What came about is counted, and a run of many seeds fails if
//! something that it is for did not (`seen.rs`).
//!
//! A run that fails prints its seed, and then the least list of actions that fails in the same way; one that takes the
//! process down leaves its seed in `target/tmp/sim-seed`. `RINGBOLT_SIM_SEED=…` runs a seed again and tells every step,
//! `RINGBOLT_SIM_LIST=…` such a list, or the file that holds it; once what it found is mended, the list goes into `found/`.
//! `RINGBOLT_SIM_SEEDS=…` sets how many seeds are tried, `RINGBOLT_SIM_FIRST=…` where they begin,
//! `RINGBOLT_SIM_STOPPED=…` how many engines are stopped at every point. A run is the same each time, but for one thing: an
//! engine that is stopped at work with time to drain asks its workers from a thread of its own, and when they answer may differ.
//! `RINGBOLT_SIM_REPEATS=…` runs a seed or a list more than once.

mod action;
mod delivery;
mod draw;
mod ending;
mod event;
mod failing;
mod handling;
mod ledger;
mod publishing;
mod random;
mod run;
mod seen;
mod shrink;
mod world;

use action::{Plant, Script, Stop};
use run::Shown;
use seen::Seen;
use shrink::{Shrunk, promise, shrink};
use std::cell::Cell;
use std::time::Duration;
use world::{Waited, with_patience};

/// Runs of a plain test; some seconds.
const SEEDS: u64 = 200;

/// What seeds once found, cut down with the fault put back.
const FOUND: &[(&str, &str)] = &[
    (
        "breaker_skips_a_redelivery",
        include_str!("found/breaker_skips_a_redelivery.jsonl"),
    ),
    (
        "closed_while_nobody_polls",
        include_str!("found/closed_while_nobody_polls.jsonl"),
    ),
    (
        "for_nobody_while_draining",
        include_str!("found/for_nobody_while_draining.jsonl"),
    ),
    (
        "inbox_order_between_spills",
        include_str!("found/inbox_order_between_spills.jsonl"),
    ),
    (
        "later_for_nobody",
        include_str!("found/later_for_nobody.jsonl"),
    ),
    (
        "receipt_of_a_redelivery",
        include_str!("found/receipt_of_a_redelivery.jsonl"),
    ),
    (
        "redelivery_of_who_is_gone",
        include_str!("found/redelivery_of_who_is_gone.jsonl"),
    ),
    (
        "room_behind_letters_that_are_gone",
        include_str!("found/room_behind_letters_that_are_gone.jsonl"),
    ),
    (
        "room_while_nobody_polls",
        include_str!("found/room_while_nobody_polls.jsonl"),
    ),
    (
        "shelf_of_who_is_gone",
        include_str!("found/shelf_of_who_is_gone.jsonl"),
    ),
    (
        "spill_abandoned_for_the_wrong_pool",
        include_str!("found/spill_abandoned_for_the_wrong_pool.jsonl"),
    ),
];

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics that a run wants are not printed: its own, and those on the thread that stops an engine.
fn quietly<R>(f: impl FnOnce() -> R) -> R {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_stop = std::thread::current().name() == Some("ringbolt-shutdown");
            if !is_stop && !IS_QUIET.get() {
                before(panic);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let result = f();
    IS_QUIET.set(before);
    result
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}: {text} is no number")))
}

/// How a list of actions fails, if it does.
fn failure_of(script: &Script) -> Option<String> {
    quietly(|| run::run(script, false)).err()
}

/// The least that fails as this does.
fn least(script: &Script, failure: &str) -> Shrunk {
    with_patience(Duration::from_secs(2), || {
        shrink(script, failure, &mut failure_of)
    })
}

/// How a failure is told.
fn told(name: &str, script: &Script, failure: &str, least: &Shrunk) -> String {
    format!(
        "{name}: {failure}\n\nThe least that breaks {}, {} actions of {} after {} runs: {}\n\nRINGBOLT_SIM_LIST='\n{}' cargo test --test sim every_seed -- --nocapture\n",
        promise(failure),
        least.actions(),
        script.actions.len(),
        least.runs,
        least.failure,
        least.text,
    )
}

fn check(name: &str, script: &Script) -> Shown {
    match quietly(|| run::run(script, false)) {
        Ok(shown) => shown,
        Err(failure) => {
            // At once, as cutting it down may take a while.
            eprintln!("{name}: {failure}");
            let least = least(script, &failure);
            panic!("{}", told(name, script, &failure, &least))
        }
    }
}

fn check_seed(seed: u64) -> Shown {
    check(
        &format!("seed {seed} (RINGBOLT_SIM_SEED={seed})"),
        &Script::draw(seed),
    )
}

/// Runs what a variable asks for, telling every step.
fn replay(name: &str, script: &Script) {
    for _ in 0..number("RINGBOLT_SIM_REPEATS").unwrap_or(1) {
        match quietly(|| run::run(script, true)) {
            Ok(shown) => eprintln!("{name}: {shown:?}"),
            Err(failure) => panic!("{name}: {failure}"),
        }
    }
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Ok(list) = std::env::var("RINGBOLT_SIM_LIST") {
        let text = if list.trim_start().starts_with('{') {
            list
        } else {
            std::fs::read_to_string(&list).unwrap_or_else(|error| panic!("{list}: {error}"))
        };
        let script = Script::from_text(&text).unwrap_or_else(|error| panic!("{error}"));
        return replay("the list", &script);
    }
    if let Some(seed) = number("RINGBOLT_SIM_SEED") {
        return replay(&format!("seed {seed}"), &Script::draw(seed));
    }
    let first = number("RINGBOLT_SIM_FIRST").unwrap_or(0);
    let seeds = number("RINGBOLT_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut steps, mut inside, mut calls, mut events) = (0, 0, 0, 0);
    let mut seen = Seen::default();
    let waited = Waited::new();
    // Not among what the test prints, which is lost with the process.
    let at_work = concat!(env!("CARGO_TARGET_TMPDIR"), "/sim-seed");
    for seed in first..first + seeds {
        std::fs::write(at_work, format!("{seed}\n")).expect("the folder is there for tests");
        let shown = check_seed(seed);
        steps += shown.steps;
        inside += shown.steps_inside;
        calls += shown.calls;
        events += shown.events;
        seen.merge(&shown.seen);
    }
    let minutes = waited.ns() as f64 / 60e9;
    println!("{seen}");
    println!(
        "{seeds} engines, {events} events, {calls} calls of handlers\n{} steps: {steps} from outside and {inside} by handlers, {:.0} a minute",
        steps + inside,
        (steps + inside) as f64 / minutes
    );
    if seeds >= SEEDS {
        let missing = seen.missing();
        assert!(missing.is_empty(), "it did not come about: {missing:#?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..25 {
        let (one, other) = (check_seed(seed), check_seed(seed));
        assert_eq!(one.before_stop, other.before_stop, "seed {seed}");
        assert_eq!(one.after_stop, other.after_stop, "seed {seed}");
    }
}

/// An engine is stopped in every way before each of its actions, and behind the last.
#[test]
fn every_point_is_one_to_stop_at() {
    let mut points = 0;
    let lists = (0..).map(|seed| (seed, Script::draw(seed)));
    // Long enough to have everything, short enough to be run some hundred times.
    let lists = lists.filter(|(_, script)| !script.setup.is_calm && script.actions.len() < 120);
    let count = number("RINGBOLT_SIM_STOPPED").unwrap_or(1);
    for (seed, script) in lists.take(count as usize) {
        for index in 0..=script.actions.len() {
            for stop in Stop::ALL {
                check(
                    &format!("seed {seed}, stopped {stop:?} before action {index}"),
                    &script.stopped_at(index, stop),
                );
                points += 1;
            }
        }
    }
    println!("{points} stops");
}

#[test]
fn what_was_once_found_keeps_the_promises() {
    for (name, text) in FOUND {
        let script = Script::from_text(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(name, &script);
    }
}

/// Any part of a run is a run: each list of actions is one that can be written, read and cut.
#[test]
fn every_list_can_be_written_and_cut() {
    for seed in 0..25 {
        let mut script = Script::draw(seed);
        assert_eq!(Script::from_text(&script.to_text()).as_ref(), Ok(&script));
        let mut nth = 0;
        script.actions.retain(|_| {
            nth += 1;
            nth % 3 != seed % 3
        });
        check(
            &format!("every third action of seed {seed} left out"),
            &script,
        );
    }
}

/// A run in which little happens is told apart from one in which all does.
#[test]
fn what_does_not_come_about_is_named() {
    let script = Script::from_text("{}\n{\"subscribe\":{}}\n").expect("a list");
    let missing = check("little", &script).seen.missing();
    assert!(missing.contains(&"a handler panicked"), "{missing:?}");
    assert!(
        !missing.contains(&"a quiet engine was stopped"),
        "{missing:?}"
    );
}

/// Plants a fault in runs until one of them fails, and cuts it down.
fn planted(plant: Plant) -> (Script, Shrunk) {
    for seed in 0..200 {
        let mut script = Script::draw(seed);
        script.setup.plant = Some(plant);
        if let Some(failure) = failure_of(&script)
            && script.actions.len() > 50
        {
            let least = least(&script, &failure);
            println!(
                "{plant:?}: {} runs, {}\n{}",
                least.runs, least.failure, least.text
            );
            return (script, least);
        }
    }
    panic!("{plant:?} is not found");
}

#[test]
fn a_lost_event_is_found_and_cut_down() {
    let (script, least) = planted(Plant::Loses);
    // Somebody who subscribes on the second pool, an event, a turn, and perhaps what keeps it from being missed at once.
    assert!(
        least.actions() <= 6,
        "{} actions: {}",
        least.actions(),
        least.text
    );
    let again = Script::from_text(&least.text).expect("it was printed");
    let failure = failure_of(&again).expect("what is left fails");
    assert!(promise(&failure).starts_with("PD"), "{failure}");
    let told = told("here", &script, &failure, &least);
    assert!(told.contains("RINGBOLT_SIM_LIST='\n{"), "{told}");
}

#[test]
fn a_run_that_panics_is_cut_down_too() {
    let (_, least) = planted(Plant::Breaks);
    // Two come, two go, and the clock moves.
    assert!(least.actions() <= 5, "{}", least.text);
    assert!(
        least.failure.contains("a run that breaks"),
        "{}",
        least.failure
    );
}
