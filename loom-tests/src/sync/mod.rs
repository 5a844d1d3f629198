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

pub(crate) mod atomic;
mod barrier;
#[path = "../../../src/sync/handover.rs"]
mod handover;
mod mutex;
mod park;
mod queue;
#[path = "../../../src/sync/realtime.rs"]
pub(crate) mod realtime;
mod watched;
mod weakness;

pub(crate) use barrier::Barrier;
pub(crate) use handover::Handover;
pub(crate) use mutex::Mutex;
pub(crate) use park::ParkWord;
pub(crate) use queue::{ArrayQueue, SegQueue};
pub(crate) use watched::WatchedArc;
pub(crate) use weakness::{Weakness, begin_model, weakened};

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::thread;
pub(crate) use loom::thread::yield_now as spin_loop;
// loom does not see these two: nothing in a model becomes visible through them, which is less than
// the original gives.
pub(crate) use std::sync::{Arc, OnceLock};

/// A hint, and none here.
pub(crate) fn prefetch_slot<T>(_base: *const T, _index: usize) {}
