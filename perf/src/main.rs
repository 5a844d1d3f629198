//! `perf`: ringbolt measured beside the systems a user would pick instead.
//!
//! One subcommand for each question. Results go to stdout, as text or as JSON; what happens on the way
//! goes to stderr. The exit code is 0, 1 if a run failed or missed a bar, 2 for a wrong command line.

mod bars;
mod compare;
mod effort;
mod failing;
mod findings;
mod held;
mod idle;
mod instructions;
mod latency;
mod load;
mod machine;
mod memory;
mod progress;
mod rows;
mod rules;
mod scaling;
mod soak;
mod statistics;
mod store;
mod systems;
mod table;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use effort::{Effort, Setting};
use findings::Findings;
use machine::Machine;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Measures ringbolt beside other ways of getting an event to a handler
///
/// Results go to stdout, the course of things to stderr. The exit code is 0; 1 if a run failed or, with
/// --threshold, a bar was missed; 2 for a wrong command line. Nothing else should run meanwhile.
#[derive(Debug, Parser)]
#[command(name = "perf", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Throughput: what an event costs, all publishers going as fast as they can
    Compare(Measuring),
    /// Latency: from the intended time of an event to the start of its handler, and waking sleepers
    Latency(Measuring),
    /// Scaling: more publishers, subscriptions, types and threads
    Scaling(Measuring),
    /// Idle: processor time of sleeping workers, and what a critical event has to wait for
    Idle(Measuring),
    /// Memory: what an engine keeps resident
    Memory(MeasuringMemory),
    /// Failing: being ready for failures, failures that are tried again, a million letters
    Failing(MeasuringFailing),
    /// Store: appending, reading, and having appended events handled
    Store(MeasuringStore),
    /// Instructions of an event on its way in and through its handlers, counted by valgrind
    Instructions(Counting),
    /// Soak: engine after engine for so long, with churn, faults and bursts: zero violations, flat memory
    Soak(Soaking),
}

/// How long to measure, and how to say the result.
#[derive(Debug, Args)]
struct Measuring {
    /// Short rounds, and only what the bars need: under a minute
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Long rounds and all variants: for the record (the default)
    #[arg(long)]
    full: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit with 1 when a bar is missed or was not measured; the last line is the verdict
    #[arg(long)]
    threshold: bool,
}

#[derive(Debug, Args)]
struct MeasuringMemory {
    #[command(flatten)]
    measuring: Measuring,
    /// What a process of its own is to do
    #[arg(long, value_enum, hide = true)]
    child: Option<memory::Case>,
}

#[derive(Debug, Args)]
struct MeasuringFailing {
    #[command(flatten)]
    measuring: Measuring,
    /// What a process of its own is to do
    #[arg(long, value_enum, hide = true)]
    child: Option<failing::Case>,
}

#[derive(Debug, Args)]
struct MeasuringStore {
    #[command(flatten)]
    measuring: Measuring,
    /// To be the process of its own in which bytes are counted
    #[arg(long, hide = true)]
    child: bool,
}

/// What to do with the counts.
#[derive(Debug, Args)]
struct Counting {
    /// Write the counts to perf/record/instructions.json; otherwise they are compared with it, and the exit
    /// code is 1 when one has grown by more than 3 % and 2 instructions, or a bar is missed
    #[arg(long)]
    record: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What to run under valgrind, and with how many events
    #[arg(long, num_args = 2, value_names = ["CASE", "EVENTS"], hide = true)]
    child: Option<Vec<String>>,
}

/// How long to soak, and what is drawn.
#[derive(Debug, Args)]
struct Soaking {
    /// How long; parts of a minute too
    #[arg(long, default_value = "10", value_parser = minutes)]
    minutes: Duration,
    /// What settings, traffic and faults are drawn from; another one for each run if it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Plant a fault, which has to be found
    #[arg(long, value_enum)]
    plant: Option<soak::Plant>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(length) if !length.is_zero() => Ok(length),
        Ok(_) => Err(String::from("no time at all")),
        Err(error) => Err(error.to_string()),
    }
}

