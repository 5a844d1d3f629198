//! What rests on letters to workers: parking, subscribing, unsubscribing, quiet, ending (W1 to W5).
//!
//! The worker's own file needs handlers, clocks and events, so its loop is told here in a few lines,
//! with the real port, lanes and inboxes under it.

#![allow(
    unsafe_code,
    reason = "a handler's state is handed over by an answer, and loom is to check that"
)]

use super::{BARRIER, bounded, every};
use crate::lane::{Flow, LaneRx, LaneTx, Port, Room, lane};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, UnsafeCell, Weakness, thread, weakened};
use loom::sync::{Condvar, Mutex};

/// Counts workers down; what `worker/letter.rs` calls an answer, and a round with it.
struct Answer {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Answer {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new((workers, false)),
            changed: Condvar::new(),
        })
    }

    fn give(&self, is_active: bool) {
        let mut state = self.state.lock().unwrap();
        state.0 -= 1;
        state.1 |= is_active;
        if state.0 == 0 {
            self.changed.notify_all();
        }
    }

    /// Waits for all; whether any was active.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        while state.0 != 0 {
            state = self.changed.wait(state).unwrap();
        }
        state.1
    }
}

enum Letter {
    Install(Arc<Answer>),
    Remove(Arc<Answer>),
    Round(Arc<Answer>),
    Stop,
}

type Letters = Port<u32, Letter>;

/// The way to sleep: announce, look at everything, and only then close the eyes.
fn park(port: &Letters, has_anything: impl Fn() -> bool) {
    if port.wake.announce(BARRIER) {
        if port.has_control() || has_anything() {
            port.wake.cancel();
        } else {
            port.wake.sleep(None);
        }
    }
}

/// A letter, a slot in a lane and a value in an inbox, each from a thread of its own.
fn three_sources(looks_at_the_inbox: bool) {
    let port = Arc::new(Letters::new(1));
    // Made before the threads are, as the once-cell around it is not loom's.
    let _ = port.inbox(0);
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let owner = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            assert!(tx.push_with(|slot| slot.write(1_u32)), "there is room");
            port.wake.notify(BARRIER);
            port.send(Letter::Stop, BARRIER);
        }
    });
    let anybody = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            assert!(port.inbox(0).reserve(), "there is room");
            port.inbox(0).push(2);
            port.wake.notify(BARRIER);
        }
    });
    let (mut sum, mut is_stopped) = (0, false);
    while sum < 3 || !is_stopped {
        if let Some(Letter::Stop) = port.take_control() {
            is_stopped = true;
        }
        rx.take(8, BARRIER, |slot, _| {
            sum += *slot;
            Flow::Next
        });
        while let Some(value) = port.inbox(0).pop() {
            port.inbox(0).give_back(1, BARRIER);
            sum += value;
        }
        if sum < 3 || !is_stopped {
            park(&port, || {
                rx.has_waiting() || (looks_at_the_inbox && port.inbox(0).has_waiting())
            });
        }
    }
    owner.join().unwrap();
    anybody.join().unwrap();
}

#[test]
fn w1_nothing_waits_beside_a_parked_worker() {
    bounded(|| three_sources(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn w1_twin_that_forgets_to_look_at_the_inbox() {
    bounded(|| three_sources(false));
}

/// A subscription is installed, then the route to it opens, then a publisher that sees the route
/// sends an event.
fn subscribe(waits: bool) {
    let port = Arc::new(Letters::new(1));
    let route = Arc::new(AtomicU32::new(0));
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let worker = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            let mut is_installed = false;
            loop {
                while let Some(letter) = port.take_control() {
                    match letter {
                        Letter::Install(answer) => {
                            is_installed = true;
                            answer.give(false);
                        }
                        Letter::Stop => return,
                        Letter::Remove(_) | Letter::Round(_) => unreachable!("not sent here"),
                    }
                }
                rx.take(8, BARRIER, |_, _| {
                    assert!(is_installed, "a worker knows a type before its events");
                    Flow::Next
                });
                park(&port, || rx.has_waiting());
            }
        }
    });
    let publisher = thread::spawn({
        let (port, route) = (Arc::clone(&port), Arc::clone(&route));
        move || {
            // Acquire and Release here as in `Routes`.
            if route.load(Ordering::Acquire) == 1 {
                assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
                port.wake.notify(BARRIER);
            }
        }
    });
    let answer = Answer::new(1);
    port.send(Letter::Install(Arc::clone(&answer)), BARRIER);
    if waits {
        answer.wait();
    }
    route.store(1, Ordering::Release);
    publisher.join().unwrap();
    port.send(Letter::Stop, BARRIER);
    worker.join().unwrap();
}

#[test]
fn w2_a_worker_knows_a_type_before_its_events() {
    bounded(|| subscribe(true));
}

#[test]
#[should_panic(expected = "a worker knows a type before its events")]
fn w2_twin_that_opens_the_route_before_the_answer() {
    bounded(|| subscribe(false));
}

/// A handler's state, which must not be in use once `unsubscribe` has returned.
struct State(UnsafeCell<()>);

// SAFETY: handed from the worker to whoever got its answer (W3); loom checks that.
unsafe impl Sync for State {}

