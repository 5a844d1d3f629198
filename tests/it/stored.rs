//! Chapter eight: events that are kept, and workers that follow the log.

use crate::common::{LONG, Log};
use ringbolt::metrics::WorkerState;
use ringbolt::store::{AppendError, Draft, EventStore, ExpectedVersion, Retention, Start};
use ringbolt::{
    AsKey, Class, Codec, DeadLetterPolicy, Event, EventId, EventSystem, Failure, Filter, Follow,
    Key, Metadata, Outcome, Page, Polled, Pool, Reason, RetryPolicy, WhenBehind,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

/// A stored event: its key, and a number in its text form.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    key: u64,
    number: u64,
}

impl Event for Kept {
    const NAME: &'static str = "test.kept";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |event| Ok(format!("{} {}", event.key, event.number)),
            |text| {
                let (key, number) = text.split_once(' ').ok_or("no gap")?;
                let read = |text: &str| text.parse().map_err(|error| format!("{error}"));
                match read(number)? {
                    u64::MAX => Err("a cursed number".to_owned()),
                    number => Ok(Self {
                        key: read(key)?,
                        number,
                    }),
                }
            },
        ))
    }
}

fn kept(key: u64, number: u64) -> Kept {
    Kept { key, number }
}

fn small() -> EventStore {
    EventStore::builder()
        .segment_bytes(8_192)
        .populate(false)
        .build()
        .unwrap()
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "it does not come about");
        std::thread::yield_now();
    }
}

#[test]
fn ev9_handlers_see_the_log_in_version_order_whoever_appends() {
    let store = small();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen: Log<(u64, u64, u64)> = Log::default();
    let noted = seen.clone();
    system
        .subscribe(move |event: &Kept, context| {
            noted.add((
                event.key,
                context.version().unwrap(),
                context.position().unwrap(),
            ));
        })
        .unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..5_000 {
                    let key = number % 7;
                    let event = kept(key, thread * 5_000 + number);
                    store
                        .append(&format!("s{key}"), ExpectedVersion::Any, &event)
                        .unwrap();
                }
            });
        }
    });
    let report = system.shutdown(LONG).unwrap();
    assert!(report.in_time, "{report:?}");
    assert_eq!(
        (report.completed, report.followed_to),
        (10_000, Some(10_000))
    );
    let mut next: HashMap<u64, (u64, u64)> = HashMap::new();
    for (key, version, position) in seen.all() {
        let (expected, last) = next.entry(key).or_default();
        assert_eq!(version, *expected, "of key {key}");
        assert!(*expected == 0 || position > *last);
        *expected += 1;
        *last = position;
    }
    assert_eq!(next.values().map(|(count, _)| count).sum::<u64>(), 10_000);
}

