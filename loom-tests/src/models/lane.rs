//! Publishing into a lane, reading from it, wrapping around, and the sender's end (L1 to L4, L8).

#![allow(unsafe_code, reason = "a twin drops a value twice, to be caught at it")]

use super::{BARRIER, bounded, every};
use crate::lane::{Flow, LaneRx, LaneTx, Room, lane};
use crate::sync::{Arc, Weakness, thread, weakened};
use std::cell::Cell;

fn new_lane<T>(capacity: usize) -> (LaneTx<T>, LaneRx<T>) {
    lane(capacity, Arc::new(Room::new()))
}

/// Pushes `values` one after the other, giving way while there is no room.
fn push_all(tx: &mut LaneTx<u32>, values: std::ops::Range<u32>) {
    for value in values {
        while !tx.push_with(|slot| slot.write(value)) {
            thread::yield_now();
        }
    }
}

/// Takes until `count` values have come.
fn take_all(rx: &mut LaneRx<u32>, count: usize, limit: usize) -> Vec<u32> {
    let mut values = Vec::new();
    while values.len() < count {
        let taken = rx.take(limit, BARRIER, |slot, _| {
            values.push(*slot);
            Flow::Next
        });
        if taken == 0 {
            thread::yield_now();
        }
    }
    values
}

fn pass_through(capacity: usize, count: u32, limit: usize) {
    let (mut tx, mut rx) = new_lane(capacity);
    let publisher = thread::spawn(move || push_all(&mut tx, 0..count));
    let values = take_all(&mut rx, count as usize, limit);
    assert_eq!(values, (0..count).collect::<Vec<_>>());
    publisher.join().unwrap();
}

#[test]
fn l2_a_taken_slot_is_complete() {
    every(|| pass_through(2, 2, 8));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l2_twin_without_release_of_the_tail() {
    weakened(Weakness::RelaxedTail, || every(|| pass_through(2, 2, 8)));
}

#[test]
fn l3_no_overwrite_on_wrap_at_capacity_1() {
    every(|| pass_through(1, 3, 8));
}

#[test]
fn l3_no_overwrite_on_wrap_at_capacity_2() {
    bounded(|| pass_through(2, 5, 2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_twin_without_release_of_the_head_at_capacity_1() {
    weakened(Weakness::RelaxedHead, || every(|| pass_through(1, 2, 8)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_twin_without_release_of_the_head_at_capacity_2() {
    weakened(Weakness::RelaxedHead, || bounded(|| pass_through(2, 3, 2)));
}

/// A push that finds no room writes nothing, and one that finds room is given exactly one place.
#[test]
fn l1_a_claimed_slot_is_the_publishers_alone() {
    every(|| {
        let (mut tx, mut rx) = new_lane::<u32>(1);
        let publisher = thread::spawn(move || {
            let mut written = Vec::new();
            for value in 0..2 {
                let pushed = tx.push_with(|slot| {
                    // The worker looks while the slot is claimed and half written.
                    let half = slot.write(u32::MAX);
                    thread::yield_now();
                    *half = value;
                    half
                });
                if pushed {
                    written.push(value);
                }
            }
            written
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            rx.take(8, BARRIER, |slot, _| {
                seen.push(*slot);
                Flow::Next
            });
        }
        let written = publisher.join().unwrap();
        rx.take(8, BARRIER, |slot, _| {
            seen.push(*slot);
            Flow::Next
        });
        assert_eq!(seen, written, "what was written is what is seen");
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l1_twin_with_a_slot_that_was_not_given_back() {
    weakened(Weakness::RelaxedHead, || {
        every(|| {
            let (mut tx, mut rx) = new_lane::<u32>(1);
            let publisher = thread::spawn(move || push_all(&mut tx, 0..2));
            take_all(&mut rx, 1, 1);
            publisher.join().unwrap();
        });
    });
}

thread_local! {
    /// Drops of [`Counted`] in this execution; a model's threads share it.
    static DROPS: Cell<usize> = const { Cell::new(0) };
}

/// A value that counts its drop and owns nothing, so that even a second drop is only a wrong count.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.set(DROPS.get() + 1);
    }
}

/// Two values are pushed, the worker takes one and stops, and both ends go.
fn two_values_and_one_taken(handle: impl Fn(&mut Counted)) {
    DROPS.set(0);
    let (mut tx, mut rx) = new_lane::<Counted>(2);
    let publisher = thread::spawn(move || {
        for _ in 0..2 {
            assert!(tx.push_with(|slot| slot.write(Counted)), "there is room");
        }
    });
    while rx.take(8, BARRIER, |slot, _| {
        handle(slot);
        Flow::Stop
    }) == 0
    {
        thread::yield_now();
    }
    drop(rx);
    publisher.join().unwrap();
    assert_eq!(DROPS.get(), 2, "each value is dropped once");
}

#[test]
fn l4_each_slot_is_dropped_once() {
    every(|| two_values_and_one_taken(|_| ()));
}

#[test]
#[should_panic(expected = "each value is dropped once")]
fn l4_twin_with_a_value_moved_out_of_a_slot_that_stays_full() {
    every(|| {
        two_values_and_one_taken(|slot| {
            // What a handler by value would do if it did not mark the slot empty first.
            // SAFETY: none: this is the mistake. `Counted` owns nothing, so it is only counted twice.
            drop(unsafe { std::ptr::read(slot) });
        });
    });
}

/// The sender pushes and goes; the worker lets the lane go once `is_over` says so.
fn abandon(is_over: impl Fn(&mut LaneRx<u32>, &mut usize) -> bool) {
    let (mut tx, mut rx) = new_lane::<u32>(2);
    let publisher = thread::spawn(move || push_all(&mut tx, 0..1));
    let mut taken = 0;
    while !is_over(&mut rx, &mut taken) {
        thread::yield_now();
    }
    publisher.join().unwrap();
    assert_eq!(taken, 1, "nothing is left in a lane that is let go");
}

fn take_some(rx: &mut LaneRx<u32>, taken: &mut usize) {
    *taken += rx.take(8, BARRIER, |_, _| Flow::Next);
}

fn abandoned_then_empty(rx: &mut LaneRx<u32>, taken: &mut usize) -> bool {
    let gone = rx.is_abandoned();
    take_some(rx, taken);
    gone
}

#[test]
fn l8_abandoned_is_read_before_the_last_look() {
    every(|| abandon(abandoned_then_empty));
}

#[test]
#[should_panic(expected = "nothing is left in a lane that is let go")]
fn l8_twin_that_looks_for_emptiness_first() {
    every(|| {
        abandon(|rx, taken| {
            take_some(rx, taken);
            rx.is_abandoned()
        });
    });
}

#[test]
#[should_panic(expected = "nothing is left in a lane that is let go")]
fn l8_twin_without_release_of_the_mark() {
    weakened(Weakness::RelaxedAbandoned, || {
        every(|| abandon(abandoned_then_empty));
    });
}
