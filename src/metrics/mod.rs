//! Counting and timing what happens, and reading it while it happens.
//!
//! Each worker owns its counters and histograms and is their only writer; readers add them up. A
//! histogram is made at its first use. Reports read at any time, also from a worker that sleeps or is
//! stuck in a handler.

mod buckets;
mod cell;
mod counts;
mod hgrm;
#[cfg(feature = "hlog")]
mod hlog;
mod latency;
mod recorder;
mod report;

pub(crate) use buckets::CoarseBuckets;
pub(crate) use cell::{CountsCell, MARK_BREAKER, MARK_HELD, MARK_TIMED, MARK_WITHDRAWN};
pub use counts::*;
pub use hgrm::*;
#[cfg(feature = "hlog")]
pub use hlog::*;
pub use latency::*;
pub(crate) use recorder::{Recorder, Recording};
pub use report::*;
pub(crate) use report::{Table, grouped, printable};
