//! The command line of `ringbolt store`.

use crate::args::{Format, above_zero};
use crate::input::parse_time;
use clap::{Args, Subcommand, ValueEnum};
use ringbolt::EventId;
use ringbolt::store::{Query, RecordFilter};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What stands below the options.
pub(crate) const NOTES: &str = "\
Examples:
  ringbolt run --events 100000 --export log.jsonl
          A run whose log is kept: a CloudEvent on each line
  ringbolt store stats log.jsonl
          How many events, streams and bytes, and the largest streams
  ringbolt store streams log.jsonl --sort events --limit 5
          The five longest streams: aligned on a terminal, tabs and no header in a pipe
  ringbolt store read log.jsonl --stream 17 --backward --limit 3
          The last three events of a stream
  ringbolt store read log.jsonl --type order.filled --format json > filled.jsonl
          A part of the log as a file of its own
  ringbolt store replay log.jsonl --rate 50000
          All of it into a fresh run, with the order checked

FILE may be gzipped; `-` is stdin. Lines that are no events are told with what is wrong, and left out.

Exit status:
  0    All well: every line is an event, and what was replayed was handled in order
  1    A file that cannot be read, a line that is no event, a stream that is not there, or
       events that failed or came out of order
  2    Wrong usage
  130  Ctrl-C while replaying (143: SIGTERM); what was dispatched is handled and reported";

/// What to do with a file of events.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// Tell what there is: events, streams, bytes, and the largest streams
    Stats(StatsArgs),
    /// List the streams, a line each
    Streams(StreamsArgs),
    /// Read events, a line each
    Read(ReadArgs),
    /// Dispatch events again into a fresh run, in the order of the log, which is checked
    Replay(ReplayArgs),
}

impl Action {
    /// Why the arguments make no sense together.
    pub(crate) fn conflict(&self) -> Option<String> {
        match self {
            Self::Stats(_) | Self::Streams(_) => None,
            Self::Read(args) => args.filter.conflict(),
            Self::Replay(args) => args.filter.conflict(),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatsArgs {
    /// A file of events; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// How to print them; JSON is one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StreamsArgs {
    /// A file of events; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What comes first
    #[arg(long, value_enum, value_name = "BY", default_value_t = Sort::First)]
    pub(crate) sort: Sort,

    /// So many streams at most [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,

    /// How to print them; JSON is one object, with `streams` and the `count` of all
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The stream with the earliest event
    First,
    /// By name
    Name,
    /// The stream with most events
    Events,
    /// The stream with most bytes
    Bytes,
}

/// Which events are meant: all that agree with everything that is said here.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Events of this stream; given again, of that one too
    #[arg(long = "stream", value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) streams: Vec<String>,

    /// Events of this type; given again, of that one too
    #[arg(long = "type", value_name = "NAME")]
    types: Vec<String>,

    /// From this position on
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,

    /// Up to this position, and with it
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,

    /// From this time on: RFC 3339, or an epoch integer in s, ms, us or ns
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,

    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,

    /// Events of one story, by its correlation id
    #[arg(long, value_name = "ID", value_parser = event_id)]
    correlation: Option<EventId>,

    /// Events with this named value; given again, with that one too
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
}

impl FilterArgs {
    fn conflict(&self) -> Option<String> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Some(format!("--from {from} is behind --to {to}"));
        }
        let is_empty = self.since.is_some() && self.until.is_some() && self.since >= self.until;
        is_empty.then(|| "--since is not before --until".to_owned())
    }

    /// The question to a store.
    pub(crate) fn query(&self) -> Query {
        let mut query = Query::all();
        if let Some(from) = self.from {
            query = query.from(from);
        }
        if let Some(to) = self.to {
            query = query.before(to.saturating_add(1));
        }
        let streams = self.streams.iter().map(RecordFilter::stream);
        if let Some(any) = streams.reduce(RecordFilter::or) {
            query = query.filter(any);
        }
        if !self.types.is_empty() {
            query = query.filter(RecordFilter::event_types(&self.types));
        }
        if let Some(since) = self.since {
            query = query.filter(RecordFilter::time(since..));
        }
        if let Some(until) = self.until {
            query = query.filter(RecordFilter::time(..until));
        }
        if let Some(id) = self.correlation {
            query = query.filter(RecordFilter::correlation(id));
        }
        for (name, value) in &self.metadata {
            query = query.filter(RecordFilter::metadata(name, value));
        }
        query
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReadArgs {
    /// A file of events; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// The latest first
    #[arg(long)]
    pub(crate) backward: bool,

    /// So many events at most [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Lines::Text)]
    pub(crate) format: Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lines {
    /// A table for people
    Text,
    /// A CloudEvent on each line: a file of events as this command reads it
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// A file of events; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// So many events at most [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// Tell what would be dispatched, and dispatch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Events per second; latency then counts from the moment an event was due [default: as fast as it goes]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = above_zero, conflicts_with = "speed")]
    pub(crate) rate: Option<f64>,

    /// By the events' own times, so many times as fast
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = above_zero)]
    pub(crate) speed: Option<f64>,

    /// Worker threads [default: one less than there are cores, at least 1, at most 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) workers: Option<u16>,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

fn time(text: &str) -> Result<SystemTime, String> {
    let ns = parse_time(text)?;
    let away = ns.unsigned_abs();
    let seconds = u64::try_from(away / 1_000_000_000).map_err(|error| error.to_string())?;
    let away = Duration::new(seconds, (away % 1_000_000_000) as u32);
    let time = if ns < 0 {
        UNIX_EPOCH.checked_sub(away)
    } else {
        UNIX_EPOCH.checked_add(away)
    };
    time.ok_or_else(|| format!("time {text:?} is too far away"))
}

fn event_id(text: &str) -> Result<EventId, String> {
    let id = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    id.map_err(|error| error.to_string())
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} has no `=` (say NAME=VALUE)"))?;
    Ok((name.to_owned(), value.to_owned()))
}
