//! From the flow or the input into the engine: the publishing threads.
//!
//! input → **feed** → outlet → *the engine* → check → summary
//!
//! Events are split among the publishers by their key, so that the order of a key is the order of one
//! publisher and therefore defined. A publisher waits for the moment an event is due, and ends when the
//! events do or when the run is to stop, whichever comes first.

use crate::args::OnError;
use crate::console::Console;
use crate::flow::{Flow, mix};
use crate::input::{Fields, InputError, NO_TYPES, Record, Source};
use crate::input_event::InputEvent;
use crate::outlet::Outlet;
use crate::pace::Pace;
use crate::stop::Stop;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Records that are read ahead of each publisher.
const READ_AHEAD: usize = 4_096;
/// Longest wait for a record between two looks at the stop flag.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bad lines that are described; more are only counted.
const DESCRIBED_MAX: u64 = 20;

/// Publishes the share of one publisher, by its place among how many, of the built-in flow.
///
/// Every publisher generates all of it and passes over what is not its own: so the events are the same,
/// whatever the number of publishers.
///
/// # Errors
/// Why an event was refused.
pub(crate) fn feed_flow(
    outlet: &mut Outlet,
    flow: Flow,
    (place, count): (usize, usize),
    pace: &Pace,
    stop: &Stop,
) -> Result<(), String> {
    for planned in flow {
        if count > 1 && mix(u64::from(planned.event.book())) % count as u64 != place as u64 {
            continue;
        }
        let due = pace.due(planned.index, planned.since_first_ns);
        if due.map_or_else(|| stop.is_asked(), |due| !pace.wait_until(due, stop)) {
            return Ok(());
        }
        planned.event.put(outlet, due)?;
    }
    Ok(())
}

/// A record on its way to a publisher.
#[derive(Debug)]
pub(crate) struct Item {
    event: InputEvent,
    due: Option<u64>,
}

/// Publishes what the reader sends.
///
/// # Errors
/// Why an event was refused.
pub(crate) fn feed_input(
    outlet: &mut Outlet,
    items: &Receiver<Item>,
    pace: &Pace,
    stop: &Stop,
) -> Result<(), String> {
    while !stop.is_asked() {
        match items.recv_timeout(PATIENCE) {
            Ok(Item { event, due }) => {
                if due.is_some_and(|due| !pace.wait_until(due, stop)) {
                    return Ok(());
                }
                outlet.put(event, due)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// What the reader has met so far; read by others while it reads.
#[derive(Debug, Default)]
pub(crate) struct ReaderState {
    bad_lines: AtomicU64,
    has_failed: AtomicBool,
}

impl ReaderState {
    /// Lines that could not be read.
    pub(crate) fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }

    /// Whether a bad line, or the rest of a file that could not be read, ended the reading.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

/// Reads the inputs, one after the other, and splits them among publishers.
pub(crate) struct Reader {
    pub(crate) sources: Vec<Source>,
    pub(crate) fields: Fields,
    pub(crate) events_max: u64,
    pub(crate) on_error: OnError,
    pub(crate) pace: Pace,
    pub(crate) stop: Stop,
    pub(crate) console: Console,
    pub(crate) state: Arc<ReaderState>,
    pub(crate) publishers: Vec<SyncSender<Item>>,
}

/// Lines to publishers, and how many records may wait in each.
pub(crate) fn lines_to(publisher_count: usize) -> (Vec<SyncSender<Item>>, Vec<Receiver<Item>>) {
    (0..publisher_count)
        .map(|_| sync_channel(READ_AHEAD))
        .unzip()
}

/// What a reader has seen of the records so far.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    /// The next number of every key.
    sequences: HashMap<Box<str>, u64>,
    /// Whether any record had another type than the one that stands for none.
    has_types: bool,
    first_time_ns: Option<i128>,
    since_first_ns: u64,
}

impl Reader {
    /// Reads until the inputs end, the run stops, or a bad line is not to be passed over.
    pub(crate) fn read(mut self) {
        let mut seen = Seen::default();
        let sources = std::mem::take(&mut self.sources);
        for source in sources {
            let name = Arc::clone(source.name());
            let mut records = source.records(&self.fields);
            // Enough is enough before the next record is waited for.
            while seen.records < self.events_max
                && let Some(record) = records.next()
            {
                if self.stop.is_asked() {
                    return;
                }
                let goes_on = match record {
                    Ok((line, record)) => self.pass_on(record, &mut seen, &name, line),
                    Err(error) => self.note_bad(&error),
                };
                if !goes_on {
                    return;
                }
            }
        }
        self.note_unused_fields(&seen);
    }

    /// Sends a record to the publisher of its key; `false` to end reading.
    fn pass_on(&self, record: Record, seen: &mut Seen, file: &Arc<str>, line: u64) -> bool {
        if let Some(time_ns) = record.time_ns {
            let first = *seen.first_time_ns.get_or_insert(time_ns);
            let since = u64::try_from((time_ns - first).max(0)).unwrap_or(u64::MAX);
            // An event that is older than the one before it is due together with it.
            seen.since_first_ns = seen.since_first_ns.max(since);
        } else if self.pace.needs_times() && seen.first_time_ns.is_none() {
            return self.note_bad(&InputError {
                file: Arc::clone(file),
                line,
                reason: "has no time, which --speed goes by (name it with --time)".to_owned(),
                is_last: false,
            });
        }
        let index = seen.records;
        seen.records += 1;
        seen.has_types |= !NO_TYPES.contains(&&*record.event_type);
        let count = self.publishers.len() as u64;
        let (sequence, publisher) = match &record.key {
            None => (index, index % count),
            Some(key) => (next_sequence(&mut seen.sequences, key), hash(key) % count),
        };
        let due = self.pace.due(index, seen.since_first_ns);
        let event = InputEvent {
            record: Box::new(record),
            sequence,
        };
        // A publisher that is gone has stopped, or has told why.
        self.publishers[publisher as usize]
            .send(Item { event, due })
            .is_ok()
    }

    /// Reports and counts a bad line; `false` to end reading.
    fn note_bad(&self, error: &InputError) -> bool {
        let earlier = self.state.bad_lines.fetch_add(1, Ordering::Relaxed);
        let stops = self.on_error == OnError::Stop;
        if stops || earlier < DESCRIBED_MAX || error.is_last {
            self.console.complain(&error.to_string());
        } else if earlier == DESCRIBED_MAX {
            self.console
                .warn("further bad lines are counted and not described");
        }
        if stops || error.is_last {
            // What could not be read at all was not skipped: the run is not the whole input.
            self.state.has_failed.store(true, Ordering::Relaxed);
        }
        !stops
    }

    /// A field that no record had is more likely a slip than a wish.
    fn note_unused_fields(&self, seen: &Seen) {
        if seen.records == 0 {
            return;
        }
        for (option, field, is_unused) in [
            ("--type", &self.fields.event_type, !seen.has_types),
            ("--key", &self.fields.key, seen.sequences.is_empty()),
            ("--time", &self.fields.time, seen.first_time_ns.is_none()),
        ] {
            if let (Some(field), true) = (field, is_unused) {
                self.console
                    .warn(&format!("{option} {field}: no record has it"));
            }
        }
    }
}

fn next_sequence(sequences: &mut HashMap<Box<str>, u64>, key: &str) -> u64 {
    match sequences.get_mut(key) {
        Some(next) => {
            *next += 1;
            *next - 1
        }
        None => {
            sequences.insert(key.into(), 1);
            0
        }
    }
}

/// The same for the same key, on every machine.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
