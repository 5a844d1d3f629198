//! Reads: in every way, in place, beside appends and retention.

use super::*;

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
    let all = |query| numbers(&reader, query);
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
fn what_cannot_be_read_is_told() {
    let store = small();
    fill(&store, 0..3);
    let reader = store.reader();
    let refused = |query| reader.read(query).map(|_| ()).unwrap_err();
    assert!(matches!(
        refused(Query::stream("none")),
        ReadError::NoStream { .. }
    ));
    assert!(matches!(
        refused(Query::all().from(3).before(2)),
        ReadError::Invalid(_)
    ));
    assert!(matches!(
        refused(Query::stream("s").from(3).before(2)),
        ReadError::Invalid(_)
    ));
    assert!(numbers(&reader, Query::all().from(u64::MAX)).is_empty());
    assert!(numbers(&reader, Query::all().after(u64::MAX)).is_empty());
    assert!(numbers(&reader, Query::stream("s").from(9)).is_empty());
    assert!(numbers(&reader, Query::all().before(0)).is_empty());
    let record = reader.get(1).unwrap().unwrap();
    assert!(matches!(
        record.decode::<Text>(),
        Err(ReadError::OtherType { position: 1, .. })
    ));
    assert!(record.view::<Text>().is_none());
}

/// A filter that panics takes its reader along, and nothing else: its pins come back.
#[test]
fn a_filter_that_panics_keeps_nothing_pinned() {
    let store = sized(4_096, Retention::default().events(1));
    fill(&store, 0..10);
    let own = store.clone();
    let read = thread::start("reader".to_owned(), move || {
        let reader = own.reader();
        let panics = RecordFilter::new(|record| panic!("at {}", record.position()));
        reader.read(Query::all().filter(panics)).unwrap().count();
    });
    assert!(read.unwrap().join().is_err());
    fill(&store, 10..200);
    assert_eq!(store.log.held().1, 0);
}

#[test]
fn sd1_a_start_below_what_is_kept_is_told() {
    let store = sized(4_096, Retention::default().events(50));
    fill(&store, 0..1_000);
    let reader = store.reader();
    let first = reader.first();
    assert!(first > 850 && 1_000 - first >= 50, "{first}");
    for query in [
        Query::all().from(first - 1),
        Query::stream("s").from(first - 1),
        Query::all().from(0).backward(),
    ] {
        assert_eq!(reader.read(query).unwrap_err().truncated(), Some(first));
    }
    assert_eq!(reader.get(first - 1).unwrap_err().truncated(), Some(first));
    let kept: Vec<_> = (first..1_000).collect();
    assert_eq!(numbers(&reader, Query::all()), kept);
    assert_eq!(numbers(&reader, Query::all().from(first)), kept);
    assert_eq!(numbers(&reader, Query::stream("s")), kept);
    assert_eq!(store.stream_state("s"), StreamState::At(999));
}

