//! A round of each question, all of ringbolt with its defaults.

use super::types;
use crate::load::{Load, Order, Run};
use crate::systems::{System, Variant, build, said};
use ringbolt::Context;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// Length of the pre-generated order of types; every type comes in the warm-up, which is as long.
pub(super) const TYPES_ORDER: usize = 65_536;

/// Publishers to workers, one type, one subscription.
pub(super) fn plain(load: Load) -> Result<f64, String> {
    System::Ringbolt(Variant::DEFAULT).round(load)
}

/// A counter on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// So many subscriptions of one type; those after the first count, each for itself.
pub(super) fn subscriptions(load: Load, count: usize) -> Result<f64, String> {
    let system = build(Variant::DEFAULT, 1, load.placement)?;
    let run = Run::new(load);
    let counters: Vec<Arc<Counter>> = (1..count).map(|_| Arc::default()).collect();
    for counter in &counters {
        let counter = Arc::clone(counter);
        system
            .subscribe(move |order: &Order, _: &mut Context<'_>| {
                let sum = counter.0.load(Ordering::Relaxed) + order.account();
                counter.0.store(sum, Ordering::Relaxed);
            })
            .map_err(said)?;
    }
    // The one that ends the round is called last.
    let handling = Arc::clone(&run);
    system
        .subscribe(move |order: &Order, _: &mut Context<'_>| handling.handle(0, order))
        .map_err(said)?;
    let mut publisher = system.publisher();
    let sender = run.start_publisher(0, move || {
        move |number| {
            let is_admitted = publisher.publish(Order::nth(number)).is_ok();
            assert!(is_admitted, "the engine runs and may wait for room");
        }
    });
    let result = run.finish(vec![sender]);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    let sums: Vec<u64> = counters
        .iter()
        .map(|counter| counter.0.load(Ordering::Relaxed))
        .collect();
    if sums.iter().any(|&sum| sum == 0 || sum != sums[0]) {
        return Err(format!(
            "subscriptions did not see the same events: {sums:?}"
        ));
    }
    result
}

/// So many types, published in a random order that is fixed beforehand.
pub(super) fn types(load: Load, count: usize) -> Result<f64, String> {
    let system = build(Variant::DEFAULT, 1, load.placement)?;
    let run = Run::new(load);
    let entries = types::first(count);
    for entry in &entries {
        (entry.subscribe)(&system, &run).map_err(said)?;
    }
    let order = types::random_order(count, TYPES_ORDER);
    let mut publisher = system.publisher();
    let sender = run.start_publisher(0, move || {
        move |number| {
            let entry = &entries[usize::from(order[number as usize % TYPES_ORDER])];
            let is_admitted = (entry.publish)(&mut publisher, Order::nth(number));
            assert!(is_admitted, "the engine runs and may wait for room");
        }
    });
    let result = run.finish(vec![sender]);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}
