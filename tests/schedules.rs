//! Generated engines under real threads: order, accounting, and every value dropped exactly once (PD1, PD2, PD6, PD8, DR1).
//!
//! What the simulation in `tests/sim` cannot see is what threads do to each other. Here settings and traffic are
//! drawn by proptest, thousands of events go through each engine, and every promise that can be counted is
//! counted. Nothing waits by sleeping: publishers end when they are done or refused.

use proptest::prelude::*;
use ringbolt::{
    Admission, AsKey, Class, Context, Event, EventSystem, Failure, Handle, Handler, Key, Options,
    Outcome, Pool, Publisher, Receipt, Subscription, Wait, Wake,
};
use std::collections::HashMap;
use std::panic::panic_any;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

/// Nothing takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(30);
/// Most children of one event.
const CHILDREN_MAX: u32 = 3;
/// Children get the numbers behind those of their parents.
const CHILDREN: u32 = 1 << 20;

/// By which way a publisher's events go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Lane,
    Batch(usize),
    Tracked,
    Handle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    None,
    Ordered,
    Unordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// When all publishers are done.
    Drained,
    /// After so many events were handled, with time to drain or without.
    Early { after: u64, at_once: bool },
}

#[derive(Debug, Clone)]
struct Schedule {
    workers: usize,
    second: Second,
    publishers: Vec<(Way, Admission)>,
    /// Events of each publisher.
    events: u32,
    keys: u64,
    unkeyed_percent: u64,
    lane_capacity: usize,
    inbox_capacity: usize,
    batch_max: usize,
    starvation_limit: usize,
    spill_max: usize,
    wait: Wait,
    wake: Wake,
    /// Handlers answer every so many events with some of their own; 0: never.
    child_every: u32,
    children: u32,
    panic_percent: u64,
    stop: Stop,
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let way = prop_oneof![
        Just(Way::Lane),
        (1_usize..100).prop_map(Way::Batch),
        Just(Way::Tracked),
        Just(Way::Handle),
    ];
    let admission = prop_oneof![
        3 => Just(Admission::Block),
        1 => Just(Admission::Fail),
        1 => Just(Admission::BlockFor(Duration::from_micros(200))),
    ];
    let second = prop_oneof![
        Just(Second::None),
        Just(Second::Ordered),
        Just(Second::Unordered)
    ];
    let stop = prop_oneof![
        Just(Stop::Drained),
        (1_u64..2_000, any::<bool>()).prop_map(|(after, at_once)| Stop::Early { after, at_once }),
    ];
    let wait = prop_oneof![
        1 => Just(Wait::BusySpin),
        1 => Just(Wait::Yield),
        3 => Just(Wait::Adaptive)
    ];
    let engine = (
        1_usize..=3,
        second,
        prop::collection::vec((way, admission), 1..=4),
        500_u32..2_000,
        1_u64..12,
        prop_oneof![Just(0_u64), Just(20)],
    );
    let sizes = (
        1_usize..=8,
        1_usize..=8,
        1_usize..=32,
        6_usize..=64,
        1_usize..=16,
    );
    let rest = (
        wait,
        prop_oneof![Just(Wake::Auto), Just(Wake::Fence)],
        (0_u32..4, 1..=CHILDREN_MAX),
        prop_oneof![Just(0_u64), Just(5)],
        stop,
    );
    (engine, sizes, rest).prop_map(|(engine, sizes, rest)| {
        let (workers, second, publishers, events, keys, unkeyed_percent) = engine;
        let (lane_capacity, inbox_capacity, batch_max, starvation_limit, spill_max) = sizes;
        let (wait, wake, (child_every, children), panic_percent, stop) = rest;
        Schedule {
            workers,
            second,
            publishers,
            events,
            keys,
            unkeyed_percent,
            lane_capacity,
            inbox_capacity,
            batch_max,
            starvation_limit,
            spill_max,
            wait,
            wake,
            child_every,
            children,
            panic_percent,
            stop,
        }
    })
}

/// A spread of numbers, for what has to differ from event to event.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value ^ (value >> 29)
}

