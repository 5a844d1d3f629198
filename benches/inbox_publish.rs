//! What does it cost to publish through `&self`, by a worker's inbox, in place of a private lane?
//!
//! One thread: it publishes a burst and then polls it, so that there is no contention and no line changes
//! cores; what publishers do to each other is measured in `perf`. `base` makes the same events and hands
//! them to a boxed handler.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::prelude::*;
use ringbolt::{Polled, Poller};
use std::hint::black_box;

/// Events in a burst; half an inbox, so that there is always room.
const BURST: u64 = 512;

#[derive(Debug, Event)]
#[event(name = "order.placed", key = "order_id")]
struct OrderPlaced {
    order_id: u64,
    cents: u64,
}

impl OrderPlaced {
    fn nth(order_id: u64) -> Self {
        Self {
            order_id,
            cents: black_box(4_200),
        }
    }
}

/// An engine on this thread.
fn engine() -> (EventSystem, Poller) {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .expect("a polled pool needs no thread");
    system
        .subscribe(|order: &OrderPlaced, _: &mut Context<'_>| {
            black_box(order.cents);
        })
        .expect("nobody takes the event by value");
    let poller = system.poller("default").expect("the pool has no poller");
    (system, poller)
}

fn handle_all(poller: &mut Poller) {
    while poller.poll(1) != Polled::Events(0) {}
}

fn inbox_publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox_publish");
    group.throughput(Throughput::Elements(BURST));

    group.bench_function("base", |bencher| {
        let handler: Box<dyn Fn(&OrderPlaced)> = Box::new(|order| {
            black_box(order.cents);
        });
        let handler = black_box(handler);
        bencher.iter(|| {
            for order_id in 0..BURST {
                handler(&OrderPlaced::nth(order_id));
            }
        });
    });

    group.bench_function("lane", |bencher| {
        let (system, mut poller) = engine();
        let mut publisher = system.publisher();
        bencher.iter(|| {
            for order_id in 0..BURST {
                let is_admitted = publisher.publish(OrderPlaced::nth(order_id)).is_ok();
                assert!(is_admitted, "the lane has room");
            }
            handle_all(&mut poller);
        });
    });

    group.bench_function("inbox", |bencher| {
        let (system, mut poller) = engine();
        bencher.iter(|| {
            for order_id in 0..BURST {
                let is_admitted = system.publish(OrderPlaced::nth(order_id)).is_ok();
                assert!(is_admitted, "the inbox has room");
            }
            handle_all(&mut poller);
        });
    });

    group.finish();
}

criterion_group!(benches, inbox_publish);
criterion_main!(benches);
