//! Chapter five: subscriptions that pause while what they depend on is down.

use crate::common::{LONG, Log, Numbered, numbered};
use ringbolt::{
    Breaker, BreakerPolicy, BreakerState, Clock, DeadLetterPolicy, EventSystem, Failure,
    ManualClock, OnOpen, Outcome, Polled, Poller, Pool, Reason, RetryPolicy, Window,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn by_hand() -> (EventSystem, ManualClock) {
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("hand").polled())
        .dead_letters(DeadLetterPolicy::new())
        .clock(clock)
        .build()
        .unwrap();
    (system, hand)
}

fn poll_all(poller: &mut Poller) {
    while poller.poll(8) != Polled::Events(0) {}
}

/// Half of at least ten calls; a hundred milliseconds of waiting; so many probes.
fn half_of_ten(probes: u32) -> BreakerPolicy {
    BreakerPolicy::new()
        .window(Window::Count(20))
        .failure_rate(0.5)
        .minimum_calls(10)
        .open_wait(100 * MS)
        .open_wait_max(100 * MS)
        .half_open_permits(probes)
}

/// A handler that fails while this says so, and tells what it was called with.
struct Dependency {
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    handled: Log<u64>,
}

impl Dependency {
    fn new() -> Self {
        Self {
            is_down: Arc::new(AtomicBool::new(true)),
            calls: Arc::default(),
            handled: Log::default(),
        }
    }

