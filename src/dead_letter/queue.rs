//! The shelf of letters: bounded, in order, parked keys beside it.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)
//!
//! One lock for everything. What follows from a change (telling who waits for room, whose key is free, the observer;
//! dropping letters, whose values are the user's) is gathered under it and done once it is let go.

use super::letter::{Attempts, Letter, LetterId, LetterStatus, Reason, Subscriber};
use super::policy::{DeadLetterPolicy, LetterEvent, Overflow};
use super::query::{Filter, Page};
use super::view::LetterView;
use crate::error::{Error, ErrorKind};
use crate::event::{Slot, contain};
use crate::outcome::Outcome;
use crate::sync::clock::Clock;
use crate::sync::{Arc, Mutex, OnceLock};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::ControlFlow;

/// Letters that are looked through before the lock is let go of for others.
const SCAN_CHUNK: usize = 1_024;
/// Most records of what was discarded.
const AUDIT_MAX: usize = 4_096;
/// Most letters that one of them names.
const AUDIT_LETTERS_MAX: usize = 64;
/// Numbers from here on are not taken over from a file, so that there are always some left to give.
const IMPORTED_ID_MAX: u64 = 1 << 62;

/// Tells a worker that there may be room.
pub(crate) type Notify = Arc<dyn Fn() + Send + Sync>;

/// The last letter of a parked key is gone by another way than its redelivery. A hint: whoever owns the key asks
/// [`Queue::is_parked`] on its own thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unpark {
    pub(crate) subscription: u64,
    pub(crate) key_hash: u64,
}

type Owner = Arc<dyn Fn(Unpark) + Send + Sync>;

/// What became of a letter that was offered.
#[derive(Debug)]
#[must_use]
pub(crate) enum Offered {
    /// It is on the shelf.
    Kept(LetterId),
    /// It is on the shelf, and another had to go.
    Evicted { kept: LetterId, evicted: LetterId },
    /// There is no room: the caller keeps it, and its notify is called when there may be some.
    Full(Box<Letter>),
    /// There is no room: the delivery ends as failed.
    Refused(Box<Letter>),
}

/// How many letters there are and were.
///
/// At any time `kept + imported = letters + redelivered + discarded + evicted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DeadLetterCounts {
    /// Letters that are there now.
    pub letters: u64,
    /// Deliveries that failed for good and were kept.
    pub kept: u64,
    /// Letters that made room for others.
    pub evicted: u64,
    /// Deliveries that failed for good and found no room.
    pub refused: u64,
    /// Letters that went because a redelivery succeeded.
    pub redelivered: u64,
    /// Letters that somebody discarded.
    pub discarded: u64,
    /// Letters that came out of a file.
    pub imported: u64,
    /// Calls of the observer that failed or panicked.
    pub observer_failures: u64,
}

/// Who discarded which letters, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiscardRecord {
    /// When, in wall milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// How many.
    pub count: u64,
    /// The first 64 of them.
    pub letters: Vec<LetterId>,
}

/// The letters of a sequential subscription with one key, in order.
#[derive(Debug)]
struct Parked {
    subscriber: Arc<Subscriber>,
    letters: VecDeque<LetterId>,
    is_claimed: bool,
}

#[derive(Default)]
struct State {
    letters: BTreeMap<LetterId, Box<Letter>>,
    /// By subscription and hash of the key; an entry goes when it is empty and not claimed.
    parked: HashMap<(u64, u64), Parked, ahash::RandomState>,
    last_id: u64,
    counts: DeadLetterCounts,
    waiters: Vec<Notify>,
    audit: VecDeque<DiscardRecord>,
}

/// What is to be done once the lock is let go of.
#[derive(Default)]
struct After {
    waiters: Vec<Notify>,
    unparked: Vec<Unpark>,
    gone: Vec<Letter>,
}

impl State {
    fn add(&mut self, mut letter: Box<Letter>) -> LetterId {
        let wanted = letter.id;
        let is_free =
            wanted.0 != 0 && wanted.0 < IMPORTED_ID_MAX && !self.letters.contains_key(&wanted);
        let id = if is_free {
            wanted
        } else {
            LetterId(self.last_id + 1)
        };
        self.last_id = self.last_id.max(id.0);
        letter.id = id;
        if let Some(sequence) = letter.sequence() {
            let subscriber = &letter.subscriber;
            let parked = self.parked.entry(sequence).or_insert_with(|| {
                subscriber.note_parked();
                Parked {
                    subscriber: Arc::clone(subscriber),
                    letters: VecDeque::new(),
                    is_claimed: false,
                }
            });
            let letters = &mut parked.letters;
            // At the end, but for letters out of a file that had their number before.
            let place = letters.partition_point(|&before| before < id);
            letters.insert(place, id);
        }
        self.letters.insert(id, letter);
        id
    }

