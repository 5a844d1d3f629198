//! One subscription on one worker, as its breaker knows it.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**

use super::policy::Window;
use super::window::{CallWindow, Note, Sum, tenth_ns};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use std::fmt;

/// What a breaker knows of one subscription on one worker.
pub(crate) trait Seat: Send + Sync {
    /// Calls that went well so far, counted by the worker.
    fn handled(&self) -> u64;
    /// Whether calls have to ask from now on. Called under the breaker's lock: sets or clears a mark and does nothing
    /// else.
    fn mark(&self, asks: bool);
    /// The state has changed, or a permit has come back: whoever was refused may ask again. Called without a lock.
    fn notify(&self);
    /// The present time, as all callers of this breaker count it.
    fn now_ns(&self) -> u64;
}

/// One subscription on one worker, as its worker holds it.
pub(crate) struct Member(pub(super) Arc<Seated>);

pub(super) struct Seated {
    pub(super) seat: Arc<dyn Seat>,
    window: Mutex<CallWindow>,
    /// How long a part of the window lasts; 0 for a count window.
    tenth_ns: u64,
    next_tick_ns: AtomicU64,
}

impl Member {
    /// From when on the worker is to call [`tick`](Self::tick) before its next calls; never, for a count window.
    #[inline]
    pub(crate) fn next_tick_ns(&self) -> u64 {
        // Relaxed: a time; if it is a little old, a tick comes a batch late, or once too often.
        self.0.next_tick_ns.load(Ordering::Relaxed)
    }

    /// Notes where the window's present tenth begins. Touches nothing that is shared.
    #[cold]
    pub(crate) fn tick(&self, now_ns: u64) {
        let seated = &*self.0;
        if let Some(tenth) = now_ns.checked_div(seated.tenth_ns) {
            let next_ns = (tenth + 1).saturating_mul(seated.tenth_ns);
            // Relaxed: as in `next_tick_ns`.
            seated.next_tick_ns.store(next_ns, Ordering::Relaxed);
            seated.window.lock().tick(seated.seat.handled(), now_ns);
        }
    }
}

impl Seated {
    pub(super) fn new(seat: Arc<dyn Seat>, window: Window) -> Self {
        let (tenth_ns, next_tick_ns) = match window {
            Window::Count(_) => (0, u64::MAX),
            Window::Time(time) => (tenth_ns(time), 0),
        };
        Self {
            window: Mutex::new(CallWindow::new(window, seat.handled())),
            tenth_ns,
            next_tick_ns: AtomicU64::new(next_tick_ns),
            seat,
        }
    }

    // Where both locks are held, the breaker's is the outer one. The count is read under the window's own, so that a
    // reader knows of no call less than who noted one.

    pub(super) fn note(&self, note: Note, now_ns: u64) {
        let mut window = self.window.lock();
        window.note(note, self.seat.handled(), now_ns);
    }

    pub(super) fn sum(&self, now_ns: u64) -> Sum {
        let mut window = self.window.lock();
        window.sum(self.seat.handled(), now_ns)
    }

    pub(super) fn restart(&self) {
        self.window.lock().restart(self.seat.handled());
        if self.tenth_ns > 0 {
            // Relaxed: as in `next_tick_ns`.
            self.next_tick_ns.store(0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}
