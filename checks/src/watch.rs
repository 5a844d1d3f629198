//! What stands behind a subscription: handlers that look at everything they are given, and then do what is drawn.

use crate::book::Book;
use crate::history::{Call, Publish, Watched, Way};
use crate::item::{Child, Id, Item, Plain};
use crate::settings::Settings;
use parking_lot::Mutex;
use ringbolt::metrics::DeliveryCounts;
use ringbolt::{Class, Context, Ended, Failure, Handle, Handler, Outcome, Subscription};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Handlers publish under numbers from here on: one for each worker.
pub const CHILDREN: u32 = 1 << 24;
/// How long a slow handler takes.
const SLOW: Duration = Duration::from_millis(1);

/// What a watch is for.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    /// The name of the subscription.
    pub name: &'static str,
    /// The event type.
    pub kind: usize,
    /// The pool.
    pub pool: &'static str,
    /// Its workers.
    pub workers: usize,
    /// Whether the events of a key are to come in order.
    pub is_ordered: bool,
    /// Whether it stays until the end.
    pub stays: bool,
    /// Calls of a delivery that fails.
    pub attempts: u32,
    /// Whether a letter parks its key.
    pub is_sequential: bool,
}

/// One subscription, watched.
#[derive(Debug)]
pub struct Watch {
    /// Its number in the life.
    pub place: u32,
    /// What it is for.
    pub post: Post,
    book: Arc<Book>,
    child_every: u32,
    panic_percent: u64,
    slow_share: u64,
    /// Where a handler is to stop the engine, its handle.
    stopper: Option<Handle>,
    is_asked_to_stop: AtomicBool,
    is_gone: AtomicBool,
    inside: AtomicU32,
    /// Turns: when subscribing had returned, when unsubscribing began and had returned.
    turns: [AtomicU64; 3],
    desks: Box<[Mutex<Desk>]>,
}

/// What one worker has seen. Each has its own lock, which nobody else takes meanwhile.
#[derive(Debug, Default)]
struct Desk {
    last: HashMap<(u32, u32, Class), u32>,
    handled: u64,
    skipped: u64,
    /// Calls that failed, and no other was to follow.
    failed: u64,
    /// Redeliveries that began.
    replays: u64,
    children: u32,
    calls: Vec<Call>,
    publishes: Vec<Publish>,
}

impl Watch {
    /// A watch that has seen nothing yet.
    #[must_use]
    pub fn new(
        place: u32,
        post: Post,
        book: &Arc<Book>,
        settings: &Settings,
        publishes: bool,
        stopper: Option<Handle>,
    ) -> Arc<Self> {
        Arc::new(Self {
            place,
            post,
            book: Arc::clone(book),
            child_every: if publishes { settings.child_every } else { 0 },
            panic_percent: settings.panic_percent,
            slow_share: settings.slow_share,
            stopper,
            is_asked_to_stop: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            turns: Default::default(),
            desks: (0..post.workers).map(|_| Mutex::default()).collect(),
        })
    }

    /// Subscribing has returned.
    pub fn has_come(&self) {
        self.turns[0].store(self.book.turn(), Ordering::Relaxed);
    }

    /// Unsubscribes, and looks whether anything goes on afterwards (PD7).
    pub fn leave(&self, subscription: &Subscription) {
        self.turns[1].store(self.book.turn(), Ordering::Relaxed);
        if let Err(error) = subscription.unsubscribe() {
            self.wrong(format!("unsubscribe: {error}"));
        }
        let inside = self.inside.load(Ordering::Relaxed);
        self.is_gone.store(true, Ordering::Relaxed);
        self.turns[2].store(self.book.turn(), Ordering::Relaxed);
        if inside != 0 {
            self.wrong(format!(
                "PD7: {inside} call(s) in flight behind unsubscribe"
            ));
        }
        self.balance(subscription.counts());
    }

    /// The next call of a handler that may do so stops the engine.
    pub fn ask_to_stop(&self) {
        self.is_asked_to_stop.store(true, Ordering::Relaxed);
    }

    fn wrong(&self, text: String) {
        self.book.wrong(format!(
            "{} ({}, pool {}): {text}",
            self.post.name, self.place, self.post.pool
        ));
    }

