//! The words of `worker` that others wait for or look at.

#![allow(
    dead_code,
    reason = "the engine uses all of it, the models what they are about"
)]

#[path = "../../src/worker/answer.rs"]
mod answer;
#[path = "../../src/worker/phase.rs"]
mod phase;

pub(crate) use answer::Answer;
pub(crate) use phase::{Phase, PhaseWord};
