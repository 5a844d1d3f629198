//! The store's names, indexes and types under one writer and readers without a lock (S6, S7).

use super::every;
use crate::event::{Descriptor, Event};
use crate::store::kinds::Kinds;
use crate::store::location::{Location, Watermark};
use crate::store::streams::{Pool, Run, Streams};
use crate::sync::{Arc, Weakness, thread, weakened};

/// Words of a page, as a power of two.
const PAGE_BITS: u32 = 3;
/// Both names have the same place in every table.
const HASH: u64 = 7 << 32;

fn streams(names: &[&str]) -> Arc<Streams> {
    let streams = Streams::new(Pool::new(PAGE_BITS, false));
    for (number, name) in names.iter().enumerate() {
        assert_eq!(streams.insert(HASH, name), Some(number as u32));
    }
    Arc::new(streams)
}

/// A name is looked for while another is entered, for which the table has to grow.
fn grow_beside() {
    let streams = streams(&["a"]);
    let reader = thread::spawn({
        let streams = Arc::clone(&streams);
        move || {
            let found = streams.find(HASH, "a");
            assert_eq!(found, Some(0), "a stream that is there is found");
            if let Some(number) = streams.find(HASH, "b") {
                let stream = streams.get(number).expect("what is found is there");
                assert_eq!(stream.name(), "b", "what is found has its name");
            }
        }
    });
    assert_eq!(streams.insert(HASH, "b"), Some(1));
    reader.join().unwrap();
    assert_eq!(streams.find(HASH, "b"), Some(1));
}

#[test]
fn s6_edge_stream_is_found_while_the_table_grows() {
    every(grow_beside);
}

#[test]
#[should_panic(expected = "a stream that is there is found")]
fn s6_edge_stream_twin_without_release() {
    weakened(Weakness::NoRelease("stream"), || every(grow_beside));
}

#[test]
#[should_panic(expected = "a stream that is there is found")]
fn s6_edge_stream_twin_without_acquire() {
    weakened(Weakness::NoAcquire("stream"), || every(grow_beside));
}

/// Whoever hears how many streams there are finds so many.
#[test]
fn s6_so_many_streams_are_there_as_are_counted() {
    every(|| {
        let streams = streams(&["a"]);
        let writer = thread::spawn({
            let streams = Arc::clone(&streams);
            move || streams.insert(HASH, "b")
        });
        for number in 0..streams.len() {
            let name = streams.get(number).expect("it was counted").name();
            assert_eq!(name, ["a", "b"][number as usize]);
        }
        writer.join().unwrap();
    });
}

/// Two that enter names at once: the lock's holder alone may.
#[test]
#[should_panic(expected = "each has a number of its own")]
fn s6_twin_of_two_writers() {
    every(|| {
        let streams = streams(&[]);
        let other = thread::spawn({
            let streams = Arc::clone(&streams);
            move || streams.insert(HASH, "a")
        });
        let own = streams.insert(HASH, "b");
        assert_ne!(own, other.join().unwrap(), "each has a number of its own");
    });
}

struct First;

impl Event for First {
    const DESCRIPTOR: &'static Descriptor = &Descriptor {
        index: 0,
        name: "first",
        version: 1,
    };
}

struct Second;

impl Event for Second {
    const DESCRIPTOR: &'static Descriptor = &Descriptor {
        index: 1,
        name: "second",
        version: 1,
    };
}

/// Two threads append the first event of a type.
fn enter_type_together() {
    let kinds = Arc::new(Kinds::new());
    assert_eq!(kinds.of::<First>(), Ok(0));
    let ask = |kinds: &Kinds| {
        let number = kinds.of::<Second>().expect("its name is good");
        let name = kinds.get(number).map(|kind| kind.name());
        assert_eq!(
            name,
            Some("second"),
            "a type that has a number has its name"
        );
        number
    };
    let other = thread::spawn({
        let kinds = Arc::clone(&kinds);
        move || ask(&kinds)
    });
    assert_eq!((ask(&kinds), other.join().unwrap()), (1, 1));
}

#[test]
fn s6_edge_kind_a_type_that_has_a_number_has_its_name() {
    every(enter_type_together);
}

#[test]
#[should_panic(expected = "a type that has a number has its name")]
fn s6_edge_kind_twin_without_release() {
    weakened(Weakness::NoRelease("kind"), || every(enter_type_together));
}

#[test]
#[should_panic(expected = "a type that has a number has its name")]
fn s6_edge_kind_twin_without_acquire() {
    weakened(Weakness::NoAcquire("kind"), || every(enter_type_together));
}

/// Where the model's event of this version lies.
fn place(version: u64) -> Location {
    Location::new(version + 1, 16)
}

/// A stream's index grows by two runs, the second beyond the pool's page, while a reader asks for what is there and
/// for `beyond` more.
fn index_beside(beyond: u64) {
    let streams = streams(&["a"]);
    let push = |streams: &Streams, versions: std::ops::Range<u64>| {
        for version in versions {
            streams.push(streams.get(0).unwrap(), place(version));
        }
    };
    push(&streams, 0..2);
    let reader = thread::spawn({
        let streams = Arc::clone(&streams);
        move || {
            let stream = streams.get(0).unwrap();
            let count = stream.count();
            for version in (0..count + beyond).rev() {
                assert_eq!(
                    streams.location(stream, version, &mut Run::default()),
                    place(version),
                    "a version that is counted is where it says"
                );
            }
        }
    });
    push(&streams, 2..4);
    reader.join().unwrap();
    let stream = streams.get(0).unwrap();
    let mut hint = Run::default();
    for version in 0..4 {
        assert_eq!(streams.location(stream, version, &mut hint), place(version));
    }
}

#[test]
fn s7_edge_index_what_is_counted_is_found() {
    every(|| index_beside(0));
}

#[test]
#[should_panic(expected = "a version that is there is in a run")]
fn s7_edge_index_twin_without_release() {
    weakened(Weakness::NoRelease("index"), || every(|| index_beside(0)));
}

#[test]
#[should_panic(expected = "a version that is there is in a run")]
fn s7_edge_index_twin_without_acquire() {
    weakened(Weakness::NoAcquire("index"), || every(|| index_beside(0)));
}

#[test]
#[should_panic(expected = "a version that is there is in a run")]
fn s7_twin_that_asks_for_one_more() {
    every(|| index_beside(1));
}

/// What the watermark covers of a stream, however far its index is by now; a new stream has nothing that is covered.
#[test]
fn s7_the_watermark_says_how_many_are_committed() {
    every(|| {
        let streams = streams(&["a"]);
        streams.push(streams.get(0).unwrap(), place(0));
        let watermark = Watermark::after(place(0));
        let writer = thread::spawn({
            let streams = Arc::clone(&streams);
            move || {
                streams.push(streams.get(0).unwrap(), place(1));
                let new = streams.insert(HASH, "b").unwrap();
                streams.push(streams.get(new).unwrap(), place(2));
            }
        });
        let stream = streams.get(0).unwrap();
        assert_eq!(streams.committed(stream, watermark), 1);
        assert!(stream.last(watermark).is_none_or(|last| last == place(0)));
        if let Some(new) = streams.find(HASH, "b") {
            let stream = streams.get(new).unwrap();
            assert_eq!(stream.last(watermark), None, "it is not committed");
            assert_eq!(streams.committed(stream, watermark), 0);
        }
        writer.join().unwrap();
    });
}