fn unsubscribe(waits: bool) {
    let port = Arc::new(Letters::new(1));
    let state = Arc::new(State(UnsafeCell::new(())));
    let (mut tx, mut rx) = lane(2, Arc::new(Room::new()));
    let worker = thread::spawn({
        let (port, state) = (Arc::clone(&port), Arc::clone(&state));
        move || {
            let mut is_installed = true;
            while is_installed {
                while let Some(letter) = port.take_control() {
                    if let Letter::Remove(answer) = letter {
                        is_installed = false;
                        answer.give(false);
                    }
                }
                rx.take(1, BARRIER, |_, _| {
                    if is_installed {
                        // The worker alone calls the handler until it has answered (W3).
                        state.0.with_mut(|_| ());
                    }
                    Flow::Next
                });
                if is_installed {
                    park(&port, || rx.has_waiting());
                }
            }
        }
    });
    assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
    port.wake.notify(BARRIER);
    let answer = Answer::new(1);
    port.send(Letter::Remove(Arc::clone(&answer)), BARRIER);
    if waits {
        answer.wait();
    }
    // The worker has answered, so no call is in flight and none begins (W3).
    state.0.with_mut(|_| ());
    worker.join().unwrap();
}

#[test]
fn w3_no_call_is_in_flight_after_unsubscribing() {
    bounded(|| unsubscribe(true));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn w3_twin_that_does_not_wait_for_the_answer() {
    bounded(|| unsubscribe(false));
}

/// One of two workers that pass an event to and fro; answers rounds with `is_active`, which is given
/// whether it took anything since the last round and whether anything waits.
fn pass_on(
    own: &Letters,
    other: &Letters,
    rx: &mut LaneRx<u32>,
    tx: &mut LaneTx<u32>,
    is_active: fn(bool, bool) -> bool,
) {
    let mut was_active = false;
    loop {
        let mut rounds = Vec::new();
        while let Some(letter) = own.take_control() {
            match letter {
                Letter::Round(round) => rounds.push(round),
                Letter::Stop => {
                    assert!(!rx.has_waiting(), "a quiet engine has nothing left");
                    return;
                }
                Letter::Install(_) | Letter::Remove(_) => unreachable!("not sent here"),
            }
        }
        let taken = rx.take(1, BARRIER, |hops, _| {
            if *hops > 0 {
                let next = *hops - 1;
                assert!(tx.push_with(|slot| slot.write(next)), "there is room");
                other.wake.notify(BARRIER);
            }
            Flow::Next
        });
        was_active |= taken > 0;
        for round in rounds {
            round.give(is_active(was_active, rx.has_waiting()));
            was_active = false;
        }
        if taken == 0 {
            park(own, || rx.has_waiting());
        }
    }
}

/// An event goes `hops` times from worker to worker while the closer asks for `quiet_rounds` in a row
/// in which nobody was active.
fn drain(hops: u32, quiet_rounds: usize, is_active: fn(bool, bool) -> bool) {
    let left = Arc::new(Letters::new(1));
    let right = Arc::new(Letters::new(1));
    let (mut to_left, mut left_rx) = lane(2, Arc::new(Room::new()));
    let (mut to_right, mut right_rx) = lane(2, Arc::new(Room::new()));
    assert!(to_left.push_with(|slot| slot.write(hops)), "there is room");
    let workers = [
        thread::spawn({
            let (left, right) = (Arc::clone(&left), Arc::clone(&right));
            move || pass_on(&left, &right, &mut left_rx, &mut to_right, is_active)
        }),
        thread::spawn({
            let (left, right) = (Arc::clone(&left), Arc::clone(&right));
            move || pass_on(&right, &left, &mut right_rx, &mut to_left, is_active)
        }),
    ];
    let mut quiet = 0;
    while quiet < quiet_rounds {
        let round = Answer::new(2);
        for port in [&left, &right] {
            port.send(Letter::Round(Arc::clone(&round)), BARRIER);
        }
        quiet = if round.wait() { 0 } else { quiet + 1 };
    }
    for port in [&left, &right] {
        port.send(Letter::Stop, BARRIER);
    }
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn w4_two_quiet_rounds_leave_nothing() {
    bounded(|| drain(1, 2, |was_active, waits| was_active || waits));
}

#[test]
#[should_panic(expected = "a quiet engine has nothing left")]
fn w4_twin_that_forgets_what_it_took() {
    bounded(|| drain(2, 1, |_, waits| waits));
}

#[test]
#[should_panic(expected = "a quiet engine has nothing left")]
fn w4_twin_that_forgets_what_it_took_in_two_rounds() {
    bounded(|| drain(3, 2, |_, waits| waits));
}

const RUNNING: u32 = 0;
const STOPPED: u32 = 1;

fn answer_all(port: &Letters) {
    while let Some(letter) = port.take_control() {
        if let Letter::Remove(answer) = letter {
            answer.give(false);
        }
    }
}

/// A letter is sent while its worker ends: the worker says so and reads once more, the sender sends
/// and looks whether it has ended.
fn end(reads_once_more: bool) {
    let port = Arc::new(Letters::new(1));
    let phase = Arc::new(AtomicU32::new(RUNNING));
    let worker = thread::spawn({
        let (port, phase) = (Arc::clone(&port), Arc::clone(&phase));
        move || {
            answer_all(&port);
            phase.store(STOPPED, Ordering::Release);
            BARRIER.heavy();
            if reads_once_more {
                answer_all(&port);
            }
        }
    });
    let answer = Answer::new(1);
    port.send(Letter::Remove(Arc::clone(&answer)), BARRIER);
    BARRIER.heavy();
    if phase.load(Ordering::Acquire) == STOPPED {
        answer_all(&port);
    }
    answer.wait();
    worker.join().unwrap();
}

#[test]
fn w5_a_letter_to_an_ending_worker_is_answered() {
    every(|| end(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn w5_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| end(true)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn w5_twin_that_reads_only_before_it_says_so() {
    every(|| end(false));
}
