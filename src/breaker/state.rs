//! The breaker's one word: how it stands, in which epoch, and what became of the episode's permits.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**
//!
//! ```text
//! bit  63                  23 22       13 12        3 2     0
//!      ├───────────────────┬─┴─────────┬─┴──────────┬───────┤
//!      │ epoch             │ succeeded │ issued     │ state │
//!      └───────────────────┴───────────┴────────────┴───────┘
//! ```
//!
//! Every change is one compare-exchange of the whole word, so whoever made it knows so, and nobody else does. A
//! transition raises the epoch by one and clears both numbers.
//!
//! Nothing overflows into its neighbour: `succeeded` is at most `issued`, which is at most P, which is at most 1,000 of
//! the 1,023 that ten bits hold; epochs are compared for being the same and for nothing else, so that after 2^41
//! transitions they may begin again at 0. A permit would have to be kept for exactly that many to be mistaken for a
//! later one; at one transition a microsecond that is 25 days, and its probe would count once too often.
//!
//! All accesses are Relaxed: what is decided here is decided by this word alone, in whose one order of changes every
//! compare-exchange has its place. What others hang on it carries the epoch, or lies behind the breaker's lock.

use super::policy::PERMITS_MAX;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(model), derive(serde::Serialize))]
#[cfg_attr(not(model), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// A few calls pass as probes; what becomes of them decides.
    HalfOpen,
    /// Calls are refused until somebody says otherwise.
    ForcedOpen,
    /// Calls pass and nothing is counted until somebody says otherwise.
    Disabled,
}

impl BreakerState {
    const ALL: [Self; 5] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::Disabled,
    ];

    /// Whether calls pass without asking.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Closed | Self::Disabled)
    }
}

const STATE_MASK: u64 = 0b111;
const ISSUED_SHIFT: u32 = 3;
const SUCCEEDED_SHIFT: u32 = 13;
const EPOCH_SHIFT: u32 = 23;
const NUMBER_MASK: u64 = (1 << 10) - 1;
const EPOCH_MASK: u64 = (1 << (u64::BITS - EPOCH_SHIFT)) - 1;
const _: () = assert!((PERMITS_MAX as u64) <= NUMBER_MASK);

/// Leave to make one call as a probe. Whoever has it says what became of the call, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is neither used nor given back holds the breaker up until the probe limit"]
pub(crate) struct Permit {
    epoch: u64,
}

impl Permit {
    /// A permit out of nothing, for who wants to see it refused.
    #[cfg(test)]
    pub(crate) fn of(epoch: u64) -> Self {
        Self { epoch }
    }
}

/// The word as it was at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    fn new(state: BreakerState, epoch: u64) -> Self {
        Self((epoch & EPOCH_MASK) << EPOCH_SHIFT | state as u64)
    }

    pub(crate) fn state(self) -> BreakerState {
        BreakerState::ALL[(self.0 & STATE_MASK) as usize]
    }

    /// How many transitions there were.
    pub(crate) fn epoch(self) -> u64 {
        self.0 >> EPOCH_SHIFT
    }

    /// Permits of this episode that were given and not given back.
    pub(crate) fn issued(self) -> u32 {
        (self.0 >> ISSUED_SHIFT & NUMBER_MASK) as u32
    }

    /// Those of them whose probe has succeeded.
    pub(crate) fn succeeded(self) -> u32 {
        (self.0 >> SUCCEEDED_SHIFT & NUMBER_MASK) as u32
    }

    /// Those of them that nothing was heard of yet.
    pub(crate) fn out(self) -> u32 {
        self.issued() - self.succeeded()
    }

    fn is(self, state: BreakerState, epoch: u64) -> bool {
        self.state() == state && self.epoch() == epoch & EPOCH_MASK
    }

    fn moved(self, to: BreakerState) -> (Self, Move) {
        let next = Self::new(to, self.epoch().wrapping_add(1));
        let made = Move {
            from: self.state(),
            to,
            epoch: next.epoch(),
        };
        (next, made)
    }
}

/// The epoch behind this one.
pub(super) fn epoch_after(epoch: u64) -> u64 {
    epoch.wrapping_add(1) & EPOCH_MASK
}

/// A transition, in the hands of the one who made it and has to tell of it (B2).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "whoever makes a transition tells of it; nobody else will"]
pub(crate) struct Move {
    pub(crate) from: BreakerState,
    pub(crate) to: BreakerState,
    /// The epoch that begins with it.
    pub(crate) epoch: u64,
}

/// Whether the caller has made a transition.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Shift {
    Moved(Move),
    /// The word was not as the transition asks for; somebody else may have made it.
    Stayed,
}

/// What became of asking for a permit.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Answer {
    Given(Permit),
    /// All are out or have succeeded.
    NoneLeft,
    /// The episode is over.
    Over,
}

/// What became of a probe's result.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Told {
    /// It decided the episode.
    Moved(Move),
    /// It counts, and others are waited for.
    Counted,
    /// The epoch that gave the permit is over: it counts for nothing (B3).
    Void,
}

