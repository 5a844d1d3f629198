//! The command line.
//!
//! The word `run` may be there or not; the options are the same. What clap can refuse is refused here,
//! with exit code 2, so that the rest of the program only sees settings that make sense.

use crate::faults::FaultArgs;
use crate::letters;
use crate::store;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Error, Parser, Subcommand, ValueEnum, value_parser};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// Events of the built-in flow when nothing else is said.
const FLOW_EVENTS: u64 = 2_000_000;
/// Workers are not started on more cores than this unless asked for: one publisher does not feed more.
const DEFAULT_WORKERS_MAX: usize = 8;
/// Workers, and publishers: with more than this a machine only shows how it starts threads.
const THREADS: RangeInclusive<i64> = 1..=1_024;

/// Each pair of a publisher and a worker has a lane of its own, of so many slots at most...
const LANE_SLOTS_MAX: usize = 2_048;
/// ...and all lanes together have so many: a gigabyte of 128 bytes each. Many lanes are short ones...
const SLOTS_MAX: usize = 1 << 23;
/// ...and more than this are refused.
const LANES_MAX: usize = 1 << 16;

/// What stands below the options.
const NOTES: &str = "\
Examples:
  ringbolt --workers 2
          Two million generated order events over 1,024 keys
  ringbolt events.jsonl.gz --type /type --key /user/id --publishers 2
          JSON lines, split among two publishers by the user they are about
  zcat trades.csv.gz | ringbolt - --key symbol --time at --speed 10
          A CSV by the times in its column `at`, ten times as fast
  ringbolt --events 500000 --rate 200000 --report report
          An open loop, with percentiles, an interval log and a plot in `report`
  ringbolt --fail 0.01 --fail-permanent 0.001 --dead-letters letters.jsonl
          Failures, retries, and a file for `ringbolt dead-letters`
  ringbolt --export log.jsonl
          A run whose log is kept, for `ringbolt store`

The result goes to stdout, all else to stderr; NO_COLOR turns colours off.

Exit status:
  0    All well, also when the reader of stdout has left, and when planted faults left letters
  1    A missing file, bad data, a report that cannot be written, or a broken order
  2    Wrong usage
  130  Ctrl-C (143: SIGTERM); what was admitted is handled and reported first, and a
       second signal ends the run at once";

#[derive(Debug, Parser)]
#[command(
    name = "ringbolt",
    version,
    about = "Runs events through the ringbolt engine and reports counts, order and latency",
    args_conflicts_with_subcommands = true,
    after_long_help = NOTES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run events through the engine (the word may be left out)
    #[command(after_long_help = NOTES)]
    Run(RunArgs),
    /// Look through a file of dead letters, deliver them again, throw them away
    #[command(subcommand, after_long_help = letters::NOTES)]
    DeadLetters(letters::Action),
    /// Look through the log of a run, read its events, dispatch them again
    #[command(subcommand, after_long_help = store::NOTES)]
    Store(store::Action),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    Run(RunArgs),
    DeadLetters(letters::Action),
    Store(store::Action),
}

impl Cli {
    /// What is to be done, wherever its arguments stood.
    ///
    /// # Errors
    /// They make no sense together.
    pub(crate) fn into_job(self) -> Result<Job, Error> {
        let run = match self.command {
            Some(Command::DeadLetters(action)) => {
                if let Some(message) = action.conflict() {
                    return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
                }
                return Ok(Job::DeadLetters(action));
            }
            Some(Command::Store(action)) => {
                if let Some(message) = action.conflict() {
                    return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
                }
                return Ok(Job::Store(action));
            }
            Some(Command::Run(run)) => run,
            None => self.run,
        };
        let is_stdin = |path: &&PathBuf| path.as_path() == Path::new("-");
        if run.inputs.iter().filter(is_stdin).count() > 1 {
            let message = "`-` is named twice, but stdin can be read only once";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        if let Some(message) = run.faults.conflict() {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        let lanes = run.lane_count();
        if lanes > LANES_MAX {
            let message = format!(
                "{} workers times {} publishers are {lanes} lanes, more than {LANES_MAX}",
                run.worker_count(),
                run.publisher_count()
            );
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(Job::Run(run))
    }
}

/// What to run, how, and what to say about it.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Files to replay, one after the other: CloudEvents JSON (one per line, or arrays), other JSON
    /// lines, or CSV with a header; each may be gzipped; `-` is stdin. Without any, a generated order
    /// flow is run.
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Where the type's name is, in input that is no CloudEvent: a JSON pointer or a column [default: the
    /// type is `json` or `row`]
    #[arg(long = "type", value_name = "FIELD", requires = "inputs")]
    pub(crate) type_field: Option<String>,

    /// Where the key is, in input that is no CloudEvent: a JSON pointer or a column
    #[arg(long = "key", value_name = "FIELD", requires = "inputs")]
    pub(crate) key_field: Option<String>,

    /// Where the time is, in input that is no CloudEvent: a JSON pointer or a column; RFC 3339, or
    /// an epoch integer in s, ms, us or ns
    #[arg(long = "time", value_name = "FIELD", requires = "inputs")]
    pub(crate) time_field: Option<String>,

    /// Events to generate [default: 2000000]; with INPUT, the most to take from it
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) events: Option<u64>,

    /// Seed of the generated flow and of planted faults: the same seed gives the same events, and the same
    /// fate of each attempt
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Worker threads [default: one less than there are cores, at least 1, at most 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = value_parser!(u16).range(THREADS))]
    workers: Option<u16>,

