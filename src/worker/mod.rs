#![doc = include_str!("README.md")]

mod answer;
mod attempt;
mod bury;
mod desk;
mod hold;
mod idle;
mod letter;
mod letters;
mod phase;
mod run;
mod serve;
mod shared;
mod stored;
mod tell;
mod tend;

pub(crate) use answer::Answer;
pub(crate) use desk::abandon;
pub use idle::Wait;
pub(crate) use letter::{Activity, Letter, Round};
pub(crate) use phase::Phase;
pub(crate) use run::{Failing, Stash, Worker, WorkerSettings, needs_bell};
pub(crate) use shared::{Abandoned, WorkerShared};
pub(crate) use stored::Following;
pub use stored::WhenBehind;
pub(crate) use tend::Place;

/// How latency is stamped on the worker; reports print which it was (OB2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamps {
    /// Short handlers: one stamp for a group of at most 8 events, so that end-to-end time runs to the
    /// group's end (an upper bound). A group whose mean passes 200 ns switches to a stamp per event.
    #[default]
    Adaptive,
    /// A stamp for each event.
    Each,
    /// One event in 8, picked as by chance, is stamped at both ends; the others are counted and not
    /// timed. Percentiles stay sound at the counts of a busy engine, and the processor's clock is hardly
    /// read. The id of an event that was not picked carries the time of its publisher's last stamp.
    Sampled,
}
