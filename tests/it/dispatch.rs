//! Chapter two: handlers, classes, subscribing while events flow.

use crate::common::{Door, LONG, Log, Loose, Numbered, finish, numbered};
use ringbolt::{
    Class, Clock, Context, Ended, EventSystem, Failure, Handler, Options, Outcome, Polled, Pool,
    WorkerId,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn pd3_the_highest_class_goes_first_and_nothing_starves() {
    let (clock, _hand) = Clock::manual();
    let limit = 16;
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .starvation_limit(limit)
        .batch_max(8)
        .clock(clock)
        .build()
        .unwrap();
    let seen: Log<Class> = Log::default();
    let log = seen.clone();
    system
        .subscribe(move |_: &Numbered, context: &mut Context<'_>| log.add(context.class()))
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..200 {
        for class in [Class::Low, Class::Normal, Class::High, Class::Critical] {
            publisher
                .publish_with(numbered(1, number), Options::new().class(class))
                .unwrap();
        }
    }
    let mut poller = system.poller("default").unwrap();
    while seen.len() < 800 {
        poller.poll(1);
    }
    let seen = seen.all();
    // While a class waits, so many events are taken at most before one of it is.
    for class in [Class::High, Class::Normal, Class::Low] {
        let last = seen.iter().rposition(|other| *other == class).unwrap();
        let mut since = 0;
        for other in &seen[..=last] {
            if *other == class {
                since = 0;
            } else {
                since += 1;
                assert!(since <= limit, "{class} waited for {since} others");
            }
        }
    }
    // And most of the urgent ones come before most of the others.
    let critical_end = seen
        .iter()
        .rposition(|class| *class == Class::Critical)
        .unwrap();
    let lower_before = seen[..critical_end]
        .iter()
        .filter(|class| **class != Class::Critical)
        .count();
    assert!(
        lower_before <= 3 * (200 + lower_before) / (limit - 3) + 3,
        "{lower_before}"
    );
}

#[test]
fn pd3_something_critical_ends_a_batch_of_a_lower_class() {
    let (clock, _hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .clock(clock)
        .build()
        .unwrap();
    let seen: Log<(Class, u64)> = Log::default();
    let log = seen.clone();
    system
        .subscribe(move |event: &Numbered, context: &mut Context<'_>| {
            log.add((context.class(), event.number));
            if event.number == 5 && context.class() == Class::Low {
                context
                    .publish_with(numbered(1, 99), Options::new().class(Class::Critical))
                    .unwrap();
            }
        })
        .unwrap();
    let mut publisher = system.publisher();
    publisher.set_class(Class::Low);
    for number in 0..100 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    let other = system.handle();
    let mut poller = system.poller("default").unwrap();
    poller.poll(1);
    other
        .publish_with(numbered(2, 7), Options::new().class(Class::Critical))
        .unwrap();
    while seen.len() < 102 {
        poller.poll(1);
    }
    let seen = seen.all();
    let mut critical: Vec<_> = (0..seen.len())
        .filter(|&place| seen[place].0 == Class::Critical)
        .collect();
    critical.sort_unstable();
    assert_eq!(
        critical,
        [7, 8],
        "the handler's own and the one from outside, behind the event that was told to be the last"
    );
}

#[test]
fn pd3_a_batch_of_a_lower_class_ends_with_its_time() {
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .stamps(ringbolt::Stamps::Each)
        .clock(clock)
        .build()
        .unwrap();
    let hand_inside = hand.clone();
    let ends: Log<bool> = Log::default();
    let log = ends.clone();
    system
        .subscribe(move |_: &Numbered, context: &mut Context<'_>| {
            log.add(context.end_of_batch());
            hand_inside.advance(std::time::Duration::from_micros(9));
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..10 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    let mut poller = system.poller("default").unwrap();
    assert_eq!(
        poller.poll(1),
        ringbolt::Polled::Events(4),
        "20 us are over during the third of 9 us, so the fourth is the last"
    );
    while poller.poll(1) != ringbolt::Polled::Events(0) {}
    let ends = ends.all();
    assert_eq!(
        ends,
        [
            false, false, false, true, false, false, false, true, false, true
        ],
        "each batch says which event is its last"
    );
}

/// The worker takes a whole chunk of a lane under one guard: what follows a panic in it goes on where it was.
#[test]
fn pd6_a_panic_amid_a_chunk_loses_and_repeats_nothing() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let seen: Log<(&str, u64)> = Log::default();
    let names = ["first", "second", "third"];
    let subscriptions = names.map(|name| {
        let log = seen.clone();
        system
            .subscription(name)
            .handler(move |event: &Numbered, _| {
                log.add((name, event.number));
                assert!(
                    name != "second" || event.number % 4 == 1,
                    "{} is bad",
                    event.number
                );
            })
            .unwrap()
    });
    let alone: Log<u64> = Log::default();
    let log = alone.clone();
    let by_value = system
        .subscription("takes")
        .by_value(move |event: Loose, _| {
            log.add(event.0);
            assert!(event.0.is_multiple_of(2), "{} is bad", event.0);
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..32 {
        publisher.publish(numbered(1, number)).unwrap();
        publisher.publish(Loose(number)).unwrap();
    }
    let mut poller = system.poller("default").unwrap();
    while poller.poll(1) != Polled::Events(0) {}
    let expected: Vec<_> = (0..32)
        .flat_map(|number| names.map(|name| (name, number)))
        .collect();
    assert_eq!(seen.all(), expected);
    assert_eq!(alone.all(), (0..32).collect::<Vec<_>>());
    for (subscription, failed) in subscriptions.iter().zip([0, 24, 0]) {
        let counts = subscription.counts();
        assert_eq!(
            (counts.admitted, counts.handled, counts.failed),
            (32, 32 - failed, failed)
        );
    }
    assert_eq!(by_value.counts().failed, 16);
    drop(poller);
}

#[test]
fn pd6_a_panic_is_a_failed_delivery_and_nothing_else_stops() {
    let errors: Log<(String, String)> = Log::default();
    let log = errors.clone();
    let system = EventSystem::builder()
        .workers(1)
        .on_error(move |error| {
            log.add((
                error.subscription_name.clone().unwrap(),
                error.message.clone(),
            ));
            panic!("the observer has its own troubles");
        })
        .build()
        .unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let bad = system
        .subscription("bad")
        .handler(|event: &Numbered, _| {
            assert!(
                !event.number.is_multiple_of(3),
                "number {} is bad",
                event.number
            );
        })
        .unwrap();
    let good = system
        .subscription("good")
        .handler(move |_: &Numbered, _| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    for number in 0..9 {
        system.publish(numbered(1, number)).unwrap();
    }
    finish(&system);
    assert_eq!(bad.counts().failed, 3);
    assert_eq!(bad.counts().handled, 6);
    assert_eq!(good.counts().handled, 9);
    assert_eq!(handled.load(Ordering::Relaxed), 9);
    let expected: Vec<_> = [0, 3, 6]
        .map(|number| ("bad".to_owned(), format!("number {number} is bad")))
        .into();
    assert_eq!(errors.all(), expected);
}

struct Tally {
    worker: WorkerId,
    seen: u64,
    made: Arc<AtomicU64>,
    log: Log<u64>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.made.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler<Numbered> for Tally {
    fn handle(&mut self, event: &Numbered, context: &mut Context<'_>) -> Outcome {
        assert_eq!(context.worker(), self.worker);
        assert!(event.number != 13, "thirteen");
        self.seen += 1;
        self.log.add(self.seen);
        Outcome::Handled
    }
}

impl Handler<Loose> for Tally {
    fn handle(&mut self, _: &Loose, _: &mut Context<'_>) -> Outcome {
        self.seen += 100;
        Outcome::Skipped
    }
}

#[test]
fn pd7_per_worker_state_is_made_before_subscribe_returns_and_renewed_after_a_panic() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let log: Log<u64> = Log::default();
    let (count, inner) = (Arc::clone(&made), log.clone());
    let subscription = system
        .subscription("tally")
        .factory(move |worker| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Failure>(Tally {
                worker,
                seen: 0,
                made: Arc::clone(&count),
                log: inner.clone(),
            })
        })
        .on::<Numbered>()
        .on::<Loose>()
        .register()
        .unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 2);
    for number in [1, 2, 13, 3] {
        system.publish(numbered(5, number)).unwrap();
    }
    system
        .publish_tracked(numbered(5, 4))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(
        log.all(),
        [1, 2, 1, 2],
        "the state begins anew after the panic"
    );
    assert_eq!(made.load(Ordering::Relaxed), 2);
    subscription.unsubscribe().unwrap();
    assert_eq!(
        made.load(Ordering::Relaxed),
        0,
        "dropped before unsubscribe returned"
    );
    let counts = subscription.counts();
    assert_eq!((counts.handled, counts.failed), (4, 1));
    finish(&system);
}

#[test]
fn a_type_that_is_named_twice_is_refused_and_an_unsubscribed_closure_is_dropped() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let twice = system
        .subscription("twice")
        .factory(|worker| {
            Ok::<_, Failure>(Tally {
                worker,
                seen: 0,
                made: Arc::new(AtomicU64::new(1)),
                log: Log::default(),
            })
        })
        .on::<Loose>()
        .on::<Loose>()
        .register()
        .unwrap_err();
    assert!(twice.is_setting());
    assert!(
        twice.to_string().contains("test.loose is named twice"),
        "{twice}"
    );
    let kept = Arc::new(());
    let inside = Arc::clone(&kept);
    let subscription = system
        .subscribe(move |_: &Loose, _| {
            let _ = &inside;
        })
        .unwrap();
    assert!(Arc::strong_count(&kept) > 1);
    subscription.unsubscribe().unwrap();
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn pd7_a_failing_factory_undoes_the_subscription() {
    let system = EventSystem::builder().workers(3).build().unwrap();
    for panics in [false, true] {
        let error = system
            .subscription("fails")
            .factory(move |worker: WorkerId| {
                assert!(!(panics && worker.index == 1), "on the second worker");
                if worker.index == 1 {
                    return Err(Failure::new("on the second worker"));
                }
                Ok(Tally {
                    worker,
                    seen: 0,
                    made: Arc::new(AtomicU64::new(1)),
                    log: Log::default(),
                })
            })
            .on::<Loose>()
            .register()
            .unwrap_err();
        assert!(error.is_factory());
        assert!(
            error.to_string().contains("on the second worker"),
            "{error}"
        );
    }
    assert_eq!(system.report().subscriptions.len(), 0);
    system.publish(Loose(1)).unwrap();
    assert_eq!(system.report().unhandled, 1);
}

#[test]
fn pd7_after_unsubscribe_no_call_is_made_or_in_flight() {
    for _ in 0..20 {
        let system = EventSystem::builder().workers(2).build().unwrap();
        let forbidden = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicU64::new(0));
        let (flag, count) = (Arc::clone(&forbidden), Arc::clone(&calls));
        let subscription = system
            .subscription("going")
            .handler(move |_: &Numbered, _| {
                assert!(!flag.load(Ordering::SeqCst), "called after unsubscribe");
                count.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        let stays = system
            .subscription("staying")
            .handler(|_: &Numbered, _| ())
            .unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = system.publisher();
                for number in 0..3_000 {
                    publisher.publish(numbered(number, number)).unwrap();
                }
            });
            while calls.load(Ordering::SeqCst) < 50 {
                std::thread::yield_now();
            }
            subscription.unsubscribe().unwrap();
            forbidden.store(true, Ordering::SeqCst);
        });
        subscription.unsubscribe().unwrap();
        finish(&system);
        let counts = subscription.counts();
        assert_eq!(counts.failed, 0);
        assert_eq!(counts.in_flight(), 0);
        assert_eq!(stays.counts().handled, 3_000, "the other one loses nothing");
    }
}

