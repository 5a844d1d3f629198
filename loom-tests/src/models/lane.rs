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
fn l2_edge_publish_a_taken_slot_is_complete() {
    every(|| pass_through(2, 2, 8));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l2_edge_publish_twin_without_release() {
    weakened(Weakness::NoRelease("publish"), || {
        every(|| pass_through(2, 2, 8))
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l2_edge_publish_twin_without_acquire() {
    weakened(Weakness::NoAcquire("publish"), || {
        every(|| pass_through(2, 2, 8))
    });
}

/// Many slots shown by one store, at capacity 2 and past its end.
fn batches() {
    let (mut tx, mut rx) = new_lane(2);
    let publisher = thread::spawn(move || {
        let mut value = 0;
        while value < 4 {
            while value < 4 && tx.fill_with(|slot| slot.write(value)) {
                value += 1;
            }
            tx.release();
            thread::yield_now();
        }
    });
    assert_eq!(take_all(&mut rx, 4, 8), [0, 1, 2, 3]);
    publisher.join().unwrap();
}

#[test]
fn l2_edge_publish_a_batch_is_shown_whole() {
    bounded(batches);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l2_edge_publish_twin_of_a_batch_without_release() {
    weakened(Weakness::NoRelease("publish"), || bounded(batches));
}

#[test]
fn l3_edge_reuse_no_overwrite_on_wrap_at_capacity_1() {
    every(|| pass_through(1, 3, 8));
}

#[test]
fn l3_edge_reuse_no_overwrite_on_wrap_at_capacity_2() {
    bounded(|| pass_through(2, 5, 2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_edge_reuse_twin_without_release_at_capacity_1() {
    weakened(Weakness::NoRelease("reuse"), || {
        every(|| pass_through(1, 2, 8))
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_edge_reuse_twin_without_acquire_at_capacity_1() {
    weakened(Weakness::NoAcquire("reuse"), || {
        every(|| pass_through(1, 2, 8))
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_edge_reuse_twin_without_release_at_capacity_2() {
    weakened(Weakness::NoRelease("reuse"), || {
        bounded(|| pass_through(2, 3, 2))
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn l3_edge_reuse_twin_without_acquire_at_capacity_2() {
    weakened(Weakness::NoAcquire("reuse"), || {
        bounded(|| pass_through(2, 3, 2))
    });
}

/// Pushes a value and then another into a lane of one slot, looking at nothing; `push` writes it in two
/// steps. What is seen is what was written.
fn claim(push: impl Fn(&mut LaneTx<u32>, u32) -> bool + Sync + Send + 'static) {
    let (mut tx, mut rx) = new_lane::<u32>(1);
    let publisher = thread::spawn(move || {
        let mut written = Vec::new();
        for value in 0..2 {
            if push(&mut tx, value) {
                written.push(value);
            }
        }
        written
    });
    let mut seen = Vec::new();
    let mut look = || {
        rx.take(8, BARRIER, |slot, _| {
            seen.push(*slot);
            Flow::Next
        });
    };
    look();
    look();
    let written = publisher.join().unwrap();
    look();
    assert_eq!(seen, written, "what was written is what is seen");
}

/// A push that finds no room writes nothing, and one that finds room is given exactly one place.
#[test]
fn l1_a_claimed_slot_is_the_publishers_alone() {
    every(|| {
        claim(|tx, value| {
            tx.push_with(|slot| {
                // The worker looks while the slot is claimed and half written.
                let half = slot.write(u32::MAX);
                thread::yield_now();
                *half = value;
                half
            })
        });
    });
}

#[test]
#[should_panic(expected = "what was written is what is seen")]
fn l1_twin_that_writes_on_after_the_release() {
    every(|| {
        claim(|tx, value| {
            let mut place = std::ptr::null_mut();
            let pushed = tx.push_with(|slot| {
                let half = slot.write(u32::MAX);
                place = half;
                half
            });
            thread::yield_now();
            if pushed {
                // SAFETY: none: this is the mistake. The place lives as long as the lane, and loom runs one
                // thread at a time.
                unsafe { *place = value };
            }
            pushed
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

/// Two values are pushed, the worker takes one, and both ends go.
fn two_values_and_one_taken(handle: impl Fn(&mut Counted)) {
    DROPS.set(0);
    let (mut tx, mut rx) = new_lane::<Counted>(2);
    let publisher = thread::spawn(move || {
        for _ in 0..2 {
            assert!(tx.push_with(|slot| slot.write(Counted)), "there is room");
        }
    });
    while rx.take(1, BARRIER, |slot, _| {
        handle(slot);
        Flow::Next
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
fn l8_edge_abandoned_is_read_before_the_last_look() {
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
fn l8_edge_abandoned_twin_without_release() {
    weakened(Weakness::NoRelease("abandoned"), || {
        every(|| abandon(abandoned_then_empty))
    });
}

#[test]
#[should_panic(expected = "nothing is left in a lane that is let go")]
fn l8_edge_abandoned_twin_without_acquire() {
    weakened(Weakness::NoAcquire("abandoned"), || {
        every(|| abandon(abandoned_then_empty))
    });
}

/// A report reads a lane's depth while the publisher shows three slots at once and the worker takes one.
fn look_at_the_depth() {
    let (mut tx, mut rx) = new_lane::<u32>(4);
    let stats = Arc::clone(rx.stats());
    let publisher = thread::spawn(move || {
        for value in 0..3 {
            assert!(tx.fill_with(|slot| slot.write(value)), "there is room");
        }
        tx.release();
    });
    let reporter = thread::spawn(move || {
        let taken = stats.taken();
        let depth = stats.depth();
        match taken {
            0 => assert!([0, 2, 3].contains(&depth), "a depth that the lane had"),
            _ => assert_eq!(depth, 2, "what was taken was there before"),
        }
    });
    while rx.take(1, BARRIER, |_, _| Flow::Next) == 0 {
        thread::yield_now();
    }
    publisher.join().unwrap();
    reporter.join().unwrap();
}

#[test]
fn l12_edge_depth_a_report_knows_what_waits() {
    bounded(look_at_the_depth);
}

#[test]
#[should_panic(expected = "what was taken was there before")]
fn l12_edge_depth_twin_without_release() {
    weakened(Weakness::NoRelease("depth"), || bounded(look_at_the_depth));
}

#[test]
#[should_panic(expected = "what was taken was there before")]
fn l12_edge_depth_twin_without_acquire() {
    weakened(Weakness::NoAcquire("depth"), || bounded(look_at_the_depth));
}
