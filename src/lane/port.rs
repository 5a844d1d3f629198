//! What the outside sees of a worker: its inboxes, its control queue, and the bell.
//!
//! publish → route → **lane** → worker → handler → outcome

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Barrier, CachePadded, OnceLock, SegQueue, realtime};
use std::fmt;

use super::{Inbox, Wake};

/// Priority classes; a class is an index here, 0 the most urgent.
pub(crate) const CLASS_COUNT: usize = 4;

/// A worker's port: `T` is what its inboxes carry, `C` its control messages.
pub(crate) struct Port<T, C> {
    /// The worker's sleep.
    pub(crate) wake: Wake,
    /// Set by whoever pushed something critical or sent a message, cleared by the worker before it looks:
    /// ends a batch of a lower class early. Only a hint; nothing is found or lost by it.
    urgent: CachePadded<AtomicU32>,
    /// Set by whoever sent a control message, cleared by the worker before it reads them all.
    control_sent: CachePadded<AtomicU32>,
    /// Never full: control messages are few, and refusing one has no answer.
    control: SegQueue<C>,
    /// One for each class, made on first use.
    inboxes: [OnceLock<Inbox<T>>; CLASS_COUNT],
    inbox_capacity: usize,
}

impl<T, C> Port<T, C> {
    pub(crate) fn new(inbox_capacity: usize) -> Self {
        Self {
            wake: Wake::new(),
            urgent: CachePadded::new(AtomicU32::new(0)),
            control_sent: CachePadded::new(AtomicU32::new(0)),
            control: SegQueue::new(),
            inboxes: std::array::from_fn(|_| OnceLock::new()),
            inbox_capacity,
        }
    }

    /// The inbox of a class, made now if nobody has used it.
    #[inline]
    pub(crate) fn inbox(&self, class: usize) -> &Inbox<T> {
        self.inboxes[class].get_or_init(|| {
            // Made once, at its first use.
            let _allowed = realtime::allow();
            Inbox::new(self.inbox_capacity)
        })
    }

    /// The inbox of a class, if anybody has used it.
    #[inline(always)]
    pub(crate) fn used_inbox(&self, class: usize) -> Option<&Inbox<T>> {
        self.inboxes[class].get()
    }

    /// Sends a control message and wakes the worker.
    pub(crate) fn send(&self, message: C, barrier: Barrier) {
        self.control.push(message);
        // Release [control]: pairs with the Acquire swap in `take_control`. A swap and no store, so
        // that the reader of one sender's mark has the messages of all who marked before it.
        self.control_sent.swap(1, Ordering::Release);
        // Letters are read between two batches: this one is to end.
        self.mark_urgent();
        self.wake.notify(barrier);
    }

    /// Whether a control message may wait.
    #[inline(always)]
    pub(crate) fn has_control(&self) -> bool {
        // Relaxed: a look; `take_control` acquires. Before a sleep the barrier makes sure of it (L7).
        self.control_sent.load(Ordering::Relaxed) != 0
    }

    /// The next control message. The mark is cleared before the queue is read to its end, so that a
    /// message sent meanwhile is found by this reading or marked for the next (L10).
    pub(crate) fn take_control(&self) -> Option<C> {
        // Relaxed: a look, as above.
        if self.control_sent.load(Ordering::Relaxed) != 0 {
            // Acquire [control]: pairs with the Release swap in `send`.
            self.control_sent.swap(0, Ordering::Acquire);
        }
        self.control.pop()
    }

    /// Says that something critical was pushed.
    #[inline(always)]
    pub(crate) fn mark_urgent(&self) {
        // Relaxed, here and below: a hint.
        if self.urgent.load(Ordering::Relaxed) == 0 {
            self.urgent.store(1, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Relaxed) != 0
    }

    /// The worker is about to look at its critical lanes.
    #[inline(always)]
    pub(crate) fn clear_urgent(&self) {
        if self.is_urgent() {
            self.urgent.store(0, Ordering::Relaxed);
        }
    }
}

impl<T, C> fmt::Debug for Port<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("inboxes", &self.inboxes)
            .finish_non_exhaustive()
    }
}
