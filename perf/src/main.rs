//! `perf`: ringbolt measured beside the systems a user would pick instead.
//!
//! One subcommand for each question. Results go to stdout, as text or as JSON; what happens on the way
//! goes to stderr. The exit code is 0, 1 if a run failed, 2 for a wrong command line.

mod compare;
mod load;
mod machine;
mod systems;
mod table;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::io::{self, Write};
use std::process::ExitCode;

/// Measures ringbolt beside other ways of getting an event to a handler
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
}

/// How long to measure, and how to say the result.
#[derive(Debug, Args)]
struct Measuring {
    /// Fewer events, rounds and variants: under a minute
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All variants, long rounds: for the record (the default)
    #[arg(long)]
    full: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An aligned table, with the machine above it
    Text,
    /// One object on stdout; the machine is named on stderr
    Json,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match command {
        Command::Compare(measuring) => run_compare(&measuring),
    };
    match result {
        Ok(text) => print(&text),
        Err(reason) => {
            eprintln!("perf: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run_compare(measuring: &Measuring) -> Result<String, String> {
    let effort = if measuring.quick {
        compare::Effort::QUICK
    } else {
        compare::Effort::FULL
    };
    let machine = machine::Machine::look()?;
    if measuring.format == Format::Json {
        eprintln!("{machine}");
    }
    let rows = compare::run(&machine, effort)?;
    match measuring.format {
        Format::Text => Ok(format!(
            "{machine}\n\n{}\n\n{}",
            effort.text(),
            table::text(&rows)
        )),
        Format::Json => table::json(&rows),
    }
}

/// Prints the result; a reader that has seen enough is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("perf: stdout: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn quick_and_full_exclude_each_other() {
        assert!(Arguments::try_parse_from(["perf", "compare", "--quick", "--full"]).is_err());
        assert!(Arguments::try_parse_from(["perf", "compare", "--quick"]).is_ok());
        assert!(Arguments::try_parse_from(["perf"]).is_err());
    }
}
