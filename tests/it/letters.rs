//! Chapter six: what has failed for good, and how it comes back.

use crate::common::{LONG, Log, Numbered, numbered};
use ringbolt::{
    Breaker, BreakerPolicy, Clock, DeadLetterPolicy, DeadLetters, Ended, EventSystem, Failure,
    Filter, LetterStatus, ManualClock, Metadata, OnOpen, Options, Outcome, Overflow, Page, Polled,
    Poller, Pool, Reason, RetryPolicy, WhenHeldFull,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn by_hand(policy: DeadLetterPolicy) -> (EventSystem, ManualClock, DeadLetters) {
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("hand").polled())
        .dead_letters(policy)
        .clock(clock)
        .build()
        .unwrap();
    let letters = system.dead_letters().unwrap();
    (system, hand, letters)
}

fn poll_all(poller: &mut Poller) {
    while poller.poll(8) != Polled::Events(0) {}
}

#[test]
fn dq1_a_letter_says_everything() {
    let (system, hand, letters) = by_hand(DeadLetterPolicy::new());
    system
        .subscription("failing")
        .pool("hand")
        .retry(
            RetryPolicy::none()
                .max_attempts(3)
                .base(10 * MS)
                .max_delay(10 * MS),
        )
        .handler(|event: &Numbered, context| {
            let error = std::io::Error::other(format!("attempt {}", context.attempt()));
            assert_eq!(event.number, 7);
            Outcome::Failed(error.into())
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let metadata = Metadata::new().with("trace", "abc");
    system
        .publish_with(numbered(1, 7), Options::new().metadata(metadata.clone()))
        .unwrap();
    for _ in 0..30 {
        poll_all(&mut poller);
        hand.advance(MS);
    }
    let page = letters.list(&Filter::new(), Page::default());
    assert_eq!(page.letters.len(), 1);
    let letter = &page.letters[0];
    assert_eq!(letter.subscription, "failing");
    assert_eq!(letter.event_name, "test.numbered");
    assert_eq!(letter.reason, Reason::Exhausted);
    assert_eq!(letter.status, LetterStatus::Waiting);
    assert_eq!(letter.errors[0], "attempt 3");
    assert_eq!(letter.attempts.len(), 3);
    assert_eq!(letter.attempts[0].message, "attempt 1");
    assert_eq!(
        letter.attempts[2].started_ms - letter.attempts[0].started_ms,
        20
    );
    assert_eq!(letter.last_failure_ms - letter.first_failure_ms, 20);
    assert_eq!(letter.key.as_deref(), Some("1"));
    assert_eq!(
        letter
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.get("trace")),
        Some("abc")
    );
    assert_eq!(letter.value::<Numbered>(), Some(&numbered(1, 7)));
}

#[test]
fn dq2_a_redelivery_is_for_that_subscription_alone_and_has_a_fresh_budget() {
    let (system, hand, letters) = by_hand(DeadLetterPolicy::new());
    let is_well = Arc::new(AtomicBool::new(false));
    let calls: Log<(u32, bool, ringbolt::EventId, ringbolt::EventId)> = Log::default();
    let (well, seen) = (Arc::clone(&is_well), calls.clone());
    let failing = system
        .subscription("failing")
        .pool("hand")
        .retry(RetryPolicy::none().max_attempts(2).base(MS).max_delay(MS))
        .handler(move |_: &Numbered, context| {
            seen.add((
                context.attempt(),
                context.is_redelivery(),
                context.id(),
                context.correlation_id(),
            ));
            if well.load(Ordering::Acquire) {
                return Outcome::Handled;
            }
            Outcome::Failed(Failure::new("not well"))
        })
        .unwrap();
    let siblings = Arc::new(AtomicUsize::new(0));
    let sibling = Arc::clone(&siblings);
    system
        .subscription("sibling")
        .pool("hand")
        .handler(move |_: &Numbered, _| {
            sibling.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    let run = |poller: &mut Poller| {
        for _ in 0..5 {
            poll_all(poller);
            hand.advance(MS);
        }
    };
    run(&mut poller);
    let id = letters.list(&Filter::new(), Page::default()).letters[0].id;
    let ticket = letters.redeliver(id).unwrap();
    assert!(
        letters.redeliver(id).unwrap_err().is_conflict(),
        "one at a time"
    );
    run(&mut poller);
    assert_eq!(ticket.report().failed, 1);
    let letter = letters.inspect(id).unwrap();
    assert_eq!(letter.replays, 1);
    assert_eq!(letter.attempt_count, 4);
    is_well.store(true, Ordering::Release);
    let ticket = letters.redeliver(id).unwrap();
    run(&mut poller);
    assert_eq!(ticket.report().handled, 1);
    assert!(letters.inspect(id).is_none(), "success removes the letter");
    let calls = calls.all();
    let shape: Vec<(u32, bool)> = calls.iter().map(|call| (call.0, call.1)).collect();
    assert_eq!(
        shape,
        [(1, false), (2, false), (1, true), (2, true), (1, true)]
    );
    assert!(
        calls
            .iter()
            .all(|call| (call.2, call.3) == (calls[0].2, calls[0].3))
    );
    assert_eq!(siblings.load(Ordering::Relaxed), 1);
    let counts = failing.counts();
    assert_eq!(
        (counts.admitted, counts.handled, counts.dead_lettered),
        (3, 1, 2)
    );
}

/// A sequential subscription on the hand's pool that fails on some numbers.
fn sequential(
    system: &EventSystem,
    fails: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (ringbolt::Subscription, Log<(u64, u64)>) {
    let log: Log<(u64, u64)> = Log::default();
    let seen = log.clone();
    let subscription = system
        .subscription("sequential")
        .pool("hand")
        .sequential()
        .handler(move |event: &Numbered, _| {
            if event.key == 1 && fails(event.number) {
                return Outcome::Failed(Failure::new("poison"));
            }
            seen.add((event.key, event.number));
            Outcome::Handled
        })
        .unwrap();
    (subscription, log)
}

#[test]
fn dq3_a_letter_parks_its_key_and_the_key_comes_back_in_order() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let is_poison = Arc::new(AtomicBool::new(true));
    let poison = Arc::clone(&is_poison);
    let (subscription, log) = sequential(&system, move |number| {
        number == 2 && poison.load(Ordering::Acquire)
    });
    let mut poller = system.poller("hand").unwrap();
    let mut publisher = system.publisher();
    for number in 1..=4 {
        publisher.publish(numbered(1, number)).unwrap();
        publisher.publish(numbered(2, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(log.take(), [(1, 1), (2, 1), (2, 2), (2, 3), (2, 4)]);
    let parked = letters.list(&Filter::new(), Page::default()).letters;
    let reasons: Vec<Reason> = parked.iter().map(|letter| letter.reason).collect();
    assert_eq!(
        reasons,
        [
            Reason::Exhausted,
            Reason::SequenceBlocked,
            Reason::SequenceBlocked
        ]
    );
    // Still poison: it stops at the first failure, and nothing is overtaken.
    let ticket = letters.redeliver_key("sequential", 1_u64).unwrap();
    poll_all(&mut poller);
    assert!(ticket.is_done());
    assert_eq!((ticket.report().handled, ticket.report().failed), (0, 1));
    assert!(log.is_empty());
    assert_eq!(letters.counts().letters, 3);
    // Mended; a live event of the key comes before the redelivery, one while it goes on, one after it.
    is_poison.store(false, Ordering::Release);
    publisher.publish(numbered(1, 5)).unwrap();
    poll_all(&mut poller);
    assert!(log.is_empty(), "it joins the others");
    let ticket = letters.redeliver_key("sequential", 1_u64).unwrap();
    assert!(
        letters
            .redeliver_key("sequential", 1_u64)
            .unwrap_err()
            .is_conflict(),
        "of two redeliveries one wins"
    );
    publisher.publish(numbered(1, 6)).unwrap();
    poll_all(&mut poller);
    assert!(ticket.is_done());
    publisher.publish(numbered(1, 7)).unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [(1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)]);
    assert_eq!(letters.counts().letters, 0);
    assert_eq!(subscription.counts().in_flight(), 0);
}

#[test]
fn dq3_redelivery_keeps_order_while_a_thousand_more_are_published() {
    for round in 0..5 {
        let system = EventSystem::builder()
            .workers(2)
            .dead_letters(DeadLetterPolicy::new())
            .build()
            .unwrap();
        let letters = system.dead_letters().unwrap();
        let log: Log<u64> = Log::default();
        let is_poison = Arc::new(AtomicBool::new(true));
        let (seen, poison) = (log.clone(), Arc::clone(&is_poison));
        system
            .subscription("sequential")
            .sequential()
            .handler(move |event: &Numbered, _| {
                if event.number == 2 && poison.load(Ordering::Acquire) {
                    return Outcome::Failed(Failure::new("poison"));
                }
                seen.add(event.number);
                Outcome::Handled
            })
            .unwrap();
        let mut publisher = system.publisher();
        for number in 1..=4 {
            publisher.publish(numbered(1, number)).unwrap();
        }
        while letters.counts().letters < 3 {
            std::thread::yield_now();
        }
        is_poison.store(false, Ordering::Release);
        let winners = std::thread::scope(|scope| {
            let publishing = scope.spawn(move || {
                for number in 5..1_005 {
                    publisher.publish(numbered(1, number)).unwrap();
                    if number % 64 == round {
                        std::thread::yield_now();
                    }
                }
            });
            // Two at once: one has the key, or comes when nothing is parked any more.
            let asking: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| letters.redeliver_key("sequential", 1_u64)))
                .collect();
            let tickets: Vec<_> = asking
                .into_iter()
                .filter_map(|asked| asked.join().unwrap().ok())
                .collect();
            publishing.join().unwrap();
            tickets.len()
        });
        assert!(winners >= 1);
        let report = system.shutdown(LONG).unwrap();
        assert_eq!(log.take(), (1..1_005).collect::<Vec<_>>());
        assert_eq!(report.abandoned, 0);
        assert_eq!(letters.counts().letters, 0);
    }
}

#[test]
fn dq3_discarding_the_letters_of_a_key_sets_it_free() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let (_subscription, log) = sequential(&system, |number| number == 2);
    let mut poller = system.poller("hand").unwrap();
    for number in 1..=3 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(letters.counts().letters, 2);
    let gone = letters
        .discard_all(&Filter::new(), "a test", "poison")
        .unwrap();
    assert_eq!(gone, 2);
    poll_all(&mut poller);
    system.publish(numbered(1, 4)).unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [(1, 1), (1, 4)]);
    let audit = letters.audit();
    assert_eq!(audit.iter().map(|record| record.count).sum::<u64>(), 2);
    assert_eq!(
        (audit[0].who.as_str(), audit[0].why.as_str()),
        ("a test", "poison")
    );
}

#[test]
fn dq3_a_key_stays_parked_for_the_next_poller() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let is_poison = Arc::new(AtomicBool::new(true));
    let poison = Arc::clone(&is_poison);
    let (_subscription, log) = sequential(&system, move |number| {
        number == 1 && poison.load(Ordering::Acquire)
    });
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 1)).unwrap();
    poll_all(&mut poller);
    drop(poller);
    // Asked for while nobody polls: done by the next poller.
    is_poison.store(false, Ordering::Release);
    let ticket = letters.redeliver_key("sequential", 1_u64).unwrap();
    system.publish(numbered(1, 2)).unwrap();
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert!(ticket.is_done());
    assert_eq!(log.take(), [(1, 1), (1, 2)]);
}

