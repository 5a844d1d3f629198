//! What is assumed of crossbeam's queues (A1 to A5 of `lane/README.md`), shown of their stand-in.
//!
//! `src/lane/tests/assumed.rs` tests the same of the real ones. No twins here: the engine's own have to fail on
//! what the stand-in leaves open, and do.

use super::{BARRIER, bounded, every};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, ArrayQueue, thread};

#[test]
fn a1_a_value_goes_to_one_pop() {
    bounded(|| {
        let queue = Arc::new(ArrayQueue::new(1));
        assert!(queue.push(Box::new(1)).is_ok(), "there is room");
        let poppers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.pop().map_or(0, |value| *value))
        });
        let sum: u32 = poppers.map(|popper| popper.join().unwrap()).iter().sum();
        assert_eq!(sum, 1, "it comes once");
    });
}

#[test]
fn a2_values_of_one_thread_come_in_order() {
    every(|| {
        let queue = Arc::new(ArrayQueue::new(2));
        let pusher = thread::spawn({
            let queue = Arc::clone(&queue);
            move || [1, 2].map(|value| queue.push(value).is_ok())
        });
        let mut seen = Vec::from_iter([queue.pop(), queue.pop()].into_iter().flatten());
        assert_eq!(pusher.join().unwrap(), [true; 2]);
        seen.extend(std::iter::from_fn(|| queue.pop()));
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn a3_a_push_fails_only_when_all_places_are_taken() {
    every(|| {
        let queue = Arc::new(ArrayQueue::new(1));
        assert!(queue.push(1).is_ok(), "there is room");
        let popped = Arc::new(AtomicU32::new(0));
        let popper = thread::spawn({
            let (queue, popped) = (Arc::clone(&queue), Arc::clone(&popped));
            move || {
                assert_eq!(queue.pop(), Some(1));
                popped.store(1, Ordering::Release);
            }
        });
        let is_known = popped.load(Ordering::Acquire) == 1;
        let is_pushed = queue.push(2).is_ok();
        assert!(is_pushed || !is_known, "a place emptied before is free");
        popper.join().unwrap();
    });
}

#[test]
fn a4_a_push_before_a_barrier_is_found_behind_the_other_side() {
    every(|| {
        let queue = Arc::new(ArrayQueue::new(1));
        let mark = Arc::new(AtomicU32::new(0));
        let pusher = thread::spawn({
            let (queue, mark) = (Arc::clone(&queue), Arc::clone(&mark));
            move || {
                assert!(queue.push(1).is_ok(), "there is room");
                BARRIER.light();
                mark.load(Ordering::Relaxed) == 1
            }
        });
        mark.store(1, Ordering::Relaxed);
        BARRIER.heavy();
        let found = !queue.is_empty();
        let was_seen = pusher.join().unwrap();
        assert!(found || was_seen, "one of the two sees the other");
        assert_eq!(queue.pop(), Some(1), "a push before is found");
    });
}

#[test]
fn a5_what_is_counted_is_found() {
    every(|| {
        let queue = Arc::new(ArrayQueue::new(1));
        let pusher = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.push(1).is_ok()
        });
        if queue.len() == 1 {
            assert_eq!(queue.pop(), Some(1));
        }
        assert!(pusher.join().unwrap(), "there is room");
    });
}
