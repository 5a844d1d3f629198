#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(rtsan, feature(sanitize))]

mod breaker;
mod dead_letter;
mod error;
mod error_event;
mod event;
mod handler;
mod lane;
pub mod metrics;
mod outcome;
pub mod projection;
mod publish;
mod retry;
mod route;
pub mod store;
mod sync;
mod system;
mod worker;

pub use breaker::{
    Breaker, BreakerCause, BreakerPolicy, BreakerState, BreakerStatus, BreakerTransition,
    BreakerTransitions, OnOpen, Window,
};
pub use dead_letter::{
    Attempt, DeadLetterCounts, DeadLetterPolicy, DeadLetters, DiscardRecord, Filter, LetterEvent,
    LetterId, LetterOutcome, LetterPage, LetterStatus, LetterView, Overflow, Page, Reason,
    Redelivered, RedeliveryReport, RedeliveryTicket,
};
#[cfg(feature = "json")]
pub use dead_letter::{ExportReport, ImportFault, ImportReport};
pub use error::Error;
pub use error_event::{
    Category, ErrorCount, ErrorCounts, ErrorEvent, Escalated, Escalation, Severity, SeverityCounts,
};
pub use event::{AsKey, Class, Codec, Encoding, Event, EventId, Key, Metadata};
pub use handler::{Context, Handler, WorkerId};
pub use outcome::{Advice, Ended, Failure, FailureKind, IntoOutcome, Outcome};
pub use publish::{
    Admission, BatchError, Deliveries, Options, PublishError, Publisher, Receipt, Scheduled,
};
pub use retry::{Jitter, RetryPolicy, WhenHeldFull};
#[cfg(feature = "macros")]
pub use ringbolt_macros::Event;
pub use sync::clock::{Clock, ManualClock};
pub use system::{
    Builder, EventSystem, FactoryBuilder, Follow, Handle, NoHandler, Polled, Poller, Pool,
    ShutdownReport, ShutdownTicket, Subscription, SubscriptionBuilder, UnsubscribeTicket, Wake,
};
pub use worker::{Stamps, Wait, WhenBehind};

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
    pub use bytemuck::{AnyBitPattern, NoUninit};
    pub use serde::{Serialize, de::DeserializeOwned};
}
