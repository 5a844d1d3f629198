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

/// What somebody waits for who has sent a letter; `worker/letter.rs` counts several workers down.
struct Answer {
    is_given: Mutex<bool>,
    changed: Condvar,
}

impl Answer {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            is_given: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    fn give(&self) {
        *self.is_given.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut is_given = self.is_given.lock().unwrap();
        while !*is_given {
            is_given = self.changed.wait(is_given).unwrap();
        }
    }
}

enum Letter {
    Install(Arc<Answer>),
    Remove(Arc<Answer>),
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
                            answer.give();
                        }
                        Letter::Stop => return,
                        Letter::Remove(_) => unreachable!("not sent here"),
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
    let answer = Answer::new();
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
                        answer.give();
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
    let answer = Answer::new();
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

/// What a worker answers to a round, given whether it took anything since the last one and whether
/// anything waits.
type IsActive = fn(bool, bool) -> bool;

/// One of two workers that pass an event to and fro.
struct Passer {
    rx: LaneRx<u32>,
    tx: LaneTx<u32>,
    was_active: bool,
    is_active: IsActive,
}

impl Passer {
    /// One batch of one event.
    fn turn(&mut self) -> usize {
        let tx = &mut self.tx;
        let taken = self.rx.take(1, BARRIER, |hops, _| {
            if *hops > 0 {
                let next = *hops - 1;
                assert!(tx.push_with(|slot| slot.write(next)), "there is room");
            }
            Flow::Next
        });
        self.was_active |= taken > 0;
        taken
    }

    /// The answer to a round, between two batches.
    fn answer(&mut self) -> bool {
        let active = (self.is_active)(self.was_active, self.rx.has_waiting());
        self.was_active = false;
        active
    }

    fn end(&self) {
        assert!(!self.rx.has_waiting(), "a quiet engine has nothing left");
    }
}

/// The round that means the end.
const END: u32 = u32::MAX;

/// An event goes `hops` times from worker to worker while the closer asks until `quiet_rounds` in a
/// row found nobody active. The closer is on the first worker's thread, between two batches of it:
/// that is where a worker reads its letters anyway.
fn drain(hops: u32, quiet_rounds: usize, is_active: IsActive) {
    let (to_here, here_rx) = lane(2, Arc::new(Room::new()));
    let (mut to_there, there_rx) = lane(2, Arc::new(Room::new()));
    assert!(to_there.push_with(|slot| slot.write(hops)), "there is room");
    let passer = |rx, tx| Passer {
        rx,
        tx,
        was_active: false,
        is_active,
    };
    let mut here = passer(here_rx, to_there);
    let mut there = passer(there_rx, to_here);
    let asked = Arc::new(AtomicU32::new(0));
    // The round and, in the lowest bit, whether the worker was active.
    let answered = Arc::new(AtomicU32::new(0));
    let worker = thread::spawn({
        let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
        move || {
            let mut last = 0;
            loop {
                // Acquire and Release as an answer's lock and a letter's queue have them.
                let round = asked.load(Ordering::Acquire);
                if round == END {
                    return there.end();
                }
                let taken = there.turn();
                if round != last {
                    last = round;
                    let active = u32::from(there.answer());
                    answered.store(2 * round + active, Ordering::Release);
                } else if taken == 0 {
                    thread::yield_now();
                }
            }
        }
    });
    let (mut quiet, mut round) = (0, 0);
    while quiet < quiet_rounds {
        round += 1;
        asked.store(round, Ordering::Release);
        here.turn();
        let mut active = here.answer();
        loop {
            let answer = answered.load(Ordering::Acquire);
            if answer / 2 == round {
                active |= answer % 2 == 1;
                break;
            }
            if here.turn() == 0 {
                thread::yield_now();
            }
        }
        quiet = if active { 0 } else { quiet + 1 };
    }
    asked.store(END, Ordering::Release);
    here.end();
    worker.join().unwrap();
}

#[test]
fn w4_two_quiet_rounds_leave_nothing() {
    // Two threads that ask each other in loops: bounded all the same.
    bounded(|| drain(2, 2, |was_active, waits| was_active || waits));
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
            answer.give();
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
    let answer = Answer::new();
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
