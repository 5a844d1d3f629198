//! What does it cost to store an event's payload, and to drop it once it is handled?
//!
//! One thread: it publishes a burst and then polls it, so that no line changes cores. `base` makes the same
//! events and hands them to a boxed handler, `word` is the least an event can carry, and what is dearer
//! differs from it in its payload only.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::prelude::*;
use ringbolt::{Polled, Poller};
use std::hint::black_box;
use std::sync::Arc;

/// Events in a burst; half a lane, so that there is always room.
const BURST: u64 = 1_024;

/// Eight bytes.
#[derive(Debug, Event)]
#[event(name = "word", key = "number")]
struct Word {
    number: u64,
}

/// As much as a slot holds: 56 bytes.
#[derive(Debug, Event)]
#[event(name = "full", key = "number")]
struct Full {
    number: u64,
    #[expect(dead_code, reason = "it is carried and not read")]
    rest: [u64; 6],
}

/// A word more: it travels in a box.
#[derive(Debug, Event)]
#[event(name = "boxed", key = "number")]
struct Boxed {
    number: u64,
    #[expect(dead_code, reason = "it is carried and not read")]
    rest: [u64; 7],
}

/// Something to be dropped, in the slot.
#[derive(Debug, Event)]
#[event(name = "shared", key = "number")]
struct Shared {
    number: u64,
    #[expect(dead_code, reason = "it is carried and not read")]
    text: Arc<str>,
}

const _: () = assert!(size_of::<Full>() == 56 && size_of::<Boxed>() == 64);

/// An engine on this thread.
fn engine<E: Event>() -> (EventSystem, Publisher, Poller) {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .expect("a polled pool needs no thread");
    system
        .subscribe(|event: &E, _: &mut Context<'_>| {
            black_box(event);
        })
        .expect("nobody takes the event by value");
    let publisher = system.publisher();
    let poller = system.poller("default").expect("the pool has no poller");
    (system, publisher, poller)
}

/// Publishes and handles bursts of what `make` makes.
fn bursts<E: Event>(criterion: &mut Criterion, name: &str, make: impl Fn(u64) -> E) {
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function(name, |bencher| {
        let (_system, mut publisher, mut poller) = engine::<E>();
        bencher.iter(|| {
            for number in 0..BURST {
                let is_admitted = publisher.publish(make(number)).is_ok();
                assert!(is_admitted, "half a lane has room");
            }
            while poller.poll(1) != Polled::Events(0) {}
        });
    });
    group.finish();
}

fn payload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("base", |bencher| {
        let handler: Box<dyn Fn(&Word)> = Box::new(|event| {
            black_box(event);
        });
        let handler = black_box(handler);
        bencher.iter(|| {
            for number in 0..BURST {
                handler(&Word { number });
            }
        });
    });
    group.finish();

    bursts(criterion, "word", |number| Word { number });
    bursts(criterion, "full", |number| Full {
        number,
        rest: black_box([number; 6]),
    });
    bursts(criterion, "boxed", |number| Boxed {
        number,
        rest: black_box([number; 7]),
    });
    let text: Arc<str> = Arc::from("a name that many events share");
    bursts(criterion, "shared", |number| Shared {
        number,
        text: Arc::clone(&text),
    });
}

criterion_group!(benches, payload);
criterion_main!(benches);
