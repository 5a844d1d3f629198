//! A segment's memory made ahead of need, by a thread that does nothing else.
//!
//! Zeroing and touching a segment takes milliseconds, which no append should meet. So one is kept ready, and made anew
//! whenever it was taken. The thread starts with the first segment and sleeps while there is a spare.

use crate::sync::{Arc, Arena, Condvar, Mutex, thread};
use std::fmt;

#[derive(Default)]
struct State {
    arena: Option<Arena>,
    is_wanted: bool,
    is_over: bool,
    is_running: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The spare.
pub(crate) struct Spare {
    shared: Arc<Shared>,
    bytes: usize,
    is_populated: bool,
}

impl Spare {
    /// Spares of so many bytes; none where nothing is to be touched ahead, as making one is then cheap.
    pub(crate) fn new(bytes: usize, is_populated: bool) -> Self {
        Self {
            shared: Arc::default(),
            bytes,
            is_populated,
        }
    }

    /// The spare, if it is ready.
    pub(crate) fn take(&self) -> Option<Arena> {
        self.shared.state.lock().arena.take()
    }

    /// Has one made.
    pub(crate) fn want(&self) {
        if !self.is_populated {
            return;
        }
        let mut state = self.shared.state.lock();
        if state.arena.is_some() {
            return;
        }
        state.is_wanted = true;
        if !state.is_running {
            let shared = Arc::clone(&self.shared);
            let bytes = self.bytes;
            // Where no thread can be had, each append that needs a segment makes its own.
            state.is_running =
                thread::start("ringbolt-segment".to_owned(), move || make(&shared, bytes)).is_ok();
        }
        self.shared.changed.notify_one();
    }
}

fn make(shared: &Shared, bytes: usize) {
    let mut state = shared.state.lock();
    while !state.is_over {
        if state.is_wanted {
            state.is_wanted = false;
            drop(state);
            let arena = Arena::new(bytes, true);
            state = shared.state.lock();
            state.arena = arena;
        } else {
            shared.changed.wait(&mut state);
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
