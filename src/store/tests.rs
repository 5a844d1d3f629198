//! The store against what it promises.

use super::*;
use crate::event::{AsKey, Codec, Key};

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

fn small() -> EventStore {
    EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .build()
        .unwrap()
}

fn step(number: u64) -> Step {
    Step { thread: 0, number }
}

#[test]
fn what_was_appended_is_read_in_every_way() {
    let store = small();
    for number in 0..200 {
        let stream = format!("s{}", number % 3);
        let appended = store
            .append(&stream, ExpectedVersion::Any, &step(number))
            .unwrap();
        assert_eq!(appended.first_position, number);
        assert_eq!(appended.version, Some(number / 3));
    }
    let reader = store.reader();
    let all = |query| -> Vec<u64> {
        let records = reader.read(query).unwrap();
        records
            .map(|record| record.unwrap().view::<Step>().unwrap().number)
            .collect()
    };
    assert_eq!(all(Query::all()), (0..200).collect::<Vec<_>>());
    assert_eq!(
        all(Query::all().backward()),
        (0..200).rev().collect::<Vec<_>>()
    );
    assert_eq!(all(Query::all().from(50).before(53)), [50, 51, 52]);
    assert_eq!(all(Query::all().from(50).backward().limit(1)), [199]);
    assert_eq!(
        all(Query::stream("s1")),
        (0..67).map(|n| n * 3 + 1).collect::<Vec<_>>()
    );
    assert_eq!(all(Query::stream("s1").from(2).limit(2)), [7, 10]);
    assert_eq!(all(Query::stream("s1").backward().limit(2)), [199, 196]);
    assert_eq!(reader.latest("s0").unwrap().version(), 66);
    for position in 0..200 {
        let record = reader.get(position).unwrap().unwrap();
        assert_eq!(
            (record.position(), record.view::<Step>().unwrap().number),
            (position, position)
        );
    }
    assert!(reader.get(200).unwrap().is_none());
    assert!(reader.latest("none").is_none());
}

#[test]
fn a_codec_that_fails_or_panics_leaves_nothing() {
    let store = small();
    for (text, expected) in [
        ("fails", "this one fails"),
        ("panics", "the codec panicked while encoding: no such text"),
    ] {
        let refused = store.append("s", ExpectedVersion::Any, &Text(text.to_owned()));
        assert!(refused.unwrap_err().to_string().ends_with(expected));
        let mut batch = store.batch();
        batch.push("s", &Text("fine".to_owned())).unwrap();
        assert!(batch.push("s", &Text(text.to_owned())).is_err());
        assert_eq!(batch.len(), 1);
    }
    assert_eq!(store.reader().end(), 0);
    assert_eq!(store.stream_state("s"), StreamState::Missing);
    store
        .append("s", ExpectedVersion::NoStream, &Text("fine".to_owned()))
        .unwrap();
    assert_eq!(store.reader().latest("s").unwrap().payload(), b"fine");
}

#[test]
fn an_oversized_event_is_refused_and_leaves_nothing() {
    let store = small();
    let large = Text("x".repeat(5_000));
    let refused = store.append("s", ExpectedVersion::Any, &large).unwrap_err();
    assert!(
        matches!(
            refused,
            AppendError::TooLarge {
                bytes_max: 4_092,
                ..
            }
        ),
        "{refused}"
    );
    let fits = Text("x".repeat(3_900));
    store.append("s", ExpectedVersion::NoStream, &fits).unwrap();
    assert_eq!(
        store
            .reader()
            .latest("s")
            .unwrap()
            .decode::<Text>()
            .unwrap(),
        fits
    );
}

fn race<T: Send>(threads: u64, body: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let body = &body;
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || body(thread)))
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn ev2_of_64_racing_appends_one_succeeds() {
    let store = small();
    for round in 0..20 {
        let stream = format!("s{round}");
        let results = race(64, |thread| {
            store.append(
                &stream,
                ExpectedVersion::NoStream,
                &Step { thread, number: 0 },
            )
        });
        let conflicts: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .collect();
        assert_eq!(conflicts.len(), 63);
        for conflict in conflicts {
            assert_eq!(
                conflict.conflict(),
                Some(&Conflict {
                    stream: stream.clone(),
                    expected: ExpectedVersion::NoStream,
                    actual: StreamState::At(0),
                })
            );
        }
    }
}

#[test]
fn ev2_read_and_append_by_64_threads_loses_nothing() {
    let store = small();
    race(64, |thread| {
        let mut reader = store.reader();
        for number in 0..1_000 {
            loop {
                let expected = match reader.latest("s") {
                    None => ExpectedVersion::NoStream,
                    Some(record) => ExpectedVersion::Exact(record.version()),
                };
                reader.release();
                match store.append("s", expected, &Step { thread, number }) {
                    Ok(_) => break,
                    Err(error) => assert!(error.is_conflict()),
                }
            }
        }
    });
    assert_eq!(store.stream_state("s"), StreamState::At(63_999));
    let mut next = [0; 64];
    let reader = store.reader();
    for (version, record) in reader.read(Query::stream("s")).unwrap().enumerate() {
        let record = record.unwrap();
        assert_eq!(record.version(), version as u64);
        let step = record.view::<Step>().unwrap();
        assert_eq!(step.number, next[step.thread as usize]);
        next[step.thread as usize] += 1;
    }
    assert_eq!(next, [1_000; 64]);
}