impl Measuring {
    const fn effort(&self) -> Effort {
        if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned tables, with the machine above and the bars below
    Text,
    /// One object on stdout; machine and verdict go to stderr
    Json,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match &command {
        Command::Compare(measuring) => answer(measuring, compare::run),
        Command::Latency(measuring) => answer(measuring, latency::run),
        Command::Scaling(measuring) => answer(measuring, scaling::run),
        Command::Idle(measuring) => answer(measuring, idle::run),
        Command::Memory(MeasuringMemory { measuring, child }) => match child {
            None => answer(measuring, memory::run),
            Some(case) => memory::child(*case).and_then(|text| {
                print(&text)?;
                Ok(ExitCode::SUCCESS)
            }),
        },
        Command::Failing(MeasuringFailing { measuring, child }) => match child {
            None => answer(measuring, failing::run),
            Some(case) => failing::child(*case).and_then(|text| {
                print(&text)?;
                Ok(ExitCode::SUCCESS)
            }),
        },
        Command::Store(MeasuringStore { measuring, child }) => {
            if *child {
                store::child().and_then(|text| {
                    print(&text)?;
                    Ok(ExitCode::SUCCESS)
                })
            } else {
                answer(measuring, store::run)
            }
        }
        Command::Instructions(counting) => count(counting),
        Command::Soak(soaking) => soak(soaking),
    };
    result.unwrap_or_else(|reason| {
        eprintln!("perf: {reason}");
        ExitCode::FAILURE
    })
}

/// Measures, prints, and judges if asked to.
fn answer<R: Serialize>(
    measuring: &Measuring,
    run: impl FnOnce(Setting<'_>) -> Result<Findings<R>, String>,
) -> Result<ExitCode, String> {
    let machine = Machine::look()?;
    let is_json = measuring.format == Format::Json;
    if is_json {
        eprintln!("{machine}");
    }
    let setting = Setting {
        machine: &machine,
        effort: measuring.effort(),
    };
    let said = run(setting)?.say(&machine)?;
    print(if is_json { &said.json } else { &said.text })?;
    if !measuring.threshold {
        return Ok(ExitCode::SUCCESS);
    }
    let (verdict, is_met) = bars::verdict(&said.judgements);
    if is_json {
        eprintln!("{verdict}");
    } else {
        print(&format!("\n{verdict}"))?;
    }
    Ok(code_of(is_met))
}

fn count(counting: &Counting) -> Result<ExitCode, String> {
    if let Some(child) = &counting.child {
        let (case, events) = child_of(child).unwrap_or_else(|error| error.exit());
        match instructions::child(case, events)? {}
    }
    let answer = instructions::run(counting.record)?;
    match counting.format {
        Format::Text => print(&answer.text)?,
        Format::Json => {
            eprintln!("{}", answer.text);
            print(&answer.json)?;
        }
    }
    Ok(code_of(answer.is_well))
}

fn soak(soaking: &Soaking) -> Result<ExitCode, String> {
    let seed = soaking.seed.unwrap_or_else(|| std::process::id().into());
    let summary = soak::run(soaking.minutes, seed, soaking.plant);
    match soaking.format {
        Format::Text => print(&summary.text())?,
        Format::Json => print(&summary.json()?)?,
    }
    Ok(code_of(summary.is_well()))
}

/// A case of instructions, and a number of events.
fn child_of(child: &[String]) -> Result<(instructions::Case, u64), clap::Error> {
    let wrong = |text| Arguments::command().error(clap::error::ErrorKind::InvalidValue, text);
    let [case, events] = child else {
        return Err(wrong(String::from(
            "--child: a case and a number of events",
        )));
    };
    let case = instructions::Case::from_str(case, false).map_err(wrong)?;
    let events = events
        .parse()
        .map_err(|error| wrong(format!("--child: {events}: {error}")))?;
    Ok((case, events))
}

fn code_of(is_met: bool) -> ExitCode {
    if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the result; a reader that has seen enough is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_understood(line: &str) -> bool {
        Arguments::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_refused() {
        assert!(is_understood(
            "perf compare --quick --threshold --format json"
        ));
        assert!(!is_understood("perf compare --quick --full"));
        assert!(!is_understood("perf compare --threshold=0.8"));
        assert!(!is_understood("perf compare --format yaml"));
        assert!(!is_understood("perf"));
        assert!(is_understood("perf instructions --record"));
        assert!(!is_understood("perf instructions --child publish"));
        assert!(!is_understood("perf memory --child nothing"));
        assert!(is_understood("perf failing --quick --threshold"));
        assert!(!is_understood("perf failing --child nothing"));
        assert!(is_understood("perf soak --minutes 0.5 --seed 7"));
        for wrong in ["0", "-1", "nan", "inf", "soon"] {
            let line = format!("perf soak --minutes={wrong}");
            assert!(!is_understood(&line), "{line}");
        }
        assert!(!is_understood("perf soak --plant nothing"));
        let child = |case: &str, events: &str| child_of(&[case.to_owned(), events.to_owned()]);
        assert!(child("publish", "1280").is_ok());
        assert!(child("publish", "many").is_err_and(|error| error.exit_code() == 2));
        assert!(child("cancel", "1").is_err_and(|error| error.exit_code() == 2));
        let error = Arguments::try_parse_from(["perf", "compar"]).expect_err("no such command");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_missed_bar_is_exit_code_1() {
        let judgements = bars::judge(bars::Topic::Compare, &[]);
        let (verdict, is_met) = bars::verdict(&judgements);
        assert!(verdict.starts_with("verdict: MISSED"), "{verdict}");
        assert_eq!(code_of(is_met), ExitCode::FAILURE);
        assert_eq!(code_of(true), ExitCode::SUCCESS);
    }
}
