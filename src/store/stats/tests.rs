//! The figures against what was done.

use super::*;
use crate::event::{Codec, Event};
use crate::store::{ExpectedVersion, Retention};
use crate::sync::clock::Clock;
use std::time::Duration;

struct Blob(usize);

impl Event for Blob {
    const NAME: &'static str = "stats.blob";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |blob| Ok("x".repeat(blob.0)),
            |text| Ok(Self(text.len())),
        ))
    }
}

fn fill(store: &EventStore, stream: &str, events: usize, bytes: usize) {
    for _ in 0..events {
        store
            .append(stream, ExpectedVersion::Any, &Blob(bytes))
            .unwrap();
    }
}

fn small() -> EventStore {
    let builder = EventStore::builder().segment_bytes(4_096).populate(false);
    builder.build().unwrap()
}

#[test]
fn figures_are_what_was_done() {
    let store = small();
    let empty = store.stats();
    assert_eq!((empty.events, empty.segments.kept), (0, 0));
    assert_eq!((empty.first_position, empty.end_position), (0, 0));
    fill(&store, "a", 100, 10);
    fill(&store, "b", 20, 100);
    store
        .append("a", ExpectedVersion::NoStream, &Blob(1))
        .unwrap_err();
    store.truncate("a", 3).unwrap();
    store.delete("b", ExpectedVersion::Any).unwrap();
    let stats = store.stats();
    assert_eq!((stats.events, stats.marks, stats.appends), (120, 2, 120));
    assert_eq!((stats.end_position, stats.streams), (122, 2));
    assert_eq!((stats.conflicts, stats.event_types), (1, 1));
    assert_eq!(stats.bytes.payload, 100 * 10 + 20 * 100);
    // What the records say of themselves, marks included.
    let reader = store.reader();
    let records = reader
        .read(crate::store::Query::all().with_marks())
        .unwrap();
    let sizes: u64 = records
        .map(|record| record.unwrap().header.size() as u64)
        .sum();
    assert_eq!(stats.bytes.records, sizes);
    assert_eq!(stats.bytes.segments, stats.segments.kept * 4_096);
    assert!(stats.bytes.index > 0 && stats.segments.freed == 0);
    let streams = store.streams();
    assert_eq!(streams.len(), 2);
    assert_eq!(
        (streams[0].first_version, streams[0].is_deleted),
        (3, false)
    );
    assert_eq!((streams[1].events, streams[1].is_deleted), (20, true));
    assert_eq!(
        streams.iter().map(|stream| stream.bytes).sum::<u64>(),
        sizes - 2 * 96
    );
}

#[test]
fn the_largest_are_the_largest() {
    let store = EventStore::builder().populate(false).build().unwrap();
    for number in 0..200_usize {
        // All sizes between 0 and 199, in no order.
        let size = number * 77 % 200;
        fill(&store, &format!("s{size}"), 1 + size / 10, 10 * size);
    }
    let stats = store.stats();
    let names = |streams: &[StreamStats]| -> Vec<String> {
        streams.iter().map(|stream| stream.stream.clone()).collect()
    };
    let mut all = store.streams();
    all.sort_by_key(|stream| Reverse(stream.bytes));
    assert_eq!(
        names(&stats.largest_by_bytes),
        names(&all[..LARGEST_STREAMS])
    );
    let mut all = store.streams();
    all.sort_by_key(|stream| Reverse(stream.events));
    assert_eq!(
        names(&stats.largest_by_events),
        names(&all[..LARGEST_STREAMS])
    );
    assert!(
        stats
            .largest_by_events
            .iter()
            .all(|stream| stream.events == 20)
    );
}

#[test]
fn one_append_and_one_read_in_64_is_timed() {
    let store = small();
    fill(&store, "a", 6_400, 8);
    assert_eq!(store.stats().append.count(), 100);
    let before = store.stats().read.count();
    {
        let reader = store.reader();
        for position in 0..6_400 {
            reader.get(position).unwrap();
            reader.latest("a").unwrap();
        }
    }
    assert_eq!(store.stats().read.count() - before, 200);
    // Readers that read once count as well.
    for _ in 0..6_400 {
        store.reader().latest("a").unwrap();
    }
    let more = store.stats().read.count() - before - 200;
    assert!((99..=101).contains(&more), "{more}");
}

#[test]
fn rates_are_those_between_two_looks() {
    let (clock, hand) = Clock::manual();
    let builder = EventStore::builder().populate(false).clock(clock);
    let store = builder.build().unwrap();
    fill(&store, "a", 10, 8);
    let mut sampler = store.stats_sampler();
    assert_eq!(sampler.sample().rates, Some(StoreRates::default()));
    let before = store.stats();
    fill(&store, "a", 50, 8);
    hand.advance(Duration::from_millis(500));
    let rates = sampler.sample().rates.unwrap();
    assert_eq!(rates.over_ns, 500_000_000);
    assert_eq!(rates.events_per_second, 100.0);
    assert_eq!(rates.payload_bytes_per_second, 800.0);
    assert_eq!(store.stats().rates_since(&before), rates);
    hand.advance(Duration::from_secs(1));
    assert_eq!(sampler.sample().rates.unwrap().events_per_second, 0.0);
}

#[test]
fn what_retention_lets_go_is_freed_or_held() {
    let builder = EventStore::builder().segment_bytes(4_096).populate(false);
    let store = builder
        .retention(Retention::default().events(10))
        .build()
        .unwrap();
    fill(&store, "a", 10, 200);
    let mut reader = store.reader();
    reader.get(0).unwrap();
    fill(&store, "a", 100, 200);
    let stats = store.stats();
    assert_eq!(stats.segments.held, 1);
    assert_eq!(stats.bytes.held, 4_096);
    assert!(stats.segments.freed > 3 && stats.first_position > 0);
    let all = stats.segments.kept + stats.segments.freed + stats.segments.held;
    assert_eq!(all * 4_096, stats.bytes.segments + stats.bytes.retired);
    reader.release();
    let after = store.stats();
    assert_eq!((after.segments.held, after.bytes.held), (0, 0));
    assert_eq!(after.segments.freed, stats.segments.freed + 1);
    assert_eq!(after.events, 110);
}

#[test]
fn text_is_a_table_and_steers_no_terminal() {
    let store = small();
    assert!(store.stats().to_string().contains("events"));
    fill(&store, "a\x1b[2J\nb", 200, 8);
    let text = store.stats().to_string();
    for words in ["events", "200", "append", "most bytes", "a\\u{1b}[2J\\nb"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.lines().all(|line| !line.contains(char::is_control)));
}

#[cfg(feature = "json")]
#[test]
fn as_json_it_is_one_object() {
    let store = small();
    fill(&store, "a", 64, 8);
    let json = serde_json::to_value(store.stats()).unwrap();
    assert_eq!(json["events"], 64);
    assert_eq!(json["bytes"]["payload"], 512);
    assert_eq!(json["largest_by_events"][0]["stream"], "a");
    assert_eq!(json["append"]["count"], 1);
    assert!(json.get("rates").is_none());
    let json = serde_json::to_value(store.stats_sampler().sample()).unwrap();
    assert!(json["rates"]["events_per_second"].is_number());
}
