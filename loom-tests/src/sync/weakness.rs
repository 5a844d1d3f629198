//! What a negative twin takes away from the protocol.

use loom::sync::atomic::Ordering;
use loom::thread::ThreadId;
use std::cell::Cell;

/// One step taken out of the primitives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// The hot side of the barrier does nothing.
    NoLight,
    /// The cold side of the barrier does nothing.
    NoHeavy,
    /// Acquire and Release on the states of the protocols are Relaxed.
    RelaxedWords,
    /// Counts are stored Relaxed by all threads but the model's first: a publisher's tail.
    RelaxedTail,
    /// Counts are stored Relaxed by the model's first thread: a worker's head.
    RelaxedHead,
    /// Marks are set Relaxed: that a lane's sender is gone.
    RelaxedAbandoned,
    /// The wake-up changes the word and calls nobody.
    NoWakeCall,
}

thread_local! {
    // A model and all its threads run on the one thread that called it.
    static WEAKNESS: Cell<Option<Weakness>> = const { Cell::new(None) };
    static FIRST: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

/// Notes the model's first thread, which calls this before anything else.
pub(crate) fn begin_model() {
    FIRST.set(Some(loom::thread::current().id()));
}

fn is_first_thread() -> bool {
    FIRST.get() == Some(loom::thread::current().id())
}

/// The order in which a count is stored.
pub(super) fn order_of_count(asked: Ordering) -> Ordering {
    let is_weak = match WEAKNESS.get() {
        Some(Weakness::RelaxedHead) => is_first_thread(),
        Some(Weakness::RelaxedTail) => !is_first_thread(),
        _ => false,
    };
    if is_weak { Ordering::Relaxed } else { asked }
}

/// The order in which a mark is set.
pub(super) fn order_of_mark(asked: Ordering) -> Ordering {
    match WEAKNESS.get() {
        Some(Weakness::RelaxedAbandoned) => Ordering::Relaxed,
        _ => asked,
    }
}

/// Runs `body` with one step taken out.
pub(crate) fn weakened(weakness: Weakness, body: impl FnOnce()) {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            WEAKNESS.set(None);
        }
    }
    WEAKNESS.set(Some(weakness));
    let _restore = Restore;
    body();
}

pub(super) fn has(weakness: Weakness) -> bool {
    WEAKNESS.get() == Some(weakness)
}
