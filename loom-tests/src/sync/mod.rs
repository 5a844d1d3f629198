//! The engine's door to atomics, cells, fences, parking and threads, made of loom's.
//!
//! The names are those of `src/sync`; what is stronger than the original is said where it stands.

#![allow(
    unsafe_code,
    reason = "the stand-ins for the queues keep values in cells, as the originals do"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the same names as the original offers, whether or not a mounted file uses them by now"
)]

mod arena;
pub(crate) mod atomic;
mod barrier;
#[path = "../../../src/sync/handover.rs"]
mod handover;
mod mutex;
mod once;
mod park;
mod queue;
#[path = "../../../src/sync/realtime.rs"]
pub(crate) mod realtime;
mod rwlock;
mod sites;
mod watched;
mod weakness;

pub(crate) use arena::{Arena, Words};
pub(crate) use barrier::Barrier;
pub(crate) use handover::Handover;
pub(crate) use mutex::{Condvar, Mutex, MutexGuard};
pub(crate) use once::OnceLock;
pub(crate) use park::ParkWord;
pub(crate) use queue::{ArrayQueue, SegQueue};
pub(crate) use rwlock::RwLock;
pub(crate) use watched::WatchedArc;
pub(crate) use weakness::{Weakness, weakened};

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::thread;
pub(crate) use loom::thread::yield_now as spin_loop;
// loom does not see this one: nothing in a model becomes visible through it, which is less than the
// original gives.
pub(crate) use std::sync::Arc;

/// A hint, and none here.
pub(crate) fn prefetch_slot<T>(_base: *const T, _index: usize) {}

/// As above.
pub(crate) fn prefetch_slot_for_writing<T>(_base: *const T, _index: usize) {}