    fn handler(
        &self,
    ) -> impl Fn(&Numbered, &mut ringbolt::Context<'_>) -> Outcome + Send + Sync + 'static {
        let (is_down, calls, handled) = (
            Arc::clone(&self.is_down),
            Arc::clone(&self.calls),
            self.handled.clone(),
        );
        move |event, _| {
            calls.fetch_add(1, Ordering::Relaxed);
            if is_down.load(Ordering::Acquire) {
                return Outcome::Failed(Failure::new("down"));
            }
            handled.add(event.number);
            Outcome::Handled
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

#[test]
fn cb1_the_tenth_call_opens_it() {
    let (system, _hand) = by_hand();
    let breaker = Breaker::new("service", half_of_ten(1)).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    system
        .subscription("guarded")
        .pool("hand")
        .breaker(&breaker)
        .handler(move |event: &Numbered, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            // Every second one fails, the tenth among them.
            if event.number % 2 == 1 {
                return Outcome::Failed(Failure::new("down"));
            }
            Outcome::Handled
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..9 {
        system.publish(numbered(number, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Closed);
    system.publish(numbered(9, 9)).unwrap();
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Open);
    system.publish(numbered(10, 10)).unwrap();
    poll_all(&mut poller);
    assert_eq!(calls.load(Ordering::Relaxed), 10, "the eleventh waits");
}

#[test]
fn cb3_while_open_nothing_is_called_consumed_or_lettered_and_the_backlog_drains_in_order() {
    let (system, hand) = by_hand();
    let breaker = Breaker::new("service", half_of_ten(2)).unwrap();
    let transitions: Log<(BreakerState, BreakerState)> = Log::default();
    let seen = transitions.clone();
    breaker.on_transition(move |made| seen.add((made.from, made.to)));
    let service = Dependency::new();
    let guarded = system
        .subscription("guarded")
        .pool("hand")
        .retry(RetryPolicy::none())
        .breaker(&breaker)
        .handler(service.handler())
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
    for number in 0..10 {
        system.publish(numbered(number, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Open);
    let letters = system.dead_letters().unwrap();
    assert_eq!(letters.counts().letters, 10);
    let mut publisher = system.publisher();
    for number in 10..1_010 {
        publisher.publish(numbered(number % 7, number)).unwrap();
        if number % 100 == 0 {
            poll_all(&mut poller);
        }
    }
    poll_all(&mut poller);
    assert_eq!(service.calls(), 10, "no call");
    assert_eq!(guarded.attempts().failed_attempts, 10, "no attempt");
    assert_eq!(letters.counts().letters, 10, "no letter");
    assert_eq!(guarded.attempts().held, 1_000);
    assert_eq!(siblings.load(Ordering::Relaxed), 1_010, "siblings flow");
    // Still down: one probe fails, and it waits again.
    hand.advance(100 * MS);
    poll_all(&mut poller);
    assert_eq!(service.calls(), 11);
    assert_eq!(breaker.state(), BreakerState::Open);
    // Up again: two probes, and everything in order.
    service.is_down.store(false, Ordering::Release);
    hand.advance(100 * MS);
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Closed);
    // The failed probe was the first of the backlog, and is a letter now.
    assert_eq!(service.handled.all(), (11..1_010).collect::<Vec<_>>());
    let counts = guarded.counts();
    assert_eq!(
        (counts.handled, counts.dead_lettered, counts.in_flight()),
        (999, 11, 0)
    );
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(
        transitions.all(),
        [
            (Closed, Open),
            (Open, HalfOpen),
            (HalfOpen, Open),
            (Open, HalfOpen),
            (HalfOpen, Closed)
        ]
    );
}

#[test]
fn cb3_a_failed_probe_with_attempts_left_stays_first_of_its_key() {
    let (system, hand) = by_hand();
    let breaker = Breaker::new("service", half_of_ten(1)).unwrap();
    let service = Dependency::new();
    let guarded = system
        .subscription("guarded")
        .pool("hand")
        .retry(RetryPolicy::none().max_attempts(100).base(MS).max_delay(MS))
        .breaker(&breaker)
        .handler(service.handler())
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..40 {
        system.publish(numbered(number % 4, number)).unwrap();
    }
    for _ in 0..1_000 {
        poll_all(&mut poller);
        hand.advance(MS);
    }
    assert_eq!(guarded.attempts().held, 40);
    let status = breaker.status();
    assert!(status.transitions.to_open >= 8, "{status:?}");
    assert!(
        service.calls() < 40,
        "calls while down: {}",
        service.calls()
    );
    service.is_down.store(false, Ordering::Release);
    for _ in 0..300 {
        hand.advance(MS);
        poll_all(&mut poller);
    }
    let handled = service.handled.all();
    assert_eq!(handled.len(), 40);
    for key in 0..4 {
        let of_key: Vec<u64> = handled.iter().copied().filter(|n| n % 4 == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
}

#[test]
fn cb3_open_may_skip_or_letter_instead() {
    for on_open in [OnOpen::Skip, OnOpen::DeadLetter] {
        let (system, _hand) = by_hand();
        let breaker = Breaker::new("service", half_of_ten(1).on_open(on_open)).unwrap();
        breaker.force_open();
        let service = Dependency::new();
        let guarded = system
            .subscription("guarded")
            .pool("hand")
            .breaker(&breaker)
            .handler(service.handler())
            .unwrap();
        let mut poller = system.poller("hand").unwrap();
        for number in 0..5 {
            system.publish(numbered(number, number)).unwrap();
        }
        poll_all(&mut poller);
        let counts = guarded.counts();
        assert_eq!(service.calls(), 0);
        if on_open == OnOpen::Skip {
            assert_eq!(counts.skipped, 5);
        } else {
            assert_eq!(counts.dead_lettered, 5);
            let letters = system.dead_letters().unwrap();
            let page = letters.list(&ringbolt::Filter::new(), ringbolt::Page::default());
            assert!(
                page.letters
                    .iter()
                    .all(|l| l.reason == Reason::BreakerPolicy)
            );
            // They can be delivered once it is closed.
            breaker.reset();
            service.is_down.store(false, Ordering::Release);
            let ticket = letters.redeliver_all(ringbolt::Filter::new());
            poll_all(&mut poller);
            assert!(ticket.is_done());
            assert_eq!(ticket.report().handled, 5);
            assert_eq!(letters.counts().letters, 0);
        }
    }
}

#[test]
fn cb3_forced_open_is_left_by_hand_and_wakes_the_workers() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let breaker = Breaker::new("service", half_of_ten(1)).unwrap();
    breaker.force_open();
    let service = Dependency::new();
    service.is_down.store(false, Ordering::Release);
    let guarded = system
        .subscription("guarded")
        .breaker(&breaker)
        .handler(service.handler())
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..100 {
        publisher.publish(numbered(number % 5, number)).unwrap();
    }
    while guarded.attempts().held < 100 {
        std::thread::yield_now();
    }
    assert_eq!(service.calls(), 0);
    breaker.reset();
    let report = system.shutdown(LONG).unwrap();
    assert_eq!(report.completed, 100);
}

#[test]
fn cb2_with_many_asking_no_more_probes_run_than_permits() {
    // Several workers and subscriptions share one breaker; the probes that are let in wait for each other.
    let system = EventSystem::builder().workers(4).build().unwrap();
    let breaker = Breaker::new(
        "shared",
        half_of_ten(3)
            .open_wait(MS)
            .probe_limit(Duration::from_secs(30)),
    )
    .unwrap();
    let in_probe = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let is_down = Arc::new(AtomicBool::new(true));
    for name in ["a", "b", "c"] {
        let (in_probe, most, is_down, breaker) = (
            Arc::clone(&in_probe),
            Arc::clone(&most),
            Arc::clone(&is_down),
            breaker.clone(),
        );
        let asked = breaker.clone();
        system
            .subscription(name)
            .retry(
                RetryPolicy::none()
                    .max_attempts(u32::MAX)
                    .base(MS)
                    .max_delay(MS),
            )
            .breaker(&breaker)
            .handler(move |_: &Numbered, _| {
                if asked.state() == BreakerState::HalfOpen {
                    let now = in_probe.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    in_probe.fetch_sub(1, Ordering::SeqCst);
                }
                if is_down.load(Ordering::Acquire) {
                    return Outcome::Failed(Failure::new("down"));
                }
                Outcome::Handled
            })
            .unwrap();
    }
    let mut publisher = system.publisher();
    for number in 0..400 {
        publisher.publish(numbered(number, number)).unwrap();
    }
    while breaker.status().transitions.to_open < 20 {
        std::thread::yield_now();
    }
    is_down.store(false, Ordering::Release);
    let report = system.shutdown(LONG).unwrap();
    assert_eq!(report.completed, 1_200);
    // A call begun while closed may end in half-open; with four workers at most three such besides.
    assert!(most.load(Ordering::SeqCst) <= 3 + 4);
}

#[test]
fn cb1_slow_calls_open_it_too() {
    let (system, hand) = by_hand();
    let breaker = Breaker::new("service", half_of_ten(1).slow_call(5 * MS, 0.5)).unwrap();
    let inner = hand.clone();
    system
        .subscription("slow")
        .pool("hand")
        .breaker(&breaker)
        .handler(move |_: &Numbered, _| inner.advance(6 * MS))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..10 {
        system.publish(numbered(number, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn cb2_a_probe_that_is_left_aside_gives_its_permit_back() {
    let (system, hand) = by_hand();
    let breaker = Breaker::new("service", half_of_ten(1)).unwrap();
    let mode = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&mode);
    let guarded = system
        .subscription("guarded")
        .pool("hand")
        .breaker(&breaker)
        .handler(move |_: &Numbered, _| match seen.load(Ordering::Relaxed) {
            0 => Outcome::Failed(Failure::new("down")),
            1 => Outcome::Skipped,
            _ => Outcome::Handled,
        })
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    for number in 0..13 {
        system.publish(numbered(number, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Open);
    mode.store(1, Ordering::Relaxed);
    hand.advance(100 * MS);
    poll_all(&mut poller);
    assert_eq!(
        breaker.state(),
        BreakerState::HalfOpen,
        "nothing was learnt"
    );
    assert_eq!(guarded.counts().skipped, 3, "one after the other");
    mode.store(2, Ordering::Relaxed);
    system.publish(numbered(1, 100)).unwrap();
    poll_all(&mut poller);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn pd7_a_subscription_that_goes_leaves_its_breaker() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let breaker = Breaker::new("service", half_of_ten(1)).unwrap();
    for _ in 0..10 {
        let service = Dependency::new();
        let guarded = system
            .subscription("guarded")
            .breaker(&breaker)
            .handler(service.handler())
            .unwrap();
        for number in 0..20 {
            system.publish(numbered(number, number)).unwrap();
        }
        guarded.unsubscribe().unwrap();
        let counts = guarded.counts();
        assert_eq!(counts.in_flight(), 0);
        breaker.reset();
    }
    assert_eq!(breaker.status().calls, 0, "nobody is left to be counted");
}

#[test]
fn bad_breaker_settings_are_all_named_at_once() {
    let error = Breaker::new(
        "bad",
        BreakerPolicy::new()
            .failure_rate(f64::NAN)
            .window(Window::Count(5))
            .minimum_calls(10)
            .half_open_permits(0),
    )
    .unwrap_err();
    assert!(error.is_setting());
    let text = error.to_string();
    for field in ["failure_rate", "minimum_calls", "half_open_permits"] {
        assert!(text.contains(field), "{field} is missing in: {text}");
    }
}

#[test]
fn cb3_what_a_breaker_stopped_goes_on_with_the_next_poller() {
    {
        let (system, hand) = by_hand();
        let letters = system.dead_letters().unwrap();
        let breaker = Breaker::new("b", BreakerPolicy::new()).unwrap();
        let log: Log<(u64, u32)> = Log::default();
        let seen = log.clone();
        let sub = system
            .subscription("a")
            .pool("hand")
            .breaker(&breaker)
            .retry(
                RetryPolicy::none()
                    .max_attempts(3)
                    .base(10 * MS)
                    .max_delay(10 * MS),
            )
            .handler(move |event: &Numbered, context| {
                if event.number == 0 && context.attempt() < 2 {
                    return Outcome::Failed(Failure::new("poison"));
                }
                seen.add((event.number, context.attempt()));
                Outcome::Handled
            })
            .unwrap();
        let mut poller = system.poller("hand").unwrap();
        for number in 0..4 {
            system.publish(numbered(1, number)).unwrap();
        }
        poll_all(&mut poller);
        breaker.force_open();
        system.publish(numbered(2, 9)).unwrap();
        poll_all(&mut poller);
        drop(poller);
        hand.advance(10 * MS);
        breaker.reset();
        let mut poller = std::thread::spawn({
            let handle = system.handle();
            move || {
                let mut poller = handle.poller("hand").unwrap();
                poll_all(&mut poller);
                drop(poller);
            }
        })
        .join()
        .map(|()| system.poller("hand").unwrap())
        .unwrap();
        poll_all(&mut poller);
        let mut all = log.take();
        all.retain(|(n, _)| *n != 9);
        assert_eq!(all, [(0, 2), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(sub.counts().in_flight(), 0);
        assert_eq!(letters.counts().letters, 0);
    }
}

#[test]
fn cb3_a_breaker_that_closes_while_nobody_polls_lets_the_next_poller_go_on() {
    let (system, _hand) = by_hand();
    let breaker = Breaker::new("by hand", BreakerPolicy::new()).unwrap();
    let log: Log<u64> = Log::default();
    let seen = log.clone();
    let subscription = system
        .subscription("paused")
        .pool("hand")
        .breaker(&breaker)
        .handler(move |event: &Numbered, _| seen.add(event.number))
        .unwrap();
    let mut poller = system.poller("hand").unwrap();
    breaker.force_open();
    for number in 0..4 {
        system.publish(numbered(1, number)).unwrap();
    }
    poll_all(&mut poller);
    assert_eq!(subscription.attempts().held, 4);
    drop(poller);
    breaker.reset();
    let mut poller = system.poller("hand").unwrap();
    poll_all(&mut poller);
    assert_eq!(log.take(), [0, 1, 2, 3]);
}
