//! The engine as a whole: build, subscribe, report, drain, stop.
//!
//! This module wires the others together; none of them knows it.

mod builder;
mod engine;
mod follow;
mod handle;
mod later;
mod letters;
mod poller;
mod registry;
mod shutdown;
mod snapshot;
mod subscribing;

pub use builder::{Builder, NoHandler, Pool, Wake};
pub use follow::Follow;
pub use handle::{EventSystem, Handle};
pub use poller::{Polled, Poller};
pub use shutdown::{ShutdownReport, ShutdownTicket};
pub use subscribing::{FactoryBuilder, Subscription, SubscriptionBuilder, UnsubscribeTicket};
