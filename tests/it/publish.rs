//! Chapter one: getting events in.

use crate::common::{Door, LONG, Log, Loose, Numbered, finish, numbered};
use ringbolt::{
    Admission, AsKey, Class, Ended, Event, EventId, EventSystem, Key, Metadata, NoHandler, Options,
    Pool, PublishError, Wait, Wake,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn pd1_a_publish_is_admitted_or_hands_the_event_back() {
    let system = EventSystem::builder()
        .workers(1)
        .lane_capacity(2)
        .inbox_capacity(2)
        .build()
        .unwrap();
    let door = Door::default();
    let seen = Log::default();
    let (inner_door, inner_seen) = (door.clone(), seen.clone());
    system
        .subscribe(move |event: &Numbered, _| {
            if event.number == 0 {
                inner_door.pass();
            }
            inner_seen.add(event.number);
        })
        .unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    door.wait_for(1);
    let mut admitted = vec![0];
    let mut refused = 0;
    for number in 1..10 {
        match publisher.try_publish(numbered(1, number)) {
            Ok(()) => admitted.push(number),
            Err(error) => {
                assert!(error.is_full());
                assert_eq!(error.into_event(), numbered(1, number));
                refused += 1;
            }
        }
        match system.try_publish(numbered(1, 100 + number)) {
            Ok(()) => admitted.push(100 + number),
            Err(error) => assert_eq!(error.into_event(), numbered(1, 100 + number)),
        }
    }
    assert!(refused >= 7, "a lane of two was asked to take nine");
    door.open();
    finish(&system);
    let mut seen = seen.all();
    seen.sort_unstable();
    admitted.sort_unstable();
    assert_eq!(seen, admitted);
    let error = publisher.publish(numbered(1, 77)).unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.into_event(), numbered(1, 77));
    assert!(system.publish(numbered(1, 78)).unwrap_err().is_closed());
}

#[test]
fn pd1_every_admitted_event_is_ended_while_the_engine_closes() {
    for round in 0..30 {
        let system = EventSystem::builder().workers(2).build().unwrap();
        let handled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handled);
        system
            .subscribe(move |_: &Numbered, _| {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        let admitted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3_u32)
                .map(|index| {
                    let handle = system.handle();
                    scope.spawn(move || {
                        let mut publisher = handle.publisher();
                        let mut admitted = 0_u64;
                        for number in 0.. {
                            let event = numbered(number % 7, number);
                            let result = if index == 0 {
                                handle.publish(event)
                            } else {
                                publisher.publish(event)
                            };
                            match result {
                                Ok(()) => admitted += 1,
                                Err(PublishError::Closed(_)) => return admitted,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        unreachable!("the engine closes")
                    })
                })
                .collect();
            while handled.load(Ordering::Relaxed) < 100 * round {
                std::thread::yield_now();
            }
            let deadline = if round % 2 == 0 { LONG } else { Duration::ZERO };
            system.shutdown(deadline).unwrap();
            threads.into_iter().map(|t| t.join().unwrap()).sum::<u64>()
        });
        let report = system.shutdown(LONG).unwrap();
        if report.stuck_workers.is_empty() {
            assert_eq!(
                admitted,
                report.completed + report.abandoned,
                "round {round}: {report:?}"
            );
        }
        // Once the threads are joined, the counts are whole, whatever a busy machine made look stuck.
        let handle = system.handle();
        drop(system);
        let totals = handle.report().totals;
        assert_eq!(
            (admitted, totals.admitted),
            (totals.handled + totals.abandoned, admitted),
            "round {round}: {totals:?}"
        );
        assert_eq!(totals.handled, handled.load(Ordering::Relaxed));
    }
}

