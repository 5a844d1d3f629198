//! The store against what it promises.

mod appending;
mod oracle;
mod outcomes;
mod reading;
mod tailing;

use super::*;
use crate::event::{AsKey, Codec, Key};
use crate::sync::thread;
use std::sync::mpsc;

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Step {
    thread: u64,
    number: u64,
}

impl Event for Step {
    const NAME: &'static str = "store.step";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

#[derive(Debug, PartialEq)]
struct Text(String);

impl Event for Text {
    const NAME: &'static str = "store.text";
    fn key(&self) -> Key<'_> {
        self.0.as_key()
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |text| match text.0.as_str() {
                "fails" => Err("this one fails".to_owned()),
                "panics" => panic!("no such text"),
                text => Ok(text.to_owned()),
            },
            |text| Ok(Self(text.to_owned())),
        ))
    }
}

/// A store whose segments hold some thirty events.
fn small() -> EventStore {
    sized(4_096, Retention::everything())
}

fn sized(segment_bytes: usize, retention: Retention) -> EventStore {
    EventStore::builder()
        .segment_bytes(segment_bytes)
        .retention(retention)
        .populate(false)
        .build()
        .unwrap()
}

fn step(number: u64) -> Step {
    Step { thread: 0, number }
}

fn id_of(number: u128) -> EventId {
    EventId::from_u128(number + 1).unwrap()
}

/// Appends steps of these numbers to `s`, one by one.
fn fill(store: &EventStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        store
            .append("s", ExpectedVersion::Any, &step(number))
            .unwrap();
    }
}

/// The numbers of the steps that a query finds.
fn numbers(reader: &Reader, query: Query) -> Vec<u64> {
    reader
        .read(query)
        .unwrap()
        .map(|record| record.unwrap().view::<Step>().unwrap().number)
        .collect()
}

/// Runs the body in so many threads at once.
fn race<T: Send + 'static>(
    threads: u64,
    body: impl Fn(u64) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let body = Arc::new(body);
    let (sender, results) = mpsc::channel();
    let started: Vec<_> = (0..threads)
        .map(|number| {
            let (body, sender) = (Arc::clone(&body), sender.clone());
            let run = move || sender.send(body(number)).unwrap();
            thread::start(format!("racer-{number}"), run).unwrap()
        })
        .collect();
    for thread in started {
        thread.join().unwrap();
    }
    drop(sender);
    results.iter().collect()
}
