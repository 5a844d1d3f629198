//! What waits for its time: a hierarchical timer wheel, owned by one thread.
//!
//! publish → route → lane → worker → handler → outcome → **retry**
//!
//! Picture a counter of nanoseconds written in eleven digits of 64 values each. A timer hangs on the highest digit in
//! which its due time differs from the wheel's own time, in the slot of the value it has there. So a slot of a low
//! digit is due before any of a higher one, the first slot that holds something is found with two bit scans however
//! far off it is, and when its turn has come its timers are spread over the digits below, until one is alone or the
//! last digit is reached. This is scheme 7 of George Varghese and Tony Lauck, "Hashed and hierarchical timing wheels"
//! (SOSP 1987), with bitmaps in place of ticking.
//!
//! Callers may rely on:
//!
//! - Exact: nothing comes out before it is due, and [`pop_due`](Wheel::pop_due) answers `None` only when nothing is
//!   due.
//! - Order: the earliest due time first, to the nanosecond; equal due times in the order of insertion. What is inserted
//!   with a due time that has passed counts as due at the wheel's time, behind what is due then already.
//! - The wheel's time never runs back. It is the due time of what was handed out last or, once nothing was due, the
//!   `now` that was asked for, whichever is later. An earlier `now` is taken for it, so a clock that stands still or is
//!   set back does no harm.
//! - Costs: inserting and cancelling touch a timer and its neighbours. Popping touches each timer as often as it has
//!   been spread, at most ten times, three or four as a rule; a jump of an hour or a century costs nothing of its own.
//!   A single call may have to spread all timers of one slot: with hundreds of thousands due within the same seconds
//!   the worker stands still for that long (`perf/notes/0010-timer-wheel.md`). 24 bytes for each timer beside its value
//!   (which is an `Option`), 6 kB for each wheel; what a rush took is given back when the wheel is empty.
//! - A [`TimerId`] is never given twice by one wheel: an old one cancels nothing.
//!
//! How many may wait is left to the caller, and reading a clock too. Slots of some microseconds, as is usual, would
//! save spreading, but then what is due within a slot has to be sorted or searched: with a million timers in one slot
//! and a clock that stands still, for every pop. An ordered map takes logarithmic time and touches more memory with
//! every timer that waits.
//!
//! Checked against a sorted list, with the lists walked after every step (`wheel/tests.rs`).

#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::num::NonZeroU64;

/// Bits of a digit.
const BITS: u32 = 6;
/// Values of a digit.
const SLOTS: usize = 1 << BITS;
/// Digits of a time, the lowest first: 66 bits, so that no due time lies beyond the last.
const LEVELS: usize = u64::BITS.div_ceil(BITS) as usize;
/// No timer.
const NIL: u32 = u32::MAX;
/// Timers whose memory is kept when the wheel is empty.
const KEPT: usize = 4_096;
/// Timers that are looked at for the earliest of a slot.
const LOOKED_AT: usize = 32;

/// A timer that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TimerId {
    index: u32,
    number: NonZeroU64,
}

/// Values with due times, in nanoseconds since any start.
pub(crate) struct Wheel<T> {
    now_ns: u64,
    /// A bit for each level with something in it.
    levels: u32,
    /// A bit for each slot with something in it.
    slots: [u64; LEVELS],
    /// The ends of each slot's list; they mean something where the slot's bit is set.
    lists: Box<[[List; SLOTS]; LEVELS]>,
    timers: Vec<Timer<T>>,
    /// The first of the free places among `timers`; they are chained by `next`.
    free: u32,
    len: usize,
    /// The number of the timer that was inserted last.
    number: NonZeroU64,
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Debug)]
struct Timer<T> {
    /// Never before the wheel's time.
    due_ns: u64,
    number: NonZeroU64,
    previous: u32,
    next: u32,
    /// `None` where the place is free.
    value: Option<T>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    level: usize,
    slot: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time is `start_ns`.
    pub(crate) fn new(start_ns: u64) -> Self {
        let nothing = List {
            head: NIL,
            tail: NIL,
        };
        Self {
            now_ns: start_ns,
            levels: 0,
            slots: [0; LEVELS],
            lists: Box::new([[nothing; SLOTS]; LEVELS]),
            timers: Vec::new(),
            free: NIL,
            len: 0,
            number: NonZeroU64::MIN,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `value` wait until `due_ns`.
    ///
    /// # Panics
    ///
    /// If 2^32 - 1 are waiting.
    pub(crate) fn insert(&mut self, due_ns: u64, value: T) -> TimerId {
        // At a billion a second, 584 years.
        self.number = self.number.saturating_add(1);
        let number = self.number;
        let timer = Timer {
            due_ns: due_ns.max(self.now_ns),
            number,
            previous: NIL,
            next: NIL,
            value: Some(value),
        };
        let index = self.free;
        let index = if index == NIL {
            let index = self.timers.len();
            assert!(index < NIL as usize, "a timer wheel holds 2^32 - 1 at most");
            self.timers.push(timer);
            index as u32
        } else {
            let place = &mut self.timers[index as usize];
            self.free = place.next;
            *place = timer;
            index
        };
        self.len += 1;
        self.link(index);
        TimerId { index, number }
    }

    /// Takes back what waits; `None` if it has come out already, or was cancelled.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        let timer = self.timers.get(id.index as usize)?;
        // A free place keeps its number until it is used again.
        if timer.number != id.number || timer.value.is_none() {
            return None;
        }
        self.unlink(id.index);
        self.release(id.index)
    }

    /// The next that is due at `now_ns`.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<T> {
        let now_ns = now_ns.max(self.now_ns);
        while let Some(place) = self.first()
            && self.start_of(place) <= now_ns
        {
            let List { head, tail } = self.lists[place.level][place.slot];
            if place.level > 0 && head != tail {
                self.spread(place);
                continue;
            }
            // Alone in its slot, or all of the slot are due at the same time.
            let due_ns = self.timers[head as usize].due_ns;
            self.unlink(head);
            if due_ns > now_ns {
                // The wheel's time is about to lie in this slot, and no timer may stay in such a one.
                self.now_ns = now_ns;
                self.link(head);
                return None;
            }
            self.now_ns = due_ns;
            return self.release(head);
        }
        self.now_ns = now_ns;
        None
    }

