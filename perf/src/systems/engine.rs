//! ringbolt itself: a publisher for each thread or the shared inboxes, and keyed events.

use crate::load::{Load, Order, Run};
use crate::machine::Placement;
use ringbolt::{Context, EventSystem, Pool, Wait};
use std::sync::Arc;
use std::time::Duration;

/// How long an engine may take to stop once everything is handled.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// What differs between ringbolt's own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) stamps: Stamps,
    pub(crate) wake: Wake,
}

impl Variant {
    /// What an engine does that nothing was said to, where the wake is the asymmetric one.
    pub(crate) const DEFAULT: Self = Self {
        stamps: Stamps::Adaptive,
        wake: Wake::Asymmetric,
    };

    /// Whether this engine, on this machine, has it.
    pub(crate) fn is_here(self) -> bool {
        build(self, 1, Placement::FREE).is_ok()
    }
}

/// How the engine stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// By the group while handlers are short: the default.
    Adaptive,
    /// At both ends of every event.
    Each,
    /// At both ends of one event in eight, chosen at random.
    Sampled,
}

impl Stamps {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Each => "each",
            Self::Sampled => "sampled",
        }
    }

    /// The engine's own name for it; `None` where it has none.
    const fn of_engine(self) -> Option<ringbolt::Stamps> {
        match self {
            Self::Adaptive => Some(ringbolt::Stamps::Adaptive),
            Self::Each => Some(ringbolt::Stamps::Each),
            Self::Sampled => Some(ringbolt::Stamps::Sampled),
        }
    }
}

/// How the publisher and a sleeping worker find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Nothing on the publisher's side: the default on Linux.
    Asymmetric,
    /// A full fence on both sides.
    Fence,
    /// The worker never sleeps.
    Spin,
}

impl Wake {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asymmetric",
            Self::Fence => "fence",
            Self::Spin => "spin",
        }
    }
}

/// How events get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// By private lanes: a `Publisher` for each thread.
    Lanes,
    /// By the workers' inboxes: `handle.publish`, through `&self`.
    Inbox,
}

/// An engine with one pool.
pub(crate) fn build(
    variant: Variant,
    workers: usize,
    placement: Placement,
) -> Result<EventSystem, String> {
    builder(variant, workers, placement)?.build().map_err(said)
}

/// The same, for whoever has more to say of it.
pub(crate) fn builder(
    variant: Variant,
    workers: usize,
    placement: Placement,
) -> Result<ringbolt::Builder, String> {
    let (wake, wait) = match variant.wake {
        Wake::Asymmetric => (ringbolt::Wake::Asymmetric, Wait::Adaptive),
        Wake::Fence => (ringbolt::Wake::Fence, Wait::Adaptive),
        Wake::Spin => (ringbolt::Wake::Auto, Wait::BusySpin),
    };
    let stamps = variant
        .stamps
        .of_engine()
        .ok_or_else(|| format!("stamps {}: this ringbolt has none", variant.stamps.name()))?;
    let places = (0..workers).filter_map(|worker| placement.worker(worker));
    Ok(EventSystem::builder()
        .pool(Pool::new("default").workers(workers).pin(places))
        .wait(wait)
        .wake(wake)
        .stamps(stamps))
}

pub(crate) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const ADMITTED: &str = "an engine that runs admits every event that may wait for room";

pub(crate) fn round(load: Load, variant: Variant, front: Front) -> Result<f64, String> {
    let system = build(variant, load.topology.workers, load.placement)?;
    let run = Run::new(load);
    subscribe(&system, &run)?;
    let publishers = (0..load.topology.publishers)
        .map(|index| {
            let mut publisher = system.publisher();
            let handle = system.handle();
            match front {
                Front::Inbox => run.start_publisher(index, move || {
                    move |first| {
                        for number in first..first + load.batch {
                            assert!(handle.publish(Order::nth(number)).is_ok(), "{ADMITTED}");
                        }
                    }
                }),
                Front::Lanes if load.batch == 1 => run.start_publisher(index, move || {
                    move |number| {
                        assert!(publisher.publish(Order::nth(number)).is_ok(), "{ADMITTED}");
                    }
                }),
                Front::Lanes => run.start_publisher(index, move || {
                    move |first| {
                        let orders = (first..first + load.batch).map(Order::nth);
                        assert!(publisher.publish_batch(orders).is_ok(), "{ADMITTED}");
                    }
                }),
            }
        })
        .collect();
    let result = run.finish(publishers);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}

/// The handler that does a round's work.
fn subscribe(system: &EventSystem, run: &Arc<Run>) -> Result<(), String> {
    let run = Arc::clone(run);
    if run.load().topology.workers == 1 {
        system.subscribe(move |order: &Order, _: &mut Context<'_>| run.handle(0, order))
    } else {
        system.subscribe(move |order: &Order, context: &mut Context<'_>| {
            run.handle(usize::from(context.worker().index), order);
        })
    }
    .map(drop)
    .map_err(said)
}
