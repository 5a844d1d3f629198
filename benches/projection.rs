//! How fast does a projection take in a log of plain old data that is there already?
//!
//! One worker folds half a million records, from its start until the last one is in the view. `base` folds the same
//! values from a row in memory, `scan` reads the log's records and looks at nothing but their positions.

#![expect(
    clippy::disallowed_methods,
    reason = "making the log and ending the worker are not timed, so the bench reads the clock itself"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::projection::Projection;
use ringbolt::store::{EventStore, ExpectedVersion, Query};
use ringbolt::{Codec, Event};
use std::hint::black_box;
use std::time::{Duration, Instant};

const EVENTS: u64 = 500_000;
const LONG: Duration = Duration::from_secs(60);

/// An event of a type of its own: an item, and how many of it.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
struct Moved<const N: usize>([u64; 2]);

macro_rules! moved {
    ($($number:literal $name:literal),*) => {$(
        impl Event for Moved<$number> {
            const NAME: &'static str = $name;
            fn codec() -> Option<Codec<Self>> {
                Some(Codec::pod())
            }
        }
    )*};
}

moved!(0 "moved.0", 1 "moved.1", 2 "moved.2", 3 "moved.3");

#[derive(Debug, Clone, Default)]
struct Stock {
    quantity: u64,
    events: u64,
}

impl Stock {
    fn take<const N: usize>(&mut self, moved: &Moved<N>) {
        self.quantity = self.quantity.wrapping_add(moved.0[0] ^ moved.0[1]);
        self.events += 1;
    }
}

fn filled(types: u64) -> EventStore {
    fn push<const N: usize>(batch: &mut ringbolt::store::Batch<'_>, number: u64)
    where
        Moved<N>: Event,
    {
        let moved: Moved<N> = Moved([number, 3 * number]);
        batch.push("stock", &moved).expect("it has a codec");
    }
    let store = EventStore::new();
    for first in (0..EVENTS).step_by(1_000) {
        let mut batch = store.batch();
        for number in first..first + 1_000 {
            // In an order that no predictor could learn.
            let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            match mixed % types {
                0 => push::<0>(&mut batch, number),
                1 => push::<1>(&mut batch, number),
                2 => push::<2>(&mut batch, number),
                _ => push::<3>(&mut batch, number),
            }
        }
        batch
            .expect("stock", ExpectedVersion::Any)
            .expect("nothing else is expected");
        batch.commit().expect("there is room");
    }
    store
}

fn projection(c: &mut Criterion) {
    let mut group = c.benchmark_group("projection");
    group.throughput(Throughput::Elements(EVENTS));
    group.sample_size(20);

    let row: Vec<Moved<0>> = (0..EVENTS)
        .map(|number| Moved([number, 3 * number]))
        .collect();
    group.bench_function("base", |b| {
        b.iter(|| {
            let mut stock = Stock::default();
            for moved in &row {
                stock.take(black_box(moved));
            }
            stock.quantity
        });
    });

    for types in [1, 4] {
        let store = filled(types);
        group.bench_function(format!("scan/{types}_types"), |b| {
            b.iter(|| {
                let reader = store.reader();
                let records = reader.read(Query::all()).expect("everything is kept");
                let positions = records.map(|record| record.expect("kept").position());
                positions.fold(0, u64::wrapping_add)
            });
        });
        group.bench_function(format!("fold/{types}_types"), |b| {
            b.iter_custom(|turns| {
                let mut time = Duration::ZERO;
                for _ in 0..turns {
                    let stock = Projection::new("stock", Stock::default())
                        .on::<Moved<0>>(|stock, moved, _| stock.take(moved))
                        .on::<Moved<1>>(|stock, moved, _| stock.take(moved))
                        .on::<Moved<2>>(|stock, moved, _| stock.take(moved))
                        .on::<Moved<3>>(|stock, moved, _| stock.take(moved));
                    let start = Instant::now();
                    let handle = store.project(stock).expect("it starts");
                    assert!(handle.wait_for(EVENTS - 1, LONG));
                    time += start.elapsed();
                    assert_eq!(handle.read(|stock, _| stock.events), EVENTS);
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, projection);
criterion_main!(benches);
