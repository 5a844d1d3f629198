//! Replays a Binance capture through the engine, keeps the order book in the workers, and checks it against the ticker.
//!
//! ```text
//! cargo run --release --example order_book -- [FILE] [--workers N] [--speed X]
//! ```
//!
//! Without FILE it takes the small made-up capture that lies beside it; `data/README.md` says how a line looks. It ends
//! with status 1 if a book is not right, as a lost, repeated or reordered event would make it.

#[path = "order_book/mod.rs"]
mod order_book;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use order_book::book::Summary;
use order_book::{Replay, Result, capture, replay};

const USAGE: &str = "usage: order_book [FILE] [--workers N] [--speed X]";
/// More than any machine of today has use for.
const WORKERS_MAX: usize = 1_024;
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/made_up.txt");

/// What the command line asks for.
struct Arguments {
    file: PathBuf,
    workers: usize,
    speed: Option<f64>,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        let _ = writeln!(io::stdout(), "{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let replay = match run(&arguments) {
        Ok(replay) => replay,
        Err(fault) => {
            eprintln!("{}: {fault}", arguments.file.display());
            return ExitCode::FAILURE;
        }
    };
    match print(&replay, arguments.workers, &mut io::stdout().lock()) {
        // Whoever read our output has seen enough.
        Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cannot print the result: {fault}");
            ExitCode::FAILURE
        }
        _ if !replay.summaries.is_empty() && replay.summaries.iter().all(Summary::is_right) => {
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

fn run(arguments: &Arguments) -> Result<Replay> {
    let records = capture::open(&arguments.file)?;
    replay(records, arguments.workers, arguments.speed)
}

fn print(replay: &Replay, workers: usize, out: &mut impl Write) -> io::Result<()> {
    for summary in &replay.summaries {
        print_book(summary, out)?;
    }
    writeln!(
        out,
        "{} events, {} symbol(s), {workers} worker(s)",
        grouped(replay.events),
        replay.summaries.len(),
    )
}

fn print_book(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let Summary { symbol, seen, .. } = summary;
    writeln!(
        out,
        "{symbol}: {} of {} update ids agree with the ticker, {} crossed books, {} breaks in the chains of ids",
        seen.agreed, seen.shared, seen.crossed, seen.breaks
    )?;
    if let Some(top) = summary.top {
        writeln!(
            out,
            "{symbol}: top of book {} / {}, {} bid and {} ask levels after {} diffs",
            top.bid.price,
            top.ask.price,
            grouped(summary.bid_levels as u64),
            grouped(summary.ask_levels as u64),
            grouped(seen.diffs)
        )?;
    }
    if let Some(last) = &summary.last_trade {
        writeln!(
            out,
            "{symbol}: {} trades, the last of {} at {}",
            grouped(seen.trades),
            last.quantity,
            last.price
        )?;
    }
    Ok(())
}

/// `41,249`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn arguments(mut given: impl Iterator<Item = String>) -> std::result::Result<Arguments, String> {
    let mut arguments = Arguments {
        file: PathBuf::from(SAMPLE),
        workers: 2,
        speed: None,
    };
    let mut file = None;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--workers" => {
                let what = format!("a number from 1 to {WORKERS_MAX}");
                arguments.workers = value(&argument, given.next(), &what, |workers| {
                    (1..=WORKERS_MAX).contains(workers)
                })?;
            }
            "--speed" => {
                let positive = |speed: &f64| speed.is_finite() && *speed > 0.0;
                let what = "a number above 0";
                arguments.speed = Some(value(&argument, given.next(), what, positive)?);
            }
            option if option.starts_with('-') => {
                return Err(format!("{option}: there is no such option"));
            }
            path if file.is_none() => file = Some(PathBuf::from(path)),
            path => return Err(format!("{path}: a second file")),
        }
    }
    arguments.file = file.unwrap_or(arguments.file);
    Ok(arguments)
}

/// The number behind an option.
fn value<T: std::str::FromStr>(
    option: &str,
    given: Option<String>,
    what: &str,
    is_good: impl Fn(&T) -> bool,
) -> std::result::Result<T, String> {
    let given = given.ok_or_else(|| format!("{option}: {what} is missing behind it"))?;
    let number = given.parse().ok().filter(is_good);
    number.ok_or_else(|| format!("{option} {given}: is not {what}"))
}