    fn remove(&mut self, id: LetterId, capacity: usize, after: &mut After) {
        let Some(letter) = self.letters.remove(&id) else {
            return;
        };
        if let Some(sequence) = letter.sequence()
            && let Some(parked) = self.parked.get_mut(&sequence)
        {
            // Mostly the first.
            if let Some(place) = parked.letters.iter().position(|&parked| parked == id) {
                parked.letters.remove(place);
            }
            if !parked.is_claimed {
                self.unpark_if_empty(sequence, after);
            }
        }
        if self.letters.len() < capacity {
            after.waiters.append(&mut self.waiters);
        }
        after.gone.push(*letter);
    }

    fn unpark_if_empty(&mut self, sequence: (u64, u64), after: &mut After) -> bool {
        let is_empty = self
            .parked
            .get(&sequence)
            .is_some_and(|parked| parked.letters.is_empty());
        if is_empty {
            self.unpark(sequence);
            let (subscription, key_hash) = sequence;
            after.unparked.push(Unpark {
                subscription,
                key_hash,
            });
        }
        is_empty
    }

    fn unpark(&mut self, sequence: (u64, u64)) {
        if let Some(parked) = self.parked.remove(&sequence) {
            parked.subscriber.note_unparked();
        }
    }

    fn oldest_waiting(&self) -> Option<LetterId> {
        let mut letters = self.letters.values();
        letters
            .find(|letter| letter.status == LetterStatus::Waiting)
            .map(|letter| letter.id)
    }

    fn record(&mut self, record: DiscardRecord) {
        if self.audit.len() == AUDIT_MAX {
            self.audit.pop_front();
        }
        self.audit.push_back(record);
    }
}

/// What a redelivery that failed leaves behind.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    pub(crate) errors: Vec<String>,
    pub(crate) attempts: Attempts,
    pub(crate) at_ms: u64,
}

/// The letters of an engine.
pub(crate) struct Queue {
    state: Mutex<State>,
    policy: DeadLetterPolicy,
    clock: Clock,
    owner: OnceLock<Owner>,
}

impl Queue {
    /// An empty queue; the policy has been checked.
    pub(crate) fn new(policy: DeadLetterPolicy, clock: Clock) -> Self {
        Self {
            state: Mutex::default(),
            policy,
            clock,
            owner: OnceLock::new(),
        }
    }

    /// Who is told of keys that are free again. Once, before the first letter.
    pub(crate) fn set_owner(&self, owner: impl Fn(Unpark) + Send + Sync + 'static) {
        let owner: Owner = Arc::new(owner);
        let mut is_first = false;
        self.owner.get_or_init(|| {
            is_first = true;
            owner
        });
        assert!(is_first, "a queue has one owner");
    }

