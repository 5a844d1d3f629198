//! What was published, handled and dropped, and what of it breaks a promise.
//!
//! A panic in a handler is contained by the engine, so nothing in here asserts: what is wrong is noted, and the run
//! fails at its next look.

use crate::action::{Doing, End, mix};
use crate::delivery::{Call, Delivery, Rules, Went, is_higher};
use crate::seen::{Seen, Thing};
use ringbolt::{Class, EventId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// What is known of an event before it is published.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: u8,
    pub(crate) key: Option<u64>,
    pub(crate) class: Class,
    /// Whoever promises order: a publisher, a worker's context, the handle.
    pub(crate) publisher: u32,
    pub(crate) traps_key: bool,
    pub(crate) traps_drop: bool,
    /// What its handlers do.
    pub(crate) doings: Arc<[Doing]>,
}

/// What a failure says of when to try again.
pub(crate) const FOR_NOW_NS: u64 = 3_000;

/// The event and the pool that a handler runs for.
pub(crate) type Cause = Option<(u32, usize)>;

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The call has not returned.
    Made,
    Admitted,
    /// Nobody subscribed to it.
    Unhandled,
    /// Lossy, and there was no room.
    Lost,
    /// It came back, or was never published.
    Refused,
    /// It is to be published later.
    Later,
    /// It was to be, and the engine stopped about then.
    Stopped,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) plan: Plan,
    /// Whose handler published it.
    pub(crate) cause: Cause,
    pub(crate) fate: Fate,
    pub(crate) drops: u32,
    /// Subscriptions that were there when it was published, and their pools.
    pub(crate) expects: Vec<usize>,
    pub(crate) pools: Vec<usize>,
    pub(crate) called: Vec<usize>,
    /// Pools that have begun to handle it.
    pub(crate) taken_by: Vec<usize>,
}

/// What handlers told about their own endings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) retries: u64,
    /// Redeliveries that began with a call.
    pub(crate) redelivered: u64,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) pool: usize,
    pub(crate) kinds: Vec<u8>,
    pub(crate) by_value: bool,
    pub(crate) is_live: bool,
    pub(crate) tally: Tally,
    /// Dropping a state of its own panics.
    pub(crate) traps_state: bool,
    /// States of its own that exist.
    pub(crate) states: i64,
    pub(crate) rules: Rules,
    /// By event.
    pub(crate) deliveries: HashMap<u32, Delivery>,
    /// Keys whose delivery is to be tried again.
    pub(crate) retrying: HashMap<u64, u32>,
    /// Letters that there are of a key.
    pub(crate) letters_of: HashMap<u64, u32>,
    /// The same in their order, where that matters.
    pub(crate) parked: HashMap<u64, Vec<u32>>,
    /// Keys whose last call was a letter's.
    pub(crate) replayed: HashSet<u64>,
    /// The key of the letter that has just made room for another.
    pub(crate) evicted: Option<u64>,
    /// The key that was called last, and whether it was the end of its retries.
    pub(crate) released: Option<(u64, bool)>,
    last: HashMap<(u32, u64, Class), u32>,
}

/// What a run has come to at some point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything that was called, in order.
    pub(crate) digest: u64,
    pub(crate) events: usize,
    pub(crate) calls: u64,
}

/// What a pool has waiting, by class, and how many others were taken meanwhile.
#[derive(Debug, Default, Clone)]
struct Waiting {
    count: [usize; 4],
    since: [usize; 4],
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) records: Vec<Record>,
    pub(crate) subs: Vec<Sub>,
    waiting: Vec<Waiting>,
    pub(crate) violations: Vec<String>,
    /// Failures and stops that observers were told of, and those of the failures that another attempt was to follow.
    pub(crate) observed: u64,
    pub(crate) observed_retries: u64,
    /// Events by their id, once they were handled.
    pub(crate) ids: HashMap<EventId, u32>,
    pub(crate) stops_told: u64,
    /// The failure that comes next makes its observer panic.
    pub(crate) traps_observer: bool,
    pub(crate) is_stopping: bool,
    /// The engine was stopped at work, with time to drain.
    pub(crate) is_gentle: bool,
    pub(crate) before_stop: Option<Mark>,
    pub(crate) seen: Seen,
    /// Shares that there may be of events that were published later, while the engine stopped.
    pub(crate) late_shares: u64,
    /// What handlers did to the engine.
    pub(crate) done_inside: u64,
    /// Subscriptions that went since anybody had a turn.
    gone_in_a_row: u64,
    /// Of each publisher's events, class by class and pool by pool, those that were admitted and live.
    alive: HashMap<(u32, Class, usize), usize>,
    /// A hash of everything that was called, in its order.
    digest: u64,
    calls: u64,
}

