//! One engine from its building to its end, with everything going on that can go on.
//!
//! Publishers that come and go, by lanes, batches, receipts and inboxes; pools in order and without, by value, polled;
//! handlers that publish, fail, panic and take their time; retries, a breaker, letters that are redelivered and thrown
//! away; an error observer that panics too; bursts and pauses;
//! subscriptions that come and go; reports in between; and one of the ways to stop. Handlers that publish for another
//! pool are left to `tests/sim`.

use crate::book::Book;
use crate::history::{History, Publish, Watched, Way};
use crate::item::{Id, Item, Plain, Wide};
use crate::random::Random;
use crate::settings::{Settings, Stop};
use crate::watch::{Own, Post, Watch};
use crate::watchdog::Watchdog;
use parking_lot::Mutex;
use ringbolt::metrics::DeliveryCounts;
use ringbolt::{
    Admission, Breaker, Builder, Category, Class, Context, ErrorEvent, EventSystem, Failure,
    Filter, Handle, Options, Page, Polled, Publisher, Receipt, Subscription, SubscriptionBuilder,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Nothing in a life takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(120);
/// Events of one class behind each other.
const RUN: u32 = 32;
/// Receipts that a publisher keeps.
const RECEIPTS_MAX: usize = 64;

/// What is asked of a life besides its settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// How long it runs before it is stopped.
    pub length: Duration,
    /// Keep the whole history.
    pub is_recorded: bool,
    /// Stops early, after so many events; 0: never.
    pub events_max: u32,
    /// Plant the fault that `stress` has to find.
    pub races: bool,
    /// Plant an event that is counted and never published.
    pub loses: bool,
}

/// What became of a life.
#[derive(Debug, Default)]
pub struct Account {
    /// How much was wrong.
    pub wrong_count: u64,
    /// The first of it.
    pub wrong: Vec<String>,
    /// Events that were made.
    pub events: u64,
    /// Calls of handlers.
    pub calls: u64,
    /// Deliveries that were abandoned by the stop.
    pub abandoned: u64,
    /// Calls of handlers that failed, by error or by panic.
    pub failed: u64,
    /// Those of them that panicked.
    pub panicked: u64,
    /// Subscriptions that came and went.
    pub visitors: u32,
    /// Publishers that came and went.
    pub publishers: u32,
    /// Pauses of publishers between two bursts.
    pub pauses: u64,
    /// Attempts that another was to follow.
    pub retries: u64,
    /// Deliveries that became letters.
    pub letters: u64,
    /// Letters that were redelivered and handled.
    pub redelivered: u64,
    /// How often the breaker opened by itself.
    pub opened: u64,
    /// The history, if it was kept.
    pub history: Option<History>,
}

/// A subscription with its watch.
type Seat = (Arc<Watch>, Subscription);

struct Life {
    settings: Settings,
    wish: Wish,
    book: Arc<Book>,
    is_narrow: bool,
    next_place: AtomicU32,
    next_publisher: AtomicU32,
    made: AtomicU32,
    is_over: AtomicBool,
    /// What came and went, where the history is kept.
    left: Mutex<Vec<Watched>>,
    /// Of the subscriptions that stay.
    breaker: Option<Breaker>,
}

