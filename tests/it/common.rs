//! Events, recorders and gates that the chapters share.

use ringbolt::{AsKey, Event, EventSystem, Key};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Long enough for anything that is going to happen to happen, on a busy machine too; no test waits
/// this long unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// An event with a key, the publisher it came from, and its number there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) key: u64,
    pub(crate) publisher: u32,
    pub(crate) number: u64,
}

impl Event for Numbered {
    const NAME: &'static str = "test.numbered";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

pub(crate) fn numbered(key: u64, number: u64) -> Numbered {
    Numbered {
        key,
        publisher: 0,
        number,
    }
}

/// An event without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loose(pub(crate) u64);

impl Event for Loose {
    const NAME: &'static str = "test.loose";
}

/// A shared list.
#[derive(Debug, Clone)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn add(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    /// What was added since the last time.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A door that handlers wait at until the test opens it, and that tells how many have come. The test's
/// own, of which the handlers have clones, opens when it goes: a failed test ends and does not hang.
#[derive(Debug, Default)]
pub(crate) struct Door {
    shared: Arc<(Mutex<DoorState>, Condvar)>,
    is_clone: bool,
}

impl Clone for Door {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            is_clone: true,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if !self.is_clone {
            self.open();
        }
    }
}

#[derive(Debug, Default)]
struct DoorState {
    arrived: usize,
    is_open: bool,
}

impl Door {
    /// Called by a handler: arrives, and stays until the door opens.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.arrived += 1;
        changed.notify_all();
        while !state.is_open {
            state = changed.wait(state).unwrap();
        }
    }

    /// Waits until so many have arrived.
    pub(crate) fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        while state.arrived < count {
            let (next, timeout) = changed.wait_timeout(state, LONG).unwrap();
            state = next;
            assert!(!timeout.timed_out(), "nobody came to the door");
        }
    }

    pub(crate) fn open(&self) {
        let (state, changed) = &*self.shared;
        state.lock().unwrap().is_open = true;
        changed.notify_all();
    }
}

/// Stops the engine and checks that every delivery is accounted for.
pub(crate) fn finish(system: &EventSystem) -> ringbolt::metrics::DeliveryCounts {
    let report = system.shutdown(LONG).unwrap();
    assert!(report.in_time, "not quiet in time: {report:?}");
    let totals = system.report().totals;
    assert_eq!(totals.in_flight(), 0, "{totals:?}");
    totals
}
