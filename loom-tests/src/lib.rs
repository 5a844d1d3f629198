//! Models of ringbolt's lock-free modules: the real files, run under loom.
//!
//! The files of `lane` and `breaker`, those of `store` that carry its protocol, the histograms' hand-over, the routing
//! table, counters, a worker's answer and its phase are mounted as they are; what they take from `crate::sync` is found in this crate's [`sync`], made
//! of loom's primitives. loom then runs each model through every interleaving (with three threads: every one
//! of at most [`PREEMPTIONS`] preemptions) and every value that the C11 memory model lets a load see.
//!
//! A model is named after the invariant it checks (`l7_…` for L7 in `lane/README.md`) and, if it is an
//! edge's, after that (`l7_edge_wake_…`). Beside it stands its negative twin (`l7_twin_…`,
//! `l7_edge_wake_twin_…`), the same model with one step taken out or one ordering weakened
//! ([`sync::Weakness`]), which must fail, and in the way it says: a model that checks nothing is noticed. An
//! edge's ordering is taken away at the very lines whose comment names the edge. `tests/tidy.rs` holds the
//! names against the READMEs.

#![cfg_attr(
    not(test),
    allow(
        dead_code,
        unused_imports,
        reason = "everything here exists for the models, which are tests"
    )
)]

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine and its users use all of it, the models what they are about"
)]
#[path = "../../src/breaker/mod.rs"]
mod breaker;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the engine uses all of it, the models what they are about"
)]
#[path = "../../src/error.rs"]
mod error;
mod event;
#[allow(
    dead_code,
    unused_imports,
    reason = "the engine uses all of it, the models what they are about"
)]
#[path = "../../src/lane/mod.rs"]
mod lane;
mod metrics;
mod outcome;
mod store;
mod sync;
#[allow(
    dead_code,
    reason = "the engine uses all of it, the models what they are about"
)]
#[path = "../../src/route/table.rs"]
mod table;
mod worker;

#[cfg(test)]
mod models;

/// How many preemptions a model of three threads explores: nearly every known ordering bug shows
/// with two, and the number of interleavings grows with the power of it.
pub const PREEMPTIONS: usize = 2;
