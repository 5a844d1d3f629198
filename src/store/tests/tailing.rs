//! Readers that follow the log while many threads append (EV7).

use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const APPENDERS: u64 = 32;
const TAILERS: u64 = 8;

/// 32 threads append `events` altogether, one by one, in pairs to two streams, and in batches larger than a segment at
/// times; 8 readers follow, each of which sees every position once and in order, and every appender's events in order,
/// unless retention overtakes it: then it is told, and goes on where it is told to. Answers how many were overtaken.
fn follow(store: &EventStore, events: u64) -> u64 {
    let overtaken = Arc::new(AtomicU64::new(0));
    let (own, count) = (store.clone(), Arc::clone(&overtaken));
    race(APPENDERS + TAILERS, move |thread| {
        if thread < APPENDERS {
            append(&own, thread, events / APPENDERS);
        } else {
            count.fetch_add(tail(&own, events, thread - APPENDERS), Ordering::Relaxed);
        }
    });
    overtaken.load(Ordering::Relaxed)
}

fn append(store: &EventStore, thread: u64, events: u64) {
    let own = format!("own-{thread}");
    let mut number = 0;
    while number < events {
        let left = events - number;
        let count = match number % 97 {
            13 => left.min(2),
            29 => left.min(60),
            _ => 1,
        };
        if count == 1 {
            store
                .append(&own, ExpectedVersion::Any, &Step { thread, number })
                .unwrap();
        } else {
            let mut batch = store.batch();
            for number in number..number + count {
                let stream = if number % 2 == 0 {
                    own.as_str()
                } else {
                    "shared"
                };
                batch.push(stream, &Step { thread, number }).unwrap();
            }
            batch.commit().unwrap();
        }
        number += count;
    }
}

fn tail(store: &EventStore, events: u64, number: u64) -> u64 {
    let mut reader = store.reader();
    let (mut next, mut overtaken) = (0, 0);
    let mut seen = [None; APPENDERS as usize];
    while next < events {
        assert!(
            store.wait(next, Duration::from_secs(120)),
            "the log stands still"
        );
        let end = reader.end();
        if let Err(error) = read(&reader, &mut next, &mut seen, number) {
            let first = error.truncated().unwrap_or_else(|| panic!("{error}"));
            assert!(first > next, "told to go on at {first}, behind {next}");
            next = first;
            seen = [None; APPENDERS as usize];
            overtaken += 1;
        } else {
            assert!(next >= end, "it ended at {next}, before {end}");
        }
        reader.release();
    }
    assert_eq!((next, reader.end()), (events, events));
    overtaken
}

fn read(
    reader: &Reader,
    next: &mut u64,
    seen: &mut [Option<u64>],
    number: u64,
) -> Result<(), ReadError> {
    for record in reader.read(Query::all().from(*next))? {
        let record = record?;
        assert_eq!(record.position(), *next, "each once and in order");
        let step = record.view::<Step>().unwrap();
        let last = &mut seen[step.thread as usize];
        assert!(
            last.is_none_or(|last| step.number == last + 1),
            "an appender's order"
        );
        *last = Some(step.number);
        *next += 1;
        // Some are slow.
        if number % 3 == 1 && next.is_multiple_of(512) {
            thread::yield_now();
        }
    }
    Ok(())
}

#[test]
fn ev7_every_reader_sees_every_position_once_and_in_order() {
    let store = sized(1 << 16, Retention::everything());
    assert_eq!(follow(&store, 640_000), 0, "nobody is overtaken");
    assert!(store.log.segments.watermark().last().unwrap().segment() > 900);
}

#[test]
fn ev7_a_reader_that_retention_overtakes_is_told() {
    let store = sized(4_096, Retention::default().events(100));
    let overtaken = follow(&store, 384_000);
    assert!(
        overtaken > 0,
        "nobody was overtaken: the test has shown nothing"
    );
    assert_eq!(store.log.bytes_held(), 0, "all that was retired was freed");
}

/// Readers at a pin are not overtaken.
#[test]
fn ev7_what_is_pinned_is_read_to_the_end() {
    let store = sized(4_096, Retention::default().events(1));
    let pin = store.pin(0).unwrap();
    assert_eq!(follow(&store, 32_000), 0);
    drop(pin);
    assert!(store.retain() > 0);
}
