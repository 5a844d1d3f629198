//! Who is told that something was appended: threads that wait for it, and the workers of engines.
//!
//! The same race as everywhere ("store mine, look at yours"): an appender moves the watermark, passes the light side of the
//! barrier and looks whether anybody sleeps; a sleeper says that it sleeps, passes the heavy side, and looks at the
//! watermark once more. So an append to a log that nobody waits for costs one load.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::fmt;
use std::time::Instant;

/// One that follows the log in its own way: an engine, with its workers.
pub(crate) trait Listener: Send + Sync {
    /// Asked before anything is appended, outside of the lock: whether an event with this key may be. May wait.
    fn admit(&self, key: Option<u64>) -> Result<(), super::AppendError>;
    /// Asked under the lock: whether nothing may be appended any more, as the listener is at its end.
    fn is_closed(&self) -> bool;
    /// An event with this key was appended. Never waits.
    fn appended(&self, key: Option<u64>);
    /// A segment is full: whoever sleeps moves on, so that it can be let go. Never waits.
    fn rolled(&self);
}

/// The bell.
pub(crate) struct Bell {
    barrier: Barrier,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    rung: Condvar,
    /// How many listeners there are: the one word that an append looks at.
    listening: AtomicU32,
    /// Replaced as a whole, so that nobody is called under the lock: a listener may append.
    listeners: RwLock<Arc<[Arc<dyn Listener>]>>,
}

impl Bell {
    pub(crate) fn new(barrier: Barrier) -> Self {
        Self {
            barrier,
            sleepers: AtomicU32::new(0),
            lock: Mutex::new(()),
            rung: Condvar::new(),
            listening: AtomicU32::new(0),
            listeners: RwLock::new(Arc::from([])),
        }
    }

    /// After a commit: wakes all who sleep.
    #[inline(always)]
    pub(crate) fn ring(&self) {
        self.barrier.light();
        // Relaxed: the barrier orders it behind the watermark's store (S8).
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // Lock [ring]: a sleeper that has looked and does not sleep yet is waited for (S8).
        drop(self.lock.lock());
        self.rung.notify_all();
    }

    /// Sleeps until `is_done`, which is asked whenever something was appended or [`disturb`](Self::disturb) was called, or
    /// until the deadline; whether it is done.
    pub(crate) fn wait(&self, is_done: impl Fn() -> bool, deadline: Option<Instant>) -> bool {
        let mut guard = self.lock.lock();
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // Between saying that one sleeps and looking once more (S8).
        self.barrier.heavy();
        let mut is_late = false;
        let is_past = loop {
            if is_done() {
                break true;
            }
            if is_late {
                break false;
            }
            // Lock [ring]: it is given up and the thread asleep in one step, as far as `wake` can tell.
            match deadline {
                None => self.rung.wait(&mut guard),
                Some(deadline) => is_late = self.rung.wait_until(&mut guard, deadline).timed_out(),
            }
        };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        is_past
    }

    /// Has whoever waits look again, for something other than an append.
    pub(crate) fn disturb(&self) {
        self.wake();
    }

    /// Whether anybody listens; asked behind [`ring`](Self::ring), or where a late answer does no harm.
    #[inline(always)]
    pub(crate) fn is_listened_to(&self) -> bool {
        // Relaxed: the list is behind its lock; the barrier orders this behind the watermark's store (S8).
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Adds a listener. It is told of every append that it does not see when it looks at the watermark after this.
    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) {
        self.change(|listeners| listeners.push(listener));
        // Between saying that one listens and looking (S8).
        self.barrier.heavy();
    }

    /// Takes a listener away; who tells at that moment may tell it once more.
    pub(crate) fn leave(&self, listener: &Arc<dyn Listener>) {
        self.change(|listeners| listeners.retain(|found| !Arc::ptr_eq(found, listener)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<dyn Listener>>)) {
        let mut place = self.listeners.write();
        let mut listeners = place.to_vec();
        change(&mut listeners);
        let count = listeners.len() as u32;
        *place = listeners.into();
        self.listening.store(count, Ordering::Relaxed);
    }

    /// Those who listen now.
    fn all(&self) -> Arc<[Arc<dyn Listener>]> {
        Arc::clone(&self.listeners.read())
    }

    /// Asks every listener whether an event with this key may be appended.
    pub(crate) fn admit(&self, key: Option<u64>) -> Result<(), super::AppendError> {
        let listeners = self.all();
        listeners
            .iter()
            .try_for_each(|listener| listener.admit(key))
    }

    /// Whether a listener is at its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.all().iter().any(|listener| listener.is_closed())
    }

    /// Tells that an event with this key was appended.
    pub(crate) fn tell(&self, key: Option<u64>) {
        for listener in self.all().iter() {
            listener.appended(key);
        }
    }

    /// Tells that a segment is full.
    pub(crate) fn tell_rolled(&self) {
        for listener in self.all().iter() {
            listener.rolled();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}