#[test]
fn pd7_every_publish_after_subscribe_is_seen_also_by_parked_workers() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let mut publisher = system.publisher();
    for round in 0..200_u64 {
        let seen = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&seen);
        let subscription = system
            .subscribe(move |_: &Numbered, _| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        let by_lane = publisher.publish_tracked(numbered(round, 0)).unwrap();
        let by_inbox = system.publish_tracked(numbered(round + 1, 0)).unwrap();
        assert_eq!(
            by_lane.wait().unwrap(),
            [(subscription.id(), Ended::Handled)]
        );
        assert_eq!(
            by_inbox.wait().unwrap(),
            [(subscription.id(), Ended::Handled)]
        );
        subscription.unsubscribe().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }
    finish(&system);
}

#[test]
fn pd7_a_subscription_withdrawn_in_a_handler_ends_as_withdrawn() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let slot: Arc<std::sync::Mutex<Option<ringbolt::Subscription>>> = Arc::default();
    let inner = Arc::clone(&slot);
    system
        .subscription("first")
        .handler(move |_: &Loose, _| {
            if let Some(second) = inner.lock().unwrap().take() {
                drop(second.begin_unsubscribe());
            }
        })
        .unwrap();
    let second = system
        .subscription("second")
        .handler(|_: &Loose, _| ())
        .unwrap();
    *slot.lock().unwrap() = Some(second.clone());
    let receipt = system.publish_tracked(Loose(1)).unwrap();
    let ended = receipt.wait().unwrap();
    assert_eq!(ended[1], (second.id(), Ended::Withdrawn));
    finish(&system);
    assert_eq!(second.counts().withdrawn, 1);
    assert_eq!(second.counts().admitted, 1);
}

