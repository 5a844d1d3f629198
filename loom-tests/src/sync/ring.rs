//! The weakest ring that satisfies what `lane/README.md` assumes of rtrb.
//!
//! Two positions, each stored with Release by its side and loaded with Acquire by the other, and
//! each side's remembered copy of the other's. Values lie side by side, as chunks are slices; beside
//! each stands one of loom's cells, held for as long as a chunk covers the value.

use super::weakness::{Weakness, has};
use loom::cell::{MutPtr, UnsafeCell};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::Arc;

fn release_unless(weakness: Weakness) -> Ordering {
    if has(weakness) {
        Ordering::Relaxed
    } else {
        Ordering::Release
    }
}

/// The part that both ends share.
#[derive(Debug)]
pub(crate) struct RingBuffer<T> {
    values: Box<[std::cell::UnsafeCell<MaybeUninit<T>>]>,
    watched: Box<[UnsafeCell<()>]>,
    head: AtomicUsize,
    tail: AtomicUsize,
    /// An end is gone.
    abandoned: AtomicBool,
}

// SAFETY: a value is reached by the producer while its position lies at or after the tail and by the
// consumer between head and tail; loom checks that through `watched`.
unsafe impl<T: Send> Sync for RingBuffer<T> {}
// SAFETY: the values move with the ring.
unsafe impl<T: Send> Send for RingBuffer<T> {}

impl<T> RingBuffer<T> {
    #[allow(clippy::new_ret_no_self, reason = "the face of the ring it stands for")]
    pub(crate) fn new(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let ring = Arc::new(Self {
            values: (0..capacity)
                .map(|_| std::cell::UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
            watched: (0..capacity).map(|_| UnsafeCell::new(())).collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
        });
        let producer = Producer {
            ring: Arc::clone(&ring),
            tail: 0,
            known_head: Cell::new(0),
        };
        let consumer = Consumer {
            ring,
            head: 0,
            known_tail: Cell::new(0),
        };
        (producer, consumer)
    }

    fn capacity(&self) -> usize {
        self.values.len()
    }

    fn abandon(&self) {
        // A failed execution has ended; loom is not asked any more.
        if !std::thread::panicking() {
            self.abandoned
                .swap(true, release_unless(Weakness::RelaxedAbandoned));
        }
    }

    /// Takes the cells of `count` positions from `first` on.
    fn watch(&self, first: usize, count: usize) -> Vec<MutPtr<()>> {
        (first..first + count)
            .map(|position| self.watched[position % self.capacity()].get_mut())
            .collect()
    }

    /// The values of `count` positions from `first` on: up to the ring's end, and from its start.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller owns these positions and has their cells"
    )]
    fn parts(&self, first: usize, count: usize) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let start = first % self.capacity();
        let before_end = count.min(self.capacity() - start);
        let base = self.values.as_ptr().cast::<MaybeUninit<T>>().cast_mut();
        // SAFETY: both ranges lie inside the ring and do not overlap; the caller owns them, which
        // loom has checked when their cells were taken.
        unsafe {
            (
                std::slice::from_raw_parts_mut(base.add(start), before_end),
                std::slice::from_raw_parts_mut(base, count - before_end),
            )
        }
    }
}

impl<T> Drop for RingBuffer<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Acquire: pairs with the other end's mark. A swap, as it must not be an older one.
        self.abandoned.swap(true, Ordering::Acquire);
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        for position in head..tail {
            let (part, _) = self.parts(position, 1);
            // SAFETY: what lies between head and tail was written and not taken.
            unsafe { part[0].assume_init_drop() };
        }
    }
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Arc<RingBuffer<T>>,
    tail: usize,
    known_head: Cell<usize>,
}

impl<T> Producer<T> {
    pub(crate) fn cached_slots(&self) -> usize {
        self.ring.capacity() - (self.tail - self.known_head.get())
    }

    pub(crate) fn slots(&self) -> usize {
        self.known_head.set(self.ring.head.load(Ordering::Acquire));
        self.cached_slots()
    }

    pub(crate) fn write_chunk_uninit(
        &mut self,
        count: usize,
    ) -> Result<WriteChunkUninit<'_, T>, usize> {
        if self.cached_slots() < count && self.slots() < count {
            return Err(self.cached_slots());
        }
        Ok(WriteChunkUninit {
            held: self.ring.watch(self.tail, count),
            producer: self,
            count,
        })
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.ring.abandon();
    }
}

/// Places to be written.
#[derive(Debug)]
pub(crate) struct WriteChunkUninit<'a, T> {
    held: Vec<MutPtr<()>>,
    producer: &'a mut Producer<T>,
    count: usize,
}

impl<T> WriteChunkUninit<'_, T> {
    pub(crate) fn as_mut_slices(&mut self) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        self.producer.ring.parts(self.producer.tail, self.count)
    }

    /// # Safety
    /// All places of the chunk are initialised.
    pub(crate) unsafe fn commit_all(self) {
        drop(self.held);
        self.producer.tail += self.count;
        self.producer
            .ring
            .tail
            .store(self.producer.tail, release_unless(Weakness::RelaxedTail));
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Arc<RingBuffer<T>>,
    head: usize,
    known_tail: Cell<usize>,
}

impl<T> Consumer<T> {
    pub(crate) fn slots(&self) -> usize {
        self.known_tail.set(self.ring.tail.load(Ordering::Acquire));
        self.known_tail.get() - self.head
    }

    pub(crate) fn read_chunk(&mut self, count: usize) -> Result<ReadChunk<'_, T>, usize> {
        if self.known_tail.get() - self.head < count && self.slots() < count {
            return Err(self.known_tail.get() - self.head);
        }
        Ok(ReadChunk {
            held: self.ring.watch(self.head, count),
            consumer: self,
            count,
        })
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.ring.abandoned.load(Ordering::Acquire)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.ring.abandon();
    }
}

/// Values to be read.
#[derive(Debug)]
pub(crate) struct ReadChunk<'a, T> {
    held: Vec<MutPtr<()>>,
    consumer: &'a mut Consumer<T>,
    count: usize,
}

impl<T> ReadChunk<'_, T> {
    pub(crate) fn as_mut_slices(&mut self) -> (&mut [T], &mut [T]) {
        let (first, second) = self.consumer.ring.parts(self.consumer.head, self.count);
        // SAFETY: all positions before the known tail were initialised by the producer.
        unsafe {
            (
                &mut *(std::ptr::from_mut(first) as *mut [T]),
                &mut *(std::ptr::from_mut(second) as *mut [T]),
            )
        }
    }

    /// Drops the first `count` values and gives their places back.
    pub(crate) fn commit(self, count: usize) {
        let (first, second) = self.consumer.ring.parts(self.consumer.head, self.count);
        for value in first.iter_mut().chain(second).take(count) {
            // SAFETY: initialised by the producer, and nobody reads the place before it is
            // written again.
            unsafe { value.assume_init_drop() };
        }
        drop(self.held);
        self.consumer.head += count;
        self.consumer
            .ring
            .head
            .store(self.consumer.head, release_unless(Weakness::RelaxedHead));
    }
}