#[test]
fn ev9_a_stored_event_fails_like_any_other_and_keeps_its_place() {
    let store = small();
    let system = EventSystem::builder()
        .pool(Pool::new("hand").polled())
        .dead_letters(DeadLetterPolicy::new())
        .build()
        .unwrap();
    let seen: Log<(u64, u64, u32, Option<u64>)> = Log::default();
    let noted = seen.clone();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(RetryPolicy::none().max_attempts(3).base(Duration::ZERO))
        .handler(move |event: &Kept, context| {
            noted.add((
                event.key,
                event.number,
                context.attempt(),
                context.position(),
            ));
            match event.number {
                1 if context.attempt() < 3 => Outcome::Failed(Failure::new("not yet")),
                2 => Outcome::Failed(Failure::new("never")),
                _ => Outcome::Handled,
            }
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    let mut ids = Vec::new();
    for number in [1, 2, 3, u64::MAX, 4] {
        store
            .append("s", ExpectedVersion::Any, &kept(1, number))
            .unwrap();
        ids.push(store.reader().latest("s").unwrap().id());
    }
    wait_until(|| {
        poller.poll(8);
        subscription.counts().ended() == 5
    });
    let calls: Vec<_> = seen
        .all()
        .into_iter()
        .map(|(_, number, attempt, at)| (number, attempt, at))
        .collect();
    let at = |number, attempt, position| (number, attempt, Some(position));
    let expected = [
        at(1, 1, 0),
        at(1, 2, 0),
        at(1, 3, 0),
        at(2, 1, 1),
        at(2, 2, 1),
        at(2, 3, 1),
        at(3, 1, 2),
        at(4, 1, 4),
    ];
    assert_eq!(calls, expected);
    let counts = subscription.counts();
    assert_eq!((counts.handled, counts.dead_lettered), (3, 2));
    let letters = system
        .dead_letters()
        .unwrap()
        .list(&Filter::new(), Page::new());
    let mut told: Vec<_> = letters
        .letters
        .iter()
        .map(|letter| (letter.reason, letter.event_id))
        .collect();
    told.sort_by_key(|(_, id)| *id);
    let mut wanted = vec![(Reason::Exhausted, ids[1]), (Reason::Decode, ids[3])];
    wanted.sort_by_key(|(_, id)| *id);
    assert_eq!(told, wanted);
}

#[test]
fn ev9_an_engine_goes_on_where_another_has_stopped() {
    let store = small();
    for number in 0..100 {
        store
            .append("s", ExpectedVersion::Any, &kept(number % 5, number))
            .unwrap();
    }
    let seen: Log<u64> = Log::default();
    let mut start = Start::Start;
    let mut last = 0;
    for life in 0..3 {
        let system = EventSystem::builder().workers(2).build().unwrap();
        let noted = seen.clone();
        system
            .subscribe(move |event: &Kept, _| noted.add(event.number))
            .unwrap();
        system.follow(&Follow::new(&store).start(start)).unwrap();
        for number in 0..100 {
            let number = 100 + life * 100 + number;
            store
                .append("s", ExpectedVersion::Any, &kept(number % 5, number))
                .unwrap();
        }
        let report = system.shutdown(LONG).unwrap();
        last = report.followed_to.unwrap();
        start = Start::After(last - 1);
        // The engine is gone, and the store is not.
        assert_eq!(report.abandoned, 0);
    }
    assert_eq!(last, 400);
    let mut seen = seen.all();
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    store
        .append("s", ExpectedVersion::Any, &kept(1, 1))
        .unwrap();
}

#[test]
fn ev9_an_append_returned_is_handled_or_reported_whatever_the_stop() {
    for round in 0..20 {
        let store = small();
        let system = EventSystem::builder().workers(2).build().unwrap();
        let handled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&handled);
        system
            .subscribe(move |_: &Kept, _| {
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        system.follow(&Follow::new(&store)).unwrap();
        let start = Barrier::new(3);
        let (admitted, report) = std::thread::scope(|scope| {
            let appenders: Vec<_> = (0..2)
                .map(|thread| {
                    let (store, start) = (&store, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut admitted = 0;
                        for number in 0..3_000 {
                            match store.append("s", ExpectedVersion::Any, &kept(thread, number)) {
                                Ok(_) => admitted += 1,
                                Err(AppendError::Closed) => break,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        admitted
                    })
                })
                .collect();
            start.wait();
            wait_until(|| store.reader().end() > round * 100);
            let limit = if round % 2 == 0 { LONG } else { Duration::ZERO };
            let report = system.shutdown(limit).unwrap();
            let admitted: u64 = appenders
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            (admitted, report)
        });
        // Those that came after the engine's end are in the log, behind what the report says.
        let after = store.reader().end() - admitted.min(store.reader().end());
        assert_eq!(after, 0);
        let told = report.completed + report.abandoned;
        assert_eq!(report.completed, handled.load(Ordering::Relaxed));
        assert!(told <= admitted, "{told} of {admitted}");
        if round % 2 == 0 {
            assert_eq!(report.abandoned, 0);
            let at = report.followed_to.unwrap();
            assert!(at <= admitted && at == report.completed, "{at} {report:?}");
        }
    }
}

#[test]
fn ev9_an_appender_that_is_too_far_ahead_waits_or_is_refused() {
    for when_behind in [WhenBehind::Refuse, WhenBehind::Wait] {
        let store = small();
        let system = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .build()
            .unwrap();
        system.subscribe(|_: &Kept, _| {}).unwrap();
        let mut poller = system.poller("default").unwrap();
        system
            .follow(&Follow::new(&store).lag_max(10).when_behind(when_behind))
            .unwrap();
        for number in 0..10 {
            store
                .append("s", ExpectedVersion::Any, &kept(1, number))
                .unwrap();
        }
        if when_behind == WhenBehind::Refuse {
            let refused = store
                .append("s", ExpectedVersion::Any, &kept(1, 10))
                .unwrap_err();
            assert!(refused.is_full(), "{refused}");
            assert_eq!(store.reader().end(), 10);
            wait_until(|| poller.poll(8) == Polled::Events(0));
            store
                .append("s", ExpectedVersion::Any, &kept(1, 10))
                .unwrap();
        } else {
            let is_back = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    store
                        .append("s", ExpectedVersion::Any, &kept(1, 10))
                        .unwrap();
                    is_back.store(true, Ordering::Release);
                });
                for _ in 0..1_000 {
                    assert!(!is_back.load(Ordering::Acquire), "it does not wait");
                    std::thread::yield_now();
                }
                wait_until(|| {
                    poller.poll(8);
                    is_back.load(Ordering::Acquire)
                });
            });
        }
    }
}

