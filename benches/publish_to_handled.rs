//! What does an event cost from `publish` to the end of its handler?
//!
//! One publisher, one worker, bursts of events, default settings. `base` calls the same handler through
//! the same kind of box without any engine, which is the harness and the handler's own work.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::prelude::*;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events in a burst; half a lane, so that the publisher never waits.
const BURST: u64 = 1_024;

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

/// The handler's work: adds up and counts.
#[derive(Debug, Default)]
struct Sink {
    cents: AtomicU64,
    handled: AtomicU64,
}

impl Sink {
    fn take(&self, order: &OrderPlaced) {
        let cents = self.cents.load(Ordering::Relaxed).wrapping_add(order.cents);
        self.cents.store(cents, Ordering::Relaxed);
        let handled = self.handled.load(Ordering::Relaxed) + 1;
        self.handled.store(handled, Ordering::Release);
    }

    fn wait_for(&self, count: u64) {
        while self.handled.load(Ordering::Acquire) < count {
            spin_loop();
        }
    }
}

fn publish_to_handled(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_to_handled");
    group.throughput(Throughput::Elements(BURST));

    group.bench_function("base", |bencher| {
        let sink = Arc::new(Sink::default());
        let seen = Arc::clone(&sink);
        let handler: Box<dyn Fn(&OrderPlaced)> = Box::new(move |order| seen.take(order));
        let table = black_box(vec![handler]);
        let mut sent = 0;
        bencher.iter(|| {
            for order_id in 0..BURST {
                table[0](&OrderPlaced::nth(order_id));
            }
            sent += BURST;
            sink.wait_for(sent);
        });
    });

    group.bench_function("one_to_one", |bencher| {
        let sink = Arc::new(Sink::default());
        let seen = Arc::clone(&sink);
        let system = EventSystem::builder()
            .workers(1)
            .build()
            .expect("one worker can be started");
        system
            .subscribe(move |order: &OrderPlaced, _: &mut Context<'_>| seen.take(order))
            .expect("the name of the event is free");
        let mut publisher = system.publisher();
        let mut sent = 0;
        bencher.iter(|| {
            for order_id in 0..BURST {
                publisher
                    .publish(OrderPlaced::nth(order_id))
                    .expect("the engine runs");
            }
            sent += BURST;
            sink.wait_for(sent);
        });
    });

    group.finish();
}

criterion_group!(benches, publish_to_handled);
criterion_main!(benches);
