//! A run from beginning to end.
//!
//! Everything that can be refused is refused before the engine is built: inputs are opened, the report
//! directory is made. However the run ends (events used up, a bad line, a signal), what was admitted is
//! handled, counted and printed; only then the exit code says how it ended.

use crate::args::{Format, RunArgs};
use crate::console::Console;
use crate::engine::{Engine, LetterCount, Setup};
use crate::feed::{Reader, ReaderState, feed_flow, feed_input, lines_to};
use crate::flow::Flow;
use crate::input::{Fields, Source};
use crate::letters::Rewrite;
use crate::monitor::{Monitor, console_of, progress_line};
use crate::outlet::Outlet;
use crate::pace::{Pace, Plan};
use crate::report::Directory;
use crate::stop::Stop;
use crate::store::Export;
use crate::summary::{Failing, Summary};
use anyhow::{Context as _, Result};
use ringbolt::metrics::Report;
use ringbolt::store::{EventStore, StatsSampler};
use ringbolt::{DeadLetters, EventSystem, Filter};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Longest time that handlers get to finish what was admitted. They take microseconds.
pub(crate) const DRAIN: Duration = Duration::from_secs(60);

/// Runs, prints the result, and says with which code to exit.
///
/// # Errors
/// Something could not be opened, built or written.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    let sources: Vec<Source> = args
        .inputs
        .iter()
        .map(|path| Source::open(path))
        .collect::<Result<_>>()?;
    let directory = args.report.as_deref().map(Directory::begin).transpose()?;
    let letters_file = args.dead_letters.as_deref();
    let letters_file = letters_file.map(Rewrite::begin).transpose()?;
    let export = args.export.as_deref().map(Export::begin).transpose()?;
    let is_result_on_stderr = export.as_ref().is_some_and(Export::is_stdout);
    let store = args.has_store().then(|| EventStore::builder().build());
    let store = store.transpose()?;
    let progress = progress_line();
    let console = console_of(progress.as_ref());

    let faults = args.faults.faults(args.seed);
    let engine = Engine::start(&Setup {
        workers: args.worker_count(),
        lane_capacity: args.lane_capacity(),
        has_flow: sources.is_empty(),
        has_input: !sources.is_empty(),
        faults,
        keeps_letters: faults.is_some() || letters_file.is_some() || args.sequential,
        is_sequential: args.sequential,
        ..Setup::default()
    })?;
    let system = &engine.system;
    let monitor = Monitor::start(system.handle(), progress, directory)
        .context("the watching thread cannot be started")?;
    let reader_state = Arc::new(ReaderState::default());
    let mut sampler = store.as_ref().map(EventStore::stats_sampler);
    let started = Instant::now();
    let fed = Fed {
        system,
        store: store.as_ref(),
        stop: &stop,
    };
    let published = publish_all(args, sources, &fed, &console, &reader_state);
    // Before the engine is waited for: the rates are those of appending.
    let stored = sampler.as_mut().map(StatsSampler::sample);
    engine.settle(&stop);
    let drained = system.shutdown(DRAIN)?;
    let elapsed = started.elapsed();

    let watched = monitor.finish();
    let report = system.report();
    let letters = engine.letters.as_ref();
    let letter_count = letters.map(LetterCount::of).unwrap_or_default();
    let letters_written = letters
        .zip(letters_file)
        .map(|(letters, file)| write_letters(letters, file, &console));
    let sink = engine.sink.clone();
    let failing = Failing {
        transitions: engine.transitions(),
        letters: letter_count.by_reason,
    };
    // The workers' states go with the engine, and leave their counts as they do.
    drop(engine);
    let tally = sink.tally(&letter_count.places);
    let mut summary = Summary::new(&report, tally, failing, reader_state.bad_lines(), elapsed);
    summary.store = stored;
    let exported = store
        .zip(export)
        .map(|(store, export)| export.finish(&store));
    // Printed before the directory is written, and whatever becomes of that.
    let printed = if is_result_on_stderr {
        print_to(anstream::stderr().lock(), args.format, &summary, &report)
    } else {
        print(args.format, &summary, &report)
    };
    let written = watched.and_then(|directory| match directory {
        Some(directory) => directory.finish(&summary, &report),
        None => Ok(()),
    });

    let mut is_good = !reader_state.has_failed();
    let mut fault = |message: String| {
        is_good = false;
        console.complain(&message);
    };
    if let Err(error) = published {
        fault(error);
    }
    if !drained.in_time {
        fault(format!(
            "{} deliveries were abandoned after {} s",
            drained.abandoned,
            DRAIN.as_secs()
        ));
    }
    if summary.order_violations > 0 {
        fault(format!(
            "{} events were out of order",
            summary.order_violations
        ));
    }
    if report.unhandled > 0 {
        fault(format!("{} events found no handler", report.unhandled));
    }
    if summary.failed > 0 {
        fault(format!("{} events failed", summary.failed));
    }
    for error in [Some(written), letters_written, exported]
        .into_iter()
        .flatten()
    {
        if let Err(error) = error {
            fault(format!("{error:#}"));
        }
    }
    if is_good && summary.bad_lines > 0 {
        console.warn(&match summary.bad_lines {
            1 => "1 bad line was skipped".to_owned(),
            count => format!("{count} bad lines were skipped"),
        });
    }
    match printed {
        // Whoever read our output has seen enough: `ringbolt … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.context("cannot print the result")?,
    }
    Ok(match stop.exit_code() {
        Some(code) => ExitCode::from(code),
        None if is_good => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

/// Writes all letters, and says which of them lack their events.
fn write_letters(letters: &DeadLetters, mut file: Rewrite, console: &Console) -> Result<()> {
    let report = letters
        .export(&Filter::new(), file.out())
        .context("the letters cannot be written")?;
    file.finish()?;
    if report.without_event > 0 {
        console.warn(&format!(
            "{} of {} letters were written without their events, whose types have no codec",
            report.without_event, report.letters
        ));
    }
    Ok(())
}

/// What is fed, and when to end.
struct Fed<'r> {
    system: &'r EventSystem,
    store: Option<&'r EventStore>,
    stop: &'r Stop,
}

impl Fed<'_> {
    fn outlet(&self) -> Outlet {
        Outlet::new(self.system.publisher(), self.store)
    }
}

