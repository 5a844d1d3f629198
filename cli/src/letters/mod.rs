//! Files of dead letters: written by a run, looked through, delivered again and thrown away.
//!
//! *the engine* → (dead letter) → **file** → redeliver → *the engine*
//!
//! Looking and discarding take letters of any program; redelivering takes those whose types and subscription
//! the command has. A file is changed by writing another one and putting that in its place, so that it is
//! whole at any time. Lines that are no letters are told and kept.

mod args;
mod discard;
mod file;
mod line;
mod list;
mod redeliver;
mod rewrite;

pub(crate) use args::{Action, NOTES};
pub(crate) use rewrite::Rewrite;

use anyhow::{Context as _, Result, ensure};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Does what is asked for, and says with which code to exit.
///
/// # Errors
/// Something could not be read, written or found; nothing has changed then.
pub(crate) fn act(action: &Action) -> Result<ExitCode> {
    match action {
        Action::List(args) => list::list(args),
        Action::Show(args) => list::show(args),
        Action::Redeliver(args) => redeliver::redeliver(args),
        Action::Discard(args) => discard::discard(args),
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

fn missing(file: &str, id: u64) -> String {
    format!("{file}: there is no letter {id}: nothing was done")
}

fn not_stdin(path: &Path) -> Result<()> {
    ensure!(
        path != Path::new("-"),
        "-: what is left is to be written, and stdin takes nothing: name a file"
    );
    Ok(())
}
