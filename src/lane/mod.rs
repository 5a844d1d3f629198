#![doc = include_str!("README.md")]
#![allow(
    unsafe_code,
    reason = "slots are written, handled and dropped in place; each site cites its invariant"
)]

mod ends;
mod gate;
mod inbox;
mod port;
mod ring;
mod room;
#[cfg(all(test, not(model)))]
mod tests;
mod wake;

pub(crate) use ends::{Done, Flow, LaneRx, LaneTx, lane};
pub(crate) use gate::{Busy, Gate, GateState};
pub(crate) use inbox::Inbox;
pub(crate) use port::{CLASS_COUNT, Port};
pub(crate) use ring::LaneStats;
pub(crate) use room::Room;
pub(crate) use wake::Wake;