/// Publishes from several publishers and checks the order of each (publisher, key, class).
fn check_order(workers: usize, lane_capacity: usize, stop_early: bool, shared: bool) {
    let system = EventSystem::builder()
        .workers(workers)
        .lane_capacity(lane_capacity)
        .inbox_capacity(lane_capacity)
        .build()
        .unwrap();
    let seen: Log<(Class, Numbered)> = Log::default();
    let log = seen.clone();
    system
        .subscribe(
            move |event: &Numbered, context: &mut ringbolt::Context<'_>| {
                log.add((context.class(), event.clone()));
            },
        )
        .unwrap();
    std::thread::scope(|scope| {
        for publisher in 0..3_u32 {
            let handle = system.handle();
            scope.spawn(move || {
                let mut own = handle.publisher();
                for number in 0..2_000_u64 {
                    let event = Numbered {
                        key: number % 13,
                        publisher,
                        number,
                    };
                    let options = Options::new().class(Class::ALL[(number % 4) as usize]);
                    if shared {
                        handle.publish_with(event, options).unwrap();
                    } else {
                        own.publish_with(event, options).unwrap();
                    }
                }
            });
        }
    });
    if !stop_early {
        finish(&system);
    } else {
        system.shutdown(Duration::ZERO).unwrap();
    }
    let mut last: HashMap<(u32, u64, Class), u64> = HashMap::new();
    for (class, event) in seen.all() {
        let place = last
            .entry((event.publisher, event.key, class))
            .or_insert(event.number);
        assert!(*place <= event.number, "{event:?} after {place}");
        *place = event.number;
    }
    if !stop_early {
        assert_eq!(seen.len(), 6_000);
    }
}

#[test]
fn pd2_one_publishers_events_of_a_key_and_class_stay_in_order() {
    for workers in [1, 2, 3] {
        for lane_capacity in [1, 2, 64] {
            for shared in [false, true] {
                check_order(workers, lane_capacity, false, shared);
                check_order(workers, lane_capacity, true, shared);
            }
        }
    }
}

#[test]
fn pd2_the_inbox_keeps_causal_order_across_threads() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen: Log<u64> = Log::default();
    let log = seen.clone();
    system
        .subscribe(move |event: &Numbered, _| log.add(event.number))
        .unwrap();
    for number in 0..200 {
        let handle = system.handle();
        // The join makes each publish happen before the next, each on a thread of its own.
        std::thread::spawn(move || handle.publish(numbered(5, number)).unwrap())
            .join()
            .unwrap();
    }
    finish(&system);
    assert_eq!(seen.all(), (0..200).collect::<Vec<_>>());
}

#[test]
fn pd4_admission_is_a_choice_and_losses_are_counted() {
    let system = EventSystem::builder()
        .workers(1)
        .lane_capacity(1)
        .lossy(Class::Low)
        .build()
        .unwrap();
    let door = Door::default();
    let inner = door.clone();
    system
        .subscribe(move |_: &Numbered, _| inner.pass())
        .unwrap();
    // By the inbox, as an event in a lane keeps its slot while it is handled.
    system.publish(numbered(1, 0)).unwrap();
    door.wait_for(1);
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 1)).unwrap();
    // The lane holds one: fail at once, give up at a deadline, drop where that was allowed.
    let full = publisher
        .publish_with(numbered(1, 2), Options::new().admission(Admission::Fail))
        .unwrap_err();
    assert!(full.is_full());
    let before = std::time::Instant::now();
    let late = publisher
        .publish_with(
            numbered(1, 3),
            Options::new().admission(Admission::BlockFor(Duration::from_millis(50))),
        )
        .unwrap_err();
    assert!(late.is_full());
    assert!(before.elapsed() >= Duration::from_millis(50));
    let lossy = Options::new().admission(Admission::Lossy);
    assert!(
        publisher
            .publish_with(numbered(1, 4), lossy.clone())
            .unwrap_err()
            .is_full(),
        "a class that was not declared lossy is never dropped"
    );
    for number in 0..5 {
        publisher
            .publish_with(numbered(1, number), lossy.clone().class(Class::Low))
            .unwrap();
    }
    assert_eq!(system.report().dropped, 4, "one of the five had room");
    door.open();
    finish(&system);
}

