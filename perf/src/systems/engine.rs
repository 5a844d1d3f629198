//! ringbolt itself: one worker, a publisher for each thread, one subscription.

use crate::load::{Load, Order, Run};
use ringbolt::{EventSystem, Pool, Wait};
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

/// How the worker stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// By the group while handlers are short: the default.
    Adaptive,
    /// At both ends of every event.
    Each,
}

impl Stamps {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Each => "each",
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

    /// Whether this machine has it.
    pub(crate) fn is_here(self) -> bool {
        let tried = Variant {
            stamps: Stamps::Adaptive,
            wake: self,
        };
        build(tried, None).is_ok()
    }
}

fn build(variant: Variant, processor: Option<usize>) -> Result<EventSystem, ringbolt::Error> {
    let (wake, wait) = match variant.wake {
        Wake::Asymmetric => (ringbolt::Wake::Asymmetric, Wait::Adaptive),
        Wake::Fence => (ringbolt::Wake::Fence, Wait::Adaptive),
        Wake::Spin => (ringbolt::Wake::Auto, Wait::BusySpin),
    };
    let stamps = match variant.stamps {
        Stamps::Adaptive => ringbolt::Stamps::Adaptive,
        Stamps::Each => ringbolt::Stamps::Each,
    };
    EventSystem::builder()
        .pool(Pool::new("default").workers(1).pin(processor))
        .wait(wait)
        .wake(wake)
        .stamps(stamps)
        .build()
}

pub(crate) fn round(load: Load, variant: Variant) -> Result<f64, String> {
    let said = |error: ringbolt::Error| error.to_string();
    let system = build(variant, load.placement.worker()).map_err(said)?;
    let run = Run::new(load);
    let handling = Arc::clone(&run);
    system
        .subscribe(move |order: &Order, _: &mut ringbolt::Context<'_>| handling.handle(order))
        .map_err(said)?;
    let publishers = (0..load.topology.publishers)
        .map(|index| {
            let mut publisher = system.publisher();
            if load.batch == 1 {
                run.start_publisher(index, move || {
                    move |number| {
                        assert!(
                            publisher.publish(Order::nth(number)).is_ok(),
                            "an engine that runs admits every event that may wait for room"
                        );
                    }
                })
            } else {
                run.start_publisher(index, move || {
                    move |first| {
                        let orders = (first..first + load.batch).map(Order::nth);
                        assert!(
                            publisher.publish_batch(orders).is_ok(),
                            "an engine that runs admits every event that may wait for room"
                        );
                    }
                })
            }
        })
        .collect();
    let result = run.finish(publishers);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}
