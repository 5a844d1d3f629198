//! What does it cost to record an event's latency?
//!
//! The histograms are those that workers fill, mounted from where they stand: three digits for queue wait and end-to-end
//! time, two for handlers. `base` makes the same values and records none; `hdrhistogram` is the crate that reports are
//! read with, and whose own way of recording the engine does not use.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the bench its classes"
)]
#[path = "../src/event/mod.rs"]
mod event;
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the bench a worker's recorder"
)]
#[path = "../src/metrics/mod.rs"]
mod metrics;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/outcome/mod.rs"]
mod outcome;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "as above")]
#[path = "../src/sync/mod.rs"]
mod sync;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::Class;
use hdrhistogram::Histogram;
use metrics::Recorder;
use std::hint::black_box;

/// Values in a measurement.
const VALUES: u64 = 1_024;
/// Events that share a stamp while handlers are short.
const GROUP: u64 = 8;
const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// Times as they come: mostly some hundreds of nanoseconds, now and then many more.
fn time_ns(number: u64) -> u64 {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55;
    let is_late = number.is_multiple_of(128);
    black_box(100 + spread + if is_late { 1_000_000 } else { 0 })
}

fn histogram_record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_record");
    group.throughput(Throughput::Elements(VALUES));

    group.bench_function("base", |bencher| {
        bencher.iter(|| {
            for number in 0..VALUES {
                black_box(time_ns(number));
            }
        });
    });

    group.bench_function("handler_time", |bencher| {
        let mut recorder = Recorder::default();
        bencher.iter(|| {
            for number in 0..VALUES {
                recorder.handler(3, time_ns(number), 1);
            }
        });
        black_box(&recorder);
    });

    // What a short event is charged: its wait and its whole way, and an eighth of its handler's time.
    group.bench_function("event_in_a_group", |bencher| {
        let mut recorder = Recorder::default();
        bencher.iter(|| {
            for number in 0..VALUES {
                let wait_ns = time_ns(number);
                recorder
                    .class(Class::Normal)
                    .record(wait_ns, wait_ns + 50, 1);
                if number % GROUP == GROUP - 1 {
                    recorder.handler(3, wait_ns / 8, GROUP);
                }
            }
        });
        black_box(&recorder);
    });

    group.bench_function("hdrhistogram", |bencher| {
        let mut histogram: Histogram<u64> =
            Histogram::new_with_bounds(1, TIME_NS_MAX, 3).expect("the bounds are valid");
        bencher.iter(|| {
            for number in 0..VALUES {
                histogram.saturating_record(time_ns(number));
            }
        });
        black_box(histogram.len());
    });

    group.finish();
}

criterion_group!(benches, histogram_record);
criterion_main!(benches);
