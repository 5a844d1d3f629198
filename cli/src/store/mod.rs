//! Files of an event log: written by a run, looked through, and dispatched again.
//!
//! *the engine* → (store) → **file** → replay → *the engine*
//!
//! A file has a CloudEvent on each line, as a store exports its log, and is read into a store in memory. Events of any
//! program will do: what the command does not know it takes as it is. Lines that are no events are told.

mod args;
mod file;
mod list;
mod read;
mod replay;

pub(crate) use args::{Action, NOTES};
pub(crate) use file::Export;

use anyhow::{Context as _, Result};
use std::io;
use std::process::ExitCode;

/// Does what is asked for, and says with which code to exit.
///
/// # Errors
/// Something could not be read, written or found.
pub(crate) fn act(action: &Action) -> Result<ExitCode> {
    match action {
        Action::Stats(args) => list::stats(args),
        Action::Streams(args) => list::streams(args),
        Action::Read(args) => read::read(args),
        Action::Replay(args) => replay::replay(args),
    }
}

fn exit(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A reader that has left has seen enough.
fn printed(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the result"),
    }
}
