//! What does it cost to push a slot into a lane, and to pop it at the other end?
//!
//! The engine's own ring, mounted from where it stands, with slots of its size and alignment and all of their words
//! written and read. Both ends are on one thread, so no line changes cores: what remains is the code. `base` writes and
//! reads the same slots in an array.

#[allow(
    dead_code,
    unused_imports,
    reason = "the engine uses all of it, the bench its rings"
)]
#[path = "../src/lane/mod.rs"]
mod lane;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/sync/mod.rs"]
mod sync;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lane::{Flow, LaneRx, LaneTx, Room};
use std::hint::black_box;
use std::sync::Arc;
use sync::Barrier;

/// Slots in a measurement; half a lane, so that there is always room.
const SLOTS: u64 = 1_024;
/// As by default.
const CAPACITY: usize = 2_048;

/// As large as a slot of the engine.
#[derive(Debug, Clone, Copy)]
#[repr(align(128))]
struct Words([u64; 16]);

impl Words {
    fn nth(number: u64) -> Self {
        Self([number; 16])
    }

    fn read(&self) {
        black_box(self.0);
    }
}

fn ends() -> (LaneTx<Words>, LaneRx<Words>) {
    lane::lane(CAPACITY, Arc::new(Room::new()))
}

fn pop_all(rx: &mut LaneRx<Words>, limit: usize, barrier: Barrier) {
    while rx.has_waiting() {
        rx.take(limit, barrier, |words, _| {
            words.read();
            Flow::Next
        });
    }
}

fn lane_push_pop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane_push_pop");
    group.throughput(Throughput::Elements(SLOTS));
    let barrier = Barrier::best();

    group.bench_function("base", |bencher| {
        let mut array = vec![Words::nth(0); SLOTS as usize];
        bencher.iter(|| {
            for (number, words) in (0..).zip(&mut array) {
                *words = Words::nth(number);
            }
            black_box(&mut array).iter().for_each(Words::read);
        });
    });

    // Shown to the worker one by one, taken in chunks as long as a batch.
    group.bench_function("push_each", |bencher| {
        let (mut tx, mut rx) = ends();
        bencher.iter(|| {
            for number in 0..SLOTS {
                let pushed = tx.push_with(|place| place.write(Words::nth(number)));
                assert!(pushed, "half a lane has room");
            }
            pop_all(&mut rx, 128, barrier);
        });
    });

    // Shown by the group, as `publish_batch` does.
    group.bench_function("push_by_64", |bencher| {
        let (mut tx, mut rx) = ends();
        bencher.iter(|| {
            for number in 0..SLOTS {
                let filled = tx.fill_with(|place| place.write(Words::nth(number)));
                assert!(filled, "half a lane has room");
                if number % 64 == 63 {
                    tx.release();
                }
            }
            pop_all(&mut rx, 128, barrier);
        });
    });

    // One in, one out: a worker that keeps up.
    for waiting in [1, 8] {
        group.bench_with_input(
            BenchmarkId::new("waiting", waiting),
            &waiting,
            |bencher, &waiting| {
                let (mut tx, mut rx) = ends();
                bencher.iter(|| {
                    for number in 0..SLOTS {
                        let pushed = tx.push_with(|place| place.write(Words::nth(number)));
                        assert!(pushed, "the lane is nearly empty");
                        if (number + 1) % waiting == 0 {
                            pop_all(&mut rx, 128, barrier);
                        }
                    }
                });
            },
        );
    }

    group.finish();
}

criterion_group!(benches, lane_push_pop);
criterion_main!(benches);
