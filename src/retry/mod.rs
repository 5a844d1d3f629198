//! Whether a failed attempt is followed by another, when, and where the delivery waits until then.
//!
//! publish → route → lane → worker → handler → outcome → **retry**
//!
//! A subscription's [`RetryPolicy`] says how often and how far apart; `decide` makes of it and of a failure what comes
//! next; `Wheel` keeps what waits for its time. Callers may rely on: no thread, no clock and no lock in here, and but
//! for the seed of a policy that names none the same inputs give the same answers. Times come from the caller: as
//! `Duration` where a user wrote them, as nanoseconds since some start where they are due. Holding back the events
//! behind a waiting one, and counting, is left to the worker.

#![allow(dead_code, unused_imports, reason = "wired by the worker")]

mod backoff;
mod policy;
#[cfg(test)]
mod tests;
mod wheel;

pub(crate) use backoff::{GiveUp, Next, Random, decide};
pub use policy::{Jitter, RetryPolicy, WhenHeldFull};
pub(crate) use wheel::{TimerId, Wheel};