#[test]
fn pd4_a_blocked_publisher_learns_of_a_shutdown() {
    for wake in [Wake::Auto, Wake::Fence] {
        let system = EventSystem::builder()
            .workers(1)
            .wake(wake)
            .lane_capacity(1)
            .inbox_capacity(1)
            .build()
            .unwrap();
        let door = Door::default();
        let inner = door.clone();
        system
            .subscribe(move |_: &Numbered, _| inner.pass())
            .unwrap();
        system.publish(numbered(1, 0)).unwrap();
        door.wait_for(1);
        std::thread::scope(|scope| {
            let by_lane = scope.spawn(|| {
                let mut publisher = system.publisher();
                loop {
                    if let Err(error) = publisher.publish(numbered(1, 1)) {
                        return error;
                    }
                }
            });
            let by_inbox = scope.spawn(|| {
                loop {
                    if let Err(error) = system.publish(numbered(1, 2)) {
                        return error;
                    }
                }
            });
            let stopper = scope.spawn(|| system.shutdown(LONG).unwrap());
            assert!(by_lane.join().unwrap().is_closed());
            assert!(by_inbox.join().unwrap().is_closed());
            door.open();
            assert!(stopper.join().unwrap().in_time);
        });
    }
}

#[test]
fn pd4_a_blocked_publisher_goes_on_when_there_is_room() {
    for wake in [Wake::Auto, Wake::Fence] {
        let system = EventSystem::builder()
            .workers(1)
            .wake(wake)
            .lane_capacity(2)
            .inbox_capacity(2)
            .build()
            .unwrap();
        system.subscribe(|_: &Numbered, _| ()).unwrap();
        std::thread::scope(|scope| {
            for shared in [false, false, true, true] {
                let handle = system.handle();
                scope.spawn(move || {
                    let mut publisher = handle.publisher();
                    for number in 0..3_000 {
                        if shared {
                            handle.publish(numbered(number, number)).unwrap();
                        } else {
                            publisher.publish(numbered(number, number)).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(finish(&system).handled, 12_000);
    }
}

/// A ring of types: each handler publishes the next one, across workers and pools, with lanes of one
/// slot.
#[test]
fn pd5_publishing_in_a_handler_never_waits_also_in_cycles() {
    struct Hop {
        key: u64,
        left: u32,
    }
    impl Event for Hop {
        const NAME: &'static str = "test.hop";
        fn key(&self) -> Key<'_> {
            self.key.as_key()
        }
    }
    for way in 0..3 {
        let system = EventSystem::builder()
            .workers(2)
            .lane_capacity(1)
            .inbox_capacity(1)
            .build()
            .unwrap();
        let hops = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&hops);
        let handle = system.handle();
        let own = std::sync::Mutex::new(system.publisher());
        system
            .subscribe(move |hop: &Hop, context: &mut ringbolt::Context<'_>| {
                count.fetch_add(1, Ordering::Relaxed);
                if hop.left == 0 {
                    return;
                }
                for step in [1, 2] {
                    let next = Hop {
                        key: hop.key.wrapping_mul(31) + step,
                        left: hop.left - 1,
                    };
                    let result = match way {
                        0 => context.publish(next),
                        1 => handle.publish(next),
                        _ => own.lock().unwrap().publish(next),
                    };
                    result.unwrap_or_else(|error| panic!("way {way}: {error}"));
                }
            })
            .unwrap();
        system.publish(Hop { key: 1, left: 9 }).unwrap();
        let totals = finish(&system);
        assert_eq!(totals.failed, 0);
        assert_eq!(hops.load(Ordering::Relaxed), (1 << 10) - 1, "way {way}");
    }
}

#[test]
fn pd5_waiting_calls_on_a_workers_thread_are_refused() {
    let system = EventSystem::builder()
        .workers(1)
        .spill_max(4)
        .build()
        .unwrap();
    let handle = system.handle();
    let answers: Log<String> = Log::default();
    let log = answers.clone();
    let other = system
        .subscription("other")
        .handler(|_: &Numbered, _| ())
        .unwrap();
    system
        .subscribe(move |_: &Loose, context: &mut ringbolt::Context<'_>| {
            let receipt = context.publish_tracked(numbered(1, 1)).unwrap();
            assert!(receipt.wait().unwrap_err().is_would_deadlock());
            assert!(!receipt.peek().1);
            assert!(other.unsubscribe().unwrap_err().is_would_deadlock());
            assert!(handle.shutdown(LONG).unwrap_err().is_would_deadlock());
            assert!(
                handle
                    .subscribe(|_: &Numbered, _| ())
                    .unwrap_err()
                    .is_would_deadlock()
            );
            let mut admitted = 1;
            let refused = loop {
                match context.publish(numbered(1, 2)) {
                    Ok(()) => admitted += 1,
                    Err(error) => break error,
                }
                assert!(admitted < 100, "the worker's own queue is bounded");
            };
            assert!(matches!(refused, PublishError::WouldDeadlock(_)));
            log.add(format!("{admitted}"));
        })
        .unwrap();
    system.publish(Loose(1)).unwrap();
    let totals = finish(&system);
    assert_eq!(answers.all(), ["4"]);
    assert_eq!(totals.handled, 1 + 4);
    assert_eq!(totals.failed, 0);
}

#[test]
fn pd11_an_event_without_a_subscription_is_counted_and_follows_the_policy() {
    let ignoring = EventSystem::builder().workers(1).build().unwrap();
    ignoring.publish(Loose(1)).unwrap();
    ignoring.publisher().publish(Loose(2)).unwrap();
    assert_eq!(ignoring.report().unhandled, 2);
    let receipt = ignoring.publish_tracked(Loose(3)).unwrap();
    assert_eq!(receipt.wait().unwrap(), vec![]);

    let strict = EventSystem::builder()
        .workers(1)
        .no_handler(NoHandler::Error)
        .build()
        .unwrap();
    match strict.publish(Loose(7)).unwrap_err() {
        PublishError::NoHandler(event) => assert_eq!(event, Loose(7)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        strict.publisher().publish(Loose(8)).unwrap_err(),
        PublishError::NoHandler(Loose(8))
    ));
    assert_eq!(strict.report().unhandled, 2);
}

#[test]
fn pd12_spill_is_bounded_and_what_does_not_fit_comes_back() {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("far").workers(1))
        .lane_capacity(1)
        .spill_max(10)
        .build()
        .unwrap();
    let door = Door::default();
    let inner = door.clone();
    system
        .subscription("far")
        .pool("far")
        .handler(move |_: &Numbered, _| inner.pass())
        .unwrap();
    let admitted: Log<u64> = Log::default();
    let log = admitted.clone();
    system
        .subscribe(move |_: &Loose, context: &mut ringbolt::Context<'_>| {
            for number in 0..100 {
                match context.publish(numbered(1, number)) {
                    Ok(()) => log.add(number),
                    Err(PublishError::WouldDeadlock(event)) => assert_eq!(event.number, number),
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .unwrap();
    let receipt = system.publish_tracked(Loose(1)).unwrap();
    receipt.wait().unwrap();
    // One in the lane, ten in the spill, and perhaps one in the far handler's hands.
    assert!((11..=12).contains(&admitted.len()), "{}", admitted.len());
    door.open();
    assert_eq!(finish(&system).handled, 1 + admitted.len() as u64);
}

#[test]
fn batches_are_admitted_in_order_and_come_back_whole() {
    let system = EventSystem::builder()
        .workers(2)
        .wait(Wait::Yield)
        .lane_capacity(4)
        .build()
        .unwrap();
    let seen: Log<Numbered> = Log::default();
    let log = seen.clone();
    system
        .subscribe(move |event: &Numbered, _| log.add(event.clone()))
        .unwrap();
    let mut publisher = system.publisher();
    let published = publisher
        .publish_batch((0..1_000).map(|number| numbered(number % 5, number)))
        .unwrap();
    assert_eq!(published, 1_000);
    finish(&system);
    for key in 0..5 {
        let numbers: Vec<u64> = seen
            .all()
            .into_iter()
            .filter(|event| event.key == key)
            .map(|event| event.number)
            .collect();
        assert_eq!(
            numbers,
            (0..1_000).filter(|n| n % 5 == key).collect::<Vec<_>>()
        );
    }
    let error = publisher
        .publish_batch((0..200).map(|number| numbered(1, number)))
        .unwrap_err();
    assert_eq!(error.published, 0);
    let back: Vec<u64> = std::iter::once(error.refused.into_event())
        .chain(error.pulled)
        .chain(error.rest)
        .map(|event| event.number)
        .collect();
    assert_eq!(back, (0..200).collect::<Vec<_>>());
}

#[test]
fn a_receipt_tells_each_subscriptions_outcome() {
    let system = EventSystem::builder()
        .workers(2)
        .pool(Pool::new("slow"))
        .build()
        .unwrap();
    let good = system.subscribe(|_: &Loose, _| ()).unwrap();
    let bad = system
        .subscription("bad")
        .pool("slow")
        .handler(|_: &Loose, _| Err::<(), _>(std::fmt::Error))
        .unwrap();
    for receipt in [
        system.publish_tracked(Loose(1)).unwrap(),
        system.publisher().publish_tracked(Loose(1)).unwrap(),
    ] {
        let mut ended = receipt.wait_for(LONG).unwrap().unwrap();
        ended.sort_unstable_by_key(|(id, _)| *id);
        assert_eq!(
            ended,
            [(good.id(), Ended::Handled), (bad.id(), Ended::Failed)]
        );
    }
}

#[test]
fn ids_metadata_correlation_and_causation_travel() {
    #[derive(Debug, Clone, PartialEq)]
    struct Seen {
        name: &'static str,
        id: EventId,
        correlation: EventId,
        causation: Option<EventId>,
        note: Option<String>,
    }
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen: Log<Seen> = Log::default();
    let note = |name, context: &ringbolt::Context<'_>| Seen {
        name,
        id: context.id(),
        correlation: context.correlation_id(),
        causation: context.causation_id(),
        note: context
            .metadata()
            .and_then(|metadata| metadata.get("note"))
            .map(str::to_owned),
    };
    let (first, second) = (seen.clone(), seen.clone());
    let handle = system.handle();
    system
        .subscribe(move |event: &Loose, context: &mut ringbolt::Context<'_>| {
            first.add(note("loose", context));
            context.publish(numbered(1, event.0)).unwrap();
            // By another handle on the same thread: the same cause.
            handle.publish(numbered(2, event.0)).unwrap();
        })
        .unwrap();
    system
        .subscribe(move |_: &Numbered, context: &mut ringbolt::Context<'_>| {
            second.add(note("numbered", context));
        })
        .unwrap();
    let id = EventId::from_u128(0x1234).unwrap();
    system
        .publish_with(
            Loose(1),
            Options::new()
                .id(id)
                .metadata(Metadata::new().with("note", "hello")),
        )
        .unwrap();
    finish(&system);
    let all = seen.all();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].id, id);
    assert_eq!(all[0].correlation, id);
    assert_eq!(all[0].causation, None);
    assert_eq!(all[0].note.as_deref(), Some("hello"));
    for child in &all[1..] {
        assert_ne!(child.id, id);
        assert_eq!(child.correlation, id);
        assert_eq!(child.causation, Some(id));
        assert_eq!(child.note, None);
    }
    assert_ne!(all[1].id, all[2].id);
}

#[test]
fn pd6_a_panic_while_a_key_is_asked_for_publishes_nothing() {
    struct Grumpy(u64);
    impl Event for Grumpy {
        const NAME: &'static str = "test.grumpy";
        fn key(&self) -> Key<'_> {
            assert!(self.0 != 3, "three has no key");
            self.0.as_key()
        }
    }
    let system = EventSystem::builder().workers(1).build().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&count);
    system
        .subscribe(move |_: &Grumpy, _| {
            inner.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..6 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            publisher.publish(Grumpy(number)).unwrap();
        }));
        assert_eq!(result.is_err(), number == 3);
    }
    let batch = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        publisher
            .publish_batch([Grumpy(1), Grumpy(3)])
            .map_err(drop)
    }));
    assert!(batch.is_err());
    publisher.publish(Grumpy(9)).unwrap();
    finish(&system);
    assert_eq!(count.load(Ordering::Relaxed), 6);
}
