#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(rtsan, feature(sanitize))]

mod error;
mod event;
mod handler;
mod lane;
pub mod metrics;
mod outcome;
mod publish;
mod route;
mod sync;
mod system;
mod worker;

pub use error::Error;
pub use event::{AsKey, Class, Event, EventId, Key, Metadata};
pub use handler::{Context, Handler, WorkerId};
pub use outcome::{Advice, Ended, Failure, FailureKind, IntoOutcome, Outcome};
pub use publish::{Admission, BatchError, Deliveries, Options, PublishError, Publisher, Receipt};
#[cfg(feature = "macros")]
pub use ringbolt_macros::Event;
pub use sync::clock::{Clock, ManualClock};
pub use system::{
    Builder, EventSystem, FactoryBuilder, Handle, NoHandler, Polled, Poller, Pool, ShutdownReport,
    ShutdownTicket, Subscription, SubscriptionBuilder, UnsubscribeTicket, Wake,
};
pub use worker::{ErrorReport, Stamps, Wait};

/// What most programs need: `use ringbolt::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Admission, AsKey, Class, Clock, Context, Error, Event, EventId, EventSystem, Failure,
        Handle, Handler, Key, NoHandler, Options, Outcome, Pool, PublishError, Publisher, Receipt,
        Stamps, Subscription, Wait, Wake, WorkerId,
    };
}

/// For the derive macro only; no promise is made about what is in here.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::TypeCell;
}
