//! `ringbolt`: runs real or generated events through the engine and tells what became of them.
//!
//! arguments → input or flow → feed → outlet → *the engine* → check → summary, report
//!
//! Results go to stdout, everything else to stderr. The exit code says how it went: 0 all well (also when
//! the reader of stdout has left), 1 bad data or a missing file, 2 wrong usage, 130 and 143 after SIGINT
//! and SIGTERM, when what had been admitted was still handled and reported.

mod args;
mod check;
mod console;
mod engine;
mod faults;
mod feed;
mod flow;
mod input;
mod input_event;
mod letters;
mod monitor;
mod outlet;
mod pace;
mod plot;
mod report;
mod run;
mod stop;
mod store;
mod summary;

use args::Job;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let job = args::Cli::parse()
        .into_job()
        .unwrap_or_else(|error| error.exit());
    let done = match &job {
        Job::Run(args) => run::run(args),
        Job::DeadLetters(action) => letters::act(action),
        Job::Store(action) => store::act(action),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            console::Console::default().complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