/// Lives one.
#[must_use]
pub fn live(settings: &Settings, random: &mut Random, wish: Wish, watchdog: &Watchdog) -> Account {
    let book = Arc::new(Book::new(wish.is_recorded, wish.races));
    let system = watched(settings, &book).build().expect("settings in range");
    let life = Arc::new(Life {
        settings: settings.clone(),
        wish,
        book,
        is_narrow: random.percent(50),
        next_place: AtomicU32::new(0),
        next_publisher: AtomicU32::new(0),
        made: AtomicU32::new(0),
        is_over: AtomicBool::new(false),
        left: Mutex::default(),
        breaker: settings.breaker(),
    });
    let mut seats = life.stay(&system);
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let mut start = |work: fn(&Life, Handle, Random)| {
        let (life, handle, random) = (Arc::clone(&life), system.handle(), random.fork());
        threads.push(spawn(move || work(&life, handle, random)));
    };
    start(Life::poll);
    start(Life::come_and_go);
    start(Life::look);
    start(Life::tend_letters);
    (0..settings.publishers).for_each(|_| start(Life::publish));

    let born = Instant::now();
    while born.elapsed() < wish.length && !life.is_full() {
        sleep(Duration::from_millis(2).min(wish.length));
        watchdog.says("a life goes on");
    }
    watchdog.says(format!("stops {:?}", settings.stop));
    let first = &seats[0].0;
    match settings.stop {
        Stop::Drained => life.stop(&system, LONG),
        Stop::Within(limit) => life.stop(&system, limit),
        Stop::Cut => life.stop(&system, Duration::ZERO),
        Stop::FromHandler => {
            first.ask_to_stop();
            // In case no event comes to that handler any more.
            sleep(Duration::from_millis(50));
            life.stop(&system, LONG);
        }
        Stop::Dropped => {}
    }
    let handle = system.handle();
    // Joins the workers: from here on the counts stand.
    drop(system);
    life.is_over.store(true, Ordering::Release);
    for thread in threads {
        if thread.join().is_err() {
            life.book.wrong("a thread of the life panicked");
        }
    }
    watchdog.says("stopped");
    let account = life.account(&seats, &handle);
    drop(handle);
    seats.clear();
    life.check_drops();
    let (wrong_count, wrong) = life.book.all_wrong();
    Account {
        wrong_count,
        wrong,
        ..account
    }
}

/// The engine, with an error observer that counts what it is told, and panics at times: that is its own affair.
fn watched(settings: &Settings, book: &Arc<Book>) -> Builder {
    let book = Arc::clone(book);
    settings.builder().on_error(move |error: &ErrorEvent| {
        if matches!(error.category, Category::DeadLetter | Category::HeldFull) {
            // Of the queue or the shelf, and not of a call.
            return;
        }
        let told = book.told.fetch_add(1, Ordering::Relaxed);
        if told % 64 == 63 {
            std::panic::resume_unwind(Box::new("planned"))
        }
    })
}

impl Life {
    fn is_full(&self) -> bool {
        self.wish.events_max != 0 && self.made.load(Ordering::Relaxed) >= self.wish.events_max
    }

    fn stop(&self, system: &EventSystem, limit: Duration) {
        match system.shutdown(limit) {
            Ok(report) => {
                if self.settings.stop == Stop::Drained && !report.in_time {
                    self.book.wrong(format!("DR1: not in time: {report:?}"));
                }
            }
            Err(error) => self.book.wrong(format!("DR2: {error}")),
        }
    }

