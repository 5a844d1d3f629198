//! What does it cost a worker to find the handler of an event, with one type and with a hundred?
//!
//! Events are published beforehand, and only their handling is timed, on the same thread. Types come in an
//! order that no predictor could learn. `base` calls boxed handlers from a table in the order of the
//! hundred, without any engine.

#![expect(
    clippy::disallowed_methods,
    reason = "only a part of each turn is timed, so the bench reads the clock itself"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::prelude::*;
use ringbolt::{Error, Polled};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Events in a burst; half a lane, so that there is always room.
const BURST: u64 = 1_024;
const TYPES: usize = 100;

/// An event of a type of its own.
#[derive(Debug)]
struct Typed<const N: usize>(u64);

impl<const N: usize> Event for Typed<N> {
    const NAME: &'static str = "typed";

    fn key(&self) -> Key<'_> {
        Key::U64(self.0)
    }
}

/// What can be done with a type that is chosen while running.
#[derive(Debug, Clone, Copy)]
struct Entry {
    publish: fn(&mut Publisher, u64) -> bool,
    subscribe: fn(&EventSystem) -> Result<Subscription, Error>,
}

const fn entry<const N: usize>() -> Entry {
    Entry {
        publish: |publisher, number| publisher.publish(Typed::<N>(number)).is_ok(),
        subscribe: |system| {
            system.subscribe(|event: &Typed<N>, _: &mut Context<'_>| {
                black_box(event.0);
            })
        },
    }
}

macro_rules! entries {
    ($($tens:literal)*) => {
        [$(entries!(ten $tens)),*]
    };
    (ten $tens:literal) => {
        [
            entry::<{ 10 * $tens }>(), entry::<{ 10 * $tens + 1 }>(),
            entry::<{ 10 * $tens + 2 }>(), entry::<{ 10 * $tens + 3 }>(),
            entry::<{ 10 * $tens + 4 }>(), entry::<{ 10 * $tens + 5 }>(),
            entry::<{ 10 * $tens + 6 }>(), entry::<{ 10 * $tens + 7 }>(),
            entry::<{ 10 * $tens + 8 }>(), entry::<{ 10 * $tens + 9 }>(),
        ]
    };
}

static ENTRIES: [[Entry; 10]; 10] = entries!(0 1 2 3 4 5 6 7 8 9);

/// Which type each event of a burst is of.
fn order(types: usize) -> Vec<usize> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        // xorshift* (George Marsaglia, Sebastiano Vigna).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize
    };
    (0..BURST).map(|_| next() % types).collect()
}

fn handler_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handler_table");
    group.throughput(Throughput::Elements(BURST));

    group.bench_function("base", |bencher| {
        let table: Vec<Box<dyn Fn(u64)>> = (0..TYPES)
            .map(|offset| -> Box<dyn Fn(u64)> {
                Box::new(move |number| {
                    black_box(number + offset as u64);
                })
            })
            .collect();
        let (table, order) = (black_box(table), order(TYPES));
        bencher.iter(|| {
            for (number, &index) in (0..).zip(&order) {
                table[index](number);
            }
        });
    });

    for types in [1, TYPES] {
        group.bench_with_input(
            BenchmarkId::new("types", types),
            &types,
            |bencher, &types| {
                let system = EventSystem::builder()
                    .pool(Pool::new("default").polled())
                    .build()
                    .expect("a polled pool needs no thread");
                let entries = &ENTRIES.as_flattened()[..types];
                for entry in entries {
                    (entry.subscribe)(&system).expect("nobody takes the event by value");
                }
                let order = order(types);
                let mut publisher = system.publisher();
                let mut poller = system.poller("default").expect("the pool has no poller");
                bencher.iter_custom(|bursts| {
                    let mut handling = Duration::ZERO;
                    for _ in 0..bursts {
                        for (number, &index) in (0..).zip(&order) {
                            let is_admitted = (entries[index].publish)(&mut publisher, number);
                            assert!(is_admitted, "half a lane has room");
                        }
                        let began = Instant::now();
                        while poller.poll(1) != Polled::Events(0) {}
                        handling += began.elapsed();
                    }
                    handling
                });
            },
        );
    }

    group.finish();
}

criterion_group!(benches, handler_table);
criterion_main!(benches);