#[test]
fn dq4_a_full_queue_loses_nothing_silently_under_any_policy() {
    for overflow in [Overflow::Pause, Overflow::EvictOldest, Overflow::Refuse] {
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let policy = DeadLetterPolicy::new()
            .capacity(10)
            .overflow(overflow)
            .observer(move |event: &ringbolt::LetterEvent<'_>| {
                let is_loss = matches!(
                    event,
                    ringbolt::LetterEvent::Evicted(_) | ringbolt::LetterEvent::Refused(_)
                );
                counted.fetch_add(usize::from(is_loss), Ordering::Relaxed);
            });
        let (system, _hand, letters) = by_hand(policy);
        let is_poison = Arc::new(AtomicBool::new(true));
        let poison = Arc::clone(&is_poison);
        let log: Log<u64> = Log::default();
        let seen = log.clone();
        let subscription = system
            .subscription("failing")
            .pool("hand")
            .handler(move |event: &Numbered, _| {
                if poison.load(Ordering::Acquire) {
                    return Outcome::Failed(Failure::new("poison"));
                }
                seen.add(event.number);
                Outcome::Handled
            })
            .unwrap();
        let mut poller = system.poller("hand").unwrap();
        let balance = || {
            let counts = subscription.counts();
            assert_eq!(
                counts.handled + counts.failed + counts.dead_lettered + counts.in_flight(),
                counts.admitted
            );
            assert_eq!(counts.in_flight(), subscription.attempts().held);
            counts
        };
        for number in 0..100 {
            system.publish(numbered(number % 9, number)).unwrap();
            poll_all(&mut poller);
            let counts = balance();
            assert_eq!(counts.admitted, number + 1);
        }
        let counts = balance();
        let queue = letters.counts();
        assert_eq!(queue.letters, 10);
        match overflow {
            Overflow::Pause => {
                assert_eq!(
                    (counts.dead_lettered, subscription.attempts().held),
                    (10, 90)
                );
                // Room for one: one more becomes a letter, and the rest waits on.
                let first = letters.list(&Filter::new(), Page::default()).letters[0].id;
                letters.discard(first, "a test", "room").unwrap();
                poll_all(&mut poller);
                assert_eq!(balance().dead_lettered, 11);
                // Mended, and room for all: what was held is handled, in the order of its key.
                is_poison.store(false, Ordering::Release);
                letters
                    .discard_all(&Filter::new(), "a test", "room")
                    .unwrap();
                poll_all(&mut poller);
                let counts = balance();
                assert_eq!(counts.in_flight(), 0);
                assert_eq!(counts.handled + counts.dead_lettered, 100);
                let handled = log.take();
                for key in 0..9 {
                    let of_key: Vec<u64> =
                        handled.iter().copied().filter(|n| n % 9 == key).collect();
                    assert!(of_key.is_sorted(), "{of_key:?}");
                }
                assert_eq!(told.load(Ordering::Relaxed), 0);
            }
            Overflow::EvictOldest => {
                assert_eq!((counts.dead_lettered, queue.evicted), (100, 90));
                assert_eq!(told.load(Ordering::Relaxed), 90);
            }
            _ => {
                assert_eq!((counts.dead_lettered, counts.failed), (10, 90));
                assert_eq!(queue.refused, 90);
                assert_eq!(told.load(Ordering::Relaxed), 90);
            }
        }
    }
}