    /// The subscriptions that stay.
    fn stay(&self, system: &EventSystem) -> Vec<Seat> {
        let workers = self.settings.workers;
        let post = |name, kind, pool, workers, is_ordered| Post {
            name,
            kind,
            pool,
            workers,
            is_ordered,
            stays: true,
            attempts: if kind == 1 { 1 } else { self.settings.attempts },
            is_sequential: self.settings.is_sequential && is_ordered && kind != 1,
        };
        let mut seats = Vec::new();
        let stopper = (self.settings.stop == Stop::FromHandler).then(|| system.handle());
        let first = self.watch(post("first", 0, "default", workers, true), true, stopper);
        seats.push((Arc::clone(&first), self.subscribe::<0, 0>(system, &first)));
        let own = self.watch(post("own", 0, "default", workers, true), false, None);
        let state = Arc::clone(&own);
        let subscription = self
            .with_policies(system.subscription("own"), &own)
            .factory(move |_| Ok::<_, Failure>(Own::new(&state)))
            .on::<Plain>()
            .register();
        seats.push((own, subscription.expect("the engine is open")));
        let value = self.watch(post("value", 1, "value", 2, true), false, None);
        let seen = Arc::clone(&value);
        let subscription = system
            .subscription("value")
            .pool("value")
            .by_value(move |event: Wide, context: &mut Context<'_>| seen.handle(&event, context));
        seats.push((value, subscription.expect("the engine is open")));
        let children = self.watch(post("children", 2, "default", workers, true), false, None);
        seats.push((
            Arc::clone(&children),
            self.subscribe::<2, 1>(system, &children),
        ));
        if !self.is_narrow {
            for (name, workers, is_ordered) in [("any", 2, false), ("polled", 1, true)] {
                let watch = self.watch(post(name, 0, name, workers, is_ordered), false, None);
                seats.push((Arc::clone(&watch), self.subscribe::<0, 0>(system, &watch)));
            }
        }
        for (watch, _) in &seats {
            watch.has_come();
        }
        seats
    }

    fn watch(&self, post: Post, publishes: bool, stopper: Option<Handle>) -> Arc<Watch> {
        let place = self.next_place.fetch_add(1, Ordering::Relaxed);
        Watch::new(place, post, &self.book, &self.settings, publishes, stopper)
    }

    /// Polls the polled pool until the engine has stopped.
    fn poll(&self, handle: Handle, mut random: Random) {
        let mut poller = match handle.poller("polled") {
            Ok(poller) => poller,
            // A life may be over before it has begun.
            Err(error) if error.is_closed() => return,
            Err(error) => return self.book.wrong(format!("poller: {error}")),
        };
        loop {
            match poller.poll(1 + random.below(4) as usize) {
                Polled::Stopped => return,
                Polled::Events(0) => poller.wait(Duration::from_millis(1)),
                Polled::Events(_) => {}
            }
        }
    }

    /// Subscribes and unsubscribes until the engine closes.
    fn come_and_go(&self, handle: Handle, mut random: Random) {
        while !self.is_over.load(Ordering::Acquire) {
            let (kind, pool, workers) = match random.below(5) {
                0 => (2, "default", self.settings.workers),
                1 => (0, "any", 2),
                2 => (0, "polled", 1),
                _ => (0, "default", self.settings.workers),
            };
            let post = Post {
                name: "visitor",
                kind,
                pool,
                workers,
                is_ordered: pool != "any",
                stays: false,
                // What a visitor holds is not seen by it, and a recorded one is to see everything.
                attempts: if self.wish.is_recorded {
                    1
                } else {
                    self.settings.attempts
                },
                is_sequential: false,
            };
            let watch = self.watch(post, false, None);
            let result = if kind == 0 {
                self.try_subscribe::<0, 0>(&handle, &watch)
            } else {
                self.try_subscribe::<2, 1>(&handle, &watch)
            };
            let subscription = match result {
                Ok(subscription) => subscription,
                Err(error) if error.is_closed() => return,
                Err(error) => return self.book.wrong(format!("subscribe: {error}")),
            };
            watch.has_come();
            sleep(Duration::from_micros(random.below(3_000)));
            watch.leave(&subscription);
            if self.wish.is_recorded {
                let watched = watch.watched(subscription.counts());
                self.left.lock().push(watched);
            }
        }
    }

    /// Looks at live reports: never more ended than begun, never backwards (OB1, PD8).
    fn look(&self, handle: Handle, mut random: Random) {
        // By subscription; under 0, which is nobody's number, all together.
        let mut last: HashMap<u64, DeliveryCounts> = HashMap::new();
        while !self.is_over.load(Ordering::Acquire) {
            let report = handle.report();
            let each = report.subscriptions.iter().map(|one| (one.id, one.counts));
            for (id, now) in each.chain([(0, report.totals)]) {
                if now.ended() > now.admitted {
                    self.book
                        .wrong(format!("PD8: a live report has {now:?} of {id}"));
                }
                let before = last.insert(id, now).unwrap_or_default();
                let runs_back = figures(&before)
                    .iter()
                    .zip(figures(&now))
                    .any(|(before, now)| *before > now);
                if runs_back {
                    self.book
                        .wrong(format!("OB1: {now:?} of {id} came after {before:?}"));
                }
            }
            last.retain(|id, _| *id == 0 || report.subscriptions.iter().any(|one| one.id == *id));
            sleep(Duration::from_micros(random.below(4_000)));
        }
    }

    /// One publisher after the other until the engine closes.
    fn publish(&self, handle: Handle, mut random: Random) {
        let mut records = Vec::new();
        while !self.is_over.load(Ordering::Acquire) {
            let mut turn = Turn {
                life: self,
                handle: &handle,
                publisher: handle.publisher(),
                id: self.next_publisher.fetch_add(1, Ordering::Relaxed),
                number: 0,
                way: random.pick(&[Go::Lane, Go::Lane, Go::Batch, Go::Tracked, Go::Handle]),
                admission: random.pick(&[
                    Admission::Block,
                    Admission::Block,
                    Admission::Fail,
                    Admission::BlockFor(Duration::from_micros(200)),
                ]),
                receipts: Vec::new(),
                records: &mut records,
            };
            turn.publisher.set_admission(turn.admission);
            let count = 50 + random.below(2_000) as u32;
            let is_open = turn.publish_all(count, &mut random);
            turn.settle();
            if !is_open {
                break;
            }
            sleep(Duration::from_micros(random.below(2_000)));
        }
        self.book.publishes.lock().append(&mut records);
    }

    /// A subscription's retries, and if it stays its breaker and the order of its letters.
    fn with_policies(&self, builder: SubscriptionBuilder, watch: &Watch) -> SubscriptionBuilder {
        let post = &watch.post;
        let mut builder = builder.pool(post.pool);
        if post.attempts > 1 {
            builder = builder.retry(self.settings.retry());
        }
        if post.is_sequential {
            builder = builder.sequential();
        }
        if !post.stays && self.wish.is_recorded {
            // The letters of one that has gone would come to the next of its name.
            builder = builder.without_dead_letters();
        }
        match &self.breaker {
            Some(breaker) if post.stays => builder.breaker(breaker),
            _ => builder,
        }
    }

    fn try_subscribe<const KIND: usize, const WORDS: usize>(
        &self,
        handle: &Handle,
        watch: &Arc<Watch>,
    ) -> Result<Subscription, ringbolt::Error> {
        let seen = Arc::clone(watch);
        self.with_policies(handle.subscription(watch.post.name), watch)
            .handler(
                move |event: &Item<KIND, WORDS>, context: &mut Context<'_>| {
                    seen.handle(event, context)
                },
            )
    }

