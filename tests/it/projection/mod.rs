//! The projections against what they promise.

mod failing;
mod inline;
mod keeping;
mod partitions;
mod random;
mod rebuilding;
mod replaying;

use ringbolt::projection::*;
use ringbolt::store::{EventStore, ExpectedVersion};
use ringbolt::{AsKey, Codec, Event, Key};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Long enough for any machine; nobody waits for it where all is well.
const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Credited {
    account: u64,
    cents: u64,
}

impl Event for Credited {
    const NAME: &'static str = "projection.credited";
    fn key(&self) -> Key<'_> {
        self.account.as_key()
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

#[derive(Debug, PartialEq)]
struct Noted(String);

impl Event for Noted {
    const NAME: &'static str = "projection.noted";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |noted| Ok(noted.0.clone()),
            |text| Ok(Self(text.to_owned())),
        ))
    }
}

/// What the tests keep: enough to see what is lost, repeated or out of order.
#[derive(Debug, Clone, Default, PartialEq)]
struct Sums {
    cents: u64,
    events: u64,
    /// Changes with every event and with their order.
    trace: u64,
    last: Option<u64>,
}

impl Sums {
    fn add(&mut self, cents: u64, at: &At<'_>) {
        self.note(cents, at.position());
    }

    fn note(&mut self, cents: u64, position: u64) {
        self.cents += cents;
        self.events += 1;
        self.trace = self.trace.wrapping_mul(31).wrapping_add(position ^ cents);
        self.last = Some(position);
    }
}

fn sums(name: &str) -> Projection<Sums> {
    Projection::new(name, Sums::default())
        .on::<Credited>(|sums, event, at| sums.add(event.cents, at))
        .on::<Noted>(|sums, event, at| sums.add(event.0.len() as u64, at))
}

fn small() -> EventStore {
    EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .build()
        .unwrap()
}

fn credit(store: &EventStore, account: u64, cents: u64) -> u64 {
    let stream = format!("account-{account}");
    store
        .append(&stream, ExpectedVersion::Any, &Credited { account, cents })
        .unwrap()
        .last_position
}

fn note(store: &EventStore, text: &str) -> u64 {
    store
        .append("notes", ExpectedVersion::Any, &Noted(text.to_owned()))
        .unwrap()
        .last_position
}

/// Holds a function up until the test lets it go.
#[derive(Default)]
struct Gate {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn wait_for_arrivals(&self, count: u64) {
        let mut state = self.state.lock().unwrap();
        while state.0 < count {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// Waits for a status that has to come.
fn wait_for_status<S: Send + Sync>(
    handle: &ProjectionHandle<S>,
    is_it: impl Fn(&Status) -> bool,
) -> Status {
    loop {
        let status = handle.status();
        if is_it(&status) {
            return status;
        }
        std::thread::yield_now();
    }
}

fn is_failed(status: &Status) -> bool {
    matches!(status, Status::Failed { .. })
}