/// What all events and handlers of a case share.
#[derive(Debug, Default)]
struct Ledger {
    /// How often each value was dropped; parents first, then children.
    drops: Vec<AtomicU8>,
    /// Values that were made, and events that were admitted.
    made: AtomicU64,
    admitted: AtomicU64,
    handled: AtomicU64,
    next_child: AtomicU64,
    /// The next number of each worker's context.
    contexts: [AtomicU64; 8],
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    fn wrong(&self, text: String) {
        self.wrong.lock().unwrap().push(text);
    }
}

/// An event that knows where it came from.
struct Item {
    /// Its place among the drops.
    place: u32,
    /// Whose order it is in, and its number there.
    publisher: u32,
    number: u32,
    key: Option<u64>,
    class: Class,
    ledger: Arc<Ledger>,
}

impl Event for Item {
    const NAME: &'static str = "schedules.item";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger.drops[self.place as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Schedule {
    fn item(&self, ledger: &Arc<Ledger>, publisher: u32, number: u32) -> Item {
        let place = publisher * self.events + number;
        let drawn = mix(u64::from(place));
        ledger.made.fetch_add(1, Ordering::Relaxed);
        Item {
            place,
            publisher,
            number,
            key: (drawn % 100 >= self.unkeyed_percent).then_some((drawn >> 8) % self.keys),
            // A batch is of one class; so is each of the other ways' short runs.
            class: Class::ALL[(number / 64 + publisher) as usize % 4],
            ledger: Arc::clone(ledger),
        }
    }

    /// What every handler does: looks at the order, publishes, panics.
    fn work(&self, seen: &Order, item: &Item, context: &mut Context<'_>) -> Outcome {
        let ledger = &item.ledger;
        if ledger.drops[item.place as usize].load(Ordering::Relaxed) != 0 {
            ledger.wrong(format!("{} was dropped before it is handled", item.place));
        }
        if seen.is_kept
            && let Some(key) = item.key
        {
            let stream = (item.publisher, key, item.class);
            let before = seen.last.lock().unwrap().insert(stream, item.number);
            if before.is_some_and(|before| before >= item.number) {
                ledger.wrong(format!(
                    "PD2: {} of {stream:?} came behind {before:?}",
                    item.number
                ));
            }
        }
        ledger.handled.fetch_add(1, Ordering::Relaxed);
        if seen.publishes
            && self.child_every > 0
            && item.number.is_multiple_of(self.child_every)
            && item.publisher < CHILDREN
        {
            for _ in 0..self.children {
                self.publish_child(item, context);
            }
        }
        match mix(u64::from(item.place) + 7) % 100 {
            drawn if drawn < self.panic_percent => panic_any("injected"),
            drawn if drawn < 50 => Outcome::Handled,
            drawn if drawn < 55 => Outcome::Skipped,
            drawn if drawn < 60 => Outcome::Failed(Failure::new("as drawn")),
            _ => Outcome::Handled,
        }
    }

