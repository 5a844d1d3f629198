//! A stopper beside a publisher and a worker (L5, L6, R2).

use super::worker::{Letter, Letters, park};
use super::{BARRIER, bounded};
use crate::lane::{Busy, Flow, Gate, GateState, LaneTx, Room, lane};
use crate::sync::{Arc, Mutex, Weakness, thread, weakened};

fn publish(gate: &Gate, busy: &Busy, tx: &mut LaneTx<u32>) -> bool {
    busy.enter(BARRIER);
    let pushed = gate.is_open() && tx.push_with(|slot| slot.write(7));
    busy.leave();
    pushed
}

fn publish_without_a_bracket(gate: &Gate, _busy: &Busy, tx: &mut LaneTx<u32>) -> bool {
    BARRIER.light();
    gate.is_open() && tx.push_with(|slot| slot.write(7))
}

/// A publisher publishes, its worker takes and parks, the stopper shuts the gate, waits by `wait`, and
/// sends the worker the letter behind which nothing comes.
fn stop(publish: fn(&Gate, &Busy, &mut LaneTx<u32>) -> bool, wait: impl Fn(&Busy)) {
    let gate = Arc::new(Gate::new());
    let busy = Arc::new(Busy::new());
    let port = Arc::new(Letters::new(1));
    let (mut tx, mut rx) = lane(2, Arc::new(Room::new()));
    let publisher = thread::spawn({
        let (gate, busy, port) = (Arc::clone(&gate), Arc::clone(&busy), Arc::clone(&port));
        move || {
            let pushed = publish(&gate, &busy, &mut tx);
            if pushed {
                port.wake.notify(BARRIER);
            }
            usize::from(pushed)
        }
    });
    let worker = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            let (mut taken, mut is_stopped) = (0, false);
            while !is_stopped {
                is_stopped = port.take_control().is_some();
                taken += rx.take(8, BARRIER, |_, _| Flow::Next);
                if !is_stopped {
                    park(&port, || rx.has_waiting());
                }
            }
            taken
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    wait(&busy);
    port.send(Letter::Stop, BARRIER);
    let admitted = publisher.join().unwrap();
    let taken = worker.join().unwrap();
    assert_eq!(
        taken, admitted,
        "the last taking finds all that was admitted"
    );
}

#[test]
fn l5_a_worker_that_is_stopped_has_taken_all_that_was_admitted() {
    bounded(|| stop(publish, Busy::wait_clear));
}

#[test]
#[should_panic(expected = "the last taking finds all that was admitted")]
fn l5_twin_of_three_that_does_not_wait() {
    bounded(|| stop(publish, |_| ()));
}

#[test]
#[should_panic(expected = "the last taking finds all that was admitted")]
fn l5_twin_of_three_without_a_bracket() {
    bounded(|| {
        stop(publish_without_a_bracket, Busy::wait_clear);
    });
}

/// A publisher has two for a full lane, its worker makes room for one, a stopper shuts the gate and wakes
/// by `wake`.
fn stop_a_waiting_publisher(wake: impl Fn(&Room)) {
    let gate = Arc::new(Gate::new());
    let room = Arc::new(Room::new());
    let (mut tx, mut rx) = lane(1, Arc::clone(&room));
    assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
    let publisher = thread::spawn({
        let (gate, room) = (Arc::clone(&gate), Arc::clone(&room));
        move || {
            let mut pushed = 0;
            while pushed < 2 && gate.is_open() {
                if tx.push_with(|slot| slot.write(7)) {
                    pushed += 1;
                    continue;
                }
                room.announce(BARRIER);
                if tx.credit() > 0 || !gate.is_open() {
                    room.cancel();
                } else {
                    room.sleep(None);
                }
            }
            assert!(pushed < 2, "there was room for one");
        }
    });
    let worker = thread::spawn(move || {
        assert_eq!(rx.take(1, BARRIER, |_, _| Flow::Next), 1);
        rx
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    wake(&room);
    publisher.join().unwrap();
    drop(worker.join().unwrap());
}

#[test]
fn l6_a_publisher_waits_for_room_or_for_the_stopper() {
    bounded(|| stop_a_waiting_publisher(Room::wake));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_of_a_stopper_that_wakes_nobody() {
    bounded(|| stop_a_waiting_publisher(|_| ()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_of_a_stopper_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || {
        bounded(|| stop_a_waiting_publisher(Room::wake));
    });
}

/// A publisher that is made, publishes and goes while the gate is shut, told as `Fabric` does it.
fn come_publish_and_go(lists_first: bool) {
    let gate = Arc::new(Gate::new());
    let alive = Arc::new(Mutex::new(Vec::new()));
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let publisher = thread::spawn({
        let (gate, alive) = (Arc::clone(&gate), Arc::clone(&alive));
        move || {
            let busy = Arc::new(Busy::new());
            // Lock [enlist]: as in `Fabric::enlist`.
            alive.lock().push(Arc::clone(&busy));
            let pushed = publish(&gate, &busy, &mut tx);
            // Lock [enlist]: as in `Fabric::retire`.
            alive.lock().clear();
            usize::from(pushed)
        }
    });
    let list = || -> Vec<Arc<Busy>> {
        // Lock [enlist]: as in `Fabric::publishers`.
        alive.lock().clone()
    };
    let too_early = lists_first.then(list);
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    for busy in too_early.unwrap_or_else(list) {
        busy.wait_clear();
    }
    let drained = rx.take(8, BARRIER, |_, _| Flow::Next);
    let admitted = publisher.join().unwrap();
    assert_eq!(drained, admitted, "the closer knows all who publish");
}

#[test]
fn r2_edge_enlist_the_closer_knows_all_who_publish() {
    bounded(|| come_publish_and_go(false));
}

#[test]
#[should_panic(expected = "the closer knows all who publish")]
fn r2_edge_enlist_twin_that_lists_before_it_closes() {
    bounded(|| come_publish_and_go(true));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn r2_edge_enlist_twin_without_the_lock() {
    weakened(Weakness::NoLock("enlist"), || {
        bounded(|| come_publish_and_go(false));
    });
}
