//! What all who follow the log share: where they begin, what they are told, how they sleep and are stopped.

use super::log::Log;
use super::scan::{Events, Scan};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, clock};
use std::time::{Duration, Instant};

/// Where one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// With the first append that is kept as a whole.
    #[default]
    Start,
    /// Behind the last record: with what is appended from now on.
    End,
    /// Behind this position, which was handled: a checkpoint.
    After(u64),
}

/// What happens to one that reads more slowly than the log forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlowReader {
    /// The log forgets nothing that it has not been given. Appends go on and memory grows, up to the store's
    /// `capacity_bytes`, from where on appends are refused.
    Block,
    /// It is told that it fell behind, and fails with [`ReadError::Truncated`](super::ReadError::Truncated) if what comes
    /// next is gone.
    #[default]
    Demote,
    /// It is told what it has lost ([`Signal::Gap`]) and goes on with the first append that is kept.
    Lossy,
}

/// What one who follows is given.
#[derive(Debug)]
#[non_exhaustive]
pub enum Signal<'f> {
    /// Events, at least one.
    Events(Events<'f>),
    /// It has been given all that was committed at some moment since the last call. Told once, until it falls behind.
    CaughtUp,
    /// It was caught up, and is now so many records behind. Told once, until it has caught up.
    FellBehind {
        /// Records between where it is and the end of the log.
        by: u64,
    },
    /// These records are not kept any more and will not be given. Records that the filter would have left out count too.
    Gap {
        /// The position of the first.
        from: u64,
        /// The position behind the last: where it goes on.
        to: u64,
    },
    /// Nothing for so long.
    TimedOut,
    /// It was [stopped](Stopper::stop).
    Stopped,
}

/// Stops one who follows, from another thread; the one it belongs to may be gone.
#[derive(Debug, Clone)]
pub struct Stopper {
    is_stopped: Arc<AtomicBool>,
    pub(crate) log: Arc<Log>,
}

impl Stopper {
    pub(crate) fn new(log: &Arc<Log>) -> Self {
        Self {
            is_stopped: Arc::default(),
            log: Arc::clone(log),
        }
    }

    /// Wakes it if it sleeps; what it is given from now on is [`Signal::Stopped`].
    pub fn stop(&self) {
        // Relaxed: the bell's lock is taken after it, and by a sleeper before it looks.
        self.is_stopped.store(true, Ordering::Relaxed);
        self.log.bell.disturb();
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// When a wait ends: known once somebody asks.
#[derive(Debug)]
pub(crate) struct Limit {
    timeout: Duration,
    deadline: Option<Option<Instant>>,
    /// Once it is over: the end of the log as it was then.
    last: Option<u64>,
}

impl Limit {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            deadline: None,
            last: None,
        }
    }

    /// `None`: never.
    fn deadline(&mut self) -> Option<Instant> {
        *self
            .deadline
            .get_or_insert_with(|| clock::deadline(self.timeout))
    }

    /// Whether it is over, and all was looked at that was there when it was first found to be over.
    pub(crate) fn is_over(&mut self, scan: &mut Scan) -> bool {
        if self.last.is_none() {
            let is_over = self.timeout.is_zero()
                || self
                    .deadline()
                    .is_some_and(|deadline| clock::left(deadline).is_zero());
            if !is_over {
                return false;
            }
        }
        let position = scan.position();
        position >= *self.last.get_or_insert_with(|| position + scan.lag())
    }

    /// Sleeps by the log's bell; `false` if it was for nothing.
    pub(crate) fn wait(&mut self, log: &Log, is_done: impl Fn() -> bool) -> bool {
        if self.timeout.is_zero() {
            return is_done();
        }
        let deadline = self.deadline();
        log.bell.wait(is_done, deadline)
    }
}