#[test]
fn pd8_every_delivery_ends_once_and_a_snapshot_never_shows_more_ended_than_begun() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let subscription = system
        .subscribe(|event: &Numbered, _| match event.number % 4 {
            0 => Outcome::Skipped,
            1 => Outcome::Failed(Failure::new("one")),
            2 => panic!("two"),
            _ => Outcome::Handled,
        })
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut before = subscription.counts();
            while !stop.load(Ordering::Relaxed) {
                let now = subscription.counts();
                assert!(now.ended() <= now.admitted, "{now:?}");
                assert!(now.admitted >= before.admitted && now.ended() >= before.ended());
                before = now;
            }
        });
        let mut publisher = system.publisher();
        for number in 0..4_000 {
            publisher.publish(numbered(number, number)).unwrap();
        }
        finish(&system);
        stop.store(true, Ordering::Relaxed);
    });
    let counts = subscription.counts();
    assert_eq!(counts.admitted, 4_000);
    assert_eq!(
        (counts.handled, counts.skipped, counts.failed),
        (1_000, 1_000, 2_000)
    );
}

#[test]
fn ob1_counters_agree_with_pd8_once_quiet_and_never_run_backwards() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let mut before = 0;
    for _ in 0..50 {
        let subscription = system.subscribe(|_: &Numbered, _| ()).unwrap();
        for number in 0..20 {
            system.publish(numbered(number, number)).unwrap();
        }
        system
            .publish_tracked(numbered(0, 0))
            .unwrap()
            .wait()
            .unwrap();
        subscription.unsubscribe().unwrap();
        let totals = system.report().totals;
        assert!(totals.admitted >= before, "{totals:?} after {before}");
        before = totals.admitted;
    }
    finish(&system);
    let report = system.report();
    assert_eq!(report.published, 50 * 21);
    assert_eq!(report.totals.admitted + report.unhandled, 50 * 21);
}

