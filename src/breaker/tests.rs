//! The breaker as its workers use it (CB1 to CB5), its transitions one by one, and many threads at it.

mod policy;
mod transitions;
mod window;

use super::*;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, thread};
use std::time::Duration;

/// What a worker is to a breaker: counts its successes, has a mark, is woken.
#[derive(Default)]
struct TestSeat {
    handled: AtomicU64,
    asks: AtomicBool,
    notified: AtomicU64,
    now_ns: AtomicU64,
    /// How often the breaker has read the count.
    looks: AtomicU64,
}

impl Seat for TestSeat {
    fn handled(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.handled.load(Ordering::Relaxed)
    }

    fn mark(&self, asks: bool) {
        self.asks.store(asks, Ordering::Relaxed);
    }

    fn notify(&self) {
        self.notified.fetch_add(1, Ordering::Relaxed);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Well,
    Badly,
    Slowly,
    BadlyAndSlowly,
    /// The handler leaves the event aside.
    Aside,
}
use Call::{Aside, Badly, BadlyAndSlowly, Slowly, Well};

/// What the breaker said to a call.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Pass,
    Probe,
    Refused(Option<u64>),
}

/// A worker of one subscription.
struct TestWorker {
    breaker: Breaker,
    seat: Arc<TestSeat>,
    member: Member,
}

impl TestWorker {
    fn new(breaker: &Breaker) -> Self {
        let seat = Arc::new(TestSeat::default());
        Self {
            breaker: breaker.clone(),
            member: breaker.join(seat.clone()),
            seat,
        }
    }

    /// Begins a call: the permit, if it is a probe.
    fn begin(&self, now_ns: u64) -> Result<Option<Permit>, Option<u64>> {
        self.seat.now_ns.store(now_ns, Ordering::Relaxed);
        if now_ns >= self.member.next_tick_ns() {
            self.member.tick(now_ns);
        }
        if !self.seat.asks.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.breaker.admit(now_ns) {
            Admit::Pass => Ok(None),
            Admit::Probe(permit) => Ok(Some(permit)),
            Admit::Refused { until } => Err(until),
        }
    }

    fn end(&self, call: Call, permit: Option<Permit>, now_ns: u64) {
        if matches!(call, Well | Slowly) {
            self.seat.handled.fetch_add(1, Ordering::Relaxed);
        }
        match (call, permit) {
            (Well, None) | (Aside, None) => {}
            (Well, Some(permit)) => self.breaker.on_success(permit, now_ns),
            (Aside, Some(permit)) => self.breaker.on_ignored(permit),
            (Slowly, permit) => self.breaker.on_slow(&self.member, permit, now_ns),
            (Badly, permit) => self.breaker.on_failure(&self.member, permit, false, now_ns),
            (BadlyAndSlowly, permit) => {
                self.breaker.on_failure(&self.member, permit, true, now_ns);
            }
        }
    }

    /// A whole call, if it is let through.
    fn call(&self, call: Call, now_ns: u64) -> Said {
        match self.begin(now_ns) {
            Err(until) => Said::Refused(until),
            Ok(permit) => {
                let said = if permit.is_some() {
                    Said::Probe
                } else {
                    Said::Pass
                };
                self.end(call, permit, now_ns);
                said
            }
        }
    }

    fn calls(&self, calls: &[Call], now_ns: u64) {
        for call in calls {
            assert_eq!(self.call(*call, now_ns), Said::Pass);
        }
    }
}

fn new_breaker(policy: BreakerPolicy) -> (Breaker, TestWorker) {
    let breaker = Breaker::new("test", policy).expect("the settings are good");
    let worker = TestWorker::new(&breaker);
    (breaker, worker)
}

/// Half of the last ten calls; a wait of 100 ns, then 200, up to 500; two probes, given up after 1,000 ns.
fn policy() -> BreakerPolicy {
    BreakerPolicy::new()
        .window(Window::Count(10))
        .failure_rate(0.5)
        .minimum_calls(10)
        .half_open_permits(2)
        .open_wait(Duration::from_nanos(100))
        .open_wait_multiplier(2.0)
        .open_wait_max(Duration::from_nanos(500))
        .probe_limit(Duration::from_nanos(1_000))
}

/// As [`policy`], opening at the first failure.
fn brittle() -> BreakerPolicy {
    policy().minimum_calls(1)
}

/// Transitions as they were told.
fn told(breaker: &Breaker) -> Arc<Mutex<Vec<BreakerTransition>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    breaker.on_transition({
        let told = Arc::clone(&told);
        move |made| told.lock().push(made.clone())
    });
    told
}

