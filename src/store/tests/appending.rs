//! Appends: together, at once, again, refused.

use super::*;
use crate::sync::clock::Clock;
use std::time::Duration;

#[test]
fn ev2_of_64_racing_appends_one_succeeds() {
    let store = small();
    for round in 0..20 {
        // Once for a new stream, once for its head.
        for expected in [ExpectedVersion::NoStream, ExpectedVersion::Exact(0)] {
            let stream = format!("s{round}");
            let (own, name) = (store.clone(), stream.clone());
            let results = race(64, move |thread| {
                own.append(&name, expected, &Step { thread, number: 0 })
            });
            let head = if expected == ExpectedVersion::NoStream {
                0
            } else {
                1
            };
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
                        expected,
                        actual: StreamState::At(head),
                    })
                );
            }
        }
    }
}

#[test]
fn ev2_read_and_append_by_64_threads_loses_nothing() {
    let store = small();
    let own = store.clone();
    race(64, move |thread| {
        let mut reader = own.reader();
        for number in 0..1_000 {
            loop {
                let expected = match reader.latest("s") {
                    None => ExpectedVersion::NoStream,
                    Some(record) => ExpectedVersion::Exact(record.version()),
                };
                reader.release();
                match own.append("s", expected, &Step { thread, number }) {
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

/// Batches over three streams, larger than a segment at times, while readers look: none sees a part of one, by position,
/// by stream, or by the end.
#[test]
fn ev3_no_reader_sees_a_part_of_a_batch() {
    const BATCHES: u64 = 400;
    let store = small();
    let (writer, reading) = (store.clone(), store.clone());
    let append = move || {
        for batch in 0..BATCHES {
            let mut together = writer.batch();
            for number in 0..3 * (1 + batch % 15) {
                let stream = ["a", "b", "c"][number as usize % 3];
                together
                    .push(
                        stream,
                        &Step {
                            thread: batch,
                            number,
                        },
                    )
                    .unwrap();
            }
            together.commit().unwrap();
        }
    };
    let read = move || {
        let mut reader = reading.reader();
        loop {
            let mut seen = None;
            for record in reader.read(Query::all()).unwrap() {
                let record = record.unwrap();
                let step = record.view::<Step>().unwrap();
                let left = 3 * (1 + step.thread % 15) - 1 - step.number;
                assert_eq!(u64::from(record.batch_left()), left);
                seen = Some((step.thread, left));
            }
            assert!(seen.is_none_or(|(_, left)| left == 0), "a batch was cut");
            // Of the same batches, each stream has the same number; one asked for later may have more.
            let count = |stream: &str| match reading.stream_state(stream) {
                StreamState::At(version) => version + 1,
                _ => 0,
            };
            let (a, b, c) = (count("a"), count("b"), count("c"));
            assert!(a <= b && b <= c, "{a} {b} {c}");
            reader.release();
            if seen.is_some_and(|(batch, _)| batch == BATCHES - 1) {
                return;
            }
        }
    };
    let bodies: [Box<dyn Fn() + Send + Sync>; 2] = [Box::new(append), Box::new(read)];
    race(3, move |thread| bodies[usize::from(thread > 0)]());
}

#[test]
fn ev3_what_fails_for_one_stream_is_written_for_none() {
    let store = small();
    fill(&store, 0..3);
    let mut batch = store.batch();
    batch.push("new", &step(3)).unwrap();
    batch.push("s", &step(4)).unwrap();
    batch.expect("s", ExpectedVersion::Exact(7)).unwrap();
    assert!(batch.commit().unwrap_err().is_conflict());
    assert_eq!(store.stream_state("new"), StreamState::Missing);
    assert_eq!(
        (store.reader().end(), store.stream_state("s")),
        (3, StreamState::At(2))
    );
    // The same batch, once it can be.
    fill(&store, 3..8);
    let done = batch.commit().unwrap();
    assert_eq!((done.first_position, done.last_position), (8, 9));
    assert_eq!(store.stream_state("new"), StreamState::At(0));
}

#[test]
fn ev4_a_retry_answers_the_first_positions() {
    let store = small();
    let event = step(1);
    let draft = |id| Draft::new(&event).id(id_of(id));
    fill(&store, 0..5);
    let mut batch = store.batch();
    batch
        .push("a", draft(1))
        .unwrap()
        .push("b", draft(2))
        .unwrap();
    batch.expect("a", ExpectedVersion::NoStream).unwrap();
    batch.expect("b", ExpectedVersion::NoStream).unwrap();
    batch.expect("s", ExpectedVersion::Exact(4)).unwrap();
    let first = batch.commit().unwrap();
    assert!(!first.is_duplicate);
    fill(&store, 5..9);
    store.append("a", ExpectedVersion::Any, &event).unwrap();
    // Also though a stream that was only checked has gone on: that was so when the events were written.
    let again = batch.commit().unwrap();
    assert!(again.is_duplicate);
    assert_eq!(
        (again.first_position, again.last_position),
        (first.first_position, first.last_position)
    );
    assert_eq!(store.reader().end(), 12);
    // What is there for one stream only is no retry, and neither is what was never there.
    batch.push("c", draft(3)).unwrap();
    let conflict = batch.commit().unwrap_err();
    assert!(conflict.is_conflict(), "{conflict}");
    assert_eq!(store.reader().end(), 12);
}

#[test]
fn ev4_ids_are_looked_for_among_the_latest_256() {
    let store = small();
    let event = step(0);
    let append = || {
        store
            .append("s", ExpectedVersion::Any, Draft::new(&event).id(id_of(7)))
            .unwrap()
    };
    append();
    fill(&store, 1..256);
    assert!(append().is_duplicate);
    fill(&store, 256..257);
    assert!(!append().is_duplicate);
}

#[test]
fn ev4_the_same_id_with_something_else_is_refused() {
    let store = small();
    let (one, other) = (step(1), step(2));
    let put = |event, expected| store.append("s", expected, Draft::new(event).id(id_of(7)));
    put(&one, ExpectedVersion::NoStream).unwrap();
    for expected in [
        ExpectedVersion::NoStream,
        ExpectedVersion::Any,
        ExpectedVersion::StreamExists,
    ] {
        assert!(matches!(
            put(&other, expected),
            Err(AppendError::IdReused { version: 0, .. })
        ));
        let text = Text("x".to_owned());
        let of_other_type = store.append("s", expected, Draft::new(&text).id(id_of(7)));
        assert!(matches!(of_other_type, Err(AppendError::IdReused { .. })));
    }
    assert_eq!(store.reader().end(), 1);
}

#[test]
fn ev5_an_append_of_nothing_is_a_check() {
    let store = small();
    let check = |expected| store.append_all::<Step>("s", expected, &[]);
    let none = check(ExpectedVersion::NoStream).unwrap();
    assert_eq!((none.version, none.first_position), (None, 0));
    assert_eq!(store.log.streams.len(), 0, "a check makes no stream");
    fill(&store, 0..3);
    for expected in [
        ExpectedVersion::Any,
        ExpectedVersion::StreamExists,
        ExpectedVersion::Exact(2),
    ] {
        let checked = check(expected).unwrap();
        assert_eq!((checked.version, checked.first_position), (Some(2), 3));
        assert!(!checked.is_duplicate);
    }
    assert!(check(ExpectedVersion::Exact(1)).unwrap_err().is_conflict());
    assert_eq!(store.reader().end(), 3);
}

#[test]
fn ev6_a_deleted_stream_takes_no_more() {
    let store = small();
    fill(&store, 0..3);
    assert!(
        store
            .delete("none", ExpectedVersion::Any)
            .unwrap_err()
            .is_conflict()
    );
    assert!(
        store
            .delete("s", ExpectedVersion::Exact(1))
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(store.delete("s", ExpectedVersion::Exact(2)).unwrap(), 3);
    assert_eq!(store.stream_state("s"), StreamState::Deleted(2));
    for expected in [
        ExpectedVersion::Any,
        ExpectedVersion::NoStream,
        ExpectedVersion::StreamExists,
        ExpectedVersion::Exact(2),
    ] {
        let refused = store.append("s", expected, &step(9)).unwrap_err();
        assert_eq!(refused.conflict().unwrap().actual, StreamState::Deleted(2));
    }
    assert!(store.delete("s", ExpectedVersion::Any).is_err());
    assert!(store.truncate("s", 1).is_err());
    let reader = store.reader();
    assert!(reader.latest("s").is_none());
    assert!(matches!(
        reader.read(Query::stream("s")),
        Err(ReadError::Deleted { version: 2, .. })
    ));
    // The whole log has what it had, and the tombstone where it is asked for.
    assert_eq!(numbers(&reader, Query::all()), [0, 1, 2]);
    let marks: Vec<_> = reader
        .read(Query::all().with_marks())
        .unwrap()
        .map(|record| record.unwrap().is_mark())
        .collect();
    assert_eq!(marks, [false, false, false, true]);
}

#[test]
fn ev6_a_truncated_stream_keeps_its_versions() {
    let store = small();
    fill(&store, 0..5);
    assert!(matches!(
        store.truncate("s", 6),
        Err(AppendError::Invalid(_))
    ));
    store.truncate("s", 3).unwrap();
    store.truncate("s", 1).unwrap();
    let reader = store.reader();
    assert_eq!(numbers(&reader, Query::stream("s")), [3, 4]);
    assert_eq!(
        reader
            .read(Query::stream("s").from(1))
            .unwrap_err()
            .truncated(),
        Some(3)
    );
    store.truncate("s", 5).unwrap();
    assert!(numbers(&reader, Query::stream("s")).is_empty());
    assert!(reader.latest("s").is_none());
    assert_eq!(store.stream_state("s"), StreamState::At(4));
    let appended = store
        .append("s", ExpectedVersion::Exact(4), &step(5))
        .unwrap();
    assert_eq!(appended.version, Some(5));
    assert_eq!(numbers(&reader, Query::stream("s")), [5]);
    assert_eq!(numbers(&reader, Query::all()), [0, 1, 2, 3, 4, 5]);
}

/// Time stands still, jumps ahead and reaches its end; ids are given in the opposite order. Positions go on as ever.
#[test]
fn ev8_no_order_depends_on_a_clock_or_an_id() {
    let (clock, hand) = Clock::manual();
    let store = EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .clock(clock)
        .build()
        .unwrap();
    for number in 0..100_u64 {
        let event = step(number);
        let draft = Draft::new(&event).id(id_of(u128::from(1_000 - number)));
        store.append("s", ExpectedVersion::Any, draft).unwrap();
        if number % 10 == 3 {
            hand.advance(Duration::from_secs(number << 27));
        }
    }
    hand.advance(Duration::MAX);
    fill(&store, 100..110);
    let reader = store.reader();
    assert_eq!(numbers(&reader, Query::all()), (0..110).collect::<Vec<_>>());
    assert_eq!(
        numbers(&reader, Query::stream("s")),
        (0..110).collect::<Vec<_>>()
    );
    let times: Vec<_> = (0..110)
        .map(|position| reader.get(position).unwrap().unwrap().time())
        .collect();
    assert!(times.is_sorted() && times[0] == times[3] && times[3] < times[4]);
    let filter = RecordFilter::time(..=times[3]);
    assert_eq!(numbers(&reader, Query::all().filter(filter)), [0, 1, 2, 3]);
}

/// Stamps that run backward: foreign events carry their own.
#[test]
fn ev8_stamps_of_elsewhere_do_not_move_a_record() {
    let store = small();
    let mut batch = store.batch();
    for number in 0..10_u64 {
        let event = step(number);
        batch
            .push_foreign(&super::super::batch::Foreign {
                stream: "s",
                event_type: Step::NAME,
                type_version: Step::VERSION,
                encoding: crate::event::Encoding::Pod,
                id: id_of(u128::from(100 - number)),
                correlation: None,
                causation: None,
                stamp: Some(1_000_000 - number),
                class: crate::event::Class::Normal,
                key: None,
                metadata: None,
                payload: bytemuck::bytes_of(&event),
            })
            .unwrap();
    }
    batch.commit().unwrap();
    assert_eq!(
        numbers(&store.reader(), Query::all()),
        (0..10).collect::<Vec<_>>()
    );
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
        // Half way through a batch: what it has is what it had.
        let mut batch = store.batch();
        batch.push("b", &Text("fine".to_owned())).unwrap();
        assert!(batch.push("b", &Text(text.to_owned())).is_err());
        assert_eq!(batch.len(), 1);
        assert_eq!(store.reader().end(), 0);
        let events = ["fine", text].map(|text| Text(text.to_owned()));
        assert!(
            store
                .append_all("s", ExpectedVersion::Any, &events)
                .is_err()
        );
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
    let mut batch = store.batch();
    batch
        .push("s", &step(0))
        .unwrap()
        .push("s", &large)
        .unwrap();
    assert!(matches!(batch.commit(), Err(AppendError::TooLarge { .. })));
    assert_eq!((store.reader().end(), store.log.streams.len()), (0, 0));
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

#[test]
fn names_out_of_range_are_refused() {
    let store = small();
    for name in [String::new(), "x".repeat(1_025)] {
        let refused = store
            .append(&name, ExpectedVersion::Any, &step(0))
            .unwrap_err();
        assert!(
            refused.to_string().contains("is outside 1 to 1024"),
            "{refused}"
        );
    }
    let longest = "x".repeat(1_024);
    store
        .append(&longest, ExpectedVersion::NoStream, &step(0))
        .unwrap();
    assert_eq!(store.reader().latest(&longest).unwrap().stream(), longest);
}

/// A full log refuses whole appends, goes on once retention has freed something, and asks it by itself.
#[test]
fn a_full_log_writes_nothing_of_what_it_refuses() {
    let (clock, hand) = Clock::manual();
    let store = EventStore::builder()
        .segment_bytes(4_096)
        .capacity_bytes(2 * 4_096)
        .retention(Retention::default().age(Duration::from_secs(60)))
        .populate(false)
        .clock(clock)
        .build()
        .unwrap();
    let mut end = 0;
    let refused = loop {
        match store.append("s", ExpectedVersion::Any, &step(end)) {
            Ok(_) => end += 1,
            Err(refused) => break refused,
        }
    };
    assert!(refused.is_full(), "{refused}");
    let mut batch = store.batch();
    for number in 0..3 {
        batch.push("new", &step(number)).unwrap();
    }
    assert!(batch.commit().unwrap_err().is_full());
    assert_eq!(
        (store.reader().end(), store.stream_state("new")),
        (end, StreamState::Missing)
    );
    hand.advance(Duration::from_secs(61));
    assert_eq!(batch.commit().unwrap().first_position, end);
    assert!(store.reader().first() > 0, "what was too old has made room");
}
