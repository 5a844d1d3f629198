//! Delivering letters again, into a fresh run.
//!
//! file → **the engine** → check → summary, and what is left → file
//!
//! In the engine a letter has its line as its number: the file's own may be missing, or be there twice where
//! files were put together. What is left gets its own number back.

use super::args::RedeliverArgs;
use super::file::{Complaints, Line, Lines};
use super::line::Raw;
use super::{Rewrite, exit, missing, not_stdin};
use crate::args::default_workers;
use crate::console::Console;
use crate::engine::{Engine, LetterCount, Setup};
use crate::run::{DRAIN, print};
use crate::stop::Stop;
use crate::summary::{Failing, Redelivery, Summary, grouped};
use anyhow::{Context as _, Result, bail};
use ringbolt::{DeadLetters, Filter, Page, RedeliveryReport};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Slots of a lane: redeliveries do not come through lanes.
const LANE_CAPACITY: usize = 64;
/// Longest wait for an outcome between two looks at the stop flag.
const PATIENCE: Duration = Duration::from_millis(20);

/// Imports the letters that are meant into a fresh engine, delivers them again, and writes what is left.
///
/// # Errors
/// The file cannot be read or written, or has no such letter; it is then as it was.
pub(super) fn redeliver(args: &RedeliverArgs) -> Result<ExitCode> {
    not_stdin(&args.file)?;
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    let lines = Lines::open(&args.file)?;
    let file = lines.name();
    let mut complaints = Complaints::of(lines.name());
    let lines: Vec<Line> = lines.collect::<Result<_>>()?;
    let chosen = choose(args, &lines, &file)?;
    let rewrite = Rewrite::begin(args.output.as_deref().unwrap_or(&args.file))?;

    let letters_of = || lines.iter().filter(|line| chosen.contains(&line.number));
    let earlier = letters_of()
        .filter_map(|line| line.letter.as_ref().ok())
        .map(|letter| (letter.event_id, letter.attempt_count));
    let is_sequential = letters_of().any(|line| {
        line.letter
            .as_ref()
            .is_ok_and(|letter| letter.is_sequential)
    });
    let engine = Engine::start(&Setup {
        workers: args.workers.map_or_else(default_workers, usize::from),
        lane_capacity: LANE_CAPACITY,
        has_flow: true,
        has_input: true,
        faults: args.faults.faults(args.seed),
        keeps_letters: true,
        is_sequential,
        earlier: Arc::new(earlier.collect()),
    })?;
    let letters = engine.letters.clone().context("letters are kept")?;
    let imported = import(&letters, &lines, &chosen, &mut complaints)?;

    let started = Instant::now();
    let ended = deliver(&letters, &stop)?;
    let drained = engine.system.shutdown(DRAIN)?;
    let elapsed = started.elapsed();
    let report = engine.system.report();
    let left = write_left(&letters, &lines, &imported, rewrite)?;

    let failing = Failing {
        transitions: engine.transitions(),
        letters: LetterCount::of(&letters).by_reason,
    };
    let sink = engine.sink.clone();
    drop(engine);
    let mut summary = Summary::new(&report, sink.ascending_tally(), failing, 0, elapsed);
    summary.redelivery = Some(Redelivery {
        chosen: chosen.len() as u64,
        imported: imported.len() as u64,
        handled: ended.handled,
        failed_again: ended.failed,
        given_up: ended.given_up,
        left,
    });
    super::printed(print(args.format, &summary, &report))?;

    let mut is_good = !complaints.end();
    let mut fault = |message: String| {
        is_good = false;
        Console::default().complain(&message);
    };
    if summary.order_violations > 0 {
        fault(format!(
            "{} letters came out of order",
            summary.order_violations
        ));
    }
    if !drained.in_time {
        fault(format!(
            "{} deliveries were abandoned after {} s",
            drained.abandoned,
            DRAIN.as_secs()
        ));
    }
    let is_left = imported.len() as u64 - ended.handled;
    if is_left > 0 {
        let place = args.output.as_deref().unwrap_or(&args.file);
        fault(format!(
            "{} of {} letters were not handled and are left in {}",
            grouped(is_left),
            grouped(imported.len() as u64),
            place.display()
        ));
    }
    Ok(stop
        .exit_code()
        .map_or_else(|| exit(is_good), ExitCode::from))
}

