//! The calls of one subscription on one worker, as far back as its breaker looks.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**
//!
//! Successes are not noted: the worker counts them anyway, and what a window needs is how many there were since it last
//! looked (CB5). So it is given that count (`handled`) whenever it is touched, which is when a call fails or is slow,
//! and ten times in a time window.
//!
//! *Count window:* every call has a number, and those that failed or were slow are kept by number while it is among the
//! last N. Exact. At most N numbers of 8 bytes, where every call fails.
//!
//! *Time window:* cut into tenths, of which the present one and the nine before it are kept: what failed or was slow in
//! each, and how many calls there had been before its first touch. Calls in the window are all calls less those before
//! the oldest tenth. Exact but for two things: the window's far end lies between nine tenths and the whole of it back;
//! and calls between a tenth's beginning and its first touch count to the tenth before, which is at most a batch for a
//! worker that touches before each batch. Ten tenths of 32 bytes.
//!
//! Not a ring of outcomes, as it is usually done: it would be written by every success.

use super::policy::{Window, ns};
use std::collections::VecDeque;

/// Parts of a time window.
pub(super) const TENTHS: u64 = 10;
const FAILED: u64 = 1;
const SLOW: u64 = 2;
/// The bits of a note below its number.
const NOTE_BITS: u32 = 2;

/// What a window holds; windows are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slow += other.slow;
    }

    pub(super) fn failure_rate(self) -> f64 {
        rate(self.failed, self.calls)
    }

    pub(super) fn slow_rate(self) -> f64 {
        rate(self.slow, self.calls)
    }
}

/// Divided and not multiplied out: k of n is then the very number that one writes for it, 1 of 10 is 0.1.
fn rate(part: u64, calls: u64) -> f64 {
    if calls == 0 {
        0.0
    } else {
        part as f64 / calls as f64
    }
}

/// How a call ended that is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    Failed,
    FailedSlowly,
    /// It succeeded, and is among the handled.
    Slow,
}

impl Note {
    fn bits(self) -> u64 {
        match self {
            Self::Failed => FAILED,
            Self::FailedSlowly => FAILED | SLOW,
            Self::Slow => SLOW,
        }
    }
}

#[derive(Debug)]
pub(super) struct CallWindow {
    kind: Kind,
    /// What `handled` was when the window began.
    handled_before: u64,
    /// Failed calls since then; they are not among the handled.
    failed: u64,
}

#[derive(Debug)]
enum Kind {
    Count(Notes),
    Time(Tenths),
}

/// The noted calls among the last `length`.
#[derive(Debug)]
struct Notes {
    length: u64,
    /// A call's number, counted from the window's beginning, above its bits.
    notes: VecDeque<u64>,
    failed: u64,
    slow: u64,
}

#[derive(Debug)]
struct Tenths {
    tenth_ns: u64,
    tenths: VecDeque<Tenth>,
}

#[derive(Debug)]
struct Tenth {
    /// Time divided by the length of a tenth.
    number: u64,
    calls_before: u64,
    failed: u64,
    slow: u64,
}

impl CallWindow {
    pub(super) fn new(window: Window, handled: u64) -> Self {
        let kind = match window {
            Window::Count(length) => Kind::Count(Notes {
                length: u64::from(length),
                notes: VecDeque::new(),
                failed: 0,
                slow: 0,
            }),
            Window::Time(time) => Kind::Time(Tenths {
                tenth_ns: tenth_ns(time),
                tenths: VecDeque::with_capacity(TENTHS as usize),
            }),
        };
        Self {
            kind,
            handled_before: handled,
            failed: 0,
        }
    }

    /// Forgets everything: the window begins anew.
    pub(super) fn restart(&mut self, handled: u64) {
        self.handled_before = handled;
        self.failed = 0;
        match &mut self.kind {
            Kind::Count(notes) => {
                // What a bad hour has left is not kept for the good ones.
                notes.notes = VecDeque::new();
                (notes.failed, notes.slow) = (0, 0);
            }
            Kind::Time(tenths) => tenths.tenths.clear(),
        }
    }