/// The books, shared by events, handlers and the run.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    /// Checked only where every event that is taken is also called for (PD3).
    starvation_limit: Option<usize>,
    lane_capacity: usize,
    /// The number that events know it by.
    pub(crate) run: u64,
}

/// The ledgers of the runs that go on, in the order of their numbers.
static LEDGERS: RwLock<Vec<Arc<Ledger>>> = RwLock::new(Vec::new());

impl Ledger {
    pub(crate) fn new(pools: usize, lane_capacity: usize, limit: Option<usize>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut ledgers = LEDGERS.write().unwrap_or_else(PoisonError::into_inner);
        let ledger = Arc::new(Self {
            run: NEXT.fetch_add(1, Ordering::Relaxed),
            books: Mutex::new(Books {
                waiting: vec![Waiting::default(); pools],
                ..Books::default()
            }),
            starvation_limit: limit,
            lane_capacity,
        });
        ledgers.push(Arc::clone(&ledger));
        ledger
    }

    /// The ledger of a run that goes on.
    pub(crate) fn of(run: u64) -> Option<Arc<Self>> {
        let ledgers = LEDGERS.read().unwrap_or_else(PoisonError::into_inner);
        let place = ledgers.binary_search_by_key(&run, |ledger| ledger.run);
        place.ok().map(|place| Arc::clone(&ledgers[place]))
    }