#[test]
fn ob2_histograms_are_read_while_running_parked_and_stuck() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    assert_eq!(system.report().classes.len(), 0, "made on first use");
    let door = Door::default();
    let inner = door.clone();
    system
        .subscribe(move |event: &Numbered, _| {
            if event.number == 1_000 {
                inner.pass();
            }
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..1_000 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    publisher
        .publish_tracked(numbered(1, 1_001))
        .unwrap()
        .wait()
        .unwrap();
    // Stuck in a handler: what was recorded before is readable, and the report says for how long.
    publisher.publish(numbered(1, 1_000)).unwrap();
    door.wait_for(1);
    let report = system.report();
    assert_eq!(report.end_to_end.count(), 1_001);
    assert_eq!(report.queue_wait.count(), 1_001);
    assert_eq!(report.handler.count(), 1_001);
    assert_eq!(
        report.workers[0].state,
        ringbolt::metrics::WorkerState::InHandler
    );
    assert!(report.workers[0].age_ns > 0);
    let later = system.report();
    assert!(later.workers[0].age_ns > report.workers[0].age_ns);
    door.open();
    finish(&system);
    let report = system.report();
    assert_eq!(report.end_to_end.count(), 1_002);
    assert!(report.end_to_end.max() >= report.queue_wait.max());
    assert_eq!(report.classes.len(), 1);
    assert_eq!(report.classes[0].class, Class::Normal);
}

#[test]
fn ob2_sampled_stamps_time_one_event_in_eight_and_say_so() {
    let system = EventSystem::builder()
        .workers(1)
        .stamps(ringbolt::Stamps::Sampled)
        .build()
        .unwrap();
    let ids: Log<ringbolt::EventId> = Log::default();
    let log = ids.clone();
    let subscription = system
        .subscribe(move |_: &Numbered, context: &mut Context<'_>| log.add(context.id()))
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..20_000 {
        publisher.publish(numbered(number % 7, number)).unwrap();
    }
    publisher
        .publish_batch((0..20_000).map(|number| numbered(number % 7, number)))
        .unwrap();
    finish(&system);
    let report = system.report();
    assert_eq!(subscription.counts().handled, 40_000, "all are counted");
    assert_eq!(report.workers[0].taken, 40_000);
    let timed = report.end_to_end.count();
    assert!((4_500..5_500).contains(&timed), "{timed} of 40,000");
    assert_eq!(report.queue_wait.count(), timed);
    assert_eq!(report.handler.count(), timed);
    assert_eq!(report.stamps.name(), "sampled");
    assert!(
        report
            .to_text()
            .contains("sampled (one event in 8, at random)")
    );
    // Ids of one publisher differ and rise, also where the time in them stands still.
    let ids = ids.all();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_slow_pool_holds_up_nobody_else() {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("slow"))
        .build()
        .unwrap();
    let door = Door::default();
    let inner = door.clone();
    system
        .subscription("slow")
        .pool("slow")
        .handler(move |_: &Loose, _| inner.pass())
        .unwrap();
    let quick: Log<u64> = Log::default();
    let log = quick.clone();
    system
        .subscription("quick")
        .handler(move |event: &Loose, _| log.add(event.0))
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..100 {
        publisher.publish(Loose(number)).unwrap();
    }
    door.wait_for(1);
    while quick.len() < 100 {
        std::thread::yield_now();
    }
    door.open();
    assert_eq!(finish(&system).handled, 200);
}

#[test]
fn nothing_waits_behind_a_stuck_worker_of_an_unordered_pool() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").workers(2).unordered())
        .build()
        .unwrap();
    let door = Door::default();
    let inner = door.clone();
    let seen: Log<u64> = Log::default();
    let log = seen.clone();
    system
        .subscribe(move |event: &Loose, _| {
            if event.0 == 0 {
                inner.pass();
            }
            log.add(event.0);
        })
        .unwrap();
    let mut publisher = system.publisher();
    publisher.publish(Loose(0)).unwrap();
    door.wait_for(1);
    for number in 1..=500 {
        publisher.publish(Loose(number)).unwrap();
    }
    while seen.len() < 500 {
        std::thread::yield_now();
    }
    door.open();
    assert_eq!(finish(&system).handled, 501);
}

#[test]
fn a_sole_subscription_may_take_its_event_by_value() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let seen: Log<Loose> = Log::default();
    let log = seen.clone();
    let taker = system
        .subscription("taker")
        .by_value(move |event: Loose, _| log.add(event))
        .unwrap();
    assert!(
        system
            .subscribe(|_: &Loose, _| ())
            .unwrap_err()
            .is_conflict()
    );
    system.publish(Loose(4)).unwrap();
    system
        .publish_tracked(Loose(5))
        .unwrap()
        .wait_for(LONG)
        .unwrap();
    assert_eq!(seen.all(), [Loose(4), Loose(5)]);
    taker.unsubscribe().unwrap();
    system.subscribe(|_: &Loose, _| ()).unwrap();
}
