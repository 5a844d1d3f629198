//! What waits on one worker for one subscription: deliveries in retry, and the events held behind them.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | dead letter)
//!
//! Picture a shelf beside the worker's desk. A key has a place on it while its delivery waits for the next
//! attempt, or while its letter is parked; later events of the key are put behind, by class. While the
//! subscription's breaker is not closed, or its dead-letter queue is full, everything new goes into one
//! backlog instead, in the order of coming. Events without a key wait each for itself, as no order is asked
//! for them. This file keeps the shelf in order and calls nobody; [`tend`](super::tend) does.
//!
//! Everything here belongs to one thread, so order needs no lock (RO3).

use crate::breaker::Member;
use crate::dead_letter::{Attempts, Letter, Notify, Order};
use crate::event::Slot;
use crate::handler::SubscriptionShared;
use crate::lane::CLASS_COUNT;
use crate::metrics::{CountsCell, MARK_HELD};
use crate::outcome::Failure;
use crate::retry::{Random, TimerId};
use crate::sync::Arc;
use std::collections::{HashMap, VecDeque};

/// Events by class: the highest first, in order within a class.
#[derive(Default)]
pub(super) struct Lines {
    lines: [VecDeque<Slot>; CLASS_COUNT],
}

impl Lines {
    fn push(&mut self, slot: Slot) {
        self.lines[slot.class().index()].push_back(slot);
    }

    fn pop(&mut self) -> Option<Slot> {
        self.lines.iter_mut().find_map(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    fn drain(&mut self) -> impl Iterator<Item = Slot> {
        self.lines.iter_mut().flat_map(|line| line.drain(..))
    }
}

/// A delivery that is on its way through its attempts.
pub(super) struct Waiting {
    pub(super) slot: Slot,
    /// Attempts made so far.
    pub(super) attempts: u32,
    /// The stamp at which the first one began.
    pub(super) began: u64,
    pub(super) trail: Attempts,
    /// What the last one failed with.
    pub(super) failure: Option<Failure>,
    /// A redelivery: the claim of its letter.
    pub(super) order: Option<Box<Order>>,
    /// It has failed for good: its letter, which waits for room in the queue.
    pub(super) letter: Option<Box<Letter>>,
}

/// Where a delivery was when something happened to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// In the worker's hands, fresh from a lane.
    Hand,
    /// On the shelf; one without a key by its number there.
    Shelf(Option<u32>),
}

impl Waiting {
    pub(super) fn key(&self) -> Option<u64> {
        self.slot.is_keyed().then_some(self.slot.head().key_hash)
    }

    /// A delivery whose first attempt is to come.
    pub(super) fn fresh(slot: Slot, now: u64) -> Self {
        Self {
            slot,
            attempts: 0,
            began: now,
            trail: Attempts::default(),
            failure: None,
            order: None,
            letter: None,
        }
    }
}

/// What is to be served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The first delivery of a key.
    Key(u64),
    /// A delivery without a key.
    Loose(u32),
    /// The first of the backlog.
    Backlog,
}

/// What keeps a key on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// It is served once this timer is due.
    Timer(TimerId),
    /// It is among what is to be served, or stopped there by the breaker or for want of room.
    Queued,
    /// Its letter is parked (DQ3): what comes joins it there.
    Parked,
}

pub(super) struct KeyPlace {
    pub(super) stay: Stay,
    /// Among the attempts, while there is one.
    first: Option<Waiting>,
    behind: Lines,
    /// Letters of this key that are to be redelivered once it is free.
    letters: VecDeque<Box<Order>>,
    /// The whole parked key is being redelivered, and its next letter is to come.
    replay: Option<Box<Order>>,
}

impl KeyPlace {
    fn new(stay: Stay) -> Self {
        Self {
            stay,
            first: None,
            behind: Lines::default(),
            letters: VecDeque::new(),
            replay: None,
        }
    }
}

impl KeyPlace {
    fn is_done(&self) -> bool {
        self.first.is_none()
            && self.replay.is_none()
            && self.behind.is_empty()
            && self.letters.is_empty()
    }
}

struct Loose {
    waiting: Waiting,
    timer: Option<TimerId>,
}

/// What a key has to be served next.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned, and kept nowhere"
)]
pub(super) enum NextOfKey {
    /// A delivery that has begun, or an event that was held.
    Delivery(Waiting),
    /// A letter that is to be redelivered.
    Letter(Box<Order>),
    /// The key's parked letters are being redelivered.
    Replay(Box<Order>),
    /// Nothing: the key left the shelf.
    Done,
}