    /// What the engine has counted is what was seen (PD8). To be asked when it is quiet.
    pub fn balance(&self, counts: DeliveryCounts) {
        let mut seen = [0; 2];
        let mut failed = 0;
        for desk in &self.desks {
            let desk = desk.lock();
            seen[0] += desk.handled;
            seen[1] += desk.skipped;
            failed += desk.failed;
        }
        if seen != [counts.handled, counts.skipped] {
            self.wrong(format!(
                "PD8: handled and skipped are {seen:?}, and counted {counts:?}"
            ));
        }
        // What joins a parked key is a letter without a call, and what waits for room among the letters may be
        // withdrawn or abandoned.
        let told = counts.failed + counts.dead_lettered;
        let waited = counts.withdrawn + counts.abandoned;
        let is_told = self.post.is_sequential || told <= failed;
        if !is_told || failed > told + waited {
            self.wrong(format!(
                "PD8: {failed} failed for good, and counted {counts:?}"
            ));
        }
        if counts.admitted != counts.ended() {
            self.wrong(format!("PD8: not balanced: {counts:?}"));
        }
    }

    /// Redeliveries that its handler was called for.
    #[must_use]
    pub fn replays(&self) -> u64 {
        self.desks.iter().map(|desk| desk.lock().replays).sum()
    }

    /// The keys of an ordered pool belong to one worker each. To be asked at the end.
    pub fn keys_have_one_worker(&self) {
        if !self.post.is_ordered {
            return;
        }
        let mut homes: HashMap<u32, usize> = HashMap::new();
        for (worker, desk) in self.desks.iter().enumerate() {
            for (_, key, _) in desk.lock().last.keys() {
                let home = *homes.entry(*key).or_insert(worker);
                if home != worker {
                    self.wrong(format!(
                        "PD2: key {key} was at the workers {home} and {worker}"
                    ));
                    return;
                }
            }
        }
    }

    /// Hands what was recorded to the books.
    #[must_use]
    pub fn watched(&self, counts: DeliveryCounts) -> Watched {
        for desk in &self.desks {
            let mut desk = desk.lock();
            self.book.handled.lock().append(&mut desk.calls);
            self.book.publishes.lock().append(&mut desk.publishes);
        }
        let [from, leaving, left] = [0, 1, 2].map(|at| self.turns[at].load(Ordering::Relaxed));
        Watched {
            place: self.place,
            name: self.post.name.to_owned(),
            kind: self.post.kind,
            pool: self.post.pool.to_owned(),
            is_ordered: self.post.is_ordered,
            is_sequential: self.post.is_sequential,
            from,
            withdrawal: (left != 0).then_some((leaving, left)),
            counts,
        }
    }

    /// What every handler does.
    pub fn handle<const KIND: usize, const WORDS: usize>(
        &self,
        item: &Item<KIND, WORDS>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let order = self.book.turn();
        let _inside = Inside::enter(&self.inside);
        if self.is_gone.load(Ordering::Relaxed) {
            self.wrong(format!("PD7: called with {:?} when gone", item.id));
        }
        if !item.is_whole() || context.class() != item.class {
            self.wrong(format!("{:?} is torn: {item:?}", item.id));
        }
        self.book.race();
        self.book.calls.fetch_add(1, Ordering::Relaxed);
        let ended = self.ending(item.id, context);
        self.note(item, context, order, ended);
        if item.id.drawn(2) % 10_000 < self.slow_share {
            let start = Instant::now();
            while start.elapsed() < SLOW {
                std::hint::spin_loop();
            }
        }
        let is_first = context.attempt() == 1 && !context.is_redelivery();
        if KIND == 0
            && is_first
            && self.child_every > 0
            && item.id.number.is_multiple_of(self.child_every)
        {
            self.publish_child(item.id, item.key, context);
        }
        if let Some(handle) = &self.stopper
            && self.is_asked_to_stop.swap(false, Ordering::Relaxed)
        {
            let _ = handle.begin_shutdown(Duration::from_millis(5));
        }
        match ended {
            Ended::Skipped => Outcome::Skipped,
            Ended::Failed => {
                self.book.failed.fetch_add(1, Ordering::Relaxed);
                if item.id.drawn(4) % 100 < self.panic_percent {
                    self.book.panicked.fetch_add(1, Ordering::Relaxed);
                    // Unwinds without the hook, which would print.
                    std::panic::resume_unwind(Box::new("planned"))
                }
                let failure = Failure::new("as drawn");
                Outcome::Failed(if is_permanent(item.id) {
                    failure.permanent()
                } else {
                    failure
                })
            }
            _ => Outcome::Handled,
        }
    }