    fn subscribe<const KIND: usize, const WORDS: usize>(
        &self,
        system: &EventSystem,
        watch: &Arc<Watch>,
    ) -> Subscription {
        self.try_subscribe::<KIND, WORDS>(system, watch)
            .expect("the engine is open")
    }

    /// Redelivers letters, throws some away, and forces the breaker open for a moment.
    fn tend_letters(&self, handle: Handle, mut random: Random) {
        let letters = handle.dead_letters();
        while !self.is_over.load(Ordering::Acquire) {
            sleep(Duration::from_micros(random.below(4_000)));
            // What a breaker stops that was opened by hand is not waited for.
            let may_force = self.settings.stop != Stop::Drained;
            if let Some(breaker) = self.breaker.as_ref().filter(|_| may_force)
                && random.percent(5)
            {
                breaker.force_open();
                sleep(Duration::from_micros(random.below(500)));
                breaker.reset();
            }
            let Some(letters) = &letters else { continue };
            let all = Filter::new();
            match random.below(10) {
                0..4 => {
                    let ticket = letters.redeliver_all(all);
                    let wait = Duration::from_millis(random.below(20));
                    if let Err(error) = ticket.wait_for(wait) {
                        self.book.wrong(format!("DQ2: {error}"));
                    }
                    if random.percent(30) {
                        ticket.cancel();
                    }
                }
                4 | 5 => {
                    let page = letters.list(&all, Page::new().limit(3));
                    // It may be on its way, or gone.
                    for view in page.letters {
                        let _ = letters.redeliver(view.id);
                    }
                }
                6 => {
                    if let Err(error) = letters.discard_all(&all, "the life", "as drawn") {
                        self.book.wrong(format!("DQ5: {error}"));
                    }
                }
                _ => {}
            }
        }
    }

