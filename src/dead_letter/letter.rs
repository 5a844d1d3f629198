//! A letter as it lies in the queue: small, as there may be a million.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::words::{Piece, Words};
use crate::event::Kept;
use crate::outcome::{Advice, Failure, FailureKind};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;

/// The number of a letter, in the order in which letters came. Never given twice by one queue.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LetterId(pub(super) u64);

impl LetterId {
    /// A number that was read somewhere.
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a delivery became a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// All attempts that the subscription allows have failed.
    Exhausted,
    /// The handler said that no further attempt will go better.
    Permanent,
    /// The handler panicked, and is not to be tried again.
    Panic,
    /// The handler took too long, and is not to be tried again.
    Timeout,
    /// The event was refused before a handler saw it.
    Validation,
    /// The event could not be read.
    Decode,
    /// An earlier event of its key is a letter, and the subscription is sequential.
    SequenceBlocked,
    /// The subscription's breaker was open, and its policy says so.
    BreakerPolicy,
    /// No subscription was there for the event.
    NoHandler,
    /// The subscription held too many deliveries, and its policy says so.
    HeldFull,
}

impl Reason {
    /// The name in reports and files: `exhausted`, `sequence_blocked`, …
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Validation => "validation",
            Self::Decode => "decode",
            Self::SequenceBlocked => "sequence_blocked",
            Self::BreakerPolicy => "breaker_policy",
            Self::NoHandler => "no_handler",
            Self::HeldFull => "held_full",
        }
    }

    /// The reason of a delivery whose last attempt failed so.
    pub(crate) fn of(failure: &Failure) -> Self {
        match (failure.advice(), failure.kind()) {
            (Advice::Permanent, _) => Self::Permanent,
            (_, FailureKind::Panic) => Self::Panic,
            (_, FailureKind::Timeout) => Self::Timeout,
            (_, FailureKind::Error) => Self::Exhausted,
            (_, FailureKind::Decode) => Self::Decode,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is being done about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetterStatus {
    /// Nothing.
    Waiting,
    /// It is on its way to its subscription again.
    Redelivering,
}

/// Whose letter it is; one for each subscription, shared by its letters.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    /// A letter parks its key (DQ3).
    pub(crate) is_sequential: bool,
    /// A redelivery needs the value itself.
    pub(crate) takes_by_value: bool,
    /// Written under the queue's lock.
    parked_keys: AtomicUsize,
}

impl Subscriber {
    pub(crate) fn new(
        id: u64,
        name: impl Into<Arc<str>>,
        is_sequential: bool,
        takes_by_value: bool,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            is_sequential,
            takes_by_value,
            parked_keys: AtomicUsize::new(0),
        }
    }

    /// Whether any of its keys may be parked: a look without the lock, before `Queue::is_parked`. Who parked a key, or
    /// was told of one by whoever did, sees it.
    #[inline(always)]
    pub(crate) fn has_parked(&self) -> bool {
        // Relaxed: what it leads to is read under the lock; keys are parked by the thread that asks, but for letters
        // out of a file, which have no order with events that are under way.
        self.parked_keys.load(Ordering::Relaxed) > 0
    }

    pub(super) fn note_parked(&self) {
        // Relaxed: as above; the lock orders the writers.
        self.parked_keys.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_unparked(&self) {
        // Relaxed: as above.
        self.parked_keys.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many attempts are kept behind the first.
const LAST_ATTEMPTS_MAX: usize = 15;

/// One attempt: which one it was, from when to when (wall milliseconds), and what it said.
#[derive(Debug, Clone)]
pub(super) struct StoredAttempt {
    pub(super) started_ms: u64,
    /// The end as a length, which needs half the room: up to seven weeks.
    took_ms: u32,
    pub(super) number: u32,
    /// Of the attempts' words.
    message: Piece,
}

impl StoredAttempt {
    pub(super) fn ended_ms(&self) -> u64 {
        self.started_ms.saturating_add(u64::from(self.took_ms))
    }
}

/// The attempts of a delivery: the first and the last 15 of however many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    pub(super) stored: Vec<StoredAttempt>,
    /// What they said, and in a letter also what its errors say.
    words: Words,
    pub(super) count: u32,
}

impl Attempts {
    /// One more attempt that failed.
    pub(crate) fn record(&mut self, started_ms: u64, ended_ms: u64, message: &str) {
        self.count = self.count.saturating_add(1);
        let took_ms = u32::try_from(ended_ms.saturating_sub(started_ms)).unwrap_or(u32::MAX);
        self.push((started_ms, took_ms), self.count, message);
    }

    fn push(&mut self, (started_ms, took_ms): (u64, u32), number: u32, message: &str) {
        let message = self.say(message);
        self.stored.push(StoredAttempt {
            started_ms,
            took_ms,
            number,
            message,
        });
        if self.stored.len() > 1 + LAST_ATTEMPTS_MAX {
            let gone = self.stored.remove(1).message;
            // Equal ones that follow each other are one.
            if self.stored[0].message != gone && self.stored[1].message != gone {
                self.forget();
            }
        }
    }

    /// Adds to the words, unless it is what the last attempt said: most failures repeat the one before.
    fn say(&mut self, message: &str) -> Piece {
        match self.stored.last() {
            Some(last) if self.message(last) == message => last.message,
            _ => self.words.add(message),
        }
    }

    /// Forgets the words that no attempt has said, or that is gone.
    fn forget(&mut self) {
        let words = std::mem::take(&mut self.words);
        let mut before = None;
        for attempt in &mut self.stored {
            let old = attempt.message;
            attempt.message = match before {
                Some((same, new)) if same == old => new,
                _ => self.words.add(words.get(old)),
            };
            before = Some((old, attempt.message));
        }
    }

    /// What one of these attempts said.
    pub(super) fn message(&self, attempt: &StoredAttempt) -> &str {
        self.words.get(attempt.message)
    }

    /// How many there were.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// What is held for them beside themselves.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.stored.capacity() * size_of::<StoredAttempt>() + self.words.capacity()
    }

    /// The attempts of a redelivery, behind those before; their numbers go on.
    fn append(&mut self, later: &Self) {
        for attempt in &later.stored {
            let number = self.count.saturating_add(attempt.number);
            let times = (attempt.started_ms, attempt.took_ms);
            self.push(times, number, later.message(attempt));
        }
        self.count = self.count.saturating_add(later.count);
    }

    /// As much memory as is needed: nothing is added any more.
    fn shrink(&mut self) {
        self.stored.shrink_to_fit();
        self.words.shrink();
    }
}

/// A delivery that failed for good.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// Given by the queue.
    pub(super) id: LetterId,
    pub(super) event: Kept,
    pub(super) subscriber: Arc<Subscriber>,
    /// Of the attempts' words, the latest first.
    errors: SmallVec<[Piece; 2]>,
    pub(super) attempts: Attempts,
    pub(super) first_failure_ms: u64,
    pub(super) last_failure_ms: u64,
    pub(super) replays: u32,
    pub(super) reason: Reason,
    pub(super) status: LetterStatus,
}