    /// How a call ends: by panic or by error both is a failure. What fails does so a few times, and some of it
    /// whenever its letter is redelivered.
    fn ending(&self, id: Id, context: &Context<'_>) -> Ended {
        let fails = id.drawn(4) % 100 < self.panic_percent || id.drawn(3) % 100 < 4;
        if fails {
            let goes_on = if context.is_redelivery() {
                id.drawn(9).is_multiple_of(3)
            } else {
                u64::from(context.attempt()) <= 1 + id.drawn(8) % 4
            };
            if goes_on || self.post.attempts == 1 && !context.is_redelivery() {
                return Ended::Failed;
            }
        }
        match id.drawn(3) % 100 {
            4..8 => Ended::Skipped,
            _ => Ended::Handled,
        }
    }

    fn note<const KIND: usize, const WORDS: usize>(
        &self,
        item: &Item<KIND, WORDS>,
        context: &Context<'_>,
        order: u64,
        ended: Ended,
    ) {
        let worker = usize::from(context.worker().index);
        let (attempt, is_redelivery) = (context.attempt(), context.is_redelivery());
        let is_panic = item.id.drawn(4) % 100 < self.panic_percent;
        let is_last = attempt >= self.post.attempts || !is_panic && is_permanent(item.id);
        let mut desk = self.desks[worker].lock();
        // A letter that is redelivered for itself keeps no order with what came behind it.
        if self.post.is_ordered
            && let Some(key) = item.key
            && (!is_redelivery || self.post.is_sequential)
        {
            let stream = (item.id.publisher, key, item.class);
            let before = desk.last.insert(stream, item.id.number);
            let is_again = attempt > 1 || is_redelivery;
            let is_wrong =
                |before: u32| before > item.id.number || before == item.id.number && !is_again;
            if before.is_some_and(is_wrong) {
                self.wrong(format!(
                    "PD2: {:?} of key {key}, {}, came behind {before:?}",
                    item.id, item.class
                ));
            }
        }
        match ended {
            Ended::Skipped => desk.skipped += 1,
            Ended::Failed => desk.failed += u64::from(is_last),
            _ => desk.handled += 1,
        }
        desk.replays += u64::from(is_redelivery && attempt == 1);
        if self.book.is_recorded {
            desk.calls.push(Call {
                place: self.place,
                worker: worker as u32,
                id: item.id,
                order,
                ended,
                attempt,
                is_last,
                is_redelivery,
            });
        }
    }

    fn publish_child(&self, parent: Id, key: Option<u32>, context: &mut Context<'_>) {
        let worker = u32::from(context.worker().index);
        let mut desk = self.desks[worker as usize].lock();
        let id = Id {
            publisher: CHILDREN + worker,
            number: desk.children,
        };
        desk.children += 1;
        // Of another key, and so for another worker, at times.
        let key = key.map(|key| {
            if parent.drawn(5).is_multiple_of(2) {
                key
            } else {
                key / 2
            }
        });
        let class = context.class();
        let start = self.book.turn();
        let is_admitted = context
            .publish(Child::new(&self.book, id, key, class))
            .is_ok();
        if is_admitted {
            self.book.admitted[2].fetch_add(1, Ordering::Relaxed);
        }
        if self.book.is_recorded {
            let end = self.book.turn();
            desk.publishes.push(Publish {
                id,
                kind: 2,
                key,
                class,
                way: Way::Handler,
                start,
                end,
                is_admitted,
            });
        }
    }
}

/// Whether a failure of this event says that no further attempt will go better.
fn is_permanent(id: Id) -> bool {
    id.drawn(11).is_multiple_of(5)
}

/// Counts the calls that are going on.
struct Inside<'a>(&'a AtomicU32);

impl<'a> Inside<'a> {
    fn enter(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same as a handler that each worker makes for itself, with something that may not leave its thread.
#[derive(Debug)]
pub struct Own {
    watch: Arc<Watch>,
    calls: Rc<std::cell::Cell<u64>>,
}

impl Own {
    /// A worker's.
    #[must_use]
    pub fn new(watch: &Arc<Watch>) -> Self {
        Self {
            watch: Arc::clone(watch),
            calls: Rc::default(),
        }
    }
}

impl Handler<Plain> for Own {
    fn handle(&mut self, event: &Plain, context: &mut Context<'_>) -> Outcome {
        let calls = Rc::clone(&self.calls);
        calls.set(calls.get() + 1);
        self.watch.handle(event, context)
    }
}