    /// The books against the engine's counters, when everything stands.
    fn account(&self, seats: &[Seat], handle: &Handle) -> Account {
        let book = &self.book;
        if self.wish.loses {
            book.admitted[0].fetch_add(1, Ordering::Relaxed);
        }
        for (watch, subscription) in seats {
            let counts = subscription.counts();
            watch.balance(counts);
            watch.keys_have_one_worker();
            // Each redelivery is a delivery more; one that was abandoned may have had no call.
            let admitted = book.admitted[watch.post.kind].load(Ordering::Relaxed) + watch.replays();
            if !(admitted..=admitted + counts.abandoned).contains(&counts.admitted) {
                book.wrong(format!(
                    "PD1: {}: {admitted} were admitted, and counted {counts:?}",
                    watch.post.name
                ));
            }
            if self.settings.stop == Stop::Drained && counts.abandoned != 0 {
                book.wrong(format!("DR1: {}: {counts:?}", watch.post.name));
            }
        }
        let [failed, told] = [&book.failed, &book.told].map(|count| count.load(Ordering::Relaxed));
        if failed != told {
            book.wrong(format!(
                "PD8: {failed} calls failed, and the observer was told of {told}"
            ));
        }
        for (watch, subscription) in seats {
            let attempts = subscription.attempts();
            if attempts.held != 0 {
                book.wrong(format!("PD8: {}: {attempts:?}", watch.post.name));
            }
        }
        let retries = seats.iter().map(|(_, one)| one.attempts().retries).sum();
        let letters = handle.dead_letters().map(|letters| letters.counts());
        if let Some(counts) = letters
            && counts.kept
                != counts.letters + counts.redelivered + counts.discarded + counts.evicted
        {
            book.wrong(format!("DQ4: {counts:?}"));
        }
        let totals = handle.report().totals;
        if totals.admitted != totals.ended() {
            book.wrong(format!("PD8: at the end: {totals:?}"));
        }
        let history = self.wish.is_recorded.then(|| {
            let mut subscriptions = std::mem::take(&mut *self.left.lock());
            subscriptions.extend(
                seats
                    .iter()
                    .map(|(watch, subscription)| watch.watched(subscription.counts())),
            );
            History {
                publishes: std::mem::take(&mut *book.publishes.lock()),
                calls: std::mem::take(&mut *book.handled.lock()),
                subscriptions,
            }
        });
        Account {
            events: book.made.load(Ordering::Relaxed),
            calls: book.calls.load(Ordering::Relaxed),
            abandoned: totals.abandoned,
            failed,
            panicked: book.panicked.load(Ordering::Relaxed),
            publishers: self.next_publisher.load(Ordering::Relaxed),
            pauses: book.pauses.load(Ordering::Relaxed),
            retries,
            letters: letters.map_or(0, |counts| counts.kept),
            redelivered: letters.map_or(0, |counts| counts.redelivered),
            opened: (self.breaker.as_ref()).map_or(0, |it| it.status().transitions.to_open),
            visitors: self.next_place.load(Ordering::Relaxed) - seats.len() as u32,
            history,
            ..Account::default()
        }
    }

    /// Every value was dropped once, when nobody holds the engine any more.
    fn check_drops(&self) {
        let made = self.book.made.load(Ordering::Relaxed);
        let dropped = self.book.dropped.load(Ordering::Relaxed);
        if made != dropped {
            self.book.wrong(format!(
                "PD8: {made} values were made and {dropped} dropped"
            ));
        }
    }
}

/// What may only rise.
fn figures(counts: &DeliveryCounts) -> [u64; 7] {
    [
        counts.admitted,
        counts.handled,
        counts.failed,
        counts.dead_lettered,
        counts.skipped,
        counts.withdrawn,
        counts.abandoned,
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    Lane,
    Batch,
    Tracked,
    Handle,
}

/// One publisher's turn.
struct Turn<'a> {
    life: &'a Life,
    handle: &'a Handle,
    publisher: Publisher,
    id: u32,
    number: u32,
    way: Go,
    admission: Admission,
    receipts: Vec<Receipt>,
    records: &'a mut Vec<Publish>,
}

