//! What does an event cost when it is handed over in batches of some size?
//!
//! One publisher, one worker; the time runs until the last event of a burst is handled. `base` makes the
//! same events and hands them to nobody.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::prelude::*;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events in a burst; half a lane, so that the publisher never waits.
const BURST: u64 = 1_024;

#[derive(Debug, Event)]
#[event(name = "tick", key = "instrument")]
struct Tick {
    instrument: u64,
    price: u64,
}

impl Tick {
    fn nth(number: u64) -> Self {
        Self {
            instrument: number & 255,
            price: black_box(number),
        }
    }
}

fn publish_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_batch");
    group.throughput(Throughput::Elements(BURST));

    group.bench_function("base", |bencher| {
        bencher.iter(|| {
            for number in 0..BURST {
                black_box(Tick::nth(number));
            }
        });
    });

    for batch in [1, 8, 64, 512] {
        group.bench_with_input(
            BenchmarkId::new("batch", batch),
            &batch,
            |bencher, &batch| {
                let handled = Arc::new(AtomicU64::new(0));
                let counted = Arc::clone(&handled);
                let system = EventSystem::builder()
                    .workers(1)
                    .build()
                    .expect("one worker can be started");
                system
                    .subscribe(move |tick: &Tick, _: &mut Context<'_>| {
                        black_box(tick.price);
                        let count = counted.load(Ordering::Relaxed) + 1;
                        counted.store(count, Ordering::Release);
                    })
                    .expect("the name of the event is free");
                let mut publisher = system.publisher();
                let mut sent = 0;
                bencher.iter(|| {
                    let mut first = 0;
                    while first < BURST {
                        let published = publisher
                            .publish_batch((first..first + batch).map(Tick::nth))
                            .expect("the engine runs");
                        first += published as u64;
                    }
                    sent += BURST;
                    while handled.load(Ordering::Acquire) < sent {
                        spin_loop();
                    }
                });
            },
        );
    }

    group.finish();
}

criterion_group!(benches, publish_batch);
criterion_main!(benches);
