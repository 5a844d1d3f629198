//! The only door to atomics, cells, fences, parking, clocks and threads.
//!
//! Every other module takes its primitives from here, so that the loom models can mount the real
//! files and put loom's primitives in their place, and so that time and threads can be replaced in
//! one spot. What a module may rely on is what both sides offer: `loom-tests` defines a `sync` of
//! its own with the same names.
//!
//! One of the few places where `unsafe` is allowed: a system call, a cell shared by protocol, a
//! prefetch hint.

#![allow(
    unsafe_code,
    reason = "cells shared by protocol, futex and membarrier calls, prefetch hints: each with its invariant"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "this module is where the wrapped primitives live"
)]

mod arena;
mod barrier;
mod cell;
pub(crate) mod clock;
mod handover;
#[cfg(tsan)]
mod once;
mod park;
mod prefetch;
pub(crate) mod realtime;
pub(crate) mod thread;

pub(crate) use arena::{Arena, Words};
pub(crate) use barrier::Barrier;
pub(crate) use cell::UnsafeCell;
pub(crate) use handover::Handover;
pub(crate) use park::ParkWord;
pub(crate) use prefetch::{prefetch_slot, prefetch_slot_for_writing};

pub(crate) use crossbeam_queue::{ArrayQueue, SegQueue};
pub(crate) use crossbeam_utils::CachePadded;
#[cfg(tsan)]
pub(crate) use once::OnceLock;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::hint::spin_loop;
/// An `Arc` whose last drop the models watch: whoever drops the value sees what all owners did to it.
pub(crate) use std::sync::Arc as WatchedArc;
#[cfg(not(tsan))]
pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::{Arc, Weak};

/// Atomic words.
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}
