//! What the tests of those who follow the log share.

use super::{EventStore, ExpectedVersion, Retention};
use crate::event::{AsKey, Codec, Event, Key};
use crate::sync::thread;
use std::time::Duration;

/// Longer than anything takes that does not hang.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// The next number of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Count {
    pub(super) writer: u64,
    pub(super) number: u64,
}

impl Event for Count {
    const NAME: &'static str = "store.count";
    fn key(&self) -> Key<'_> {
        self.writer.as_key()
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

/// A store of segments for some 30 records each.
pub(super) fn tiny(retention: Retention) -> EventStore {
    EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .retention(retention)
        .build()
        .unwrap()
}

/// Appends so many events of writer 0 to stream `s`, their numbers from `from` on.
pub(super) fn append(store: &EventStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let count = Count { writer: 0, number };
        store.append("s", ExpectedVersion::Any, &count).unwrap();
    }
}

/// Appends these as one.
pub(super) fn append_together(store: &EventStore, numbers: std::ops::Range<u64>) {
    let counts: Vec<_> = numbers.map(|number| Count { writer: 0, number }).collect();
    store
        .append_all("s", ExpectedVersion::Any, &counts)
        .unwrap();
}

/// Runs all of these at once and waits for them.
pub(super) fn at_once(bodies: Vec<Box<dyn FnOnce() + Send>>) {
    let started: Vec<_> = bodies
        .into_iter()
        .map(|body| thread::start("ringbolt-test".to_owned(), body).unwrap())
        .collect();
    let ended: Vec<_> = started.into_iter().map(|thread| thread.join()).collect();
    for end in ended {
        if let Err(panic) = end {
            std::panic::resume_unwind(panic);
        }
    }
}
