//! A worker that parks, and publishers that have something for it (L7).

use super::{BARRIER, bounded, every};
use crate::lane::{Flow, LaneRx, LaneTx, Room, Wake, lane};
use crate::sync::{Arc, Weakness, thread, weakened};

fn publish(tx: &mut LaneTx<u32>, wake: &Wake) {
    assert!(tx.push_with(|slot| slot.write(7)), "there is room");
    wake.notify(BARRIER);
}

/// The worker: takes from its lanes, parks when all are empty, until `count` slots have come.
///
/// With one slot to come, whoever wakes it has pushed that slot. With more, a publisher may have seen
/// it parked before it took the slot in question by itself.
fn work(lanes: &mut [LaneRx<u32>], wake: &Wake, count: usize) {
    let mut taken = 0;
    loop {
        for lane in lanes.iter_mut() {
            taken += lane.take(8, BARRIER, |_, _| Flow::Next);
        }
        if taken == count {
            return;
        }
        if !wake.announce(BARRIER) {
            continue;
        }
        if lanes.iter().any(LaneRx::has_waiting) {
            wake.cancel();
        } else {
            wake.sleep(None);
            assert!(
                count > 1 || lanes.iter().any(LaneRx::has_waiting),
                "a woken worker sees what it was woken for"
            );
        }
    }
}

fn one_publisher(count: usize) {
    let (mut tx, rx) = lane(2, Arc::new(Room::new()));
    let wake = Arc::new(Wake::new());
    let publisher = thread::spawn({
        let wake = Arc::clone(&wake);
        move || {
            for _ in 0..count {
                publish(&mut tx, &wake);
            }
        }
    });
    work(&mut [rx], &wake, count);
    publisher.join().unwrap();
}

#[test]
fn l7_no_slot_is_left_behind_a_parked_worker() {
    every(|| one_publisher(1));
}

#[test]
fn l7_no_slot_is_left_behind_a_worker_that_parks_twice() {
    bounded(|| one_publisher(2));
}

/// Two ringers of one sleeper.
fn two_publishers() {
    let (mut first_tx, first_rx) = lane(1, Arc::new(Room::new()));
    let (mut second_tx, second_rx) = lane(1, Arc::new(Room::new()));
    let wake = Arc::new(Wake::new());
    let first = thread::spawn({
        let wake = Arc::clone(&wake);
        move || publish(&mut first_tx, &wake)
    });
    let second = thread::spawn({
        let wake = Arc::clone(&wake);
        move || publish(&mut second_tx, &wake)
    });
    work(&mut [first_rx, second_rx], &wake, 2);
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn l7_two_publishers_wake_one_worker() {
    bounded(two_publishers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_of_two_publishers_without_the_light_barrier() {
    weakened(Weakness::NoLight, || bounded(two_publishers));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_of_two_publishers_that_call_nobody() {
    weakened(Weakness::NoWakeCall, || bounded(two_publishers));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| one_publisher(1)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| one_publisher(1)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_that_changes_the_word_and_calls_nobody() {
    weakened(Weakness::NoWakeCall, || every(|| one_publisher(1)));
}

/// A worker that sleeps, and a waker who knows it. Without a barrier: the waker's side is none in
/// asymmetric mode, so the word has to carry this alone.
fn wake_up() {
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let wake = Arc::new(Wake::new());
    assert!(wake.announce(BARRIER), "the barrier is to be had");
    let waker = thread::spawn({
        let wake = Arc::clone(&wake);
        move || {
            assert!(tx.push_with(|slot| slot.write(7)), "there is room");
            assert!(wake.wake(), "it sleeps or is about to");
        }
    });
    wake.sleep(None);
    let taken = rx.take(1, BARRIER, |_, _| Flow::Next);
    assert_eq!(taken, 1, "a woken worker sees what it was woken for");
    waker.join().unwrap();
}

#[test]
fn l7_edge_wake_a_woken_worker_sees_what_it_was_woken_for() {
    every(wake_up);
}

#[test]
#[should_panic(expected = "a woken worker sees what it was woken for")]
fn l7_edge_wake_twin_without_release() {
    weakened(Weakness::NoRelease("wake"), || every(wake_up));
}

#[test]
#[should_panic(expected = "a woken worker sees what it was woken for")]
fn l7_edge_wake_twin_without_acquire() {
    weakened(Weakness::NoAcquire("wake"), || every(wake_up));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l7_twin_that_sleeps_without_a_second_look() {
    every(|| {
        let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
        let wake = Arc::new(Wake::new());
        let publisher = thread::spawn({
            let wake = Arc::clone(&wake);
            move || publish(&mut tx, &wake)
        });
        while rx.take(8, BARRIER, |_, _| Flow::Next) == 0 {
            if wake.announce(BARRIER) {
                wake.sleep(None);
            }
        }
        publisher.join().unwrap();
    });
}
