//! Latency as it was felt (OB1, OB2): counted from the moment an event was due, in reports that HdrHistogram's tools read.
//!
//! With `--features hlog` it also writes an interval log.

use ringbolt::metrics::{MILLISECONDS, TICKS_PER_HALF, write_percentiles};
use ringbolt::prelude::*;
use std::sync::{Arc, Barrier};
use std::time::Duration;

struct Tick(u64);

impl Event for Tick {
    const NAME: &'static str = "tick";
}

const TICKS: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A clock with a hand shows it without waiting for it; `Clock::real()` is what you get otherwise.
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .workers(1)
        .clock(clock.clone())
        .build()?;
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    system.subscribe(move |tick: &Tick, _: &mut Context<'_>| {
        if tick.0 == 0 {
            held.wait(); // The worker is here...
            held.wait(); // ...and may go on.
        }
    })?;

    // A tick is due every microsecond. The first one hangs for a millisecond, and the publisher, too, is
    // late with all the others: they are fast once published, but nobody who waited for one would say so.
    let mut publisher = system.publisher();
    let start = clock.raw();
    publisher.publish(Tick(0))?;
    gate.wait();
    hand.advance(Duration::from_millis(1));
    for number in 1..TICKS {
        let due = clock.raw_after(start, Duration::from_micros(number));
        publisher.publish_with(Tick(number), Options::new().intended(due))?;
    }
    gate.wait();
    system.shutdown(Duration::from_secs(10))?;

    let report = system.report();
    println!("{}", report.to_text());
    assert_eq!(report.totals.handled, TICKS);
    let felt = &report.end_to_end;
    assert_eq!(felt.count(), TICKS);
    assert!((990_000..=1_010_000).contains(&felt.max()));
    assert!(
        (490_000..=510_000).contains(&felt.percentile(50.0)),
        "half of them waited half of it"
    );

    let mut table = Vec::new();
    write_percentiles(&mut table, felt, MILLISECONDS, TICKS_PER_HALF)?;
    let table = String::from_utf8(table)?;
    println!("{table}");
    assert!(table.contains("Total count    =         1000]"));

    #[cfg(feature = "hlog")]
    {
        let mut log =
            ringbolt::metrics::IntervalLog::new(Vec::new(), std::time::SystemTime::now())?;
        log.write(None, Duration::ZERO, Duration::from_millis(1), felt)?;
        let log = String::from_utf8(log.into_inner()?)?;
        println!("{log}");
        assert_eq!(
            log.lines().count(),
            4,
            "two comments, the names, one interval"
        );
    }
    Ok(())
}