    fn publish_child(&self, item: &Item, context: &mut Context<'_>) {
        let ledger = &item.ledger;
        let worker = u32::from(context.worker().pool) * 4 + u32::from(context.worker().index);
        let first = self.publishers.len() as u32 * self.events;
        let child = Item {
            place: first + ledger.next_child.fetch_add(1, Ordering::Relaxed) as u32,
            publisher: CHILDREN + worker,
            number: ledger.contexts[worker as usize].fetch_add(1, Ordering::Relaxed) as u32,
            key: Some(mix(u64::from(item.place)) % self.keys),
            class: item.class,
            ledger: Arc::clone(ledger),
        };
        ledger.made.fetch_add(1, Ordering::Relaxed);
        if context.publish(child).is_ok() {
            ledger.admitted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One publisher's thread: all its events, or those until the engine closes.
    fn publish(&self, handle: &Handle, ledger: &Arc<Ledger>, index: usize) -> Vec<Receipt> {
        let mut publisher = handle.publisher();
        publisher.set_admission(self.publishers[index].1);
        let mut receipts = Vec::new();
        let mut number = 0;
        while number < self.events {
            let (admitted, tried, is_closed) = self.publish_some(
                handle,
                &mut publisher,
                ledger,
                index as u32,
                number,
                &mut receipts,
            );
            ledger.admitted.fetch_add(admitted, Ordering::Relaxed);
            number += tried;
            if is_closed {
                break;
            }
        }
        receipts
    }

    /// Publishes from `number` on; how many were admitted, how many tried, and whether it is over.
    fn publish_some(
        &self,
        handle: &Handle,
        publisher: &mut Publisher,
        ledger: &Arc<Ledger>,
        index: u32,
        number: u32,
        receipts: &mut Vec<Receipt>,
    ) -> (u64, u32, bool) {
        let (way, admission) = self.publishers[index as usize];
        let item = self.item(ledger, index, number);
        publisher.set_class(item.class);
        let result = match way {
            Way::Batch(length) => {
                // Up to the end of the run of one class.
                let last = (number / 64 * 64 + 64)
                    .min(number + length as u32)
                    .min(self.events);
                let items = (number + 1..last).map(|number| self.item(ledger, index, number));
                let items = std::iter::once(item).chain(items);
                return match publisher.publish_batch(items) {
                    Ok(published) => (published as u64, last - number, false),
                    Err(error) => {
                        let back = 1 + error.pulled.len() + error.rest.count();
                        if error.published + back != (last - number) as usize {
                            ledger.wrong(format!("PD1: a batch of {} lost some", last - number));
                        }
                        let is_closed = error.refused.is_closed();
                        (error.published as u64, last - number, is_closed)
                    }
                };
            }
            Way::Lane => publisher.publish(item),
            Way::Tracked => publisher
                .publish_tracked(item)
                .map(|receipt| receipts.push(receipt)),
            Way::Handle => {
                let options = Options::new().class(item.class).admission(admission);
                handle.publish_with(item, options)
            }
        };
        match result {
            Ok(()) => (1, 1, false),
            Err(error) => {
                let is_closed = error.is_closed();
                let back = error.into_event();
                if (back.publisher, back.number) != (index, number) {
                    ledger.wrong("PD1: another event came back".to_owned());
                }
                (0, 1, is_closed)
            }
        }
    }
}

/// The order in which one subscription sees events, where its pool keeps one.
#[derive(Debug)]
struct Order {
    is_kept: bool,
    publishes: bool,
    last: Mutex<HashMap<(u32, u64, Class), u32>>,
}

impl Order {
    fn new(is_kept: bool, publishes: bool) -> Arc<Self> {
        Arc::new(Self {
            is_kept,
            publishes,
            last: Mutex::default(),
        })
    }
}

/// The same as a handler that each worker makes for itself.
struct Own {
    schedule: Schedule,
    seen: Arc<Order>,
}

impl Handler<Item> for Own {
    fn handle(&mut self, item: &Item, context: &mut Context<'_>) -> Outcome {
        self.schedule.work(&self.seen, item, context)
    }
}

fn subscribe(system: &EventSystem, schedule: &Schedule) -> Vec<Subscription> {
    let closure = |publishes: bool, is_kept: bool| {
        let (schedule, seen) = (schedule.clone(), Order::new(is_kept, publishes));
        move |item: &Item, context: &mut Context<'_>| schedule.work(&seen, item, context)
    };
    let (own, seen) = (schedule.clone(), Order::new(true, false));
    let mut subscriptions = vec![
        system
            .subscription("closure")
            .handler(closure(true, true))
            .unwrap(),
        system
            .subscription("own")
            .factory(move |_| {
                Ok::<_, Failure>(Own {
                    schedule: own.clone(),
                    seen: Arc::clone(&seen),
                })
            })
            .on::<Item>()
            .register()
            .unwrap(),
    ];
    if schedule.second != Second::None {
        let is_kept = schedule.second == Second::Ordered;
        subscriptions.push(
            system
                .subscription("second")
                .pool("second")
                .handler(closure(false, is_kept))
                .unwrap(),
        );
    }
    subscriptions
}

fn check(schedule: &Schedule) {
    quiet_injected_panics();
    let _watch = Watch::begin(schedule);
    let mut builder = EventSystem::builder()
        .workers(schedule.workers)
        .lane_capacity(schedule.lane_capacity)
        .inbox_capacity(schedule.inbox_capacity)
        .batch_max(schedule.batch_max)
        .starvation_limit(schedule.starvation_limit)
        .spill_max(schedule.spill_max)
        .wait(schedule.wait)
        .wake(schedule.wake);
    builder = match schedule.second {
        Second::None => builder,
        Second::Ordered => builder.pool(Pool::new("second").workers(2)),
        Second::Unordered => builder.pool(Pool::new("second").workers(2).unordered()),
    };
    let system = builder.build().unwrap();
    let parents = schedule.publishers.len() * schedule.events as usize;
    let ledger = Arc::new(Ledger {
        drops: (0..(1 + CHILDREN_MAX as usize) * parents)
            .map(|_| AtomicU8::new(0))
            .collect(),
        ..Ledger::default()
    });
    let subscriptions = subscribe(&system, schedule);

    let mut receipts = Vec::new();
    let report = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..schedule.publishers.len())
            .map(|index| {
                let (handle, ledger) = (system.handle(), &ledger);
                scope.spawn(move || schedule.publish(&handle, ledger, index))
            })
            .collect();
        let limit = match schedule.stop {
            Stop::Drained => LONG,
            Stop::Early { after, at_once } => {
                while ledger.handled.load(Ordering::Relaxed) < after
                    && !threads.iter().all(|thread| thread.is_finished())
                {
                    std::thread::yield_now();
                }
                if at_once { Duration::ZERO } else { LONG }
            }
        };
        let early = (schedule.stop != Stop::Drained).then(|| system.shutdown(limit).unwrap());
        for thread in threads {
            receipts.extend(thread.join().unwrap());
        }
        early.unwrap_or_else(|| system.shutdown(limit).unwrap())
    });
    let published = system.report().published;
    // Joins also a worker that had not come back in time.
    drop(system);

    let wrong = ledger.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} wrong; {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    let admitted = ledger.admitted.load(Ordering::Relaxed);
    assert_eq!(published, admitted, "PD1: what was said to be published");
    let mut calls = 0;
    for subscription in &subscriptions {
        let counts = subscription.counts();
        assert_eq!(
            counts.admitted,
            admitted,
            "PD8: {} {counts:?}",
            subscription.name()
        );
        assert_eq!(
            counts.ended(),
            admitted,
            "PD8: {} {counts:?}",
            subscription.name()
        );
        assert_eq!(counts.withdrawn, 0);
        calls += counts.handled + counts.failed + counts.skipped;
        if schedule.stop == Stop::Drained || report.in_time {
            assert_eq!(counts.abandoned, 0, "DR1: {counts:?}");
        }
    }
    assert_eq!(calls, ledger.handled.load(Ordering::Relaxed), "PD8: calls");
    for receipt in receipts {
        let (ends, is_complete) = receipt.peek();
        assert!(
            is_complete && ends.len() == subscriptions.len(),
            "PD1: {ends:?}"
        );
    }
    let dropped: Vec<u8> = ledger
        .drops
        .iter()
        .map(|drops| drops.load(Ordering::Relaxed))
        .collect();
    assert!(dropped.iter().all(|&drops| drops <= 1), "dropped twice");
    let sum: u64 = dropped.iter().map(|&drops| u64::from(drops)).sum();
    assert_eq!(
        sum,
        ledger.made.load(Ordering::Relaxed),
        "dropped once each"
    );
}

/// Ends the process with the schedule's text if a case hangs: a publisher that nobody wakes would wait for
/// ever, and its thread could not be given up.
struct Watch(#[allow(dead_code, reason = "its end is the message")] Sender<()>);

impl Watch {
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of the test's, not of the engine's"
    )]
    fn begin(schedule: &Schedule) -> Self {
        let (sender, receiver) = channel();
        let text = format!("hangs: {schedule:#?}");
        std::thread::Builder::new()
            .spawn(move || {
                if receiver.recv_timeout(2 * LONG) == Err(RecvTimeoutError::Timeout) {
                    eprintln!("{text}");
                    std::process::abort();
                }
            })
            .unwrap();
        Self(sender)
    }
}

/// Panics that a schedule wants are not printed.
fn quiet_injected_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"injected") {
                before(panic);
            }
        }));
    });
}

/// Few cases of many events; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 24,
    };
    ProptestConfig {
        cases,
        max_shrink_iters: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pd8_whatever_the_schedule_order_is_kept_and_every_delivery_ends(schedule in schedules()) {
        check(&schedule);
    }
}