/// What the backlog has to be served next.
pub(super) enum NextOfBacklog {
    /// An event that nothing else of its key stands before.
    Free(Slot),
    /// An event whose key is on the shelf went behind it.
    Behind(u64),
}

/// One subscription's shelf on one worker.
pub(super) struct Hold {
    pub(super) shared: Arc<SubscriptionShared>,
    pub(super) counts: Arc<CountsCell>,
    pub(super) member: Option<Member>,
    /// Has the worker told that there may be room for its letters.
    pub(super) room: Option<Notify>,
    /// For the jitter of its delays.
    pub(super) random: Random,
    keys: HashMap<u64, KeyPlace, ahash::RandomState>,
    loose: HashMap<u32, Loose, ahash::RandomState>,
    next_loose: u32,
    backlog: Lines,
    /// The backlog is among what is to be served.
    is_backlog_queued: bool,
    /// What the breaker stopped, in the order of stopping.
    blocked: VecDeque<Target>,
    /// The timer for the next look at the breaker, and when it is due.
    pub(super) breaker_timer: Option<(TimerId, u64)>,
    /// What has failed for good and waits for room in the dead-letter queue, in order.
    unburied: VecDeque<Waiting>,
    /// Deliveries here: begun, held, in the backlog; not those of letters.
    count: usize,
    /// The worker takes nothing from outside because of this subscription.
    pub(super) is_full: bool,
}