#[test]
fn dq4_a_parked_key_waits_too_when_the_queue_is_full() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new().capacity(2));
    let is_poison = Arc::new(AtomicBool::new(true));
    let poison = Arc::clone(&is_poison);
    let (subscription, log) = sequential(&system, move |number| {
        number == 1 && poison.load(Ordering::Acquire)
    });
    let mut poller = system.poller("hand").unwrap();
    for number in 1..=6 {
        system.publish(numbered(1, number)).unwrap();
        system.publish(numbered(2, number)).unwrap();
        poll_all(&mut poller);
    }
    assert_eq!(letters.counts().letters, 2);
    assert_eq!(log.take(), [(2, 1), (2, 2)], "then the subscription waits");
    is_poison.store(false, Ordering::Release);
    let ticket = letters.redeliver_key("sequential", 1_u64).unwrap();
    // The redelivery makes the room that the others wait for.
    poll_all(&mut poller);
    assert!(ticket.is_done(), "{ticket:?}");
    let of_one: Vec<u64> = log.all().iter().filter(|e| e.0 == 1).map(|e| e.1).collect();
    let of_two: Vec<u64> = log.all().iter().filter(|e| e.0 == 2).map(|e| e.1).collect();
    assert_eq!(of_one, [1, 2, 3, 4, 5, 6]);
    assert_eq!(of_two, [3, 4, 5, 6]);
    assert_eq!(subscription.counts().in_flight(), 0);
}