/// The word, and how many probes are to succeed.
#[derive(Debug)]
pub(crate) struct State {
    word: CachePadded<AtomicU64>,
    permits: u32,
}

impl State {
    /// Closed, in epoch 0. `permits` is P.
    pub(crate) fn new(permits: u32) -> Self {
        Self::at(permits, 0)
    }

    /// Closed, in an epoch of the caller's choice.
    pub(crate) fn at(permits: u32, epoch: u64) -> Self {
        debug_assert!(
            (1..=PERMITS_MAX).contains(&permits),
            "the policy was checked"
        );
        Self {
            word: CachePadded::new(AtomicU64::new(Seen::new(BreakerState::Closed, epoch).0)),
            permits,
        }
    }

    pub(crate) fn look(&self) -> Seen {
        // Relaxed: see the head of the file.
        Seen(self.word.load(Ordering::Relaxed))
    }

    /// From closed to open.
    pub(crate) fn open(&self, epoch: u64) -> Shift {
        self.shift(|seen| {
            seen.is(BreakerState::Closed, epoch)
                .then(|| seen.moved(BreakerState::Open))
        })
    }

    /// From open to half-open.
    pub(crate) fn half_open(&self, epoch: u64) -> Shift {
        self.shift(|seen| {
            seen.is(BreakerState::Open, epoch)
                .then(|| seen.moved(BreakerState::HalfOpen))
        })
    }

    /// From half-open back to open, if nothing has been heard since `seen` and some probe is still out.
    pub(crate) fn expire(&self, seen: Seen) -> Shift {
        self.shift(|now| {
            (now == seen && now.state() == BreakerState::HalfOpen && now.out() > 0)
                .then(|| now.moved(BreakerState::Open))
        })
    }

    pub(crate) fn force_open(&self) -> Shift {
        self.put(BreakerState::ForcedOpen)
    }

    pub(crate) fn disable(&self) -> Shift {
        self.put(BreakerState::Disabled)
    }

    pub(crate) fn reset(&self) -> Shift {
        self.put(BreakerState::Closed)
    }

    /// Asks for one of the episode's permits; never more than P are out or have succeeded (B1).
    pub(crate) fn try_permit(&self, epoch: u64) -> Answer {
        self.update(|seen| {
            if !seen.is(BreakerState::HalfOpen, epoch) {
                (None, Answer::Over)
            } else if seen.issued() >= self.permits {
                (None, Answer::NoneLeft)
            } else {
                let permit = Permit {
                    epoch: seen.epoch(),
                };
                (
                    Some(Seen(seen.0 + (1 << ISSUED_SHIFT))),
                    Answer::Given(permit),
                )
            }
        })
    }

    /// The probe succeeded; the last one closes the breaker.
    pub(crate) fn succeed(&self, permit: &Permit) -> Told {
        self.of_episode(permit, |seen| {
            if seen.succeeded() + 1 == self.permits {
                let (next, made) = seen.moved(BreakerState::Closed);
                (next, Told::Moved(made))
            } else {
                (Seen(seen.0 + (1 << SUCCEEDED_SHIFT)), Told::Counted)
            }
        })
    }

    /// The probe failed: that opens the breaker again.
    pub(crate) fn fail(&self, permit: &Permit) -> Told {
        self.of_episode(permit, |seen| {
            let (next, made) = seen.moved(BreakerState::Open);
            (next, Told::Moved(made))
        })
    }

    /// No probe came of it, so another may have the permit (B4).
    pub(crate) fn give_back(&self, permit: &Permit) -> Told {
        self.of_episode(permit, |seen| {
            (Seen(seen.0 - (1 << ISSUED_SHIFT)), Told::Counted)
        })
    }

    /// A change that only a permit of the present episode makes (B3).
    fn of_episode(&self, permit: &Permit, change: impl Fn(Seen) -> (Seen, Told)) -> Told {
        self.update(|seen| {
            // More results than permits cannot be while permits are used once; if they were, the numbers stay whole.
            if seen.is(BreakerState::HalfOpen, permit.epoch) && seen.out() > 0 {
                let (next, told) = change(seen);
                (Some(next), told)
            } else {
                (None, Told::Void)
            }
        })
    }

    fn put(&self, to: BreakerState) -> Shift {
        self.shift(|seen| (seen.state() != to).then(|| seen.moved(to)))
    }

    fn shift(&self, change: impl Fn(Seen) -> Option<(Seen, Move)>) -> Shift {
        self.update(|seen| match change(seen) {
            Some((next, made)) => (Some(next), Shift::Moved(made)),
            None => (None, Shift::Stayed),
        })
    }

    /// One compare-exchange of the whole word; tried again only when somebody else's has succeeded in between.
    fn update<R>(&self, change: impl Fn(Seen) -> (Option<Seen>, R)) -> R {
        let mut seen = self.look();
        loop {
            let (next, answer) = change(seen);
            let Some(next) = next else {
                return answer;
            };
            // Relaxed, both: see the head of the file.
            let exchanged = self.word.compare_exchange_weak(
                seen.0,
                next.0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchanged {
                Ok(_) => return answer,
                Err(now) => seen = Seen(now),
            }
        }
    }
}