    #[cfg(feature = "json")]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The present time, in wall milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.wall_ms(self.clock.raw())
    }

    /// Puts a letter on the shelf, or does with it what the policy says. `room` is called, once, when a letter that
    /// found the queue full may find room; the same one twice is called once.
    pub(crate) fn offer(&self, letter: Letter, room: Option<&Notify>) -> Offered {
        let mut after = After::default();
        let seen = self.policy.observer.is_some().then(|| letter.clone());
        let letter = Box::new(letter);
        let mut state = self.state.lock();
        let offered = if state.letters.len() < self.policy.capacity {
            state.counts.kept += 1;
            Offered::Kept(state.add(letter))
        } else {
            match self.policy.overflow {
                Overflow::Pause => {
                    if let Some(room) = room
                        && !state.waiters.iter().any(|waits| Arc::ptr_eq(waits, room))
                    {
                        state.waiters.push(Arc::clone(room));
                    }
                    Offered::Full(letter)
                }
                overflow => {
                    let evicted = match overflow {
                        Overflow::EvictOldest => state.oldest_waiting(),
                        _ => None,
                    };
                    if let Some(evicted) = evicted {
                        state.counts.kept += 1;
                        state.counts.evicted += 1;
                        // First in, then out, so that a key that stays parked is not called free.
                        let kept = state.add(letter);
                        state.remove(evicted, self.policy.capacity, &mut after);
                        Offered::Evicted { kept, evicted }
                    } else {
                        state.counts.refused += 1;
                        Offered::Refused(letter)
                    }
                }
            }
        };
        drop(state);
        if let Some(mut letter) = seen {
            for gone in &after.gone {
                self.observe(gone.clone(), |letter| LetterEvent::Evicted(letter));
            }
            if let Offered::Kept(id) | Offered::Evicted { kept: id, .. } = &offered {
                letter.id = *id;
            }
            match &offered {
                Offered::Kept(_) | Offered::Evicted { .. } => {
                    self.observe(letter, |letter| LetterEvent::Kept(letter));
                }
                Offered::Full(_) => self.observe(letter, |letter| LetterEvent::Paused(letter)),
                Offered::Refused(_) => self.observe(letter, |letter| LetterEvent::Refused(letter)),
            }
        }
        self.finish(after);
        offered
    }

    /// Keeps an event that nobody subscribes to. Its publisher has looked for room; where others took that
    /// meanwhile, one letter more is kept than there are places.
    pub(crate) fn keep_unwanted(&self, letter: Letter) {
        if let Offered::Full(letter) = self.offer(letter, None) {
            let mut state = self.state.lock();
            state.counts.kept += 1;
            let _ = state.add(letter);
        }
    }

    /// Whether later events of this key are to wait behind letters: they are offered as
    /// [`Reason::SequenceBlocked`]. True as well while a redelivery of the key goes on.
    pub(crate) fn is_parked(&self, subscription: u64, key_hash: u64) -> bool {
        let state = self.state.lock();
        state.parked.contains_key(&(subscription, key_hash))
    }

    /// Whether a letter would find room, or may have some.
    pub(crate) fn has_room(&self) -> bool {
        self.policy.overflow != Overflow::Pause
            || self.state.lock().letters.len() < self.policy.capacity
    }

    pub(crate) fn counts(&self) -> DeadLetterCounts {
        let state = self.state.lock();
        DeadLetterCounts {
            letters: state.letters.len() as u64,
            ..state.counts
        }
    }

    /// Keeps a letter out of a file, under its number if that is free; `None` if there is no room, whatever the
    /// policy: nothing is thrown away for the sake of a file.
    #[cfg_attr(
        not(feature = "json"),
        allow(dead_code, reason = "files are of JSON lines")
    )]
    pub(super) fn import(&self, letter: Letter) -> Option<LetterId> {
        let mut state = self.state.lock();
        if state.letters.len() >= self.policy.capacity {
            return None;
        }
        state.counts.imported += 1;
        Some(state.add(Box::new(letter)))
    }

    /// Says that a letter is on its way again; whose it is.
    pub(super) fn claim_letter(&self, id: LetterId) -> Result<Arc<Subscriber>, Error> {
        let mut state = self.state.lock();
        let letter = state.letters.get_mut(&id).ok_or_else(|| missing(id))?;
        let name = &letter.subscriber.name;
        if letter.sequence().is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "letter {id}: it belongs to the parked key of a sequential subscription (`{name}`), whose letters go in order: redeliver the key"
                ),
            ));
        }
        if letter.status == LetterStatus::Redelivering {
            return Err(busy(id));
        }
        if letter.event.is_empty() {
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "letter {id}: its event was taken by value by `{name}` and is gone: discard it, and publish the event anew"
                ),
            ));
        }
        letter.status = LetterStatus::Redelivering;
        Ok(Arc::clone(&letter.subscriber))
    }

    /// Says that the letters of a key are on their way again; whose they are, and the first of them.
    pub(super) fn claim_key(
        &self,
        sequence: (u64, u64),
    ) -> Result<(Arc<Subscriber>, LetterId), Error> {
        let mut state = self.state.lock();
        let parked = state.parked.get_mut(&sequence).ok_or_else(|| {
            Error::new(
                ErrorKind::Missing,
                "no letter waits with this key for this subscription: there is nothing to redeliver",
            )
        })?;
        if parked.is_claimed {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the letters of this key are being redelivered already: wait for that to end",
            ));
        }
        let first = parked.letters.front().copied();
        let first = first.expect("a parked key that is not claimed has a letter");
        parked.is_claimed = true;
        Ok((Arc::clone(&parked.subscriber), first))
    }

    pub(super) fn key_hash_of(&self, id: LetterId) -> Option<u64> {
        self.state.lock().letters.get(&id)?.event.key_hash()
    }

    pub(super) fn type_index_of(&self, id: LetterId) -> Option<u32> {
        Some(self.state.lock().letters.get(&id)?.event.type_index())
    }

    /// The event of a claimed letter, for an attempt.
    pub(super) fn take(&self, id: LetterId) -> Option<(Slot, u32)> {
        let mut state = self.state.lock();
        let letter = state.letters.get_mut(&id)?;
        let slot = if letter.subscriber.takes_by_value {
            letter.event.take()
        } else {
            letter.event.clone().into_slot()
        };
        Some((slot, letter.replays))
    }

    /// The first letter of a claimed key, from now on on its way; `None`, and the claim is over and the key free, if
    /// there is none.
    pub(super) fn first_of(&self, sequence: (u64, u64)) -> Option<LetterId> {
        let mut state = self.state.lock();
        let front = state.parked.get(&sequence)?.letters.front().copied();
        match front {
            Some(id) => {
                let letter = state.letters.get_mut(&id)?;
                letter.status = LetterStatus::Redelivering;
                Some(id)
            }
            None => {
                // Who asks is the owner, so nobody needs to be told.
                state.unpark(sequence);
                None
            }
        }
    }

    /// Gives a claim up; whether the key is free from now on.
    pub(super) fn release_key(&self, sequence: (u64, u64)) -> bool {
        let mut after = After::default();
        let mut state = self.state.lock();
        let is_free = match state.parked.get_mut(&sequence) {
            None => true,
            Some(parked) => {
                parked.is_claimed = false;
                state.unpark_if_empty(sequence, &mut after)
            }
        };
        drop(state);
        self.finish(after);
        is_free
    }

    /// A redelivery succeeded: the letter goes.
    pub(super) fn succeed(&self, id: LetterId) {
        let mut after = After::default();
        let mut state = self.state.lock();
        state.counts.redelivered += 1;
        state.remove(id, self.policy.capacity, &mut after);
        drop(state);
        self.finish(after);
    }

    /// A redelivery failed: the same letter waits on, with its value if that is still there.
    pub(super) fn fail(&self, id: LetterId, failed: Failed, slot: Option<Slot>) {
        let mut state = self.state.lock();
        let old = state.letters.get_mut(&id).map(|letter| {
            let Failed {
                reason,
                errors,
                attempts,
                at_ms,
            } = failed;
            letter.failed_again(reason, &errors, attempts, at_ms);
            letter.status = LetterStatus::Waiting;
            put_back(letter, slot)
        });
        drop(state);
        drop(old);
    }

    /// A redelivery did not happen: the letter is as it was.
    pub(super) fn give_up(&self, id: LetterId, slot: Option<Slot>) {
        let mut state = self.state.lock();
        let old = state.letters.get_mut(&id).map(|letter| {
            letter.status = LetterStatus::Waiting;
            put_back(letter, slot)
        });
        drop(state);
        drop(old);
    }

    /// Looks at the letters behind `cursor` in order, some at a time, until told to stop. No user's code in `look`.
    pub(super) fn scan(
        &self,
        mut cursor: Option<LetterId>,
        is_newest_first: bool,
        mut look: impl FnMut(&Letter) -> ControlFlow<()>,
    ) {
        loop {
            let state = self.state.lock();
            let bounds = match (cursor, is_newest_first) {
                (None, _) => (Unbounded, Unbounded),
                (Some(cursor), false) => (Excluded(cursor), Unbounded),
                (Some(cursor), true) => (Unbounded, Excluded(cursor)),
            };
            let mut letters = state.letters.range(bounds);
            for _ in 0..SCAN_CHUNK {
                let next = if is_newest_first {
                    letters.next_back()
                } else {
                    letters.next()
                };
                let Some((&id, letter)) = next else {
                    return;
                };
                cursor = Some(id);
                if look(letter).is_break() {
                    return;
                }
            }
        }
    }

    /// The letters that a page asks for, and whether there are more.
    pub(super) fn page(&self, filter: &Filter, page: Page) -> (Vec<LetterView>, bool) {
        let mut found = Vec::new();
        let mut left_out = 0;
        let mut has_more = false;
        self.scan(page.after, page.is_newest_first, |letter| {
            if !filter.is_met(letter) {
            } else if left_out < page.offset {
                left_out += 1;
            } else if found.len() < page.limit {
                found.push(letter.clone());
            } else {
                has_more = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let views = found
            .into_iter()
            .map(|letter| LetterView::new(letter, &self.clock));
        (views.collect(), has_more)
    }

    pub(super) fn inspect(&self, id: LetterId) -> Option<LetterView> {
        let letter = self
            .state
            .lock()
            .letters
            .get(&id)
            .map(|letter| Letter::clone(letter));
        Some(LetterView::new(letter?, &self.clock))
    }

    pub(super) fn last_id(&self) -> LetterId {
        LetterId(self.state.lock().last_id)
    }

    /// What a letter parks, if it is there and does.
    pub(super) fn sequence_of(&self, id: LetterId) -> Result<Option<(u64, u64)>, Error> {
        let state = self.state.lock();
        let letter = state.letters.get(&id).ok_or_else(|| missing(id))?;
        Ok(letter.sequence())
    }

    /// The parked key with this hash of a subscription of this name.
    pub(super) fn sequence_named(&self, subscription: &str, key_hash: u64) -> Option<(u64, u64)> {
        let state = self.state.lock();
        let mut parked = state.parked.iter();
        parked
            .find(|((_, hash), parked)| {
                *hash == key_hash && *parked.subscriber.name == *subscription
            })
            .map(|(&sequence, _)| sequence)
    }

    pub(super) fn discard(&self, id: LetterId, who: &str, why: &str) -> Result<(), Error> {
        let at_ms = self.now_ms();
        let mut after = After::default();
        let mut state = self.state.lock();
        let letter = state.letters.get(&id).ok_or_else(|| missing(id))?;
        if letter.status == LetterStatus::Redelivering {
            return Err(busy(id));
        }
        state.remove(id, self.policy.capacity, &mut after);
        state.counts.discarded += 1;
        state.record(DiscardRecord {
            at_ms,
            who: who.to_owned(),
            why: why.to_owned(),
            count: 1,
            letters: vec![id],
        });
        drop(state);
        self.finish(after);
        Ok(())
    }

    /// Discards what is meant and is not being redelivered; how many.
    pub(super) fn discard_all(&self, filter: &Filter, who: &str, why: &str) -> u64 {
        let mut record = DiscardRecord {
            at_ms: self.now_ms(),
            who: who.to_owned(),
            why: why.to_owned(),
            count: 0,
            letters: Vec::new(),
        };
        let mut cursor = LetterId(0);
        // Not those that come meanwhile, or this could go on forever.
        let last = self.last_id();
        while cursor < last {
            let mut after = After::default();
            let mut state = self.state.lock();
            let letters = state.letters.range((Excluded(cursor), Included(last)));
            let mut seen = 0;
            let mut met = Vec::new();
            for (&id, letter) in letters.take(SCAN_CHUNK) {
                seen += 1;
                cursor = id;
                if letter.status == LetterStatus::Waiting && filter.is_met(letter) {
                    met.push(id);
                }
            }
            for &id in &met {
                state.remove(id, self.policy.capacity, &mut after);
            }
            state.counts.discarded += met.len() as u64;
            drop(state);
            self.finish(after);
            record.count += met.len() as u64;
            let room = AUDIT_LETTERS_MAX.saturating_sub(record.letters.len());
            record.letters.extend(met.into_iter().take(room));
            if seen < SCAN_CHUNK {
                break;
            }
        }
        let count = record.count;
        if count > 0 {
            self.state.lock().record(record);
        }
        count
    }

    pub(super) fn audit(&self) -> Vec<DiscardRecord> {
        self.state.lock().audit.iter().cloned().collect()
    }

    /// What a change brings with it; every call is somebody else's code, and contained.
    fn finish(&self, after: After) {
        let After {
            waiters,
            unparked,
            gone,
        } = after;
        drop(gone);
        for notify in waiters {
            let _ = contain(|| notify());
        }
        if let Some(owner) = self.owner.get() {
            for unpark in unparked {
                let _ = contain(|| owner(unpark));
            }
        }
    }

    /// Tells the observer; what goes wrong there is counted and ends there.
    fn observe(&self, letter: Letter, event: impl FnOnce(&LetterView) -> LetterEvent<'_>) {
        let Some(observer) = &self.policy.observer else {
            return;
        };
        let view = LetterView::new(letter, &self.clock);
        let told = contain(|| matches!(observer(&event(&view)), Outcome::Failed(_)));
        if told.unwrap_or(true) {
            self.state.lock().counts.observer_failures += 1;
        }
    }
}

/// The value goes back into its letter; what lay there is to be dropped without the lock.
fn put_back(letter: &mut Letter, slot: Option<Slot>) -> Option<crate::event::Kept> {
    let slot = slot.filter(|slot| !slot.is_empty())?;
    Some(std::mem::replace(&mut letter.event, slot.into()))
}

fn missing(id: LetterId) -> Error {
    Error::new(
        ErrorKind::Missing,
        format!(
            "letter {id}: there is none of this number (it was redelivered, discarded or evicted, or never was): list the letters"
        ),
    )
}

fn busy(id: LetterId) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("letter {id}: it is being redelivered already: wait for that to end"),
    )
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
