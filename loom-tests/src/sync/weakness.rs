//! What a negative twin takes away from the protocol.

use super::sites;
use loom::sync::atomic::Ordering;
use std::cell::Cell;

/// One step taken out.
#[allow(
    clippy::enum_variant_names,
    reason = "each says what is taken out, and reads so at its use"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// The hot side of the barrier does nothing.
    NoLight,
    /// The cold side of the barrier does nothing.
    NoHeavy,
    /// Whatever a comment names as an end of this edge releases nothing.
    NoRelease(&'static str),
    /// Whatever a comment names as an end of this edge acquires nothing.
    NoAcquire(&'static str),
    /// Locks whose comment names this edge are not taken.
    NoLock(&'static str),
    /// The wake-up changes the word and calls nobody.
    NoWakeCall,
}

thread_local! {
    // A model and all its threads run on the one thread that called it.
    static WEAKNESS: Cell<Option<Weakness>> = const { Cell::new(None) };
}

/// The order of an access, given what the calling line asks for.
#[track_caller]
pub(super) fn order(asked: Ordering) -> Ordering {
    match (WEAKNESS.get(), asked) {
        (_, Ordering::Relaxed) => asked,
        (Some(Weakness::NoRelease(edge)), _) if sites::calling_line_names(edge) => match asked {
            Ordering::AcqRel | Ordering::Acquire => Ordering::Acquire,
            _ => Ordering::Relaxed,
        },
        (Some(Weakness::NoAcquire(edge)), _) if sites::calling_line_names(edge) => match asked {
            Ordering::AcqRel | Ordering::Release => Ordering::Release,
            _ => Ordering::Relaxed,
        },
        _ => asked,
    }
}

/// Whether the calling line takes the lock that it asks for.
#[track_caller]
pub(super) fn locks() -> bool {
    !matches!(WEAKNESS.get(), Some(Weakness::NoLock(edge)) if sites::calling_line_names(edge))
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
