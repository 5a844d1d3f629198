//! The models: a file for each protocol, a function for each invariant and edge, a twin beside each.
//!
//! A trap: loom looks for what could have come in another order only back to the last access of a word, and
//! a thread that loads a word and then stores it hides, by its load, the loads of others before. So where
//! one thread counts up and another looks, the one that counts is the model's first thread, or both ways
//! are modelled.

#![allow(
    unsafe_code,
    reason = "what a protocol hands on is put behind loom's eyes"
)]

mod bell;
mod breaker;
mod close;
mod control;
mod counts;
mod handover;
mod inbox;
mod lane;
mod queue;
mod room;
mod segments;
mod stopping;
mod streams;
mod table;
mod wake;
mod worker;

use crate::PREEMPTIONS;
use crate::sync::{Barrier, UnsafeCell};

/// The barrier of all models; the asymmetric one has the same model (`sync/barrier.rs`).
const BARRIER: Barrier = Barrier::Fence;

/// Something that has one user at a time by protocol, as loom is to check: a handler's state, say.
#[derive(Default)]
struct Cell(UnsafeCell<()>);

// SAFETY: handed on by what is modelled, and nothing lies in it; loom reports whoever touches it too early.
unsafe impl Sync for Cell {}

impl Cell {
    fn touch(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Runs a model of two threads through every interleaving.
fn every(body: impl Fn() + Sync + Send + 'static) {
    explore(None, body);
}

/// Runs a model of three threads through every interleaving of at most [`PREEMPTIONS`] preemptions.
fn bounded(body: impl Fn() + Sync + Send + 'static) {
    explore(Some(PREEMPTIONS), body);
}

fn explore(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // What a run is bounded by is a matter of the model, not of the caller's environment.
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.checkpoint_file = None;
    builder.check(body);
}