    pub(super) fn note(&mut self, note: Note, handled: u64, now_ns: u64) {
        let bits = note.bits();
        // A tenth that this call begins begins before it.
        self.tick(
            handled.saturating_sub(u64::from(note == Note::Slow)),
            now_ns,
        );
        self.failed += bits & FAILED;
        let calls = self.calls(handled);
        match &mut self.kind {
            Kind::Count(notes) => notes.push(calls.saturating_sub(1), bits, calls),
            Kind::Time(tenths) => tenths.push(bits),
        }
    }

    /// Begins the present tenth of a time window, if it has not begun yet.
    pub(super) fn tick(&mut self, handled: u64, now_ns: u64) {
        let calls = self.calls(handled);
        if let Kind::Time(tenths) = &mut self.kind {
            tenths.begin(now_ns, calls);
        }
    }

    pub(super) fn sum(&mut self, handled: u64, now_ns: u64) -> Sum {
        let calls = self.calls(handled);
        match &mut self.kind {
            Kind::Count(notes) => notes.sum(calls),
            Kind::Time(tenths) => {
                tenths.begin(now_ns, calls);
                tenths.sum(calls)
            }
        }
    }

    /// Calls since the window's beginning. The count is another thread's, so it may be older than what the window has
    /// heard already; then it is that.
    fn calls(&self, handled: u64) -> u64 {
        handled.saturating_sub(self.handled_before) + self.failed
    }
}

impl Notes {
    fn push(&mut self, number: u64, bits: u64, calls: u64) {
        self.notes.push_back(number << NOTE_BITS | bits);
        self.failed += bits & FAILED;
        self.slow += (bits & SLOW) / SLOW;
        self.forget(calls);
    }

    fn sum(&mut self, calls: u64) -> Sum {
        self.forget(calls);
        Sum {
            calls: calls.min(self.length),
            failed: self.failed,
            slow: self.slow,
        }
    }

    fn forget(&mut self, calls: u64) {
        let first = calls.saturating_sub(self.length);
        while let Some(note) = self.notes.front() {
            // A call has one note, so the second is never true; the window's memory hangs on nobody's word for that.
            let is_old = note >> NOTE_BITS < first || self.notes.len() as u64 > self.length;
            if !is_old {
                break;
            }
            self.failed -= note & FAILED;
            self.slow -= (note & SLOW) / SLOW;
            self.notes.pop_front();
        }
    }
}

impl Tenths {
    fn begin(&mut self, now_ns: u64, calls: u64) {
        // Stamps of several threads may come in any order; a window does not go back.
        let last = self.tenths.back().map(|tenth| tenth.number);
        let number = (now_ns / self.tenth_ns).max(last.unwrap_or(0));
        while self
            .tenths
            .front()
            .is_some_and(|tenth| tenth.number + TENTHS <= number)
        {
            self.tenths.pop_front();
        }
        if last != Some(number) {
            self.tenths.push_back(Tenth {
                number,
                // A window that has just begun counts all of its calls.
                calls_before: if last.is_none() { 0 } else { calls },
                failed: 0,
                slow: 0,
            });
        }
    }

    fn push(&mut self, bits: u64) {
        let tenth = self.tenths.back_mut().expect("begun before");
        tenth.failed += bits & FAILED;
        tenth.slow += (bits & SLOW) / SLOW;
    }

    fn sum(&self, calls: u64) -> Sum {
        let mut sum = Sum::default();
        for tenth in &self.tenths {
            sum.failed += tenth.failed;
            sum.slow += tenth.slow;
        }
        let oldest = self.tenths.front().map_or(0, |tenth| tenth.calls_before);
        sum.calls = calls.saturating_sub(oldest);
        sum
    }
}

/// How long a part of a time window lasts.
pub(super) fn tenth_ns(window: std::time::Duration) -> u64 {
    (ns(window) / TENTHS).max(1)
}
