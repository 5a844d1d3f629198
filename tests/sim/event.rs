//! The events of the simulation, and what panics when it is dropped.

use crate::ledger::Ledger;
use crate::seen::Thing;
use ringbolt::{Event, Key};
use std::fmt;
use std::sync::Arc;

/// Kinds of events; the last one does not fit a slot.
pub(crate) const KINDS: u8 = 5;

const NAMES: [&str; KINDS as usize] = ["sim.a", "sim.b", "sim.c", "sim.d", "sim.e"];

/// The kind of events of this name.
pub(crate) fn kind_named(name: &str) -> Option<u8> {
    let place = NAMES.iter().position(|other| *other == name)?;
    Some(place as u8)
}

/// An event: a number in the ledger, and `N` words of weight. It owns nothing, so that dropping it twice, which is what
/// the ledger is to find, does no more harm than that.
pub(crate) struct Job<const K: u8, const N: usize> {
    pub(crate) serial: u32,
    run: u64,
    _weight: [u64; N],
}

impl<const K: u8, const N: usize> Job<K, N> {
    pub(crate) fn new(serial: u32, ledger: &Ledger) -> Self {
        Self {
            serial,
            run: ledger.run,
            _weight: [0; N],
        }
    }
}

impl<const K: u8, const N: usize> Event for Job<K, N> {
    const NAME: &'static str = NAMES[K as usize];

    fn key(&self) -> Key<'_> {
        let key = Ledger::of(self.run).and_then(|ledger| ledger.key(self.serial));
        key.map_or(Key::None, Key::U64)
    }
}

impl<const K: u8, const N: usize> Drop for Job<K, N> {
    fn drop(&mut self) {
        if Ledger::of(self.run).is_some_and(|ledger| ledger.dropped(self.serial)) {
            panic!("the drop of {} is a trap", self.serial);
        }
    }
}

/// Calls a function that is generic over events with the types of a kind.
macro_rules! with_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            0 => $function::<0, 0>($($argument),*),
            1 => $function::<1, 0>($($argument),*),
            2 => $function::<2, 0>($($argument),*),
            3 => $function::<3, 0>($($argument),*),
            _ => $function::<4, 8>($($argument),*),
        }
    };
}
pub(crate) use with_kind;

/// A value that panics when it is dropped: a panic's, or an error.
#[derive(Debug)]
pub(crate) struct Bomb {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) as_what: Thing,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ledger.note(self.as_what);
            panic!("the drop of a panic's value, or of an error, is a trap");
        }
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that panics when it is dropped")
    }
}

impl std::error::Error for Bomb {}