impl Turn<'_> {
    /// `false` once the engine has closed.
    fn publish_all(&mut self, count: u32, random: &mut Random) -> bool {
        while self.number < count {
            let is_open = if random.percent(25) {
                self.publish_some::<1, 12>(random)
            } else {
                self.publish_some::<0, 0>(random)
            };
            if !is_open {
                return false;
            }
            if random.below(self.life.settings.burst) == 0 {
                // A burst ends: workers may go to sleep.
                self.life.book.pauses.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_micros(random.below(1_500)));
            }
        }
        true
    }

    fn class(&self) -> Class {
        Class::ALL[(self.number / RUN + self.id) as usize % 4]
    }

    fn item<const KIND: usize, const WORDS: usize>(&mut self) -> Item<KIND, WORDS> {
        let id = Id {
            publisher: self.id,
            number: self.number,
        };
        let class = self.class();
        self.number += 1;
        self.life.made.fetch_add(1, Ordering::Relaxed);
        let key = (!id.drawn(6).is_multiple_of(8))
            .then_some((id.drawn(7) % self.life.settings.keys) as u32);
        Item::new(&self.life.book, id, key, class)
    }

    fn publish_some<const KIND: usize, const WORDS: usize>(&mut self, random: &mut Random) -> bool {
        let class = self.class();
        self.publisher.set_class(class);
        if self.way == Go::Batch {
            return self.publish_batch::<KIND, WORDS>(random);
        }
        let item = self.item::<KIND, WORDS>();
        let (id, key) = (item.id, item.key);
        let start = self.life.book.turn();
        let result = match self.way {
            Go::Handle => {
                let options = Options::new().class(class).admission(self.admission);
                self.handle.publish_with(item, options)
            }
            Go::Tracked => self.publisher.publish_tracked(item).map(|receipt| {
                if self.receipts.len() < RECEIPTS_MAX {
                    self.receipts.push(receipt);
                }
            }),
            _ => self.publisher.publish(item),
        };
        let is_closed = match result {
            Ok(()) => {
                self.record::<KIND>(id, key, class, start, true);
                false
            }
            Err(error) => {
                self.record::<KIND>(id, key, class, start, false);
                let is_closed = error.is_closed();
                if error.into_event().id != id {
                    self.life.book.wrong("PD1: another event came back");
                }
                is_closed
            }
        };
        !is_closed
    }

    fn publish_batch<const KIND: usize, const WORDS: usize>(
        &mut self,
        random: &mut Random,
    ) -> bool {
        let class = self.class();
        let length = 1 + random.below(u64::from(RUN - self.number % RUN)) as usize;
        let items: Vec<Item<KIND, WORDS>> = (0..length).map(|_| self.item()).collect();
        let about: Vec<(Id, Option<u32>)> = items.iter().map(|item| (item.id, item.key)).collect();
        let start = self.life.book.turn();
        let (published, is_open) = match self.publisher.publish_batch(items) {
            Ok(published) => (published, true),
            Err(error) => {
                let back = 1 + error.pulled.len() + error.rest.count();
                if error.published + back != length {
                    self.life.book.wrong(format!(
                        "PD1: of a batch of {length}, {} were published and {back} came back",
                        error.published
                    ));
                }
                (error.published, !error.refused.is_closed())
            }
        };
        for (at, (id, key)) in about.into_iter().enumerate() {
            self.record::<KIND>(id, key, class, start, at < published);
        }
        is_open
    }

    fn record<const KIND: usize>(
        &mut self,
        id: Id,
        key: Option<u32>,
        class: Class,
        start: u64,
        is_admitted: bool,
    ) {
        let book = &self.life.book;
        if is_admitted {
            book.admitted[KIND].fetch_add(1, Ordering::Relaxed);
        }
        if book.is_recorded {
            let way = match self.way {
                Go::Handle => Way::Inbox,
                _ => Way::Lane,
            };
            self.records.push(Publish {
                id,
                kind: KIND,
                key,
                class,
                way,
                start,
                end: book.turn(),
                is_admitted,
            });
        }
    }

    /// Every receipt comes to its end.
    fn settle(&mut self) {
        for receipt in self.receipts.drain(..) {
            match receipt.wait_for(LONG) {
                Ok(Some(deliveries)) if !deliveries.is_empty() => {}
                other => self
                    .life
                    .book
                    .wrong(format!("PD1: a receipt ended with {other:?}")),
            }
        }
    }
}
