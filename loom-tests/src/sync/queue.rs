//! The weakest queues that satisfy what `lane/README.md` assumes of crossbeam's.
//!
//! Slots with stamps, as the originals have, with every ordering that is not needed left out. A
//! mutex would be shorter and useless: it would order the pusher's next load behind the push, which
//! is what the barriers under test are for.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Places of an unbounded queue: more than any model sends.
const UNBOUNDED: usize = 4;

/// A bounded queue for many threads on both sides.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    slots: Box<[Slot<T>]>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

/// A slot is free for position `p` at stamp `2p` and filled at `2p + 1`.
#[derive(Debug)]
struct Slot<T> {
    stamp: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a slot's value is reached by the one thread that moved the tail or the head over it, and
// the stamp hands it on; loom checks that.
unsafe impl<T: Send> Sync for ArrayQueue<T> {}
// SAFETY: the values move with the queue.
unsafe impl<T: Send> Send for ArrayQueue<T> {}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: (0..capacity)
                .map(|position| Slot {
                    stamp: AtomicUsize::new(2 * position),
                    value: UnsafeCell::new(None),
                })
                .collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[tail % self.slots.len()];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == 2 * tail {
                match self.tail.compare_exchange(
                    tail,
                    tail + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        slot.value.with_mut(|place| {
                            // SAFETY: the tail was moved over this slot by this thread alone.
                            unsafe { *place = Some(value) };
                        });
                        slot.stamp.store(2 * tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
                continue;
            }
            if stamp < 2 * tail && self.head.load(Ordering::Relaxed) + self.slots.len() <= tail {
                return Err(value);
            }
            // Another thread is at the slot, or the tail has moved on.
            thread::yield_now();
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[head % self.slots.len()];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == 2 * head + 1 {
                match self.head.compare_exchange(
                    head,
                    head + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        let value = slot.value.with_mut(|place| {
                            // SAFETY: the head was moved over this slot by this thread alone.
                            unsafe { (*place).take() }
                        });
                        slot.stamp
                            .store(2 * (head + self.slots.len()), Ordering::Release);
                        return value;
                    }
                    Err(now) => head = now,
                }
                continue;
            }
            if stamp <= 2 * head && self.tail.load(Ordering::Relaxed) == head {
                return None;
            }
            thread::yield_now();
            head = self.head.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed) == head
    }

    pub(crate) fn len(&self) -> usize {
        // As the original: a length of one moment, not of two.
        loop {
            let tail = self.tail.load(Ordering::Acquire);
            let head = self.head.load(Ordering::Acquire);
            if self.tail.load(Ordering::Relaxed) == tail {
                return tail.saturating_sub(head);
            }
            thread::yield_now();
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }
}

/// A queue that is never full.
#[derive(Debug)]
pub(crate) struct SegQueue<T>(ArrayQueue<T>);

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self(ArrayQueue::new(UNBOUNDED))
    }

    pub(crate) fn push(&self, value: T) {
        assert!(
            self.0.push(value).is_ok(),
            "a model sends at most {UNBOUNDED} messages before the first is read"
        );
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
