//! Getting events in: admitted to every pool that wants them, or handed back.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Three ways in, one promise (PD1). A [`Publisher`] belongs to one thread and has private lanes. A
//! [`Handle`](crate::Handle) publishes by `&self` through the workers' shared inboxes. A handler's
//! [`Context`](crate::Context) publishes on the worker's own thread, and never waits (PD5).

mod admission;
mod delayed;
mod error;
mod local;
mod parcel;
mod publisher;
mod shared;
mod spill;
mod tracked;

pub use admission::{Admission, Options};
pub use delayed::Scheduled;
pub(crate) use delayed::{Delayed, DelayedCount};
pub use error::{BatchError, PublishError};
pub(crate) use local::{
    OnThread, Polling, WorkerOut, current, is_worker_thread, may_publish, may_wait_for_itself,
    polls_any,
};
pub(crate) use parcel::Parcel;
pub use publisher::Publisher;
pub(crate) use shared::publish_shared;
pub use tracked::{Deliveries, Receipt};