    /// Publishing threads; events are split among them by the hash of their key
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "1", value_parser = value_parser!(u16).range(THREADS))]
    publishers: u16,

    /// Events per second, all publishers together; latency then counts from the moment an event was
    /// due [default: as fast as it goes]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = above_zero, conflicts_with = "speed")]
    pub(crate) rate: Option<f64>,

    /// Replay by the events' own times, so many times as fast; latency counts from the moment an
    /// event was due
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = above_zero)]
    pub(crate) speed: Option<f64>,

    /// What to do at a line that cannot be read
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnError::Stop)]
    pub(crate) on_error: OnError,

    /// Write percentile tables (.hgrm), an interval log (.hlog), JSON and a plot (.svg) into this
    /// directory, over what an earlier run has left there
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,

    /// Write the dead letters into this file, a line of JSON each, for `ringbolt dead-letters`
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letters: Option<PathBuf>,

    /// Append every event to an event store in memory, in the stream of its key, and report on the store
    #[arg(long)]
    store: bool,

    /// Write the store's log into this file, a CloudEvent on each line, for `ringbolt store`; `-` is
    /// stdout, and the result then goes to stderr. Implies --store
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) faults: FaultArgs,

    /// With planted faults: a dead letter parks its key, and later events of the key become letters behind
    /// it, which a redelivery takes in order
    #[arg(long, help_heading = "Planted faults")]
    pub(crate) sequential: bool,
}

impl RunArgs {
    pub(crate) fn worker_count(&self) -> usize {
        self.workers.map_or_else(default_workers, usize::from)
    }

    pub(crate) fn publisher_count(&self) -> usize {
        usize::from(self.publishers)
    }

    fn lane_count(&self) -> usize {
        self.worker_count() * self.publisher_count()
    }

    /// Whether events are appended to a store.
    pub(crate) fn has_store(&self) -> bool {
        self.store || self.export.is_some()
    }

    /// Slots of each lane.
    pub(crate) fn lane_capacity(&self) -> usize {
        (SLOTS_MAX / self.lane_count().next_power_of_two()).min(LANE_SLOTS_MAX)
    }

    /// How many events the built-in flow has.
    pub(crate) fn flow_events(&self) -> u64 {
        self.events.unwrap_or(FLOW_EVENTS)
    }

    /// The most events to take from the input.
    pub(crate) fn input_events_max(&self) -> u64 {
        self.events.unwrap_or(u64::MAX)
    }
}

/// Workers where none are asked for.
pub(crate) fn default_workers() -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).clamp(1, DEFAULT_WORKERS_MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Handle what came before, then end with exit code 1
    Stop,
    /// Report and count it, and go on with the next line
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Text,
    /// One JSON object
    Json,
}

pub(crate) fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        Ok(_) => Err("must be above 0 and finite".to_owned()),
        Err(_) => Err("is no number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cli {
        fn into_run(self) -> Result<RunArgs, Error> {
            match self.into_job()? {
                Job::Run(run) => Ok(run),
                job => panic!("{job:?} is no run"),
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_are_the_same_with_and_without_the_word() {
        for words in [&["ringbolt"][..], &["ringbolt", "run"]] {
            let line = words
                .iter()
                .chain(&["a.csv", "--workers", "3", "--key", "k"]);
            let args = Cli::try_parse_from(line)
                .and_then(Cli::into_run)
                .expect("both ways parse");
            assert_eq!(args.worker_count(), 3);
            assert_eq!(args.inputs, [PathBuf::from("a.csv")]);
        }
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for line in [
            &["--workers", "0"][..],
            &["--rate", "0"],
            &["--rate", "nan"],
            &["--speed", "-1"],
            &["--rate", "1", "--speed", "1"],
            &["--key", "/k"],
            &["--on-error", "retry"],
            &["-", "a.csv", "-"],
            &["--workers", "1024", "--publishers", "65"],
        ] {
            let line = ["ringbolt"].iter().chain(line);
            let error = Cli::try_parse_from(line).and_then(Cli::into_run);
            assert_eq!(error.expect_err("refused").exit_code(), 2);
        }
    }

    #[test]
    fn threads_are_no_way_to_take_all_memory() {
        for (workers, publishers, slots) in [(1, 1, 2_048), (64, 64, 2_048), (1_000, 60, 128)] {
            let [workers, publishers] = [workers, publishers].map(|count: u64| count.to_string());
            let line = [
                "ringbolt",
                "--workers",
                &workers,
                "--publishers",
                &publishers,
            ];
            let run = Cli::try_parse_from(line).and_then(Cli::into_run);
            assert_eq!(run.expect("few enough").lane_capacity(), slots);
        }
    }

    #[test]
    fn numbers_are_refused_with_what_they_may_be() {
        for (option, number, words) in [
            ("--workers", "0", "1..=1024"),
            ("--workers", "10000", "1..=1024"),
            ("--publishers", "-1", "1..=1024"),
            ("--events", "-5", "invalid value '-5'"),
            ("--rate", "-5", "above 0"),
            ("--rate", "inf", "finite"),
            ("--speed", "-0.5", "above 0"),
            ("--speed", "NaN", "above 0"),
        ] {
            let error = Cli::try_parse_from(["ringbolt", option, number]).expect_err("refused");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