#[test]
fn ev9_a_handler_may_append_to_the_log_it_follows() {
    let store = small();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let (to, total) = (store.clone(), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&total);
    system
        .subscribe(move |event: &Kept, _| {
            *counted.lock().unwrap() += 1;
            if event.number > 0 {
                let next = kept(event.key + 1, event.number - 1);
                to.append("s", ExpectedVersion::Any, &next).unwrap();
            }
        })
        .unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    for key in 0..20 {
        store
            .append("s", ExpectedVersion::Any, &kept(key, 9))
            .unwrap();
    }
    // What handlers append while the engine drains is handled too.
    let report = system.shutdown(LONG).unwrap();
    assert_eq!((report.completed, report.in_time), (200, true));
    assert_eq!(*total.lock().unwrap(), 200);
}

#[test]
fn ev9_a_worker_that_sleeps_behind_others_events_holds_nobody_up() {
    for when_behind in [WhenBehind::Wait, WhenBehind::Refuse] {
        let store = small();
        let system = EventSystem::builder().workers(2).build().unwrap();
        let seen: Log<(u64, u16)> = Log::default();
        let noted = seen.clone();
        system
            .subscribe(move |event: &Kept, context| noted.add((event.key, context.worker().index)))
            .unwrap();
        let follow = Follow::new(&store).lag_max(8).when_behind(when_behind);
        system.follow(&follow).unwrap();
        let mut count = 0;
        let mut append = |key| {
            // Whoever is refused comes again.
            wait_until(
                || match store.append("s", ExpectedVersion::Any, &kept(key, 0)) {
                    Ok(_) => true,
                    Err(error) => {
                        assert!(error.is_full(), "{error}");
                        false
                    }
                },
            );
            count += 1;
            wait_until(|| seen.all().len() == count);
            seen.all()[count - 1].1
        };
        let first = append(0);
        let other = (1..100).find(|&key| append(key) != first).unwrap();
        for _ in 0..20 {
            wait_until(|| {
                let mut workers = system.report().workers.into_iter();
                workers.all(|worker| worker.state == WorkerState::Parked)
            });
            assert_eq!(append(0), first);
        }
        assert_ne!(append(other), first);
        assert_eq!(
            system.shutdown(LONG).unwrap().followed_to,
            store.reader().end().into()
        );
    }
}

#[test]
fn ev9_an_event_that_cannot_be_read_fails_in_its_turn() {
    let store = small();
    let told: Log<String> = Log::default();
    let (called, failed) = (told.clone(), told.clone());
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .on_error(move |error| failed.add(format!("{:?}", error.category)))
        .build()
        .unwrap();
    system
        .subscribe(move |event: &Kept, _| called.add(format!("{}", event.number)))
        .unwrap();
    let mut poller = system.poller("default").unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    for number in [1, u64::MAX, 2, u64::MAX, u64::MAX] {
        store
            .append("s", ExpectedVersion::Any, &kept(1, number))
            .unwrap();
    }
    while poller.poll(8) != Polled::Events(0) {}
    assert_eq!(told.all(), ["1", "Decode", "2", "Decode", "Decode"]);
}