impl Letter {
    /// A letter of this event for this subscription; `errors` is the failure's chain, the latest first, and `at_ms`
    /// the time of the failure.
    pub(crate) fn new(
        event: impl Into<Kept>,
        subscriber: Arc<Subscriber>,
        reason: Reason,
        errors: &[String],
        mut attempts: Attempts,
        at_ms: u64,
    ) -> Self {
        let errors = stored_errors(errors, &mut attempts);
        Self {
            id: LetterId::default(),
            event: event.into(),
            subscriber,
            errors,
            first_failure_ms: attempts
                .stored
                .first()
                .map_or(at_ms, StoredAttempt::ended_ms),
            last_failure_ms: at_ms,
            attempts,
            replays: 0,
            reason,
            status: LetterStatus::Waiting,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    /// The messages of the last failure and of what it came from, the latest first.
    pub(super) fn errors(&self) -> impl Iterator<Item = &str> {
        self.errors
            .iter()
            .map(|&error| self.attempts.words.get(error))
    }

    /// The subscription and the key that this letter parks, if it does.
    pub(super) fn sequence(&self) -> Option<(u64, u64)> {
        let key_hash = self.event.key_hash()?;
        self.subscriber
            .is_sequential
            .then_some((self.subscriber.id, key_hash))
    }

    /// A redelivery failed.
    pub(super) fn failed_again(
        &mut self,
        reason: Reason,
        errors: &[String],
        attempts: Attempts,
        at_ms: u64,
    ) {
        // The errors of the failure before.
        self.attempts.forget();
        self.attempts.append(&attempts);
        self.errors = stored_errors(errors, &mut self.attempts);
        self.reason = reason;
        self.last_failure_ms = at_ms;
        self.replays = self.replays.saturating_add(1);
    }
}

/// The chain, whose first message is mostly that of the last attempt, and then kept once.
fn stored_errors(errors: &[String], attempts: &mut Attempts) -> SmallVec<[Piece; 2]> {
    let mut errors: SmallVec<_> = errors.iter().map(|error| attempts.say(error)).collect();
    errors.shrink_to_fit();
    attempts.shrink();
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_attempts_are_kept() {
        let mut attempts = Attempts::default();
        for number in 1..=40 {
            attempts.record(number * 10, number * 10 + 1, "no");
        }
        assert_eq!(attempts.count(), 40);
        let numbers: Vec<u32> = attempts.stored.iter().map(|kept| kept.number).collect();
        let expected: Vec<u32> = std::iter::once(1).chain(26..=40).collect();
        assert_eq!(numbers, expected);
        assert!(
            attempts
                .stored
                .iter()
                .all(|kept| kept.ended_ms() == u64::from(kept.number) * 10 + 1)
        );

        let mut later = Attempts::default();
        later.record(500, 501, "again no");
        attempts.append(&later);
        assert_eq!(attempts.count(), 41);
        assert_eq!(attempts.stored.len(), 1 + LAST_ATTEMPTS_MAX);
        let last = attempts.stored.last().unwrap();
        assert_eq!((last.number, attempts.message(last)), (41, "again no"));
    }

    #[test]
    fn what_attempts_said_is_kept_as_long_as_they_are() {
        let said = |number: u32| format!("attempt {number} said no");
        let mut attempts = Attempts::default();
        for number in 1..=1_000 {
            attempts.record(0, 0, &said(number));
            // Twice each.
            attempts.record(0, 0, &said(number));
        }
        let kept: Vec<String> = attempts
            .stored
            .iter()
            .map(|attempt| attempts.message(attempt).to_owned())
            .collect();
        let expected: Vec<String> = [1, 993]
            .into_iter()
            .chain((994..=1_000).flat_map(|number| [number, number]))
            .map(said)
            .collect();
        assert_eq!(kept, expected);
        attempts.shrink();
        let words: usize = [1]
            .into_iter()
            .chain(993..=1_000)
            .map(|n| said(n).len())
            .sum();
        assert_eq!(attempts.words.capacity(), words);
    }

    #[test]
    fn the_reason_follows_from_the_failure() {
        let check = |failure: Failure, reason| assert_eq!(Reason::of(&failure), reason);
        check(Failure::new("no"), Reason::Exhausted);
        check(Failure::new("no").permanent(), Reason::Permanent);
        check(Failure::panicked("no".to_owned()), Reason::Panic);
        check(Failure::timed_out("no".to_owned()), Reason::Timeout);
    }
}
