//! What runs under callgrind: one thread, a polled pool, a clock that stands still.

use crate::load::{Busy, Order, Unkeyed};
use crate::rules::Rules;
use crate::store::Changed;
use crate::systems::said;
use clap::ValueEnum;
use ringbolt::store::{EventStore, ExpectedVersion, Start};
use ringbolt::{
    Clock, Context, EventSystem, Follow, Polled, Poller, Pool, Publisher, RetryPolicy, Subscription,
};
use std::hint::black_box;

/// Events in a publisher's batch.
const PUBLISHED_BATCH: u64 = 64;
/// The two sizes, whole batches of publishers; a worker may end with a few more, and tells.
const SMALL: u64 = 1_280;
const LARGE: u64 = 11_520;
/// Events that wait to be handled, and a lane that holds them.
const WAITING: u64 = 12_288;
const LANE: usize = 16_384;

/// What is counted, of 32-byte keyed events where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Publishing one by one, and nothing handled
    Publish,
    /// Publishing in batches of 64, and nothing handled
    PublishBatch,
    /// Handling by one subscription
    Handle,
    /// Handling by three subscriptions
    HandleThree,
    /// Handling by one subscription with retries, a breaker over a count and dead letters
    HandlePolicies,
    /// The same with a breaker over a time
    HandlePoliciesTime,
    /// Handling events without keys that all fail once and are tried again without a delay
    HandleFailing,
    /// Appending 64 bytes of plain old data one by one to a few streams, and nothing handled
    Append,
    /// The same in batches of 64
    AppendBatch,
    /// Handling what was appended by one subscription
    HandleStored,
}

impl Case {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::PublishBatch => "publish-batch",
            Self::Handle => "handle",
            Self::HandleThree => "handle-three",
            Self::HandlePolicies => "handle-policies",
            Self::HandlePoliciesTime => "handle-policies-time",
            Self::HandleFailing => "handle-failing",
            Self::Append => "append",
            Self::AppendBatch => "append-batch",
            Self::HandleStored => "handle-stored",
        }
    }

    const fn rules(self) -> Rules {
        match self {
            Self::HandlePolicies => Rules::CountWindow,
            Self::HandlePoliciesTime => Rules::TimeWindow,
            _ => Rules::None,
        }
    }

    pub(super) const fn sizes(self) -> [u64; 2] {
        [SMALL, LARGE]
    }
}

/// Does a case, prints how many events that were, and leaves at once: what an end costs with events that wait is no part of any path.
pub(crate) fn child(case: Case, events: u64) -> Result<std::convert::Infallible, String> {
    let builder = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .clock(Clock::manual().0)
        .lane_capacity(LANE);
    let system = case.rules().engine(builder).build().map_err(said)?;
    let subscriptions = if case == Case::HandleThree { 3 } else { 1 };
    for _ in 0..subscriptions {
        case.rules()
            .subscription(&system)?
            .handler(|order: &Order, _: &mut Context<'_>| {
                black_box(order.account());
            })
            .map_err(said)?;
    }
    let failing = system
        .subscription("failing")
        .retry(RetryPolicy::immediate())
        .handler(|event: &Unkeyed, context: &mut Context<'_>| {
            let account = black_box(event.order.account());
            if context.attempt() == 1 {
                return Err(Busy::new(account));
            }
            Ok(())
        })
        .map_err(said)?;
    system
        .subscribe(|event: &Changed, _: &mut Context<'_>| {
            black_box(event.number);
        })
        .map_err(said)?;
    let store = EventStore::builder()
        .populate(false)
        .clock(system.clock().clone())
        .build()
        .map_err(said)?;
    // The streams and the type are there.
    append(&store, 0..PUBLISHED_BATCH)?;
    let follow = Follow::new(&store).start(Start::Start);
    let mut publisher = system.publisher();
    let mut poller = system.poller("default").map_err(said)?;
    // Opens the lane and whatever else opens at first use, on both sides.
    let opened = publish(&mut publisher, 0..PUBLISHED_BATCH)?;
    handle(&mut poller, opened)?;
    let done = match case {
        Case::HandleFailing => {
            for number in 0..WAITING {
                publisher.publish(Unkeyed::nth(number)).map_err(said)?;
            }
            fail(&mut poller, &failing, events)?
        }
        Case::Publish => publish(&mut publisher, 0..events)?,
        Case::PublishBatch => {
            let mut done = 0;
            while done < events {
                let orders = (done..done + PUBLISHED_BATCH).map(Order::nth);
                done += publisher.publish_batch(orders).map_err(said)? as u64;
            }
            done
        }
        Case::Append => append(&store, 0..events)?,
        Case::AppendBatch => {
            for batch in 0..events / PUBLISHED_BATCH {
                let first = batch * PUBLISHED_BATCH;
                let events: [Changed; PUBLISHED_BATCH as usize] =
                    std::array::from_fn(|number| Changed::nth(first + number as u64));
                store
                    .append_all(stream(batch), ExpectedVersion::Any, &events)
                    .map_err(said)?;
            }
            events
        }
        Case::HandleStored => {
            append(&store, 0..WAITING)?;
            system.follow(&follow).map_err(said)?;
            handle(&mut poller, events)?
        }
        Case::Handle | Case::HandleThree | Case::HandlePolicies | Case::HandlePoliciesTime => {
            // At either size the same, so that the difference is only what is handled.
            publish(&mut publisher, 0..WAITING)?;
            handle(&mut poller, events)?
        }
    };
    println!("{done}");
    std::process::exit(0)
}

fn publish(publisher: &mut Publisher, numbers: std::ops::Range<u64>) -> Result<u64, String> {
    let count = numbers.end - numbers.start;
    for number in numbers {
        publisher.publish(Order::nth(number)).map_err(said)?;
    }
    Ok(count)
}

/// A name that is there, so that none is made.
fn stream(number: u64) -> &'static str {
    const STREAMS: [&str; 8] = ["a-1", "a-2", "a-3", "a-4", "a-5", "a-6", "a-7", "a-8"];
    STREAMS[(number % 8) as usize]
}

fn append(store: &EventStore, numbers: std::ops::Range<u64>) -> Result<u64, String> {
    let count = numbers.end - numbers.start;
    for number in numbers {
        store
            .append(stream(number), ExpectedVersion::Any, &Changed::nth(number))
            .map_err(said)?;
    }
    Ok(count)
}

/// Handles so many, and what is left of the last batch; how many that were.
fn handle(poller: &mut Poller, events: u64) -> Result<u64, String> {
    let mut handled = 0;
    while handled < events {
        match poller.poll(1) {
            Polled::Events(count) if count > 0 => handled += count as u64,
            _ => return Err(format!("{handled} of {events} events were there")),
        }
    }
    Ok(handled)
}

/// Polls until so many have failed once and were handled then, and some that were in the same batch.
fn fail(poller: &mut Poller, failing: &Subscription, events: u64) -> Result<u64, String> {
    loop {
        let handled = failing.counts().handled;
        if handled >= events {
            return Ok(handled);
        }
        if poller.poll(1) == Polled::Events(0) {
            return Err(format!("{handled} of {events} events were there"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_batches_and_fit_into_the_lane() {
        for case in Case::value_variants() {
            for size in case.sizes() {
                assert_eq!(size % PUBLISHED_BATCH, 0);
                assert!(size < WAITING && WAITING < LANE as u64);
            }
            assert_eq!(Case::from_str(case.name(), false), Ok(*case));
        }
    }
}