#[test]
fn ev9_retention_waits_for_the_workers_and_sleepers_do_not_stop_it() {
    let store = EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .retention(Retention::default().events(10))
        .build()
        .unwrap();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&handled);
    system
        .subscribe(move |_: &Kept, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    for number in 0..2_000 {
        // All of one key: the other worker has nothing to do but to walk past.
        store
            .append("s", ExpectedVersion::Any, &kept(1, number))
            .unwrap();
    }
    wait_until(|| handled.load(Ordering::Relaxed) == 2_000);
    wait_until(|| {
        store
            .append("s", ExpectedVersion::Any, &kept(1, 0))
            .unwrap();
        store.reader().first() > 1_900
    });
    assert!(system.shutdown(LONG).unwrap().in_time);
}

#[test]
fn ev9_a_store_outlives_an_engine_whose_handler_was_stuck() {
    let store = small();
    let system = EventSystem::builder().workers(1).build().unwrap();
    let (entered, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (inside, leaving) = (Arc::clone(&entered), Arc::clone(&gate));
    system
        .subscribe(move |_: &Kept, _| {
            inside.wait();
            leaving.wait();
        })
        .unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    store
        .append("s", ExpectedVersion::Any, &kept(1, 1))
        .unwrap();
    entered.wait();
    let report = system.shutdown(Duration::ZERO).unwrap();
    assert_eq!(report.stuck_workers.len(), 1);
    // Its worker may take from the log until it is back.
    let refused = store
        .append("s", ExpectedVersion::Any, &kept(1, 2))
        .unwrap_err();
    assert_eq!(refused, AppendError::Closed);
    gate.wait();
    drop(system);
    store
        .append("s", ExpectedVersion::Any, &kept(1, 3))
        .unwrap();
}

#[test]
fn ev9_what_cannot_be_read_is_abandoned_like_the_rest() {
    let store = small();
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let subscription = system.subscribe(|_: &Kept, _| {}).unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    for number in [1, u64::MAX, 2] {
        store
            .append("s", ExpectedVersion::Any, &kept(1, number))
            .unwrap();
    }
    let report = system.shutdown(Duration::ZERO).unwrap();
    assert_eq!((report.abandoned, report.abandoned_events), (3, 3));
    assert_eq!(report.followed_to, Some(0));
    assert_eq!(subscription.counts().admitted, 3);
}

#[test]
fn a_stored_event_tells_what_it_was_appended_with() {
    let store = small();
    let system = EventSystem::builder().workers(1).build().unwrap();
    let told: Log<(Class, Option<String>, EventId, Option<EventId>)> = Log::default();
    let noted = told.clone();
    system
        .subscribe(move |_: &Kept, context| {
            let tenant = context.metadata().and_then(|all| all.get("tenant"));
            let ids = (context.correlation_id(), context.causation_id());
            noted.add((context.class(), tenant.map(str::to_owned), ids.0, ids.1));
        })
        .unwrap();
    system.follow(&Follow::new(&store)).unwrap();
    let [story, cause] = [5, 6].map(|id| EventId::from_u128(id).unwrap());
    let event = kept(1, 1);
    let draft = Draft::new(&event)
        .class(Class::High)
        .metadata(&Metadata::new().with("tenant", "7"))
        .correlation(story)
        .causation(cause);
    store.append("s", ExpectedVersion::Any, draft).unwrap();
    store
        .append("s", ExpectedVersion::Any, &kept(1, 2))
        .unwrap();
    assert_eq!(system.shutdown(LONG).unwrap().completed, 2);
    let own = store.reader().latest("s").unwrap().id();
    let first = (Class::High, Some("7".to_owned()), story, Some(cause));
    assert_eq!(told.all(), [first, (Class::Normal, None, own, None)]);
}
