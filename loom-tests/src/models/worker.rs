//! A worker that parks, that is asked whether it is quiet, that ends (W1, W4, W5).
//!
//! The worker's own file needs handlers, clocks and events, so its loop is told here in a few lines,
//! with the real port, lanes and inboxes under it.

use super::{BARRIER, Cell, bounded, every};
use crate::lane::{Flow, Inbox, LaneRx, LaneTx, Port, Room, Wake, lane};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Weakness, thread, weakened};
use crate::worker::{Answer, Phase, PhaseWord};

pub(super) enum Letter {
    Install(Arc<Answer>),
    Remove(Arc<Answer>),
    Stop,
}

pub(super) type Letters = Port<u32, Letter>;

/// The way to sleep: announce, look at everything, and only then close the eyes.
pub(super) fn park(port: &Letters, has_anything: impl Fn() -> bool) {
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

/// One worker of an unordered pool is busy, the other parks beside the queue that they share; each push
/// wakes one that sleeps, as `Fabric::ring_pool` does. `goes_on` is whether the bell of the busy one is
/// passed over.
fn shared_queue(goes_on: bool) {
    let queue = Arc::new(Inbox::new(1));
    let bells = [(); 2].map(|()| Arc::new(Wake::new()));
    let publisher = thread::spawn({
        let (queue, bells) = (Arc::clone(&queue), bells.clone());
        move || {
            assert!(queue.reserve(), "there is room");
            queue.push(1);
            BARRIER.light();
            for bell in &bells {
                if (bell.is_parked() && bell.wake()) || !goes_on {
                    break;
                }
            }
        }
    });
    while queue.pop().is_none() {
        if bells[1].announce(BARRIER) {
            if queue.has_waiting() {
                bells[1].cancel();
            } else {
                bells[1].sleep(None);
            }
        }
    }
    publisher.join().unwrap();
}

#[test]
fn w1_no_worker_of_a_pool_sleeps_beside_its_queue() {
    every(|| shared_queue(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn w1_twin_of_a_pool_whose_first_bell_is_rung_only() {
    every(|| shared_queue(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn w1_twin_of_a_pool_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| shared_queue(true)));
}

/// An inbox that is made beside a worker that parks.
fn first_use() {
    let port = Arc::new(Letters::new(1));
    let anybody = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            assert!(port.inbox(0).reserve(), "there is room");
            port.inbox(0).push(1);
            port.wake.notify(BARRIER);
        }
    });
    let inbox = || port.used_inbox(0);
    while inbox().and_then(Inbox::pop).is_none() {
        park(&port, || inbox().is_some_and(Inbox::has_waiting));
    }
    anybody.join().unwrap();
}

#[test]
fn w1_an_inbox_made_beside_a_parking_worker_is_found() {
    every(first_use);
}

#[test]
#[should_panic(expected = "deadlock")]
fn w1_twin_of_an_inbox_made_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(first_use));
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

fn answer_all(port: &Letters) {
    while let Some(letter) = port.take_control() {
        if let Letter::Remove(answer) = letter {
            answer.give(Ok(()));
        }
    }
}

/// A letter is sent while its worker ends: the worker says so and reads once more, the sender sends
/// and looks whether it has ended. The handler's state, which the worker dropped before, is then behind.
fn end(reads_once_more: bool) {
    let port = Arc::new(Letters::new(1));
    let phase = Arc::new(PhaseWord::new());
    phase.set(Phase::Ending);
    let state = Arc::new(Cell::default());
    let worker = thread::spawn({
        let (port, phase, state) = (Arc::clone(&port), Arc::clone(&phase), Arc::clone(&state));
        move || {
            state.touch();
            phase.set(Phase::Stopped);
            BARRIER.heavy();
            if reads_once_more {
                answer_all(&port);
            }
        }
    });
    let answer = Answer::new(1);
    port.send(Letter::Remove(Arc::clone(&answer)), BARRIER);
    BARRIER.heavy();
    if phase.get() == Phase::Stopped {
        answer_all(&port);
    }
    answer.wait();
    state.touch();
    worker.join().unwrap();
}

#[test]
fn w5_edge_ended_a_letter_to_an_ending_worker_is_answered() {
    every(|| end(true));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn w5_edge_ended_twin_without_release() {
    weakened(Weakness::NoRelease("ended"), || every(|| end(true)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn w5_edge_ended_twin_without_acquire() {
    weakened(Weakness::NoAcquire("ended"), || every(|| end(true)));
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