#[test]
fn pd12_a_full_shelf_may_letter_instead() {
    let (system, hand, letters) = by_hand(DeadLetterPolicy::new());
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .retry(
            RetryPolicy::none()
                .max_attempts(2)
                .base(10 * MS)
                .max_delay(10 * MS)
                .held_max(4)
                .when_held_full(WhenHeldFull::DeadLetter),
        )
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
    hand.advance(10 * MS);
    poll_all(&mut poller);
    let counts = subscription.counts();
    assert_eq!((counts.handled, counts.dead_lettered), (4, 6));
    let page = letters.list(&Filter::new().reason(Reason::HeldFull), Page::default());
    assert_eq!(page.letters.len(), 6);
}

#[test]
fn dq2_a_redelivery_waits_for_a_key_in_retry() {
    let (system, hand, letters) = by_hand(DeadLetterPolicy::new());
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    system
        .subscription("failing")
        .pool("hand")
        .retry(
            RetryPolicy::none()
                .max_attempts(3)
                .base(10 * MS)
                .max_delay(10 * MS),
        )
        .handler(move |event: &Numbered, _| {
            if !well.load(Ordering::Acquire) {
                let failure = Failure::new("not now");
                return Outcome::Failed(if event.number == 0 {
                    failure.permanent()
                } else {
                    failure
                });
            }
            seen.add(event.number);
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    system.publish(numbered(1, 1)).unwrap();
    poll_all(&mut poller);
    let id = letters.list(&Filter::new(), Page::default()).letters[0].id;
    let ticket = letters.redeliver(id).unwrap();
    is_well.store(true, Ordering::Release);
    poll_all(&mut poller);
    assert!(log.is_empty(), "no other event of the key starts (RO3)");
    hand.advance(10 * MS);
    poll_all(&mut poller);
    assert_eq!(log.take(), [1, 0]);
    assert!(ticket.is_done());
}

#[test]
fn dq5_redelivery_of_all_streams_and_can_be_cancelled() {
    let system = EventSystem::builder()
        .workers(2)
        .dead_letters(DeadLetterPolicy::new())
        .build()
        .unwrap();
    let letters = system.dead_letters().unwrap();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    system
        .subscribe(move |_: &Numbered, _| {
            if well.load(Ordering::Acquire) {
                Outcome::Handled
            } else {
                Outcome::Failed(Failure::new("not well"))
            }
        })
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..1_000 {
        publisher.publish(numbered(number, number)).unwrap();
    }
    while letters.counts().letters < 1_000 {
        std::thread::yield_now();
    }
    is_well.store(true, Ordering::Release);
    let ticket = letters.redeliver_all(Filter::new());
    let mut outcomes = 0_u64;
    while ticket.next().unwrap().is_some() {
        outcomes += 1;
        if outcomes == 100 {
            ticket.cancel();
        }
    }
    assert!(outcomes >= 100);
    let left = letters.counts().letters;
    assert_eq!(left + ticket.report().handled, 1_000);
    let report = letters.redeliver_all(Filter::new()).wait().unwrap();
    assert_eq!(report.handled, left);
    assert_eq!(letters.counts().letters, 0);
    system.shutdown(LONG).unwrap();
}

#[test]
fn dq2_what_a_stop_finds_being_redelivered_is_a_letter_still() {
    let system = EventSystem::builder()
        .workers(1)
        .dead_letters(DeadLetterPolicy::new())
        .build()
        .unwrap();
    let letters = system.dead_letters().unwrap();
    let hour = Duration::from_secs(3_600);
    system
        .subscription("failing")
        .retry(
            RetryPolicy::none()
                .max_attempts(2)
                .base(hour)
                .max_delay(hour),
        )
        .handler(|_: &Numbered, context| {
            let failure = Failure::new("no");
            Outcome::Failed(if context.is_redelivery() {
                failure
            } else {
                failure.permanent()
            })
        })
        .unwrap();
    system.publish(numbered(1, 0)).unwrap();
    while letters.counts().letters < 1 {
        std::thread::yield_now();
    }
    let ticket = letters.redeliver_all(Filter::new());
    while system.report().subscriptions[0].attempts.retries == 0 {
        std::thread::yield_now();
    }
    let report = system.shutdown(Duration::from_millis(10)).unwrap();
    assert_eq!(ticket.wait().unwrap().given_up, 1);
    assert_eq!(report.abandoned, 1, "the redelivery, as a delivery");
    let page = letters.list(&Filter::new(), Page::default());
    assert_eq!(page.letters.len(), 1);
    assert_eq!(page.letters[0].status, LetterStatus::Waiting);
    assert!(
        letters
            .redeliver(page.letters[0].id)
            .unwrap_err()
            .is_closed()
    );
}

#[test]
fn a_value_that_was_taken_leaves_a_letter_that_says_so() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    system
        .subscription("taker")
        .pool("hand")
        .by_value(|_: Numbered, _| Outcome::Failed(Failure::new("lost it")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let page = letters.list(&Filter::new(), Page::default());
    assert_eq!(page.letters.len(), 1);
    assert!(page.letters[0].value::<Numbered>().is_none());
    assert!(letters.redeliver(page.letters[0].id).is_err());
}

#[test]
fn dq2_a_receipt_tells_of_the_letter_and_not_of_its_redeliveries() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    system
        .subscription("failing")
        .pool("hand")
        .handler(move |_: &Numbered, _| {
            if well.load(Ordering::Acquire) {
                Outcome::Handled
            } else {
                Outcome::Failed(Failure::new("not well"))
            }
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    let receipt = system.publish_tracked(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let told = receipt.peek();
    assert!(told.1);
    assert_eq!(told.0.len(), 1);
    assert_eq!(told.0[0].1, Ended::DeadLettered);
    for fails in [true, false] {
        is_well.store(!fails, Ordering::Release);
        let ticket = letters.redeliver_all(Filter::new());
        poll_all(&mut poller);
        assert!(ticket.is_done());
        assert_eq!(receipt.peek(), told);
    }
    assert_eq!(letters.counts().letters, 0);
}

#[test]
fn dq2_a_redelivery_that_an_open_breaker_skips_leaves_its_letter() {
    for is_sequential in [false, true] {
        let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
        let breaker = Breaker::new("hand", BreakerPolicy::new().on_open(OnOpen::Skip)).unwrap();
        let builder = system
            .subscription("failing")
            .pool("hand")
            .breaker(&breaker);
        let builder = if is_sequential {
            builder.sequential()
        } else {
            builder
        };
        let is_well = Arc::new(AtomicBool::new(false));
        let well = Arc::clone(&is_well);
        let subscription = builder
            .handler(move |_: &Numbered, _| {
                if well.load(Ordering::Acquire) {
                    Outcome::Handled
                } else {
                    Outcome::Failed(Failure::new("not well"))
                }
            })
            .unwrap();
        let mut poller = system.poller("hand").unwrap();
        system.publish(numbered(1, 0)).unwrap();
        poll_all(&mut poller);
        is_well.store(true, Ordering::Release);
        breaker.force_open();
        let ticket = letters.redeliver_all(Filter::new());
        poll_all(&mut poller);
        assert_eq!(ticket.report().given_up, 1);
        assert_eq!(letters.counts().letters, 1);
        breaker.reset();
        system.publish(numbered(1, 1)).unwrap();
        poll_all(&mut poller);
        let parked = if is_sequential { 2 } else { 1 };
        assert_eq!(letters.counts().letters, parked);
        let ticket = letters.redeliver_all(Filter::new());
        poll_all(&mut poller);
        assert_eq!(ticket.report().handled, parked);
        assert_eq!(letters.counts().letters, 0);
        assert_eq!(subscription.counts().in_flight(), 0);
    }
}

#[test]
fn dq2_a_redelivery_of_a_withdrawn_subscription_is_given_up_and_not_counted() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("no")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    drop(poller);
    // Nobody polls: the order waits, and the subscription goes meanwhile.
    let ticket = letters.redeliver_all(Filter::new());
    subscription.unsubscribe().unwrap();
    let before = system.report().totals;
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert_eq!(ticket.report().given_up, 1);
    assert_eq!(subscription.counts(), before);
    assert_eq!(system.report().totals, before);
    assert_eq!(letters.counts().letters, 1);
}

#[test]
fn dq3_a_key_whose_only_letter_was_evicted_is_free_at_once() {
    let (system, _hand, letters) = by_hand(
        DeadLetterPolicy::new()
            .capacity(1)
            .overflow(Overflow::EvictOldest),
    );
    let (subscription, log) = sequential(&system, |number| number == 0);
    system
        .subscription("other")
        .pool("hand")
        .handler(|event: &Numbered, _| {
            if event.key == 2 {
                return Outcome::Failed(Failure::new("not this one"));
            }
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    // In one batch: key 1 is parked, its letter gives way to another's, and its next event finds it free.
    system.publish(numbered(1, 0)).unwrap();
    system.publish(numbered(2, 1)).unwrap();
    system.publish(numbered(1, 2)).unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [(2, 1), (1, 2)]);
    assert_eq!(letters.counts().letters, 1);
    let counts = subscription.counts();
    assert_eq!((counts.handled, counts.dead_lettered), (2, 1));
}

#[test]
fn dq3_letters_for_want_of_room_do_not_go_with_an_order_of_letters() {
    let (system, _hand, _letters) = by_hand(DeadLetterPolicy::new());
    let error = system
        .subscription("ordered")
        .pool("hand")
        .sequential()
        .retry(RetryPolicy::none().when_held_full(WhenHeldFull::DeadLetter))
        .handler(|_: &Numbered, _| {})
        .unwrap_err();
    assert!(error.is_setting());
    assert!(
        error.to_string().contains("retry.when_held_full"),
        "{error}"
    );
}

#[test]
fn dq4_what_was_to_join_letters_that_are_gone_goes_on_when_there_is_room() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new().capacity(1));
    let (subscription, log) = sequential(&system, |number| number == 0);
    let mut poller = system.poller("hand").unwrap();
    for number in 0..3 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert!(log.is_empty());
    assert_eq!(subscription.attempts().held, 2);
    // Room, and nothing that the next ones would have to join.
    letters
        .discard_all(&Filter::new(), "a test", "to see")
        .unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [(1, 1), (1, 2)]);
    assert_eq!(letters.counts().letters, 0);
    assert_eq!(subscription.attempts().held, 0);
}

#[test]
fn pd11_an_event_that_nobody_wants_may_become_a_letter() {
    use ringbolt::{NoHandler, PublishError};
    let system = EventSystem::builder()
        .workers(1)
        .no_handler(NoHandler::DeadLetter)
        .dead_letters(DeadLetterPolicy::new().capacity(3))
        .build()
        .unwrap();
    let letters = system.dead_letters().unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    system.publish(numbered(1, 1)).unwrap();
    publisher.try_publish(numbered(1, 2)).unwrap();
    let refused = publisher.try_publish(numbered(1, 3));
    assert!(
        matches!(refused, Err(PublishError::Full(event)) if event.number == 3),
        "a full queue hands it back"
    );
    let page = letters.list(&Filter::new(), Page::default());
    let numbers: Vec<u64> = page
        .letters
        .iter()
        .map(|letter| letter.value::<Numbered>().unwrap().number)
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(page.letters.iter().all(|l| l.reason == Reason::NoHandler));
    assert_eq!(system.report().unhandled, 3);
    let error = EventSystem::builder()
        .no_handler(NoHandler::DeadLetter)
        .build()
        .unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("no_handler"));
}

#[test]
fn dq4_room_that_was_made_while_nobody_polled_is_found() {
    for is_sequential in [false, true] {
        {
            let (system, _hand, letters) = by_hand(DeadLetterPolicy::new().capacity(1));
            let well = Arc::new(AtomicBool::new(false));
            let is_well = Arc::clone(&well);
            let mut builder = system.subscription("a").pool("hand");
            if is_sequential {
                builder = builder.sequential();
            }
            let sub = builder
                .handler(move |_: &Numbered, _| {
                    if is_well.load(Ordering::SeqCst) {
                        Outcome::Handled
                    } else {
                        Outcome::Failed(Failure::new("poison"))
                    }
                })
                .unwrap();
            let mut poller = system.poller("hand").unwrap();
            for number in 0..10 {
                system.publish(numbered(number % 2, number)).unwrap();
            }
            poll_all(&mut poller);
            assert_eq!(sub.attempts().held, 9);
            drop(poller);
            well.store(true, Ordering::SeqCst);
            letters.discard_all(&Filter::new(), "me", "room").unwrap();
            let mut poller = system.poller("hand").unwrap();
            for _ in 0..20 {
                poll_all(&mut poller);
                letters.discard_all(&Filter::new(), "me", "room").unwrap();
            }
            poll_all(&mut poller);
            assert_eq!(
                sub.attempts().held,
                0,
                "{:?} {:?}",
                sub.counts(),
                letters.counts()
            );
        }
    }
}

#[test]
fn dq4_letters_of_keys_that_wait_for_room_make_it() {
    // Full of letters of one key, whose next is in retry, or has failed for good, when they are asked for.
    for retry_wins in [false, true] {
        {
            let (system, hand, letters) = by_hand(DeadLetterPolicy::new().capacity(2));
            let well = Arc::new(AtomicBool::new(false));
            let is_well = Arc::clone(&well);
            let log: Log<u64> = Log::default();
            let seen = log.clone();
            let sub = system
                .subscription("a")
                .pool("hand")
                .retry(
                    RetryPolicy::none()
                        .max_attempts(2)
                        .base(10 * MS)
                        .max_delay(10 * MS),
                )
                .handler(move |event: &Numbered, context| {
                    if context.is_redelivery() || is_well.load(Ordering::SeqCst) {
                        seen.add(event.number);
                        return Outcome::Handled;
                    }
                    if event.number < 3 {
                        return Outcome::Failed(Failure::new("permanent").permanent());
                    }
                    Outcome::Failed(Failure::new("poison"))
                })
                .unwrap();
            let mut poller = system.poller("hand").unwrap();
            system.publish(numbered(1, 0)).unwrap();
            system.publish(numbered(1, 1)).unwrap();
            poll_all(&mut poller);
            // In retry; then another key's fails for good, with no room.
            system.publish(numbered(1, 3)).unwrap();
            poll_all(&mut poller);
            system.publish(numbered(2, 2)).unwrap();
            system.publish(numbered(1, 4)).unwrap();
            system.publish(numbered(1, 5)).unwrap();
            poll_all(&mut poller);
            assert_eq!(letters.counts().letters, 2);
            hand.advance(10 * MS);
            poll_all(&mut poller);
            well.store(retry_wins, Ordering::SeqCst);
            let ticket = letters.redeliver_all(Filter::new());
            for _ in 0..10 {
                poll_all(&mut poller);
                hand.advance(10 * MS);
            }
            assert!(
                ticket.is_done(),
                "{:?} {:?} {:?}",
                ticket.report(),
                sub.counts(),
                sub.attempts()
            );
            well.store(true, Ordering::SeqCst);
            for _ in 0..10 {
                let _ = letters.redeliver_all(Filter::new());
                poll_all(&mut poller);
                hand.advance(10 * MS);
            }
            assert_eq!(
                sub.counts().in_flight(),
                0,
                "{:?} {:?}",
                log.all(),
                sub.counts()
            );
            let mut all = log.all();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn dq2_a_redelivery_that_an_open_breaker_stops_leaves_its_letter() {
    {
        for on_open in [OnOpen::Skip, OnOpen::DeadLetter] {
            for is_sequential in [false, true] {
                let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
                let breaker = Breaker::new("b", BreakerPolicy::new().on_open(on_open)).unwrap();
                let mut builder = system.subscription("a").pool("hand").breaker(&breaker);
                if is_sequential {
                    builder = builder.sequential();
                }
                builder
                    .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("poison")))
                    .unwrap();
                let mut poller = system.poller("hand").unwrap();
                system.publish(numbered(1, 0)).unwrap();
                poll_all(&mut poller);
                assert_eq!(letters.counts().letters, 1);
                breaker.force_open();
                let ticket = letters.redeliver_all(Filter::new());
                poll_all(&mut poller);
                assert!(ticket.is_done());
                let report = ticket.report();
                assert_eq!(
                    letters.counts().letters,
                    1,
                    "{on_open:?} {is_sequential} {report:?}"
                );
            }
        }
    }
}

#[test]
fn dq4_room_that_comes_while_nobody_polls_is_found_by_the_next_poller() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new().capacity(1));
    let (subscription, log) = sequential(&system, |number| number == 0);
    let other = system
        .subscription("other")
        .pool("hand")
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("no")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    assert_eq!(other.attempts().held, 1, "it waits for room");
    drop(poller);
    letters
        .discard_all(&Filter::new(), "a test", "room")
        .unwrap();
    // Whoever withdraws or asks looks through what waits for the worker.
    subscription.unsubscribe().unwrap();
    let _ = system.report();
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert_eq!(other.attempts().held, 0);
    assert_eq!(letters.counts().letters, 1);
    assert!(log.is_empty());
}

