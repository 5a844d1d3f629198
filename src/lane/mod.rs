#![doc = include_str!("README.md")]
#![allow(
    unsafe_code,
    reason = "slots are written in place; the one site cites its invariant"
)]

mod gate;
mod inbox;
mod port;
mod ring;
mod room;
mod wake;

pub(crate) use gate::{Busy, Gate, GateState};
pub(crate) use inbox::Inbox;
pub(crate) use port::{CLASS_COUNT, Port};
pub(crate) use ring::{Flow, LaneRx, LaneStats, LaneTx, lane};
pub(crate) use room::Room;
pub(crate) use wake::Wake;
