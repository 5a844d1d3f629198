#![doc = include_str!("README.md")]

mod member;
mod policy;
mod report;
mod shared;
mod state;
#[cfg(all(test, not(model)))]
mod tests;
mod window;

pub(crate) use member::{Member, Seat};
pub use policy::{BreakerPolicy, OnOpen, Window};
pub use report::{BreakerCause, BreakerStatus, BreakerTransition, BreakerTransitions};
pub(crate) use shared::Admit;
pub use shared::Breaker;
pub use state::BreakerState;
pub(crate) use state::Permit;
// The models take the word apart.
#[cfg(model)]
pub(crate) use state::{Answer, Shift, State, Told};