fn start(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::start("other".to_owned(), body).unwrap()
}

#[test]
fn cb1_half_of_at_least_ten_calls_opens_at_the_tenth() {
    let (breaker, worker) = new_breaker(policy());
    let told = told(&breaker);
    worker.calls(
        &[Well, Badly, Well, Badly, Well, Badly, Well, Badly, Well],
        7,
    );
    assert_eq!(breaker.state(), BreakerState::Closed);
    worker.calls(&[Badly], 7);
    assert_eq!(breaker.state(), BreakerState::Open);
    let told = told.lock();
    assert_eq!(told.len(), 1);
    let made = &told[0];
    assert_eq!(made.cause, BreakerCause::FailureRate);
    assert_eq!(
        (made.calls, made.failure_rate, made.at_ns, made.epoch),
        (10, 0.5, Some(7), 1)
    );
}

#[test]
fn cb1_a_tenth_is_one_of_ten() {
    let (breaker, worker) = new_breaker(policy().failure_rate(0.1));
    worker.calls(&[Well; 9], 0);
    worker.calls(&[Badly], 0);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn cb1_slow_calls_open_it_too() {
    let slow = Duration::from_nanos(50);
    let (breaker, worker) = new_breaker(policy().slow_call(slow, 0.3));
    assert_eq!(breaker.slow_after_ns(), Some(50));
    let told = told(&breaker);
    worker.calls(&[Slowly, Slowly], 0);
    worker.calls(&[Well; 7], 0);
    assert_eq!(breaker.state(), BreakerState::Closed);
    // Slow and failed is one call, which counts for both rates.
    worker.calls(&[BadlyAndSlowly], 0);
    assert_eq!(breaker.state(), BreakerState::Open);
    let told = told.lock();
    assert_eq!(told[0].cause, BreakerCause::SlowCallRate);
    assert_eq!((told[0].failure_rate, told[0].slow_call_rate), (0.1, 0.3));
    assert_eq!(told[0].calls, 10);
}

#[test]
fn cb1_slow_calls_do_not_matter_unless_asked_for() {
    let (breaker, worker) = new_breaker(brittle());
    assert_eq!(breaker.slow_after_ns(), None);
    worker.calls(&[Well, Slowly, Slowly], 0);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn cb1_a_slow_probe_has_failed() {
    let (breaker, worker) = new_breaker(brittle().slow_call(Duration::from_nanos(50), 1.0));
    worker.calls(&[Badly], 0);
    assert_eq!(worker.call(Slowly, 100), Said::Probe);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn cb1_the_wait_grows_with_each_opening_and_closing_resets_it() {
    let (breaker, worker) = new_breaker(brittle());
    worker.calls(&[Badly], 0);
    let mut opened_at = 0;
    for wait in [100, 200, 400, 500, 500] {
        let until = opened_at + wait;
        assert_eq!(worker.call(Well, opened_at), Said::Refused(Some(until)));
        assert_eq!(worker.call(Well, until - 1), Said::Refused(Some(until)));
        assert_eq!(worker.call(Badly, until), Said::Probe);
        opened_at = until;
    }
    assert_eq!(breaker.status().openings_in_row, 6);
    let at = opened_at + 500;
    assert_eq!(worker.call(Well, at), Said::Probe);
    assert_eq!(worker.call(Well, at), Said::Probe);
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.status().openings_in_row, 0);
    worker.calls(&[Badly], at);
    assert_eq!(worker.call(Well, at), Said::Refused(Some(at + 100)));
}

#[test]
fn cb1_windows_begin_anew_when_it_closes() {
    let (breaker, worker) = new_breaker(policy());
    worker.calls(&[Badly; 10], 0);
    assert_eq!(worker.call(Well, 100), Said::Probe);
    assert_eq!(worker.call(Well, 100), Said::Probe);
    let status = breaker.status();
    assert_eq!((status.calls, status.failures), (0, 0));
    worker.calls(&[Well; 5], 200);
    worker.calls(&[Badly; 4], 200);
    assert_eq!(breaker.state(), BreakerState::Closed);
    worker.calls(&[Badly], 200);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn cb1_forced_open_and_disabled_stay_until_told_otherwise() {
    let (breaker, worker) = new_breaker(brittle());
    breaker.force_open();
    breaker.force_open();
    assert_eq!(worker.call(Well, u64::MAX), Said::Refused(None));
    breaker.disable();
    worker.calls(&[Badly; 50], 0);
    assert_eq!(breaker.state(), BreakerState::Disabled);
    breaker.reset();
    let status = breaker.status();
    assert_eq!((status.calls, status.failures), (0, 0));
    worker.calls(&[Badly], 0);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker.reset();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.status().transitions.total(), 5);
}

#[test]
fn cb1_a_reset_empties_the_windows_of_a_closed_breaker() {
    let (breaker, worker) = new_breaker(policy());
    worker.calls(&[Badly; 9], 0);
    breaker.reset();
    assert_eq!(breaker.status().calls, 0);
    assert_eq!(breaker.status().epoch, 0);
    worker.calls(&[Badly], 0);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn cb1_a_time_window_forgets_what_is_older() {
    let window = Window::Time(Duration::from_millis(1));
    let (breaker, worker) = new_breaker(policy().window(window).minimum_calls(4));
    worker.calls(&[Badly; 3], 0);
    worker.calls(&[Well; 3], 500_000);
    // The failures of the first tenth are forgotten with it.
    worker.calls(&[Badly], 1_000_000);
    let status = breaker.status();
    assert_eq!((status.calls, status.failures), (4, 1));
    worker.calls(&[Badly, Badly], 1_000_000);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn cb2_sixty_four_threads_are_given_the_permits_and_no_more() {
    for permits in [1, 7, 64] {
        let (breaker, worker) = new_breaker(brittle().half_open_permits(permits));
        worker.calls(&[Badly], 0);
        let given = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..64)
            .map(|_| {
                let (breaker, given) = (breaker.clone(), Arc::clone(&given));
                start(move || {
                    for _ in 0..50 {
                        if let Admit::Probe(permit) = breaker.admit(100) {
                            given.lock().push(permit);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let given = mem_take(&given);
        assert_eq!(given.len(), permits as usize);
        assert_eq!(breaker.status().permits_out, permits);
        assert_eq!(breaker.status().transitions.to_half_open, 1);
        for permit in given {
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            breaker.on_success(permit, 100);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

fn mem_take(given: &Mutex<Vec<Permit>>) -> Vec<Permit> {
    std::mem::take(&mut given.lock())
}

#[test]
fn cb2_an_ignored_or_cancelled_probe_returns_its_permit() {
    let (breaker, worker) = new_breaker(brittle().half_open_permits(1));
    worker.calls(&[Badly], 0);
    assert_eq!(worker.call(Aside, 100), Said::Probe);
    let permit = worker.begin(100).unwrap().expect("it is there again");
    assert_eq!(worker.begin(100), Err(Some(1_100)));
    let notified = worker.seat.notified.load(Ordering::Relaxed);
    breaker.on_ignored(permit);
    assert_eq!(
        worker.seat.notified.load(Ordering::Relaxed),
        notified + 1,
        "who was refused may ask again"
    );
    assert_eq!(worker.call(Well, 100), Said::Probe);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn cb2_a_probe_that_never_returns_does_not_stick() {
    let (breaker, worker) = new_breaker(brittle());
    let told = told(&breaker);
    worker.calls(&[Badly], 0);
    let lost = worker.begin(100).unwrap().unwrap();
    // Others that come and go do not prolong it.
    for now in [500, 900, 1_099] {
        assert_eq!(worker.call(Aside, now), Said::Probe);
    }
    assert_eq!(worker.call(Well, 1_100), Said::Refused(Some(1_300)));
    assert_eq!(told.lock().last().unwrap().cause, BreakerCause::ProbeLimit);
    // It comes back in another episode, and counts for nothing.
    let first = worker.begin(1_300).unwrap().unwrap();
    worker.end(Well, Some(lost), 1_300);
    assert_eq!(breaker.status().probes_succeeded, 0);
    worker.end(Well, Some(first), 1_300);
    assert_eq!(worker.call(Well, 1_300), Said::Probe);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn cb2_an_episode_without_traffic_is_not_cut_short() {
    let (breaker, worker) = new_breaker(brittle());
    worker.calls(&[Badly], 0);
    assert_eq!(worker.call(Well, 100), Said::Probe);
    // No probe is out, so there is nothing to give up, and the next has the whole limit.
    let last = worker.begin(50_000).unwrap().unwrap();
    assert_eq!(worker.begin(50_999), Err(Some(51_000)));
    worker.end(Well, Some(last), 50_999);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn cb2_a_result_counts_only_in_the_epoch_of_its_permit() {
    for late in [Well, Badly, Aside] {
        let (breaker, worker) = new_breaker(brittle());
        worker.calls(&[Badly], 0);
        let old = worker.begin(100).unwrap().unwrap();
        assert_eq!(worker.call(Badly, 100), Said::Probe);
        let other = worker.begin(300).unwrap().unwrap();
        let before = breaker.status();
        worker.end(late, Some(old), 300);
        let after = breaker.status();
        assert_eq!(after.epoch, before.epoch, "{late:?}");
        assert_eq!(after.permits_out, 1, "{late:?}");
        assert_eq!(after.probes_succeeded, 0, "{late:?}");
        worker.end(Badly, Some(other), 300);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[test]
fn cb2_what_began_closed_decides_nothing_in_half_open() {
    for late in [Well, Badly] {
        let (breaker, worker) = new_breaker(brittle().half_open_permits(1));
        let early = worker.begin(0).unwrap();
        assert_eq!(early, None);
        worker.calls(&[Badly], 0);
        let probe = worker.begin(100).unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        worker.end(late, early, 100);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "{late:?}");
        assert_eq!(breaker.status().permits_out, 1);
        worker.end(Well, probe, 100);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.status().calls, 0, "{late:?} is not in the window");
    }
}

#[test]
fn cb2_each_transition_is_told_once_and_in_order() {
    let (breaker, worker) = new_breaker(brittle());
    let told = told(&breaker);
    worker.calls(&[Badly], 5);
    assert_eq!(worker.call(Badly, 105), Said::Probe);
    assert_eq!(worker.call(Well, 305), Said::Probe);
    assert_eq!(worker.call(Well, 306), Said::Probe);
    breaker.force_open();
    use BreakerState::{Closed, ForcedOpen, HalfOpen, Open};
    let seen: Vec<_> = told
        .lock()
        .iter()
        .map(|made| (made.epoch, made.from, made.to, made.cause, made.at_ns))
        .collect();
    let expected = [
        (1, Closed, Open, BreakerCause::FailureRate, Some(5)),
        (2, Open, HalfOpen, BreakerCause::WaitOver, Some(105)),
        (3, HalfOpen, Open, BreakerCause::ProbeFailed, Some(105)),
        (4, Open, HalfOpen, BreakerCause::WaitOver, Some(305)),
        (
            5,
            HalfOpen,
            Closed,
            BreakerCause::ProbesSucceeded,
            Some(306),
        ),
        (6, Closed, ForcedOpen, BreakerCause::ByHand, Some(306)),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn cb2_observers_may_use_the_breaker_and_panic() {
    let (breaker, _worker) = new_breaker(policy());
    breaker.on_transition(|_| panic!("contained"));
    // Let go of at the end: a breaker whose observer has it keeps itself.
    let lent = Arc::new(Mutex::new(Some(breaker.clone())));
    let held = Arc::clone(&lent);
    breaker.on_transition(move |made| {
        let other = held.lock().clone().expect("lent");
        if made.to == BreakerState::ForcedOpen {
            other.disable();
            assert_eq!(other.status().state, BreakerState::Disabled);
        }
    });
    let told = told(&breaker);
    breaker.force_open();
    let told: Vec<_> = told.lock().iter().map(|made| made.to).collect();
    assert_eq!(told, [BreakerState::ForcedOpen, BreakerState::Disabled]);
    *lent.lock() = None;
}

#[test]
fn cb2_what_a_slow_observer_misses_is_counted() {
    let (breaker, _worker) = new_breaker(policy());
    let lent = Arc::new(Mutex::new(Some(breaker.clone())));
    let held = Arc::clone(&lent);
    breaker.on_transition(move |made| {
        let other = held.lock().clone().expect("lent");
        // While the first is told, many more are made.
        for _ in 0..if made.epoch == 1 { 1_000 } else { 0 } {
            other.reset();
            other.force_open();
        }
    });
    let told = told(&breaker);
    breaker.force_open();
    let status = breaker.status();
    assert_eq!(status.epoch, 2_001);
    assert_eq!(status.transitions.untold, 2_000 - 1_024);
    let told = told.lock();
    assert_eq!(told.len(), 1 + 1_024);
    assert!(told.is_sorted_by_key(|made| made.epoch));
    *lent.lock() = None;
}

#[test]
fn cb2_one_event_for_each_of_many_racing_transitions() {
    let (breaker, worker) = new_breaker(brittle().open_wait(Duration::from_nanos(1)));
    let told = told(&breaker);
    let worker = Arc::new(worker);
    let threads: Vec<_> = (0..8_u64)
        .map(|nth| {
            let worker = Arc::clone(&worker);
            let breaker = breaker.clone();
            start(move || {
                for step in 0..300_u64 {
                    let now = step * 1_000;
                    match (nth, step % 7) {
                        (0, 0) => breaker.force_open(),
                        (0, 3) => breaker.reset(),
                        (1, 5) => breaker.disable(),
                        (1, 6) => breaker.reset(),
                        (_, at) => {
                            let call = [Badly, Well, Aside, Well][at as usize % 4];
                            let _ = worker.call(call, now);
                        }
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let status = breaker.status();
    assert_eq!(status.transitions.total(), status.epoch);
    let told = told.lock();
    assert_eq!(told.len() as u64 + status.transitions.untold, status.epoch);
    if status.transitions.untold == 0 {
        assert!(told.iter().map(|made| made.epoch).eq(1..=status.epoch));
        assert!(told.windows(2).all(|two| two[0].to == two[1].from));
    }
    assert_eq!(
        worker.seat.asks.load(Ordering::Relaxed),
        !breaker.state().passes(),
        "marks end as the word does"
    );
}

#[test]
fn cb3_a_refusal_counts_nothing_and_says_when_to_ask_again() {
    let (breaker, worker) = new_breaker(brittle());
    worker.calls(&[Well, Badly], 0);
    let before = breaker.status();
    for now in 0..100 {
        assert_eq!(worker.call(Badly, now), Said::Refused(Some(100)));
    }
    let after = breaker.status();
    assert_eq!(after.half_open_in, Some(Duration::from_nanos(1)));
    assert_eq!(
        BreakerStatus {
            half_open_in: before.half_open_in,
            ..after
        },
        before
    );
    assert_eq!(breaker.on_open(), OnOpen::Pause);
}

#[test]
fn cb3_whoever_was_refused_is_notified_of_each_transition() {
    let (breaker, worker) = new_breaker(brittle().half_open_permits(1));
    let other = TestWorker::new(&breaker);
    let notified = || other.seat.notified.load(Ordering::Relaxed);
    worker.calls(&[Badly], 0);
    assert_eq!(notified(), 1);
    assert_eq!(other.call(Well, 50), Said::Refused(Some(100)));
    assert_eq!(worker.call(Well, 100), Said::Probe);
    assert_eq!(notified(), 3, "half-open and closed");
    assert_eq!(other.call(Well, 100), Said::Pass);
    breaker.leave(&other.member);
    breaker.force_open();
    assert_eq!(notified(), 3, "who has left is let be");
}

#[test]
fn cb4_a_closed_breaker_is_not_asked() {
    let (breaker, worker) = new_breaker(policy());
    let asks = |worker: &TestWorker| worker.seat.asks.load(Ordering::Relaxed);
    assert!(!asks(&worker));
    for (change, expected) in [
        (Breaker::force_open as fn(&Breaker), true),
        (Breaker::disable, false),
        (Breaker::force_open, true),
        (Breaker::reset, false),
    ] {
        change(&breaker);
        assert_eq!(asks(&worker), expected);
        assert_eq!(asks(&TestWorker::new(&breaker)), expected, "who joins late");
    }
    // Asked all the same, it says so.
    assert_eq!(breaker.admit(0), Admit::Pass);
}

#[test]
fn cb5_successes_of_a_closed_breaker_are_not_looked_at() {
    let (breaker, worker) = new_breaker(policy().minimum_calls(2));
    let looks = worker.seat.looks.load(Ordering::Relaxed);
    worker.calls(&[Well; 1_000], 0);
    assert_eq!(worker.seat.looks.load(Ordering::Relaxed), looks);
    // And are known when one fails.
    worker.calls(&[Badly], 0);
    let status = breaker.status();
    assert_eq!((status.calls, status.failures), (10, 1));
}

#[test]
fn cb5_a_time_window_is_touched_ten_times() {
    let window = Window::Time(Duration::from_millis(1));
    let (_breaker, worker) = new_breaker(policy().window(window));
    let looks = worker.seat.looks.load(Ordering::Relaxed);
    for now in 0..3_000 {
        worker.calls(&[Well], now * 1_000);
    }
    assert_eq!(worker.seat.looks.load(Ordering::Relaxed), looks + 30);
}

#[test]
fn cb5_the_windows_of_all_workers_are_summed() {
    let (breaker, worker) = new_breaker(policy());
    let others = [TestWorker::new(&breaker), TestWorker::new(&breaker)];
    worker.calls(&[Badly; 4], 0);
    others[0].calls(&[Well; 5], 0);
    assert_eq!(breaker.state(), BreakerState::Closed);
    others[1].calls(&[Badly], 0);
    assert_eq!(breaker.state(), BreakerState::Open);
    let status = breaker.status();
    assert_eq!((status.calls, status.failures), (10, 5));
    breaker.leave(&worker.member);
    assert_eq!(breaker.status().calls, 6);
}
