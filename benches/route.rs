//! What does it cost to find the worker that an event is for: from its type to the pool, from its key to the worker?
//!
//! The engine's own table and hash, mounted from where they stand. Keys come in an order that no predictor could learn.
//! `base` reads the same keys and adds them up.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the bench its keys"
)]
#[path = "../src/event/mod.rs"]
mod event;
#[allow(dead_code, unused_imports, reason = "as above: routing leans on it")]
#[path = "../src/lane/mod.rs"]
mod lane;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/outcome/mod.rs"]
mod outcome;
#[allow(
    dead_code,
    unused_imports,
    reason = "the engine uses all of it, the bench its table"
)]
#[path = "../src/route/mod.rs"]
mod route;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/sync/mod.rs"]
mod sync;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use event::{AsKey, Key};
use route::{Routes, pick};
use std::hint::black_box;

/// Events in a measurement.
const EVENTS: u64 = 1_024;
/// A number that is no power of two, as it would be with one.
const WORKERS: u32 = 3;
/// Types below 64 have their word at hand, others in parts that were made later.
const NEAR_TYPE: u32 = 7;
const FAR_TYPE: u32 = 700;

/// splitmix64 (Sebastiano Vigna).
fn numbers() -> impl Iterator<Item = u64> {
    (1..=EVENTS).map(|number| {
        let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// A table in which both types have a pool.
fn routes() -> Routes {
    let routes = Routes::new();
    for type_index in [NEAR_TYPE, FAR_TYPE] {
        routes.set(type_index, 1 << 2);
    }
    routes
}

/// As `publish` does it for a type with one pool.
fn find(routes: &Routes, type_index: u32, key: Key<'_>) -> u32 {
    let pools = routes.pools(type_index);
    let pool = pools.trailing_zeros();
    let hash = key.hash().unwrap_or_default();
    pool * WORKERS + pick(hash, WORKERS)
}

fn bench_keys<K: AsKey>(criterion: &mut Criterion, id: BenchmarkId, type_index: u32, keys: &[K]) {
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_with_input(id, keys, |bencher, keys| {
        let routes = black_box(routes());
        bencher.iter(|| {
            for key in keys {
                black_box(find(&routes, black_box(type_index), key.as_key()));
            }
        });
    });
    group.finish();
}

fn route(criterion: &mut Criterion) {
    let keys: Vec<u64> = numbers().collect();
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("base", |bencher| {
        bencher.iter(|| {
            for key in &keys {
                black_box(key.wrapping_add(u64::from(black_box(NEAR_TYPE))));
            }
        });
    });
    group.finish();

    bench_keys(criterion, BenchmarkId::new("key", "u64"), NEAR_TYPE, &keys);
    let wide: Vec<u128> = keys.iter().map(|key| u128::from(*key) << 32).collect();
    bench_keys(criterion, BenchmarkId::new("key", "u128"), NEAR_TYPE, &wide);
    let names: Vec<String> = keys.iter().map(|key| format!("{key:016x}")).collect();
    let id = BenchmarkId::new("key", "16_bytes_of_text");
    bench_keys(criterion, id, NEAR_TYPE, &names);
    let id = BenchmarkId::new("type_above_64", "u64");
    bench_keys(criterion, id, FAR_TYPE, &keys);
}

criterion_group!(benches, route);
criterion_main!(benches);