/// Publishes everything, and returns when that is done or the run is to stop. The error is why the
/// engine refused an event.
fn publish_all(
    args: &RunArgs,
    sources: Vec<Source>,
    fed: &Fed<'_>,
    console: &Console,
    reader_state: &Arc<ReaderState>,
) -> Result<(), String> {
    let (system, stop) = (fed.system, fed.stop);
    let pace = Pace::new(plan(args), system.clock());
    let count = args.publisher_count();
    if sources.is_empty() {
        return on_publishers((0..count).collect(), stop, |place| {
            let flow = Flow::new(args.seed, args.flow_events());
            feed_flow(&mut fed.outlet(), flow, (place, count), &pace, stop)
        });
    }
    let (publishers, lines) = lines_to(count);
    let reader = Reader {
        sources,
        fields: Fields {
            event_type: args.type_field.clone(),
            key: args.key_field.clone(),
            time: args.time_field.clone(),
        },
        events_max: args.input_events_max(),
        on_error: args.on_error,
        pace: pace.clone(),
        stop: stop.clone(),
        console: console.clone(),
        state: Arc::clone(reader_state),
        publishers,
    };
    let reading = thread::Builder::new()
        .spawn(move || reader.read())
        .map_err(|error| format!("the reading thread cannot be started: {error}"))?;
    let result = on_publishers(lines, stop, |line| {
        feed_input(&mut fed.outlet(), &line, &pace, stop)
    });
    // A reader that waits for a pipe cannot be woken; when the run is stopped it is left behind.
    if !stop.is_asked() {
        join(reading);
    }
    result
}

/// Runs one publishing thread for each share of the work. The first refusal stops them all.
fn on_publishers<T: Send>(
    shares: Vec<T>,
    stop: &Stop,
    work: impl Fn(T) -> Result<(), String> + Sync,
) -> Result<(), String> {
    on_threads(shares, thread::Builder::new, stop, work)
}

fn on_threads<T: Send>(
    shares: Vec<T>,
    builder: impl Fn() -> thread::Builder,
    stop: &Stop,
    work: impl Fn(T) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let work = |share| work(share).inspect_err(|_| stop.ask());
    thread::scope(|scope| {
        let work = &work;
        let started = shares
            .into_iter()
            .map(|share| builder().spawn_scoped(scope, move || work(share)));
        // Those behind one that cannot be started are not tried, and those before it are told.
        let mut refused = None;
        let threads: Vec<ScopedJoinHandle<'_, _>> = started
            .map_while(|thread| {
                thread
                    .map_err(|error| {
                        stop.ask();
                        refused = Some(format!("a publishing thread cannot be started: {error}"));
                    })
                    .ok()
            })
            .collect();
        let joined = threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
        refused.map_or(joined, Err)
    })
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn plan(args: &RunArgs) -> Plan {
    match (args.rate, args.speed) {
        (Some(rate), _) => Plan::Rate(rate),
        (None, Some(speed)) => Plan::Speed(speed),
        (None, None) => Plan::FullSpeed,
    }
}

pub(crate) fn print(format: Format, summary: &Summary, report: &Report) -> io::Result<()> {
    print_to(anstream::stdout().lock(), format, summary, report)
}

fn print_to(
    mut out: impl Write,
    format: Format,
    summary: &Summary,
    report: &Report,
) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", summary.to_json()?)?,
        Format::Text => {
            write!(out, "{}\n{}", summary.to_text(), report.to_text())?;
            if let Some(store) = &summary.store {
                write!(out, "\n{store}")?;
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_thread_that_cannot_be_started_ends_those_that_were() {
        let stop = Stop::default();
        let started = Cell::new(0);
        // No machine has room for the third one's stack.
        let builder = || {
            started.set(started.get() + 1);
            let bits = if started.get() == 3 { 60 } else { 20 };
            thread::Builder::new().stack_size(1 << bits)
        };
        let ended = on_threads(vec![(); 5], builder, &stop, |()| {
            while !stop.is_asked() {
                thread::yield_now();
            }
            Ok(())
        });
        let told = ended.expect_err("one has no thread");
        assert!(told.contains("cannot be started"), "{told}");
        assert_eq!(started.get(), 3);
    }
}
