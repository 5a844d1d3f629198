//! The log played again.

use super::*;
use ringbolt::store::{Query, RecordFilter};
use std::sync::Arc;

fn filled() -> EventStore {
    let store = small();
    for number in 0..100 {
        if number % 4 == 3 {
            note(&store, "four");
        } else {
            credit(&store, number % 3, number);
        }
    }
    store
}

fn played(store: &EventStore, query: Query) -> Vec<u64> {
    let seen = Mutex::new(Vec::new());
    let count = Replay::of(store, query.clone())
        .on::<Credited>(|_, _| ())
        .count()
        .unwrap();
    let report = Replay::of(store, query)
        .on::<Credited>(|event, at| {
            assert!(at.is_replay());
            seen.lock().unwrap().push(event.cents);
        })
        .run()
        .unwrap();
    assert_eq!(
        (report.matched, report.handled),
        (count.matched, count.handled)
    );
    assert!(!report.is_cancelled);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len() as u64, report.handled);
    seen
}

#[test]
fn pc5_a_replay_plays_what_the_query_asks_for() {
    let store = filled();
    let is_credit = |number: &u64| number % 4 != 3;
    let all: Vec<u64> = (0..100).filter(is_credit).collect();
    assert_eq!(played(&store, Query::all()), all);
    assert_eq!(
        played(&store, Query::all().from(10).before(20)),
        (10..20).filter(is_credit).collect::<Vec<_>>()
    );
    assert_eq!(
        played(&store, Query::all().backward().limit(5)),
        [98, 97, 96],
        "five records, two of which nobody wants"
    );
    let own: Vec<u64> = all
        .iter()
        .copied()
        .filter(|number| number % 3 == 1)
        .collect();
    assert_eq!(played(&store, Query::stream("account-1")), own);
    assert_eq!(
        played(&store, Query::stream("account-1").from(3).limit(2)),
        own[3..5]
    );
    assert_eq!(
        played(&store, Query::stream("account-1").backward()),
        own.iter().rev().copied().collect::<Vec<_>>()
    );
    let notes = Query::all().filter(RecordFilter::of::<Noted>());
    assert!(played(&store, notes).is_empty());
    let missing = Replay::of(&store, Query::stream("none"))
        .on::<Noted>(|_, _| ())
        .run();
    assert!(missing.unwrap_err().is_missing());
    let early = Replay::of(&store, Query::all().from(5).before(3)).count();
    assert!(early.unwrap_err().is_setting());
}

#[test]
fn pc5_a_long_replay_comes_in_pieces_that_fit_together() {
    let store = EventStore::builder()
        .segment_bytes(65_536)
        .populate(false)
        .build()
        .unwrap();
    let events: Vec<_> = (0..20_000)
        .map(|cents| Credited { account: 1, cents })
        .collect();
    store
        .append_all("one", ExpectedVersion::Any, &events)
        .unwrap();
    let all: Vec<u64> = (0..20_000).collect();
    assert_eq!(played(&store, Query::all()), all);
    assert_eq!(played(&store, Query::stream("one").from(7)), all[7..]);
    let back: Vec<u64> = all.iter().rev().copied().collect();
    assert_eq!(played(&store, Query::all().backward()), back);
    assert_eq!(
        played(&store, Query::stream("one").backward().limit(9_000)),
        back[..9_000]
    );
}

#[test]
fn pc5_effects_are_left_out_unless_asked_for() {
    let store = filled();
    let sent = Mutex::new(0);
    let replay = || {
        Replay::of(&store, Query::all().before(8))
            .on::<Noted>(|_, _| ())
            .on_effect::<Credited>(|_, at| {
                assert!(at.is_replay());
                *sent.lock().unwrap() += 1;
                Ok(())
            })
    };
    let count = replay().count().unwrap();
    assert_eq!(
        (count.matched, count.handled, count.effects_left_out),
        (8, 2, 6)
    );
    let report = replay().run().unwrap();
    assert_eq!((report.handled, report.effects_left_out), (2, 6));
    assert_eq!((*sent.lock().unwrap(), report.last), (0, Some(7)));
    let report = replay().effects(Effects::Run).run().unwrap();
    assert_eq!((report.handled, report.effects_left_out), (8, 0));
    assert_eq!(*sent.lock().unwrap(), 6);
}

#[test]
fn a_rate_is_kept() {
    let store = filled();
    let clock = ringbolt::Clock::real();
    let began = clock.raw();
    let report = Replay::of(&store, Query::all().limit(20))
        .on::<Credited>(|_, _| ())
        .on::<Noted>(|_, _| ())
        .events_per_second(1_000.0)
        .run()
        .unwrap();
    let took_ns = clock.delta_ns(began, clock.raw());
    // Nineteen gaps of a millisecond, of which the last may be saved up.
    assert!(report.handled == 20 && took_ns >= 18_000_000, "{took_ns}");
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let replay = Replay::of(&store, Query::all()).events_per_second(rate);
        assert!(replay.run().unwrap_err().is_setting(), "{rate}");
    }
}

#[test]
fn a_replay_that_waits_hears_that_it_is_cancelled() {
    let store = filled();
    let seen = Arc::new(Gate::default());
    seen.open();
    let handled = Arc::clone(&seen);
    let running = Replay::of(&store, Query::all())
        .on::<Credited>(move |_, _| handled.pass())
        .events_per_second(1e-6)
        .start()
        .unwrap();
    seen.wait_for_arrivals(1);
    let control = running.control();
    while control.progress().handled < 1 {
        std::thread::yield_now();
    }
    assert_eq!(control.progress().left, 100);
    control.cancel();
    let report = running.wait().unwrap();
    assert!(report.is_cancelled && report.handled == 1, "{report:?}");
    // A handler can do the same.
    let replay = Replay::of(&store, Query::all());
    let control = replay.control();
    let report = replay
        .on::<Credited>(move |event, _| {
            if event.cents == 10 {
                control.cancel();
            }
        })
        .run()
        .unwrap();
    assert_eq!((report.is_cancelled, report.last), (true, Some(10)));
    // Dropped, it ends.
    let replay = Replay::of(&store, Query::all()).on::<Credited>(|_, _| ());
    drop(replay.events_per_second(1e-6).start().unwrap());
}

#[test]
fn handlers_that_refuse_end_a_replay_or_are_noted() {
    let store = filled();
    let replay = || {
        Replay::of(&store, Query::all()).on_checked::<Credited>(|event, at| match event.cents {
            13 => Err("thirteen".into()),
            14 if at.attempt() < 3 => panic!("worse"),
            _ => Ok(()),
        })
    };
    let error = replay().run().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("record 13 was refused: thirteen"),
        "{error}"
    );
    let policy = ErrorPolicy::retry(3, Duration::from_millis(1)).then_skip();
    let report = replay().on_error(policy).run().unwrap();
    assert_eq!((report.handled, report.skipped_count), (74, 1));
    assert_eq!(
        (report.skipped[0].position, report.skipped[0].attempts),
        (13, 3)
    );
}