/// Whoever is overtaken on the way is told too, behind the last record that it could still see, and not just at an end.
#[test]
fn sd1_a_walk_that_is_overtaken_is_told() {
    for query in [
        Query::all(),
        Query::stream("s"),
        Query::all().backward(),
        Query::stream("s").backward(),
    ] {
        let store = sized(4_096, Retention::default().events(1));
        fill(&store, 0..30);
        let pin = store.pin(0).unwrap();
        fill(&store, 30..300);
        let reader = store.reader();
        let mut records = reader.read(query.clone()).unwrap();
        let first = records.next().unwrap().unwrap().position();
        drop(pin);
        fill(&store, 300..1_000);
        let mut seen = 1;
        let told = loop {
            match records.next().expect("it is not at its end") {
                Ok(record) => {
                    assert_eq!(record.position().abs_diff(first), seen, "{query:?}");
                    seen += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(
            seen < 300 && told.truncated() >= Some(960),
            "{query:?}: {told}"
        );
        assert!(records.next().is_none(), "it is told once");
    }
}

/// A record that is borrowed stays as it is while all around it is freed, and its bytes are told of as held.
#[test]
fn sd1_a_borrowed_record_delays_freeing() {
    let store = sized(4_096, Retention::default().events(1));
    fill(&store, 0..5);
    let mut reader = store.reader();
    let record = reader.get(2).unwrap().unwrap();
    assert_eq!(store.log.held().1, 0);
    fill(&store, 5..500);
    assert_eq!(store.log.held().1, 4_096);
    assert_eq!(record.view::<Step>(), Some(&step(2)));
    // Who comes now is told; who has looked before may look on.
    assert!(store.reader().get(2).unwrap_err().truncated().is_some());
    assert!(reader.get(2).is_err() || reader.get(2).unwrap().is_some());
    reader.release();
    assert_eq!(store.log.held().1, 0);
    assert!(reader.get(2).unwrap_err().truncated().is_some());
}

/// Who waits for a record keeps none from being freed.
#[test]
fn sd1_a_waiting_thread_holds_nothing() {
    let store = sized(4_096, Retention::default().events(1));
    fill(&store, 0..5);
    let own = store.clone();
    let waiter = thread::start("waiter".to_owned(), move || {
        assert!(own.wait(2_000, std::time::Duration::from_secs(60)));
    });
    fill(&store, 5..1_999);
    assert!(store.log.held().1 <= 4_096, "one look at a time");
    fill(&store, 1_999..2_001);
    waiter.unwrap().join().unwrap();
    assert_eq!(store.log.held().1, 0);
    assert!(!store.wait(2_001, std::time::Duration::ZERO));
}

#[test]
fn sd1_a_pin_keeps_what_it_asks_for() {
    let store = sized(4_096, Retention::default().events(1));
    fill(&store, 0..200);
    let first = store.reader().first();
    assert_eq!(store.pin(first - 1).unwrap_err().truncated(), Some(first));
    let pin = store.pin(first + 1).unwrap();
    fill(&store, 200..1_000);
    assert_eq!(store.reader().first(), first);
    pin.advance(600);
    assert!(store.retain() > 0);
    assert!((565..=600).contains(&store.reader().first()));
    drop(pin);
    store.retain();
    assert!(store.reader().first() > 960);
}

/// Retention frees whole batches: what is kept begins with the first record of one.
#[test]
fn sd1_a_batch_is_never_cut() {
    let store = sized(4_096, Retention::default().events(1));
    let reader = store.reader();
    for batch in 0..200_u64 {
        // Up to four segments' worth.
        let events: Vec<_> = (0..1 + batch * 7 % 130)
            .map(|number| Step {
                thread: batch,
                number,
            })
            .collect();
        store
            .append_all("s", ExpectedVersion::Any, &events)
            .unwrap();
        let own = store.reader();
        let record = own.get(own.first()).unwrap().unwrap();
        assert_eq!(
            record.view::<Step>().unwrap().number,
            0,
            "batch {batch} was cut"
        );
    }
    assert!(reader.first() > 0);
}

/// Though a batch goes over the end of every segment.
#[test]
fn sd1_batches_over_every_end_do_not_stop_retention() {
    let store = sized(4_096, Retention::default().events(1));
    for batch in 0..200_u64 {
        let events = [step(batch); 33];
        store
            .append_all("s", ExpectedVersion::Any, &events)
            .unwrap();
        let reader = store.reader();
        let (first, end) = (reader.first(), reader.end());
        assert!(
            first.is_multiple_of(33) && first < end && end - first <= 4 * 33,
            "{first} to {end}"
        );
        let kept = end - first;
        for query in [Query::all(), Query::stream("s")] {
            assert_eq!(numbers(&reader, query).len() as u64, kept);
        }
        if first > 0 {
            assert_eq!(reader.get(first - 1).unwrap_err().truncated(), Some(first));
        }
    }
}

/// Records lie in the segment itself, at multiples of 16 bytes, and every look finds the same place.
#[test]
fn sd5_a_read_copies_nothing() {
    let store = small();
    fill(&store, 0..50);
    let (one, two) = (store.reader(), store.reader());
    for position in 0..50 {
        let record = one.get(position).unwrap().unwrap();
        let view: *const Step = record.view::<Step>().unwrap();
        assert!(view.cast::<u8>() == record.payload().as_ptr() && view.cast::<u128>().is_aligned());
        let other = two.get(position).unwrap().unwrap();
        assert!(std::ptr::eq(view, other.view::<Step>().unwrap()));
        let inside = (0..2).any(|segment| {
            let segment = store.log.segments.get(segment).unwrap();
            let bytes = segment.read(0, 4_096).as_ptr_range();
            bytes.contains(&view.cast()) && bytes.contains(&view.cast::<u8>().wrapping_add(15))
        });
        assert!(inside, "record {position} lies elsewhere");
    }
}

/// All that readers do goes on while an appender stands still with the lock.
#[test]
fn sd5_readers_take_no_lock_that_an_append_waits_for() {
    let store = small();
    fill(&store, 0..100);
    let locked = store.log.lock();
    let own = store.clone();
    let appender = thread::start("appender".to_owned(), {
        let store = store.clone();
        move || fill(&store, 100..101)
    });
    let read = move || {
        let mut reader = own.reader();
        assert_eq!((reader.first(), reader.end()), (0, 100));
        assert_eq!(numbers(&reader, Query::all()).len(), 100);
        assert_eq!(numbers(&reader, Query::all().backward()).len(), 100);
        assert_eq!(numbers(&reader, Query::stream("s")).len(), 100);
        assert_eq!(reader.latest("s").unwrap().version(), 99);
        assert_eq!(reader.get(50).unwrap().unwrap().stream(), "s");
        assert_eq!(own.stream_state("s"), StreamState::At(99));
        assert!(own.wait(99, std::time::Duration::from_secs(60)));
        reader.release();
    };
    thread::start("reader".to_owned(), read)
        .unwrap()
        .join()
        .unwrap();
    drop(locked);
    appender.unwrap().join().unwrap();
    assert_eq!(store.reader().end(), 101);
}
