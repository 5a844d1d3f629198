//! A publisher that waits for room, and the worker that makes it (L6).

use super::{BARRIER, bounded, every};
use crate::lane::{Flow, LaneRx, LaneTx, Room, Wake, lane};
use crate::sync::{Arc, Weakness, thread, weakened};

/// Pushes, sleeping for as long as there is no room.
fn push_waiting(tx: &mut LaneTx<u32>, room: &Room) {
    while !tx.push_with(|slot| slot.write(7)) {
        room.announce(BARRIER);
        if tx.credit() > 0 {
            room.cancel();
        } else {
            room.sleep(None);
            assert!(tx.credit() > 0, "a woken publisher sees the room");
        }
    }
}

/// Takes `count` slots, giving way while there are none.
fn take(rx: &mut LaneRx<u32>, count: usize) {
    let mut taken = 0;
    while taken < count {
        match rx.take(1, BARRIER, |_, _| Flow::Next) {
            0 => thread::yield_now(),
            some => taken += some,
        }
    }
}

/// The lane is full already, so the one push has to wait, and one take makes room.
fn one_wait() {
    let room = Arc::new(Room::new());
    let (mut tx, mut rx) = lane(1, Arc::clone(&room));
    assert!(tx.push_with(|slot| slot.write(7)), "there is room");
    let publisher = thread::spawn(move || push_waiting(&mut tx, &room));
    take(&mut rx, 1);
    publisher.join().unwrap();
}

#[test]
fn l6_no_publisher_sleeps_beside_room() {
    every(one_wait);
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(one_wait));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(one_wait));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_that_changes_the_word_and_calls_nobody() {
    weakened(Weakness::NoWakeCall, || every(one_wait));
}

/// A publisher that sleeps, and a waker who knows it. Without a barrier: the waker's side is none in
/// asymmetric mode, so the word has to carry this alone.
fn wake_up() {
    use crate::lane::{Gate, GateState};
    let room = Arc::new(Room::new());
    let gate = Arc::new(Gate::new());
    room.announce(BARRIER);
    let waker = thread::spawn({
        let (room, gate) = (Arc::clone(&room), Arc::clone(&gate));
        move || {
            gate.advance(GateState::Shut);
            room.wake();
        }
    });
    room.sleep(None);
    assert!(!gate.is_open(), "a woken publisher sees why it was woken");
    waker.join().unwrap();
}

#[test]
fn l6_edge_room_a_woken_publisher_sees_why() {
    every(wake_up);
}

#[test]
#[should_panic(expected = "a woken publisher sees why it was woken")]
fn l6_edge_room_twin_without_release() {
    weakened(Weakness::NoRelease("room"), || every(wake_up));
}

#[test]
#[should_panic(expected = "a woken publisher sees why it was woken")]
fn l6_edge_room_twin_without_acquire() {
    weakened(Weakness::NoAcquire("room"), || every(wake_up));
}

/// Both directions at once: a lane of one slot, a publisher that sleeps when it is full, a worker
/// that parks when it is empty.
fn both_sleep(count: usize) {
    let room = Arc::new(Room::new());
    let wake = Arc::new(Wake::new());
    let (mut tx, mut rx) = lane(1, Arc::clone(&room));
    let publisher = thread::spawn({
        let wake = Arc::clone(&wake);
        move || {
            for _ in 0..count {
                push_waiting(&mut tx, &room);
                wake.notify(BARRIER);
            }
        }
    });
    let mut taken = 0;
    while taken < count {
        taken += rx.take(8, BARRIER, |_, _| Flow::Next);
        if taken < count && wake.announce(BARRIER) {
            if rx.has_waiting() {
                wake.cancel();
            } else {
                wake.sleep(None);
            }
        }
    }
    publisher.join().unwrap();
}

#[test]
fn l6_publisher_and_worker_never_sleep_at_each_other() {
    bounded(|| both_sleep(2));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_of_both_without_the_light_barrier() {
    weakened(Weakness::NoLight, || bounded(|| both_sleep(2)));
}

/// A gate that closes wakes the publisher that waits for room (PD4): the look before the sleep takes
/// in the gate, and the closer wakes after it has moved it.
#[test]
fn l6_a_waiting_publisher_learns_of_the_gate() {
    every(|| learn_of_the_gate(|room| room.wake()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_twin_that_closes_and_wakes_nobody() {
    every(|| learn_of_the_gate(|_| ()));
}

fn learn_of_the_gate(wake: impl Fn(&Room)) {
    use crate::lane::{Gate, GateState};
    let room = Arc::new(Room::new());
    let gate = Arc::new(Gate::new());
    let (mut tx, _rx) = lane(1, Arc::clone(&room));
    assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
    let publisher = thread::spawn({
        let (room, gate) = (Arc::clone(&room), Arc::clone(&gate));
        move || {
            while gate.is_open() {
                assert_eq!(tx.credit(), 0, "nobody takes");
                room.announce(BARRIER);
                if gate.is_open() {
                    room.sleep(None);
                } else {
                    room.cancel();
                }
            }
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    wake(&room);
    publisher.join().unwrap();
}
