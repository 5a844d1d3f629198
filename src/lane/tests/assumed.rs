//! What is assumed of crossbeam's queues (A1 to A5 in `lane/README.md`), tested against the real ones.
//!
//! `loom-tests/src/models/queue.rs` shows the same of the stand-in.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, ArrayQueue, Barrier, SegQueue, thread};
use std::collections::VecDeque;

/// Enough for threads to meet in many ways, and over in a moment.
const ROUNDS: u64 = 20_000;

fn start(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::start("other".to_owned(), body).unwrap()
}

/// Two threads push numbered values, two pop: what each popper sees of one pusher rises, and all values
/// come once, with what their boxes hold.
fn pass_on<Q: Send + Sync + 'static>(
    queue: Q,
    push: fn(&Q, Box<u64>) -> Result<(), Box<u64>>,
    pop: fn(&Q) -> Option<Box<u64>>,
) {
    let queue = Arc::new(queue);
    let sum = Arc::new(AtomicU64::new(0));
    let left = Arc::new(AtomicU64::new(2 * ROUNDS));
    let mut threads = Vec::new();
    for pusher in 0..2 {
        let queue = Arc::clone(&queue);
        threads.push(start(move || {
            for number in 0..ROUNDS {
                let mut value = Box::new(2 * number + pusher);
                while let Err(refused) = push(&queue, value) {
                    value = refused;
                    thread::yield_now();
                }
            }
        }));
    }
    for _ in 0..2 {
        let (queue, sum, left) = (Arc::clone(&queue), Arc::clone(&sum), Arc::clone(&left));
        threads.push(start(move || {
            let mut last = [None; 2];
            while left.load(Ordering::Relaxed) > 0 {
                let Some(value) = pop(&queue) else {
                    thread::yield_now();
                    continue;
                };
                let before = &mut last[(*value % 2) as usize];
                assert!(before.is_none_or(|before| before < *value), "A2");
                *before = Some(*value);
                sum.fetch_add(*value, Ordering::Relaxed);
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(pop(&queue).is_none(), "A1");
    assert_eq!(
        sum.load(Ordering::Relaxed),
        (0..2 * ROUNDS).sum::<u64>(),
        "A1"
    );
}

#[test]
fn a1_a2_each_value_goes_to_one_pop_in_its_pushers_order() {
    pass_on(ArrayQueue::new(2), ArrayQueue::push, ArrayQueue::pop);
    let push = |queue: &SegQueue<_>, value| {
        queue.push(value);
        Ok(())
    };
    pass_on(SegQueue::new(), push, SegQueue::pop);
}

#[test]
fn a3_a_push_fails_only_when_all_places_are_taken() {
    for capacity in 1..5 {
        let queue = ArrayQueue::new(capacity);
        let mut oracle = VecDeque::new();
        // A walk over all depths, around the end of the row many times.
        for step in 0..1_000_u32 {
            if step.wrapping_mul(2_654_435_761) >> 30 < 2 {
                assert_eq!(queue.push(step).is_ok(), oracle.len() < capacity);
                if oracle.len() < capacity {
                    oracle.push_back(step);
                }
            } else {
                assert_eq!(queue.pop(), oracle.pop_front());
            }
            assert_eq!(queue.len(), oracle.len());
            assert_eq!(queue.is_empty(), oracle.is_empty());
        }
    }
    // One thread's pop, then another's push, and nothing else between the two: as with a place given back.
    let queue = Arc::new(ArrayQueue::new(1));
    let turn = Arc::new(AtomicU64::new(0));
    let popper = start({
        let (queue, turn) = (Arc::clone(&queue), Arc::clone(&turn));
        move || {
            for round in 0..ROUNDS {
                while turn.load(Ordering::Acquire) != 2 * round + 1 {
                    thread::yield_now();
                }
                assert_eq!(queue.pop(), Some(round), "a push before is found (A4)");
                turn.store(2 * round + 2, Ordering::Release);
            }
        }
    });
    for round in 0..ROUNDS {
        while turn.load(Ordering::Acquire) != 2 * round {
            thread::yield_now();
        }
        assert!(queue.push(round).is_ok(), "a place emptied before is free");
        turn.store(2 * round + 1, Ordering::Release);
    }
    popper.join().unwrap();
}

/// Waits until both threads have come so often.
fn meet(at: &AtomicU64, times: u64) {
    at.fetch_add(1, Ordering::AcqRel);
    while at.load(Ordering::Acquire) < 2 * times {
        thread::yield_now();
    }
}

#[test]
fn a4_a_push_before_a_barrier_is_found_behind_the_other_side() {
    let queue = Arc::new(ArrayQueue::new(1));
    let mark = Arc::new(AtomicU32::new(0));
    let at = Arc::new(AtomicU64::new(0));
    let pusher = start({
        let (queue, mark, at) = (Arc::clone(&queue), Arc::clone(&mark), Arc::clone(&at));
        move || {
            for round in 0..ROUNDS {
                meet(&at, 2 * round + 1);
                assert!(queue.push(round).is_ok(), "emptied before");
                Barrier::Fence.light();
                if mark.load(Ordering::Relaxed) == 1 {
                    mark.store(2, Ordering::Relaxed);
                }
                meet(&at, 2 * round + 2);
            }
        }
    });
    for round in 0..ROUNDS {
        meet(&at, 2 * round + 1);
        mark.store(1, Ordering::Relaxed);
        Barrier::Fence.heavy();
        let found = !queue.is_empty();
        meet(&at, 2 * round + 2);
        let was_seen = mark.swap(0, Ordering::Relaxed) == 2;
        assert!(found || was_seen, "one of the two sees the other");
        assert_eq!(queue.pop(), Some(round), "a push before is found");
    }
    pusher.join().unwrap();
}

#[test]
fn a5_what_is_counted_is_found() {
    let queue = Arc::new(ArrayQueue::new(2));
    let pusher = start({
        let queue = Arc::clone(&queue);
        move || {
            for number in 0..ROUNDS {
                let mut value = Box::new(number);
                while let Err(refused) = queue.push(value) {
                    value = refused;
                    thread::yield_now();
                }
            }
        }
    });
    for number in 0..ROUNDS {
        // The length itself is what is asked about.
        let counted = || queue.len();
        while counted() == 0 {
            thread::yield_now();
        }
        // Whether or not that push has returned by now.
        assert_eq!(queue.pop().as_deref(), Some(&number));
    }
    pusher.join().unwrap();
}
