//! Views that are derived from the log: kept up to date, made anew, and the log played again.
//!
//! store → **projection** → view
//!
//! A [`Projection`] is a state with functions that take events into it. Given to a store it runs: on a thread of its own
//! ([`EventStore::project`]), on several by key ([`EventStore::project_partitioned`]), or in the appends
//! ([`EventStore::project_inline`]). A view is read together with its checkpoint, the position of the last event in it.
//!
//! What callers may rely on: the checkpoint never runs ahead of the view, and moves back only when they say so (PC1, PC3);
//! an event that cannot be applied stops the projection, is tried again, or is left out and noted (PC2); a rebuild changes
//! nothing before it swaps, and nothing at all if it is cancelled (PC4); what comes again is marked, and effects are not
//! called for it (PC5); a rebuilt view is the one that was kept (PC6), if its functions follow from their arguments alone;
//! one can wait for a position (PC7). A view shows an append whole or not at all, if none of its events fails.
//!
//! What it costs: a batch of 1,024 records takes three locks and loads the watermark once; a record costs a look into a
//! table and a call. Readers of a view wait for a batch, and a batch for them.
//!
//! Why not a subscription of the engine: a projection needs no worker of its own for each key, no retries beside the
//! order of the log, and a place where view and checkpoint are one. [`Replay`] plays the log to handlers without a state.
//!
//! ```
//! use ringbolt::Event;
//! use ringbolt::projection::Projection;
//! use ringbolt::store::{EventStore, ExpectedVersion};
//! use std::time::Duration;
//!
//! #[derive(Clone, Copy, Debug, Event, bytemuck::Pod, bytemuck::Zeroable)]
//! #[event(name = "account.credited", codec = "pod")]
//! #[repr(C)]
//! struct Credited {
//!     cents: u64,
//! }
//!
//! let store = EventStore::new();
//! let total = Projection::new("total", 0_u64).on::<Credited>(|total, event, _| *total += event.cents);
//! let handle = store.project(total)?;
//! let appended = store.append("account-7", ExpectedVersion::Any, &Credited { cents: 500 })?;
//! assert!(handle.wait_for(appended.last_position, Duration::from_secs(10)));
//! handle.read(|total, checkpoint| assert_eq!((*total, checkpoint), (500, Some(0))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`EventStore::project`]: crate::store::EventStore::project
//! [`EventStore::project_inline`]: crate::store::EventStore::project_inline
//! [`EventStore::project_partitioned`]: crate::store::EventStore::project_partitioned

mod at;
mod builder;
mod checkpoint;
mod course;
mod fold;
mod group;
mod handle;
mod inside;
mod part;
mod policy;
mod rebuild;
mod replay;
mod status;
mod types;
mod view;

pub use at::At;
pub use builder::Projection;
pub use checkpoint::{CheckpointStore, MemoryCheckpoints, Partition, SaveEvery};
pub use fold::{ApplyError, Fold};
pub use handle::ProjectionHandle;
pub use policy::{ErrorPolicy, Skipped};
pub use rebuild::{Rebuild, RebuildProgress, Rebuilt};
pub use replay::{
    Effects, Replay, ReplayControl, ReplayCount, ReplayProgress, ReplayReport, RunningReplay,
};
pub use status::{Health, Status};
