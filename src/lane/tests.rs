//! The ring against two oracles, a `VecDeque` and rtrb, by generated operations; and under two threads.

mod assumed;

use super::ends::lane_from;
use super::{Flow, LaneRx, LaneTx, Room, lane};
use crate::sync::{Arc, Barrier};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::rc::Rc;

fn new_lane<T>(capacity: usize) -> (LaneTx<T>, LaneRx<T>) {
    lane(capacity, Arc::new(Room::new()))
}

#[derive(Debug, Clone)]
enum Step {
    /// One slot, shown at once.
    Push,
    /// So many slots, shown together.
    Fill(usize),
    /// Up to `limit` slots, stopping one behind the `stop`th.
    Take { limit: usize, stop: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Push),
        2 => (0..6_usize).prop_map(Step::Fill),
        3 => (0..8_usize, 1..8_usize).prop_map(|(limit, stop)| Step::Take { limit, stop }),
    ];
    prop::collection::vec(step, 0..120)
}

/// Where a ring's first position may lie in a test: as always, before the end of 32 bits, before the end of all.
fn first() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        1 => (0..16_u64).prop_map(|before| (1 << 32) - before),
        1 => (0..16_u64).prop_map(|before| (1 << 31) - before),
        1 => Just(u64::MAX - 1_000),
    ]
}

proptest! {
    /// What comes out, how much room there is, and what has been dropped is at every step what both
    /// oracles say.
    #[test]
    fn l1_to_l4_the_ring_does_what_its_oracles_do(capacity in 1..9_usize, first in first(), steps in steps()) {
        let alive = Rc::new(());
        let (mut tx, mut rx) = lane_from::<(u32, Rc<()>)>(capacity, Arc::new(Room::new()), first);
        let mut queue = VecDeque::new();
        let (mut producer, mut consumer) = rtrb::RingBuffer::<u32>::new(capacity);
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push | Step::Fill(_) => {
                    let count = if let Step::Fill(count) = step { count } else { 1 };
                    let mut filled = 0;
                    for _ in 0..count {
                        let value = (next, Rc::clone(&alive));
                        let has_room = match step {
                            Step::Fill(_) => tx.fill_with(|slot| slot.write(value)),
                            _ => tx.push_with(|slot| slot.write(value)),
                        };
                        prop_assert_eq!(has_room, producer.push(next).is_ok());
                        prop_assert_eq!(has_room, queue.len() < capacity);
                        if has_room {
                            queue.push_back(next);
                            filled += 1;
                        }
                        next += 1;
                    }
                    if let Step::Fill(_) = step {
                        let before = rx.stats().depth();
                        tx.release();
                        prop_assert_eq!(rx.stats().depth(), before + filled);
                    }
                }
                Step::Take { limit, stop } => {
                    let mut seen = Vec::new();
                    // The first has to be seen before anything can be said about the next.
                    let wanted = limit.min(queue.len()).min(stop + 1);
                    let taken = rx.take(limit, Barrier::Fence, |slot, is_last| {
                        seen.push(slot.0);
                        assert_eq!(is_last, seen.len() == wanted);
                        if seen.len() == stop { Flow::OneMore } else { Flow::Next }
                    });
                    prop_assert_eq!(taken, wanted);
                    let expected: Vec<u32> = queue.drain(..taken).collect();
                    prop_assert_eq!(&seen, &expected);
                    for value in seen {
                        prop_assert_eq!(consumer.pop(), Ok(value));
                    }
                }
            }
            prop_assert_eq!(rx.has_waiting(), !queue.is_empty());
            prop_assert_eq!(rx.stats().depth(), queue.len() as u64);
            prop_assert_eq!(tx.credit(), producer.slots());
            prop_assert_eq!(Rc::strong_count(&alive), 1 + queue.len());
        }
        drop(tx);
        prop_assert!(rx.is_abandoned());
        drop(rx);
        prop_assert_eq!(Rc::strong_count(&alive), 1, "what waited went with the ring");
    }
}

#[test]
fn l2_l3_two_threads_lose_and_reorder_nothing() {
    for capacity in [1, 2, 3, 64] {
        let count = 40_000_u64;
        let (mut tx, mut rx) = new_lane::<Box<u64>>(capacity);
        let publisher = crate::sync::thread::start("publisher".to_owned(), move || {
            let mut number = 0;
            while number < count {
                // Some alone, some together.
                let together = 1 + number % 5;
                let mut filled = 0;
                while filled < together
                    && number < count
                    && tx.fill_with(|slot| slot.write(Box::new(number)))
                {
                    number += 1;
                    filled += 1;
                }
                tx.release();
                if filled == 0 {
                    crate::sync::thread::yield_now();
                }
            }
        })
        .unwrap();
        let mut expected = 0;
        while expected < count {
            let taken = rx.take(7, Barrier::Fence, |slot, _| {
                assert_eq!(**slot, expected);
                expected += 1;
                Flow::Next
            });
            if taken == 0 {
                crate::sync::thread::yield_now();
            }
        }
        publisher.join().unwrap();
        assert!(rx.is_abandoned() && !rx.has_waiting());
    }
}

#[test]
fn a_write_that_panics_leaves_no_hole() {
    let (mut tx, mut rx) = new_lane::<u32>(2);
    assert!(tx.push_with(|slot| slot.write(1)));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tx.push_with(|_| panic!("while it is written"))
    }));
    assert!(unwound.is_err());
    assert!(tx.push_with(|slot| slot.write(2)));
    assert!(!tx.push_with(|slot| slot.write(3)), "two are in");
    let mut seen = Vec::new();
    rx.take(8, Barrier::Fence, |slot, _| {
        seen.push(*slot);
        Flow::Next
    });
    assert_eq!(seen, [1, 2]);
}

#[test]
fn a_slot_whose_handling_unwinds_stays_the_first() {
    let (mut tx, mut rx) = new_lane::<u32>(4);
    for number in 0..4 {
        assert!(tx.push_with(|slot| slot.write(number)));
    }
    let mut seen = Vec::new();
    let mut is_first_time = true;
    for _ in 0..2 {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rx.take(8, Barrier::Fence, |slot, _| {
                seen.push(*slot);
                assert!(
                    *slot != 1 || !std::mem::take(&mut is_first_time),
                    "the second"
                );
                Flow::Next
            })
        }));
        assert_eq!(tx.credit(), if seen.len() == 2 { 1 } else { 4 });
    }
    assert_eq!(seen, [0, 1, 1, 2, 3]);
}
