//! Closing a gate while a publisher is between its look and its push (L5).

use super::{BARRIER, Cell, bounded, every};
use crate::lane::{Busy, Flow, Gate, GateState, LaneTx, Room, lane};
use crate::sync::{Arc, Weakness, thread, weakened};

/// Looks at the gate and pushes if it is open; says whether it did.
fn publish(gate: &Gate, busy: &Busy, tx: &mut LaneTx<u32>) -> bool {
    busy.enter(BARRIER);
    let pushed = gate.is_open() && tx.push_with(|slot| slot.write(7));
    busy.leave();
    pushed
}

/// One publisher publishes twice while the gate is shut; `wait` is how the closer waits for it.
fn close_one(wait: impl Fn(&Busy)) {
    let gate = Arc::new(Gate::new());
    let busy = Arc::new(Busy::new());
    let (mut tx, mut rx) = lane(2, Arc::new(Room::new()));
    let publisher = thread::spawn({
        let (gate, busy) = (Arc::clone(&gate), Arc::clone(&busy));
        move || {
            let first = publish(&gate, &busy, &mut tx);
            let second = publish(&gate, &busy, &mut tx);
            usize::from(first) + usize::from(second)
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    wait(&busy);
    let drained = rx.take(8, BARRIER, |_, _| Flow::Next);
    let admitted = publisher.join().unwrap();
    assert_eq!(drained, admitted, "the drain finds all that was admitted");
}

#[test]
fn l5_edge_close_nothing_is_pushed_after_the_closers_drain() {
    every(|| close_one(Busy::wait_clear));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| close_one(Busy::wait_clear)));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| close_one(Busy::wait_clear)));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_edge_close_twin_without_release() {
    weakened(Weakness::NoRelease("close"), || {
        every(|| close_one(Busy::wait_clear))
    });
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_edge_close_twin_without_acquire() {
    weakened(Weakness::NoAcquire("close"), || {
        every(|| close_one(Busy::wait_clear))
    });
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_twin_that_does_not_wait() {
    every(|| close_one(|_| ()));
}

/// Something is done, then the gate is shut; a publisher is refused.
fn refuse() {
    let gate = Arc::new(Gate::new());
    let before = Arc::new(Cell::default());
    let closer = thread::spawn({
        let (gate, before) = (Arc::clone(&gate), Arc::clone(&before));
        move || {
            before.touch();
            gate.advance(GateState::Shut);
        }
    });
    if !gate.is_open() && gate.state() == GateState::Shut {
        before.touch();
    }
    closer.join().unwrap();
}

#[test]
fn l5_edge_gate_whoever_is_refused_sees_what_was_done_before() {
    every(refuse);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l5_edge_gate_twin_without_release() {
    weakened(Weakness::NoRelease("gate"), || every(refuse));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l5_edge_gate_twin_without_acquire() {
    weakened(Weakness::NoAcquire("gate"), || every(refuse));
}

/// Draining, then shut: a publisher from outside stops at the first, a handler at the second.
#[test]
fn l5_a_draining_gate_stops_the_outside_only() {
    bounded(|| {
        let gate = Arc::new(Gate::new());
        let (outside_busy, inside_busy) = (Arc::new(Busy::new()), Arc::new(Busy::new()));
        let (mut outside_tx, mut outside_rx) = lane(1, Arc::new(Room::new()));
        let (mut inside_tx, mut inside_rx) = lane(1, Arc::new(Room::new()));
        let outside = thread::spawn({
            let (gate, busy) = (Arc::clone(&gate), Arc::clone(&outside_busy));
            move || publish(&gate, &busy, &mut outside_tx)
        });
        let inside = thread::spawn({
            let (gate, busy) = (Arc::clone(&gate), Arc::clone(&inside_busy));
            move || {
                busy.enter(BARRIER);
                let seen = gate.state();
                let pushed =
                    seen != GateState::Shut && inside_tx.push_with(|slot| slot.write(8_u32));
                busy.leave();
                pushed
            }
        });
        gate.advance(GateState::Draining);
        BARRIER.heavy();
        outside_busy.wait_clear();
        let from_outside = outside_rx.take(8, BARRIER, |_, _| Flow::Next);
        gate.advance(GateState::Shut);
        BARRIER.heavy();
        inside_busy.wait_clear();
        let from_inside = inside_rx.take(8, BARRIER, |_, _| Flow::Next);
        assert_eq!(outside.join().unwrap(), from_outside == 1);
        assert_eq!(inside.join().unwrap(), from_inside == 1);
    });
}
