//! What a negative twin takes away from the protocol.

use std::cell::Cell;

/// One step taken out of the primitives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// The hot side of the barrier does nothing.
    NoLight,
    /// The cold side of the barrier does nothing.
    NoHeavy,
    /// Acquire and Release on the modules' own words are Relaxed.
    RelaxedWords,
    /// The ring's tail is stored Relaxed.
    RelaxedTail,
    /// The ring's head is stored Relaxed.
    RelaxedHead,
    /// The ring's mark that its sender is gone is set Relaxed.
    RelaxedAbandoned,
    /// The wake-up changes the word and calls nobody.
    NoWakeCall,
}

thread_local! {
    // A model and all its threads run on the one thread that called it.
    static WEAKNESS: Cell<Option<Weakness>> = const { Cell::new(None) };
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
