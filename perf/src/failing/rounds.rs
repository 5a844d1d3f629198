//! A round of each question, all of ringbolt with its defaults, one publisher and one worker.

use crate::load::{Busy, Load, Order, Run, Unkeyed};
use crate::machine::pin;
use crate::rules::Rules;
use crate::systems::{Variant, build, builder, said};
use ringbolt::{Context, Event, EventSystem, Polled, Pool, RetryPolicy, Subscription};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long what is to wait may take to get there.
const SHELVING_LIMIT: Duration = Duration::from_secs(60);
/// Events that are published before they are handled, where one thread does both; the warm-up is whole turns.
const AT_A_TIME: u64 = 4_096;
/// Longer than any run.
const LONG: Duration = Duration::from_secs(24 * 3_600);

/// An order as it is published here: its number says what happens to it.
pub(super) trait Numbered: Event + Copy {
    fn nth(number: u64) -> Self;
    fn order(&self) -> &Order;
}

impl Numbered for Order {
    #[inline(always)]
    fn nth(number: u64) -> Self {
        Self::nth(number)
    }

    #[inline(always)]
    fn order(&self) -> &Order {
        self
    }
}

impl Numbered for Unkeyed {
    #[inline(always)]
    fn nth(number: u64) -> Self {
        Self::nth(number)
    }

    #[inline(always)]
    fn order(&self) -> &Order {
        &self.order
    }
}

/// An order that fails and is to be tried again much later.
#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "order.late")]
struct Late {
    order: Order,
}

/// Nothing fails, and the subscription is ready for it or not.
pub(super) fn ready(load: Load, rules: Rules) -> Result<f64, String> {
    let system = rules
        .engine(builder(Variant::DEFAULT, 1, load.placement)?)
        .build()
        .map_err(said)?;
    let run = Run::new(load);
    let handling = Arc::clone(&run);
    rules
        .subscription(&system)?
        .handler(move |order: &Order, _: &mut Context<'_>| handling.handle(0, order))
        .map_err(said)?;
    finish::<Order>(system, &run)
}

/// So many of each hundred events fail at their first attempt, and the second follows without a delay.
pub(super) fn failing<E: Numbered>(load: Load, per_cent: u64) -> Result<f64, String> {
    let system = build(Variant::DEFAULT, 1, load.placement)?;
    let run = Run::new(load);
    let handling = Arc::clone(&run);
    fail_once::<E>(&system, per_cent, move |order| handling.handle(0, order))?;
    finish::<E>(system, &run)
}

/// The same on one thread, which publishes and polls in turn, and only the polling is timed.
pub(super) fn handling(load: Load, per_cent: u64) -> Result<f64, String> {
    // A thread of its own, as those that come later are pinned as whoever starts them.
    let alone = thread::spawn(move || handle_alone(load, per_cent));
    let result = alone.join();
    result.map_err(|_| String::from("the poller's thread panicked"))?
}

fn handle_alone(load: Load, per_cent: u64) -> Result<f64, String> {
    pin(load.placement.worker(0));
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .lane_capacity(2 * AT_A_TIME as usize)
        .build()
        .map_err(said)?;
    let sum = Arc::new(AtomicU64::new(0));
    let handled = Arc::clone(&sum);
    let subscription = fail_once::<Unkeyed>(&system, per_cent, move |order| {
        let number = order.number();
        handled.store(handled.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    })?;
    let mut publisher = system.publisher();
    let mut poller = system.poller("default").map_err(said)?;
    let mut took = Duration::ZERO;
    let (mut number, end) = (0, load.warm_up + load.events);
    while number < end {
        let next = end.min(number + AT_A_TIME);
        for number in number..next {
            publisher.publish(Unkeyed::nth(number)).map_err(said)?;
        }
        let began = Instant::now();
        while poller.poll(1) != Polled::Events(0) {}
        if number >= load.warm_up {
            took += began.elapsed();
        }
        number = next;
    }
    let handled = subscription.counts().handled;
    if handled != end || sum.load(Ordering::Relaxed) != end * (end - 1) / 2 {
        return Err(format!("{handled} of {end} events were handled"));
    }
    Ok(took.as_nanos() as f64 / load.events as f64)
}

/// A handler of which so many of each hundred first attempts fail.
fn fail_once<E: Numbered>(
    system: &EventSystem,
    per_cent: u64,
    handle: impl Fn(&Order) + Send + Sync + 'static,
) -> Result<Subscription, String> {
    system
        .subscription("failing")
        .retry(RetryPolicy::immediate())
        .handler(move |event: &E, context: &mut Context<'_>| {
            let order = event.order();
            if order.number() % 100 < per_cent && context.attempt() == 1 {
                let account = order.account();
                return Err(Busy::new(account));
            }
            handle(order);
            Ok(())
        })
        .map_err(said)
}

/// So many deliveries of another subscription wait for their next attempt, on the worker's timer wheel.
pub(super) fn waiting(load: Load, count: u64) -> Result<f64, String> {
    let system = build(Variant::DEFAULT, 1, load.placement)?;
    let late = shelve(&system, count)?;
    let run = Run::new(load);
    let handling = Arc::clone(&run);
    system
        .subscribe(move |order: &Order, _: &mut Context<'_>| handling.handle(0, order))
        .map_err(said)?;
    let result = publish::<Order>(&system, &run);
    let waited = late.attempts().held;
    // Or the shutdown waits for them.
    late.unsubscribe().map_err(said)?;
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    if waited != count {
        return Err(format!("{waited} deliveries waited, and not {count}"));
    }
    result
}

/// A subscription that has so many deliveries on its shelf.
fn shelve(system: &EventSystem, count: u64) -> Result<Subscription, String> {
    let policy = RetryPolicy::none()
        .max_attempts(2)
        .base(LONG)
        .max_delay(LONG)
        .held_max(usize::MAX);
    let late = system
        .subscription("late")
        .retry(policy)
        .handler(|late: &Late, _: &mut Context<'_>| {
            let account = late.order.account();
            Err::<(), _>(Busy::new(account))
        })
        .map_err(said)?;
    let mut publisher = system.publisher();
    for number in 0..count {
        let order = Order::nth(number);
        publisher.publish(Late { order }).map_err(said)?;
    }
    let limit = Instant::now() + SHELVING_LIMIT;
    while late.attempts().held != count {
        if Instant::now() > limit {
            return Err(String::from("what is to wait was not on the shelf in time"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(late)
}

fn finish<E: Numbered>(system: EventSystem, run: &Arc<Run>) -> Result<f64, String> {
    let result = publish::<E>(&system, run);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}

fn publish<E: Numbered>(system: &EventSystem, run: &Arc<Run>) -> Result<f64, String> {
    let mut publisher = system.publisher();
    let sender = run.start_publisher(0, move || {
        move |number| {
            let is_admitted = publisher.publish(E::nth(number)).is_ok();
            assert!(is_admitted, "the engine runs and may wait for room");
        }
    });
    run.finish(vec![sender])
}