impl Hold {
    pub(super) fn new(
        shared: Arc<SubscriptionShared>,
        counts: Arc<CountsCell>,
        worker: usize,
    ) -> Self {
        let random = shared.policies.retry.random(worker);
        Self {
            shared,
            counts,
            member: None,
            room: None,
            random,
            keys: HashMap::default(),
            loose: HashMap::default(),
            next_loose: 0,
            backlog: Lines::default(),
            is_backlog_queued: false,
            blocked: VecDeque::new(),
            breaker_timer: None,
            unburied: VecDeque::new(),
            count: 0,
            is_full: false,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether all new deliveries have to queue behind others, whatever their key.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() || !self.unburied.is_empty()
    }

    /// Whether a key is parked; `None` if it is free.
    pub(super) fn is_parked(&self, key: u64) -> Option<bool> {
        self.keys.get(&key).map(|place| place.stay == Stay::Parked)
    }

    /// Whether a target has nothing to serve; a key like that leaves the shelf.
    pub(super) fn is_done(&mut self, target: Target) -> bool {
        match target {
            Target::Backlog => self.backlog.is_empty(),
            Target::Loose(number) => !self.loose.contains_key(&number),
            Target::Key(key) => {
                let Some(place) = self.keys.get(&key) else {
                    return true;
                };
                if place.stay != Stay::Queued {
                    return true;
                }
                let is_done = place.is_done();
                if is_done {
                    self.keys.remove(&key);
                    self.mark();
                }
                is_done
            }
        }
    }

    /// One delivery more, and the mark by which the next events look here.
    fn note_in(&mut self) {
        self.count += 1;
        self.counts.set_held(self.count as u64);
    }

    /// One delivery has ended.
    pub(super) fn note_out(&mut self) {
        self.count -= 1;
        self.counts.set_held(self.count as u64);
    }

    /// Sets or clears the mark, as the shelf is.
    pub(super) fn mark(&self) {
        if self.keys.is_empty() && !self.has_backlog() {
            self.counts.clear_mark(MARK_HELD);
        } else {
            self.counts.set_mark(MARK_HELD);
        }
    }

    /// Holds an event behind the others of its key.
    pub(super) fn hold_behind(&mut self, key: u64, slot: Slot) {
        self.note_in();
        let place = self
            .keys
            .entry(key)
            .or_insert_with(|| KeyPlace::new(Stay::Queued));
        place.behind.push(slot);
    }

    /// Holds an event behind everything; whether the backlog is to be queued.
    pub(super) fn hold_back(&mut self, slot: Slot) {
        self.note_in();
        self.backlog.push(slot);
        self.mark();
    }

    /// Takes in a delivery whose attempt failed while its event was in the worker's hands.
    pub(super) fn take_in(&mut self, key: Option<u64>, waiting: Waiting) -> Target {
        self.note_in();
        self.put_back(key, None, waiting)
    }

    /// Puts a delivery where it waits for its next turn.
    pub(super) fn put_back(
        &mut self,
        key: Option<u64>,
        loose: Option<u32>,
        waiting: Waiting,
    ) -> Target {
        match key {
            Some(key) => {
                let place = self
                    .keys
                    .entry(key)
                    .or_insert_with(|| KeyPlace::new(Stay::Queued));
                place.first = Some(waiting);
                place.stay = Stay::Queued;
                self.mark();
                Target::Key(key)
            }
            None => {
                let number = loose.unwrap_or_else(|| {
                    self.next_loose = self.next_loose.wrapping_add(1);
                    self.next_loose
                });
                self.loose.insert(
                    number,
                    Loose {
                        waiting,
                        timer: None,
                    },
                );
                Target::Loose(number)
            }
        }
    }

    /// Notes the timer that serves a target.
    pub(super) fn set_timer(&mut self, target: Target, timer: TimerId) {
        match target {
            Target::Key(key) => {
                if let Some(place) = self.keys.get_mut(&key) {
                    place.stay = Stay::Timer(timer);
                }
            }
            Target::Loose(number) => {
                if let Some(loose) = self.loose.get_mut(&number) {
                    loose.timer = Some(timer);
                }
            }
            Target::Backlog => {}
        }
    }

    /// A target's timer has come.
    pub(super) fn is_due(&mut self, target: Target) {
        match target {
            Target::Key(key) => {
                if let Some(place) = self.keys.get_mut(&key) {
                    place.stay = Stay::Queued;
                }
            }
            Target::Loose(number) => {
                if let Some(loose) = self.loose.get_mut(&number) {
                    loose.timer = None;
                }
            }
            Target::Backlog => {}
        }
    }

    /// The key's place, made for a letter that is to be redelivered if there is none; whether the key is to
    /// be queued for it.
    pub(super) fn ask_letter(&mut self, key: u64, order: Box<Order>) -> bool {
        let is_new = !self.keys.contains_key(&key);
        let place = self
            .keys
            .entry(key)
            .or_insert_with(|| KeyPlace::new(Stay::Queued));
        place.letters.push_back(order);
        // Stopped for want of room, which the redelivery may make: it is served in spite of that.
        let is_stopped = !self.unburied.is_empty() && place.stay == Stay::Queued;
        if is_stopped {
            self.blocked.retain(|target| *target != Target::Key(key));
        }
        self.mark();
        is_new || is_stopped
    }

    /// Whether letters of a key wait for what is before them to be over.
    pub(super) fn has_letters(&self, key: u64) -> bool {
        self.keys
            .get(&key)
            .is_some_and(|place| place.stay == Stay::Queued && !place.letters.is_empty())
    }

    /// Has a parked key redelivered, or goes on with it.
    pub(super) fn ask_replay(&mut self, key: u64, order: Box<Order>) {
        let place = self
            .keys
            .entry(key)
            .or_insert_with(|| KeyPlace::new(Stay::Parked));
        // Parked, or its redelivery has just come to the next letter; the claim is exclusive.
        place.replay = Some(order);
        place.stay = Stay::Queued;
        self.mark();
    }

    /// Parks a key: its first letter has been kept.
    pub(super) fn park(&mut self, key: u64) {
        let place = self
            .keys
            .entry(key)
            .or_insert_with(|| KeyPlace::new(Stay::Parked));
        place.stay = Stay::Parked;
        self.mark();
    }

    /// The parked letters of a key are gone: what waits behind them goes on. Whether the key is to be queued.
    pub(super) fn unpark(&mut self, key: u64) -> bool {
        match self.keys.get_mut(&key) {
            Some(place) if place.stay == Stay::Parked => {
                place.stay = Stay::Queued;
                true
            }
            _ => false,
        }
    }

    /// Takes what is next of a key. A delivery stays counted until it ends.
    pub(super) fn next_of_key(&mut self, key: u64, now: u64) -> NextOfKey {
        let Some(place) = self.keys.get_mut(&key) else {
            return NextOfKey::Done;
        };
        if let Some(first) = place.first.take() {
            return NextOfKey::Delivery(first);
        }
        if let Some(order) = place.replay.take() {
            return NextOfKey::Replay(order);
        }
        // While the queue has no room, only what makes some goes on.
        if self.unburied.is_empty()
            && let Some(slot) = place.behind.pop()
        {
            return NextOfKey::Delivery(Waiting::fresh(slot, now));
        }
        if let Some(order) = place.letters.pop_front() {
            return NextOfKey::Letter(order);
        }
        if place.is_done() {
            self.keys.remove(&key);
            self.mark();
        }
        NextOfKey::Done
    }

    /// Events that wait behind a parked key, in order: they are to join it.
    pub(super) fn pop_behind(&mut self, key: u64) -> Option<Slot> {
        self.keys.get_mut(&key)?.behind.pop()
    }

    pub(super) fn take_loose(&mut self, number: u32) -> Option<Waiting> {
        self.loose.remove(&number).map(|loose| loose.waiting)
    }

    /// Takes the first of the backlog.
    pub(super) fn next_of_backlog(&mut self) -> Option<NextOfBacklog> {
        let slot = self.backlog.pop()?;
        let next = if slot.is_keyed()
            && let Some(place) = self.keys.get_mut(&slot.head().key_hash)
        {
            let key = slot.head().key_hash;
            place.behind.push(slot);
            NextOfBacklog::Behind(key)
        } else {
            NextOfBacklog::Free(slot)
        };
        self.mark();
        Some(next)
    }

    /// Whether the backlog is to be put among what is served: once.
    pub(super) fn queue_backlog(&mut self) -> bool {
        let queues = !self.is_backlog_queued && !self.backlog.is_empty();
        self.is_backlog_queued |= queues;
        queues
    }

    pub(super) fn unqueue_backlog(&mut self) {
        self.is_backlog_queued = false;
    }

    pub(super) fn block(&mut self, target: Target) {
        self.blocked.push_back(target);
    }

    /// What the breaker had stopped, in its order.
    pub(super) fn unblock(&mut self) -> VecDeque<Target> {
        std::mem::take(&mut self.blocked)
    }

    /// A delivery that has failed for good waits for room in the dead-letter queue, and everything new of
    /// the subscription waits behind it.
    pub(super) fn bury_later(&mut self, from: From, waiting: Waiting) {
        if let From::Hand = from {
            self.note_in();
        }
        self.unburied.push_back(waiting);
        self.mark();
    }

    /// The one that was tried last still finds no room: it stays the first.
    pub(super) fn bury_first(&mut self) {
        if !self.unburied.is_empty() {
            self.unburied.rotate_right(1);
        }
    }

    pub(super) fn is_waiting_for_room(&self) -> bool {
        !self.unburied.is_empty()
    }

    pub(super) fn unburied_count(&self) -> usize {
        self.unburied.len()
    }

    pub(super) fn next_unburied(&mut self) -> Option<Waiting> {
        self.unburied.pop_front()
    }

    /// An event that was to join its key's letters, which are gone by now: it goes first of what waits.
    pub(super) fn revive(&mut self, key: u64) {
        let place = self
            .unburied
            .iter()
            .position(|waiting| waiting.key() == Some(key));
        if let Some(mut waiting) = place.and_then(|place| self.unburied.remove(place)) {
            waiting.letter = None;
            self.put_back(Some(key), None, waiting);
        }
    }

    /// Whether a target's next is a redelivery, which makes room and needs none, or stands before one.
    pub(super) fn is_redelivery(&self, target: Target) -> bool {
        let has_order = |waiting: &Waiting| waiting.order.is_some();
        match target {
            Target::Backlog => false,
            Target::Loose(number) => self
                .loose
                .get(&number)
                .is_some_and(|loose| has_order(&loose.waiting)),
            Target::Key(key) => self.keys.get(&key).is_some_and(|place| {
                !place.letters.is_empty()
                    || place
                        .first
                        .as_ref()
                        .map_or(place.replay.is_some(), has_order)
            }),
        }
    }

    /// Empties the shelf: every delivery and every redelivery that was asked for, and all timers.
    pub(super) fn clear(&mut self) -> Cleared {
        let mut cleared = Cleared::default();
        for (_, mut place) in self.keys.drain() {
            if let Stay::Timer(timer) = place.stay {
                cleared.timers.push(timer);
            }
            cleared.waiting.extend(place.first);
            cleared.held.extend(place.behind.drain());
            cleared.orders.extend(place.letters);
            cleared.orders.extend(place.replay);
        }
        for (_, loose) in self.loose.drain() {
            cleared.timers.extend(loose.timer);
            cleared.waiting.push(loose.waiting);
        }
        cleared.held.extend(self.backlog.drain());
        cleared
            .timers
            .extend(self.breaker_timer.take().map(|(timer, _)| timer));
        self.blocked.clear();
        cleared.waiting.extend(self.unburied.drain(..));
        self.is_backlog_queued = false;
        self.count = 0;
        self.counts.set_held(0);
        self.counts.clear_mark(MARK_HELD);
        cleared
    }
}

/// What was on a shelf.
#[derive(Default)]
pub(super) struct Cleared {
    pub(super) waiting: Vec<Waiting>,
    pub(super) held: Vec<Slot>,
    #[expect(clippy::vec_box, reason = "moved from where they were, and dropped")]
    pub(super) orders: Vec<Box<Order>>,
    pub(super) timers: Vec<TimerId>,
}