#[test]
fn dq2_a_redelivery_finds_the_subscription_of_its_name_that_is_for_its_event() {
    struct Other;
    impl ringbolt::Event for Other {
        const NAME: &'static str = "test.other_of_the_name";
    }
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let failing = system
        .subscription("same")
        .pool("hand")
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("not yet")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let ticket = failing.begin_unsubscribe();
    poll_all(&mut poller);
    assert!(ticket.is_complete());
    let id = letters.list(&Filter::new(), Page::default()).letters[0].id;
    let other = system
        .subscription("same")
        .pool("hand")
        .handler(|_: &Other, _| ())
        .unwrap();
    poll_all(&mut poller);
    assert!(letters.redeliver(id).unwrap_err().is_missing());
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    system
        .subscription("same")
        .pool("hand")
        .handler(move |event: &Numbered, _| seen.add(event.number))
        .unwrap();
    poll_all(&mut poller);
    let ticket = letters.redeliver(id).unwrap();
    poll_all(&mut poller);
    assert!(ticket.is_done());
    assert_eq!(log.take(), [0]);
    assert_eq!(other.counts().admitted, 0);
}

#[test]
fn dq2_a_breaker_that_letters_leaves_a_redelivered_letter_as_it_was() {
    let (system, _hand, letters) = by_hand(DeadLetterPolicy::new());
    let breaker = Breaker::new("down", BreakerPolicy::new().on_open(OnOpen::DeadLetter)).unwrap();
    let subscription = system
        .subscription("failing")
        .pool("hand")
        .breaker(&breaker)
        .handler(|_: &Numbered, _| Outcome::Failed(Failure::new("a bad amount")))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    system.publish(numbered(1, 0)).unwrap();
    poll_all(&mut poller);
    let before = letters
        .list(&Filter::new(), Page::default())
        .letters
        .remove(0);
    breaker.force_open();
    let ticket = letters.redeliver(before.id).unwrap();
    poll_all(&mut poller);
    assert_eq!(ticket.report().given_up, 1);
    let after = letters.inspect(before.id).unwrap();
    assert_eq!(
        (after.reason, &after.errors),
        (Reason::Exhausted, &before.errors)
    );
    assert_eq!((after.replays, after.status), (0, LetterStatus::Waiting));
    let counts = subscription.counts();
    assert_eq!((counts.admitted, counts.dead_lettered), (2, 2));
}
