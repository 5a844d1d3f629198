//! What does it cost to store an event's payload in a slot, and to drop it there once it is handled?
//!
//! The engine's own slot, mounted from where it stands: one of them is written and emptied again and again, so it stays
//! in the nearest cache. `base` makes the same events and drops them where they were made, `word` is the least an event
//! can carry, and what is dearer differs from it in its payload only.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the bench its slot"
)]
#[path = "../src/event/mod.rs"]
mod event;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "as above: the slot's module leans on it"
)]
#[path = "../src/outcome/mod.rs"]
mod outcome;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/sync/mod.rs"]
mod sync;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::{Class, Event, EventType, Head, Key, Slot};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Events in a measurement.
const EVENTS: u64 = 1_024;

/// Eight bytes.
#[derive(Debug)]
struct Word(u64);

/// As much as a slot holds: 56 bytes.
#[derive(Debug)]
struct Full([u64; 7]);

/// A word more: it travels in a box.
#[derive(Debug)]
struct Boxed([u64; 8]);

/// Something to be dropped, in the slot.
#[derive(Debug)]
struct Counted(#[expect(dead_code, reason = "it is carried and dropped")] Arc<str>);

const _: () = assert!(Slot::holds::<Full>() && !Slot::holds::<Boxed>());

macro_rules! events {
    ($($event:ty: $name:literal, $key:expr;)*) => {$(
        impl Event for $event {
            const NAME: &'static str = $name;

            fn key(&self) -> Key<'_> {
                let key: fn(&Self) -> u64 = $key;
                Key::U64(key(self))
            }
        }
    )*};
}

events! {
    Word: "word", |word| word.0;
    Full: "full", |full| full.0[0];
    Boxed: "boxed", |boxed| boxed.0[0];
    Counted: "counted", |_| 0;
}

/// An envelope as publishing writes it.
fn head(number: u64) -> Head {
    Head {
        key_hash: number,
        stamp: number,
        sequence: number,
        ..Head::default()
    }
}

/// As a worker does it: by what its table says of the type.
fn empty(slot: &mut Slot, is_trivial: bool) {
    let (_, mut payload) = black_box(slot).split();
    if !(is_trivial && payload.is_in_place()) {
        payload.discard_contained();
    }
}

fn store_and_drop<E: Event>(criterion: &mut Criterion, name: &str, make: impl Fn(u64) -> E) {
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function(name, |bencher| {
        let event_type = EventType::<E>::of();
        let is_trivial = event_type.descriptor().payload_fns.is_trivial();
        // Nothing is left to be dropped: the payload goes each time, and this envelope holds nothing.
        let mut place = MaybeUninit::uninit();
        bencher.iter(|| {
            for number in 0..EVENTS {
                let (head, event) = (head(number), make(number));
                let slot = Slot::write(&mut place, event_type, Class::Normal, true, head, event);
                empty(slot, is_trivial);
            }
        });
    });
    group.finish();
}

fn payload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Elements(EVENTS));

    group.bench_function("base", |bencher| {
        bencher.iter(|| {
            for number in 0..EVENTS {
                black_box((head(number), Word(number)));
            }
        });
    });

    // One share for each of two pools, and the value goes with the second.
    group.bench_function("word_for_two_pools", |bencher| {
        let event_type = EventType::<Word>::of();
        let is_trivial = event_type.descriptor().payload_fns.is_trivial();
        let mut places = [const { MaybeUninit::uninit() }; 2];
        bencher.iter(|| {
            for number in 0..EVENTS {
                let event = Arc::new(Word(number));
                let slots = places.each_mut().map(|place| {
                    let (head, share) = (head(number), Arc::clone(&event));
                    Slot::write_shared(place, event_type, Class::Normal, true, head, share)
                });
                drop(event);
                for slot in slots {
                    empty(slot, is_trivial);
                }
            }
        });
    });
    group.finish();

    store_and_drop(criterion, "word", Word);
    store_and_drop(criterion, "full", |number| Full(black_box([number; 7])));
    store_and_drop(criterion, "boxed", |number| Boxed(black_box([number; 8])));
    let text: Arc<str> = Arc::from("a name that many events share");
    store_and_drop(criterion, "counted", |_| Counted(Arc::clone(&text)));
}

criterion_group!(benches, payload);
criterion_main!(benches);