/// The lines that are meant, bad ones too where all are. A letter of a sequential subscription stands for
/// its whole key, whose letters go in order.
fn choose(args: &RedeliverArgs, lines: &[Line], file: &str) -> Result<HashSet<u64>> {
    let ids: HashSet<u64> = args.ids.ids.iter().copied().collect();
    let letters = || {
        let letters = lines.iter();
        letters.filter_map(|line| Some((line.number, line.letter.as_ref().ok()?)))
    };
    let found: HashSet<u64> = letters().filter_map(|(_, letter)| letter.id).collect();
    if let Some(id) = args.ids.ids.iter().find(|id| !found.contains(id)) {
        bail!(missing(file, *id));
    }
    let mut chosen = HashSet::new();
    let mut keys = HashSet::new();
    for (number, letter) in letters() {
        let is_asked_for = ids.is_empty() || letter.id.is_some_and(|id| ids.contains(&id));
        if is_asked_for && args.filter.is_met(letter) {
            chosen.insert(number);
            if letter.is_sequential && letter.key.is_some() {
                keys.insert((&letter.subscription, &letter.key));
            }
        }
    }
    for (number, letter) in letters() {
        if keys.contains(&(&letter.subscription, &letter.key)) {
            chosen.insert(number);
        }
    }
    Ok(chosen)
}

/// Brings the chosen lines into the engine; the numbers of those that are letters there. Bad lines of the
/// file are told here, whether chosen or not.
fn import(
    letters: &DeadLetters,
    lines: &[Line],
    chosen: &HashSet<u64>,
    complaints: &mut Complaints,
) -> Result<HashSet<u64>> {
    let mut imported = HashSet::new();
    for line in lines {
        match &line.letter {
            Err(reason) => complaints.note(line.number, reason),
            Ok(letter) if chosen.contains(&line.number) => {
                let raw = letter.raw.clone().with_id(Some(line.number));
                let text = serde_json::to_string(&raw)?;
                match letters.import(text.as_bytes()).faults.first() {
                    None => {
                        imported.insert(line.number);
                    }
                    Some(fault) => complaints.note(line.number, &fault.message),
                }
            }
            Ok(_) => {}
        }
    }
    Ok(imported)
}

/// Delivers all of them, until that is done or the run is to stop.
fn deliver(letters: &DeadLetters, stop: &Stop) -> Result<RedeliveryReport> {
    let ticket = letters.redeliver_all(Filter::new());
    loop {
        // Told by the report; kept they would be a line for each letter.
        while ticket.try_next().is_some() {}
        if let Some(report) = ticket.wait_for(PATIENCE)? {
            return Ok(report);
        }
        if stop.is_asked() {
            ticket.cancel();
            return Ok(ticket.wait_for(DRAIN)?.unwrap_or_else(|| ticket.report()));
        }
    }
}

/// Writes every line but those of letters that were handled, each where it was; how many letters that is.
fn write_left(
    letters: &DeadLetters,
    lines: &[Line],
    imported: &HashSet<u64>,
    mut rewrite: Rewrite,
) -> Result<u64> {
    let mut still_there: HashMap<u64, Raw> = HashMap::new();
    let mut page = Page::new().limit(1_000);
    loop {
        let found = letters.list(&Filter::new(), page);
        for letter in &found.letters {
            let line = serde_json::from_str(&letter.to_json_line()?)?;
            still_there.insert(letter.id.as_u64(), line);
        }
        match found.next {
            Some(next) => page = page.after(next),
            None => break,
        }
    }
    let mut left = 0;
    for line in lines {
        let out = rewrite.out();
        match &line.letter {
            Ok(letter) if imported.contains(&line.number) => {
                let Some(raw) = still_there.remove(&line.number) else {
                    continue;
                };
                serde_json::to_writer(&mut *out, &raw.with_id(letter.id))?;
            }
            _ => out.write_all(&line.bytes)?,
        }
        out.write_all(b"\n")?;
        left += u64::from(line.letter.is_ok());
    }
    rewrite.finish()?;
    Ok(left)
}