    /// When to ask again: never later than the earliest due time, and exactly that unless it shares its slot with more
    /// timers than are worth looking at. Whoever asks [`pop_due`](Self::pop_due) at that time is given a timer, or a
    /// later time the next time; after ten such turns at most it is a timer.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let place = self.first()?;
        let mut earliest_ns = u64::MAX;
        let mut rest = self.waiting_in(place);
        for timer in rest.by_ref().take(LOOKED_AT) {
            earliest_ns = earliest_ns.min(timer.due_ns);
        }
        match rest.next() {
            None => Some(earliest_ns),
            Some(_) => Some(self.start_of(place)),
        }
    }

    /// Whether anything is due at `now_ns` or before. Looks at all of a slot, in the worst case.
    pub(crate) fn due_before(&self, now_ns: u64) -> bool {
        let now_ns = now_ns.max(self.now_ns);
        self.first().is_some_and(|place| {
            self.start_of(place) <= now_ns
                && self.waiting_in(place).any(|timer| timer.due_ns <= now_ns)
        })
    }

    /// Takes out all that waits, in no particular order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.levels = 0;
        self.slots = [0; LEVELS];
        self.free = NIL;
        self.len = 0;
        mem::take(&mut self.timers)
            .into_iter()
            .filter_map(|timer| timer.value)
    }

    /// Where a timer that is due then hangs. It stays right while the wheel's time moves up to the start of the first
    /// slot in use, or to any time before: the highest digit that differs stays the same one.
    fn place_of(&self, due_ns: u64) -> Place {
        let level = ((due_ns ^ self.now_ns) | 1).ilog2() / BITS;
        Place {
            level: level as usize,
            slot: (due_ns >> (level * BITS)) as usize % SLOTS,
        }
    }

    /// The earliest time that hangs there.
    fn start_of(&self, place: Place) -> u64 {
        let shift = place.level as u32 * BITS;
        let above = (self.now_ns >> shift) & !(SLOTS as u64 - 1);
        (above | place.slot as u64) << shift
    }

    /// The first slot in use; what is due first hangs there.
    fn first(&self) -> Option<Place> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let slot = self.slots[level].trailing_zeros() as usize;
        Some(Place { level, slot })
    }

    fn waiting_in(&self, place: Place) -> impl Iterator<Item = &Timer<T>> {
        let mut index = self.lists[place.level][place.slot].head;
        std::iter::from_fn(move || {
            let timer = self.timers.get(index as usize)?;
            index = timer.next;
            Some(timer)
        })
    }

    /// Moves the wheel's time to the start of the slot, and its timers to the levels below.
    fn spread(&mut self, place: Place) {
        self.now_ns = self.start_of(place);
        let mut index = self.lists[place.level][place.slot].head;
        self.clear(place);
        while index != NIL {
            let next = self.timers[index as usize].next;
            // From head to tail, and each to the end of its list, so that equal due times keep their order.
            self.link(index);
            index = next;
        }
    }

    /// Hangs a timer to the end of its slot's list.
    fn link(&mut self, index: u32) {
        let place = self.place_of(self.timers[index as usize].due_ns);
        let list = &mut self.lists[place.level][place.slot];
        let is_in_use = self.slots[place.level] & 1 << place.slot != 0;
        let previous = if is_in_use { list.tail } else { NIL };
        list.tail = index;
        if is_in_use {
            self.timers[previous as usize].next = index;
        } else {
            list.head = index;
            self.slots[place.level] |= 1 << place.slot;
            self.levels |= 1 << place.level;
        }
        let timer = &mut self.timers[index as usize];
        timer.previous = previous;
        timer.next = NIL;
    }

    fn unlink(&mut self, index: u32) {
        let timer = &self.timers[index as usize];
        let (previous, next) = (timer.previous, timer.next);
        let place = self.place_of(timer.due_ns);
        let list = &mut self.lists[place.level][place.slot];
        match previous {
            NIL => list.head = next,
            _ => self.timers[previous as usize].next = next,
        }
        match next {
            NIL => list.tail = previous,
            _ => self.timers[next as usize].previous = previous,
        }
        if list.head == NIL {
            self.clear(place);
        }
    }

    /// Marks a slot as empty.
    fn clear(&mut self, place: Place) {
        self.slots[place.level] &= !(1 << place.slot);
        if self.slots[place.level] == 0 {
            self.levels &= !(1 << place.level);
        }
    }

    /// The value of a timer that hangs nowhere any more, whose place is free from here on.
    fn release(&mut self, index: u32) -> Option<T> {
        let timer = &mut self.timers[index as usize];
        timer.next = self.free;
        let value = timer.value.take();
        self.free = index;
        self.len -= 1;
        if self.len == 0 {
            self.timers.clear();
            self.timers.shrink_to(KEPT);
            self.free = NIL;
        }
        value
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("now_ns", &self.now_ns)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
