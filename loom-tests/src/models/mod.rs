//! The models: a file for each protocol, a function for each invariant, a twin beside each.

mod close;
mod control;
mod handover;
mod inbox;
mod lane;
mod room;
mod wake;
mod worker;

use crate::PREEMPTIONS;
use crate::sync::{Barrier, begin_model};

/// The barrier of all models; the asymmetric one has the same model (`sync/barrier.rs`).
const BARRIER: Barrier = Barrier::Fence;

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
    builder.check(move || {
        begin_model();
        body();
    });
}