    /// The run is over.
    pub(crate) fn close(&self) {
        let mut ledgers = LEDGERS.write().unwrap_or_else(PoisonError::into_inner);
        ledgers.retain(|ledger| ledger.run != self.run);
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn violation(&self, text: impl fmt::Display) {
        self.books().violations.push(text.to_string());
    }

    pub(crate) fn note(&self, thing: Thing) {
        self.books().seen.note(thing);
    }

    /// A stop is about to begin.
    pub(crate) fn stop(&self, is_gentle: bool) {
        let mut books = self.books();
        books.before_stop = Some(books.mark());
        books.is_stopping = true;
        books.is_gentle = is_gentle;
    }

    /// A subscription was withdrawn; whether it was there until now.
    pub(crate) fn gone(&self, sub: usize) -> bool {
        let mut books = self.books();
        let was_live = std::mem::take(&mut books.subs[sub].is_live);
        if was_live {
            books.gone_in_a_row += 1;
            if books.gone_in_a_row == 4 {
                books.seen.note(Thing::Storm);
            }
        }
        was_live
    }

    /// A worker has its turn.
    pub(crate) fn turn(&self) {
        self.books().gone_in_a_row = 0;
    }

    /// Enters an event that is about to be published; its number.
    pub(crate) fn make(&self, plan: Plan, cause: Cause) -> u32 {
        let mut books = self.books();
        let expects: Vec<usize> = (0..books.subs.len())
            .filter(|&sub| books.subs[sub].is_live && books.subs[sub].kinds.contains(&plan.kind))
            .collect();
        let mut pools: Vec<usize> = expects.iter().map(|&sub| books.subs[sub].pool).collect();
        pools.sort_unstable();
        pools.dedup();
        if cause.is_some() {
            books.done_inside += 1;
        }
        books.records.push(Record {
            plan,
            cause,
            fate: Fate::Made,
            drops: 0,
            expects,
            pools,
            called: Vec::new(),
            taken_by: Vec::new(),
        });
        (books.records.len() - 1) as u32
    }

    /// The key of an event; it may be one that panics.
    pub(crate) fn key(&self, serial: u32) -> Option<u64> {
        let (key, traps) = {
            let mut books = self.books();
            let plan = &books.records[serial as usize].plan;
            let (key, traps) = (plan.key, plan.traps_key);
            if traps {
                books.seen.note(Thing::KeyPanic);
            }
            (key, traps)
        };
        assert!(!traps, "the key of {serial} is a trap");
        key
    }

    /// From here on dropping it is harmless.
    pub(crate) fn disarm(&self, serial: u32) {
        self.books().records[serial as usize].plan.traps_drop = false;
    }

    /// Notes a drop; whether it is a trap.
    pub(crate) fn dropped(&self, serial: u32) -> bool {
        let mut books = self.books();
        let Books {
            records,
            seen,
            alive,
            violations,
            is_stopping,
            ..
        } = &mut *books;
        let record = &mut records[serial as usize];
        record.drops += 1;
        if record.drops > 1 {
            violations.push(format!(
                "PD1: event {serial} was dropped {} times",
                record.drops
            ));
        }
        if record.fate == Fate::Admitted
            && let Some(count) = alive.get_mut(&record.stream())
        {
            *count = count.saturating_sub(1);
        }
        let traps = record.plan.traps_drop && !std::thread::panicking();
        if traps {
            seen.note(if record.fate != Fate::Admitted {
                Thing::PayloadDropPublish
            } else if record.called.is_empty() && *is_stopping {
                Thing::PayloadDropStop
            } else {
                Thing::PayloadDrop
            });
        }
        traps
    }

    /// Notes how a publish went.
    pub(crate) fn settle(&self, serial: u32, fate: Fate) {
        let mut books = self.books();
        let Books {
            records,
            waiting,
            alive,
            seen,
            is_stopping,
            ..
        } = &mut *books;
        let record = &mut records[serial as usize];
        record.fate = fate;
        if fate != Fate::Admitted {
            return;
        }
        let class = record.plan.class as usize;
        for &pool in &record.pools {
            let waiting = &mut waiting[pool];
            if waiting.count[class] == 0 {
                waiting.since[class] = 0;
            }
            waiting.count[class] += 1;
        }
        let before = alive.entry(record.stream()).or_default();
        if let Some((_, pool)) = record.cause {
            // A worker's events for itself have a queue of their own.
            let leaves = record.pools.iter().any(|&other| other != pool);
            if leaves && self.lane_capacity == 1 && *before > 0 {
                seen.note(Thing::SlotSpilled);
            }
            if *is_stopping {
                seen.note(Thing::PublishedStopping);
            }
        }
        *before += 1;
    }

    /// An event that was to be published later has been, or the engine has stopped: for whom it was is known now.
    pub(crate) fn later(&self, serial: u32, is_stopping: bool) {
        let fate = {
            let mut books = self.books();
            let books = &mut *books;
            let record = &mut books.records[serial as usize];
            let is_for = |sub: &usize| {
                let sub = &books.subs[*sub];
                sub.is_live && sub.kinds.contains(&record.plan.kind)
            };
            record.expects = (0..books.subs.len()).filter(is_for).collect();
            // Those that it was handled by already may be gone by now.
            let called = record
                .called
                .iter()
                .filter(|sub| !record.expects.contains(sub));
            let subs = record.expects.iter().chain(called);
            record.pools = subs.map(|&sub| books.subs[sub].pool).collect();
            record.pools.sort_unstable();
            record.pools.dedup();
            if is_stopping {
                // Whoever was there when it was published may be gone by now.
                let kind = record.plan.kind;
                let mut pools: Vec<usize> = books
                    .subs
                    .iter()
                    .filter(|sub| sub.kinds.contains(&kind))
                    .map(|sub| sub.pool)
                    .collect();
                pools.sort_unstable();
                pools.dedup();
                books.late_shares += (pools.len() - record.pools.len()) as u64;
            }
            let is_gone = record.drops > 0 && record.called.is_empty();
            if is_stopping && (is_gone || record.pools.is_empty()) {
                books.seen.note(Thing::LaterStopped);
                Fate::Stopped
            } else if record.pools.is_empty() {
                Fate::Unhandled
            } else {
                books.seen.note(Thing::LaterPublished);
                Fate::Admitted
            }
        };
        self.settle(serial, fate);
    }

    pub(crate) fn add_sub(
        &self,
        pool: usize,
        kinds: Vec<u8>,
        by_value: bool,
        traps_state: bool,
        rules: Rules,
    ) -> usize {
        let mut books = self.books();
        books.subs.push(Sub {
            pool,
            kinds,
            by_value,
            is_live: false,
            tally: Tally::default(),
            traps_state,
            states: 0,
            rules,
            deliveries: HashMap::new(),
            retrying: HashMap::new(),
            letters_of: HashMap::new(),
            parked: HashMap::new(),
            replayed: HashSet::new(),
            evicted: None,
            released: None,
            last: HashMap::new(),
        });
        books.subs.len() - 1
    }

    /// A handler is called: everything that may be said about it now.
    pub(crate) fn call(
        &self,
        sub: usize,
        serial: u32,
        (class, is_keyed): (Class, bool),
        call: Call,
    ) -> (Plan, u32) {
        let mut books = self.books();
        let books = &mut *books;
        let mut wrong = Vec::new();
        let comes_back = books.comes_back(serial, books.subs[sub].pool);
        if comes_back {
            books.seen.note(Thing::Cycle);
            if self.lane_capacity == 1 {
                books.seen.note(Thing::SlotCycle);
            }
        }
        let record = &mut books.records[serial as usize];
        let subscription = &mut books.subs[sub];
        let plan = record.plan.clone();
        // One of those that were to be published later may be handled before anybody has looked.
        if !matches!(record.fate, Fate::Admitted | Fate::Later) {
            wrong.push(format!("PD1: it is {:?}", record.fate));
        }
        if record.drops != 0 {
            wrong.push("it has been dropped".to_owned());
        }
        if !subscription.is_live {
            wrong.push("PD7: the subscription is withdrawn".to_owned());
        }
        let is_first = !record.called.contains(&sub);
        if class != plan.class || is_keyed != plan.key.is_some() {
            wrong.push("its class or key got lost".to_owned());
        }
        if is_first {
            record.called.push(sub);
        }
        let is_first_of_pool = !record.taken_by.contains(&subscription.pool);
        if is_first_of_pool {
            record.taken_by.push(subscription.pool);
        }
        books.ids.insert(call.id, serial);
        let calls = subscription
            .deliveries
            .get(&serial)
            .map_or(0, |it| it.calls);
        wrong.extend(subscription.begin(serial, plan.key, call, &mut books.seen));
        // A letter that is redelivered for itself keeps no order with what came behind it.
        let is_in_order = !call.is_redelivery || subscription.rules.is_sequential;
        if let Some(key) = plan.key
            && is_in_order
        {
            let stream = (plan.publisher, key, plan.class);
            if let Some(before) = subscription.last.insert(stream, serial)
                && before > serial
            {
                wrong.push(format!("PD2: {before} of {stream:?} came before it"));
            }
        }
        let pool = subscription.pool;
        if let Some(key) = plan.key
            && subscription.is_released(key)
            && books.passes(sub, serial)
        {
            books.seen.note(Thing::ReleasedByClass);
        }
        if is_first_of_pool {
            wrong.extend(books.waiting[pool].take(class, self.starvation_limit));
        }
        books.calls += 1;
        books.digest = mix(books.digest, (sub as u64) << 32 | u64::from(serial));
        for text in wrong {
            let text = format!("{text} (subscription {sub} called with {serial}, {plan:?})");
            books.violations.push(text);
        }
        (plan, calls)
    }

    /// A handler's call is about to end.
    pub(crate) fn ended(
        &self,
        sub: usize,
        serial: u32,
        end: End,
        now_ns: u64,
        traps_observer: bool,
    ) {
        let mut books = self.books();
        let books = &mut *books;
        books.traps_observer = traps_observer && end.is_failure();
        let is_panic = matches!(end, End::Panics | End::PanicsBadly);
        if is_panic {
            books.seen.note(Thing::HandlerPanic);
        }
        let went = match end {
            End::Handled => Went::Handled,
            End::Skipped => Went::Skipped,
            End::FailedForGood => Went::ForGood,
            End::FailedForNow => Went::ForNow(FOR_NOW_NS),
            _ => Went::Failed,
        };
        let key = books.records[serial as usize].plan.key;
        books.subs[sub].end(serial, key, went, now_ns, is_panic, &mut books.seen);
    }
}

impl Record {
    /// Where it waits: its publisher's lane to its first pool.
    fn stream(&self) -> (u32, Class, usize) {
        let pool = self.pools.first().copied().unwrap_or_default();
        (self.plan.publisher, self.plan.class, pool)
    }
}

impl Books {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            digest: self.digest,
            events: self.records.len(),
            calls: self.calls,
        }
    }

    /// Whether an event of the same key and a lower class, which came earlier, has not been called.
    fn passes(&self, sub: usize, serial: u32) -> bool {
        let this = &self.records[serial as usize];
        let before = self.records[..serial as usize].iter().rev().take(60);
        before.into_iter().any(|other| {
            other.fate == Fate::Admitted
                && other.plan.key == this.plan.key
                && is_higher(this.plan.class, other.plan.class)
                && other.expects.contains(&sub)
                && !other.called.contains(&sub)
        })
    }

    /// Whether this pool is back at what one of its own handlers began, with another pool in between.
    fn comes_back(&self, serial: u32, pool: usize) -> bool {
        let mut was_away = false;
        let mut cause = self.records[serial as usize].cause;
        while let Some((parent, at)) = cause {
            if at == pool && was_away {
                return true;
            }
            was_away |= at != pool;
            cause = self.records[parent as usize].cause;
        }
        false
    }
}

impl Waiting {
    /// One event of a class is taken: every other class that waits has been passed once more (PD3).
    fn take(&mut self, class: Class, limit: Option<usize>) -> Vec<String> {
        let mut wrong = Vec::new();
        self.count[class as usize] = self.count[class as usize].saturating_sub(1);
        self.since[class as usize] = 0;
        let Some(limit) = limit else { return wrong };
        for other in Class::ALL {
            let index = other as usize;
            if other == class || self.count[index] == 0 {
                continue;
            }
            self.since[index] += 1;
            // The most urgent class waits only for lower ones that are due, one event of each.
            let passed_max = if other == Class::Critical { 3 } else { limit };
            if self.since[index] > passed_max {
                wrong.push(format!(
                    "PD3: {} others were taken while {other} waited",
                    self.since[index]
                ));
            }
        }
        wrong
    }
}
