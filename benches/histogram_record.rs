//! What does it cost to record an event's latency?
//!
//! The histograms are those that workers fill: from a nanosecond to an hour, three digits for queue wait
//! and end-to-end time, two for handlers. `base` makes the same values and records none.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
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

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, digits).expect("the bounds are constant and valid")
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

    group.bench_function("one_histogram", |bencher| {
        let mut queue_wait = histogram(3);
        bencher.iter(|| {
            for number in 0..VALUES {
                queue_wait.saturating_record(time_ns(number));
            }
        });
        black_box(queue_wait.len());
    });

    // What a short event is charged: its wait and its whole way, and an eighth of its handler's time.
    group.bench_function("event_in_a_group", |bencher| {
        let mut queue_wait = histogram(3);
        let mut end_to_end = histogram(3);
        let mut handler = histogram(2);
        bencher.iter(|| {
            for number in 0..VALUES {
                let wait_ns = time_ns(number);
                queue_wait.saturating_record(wait_ns);
                end_to_end.saturating_record(wait_ns + 50);
                if number % GROUP == GROUP - 1 {
                    handler.saturating_record_n(wait_ns / 8, GROUP);
                }
            }
        });
        black_box((queue_wait.len(), end_to_end.len(), handler.len()));
    });

    group.finish();
}

criterion_group!(benches, histogram_record);
criterion_main!(benches);
