//! What an event takes beside its payload: in a process of its own, with every byte counted.

use super::appending::{Changed, names, stream_of};
use crate::held;
use crate::systems::said;
use ringbolt::store::{EventStore, ExpectedVersion};
use std::process::{Command, Stdio};

/// Enough for segments and indexes to be what counts.
const EVENTS: u64 = 4_000_000;

/// The bytes for each event, indexes and room that is not used yet included, from a process of its own.
pub(super) fn measure() -> Result<f64, String> {
    let program = std::env::current_exe().map_err(said)?;
    let output = Command::new(program)
        .args(["store", "--child"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(said)?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|error| format!("{text:?} is no number of bytes: {error}"))
}

/// What that process does and prints.
pub(crate) fn child() -> Result<String, String> {
    let names = names();
    held::start();
    let store = EventStore::builder()
        .populate(false)
        .build()
        .map_err(said)?;
    for number in 0..EVENTS {
        let name = &names[stream_of(number)];
        store
            .append(name, ExpectedVersion::Any, &Changed::nth(number))
            .map_err(said)?;
    }
    let bytes = held::bytes() as f64 / EVENTS as f64 - size_of::<Changed>() as f64;
    Ok(format!("{bytes:.3}"))
}
