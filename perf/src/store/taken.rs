//! What an event takes beside its payload: by how much a process of its own grows. Segments are had from the kernel, past the
//! allocator, so it is resident memory that is looked at.

use super::appending::{Changed, names, stream_of};
use crate::memory::resident_bytes;
use crate::systems::said;
use ringbolt::store::{EventStore, ExpectedVersion};
use std::process::{Command, Stdio};

/// Enough for segments and indexes to be what counts.
const EVENTS: u64 = 4_000_000;

/// The bytes for each event, indexes included, from a process of its own.
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
    let before = resident_bytes()?;
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
    let grown = resident_bytes()?.saturating_sub(before);
    let bytes = grown as f64 / EVENTS as f64 - size_of::<Changed>() as f64;
    drop(store);
    Ok(format!("{bytes:.3}"))
}
