//! Chapter four: attempts that fail and are made again, and what waits behind them.

use crate::common::{LONG, Log, Numbered, numbered};
use ringbolt::metrics::WorkerState;
use ringbolt::{
    AsKey, Class, Clock, Ended, Event, EventSystem, Failure, Key, ManualClock, Options, Outcome,
    Polled, Poller, Pool, PublishError, RetryPolicy, WhenHeldFull,
};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// An engine whose one worker is the test, and whose time the test moves.
fn by_hand() -> (EventSystem, ManualClock) {
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("hand").polled())
        .clock(clock)
        .build()
        .unwrap();
    (system, hand)
}

/// Polls until nothing is left to do at this moment of the manual clock.
fn poll_all(poller: &mut Poller) {
    while poller.poll(8) != Polled::Events(0) {}
}

fn doubling(attempts: u32) -> RetryPolicy {
    RetryPolicy::none()
        .max_attempts(attempts)
        .base(10 * MS)
        .multiplier(2.0)
        .max_delay(100 * MS)
}

#[test]
fn ro1_attempts_begin_when_the_policy_says() {
    let (system, hand) = by_hand();
    let clock = system.clock().clone();
    let start = clock.raw();
    let starts: Log<u64> = Log::default();
    let seen = starts.clone();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(6))
        .handler(move |_: &Numbered, context| {
            assert_eq!(context.attempt() as usize, seen.len() + 1);
            seen.add(clock.delta_ns(start, clock.raw()) / 1_000_000);
            Outcome::Failed(Failure::new("never"))
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    for _ in 0..1_000 {
        poll_all(&mut poller);
        hand.advance(MS);
    }
    assert_eq!(starts.take(), [0, 10, 30, 70, 150, 250]);
    let counts = subscription.counts();
    assert_eq!((counts.admitted, counts.failed), (1, 1));
    let attempts = subscription.attempts();
    assert_eq!((attempts.failed_attempts, attempts.retries), (6, 5));
    assert_eq!(attempts.held, 0);
}

#[test]
fn ro1_no_policy_is_one_attempt() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    system
        .subscribe(move |_: &Numbered, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Outcome::Failed(Failure::new("once"))
        })
        .unwrap();
    system.publish(numbered(1, 0)).unwrap();
    let report = system.shutdown(LONG).unwrap();
    assert_eq!((report.failed, calls.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn ro2_only_the_failed_subscription_is_retried() {
    let (system, hand) = by_hand();
    let calls: Log<&str> = Log::default();
    for name in ["before", "failing", "after"] {
        let seen = calls.clone();
        system
            .subscription(name)
            .pool("hand")
            .retry(doubling(3))
            .handler(move |_: &Numbered, context| {
                seen.add(name);
                if name == "failing" && context.attempt() < 3 {
                    return Outcome::Failed(Failure::new("not yet"));
                }
                Outcome::Handled
            })
            .unwrap();
    }
    let mut poller = system.poller("hand").unwrap();
    let receipt = system.publish_tracked(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    assert!(!receipt.peek().1, "a retry is still to come");
    for _ in 0..100 {
        hand.advance(MS);
        poll_all(&mut poller);
    }
    assert_eq!(
        calls.take(),
        ["before", "failing", "after", "failing", "failing"]
    );
    let (deliveries, is_complete) = receipt.peek();
    assert!(is_complete);
    assert!(deliveries.iter().all(|(_, ended)| *ended == Ended::Handled));
}

#[test]
fn ro3_a_key_in_retry_keeps_its_order_and_others_go_on() {
    let (system, hand) = by_hand();
    let log: Log<(u64, u64)> = Log::default();
    let seen = log.clone();
    system
        .subscription("ordered")
        .pool("hand")
        .retry(doubling(10))
        .handler(move |event: &Numbered, context| {
            if event.key == 1 && event.number == 1 && context.attempt() <= 3 {
                return Outcome::Failed(Failure::new("not yet"));
            }
            seen.add((event.key, event.number));
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let mut publisher = system.publisher();
    for number in 1..=3 {
        publisher.publish(numbered(1, number)).unwrap();
        publisher.publish(numbered(2, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(log.take(), [(2, 1), (2, 2), (2, 3)], "k2 during the wait");
    for _ in 0..69 {
        hand.advance(MS);
        poll_all(&mut poller);
    }
    assert!(log.is_empty(), "nothing of k1 before its first event");
    hand.advance(MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [(1, 1), (1, 2), (1, 3)]);
}

#[test]
fn ro3_on_release_the_highest_class_goes_first() {
    let (system, hand) = by_hand();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("ordered")
        .pool("hand")
        .retry(doubling(2))
        .handler(move |event: &Numbered, context| {
            if event.number == 0 && context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not yet"));
            }
            seen.add(event.number);
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let classes = [
        (Class::Low, 40),
        (Class::Normal, 30),
        (Class::Critical, 10),
        (Class::High, 20),
        (Class::Low, 41),
        (Class::Critical, 11),
    ];
    for (class, number) in classes {
        publisher.set_class(class);
        publisher.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert!(log.is_empty(), "no event of the key, of any class, starts");
    hand.advance(10 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [0, 10, 11, 20, 30, 40, 41]);
}

#[test]
fn ro3_one_state_for_several_types_keeps_a_key_across_them() {
    struct Other {
        key: u64,
    }
    impl Event for Other {
        const NAME: &'static str = "test.other";
        fn key(&self) -> Key<'_> {
            self.key.as_key()
        }
    }
    struct State(Log<&'static str>);
    impl ringbolt::Handler<Numbered> for State {
        fn handle(&mut self, _: &Numbered, context: &mut ringbolt::Context<'_>) -> Outcome {
            if context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not yet"));
            }
            self.0.add("numbered");
            Outcome::Handled
        }
    }
    impl ringbolt::Handler<Other> for State {
        fn handle(&mut self, _: &Other, _: &mut ringbolt::Context<'_>) -> Outcome {
            self.0.add("other");
            Outcome::Handled
        }
    }
    let (system, hand) = by_hand();
    let log: Log<&str> = Log::default();
    let seen = log.clone();
    system
        .subscription("both")
        .pool("hand")
        .retry(doubling(2))
        .factory(move |_| Ok::<_, Failure>(State(seen.clone())))
        .on::<Numbered>()
        .on::<Other>()
        .register()
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(7, 0)).unwrap();
    publisher.publish(Other { key: 7 }).unwrap();
    publisher.publish(Other { key: 8 }).unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), ["other"], "of key 8");
    hand.advance(10 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), ["numbered", "other"]);
}

#[test]
fn ro4_a_permanent_failure_is_tried_once() {
    let (system, hand) = by_hand();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(5))
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("never").permanent()))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    for _ in 0..100 {
        poll_all(&mut poller);
        hand.advance(10 * MS);
    }
    assert_eq!(subscription.counts().failed, 1);
    assert_eq!(subscription.attempts().failed_attempts, 1);
}

#[test]
fn ro4_retry_after_is_kept_to() {
    let (system, hand) = by_hand();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(2))
        .handler(move |_: &Numbered, context| {
            counted.fetch_add(1, Ordering::Relaxed);
            if context.attempt() == 1 {
                return Outcome::Failed(Failure::new("busy").retry_after(500 * MS));
            }
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    hand.advance(499 * MS);
    poll_all(&mut poller);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    hand.advance(MS);
    poll_all(&mut poller);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn ro4_a_panic_is_a_failed_attempt_and_is_retried() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let subscription = system
        .subscription("panicking")
        .retry(RetryPolicy::immediate())
        .handler(|_: &Numbered, context| {
            assert!(context.attempt() > 1, "planted");
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..10 {
        publisher.publish(numbered(number % 3, number)).unwrap();
    }
    let report = system.shutdown(LONG).unwrap();
    assert_eq!((report.completed, report.failed), (10, 0));
    assert_eq!(subscription.attempts().failed_attempts, 10);
}

#[test]
fn ro5_a_late_call_is_counted_and_fails_where_that_was_asked() {
    for fails in [false, true] {
        let (system, hand) = by_hand();
        let inner = hand.clone();
        let builder = system.subscription("late").pool("hand").retry(doubling(3));
        let builder = if fails {
            builder.time_limit_fails(5 * MS)
        } else {
            builder.time_limit(5 * MS)
        };
        let subscription = builder
            .handler(move |_: &Numbered, context| {
                inner.advance(if context.attempt() < 3 {
                    6 * MS
                } else {
                    5 * MS
                });
            })
            .unwrap();
        let mut poller = system.poller("hand").unwrap();
        system.publish(numbered(1, 0)).unwrap();
        for _ in 0..100 {
            poll_all(&mut poller);
            hand.advance(10 * MS);
        }
        let attempts = subscription.attempts();
        assert_eq!(subscription.counts().handled, 1);
        assert_eq!(attempts.timeouts, if fails { 2 } else { 1 });
        assert_eq!(attempts.failed_attempts, if fails { 2 } else { 0 });
    }
}

#[test]
fn ro5_a_stuck_handler_is_named_and_other_workers_go_on() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let (is_in, go_on) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (entered, leave) = (Arc::clone(&is_in), Arc::clone(&go_on));
    let stuck = system
        .subscription("stuck")
        .time_limit(MS)
        .handler(move |event: &Numbered, _| {
            if event.number == 0 {
                entered.store(true, Ordering::Release);
                while !leave.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
        })
        .unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    while !is_in.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    // Named once it has been there for longer than it may.
    let worker = loop {
        let report = system.report();
        if let Some(worker) = report
            .workers
            .iter()
            .find(|worker| worker.call.as_ref().is_some_and(|call| call.is_over_limit))
        {
            break worker.clone();
        }
        std::thread::yield_now();
    };
    let call = worker.call.unwrap();
    assert_eq!(
        (call.subscription, call.name.as_str()),
        (stuck.id(), "stuck")
    );
    assert!(call.since_ns > 1_000_000);
    assert_eq!(worker.state, WorkerState::InHandler);
    // Keys of the other worker are handled meanwhile.
    for key in 2..40 {
        publisher.publish(numbered(key, 1)).unwrap();
    }
    while stuck.counts().handled == 0 {
        std::thread::yield_now();
    }
    go_on.store(true, Ordering::Release);
    let report = system.shutdown(LONG).unwrap();
    assert_eq!(report.completed, 39);
    assert_eq!(stuck.attempts().timeouts, 1);
}

#[test]
fn ro6_shutdown_consumes_no_attempt_and_reports_what_waits() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let subscription = system
        .subscription("failing")
        .retry(
            RetryPolicy::none()
                .max_attempts(5)
                .base(Duration::from_secs(3_600))
                .max_delay(Duration::from_secs(3_600)),
        )
        .handler(move |event: &Numbered, _| {
            if event.number == 0 {
                counted.fetch_add(1, Ordering::Relaxed);
                return Outcome::Failed(Failure::new("not now"));
            }
            Outcome::Handled
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..4 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    let begun = std::time::Instant::now();
    let report = system.shutdown(Duration::from_secs(30)).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "what is not due before the deadline is not waited for"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(report.abandoned, 4);
    assert_eq!(report.abandoned_ids.len(), 4);
    assert!(!report.in_time);
    let counts = subscription.counts();
    assert_eq!((counts.admitted, counts.abandoned), (4, 4));
}

#[test]
fn ro6_shutdown_waits_for_retries_that_are_due_before_the_deadline() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    system
        .subscription("failing")
        .retry(
            RetryPolicy::none()
                .max_attempts(3)
                .base(20 * MS)
                .max_delay(20 * MS),
        )
        .handler(|_: &Numbered, context| {
            if context.attempt() < 3 {
                return Outcome::Failed(Failure::new("not now"));
            }
            Outcome::Handled
        })
        .unwrap();
    for key in 0..20 {
        system.publish(numbered(key, 0)).unwrap();
    }
    let report = system.shutdown(LONG).unwrap();
    assert_eq!((report.completed, report.abandoned), (20, 0));
    assert!(report.in_time);
}

#[test]
fn pd7_unsubscribing_withdraws_what_is_held() {
    let (system, hand) = by_hand();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(5))
        .handler(move |_: &Numbered, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Outcome::Failed(Failure::new("not now"))
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let receipt = system.publish_tracked(numbered(1, 0)).unwrap();
    for number in 1..4 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(subscription.attempts().held, 4);
    let ticket = subscription.begin_unsubscribe();
    poll_all(&mut poller);
    assert!(ticket.is_complete());
    let counts = subscription.counts();
    assert_eq!((counts.withdrawn, counts.in_flight()), (4, 0));
    assert_eq!(
        receipt.peek().0.first().map(|(_, ended)| *ended),
        Some(Ended::Withdrawn)
    );
    hand.advance(1_000 * MS);
    poll_all(&mut poller);
    assert_eq!(calls.load(Ordering::Relaxed), 1, "not called again");
}

#[test]
fn pd7_what_a_poller_left_held_is_withdrawn_too() {
    let (system, _hand) = by_hand();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(5))
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("not now")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..3 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    drop(poller);
    subscription.unsubscribe().unwrap();
    let counts = subscription.counts();
    assert_eq!((counts.withdrawn, counts.in_flight()), (3, 0));
}

#[test]
fn ro3_what_is_held_survives_a_change_of_pollers() {
    let (system, hand) = by_hand();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(3))
        .handler(move |event: &Numbered, context| {
            if event.number == 0 && context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not now"));
            }
            seen.add(event.number);
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..3 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    drop(poller);
    hand.advance(10 * MS);
    system.publish(numbered(1, 3)).unwrap();
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [0, 1, 2, 3]);
}

#[test]
fn pd12_a_full_shelf_presses_back_and_is_named() {
    let system = EventSystem::builder()
        .workers(1)
        .lane_capacity(8)
        .build()
        .unwrap();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    let subscription = system
        .subscription("failing")
        .retry(
            RetryPolicy::none()
                .max_attempts(u32::MAX)
                .base(MS)
                .max_delay(MS)
                .held_max(16),
        )
        .handler(move |event: &Numbered, _| {
            if !well.load(Ordering::Acquire) {
                return Outcome::Failed(Failure::new("not now"));
            }
            seen.add(event.number);
            Outcome::Handled
        })
        .unwrap();
    let mut publisher = system.publisher();
    let mut published = 0;
    // Sixteen are held, eight wait in the lane, and then there is no room; the event comes back.
    let refused = loop {
        match publisher.try_publish(numbered(1, published)) {
            Ok(()) => published += 1,
            Err(PublishError::Full(event)) => {
                if subscription.attempts().held >= 16 {
                    break event;
                }
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(published <= 16 + 8 + 1, "bounded");
    };
    assert_eq!(refused.number, published);
    assert!(subscription.attempts().held <= 17);
    let report = system.report();
    assert_eq!(
        report.workers[0].held_back_by.as_deref(),
        Some("failing"),
        "named in the status"
    );
    is_well.store(true, Ordering::Release);
    let report = system.shutdown(LONG).unwrap();
    assert_eq!(report.completed, published);
    assert_eq!(log.take(), (0..published).collect::<Vec<_>>());
}

#[test]
fn pd12_a_full_shelf_may_skip_instead() {
    let (system, hand) = by_hand();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(2).held_max(4).when_held_full(WhenHeldFull::Skip))
        .handler(|event: &Numbered, context| {
            if event.number == 0 && context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not now"));
            }
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..10 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(subscription.attempts().held, 4);
    assert_eq!(subscription.counts().skipped, 6);
    hand.advance(10 * MS);
    poll_all(&mut poller);
    let counts = subscription.counts();
    assert_eq!(
        (counts.handled, counts.skipped, counts.in_flight()),
        (4, 6, 0)
    );
}

#[test]
fn ro3_events_without_a_key_do_not_wait_for_each_other() {
    struct Keyless(u64);
    impl Event for Keyless {
        const NAME: &'static str = "test.keyless";
    }
    let (system, hand) = by_hand();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(2))
        .handler(move |event: &Keyless, context| {
            if event.0 == 0 && context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not now"));
            }
            seen.add(event.0);
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..3 {
        system.publish(Keyless(number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(log.take(), [1, 2]);
    hand.advance(10 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [0]);
}

#[test]
fn settings_out_of_range_are_all_named_at_once() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let error = system
        .subscription("bad")
        .retry(
            RetryPolicy::standard()
                .max_attempts(0)
                .multiplier(f64::NAN)
                .held_max(0),
        )
        .time_limit(Duration::ZERO)
        .sequential()
        .handler(|_: &Numbered, _| ())
        .unwrap_err();
    assert!(error.is_setting());
    let text = error.to_string();
    for field in [
        "bad",
        "retry.max_attempts: 0",
        "retry.multiplier: NaN",
        "retry.held_max: 0",
        "time_limit: 0 ns",
        "sequential",
    ] {
        assert!(text.contains(field), "{field} is missing in: {text}");
    }
}

#[test]
fn a_handler_that_takes_the_event_cannot_be_retried() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let error = system
        .subscription("taker")
        .retry(RetryPolicy::standard())
        .by_value(|_: Numbered, _| ())
        .unwrap_err();
    assert!(error.is_setting());
    assert!(error.to_string().contains("retry.max_attempts"));
}

#[test]
fn scheduled_events_come_in_their_time_or_are_called_back() {
    let (system, hand) = by_hand();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("late")
        .pool("hand")
        .handler(move |event: &Numbered, _| seen.add(event.number))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let first = system.publish_after(numbered(1, 1), 30 * MS).unwrap();
    let second = system.publish_after(numbered(1, 2), 10 * MS).unwrap();
    let third = system.publish_after(numbered(1, 3), 20 * MS).unwrap();
    poll_all(&mut poller);
    hand.advance(10 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [2]);
    assert!(!second.is_waiting() && second.cancel().is_none());
    assert_eq!(third.cancel().map(|event| event.number), Some(3));
    hand.advance(20 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [1]);
    assert!(!first.is_waiting());
}

#[test]
fn scheduled_events_that_a_stop_finds_waiting_are_abandoned_and_listed() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    system.subscribe(|_: &Numbered, _| ()).unwrap();
    let hour = Duration::from_secs(3_600);
    let tickets: Vec<_> = (0..5)
        .map(|key| system.publish_after(numbered(key, 0), hour).unwrap())
        .collect();
    assert!(tickets[0].cancel().is_some());
    let report = system.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(report.abandoned_events, 4);
    assert!(tickets.iter().all(|ticket| ticket.cancel().is_none()));
    assert!(matches!(
        system.publish_after(numbered(1, 0), hour),
        Err(PublishError::Closed(_))
    ));
}

#[test]
fn a_parked_worker_wakes_for_its_timers() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let subscription = system
        .subscription("failing")
        .retry(
            RetryPolicy::none()
                .max_attempts(2)
                .base(30 * MS)
                .max_delay(30 * MS),
        )
        .handler(|_: &Numbered, context| {
            if context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not now"));
            }
            Outcome::Handled
        })
        .unwrap();
    system.publish(numbered(1, 0)).unwrap();
    let mut was_parked = false;
    while subscription.counts().handled == 0 {
        was_parked |= system.report().workers[0].state == WorkerState::Parked;
        std::thread::yield_now();
    }
    assert!(was_parked, "it does not spin for thirty milliseconds");
}

/// `Options` are for the cases in which a test has to say more.
#[test]
fn correlation_and_identity_survive_a_retry() {
    let (system, hand) = by_hand();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ids);
    system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(2))
        .handler(move |_: &Numbered, context| {
            seen.lock().unwrap().push((
                context.id(),
                context.correlation_id(),
                context.metadata().cloned(),
            ));
            Outcome::Failed(Failure::new("not now"))
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system
        .publish_with(
            numbered(1, 0),
            Options::new().metadata(ringbolt::Metadata::new().with("trace", "abc")),
        )
        .unwrap();
    poll_all(&mut poller);
    hand.advance(10 * MS);
    poll_all(&mut poller);
    let ids = ids.lock().unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].2.is_some());
}

#[test]
fn pd12_who_fills_a_shelf_is_not_named_once_it_is_gone() {
    let (system, _hand) = by_hand();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(doubling(2).held_max(1))
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("never")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let held_back_by = || {
        let workers = system.report().workers;
        workers.into_iter().find_map(|worker| worker.held_back_by)
    };
    assert_eq!(held_back_by().as_deref(), Some("failing"));
    drop(poller);
    // While nobody polls.
    subscription.unsubscribe().unwrap();
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert_eq!(held_back_by(), None);
}

#[test]
fn ro1_a_manual_clock_ends_at_its_last_moment() {
    let (system, hand) = by_hand();
    hand.advance(MS);
    let before = system.clock().raw();
    hand.advance(Duration::MAX);
    hand.advance(Duration::MAX);
    assert!(system.clock().raw() > before, "it never goes back");
}

#[test]
fn pd6_a_scheduled_event_that_nobody_wants_may_panic_in_its_drop() {
    struct Trap;
    impl Drop for Trap {
        fn drop(&mut self) {
            panic!("planted");
        }
    }
    impl Event for Trap {
        const NAME: &'static str = "test.trap";
    }
    let (system, hand) = by_hand();
    let traps = system
        .subscription("traps")
        .pool("hand")
        .handler(|_: &Trap, _| {})
        .unwrap();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("others")
        .pool("hand")
        .handler(move |event: &Numbered, _| seen.add(event.number))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let scheduled = system.publish_after(Trap, MS).unwrap();
    traps.unsubscribe().unwrap();
    hand.advance(MS);
    poll_all(&mut poller);
    assert!(!scheduled.is_waiting());
    assert_eq!(system.delayed(), 0);
    system.publish(numbered(1, 7)).unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [7]);
}

#[test]
fn ro5_a_late_call_is_told_with_its_attempt() {
    let (clock, hand) = Clock::manual();
    let log: Log<(ringbolt::Category, Option<u32>)> = Log::default();
    let seen = log.clone();
    let system = EventSystem::builder()
        .pool(Pool::new("hand").polled())
        .clock(clock)
        .on_error(move |error| seen.add((error.category, error.attempt)))
        .build()
        .unwrap();
    let inner = hand.clone();
    system
        .subscription("late")
        .pool("hand")
        .retry(doubling(3))
        .time_limit(MS)
        .handler(move |_: &Numbered, context| {
            if context.attempt() == 1 {
                return Outcome::Failed(Failure::new("not yet"));
            }
            inner.advance(2 * MS);
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    hand.advance(10 * MS);
    poll_all(&mut poller);
    use ringbolt::Category::{Handler, Timeout};
    assert_eq!(log.take(), [(Handler, Some(1)), (Timeout, Some(2))]);
}
