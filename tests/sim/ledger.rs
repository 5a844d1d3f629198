//! What was published, handled and dropped, and what of it breaks a promise.
//!
//! A panic in a handler is contained by the engine, so nothing in here asserts: what is wrong is noted, and the run
//! fails at its next look.

use crate::random::Random;
use ringbolt::Class;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of an event before it is published.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: u8,
    pub(crate) key: Option<u64>,
    pub(crate) class: Class,
    /// Whoever promises order: a publisher, a worker's context, the handle.
    pub(crate) publisher: u32,
    /// How many generations of children it may have.
    pub(crate) hops: u8,
    pub(crate) traps_key: bool,
    pub(crate) traps_drop: bool,
}

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
}

/// One event.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) plan: Plan,
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
}

/// How a handler's call is going to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Handled,
    Skipped,
    Failed,
    /// Fails with an error whose drop panics.
    FailedBadly,
    Panics,
    /// Panics with a value whose drop panics.
    PanicsBadly,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) pool: usize,
    pub(crate) kinds: Vec<u8>,
    pub(crate) by_value: bool,
    pub(crate) is_live: bool,
    pub(crate) tally: Tally,
    /// States of its own that exist.
    pub(crate) states: i64,
    last: HashMap<(u32, u64, Class), u32>,
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
    pub(crate) observed: u64,
    /// A hash of everything that was called, in its order.
    pub(crate) digest: u64,
}

/// The books, shared by events, handlers and the run.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    /// Checked only where every event that is taken is also called for (PD3).
    starvation_limit: Option<usize>,
}

impl Ledger {
    pub(crate) fn new(pools: usize, starvation_limit: Option<usize>) -> Self {
        Self {
            books: Mutex::new(Books {
                waiting: vec![Waiting::default(); pools],
                ..Books::default()
            }),
            starvation_limit,
        }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn violation(&self, text: impl fmt::Display) {
        self.books().violations.push(text.to_string());
    }

    /// Enters an event that is about to be published; its number.
    pub(crate) fn make(&self, plan: Plan) -> u32 {
        let mut books = self.books();
        let expects: Vec<usize> = (0..books.subs.len())
            .filter(|&sub| books.subs[sub].is_live && books.subs[sub].kinds.contains(&plan.kind))
            .collect();
        let mut pools: Vec<usize> = expects.iter().map(|&sub| books.subs[sub].pool).collect();
        pools.sort_unstable();
        pools.dedup();
        books.records.push(Record {
            plan,
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
            let books = self.books();
            let plan = &books.records[serial as usize].plan;
            (plan.key, plan.traps_key)
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
        let record = &mut books.records[serial as usize];
        record.drops += 1;
        let (drops, traps) = (record.drops, record.plan.traps_drop);
        if drops > 1 {
            let text = format!("PD1: event {serial} was dropped {drops} times");
            books.violations.push(text);
        }
        traps
    }

    /// Notes how a publish went.
    pub(crate) fn settle(&self, serial: u32, fate: Fate) {
        let mut books = self.books();
        let Books {
            records, waiting, ..
        } = &mut *books;
        let record = &mut records[serial as usize];
        record.fate = fate;
        if fate == Fate::Admitted {
            let class = record.plan.class as usize;
            for &pool in &record.pools {
                let waiting = &mut waiting[pool];
                if waiting.count[class] == 0 {
                    waiting.since[class] = 0;
                }
                waiting.count[class] += 1;
            }
        }
    }

    pub(crate) fn add_sub(&self, pool: usize, kinds: Vec<u8>, by_value: bool) -> usize {
        let mut books = self.books();
        books.subs.push(Sub {
            pool,
            kinds,
            by_value,
            is_live: false,
            tally: Tally::default(),
            states: 0,
            last: HashMap::new(),
        });
        books.subs.len() - 1
    }

    /// A handler is called: everything that may be said about it now.
    pub(crate) fn call(&self, sub: usize, serial: u32, class: Class, is_keyed: bool) -> Plan {
        let mut books = self.books();
        let books = &mut *books;
        let mut wrong = Vec::new();
        let record = &mut books.records[serial as usize];
        let subscription = &mut books.subs[sub];
        let plan = record.plan.clone();
        if record.fate != Fate::Admitted {
            wrong.push(format!("PD1: it is {:?}", record.fate));
        }
        if record.drops != 0 {
            wrong.push("it has been dropped".to_owned());
        }
        if !subscription.is_live {
            wrong.push("PD7: the subscription is withdrawn".to_owned());
        }
        if record.called.contains(&sub) {
            wrong.push("PD6: it has been called before".to_owned());
        }
        if class != plan.class || is_keyed != plan.key.is_some() {
            wrong.push("its class or key got lost".to_owned());
        }
        record.called.push(sub);
        if let Some(key) = plan.key {
            let stream = (plan.publisher, key, plan.class);
            if let Some(before) = subscription.last.insert(stream, serial)
                && before > serial
            {
                wrong.push(format!("PD2: {before} of {stream:?} came before it"));
            }
        }
        let pool = subscription.pool;
        if !record.taken_by.contains(&pool) {
            record.taken_by.push(pool);
            wrong.extend(books.waiting[pool].take(class, self.starvation_limit));
        }
        books.digest = Random::of(books.digest, (sub as u64) << 32 | u64::from(serial)).next();
        for text in wrong {
            let text = format!("{text} (subscription {sub} called with {serial}, {plan:?})");
            books.violations.push(text);
        }
        plan
    }

    pub(crate) fn ended(&self, sub: usize, end: End) {
        let mut books = self.books();
        let tally = &mut books.subs[sub].tally;
        match end {
            End::Handled => tally.handled += 1,
            End::Skipped => tally.skipped += 1,
            _ => tally.failed += 1,
        }
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
