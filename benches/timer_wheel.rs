//! What does it cost to let something wait for its time, and what when a million others do?
//!
//! The engine's own wheel, mounted from where it stands. A turn is a microsecond of the wheel's time: one timer is
//! inserted and what is due by then comes out, which is one timer too, as the waits are spread evenly over twice as
//! many microseconds as timers are to be waiting. `ordered_map` does the same turns with a `BTreeMap`, which can cancel
//! as well. `base` only draws the waits.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the bench the wheel"
)]
#[path = "../src/outcome/mod.rs"]
mod outcome;
#[allow(unreachable_pub, reason = "as above")]
#[path = "../src/retry/mod.rs"]
mod retry;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/sync/mod.rs"]
mod sync;

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use retry::Wheel;
use std::collections::BTreeMap;
use std::hint::black_box;

/// Turns in a measurement.
const TURNS: u64 = 1_024;
/// Of the wheel's time.
const TURN_NS: u64 = 1_000;
/// Timers that wait.
const WAITING: [u64; 3] = [1, 1_000, 1_000_000];

/// Waits that nobody could foresee, between one turn and twice as many as are to be waiting.
struct Waits {
    state: u64,
    longest_ns: u64,
}

impl Waits {
    fn new(waiting: u64) -> Self {
        Self {
            state: 0x2545_F491_4F6C_DD1D,
            longest_ns: 2 * waiting * TURN_NS,
        }
    }

    fn next_ns(&mut self) -> u64 {
        // xorshift* (George Marsaglia, Sebastiano Vigna).
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        TURN_NS + ((drawn * self.longest_ns) >> 32)
    }
}

/// What waits, for longer than any turn.
trait Waiting {
    fn turn(&mut self, now_ns: u64, due_ns: u64) -> u64;
}

impl Waiting for Wheel<u64> {
    fn turn(&mut self, now_ns: u64, due_ns: u64) -> u64 {
        self.insert(due_ns, due_ns);
        let mut popped = 0;
        while let Some(due_ns) = self.pop_due(now_ns) {
            black_box(due_ns);
            popped += 1;
        }
        popped
    }
}

/// By due time and order of insertion.
#[derive(Default)]
struct OrderedMap {
    timers: BTreeMap<(u64, u64), u64>,
    number: u64,
}

impl Waiting for OrderedMap {
    fn turn(&mut self, now_ns: u64, due_ns: u64) -> u64 {
        self.number += 1;
        self.timers.insert((due_ns, self.number), due_ns);
        let mut popped = 0;
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now_ns
        {
            black_box(first.remove());
            popped += 1;
        }
        popped
    }
}

/// Turns that go on for ever; as many come out by now as go in.
fn turns(waiting: u64, mut timers: impl Waiting) -> impl FnMut() -> u64 {
    let mut waits = Waits::new(waiting);
    let mut now_ns = 0;
    let mut turn = move || {
        now_ns += TURN_NS;
        timers.turn(now_ns, now_ns + waits.next_ns())
    };
    for _ in 0..2 * waiting {
        turn();
    }
    turn
}

/// The width of a slot of the sixth level.
const SLOT_NS: u64 = 1 << 30;

/// So many timers in one slot, in places that were freed in no order.
fn scattered(waiting: u64) -> Wheel<u64> {
    let mut wheel = Wheel::new(0);
    // With one that stays: an empty wheel would begin again at the first place.
    wheel.insert(u64::MAX, 0);
    let mut ids: Vec<_> = (0..waiting).map(|number| wheel.insert(1, number)).collect();
    let mut waits = Waits::new(waiting);
    while !ids.is_empty() {
        let id = ids.swap_remove(waits.next_ns() as usize % ids.len());
        wheel.cancel(id);
    }
    waits.longest_ns = SLOT_NS - TURN_NS;
    for _ in 0..waiting {
        wheel.insert(SLOT_NS + waits.next_ns(), 0);
    }
    wheel
}

fn timer_wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_wheel");
    group.throughput(Throughput::Elements(TURNS));

    group.bench_function("base", |bencher| {
        let mut waits = Waits::new(1_000);
        bencher.iter(|| {
            for _ in 0..TURNS {
                black_box(waits.next_ns());
            }
        });
    });

    for waiting in WAITING {
        let mut turn = turns(waiting, Wheel::new(0));
        group.bench_function(BenchmarkId::new("insert_pop", waiting), |bencher| {
            bencher.iter(|| (0..TURNS).map(|_| turn()).sum::<u64>());
        });
        let mut turn = turns(waiting, OrderedMap::default());
        group.bench_function(BenchmarkId::new("ordered_map", waiting), |bencher| {
            bencher.iter(|| (0..TURNS).map(|_| turn()).sum::<u64>());
        });
    }

    // So many wait for something far off, and what is inserted is taken back: a timeout that is not needed.
    for waiting in WAITING {
        let mut wheel = Wheel::new(0);
        let mut waits = Waits::new(waiting);
        for _ in 0..waiting {
            wheel.insert(waits.next_ns(), 0);
        }
        group.bench_function(BenchmarkId::new("insert_cancel", waiting), |bencher| {
            bencher.iter(|| {
                for number in 0..TURNS {
                    let id = black_box(wheel.insert(waits.next_ns(), number));
                    black_box(wheel.cancel(id));
                }
            });
        });
    }

    // What a worker pays for each look while nothing is due.
    for waiting in [0, 1_000_000] {
        let mut wheel = Wheel::new(0);
        let mut waits = Waits::new(waiting);
        for _ in 0..waiting {
            wheel.insert((1 << 60) + waits.next_ns(), 0);
        }
        let mut now_ns = 0;
        group.bench_function(BenchmarkId::new("nothing_due", waiting), |bencher| {
            bencher.iter(|| {
                for _ in 0..TURNS {
                    now_ns += 1;
                    black_box(wheel.pop_due(black_box(now_ns)));
                }
            });
        });
    }

    // The worst single call: the first of a slot's timers is due, and all of them are spread. They lie scattered, as
    // after some time of coming and going.
    for waiting in [1_000, 100_000, 1_000_000] {
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("spread", waiting), |bencher| {
            bencher.iter_batched_ref(
                || scattered(waiting),
                |wheel| black_box(wheel.pop_due(2 * SLOT_NS)),
                BatchSize::PerIteration,
            );
        });
    }

    group.finish();
}

criterion_group!(benches, timer_wheel);
criterion_main!(benches);
