//! The promises of dead letters, at the level of the queue: workers are played by the tests.

use super::*;
use crate::error::{Error, ErrorKind};
use crate::event::{
    Class, Codec, Event, EventId, EventType, Extras, Head, Kept, Key, Metadata, Slot, Wide,
};
use crate::outcome::Failure;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::clock::{Clock, ManualClock};
use crate::sync::{Arc, Mutex};
use std::time::Duration;

/// An event with a key and a number, as text `key/number`.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    key: String,
    number: u64,
}

impl Event for Step {
    const NAME: &'static str = "dead_letter.step";
    const VERSION: u16 = 3;
    fn key(&self) -> Key<'_> {
        Key::Bytes(self.key.as_bytes())
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |event| match event.number {
                666 => panic!("cannot be written"),
                number => Ok(format!("{}/{number}", event.key)),
            },
            |text| {
                let (key, number) = text.split_once('/').ok_or("no slash")?;
                let number = number.parse().map_err(|_| "no number".to_owned())?;
                let key = key.to_owned();
                Ok(Self { key, number })
            },
        ))
    }
}

/// An event that cannot leave memory.
#[derive(Debug)]
struct Mute;

impl Event for Mute {
    const NAME: &'static str = "dead_letter.mute";
}

fn step(key: &str, number: u64) -> Step {
    Step {
        key: key.to_owned(),
        number,
    }
}

fn slot<E: Event>(event: E, class: Class, mut head: Head) -> Slot {
    let hash = event.key().hash();
    head.key_hash = hash.unwrap_or(0);
    Slot::by_value(|place| Slot::write(place, EventType::of(), class, hash.is_some(), head, event))
}

fn plain<E: Event>(event: E) -> Slot {
    slot(event, Class::Normal, Head::default())
}

fn hash(key: &str) -> u64 {
    Key::Bytes(key.as_bytes()).hash().unwrap()
}

/// What stands for the engine: orders wait here until the test works on them.
struct Engine {
    orders: Mutex<Vec<Order>>,
    is_closed: AtomicUsize,
    #[cfg_attr(
        not(feature = "json"),
        allow(dead_code, reason = "only files are read by name")
    )]
    subscribers: Vec<Arc<Subscriber>>,
}

impl Redeliverer for Engine {
    fn begin(&self, order: Order) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Relaxed) > 0 {
            return Err(Error::new(ErrorKind::Closed, "the engine stops"));
        }
        self.orders.lock().push(order);
        Ok(())
    }

    fn check_wait(&self) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(feature = "json")]
    fn subscribers_named(&self, name: &str, _: u32) -> Vec<Arc<Subscriber>> {
        let known = self.subscribers.iter();
        known
            .filter(|known| *known.name == *name)
            .map(Arc::clone)
            .collect()
    }
}

/// A queue with everything around it.
struct Desk {
    queue: Arc<Queue>,
    engine: Arc<Engine>,
    letters: DeadLetters,
    hand: ManualClock,
    unparked: Arc<Mutex<Vec<Unpark>>>,
    /// 1 takes letters as they come, 2 is sequential, 3 takes by value.
    subscribers: [Arc<Subscriber>; 3],
}

impl Desk {
    fn new(policy: DeadLetterPolicy) -> Self {
        let (clock, hand) = Clock::manual();
        let subscribers = [
            Arc::new(Subscriber::new(1, "plain", false, false)),
            Arc::new(Subscriber::new(2, "sequential", true, false)),
            Arc::new(Subscriber::new(3, "takes", false, true)),
        ];
        let queue = Arc::new(Queue::new(policy, clock));
        let unparked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&unparked);
        queue.set_owner(move |unpark| told.lock().push(unpark));
        let engine = Arc::new(Engine {
            orders: Mutex::default(),
            is_closed: AtomicUsize::new(0),
            subscribers: subscribers.to_vec(),
        });
        let redeliverer: Arc<dyn Redeliverer> = Arc::<Engine>::clone(&engine);
        Self {
            letters: DeadLetters::new(Arc::clone(&queue), redeliverer),
            queue,
            engine,
            hand,
            unparked,
            subscribers,
        }
    }

    fn letter(&self, subscriber: usize, event: Slot, reason: Reason) -> Letter {
        let mut attempts = Attempts::default();
        if reason != Reason::SequenceBlocked {
            attempts.record(1_000, 1_001, "it broke");
            attempts.record(2_000, 2_002, "it broke");
        }
        Letter::new(
            event,
            Arc::clone(&self.subscribers[subscriber - 1]),
            reason,
            &["it broke".to_owned(), "the disk is full".to_owned()],
            attempts,
            2_002,
        )
    }

    fn offer(&self, subscriber: usize, event: Step) -> Offered {
        let letter = self.letter(subscriber, plain(event), Reason::Exhausted);
        self.queue.offer(letter, None)
    }

    fn keep(&self, subscriber: usize, event: Step) -> LetterId {
        match self.offer(subscriber, event) {
            Offered::Kept(id) => id,
            other => panic!("not kept: {other:?}"),
        }
    }

    /// Later events of a parked key, as a worker offers them.
    fn block(&self, event: Step) -> LetterId {
        assert!(self.queue.is_parked(2, hash(&event.key)));
        let letter = self.letter(2, plain(event), Reason::SequenceBlocked);
        match self.queue.offer(letter, None) {
            Offered::Kept(id) => id,
            other => panic!("not kept: {other:?}"),
        }
    }

    /// The orders that were begun since, the oldest first.
    fn orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.engine.orders.lock())
    }

    /// Works on everything that was ordered and on what follows from it; the numbers in the order of delivery, and
    /// the keys that became free.
    fn work(&self, mut fails: impl FnMut(&Step) -> bool) -> (Vec<u64>, usize) {
        let (mut delivered, mut freed) = (Vec::new(), 0);
        loop {
            let orders = self.orders();
            if orders.is_empty() {
                return (delivered, freed);
            }
            for mut order in orders {
                loop {
                    match order.next() {
                        Next::Deliver(redelivery) => {
                            let kept = Kept::from(redelivery.slot);
                            let event = kept.get(EventType::<Step>::of()).unwrap();
                            delivered.push(event.number);
                            if fails(event) {
                                order.fail(failed("again"), None);
                            } else {
                                order.succeed();
                            }
                        }
                        Next::Done => break,
                        Next::Unparked => {
                            freed += 1;
                            break;
                        }
                    }
                }
            }
        }
    }

    fn ids(&self, filter: &Filter) -> Vec<u64> {
        let page = self.letters.list(filter, Page::new());
        page.letters
            .iter()
            .map(|letter| letter.id.as_u64())
            .collect()
    }

    fn has_parked(&self) -> bool {
        self.subscribers[1].has_parked()
    }

    /// What must hold at any time.
    fn check(&self) {
        let counts = self.letters.counts();
        assert_eq!(
            counts.kept + counts.imported,
            counts.letters + counts.redelivered + counts.discarded + counts.evicted,
            "{counts:?}"
        );
        assert_eq!(self.letters.count(&Filter::new()), counts.letters);
    }
}

fn failed(message: &str) -> Failed {
    let mut attempts = Attempts::default();
    attempts.record(5_000, 5_001, message);
    Failed {
        reason: Reason::Permanent,
        errors: vec![message.to_owned()],
        attempts,
        at_ms: 5_001,
    }
}

fn desk() -> Desk {
    Desk::new(DeadLetterPolicy::new())
}

#[test]
fn dq1_a_letter_tells_everything() {
    let desk = desk();
    let id = EventId::from_u128(77).unwrap();
    let head = Head {
        correlation: Wide::new(88),
        causation: Wide::new(99),
        extras: Some(Arc::new(Extras {
            id: Some(id),
            metadata: Some(Metadata::new().with("trace", "t1")),
            receipt: None,
            stored: None,
        })),
        ..Head::default()
    };
    let event = slot(step("a7", 5), Class::High, head);
    let letter = desk.letter(1, event, Reason::Exhausted);
    let Offered::Kept(number) = desk.queue.offer(letter, None) else {
        panic!("there is room");
    };
    let seen = desk.letters.inspect(number).unwrap();
    assert_eq!(seen.id, number);
    assert_eq!((seen.event_name, seen.event_version), (Step::NAME, 3));
    assert_eq!(seen.event_id, id);
    assert_eq!(seen.correlation_id.as_u128(), 88);
    assert_eq!(seen.causation_id.map(EventId::as_u128), Some(99));
    assert_eq!(seen.class, Class::High);
    assert_eq!(seen.metadata.as_ref().unwrap().get("trace"), Some("t1"));
    assert_eq!(seen.key.as_deref(), Some("a7"));
    assert_eq!(seen.key_hash, Some(hash("a7")));
    assert_eq!(
        (seen.subscription.as_str(), seen.subscription_id),
        ("plain", 1)
    );
    assert_eq!(seen.reason, Reason::Exhausted);
    assert_eq!(seen.errors, ["it broke", "the disk is full"]);
    let attempt = |number: u32| Attempt {
        number,
        started_ms: u64::from(number) * 1_000,
        ended_ms: u64::from(number) * 1_001,
        message: "it broke".to_owned(),
    };
    assert_eq!(seen.attempts, [attempt(1), attempt(2)]);
    assert_eq!(
        (seen.first_failure_ms, seen.last_failure_ms),
        (1_001, 2_002)
    );
    assert_eq!((seen.attempt_count, seen.replays), (2, 0));
    assert_eq!(seen.status, LetterStatus::Waiting);
    assert_eq!(seen.value::<Step>(), Some(&step("a7", 5)));
    assert!(seen.value::<Mute>().is_none());
    assert_eq!(seen.to_text(), Some(Ok("a7/5".to_owned())));
    desk.check();
}

#[test]
fn dq1_a_letter_is_small() {
    // What an allocation costs beside what was asked for, and what a full half of a tree's nodes does.
    const ALLOCATION: usize = 16;
    const PLACE: usize = 2 * (size_of::<LetterId>() + size_of::<usize>()) + 4;
    let desk = desk();
    let message = |number: u64| format!("try {number}: the account could not be found");
    let errors = |number| [message(number), "connection reset by peer".to_owned()];
    let attempts = |numbers: std::ops::RangeInclusive<u64>| {
        let mut attempts = Attempts::default();
        for number in numbers {
            attempts.record(number, number, &message(number));
        }
        attempts
    };
    let mut letter = Letter::new(
        plain(step("a", 1)),
        Arc::clone(&desk.subscribers[0]),
        Reason::Exhausted,
        &errors(3),
        attempts(1..=3),
        5,
    );
    assert_eq!(letter.errors().collect::<Vec<_>>(), errors(3));
    // The last attempt's message is that of the error.
    let words = 3 * message(1).len() + "connection reset by peer".len();
    assert_eq!(letter.attempts.bytes(), 3 * 24 + words);
    let bytes = size_of::<Letter>() + PLACE + letter.attempts.bytes() + 3 * ALLOCATION;
    assert!(bytes <= 512, "{bytes} bytes");

    // Whatever was said of a failure goes with the next.
    for number in 4..=100 {
        letter.failed_again(
            Reason::Exhausted,
            &errors(number),
            attempts(number..=number),
            6,
        );
    }
    assert_eq!(letter.errors().collect::<Vec<_>>(), errors(100));
    let most = 16 * (24 + message(100).len()) + "connection reset by peer".len();
    let bytes = letter.attempts.bytes();
    assert!(bytes <= most, "{bytes} bytes");
}

#[test]
fn dq2_success_removes_the_letter_and_failure_updates_it() {
    let desk = desk();
    let (first, second) = (desk.keep(1, step("a", 1)), desk.keep(1, step("a", 2)));
    let ticket = desk.letters.redeliver(first).unwrap();
    assert_eq!(
        desk.letters.inspect(first).unwrap().status,
        LetterStatus::Redelivering
    );
    assert!(!ticket.is_done());
    let mut order = desk.orders().pop().unwrap();
    assert_eq!((order.subscriber().id, order.parked_key()), (1, None));
    assert_eq!(order.key_hash(), Some(hash("a")));
    let Next::Deliver(redelivery) = order.next() else {
        panic!("there is a letter");
    };
    assert_eq!((redelivery.letter, redelivery.replays), (first, 0));
    order.fail(failed("worse"), Some(redelivery.slot));
    assert!(matches!(order.next(), Next::Done));
    drop(order);
    assert_eq!(ticket.wait().unwrap().failed, 1);

    let seen = desk.letters.inspect(first).unwrap();
    assert_eq!((seen.replays, seen.attempt_count), (1, 3));
    assert_eq!(seen.attempts.last().unwrap().number, 3);
    assert_eq!(
        (seen.reason, seen.errors),
        (Reason::Permanent, vec!["worse".to_owned()])
    );
    assert_eq!(
        (seen.first_failure_ms, seen.last_failure_ms),
        (1_001, 5_001)
    );
    assert_eq!(seen.status, LetterStatus::Waiting);

    let ticket = desk.letters.redeliver(first).unwrap();
    assert_eq!(desk.work(|_| false), (vec![1], 0));
    let told = ticket.next().unwrap().unwrap();
    assert_eq!((told.letter, told.ended), (first, Redelivered::Handled));
    assert_eq!(ticket.next().unwrap(), None);
    assert!(desk.letters.inspect(first).is_none());
    assert!(desk.letters.inspect(second).is_some());
    assert!(desk.letters.redeliver(first).unwrap_err().is_missing());
    desk.check();
}

#[test]
fn dq2_a_letter_is_redelivered_by_one_at_a_time() {
    let desk = desk();
    let id = desk.keep(1, step("a", 1));
    let winner = desk.letters.redeliver(id).unwrap();
    let loser = desk.letters.redeliver(id).unwrap_err();
    assert!(loser.is_conflict());
    assert_eq!(
        loser.to_string(),
        format!("letter {id}: it is being redelivered already: wait for that to end")
    );
    assert!(
        desk.letters
            .discard(id, "me", "in the way")
            .unwrap_err()
            .is_conflict()
    );
    desk.work(|_| false);
    assert_eq!(winner.wait().unwrap().handled, 1);
}

#[test]
fn dq2_a_redelivery_that_does_not_happen_leaves_the_letter_as_it_was() {
    let desk = desk();
    let id = desk.keep(1, step("a", 1));
    let before = format!("{:?}", desk.letters.inspect(id));
    let check = |ticket: RedeliveryTicket| {
        assert_eq!(ticket.wait().unwrap().given_up, 1);
        assert_eq!(format!("{:?}", desk.letters.inspect(id)), before);
    };
    // The engine stops with the order under way, before and in the middle.
    let ticket = desk.letters.redeliver(id).unwrap();
    drop(desk.orders());
    check(ticket);
    let ticket = desk.letters.redeliver(id).unwrap();
    let mut order = desk.orders().pop().unwrap();
    assert!(matches!(order.next(), Next::Deliver(_)));
    drop(order);
    check(ticket);
    // It is cancelled first.
    let ticket = desk.letters.redeliver(id).unwrap();
    ticket.cancel();
    assert_eq!(desk.work(|_| false), (vec![], 0));
    check(ticket);
    // Nobody takes the order.
    desk.engine.is_closed.store(1, Ordering::Relaxed);
    assert!(desk.letters.redeliver(id).unwrap_err().is_closed());
    assert_eq!(format!("{:?}", desk.letters.inspect(id)), before);
}

#[test]
fn dq2_a_value_that_is_taken_comes_back_if_it_is_still_there() {
    let desk = desk();
    let id = desk.keep(3, step("a", 1));
    let _ticket = desk.letters.redeliver(id).unwrap();
    let mut order = desk.orders().pop().unwrap();
    let Next::Deliver(mut redelivery) = order.next() else {
        panic!("there is a letter");
    };
    assert!(!desk.letters.inspect(id).unwrap().has_value());
    order.give_up(Some(redelivery.slot), "withdrawn");
    assert!(desk.letters.inspect(id).unwrap().has_value());

    let _ticket = desk.letters.redeliver(id).unwrap();
    order = desk.orders().pop().unwrap();
    redelivery = match order.next() {
        Next::Deliver(redelivery) => redelivery,
        other => panic!("{other:?}"),
    };
    // Nobody else holds it, so the handler can take it; then it is gone for good.
    let taken = redelivery.slot.split().1.take(EventType::<Step>::of());
    assert_eq!(taken, Some(step("a", 1)));
    order.fail(failed("after all"), Some(redelivery.slot));
    let seen = desk.letters.inspect(id).unwrap();
    assert!(!seen.has_value());
    assert_eq!((seen.key, seen.key_hash), (None, Some(hash("a"))));
    let gone = desk.letters.redeliver(id).unwrap_err();
    assert!(
        gone.is_missing() && gone.to_string().contains("publish the event anew"),
        "{gone}"
    );
}

#[test]
fn dq3_a_letter_parks_its_key_and_redelivery_is_in_order() {
    let desk = desk();
    assert!(!desk.queue.is_parked(2, hash("k1")) && !desk.has_parked());
    let second = desk.keep(2, step("k1", 2));
    assert!(desk.queue.is_parked(2, hash("k1")));
    assert!(!desk.queue.is_parked(2, hash("k2")) && !desk.queue.is_parked(1, hash("k1")));
    assert!(desk.has_parked());
    desk.block(step("k1", 3));
    desk.block(step("k1", 4));

    let alone = desk.letters.redeliver(second).unwrap_err();
    assert!(
        alone.is_conflict() && alone.to_string().contains("redeliver the key"),
        "{alone}"
    );
    let winner = desk.letters.redeliver_key("sequential", "k1").unwrap();
    assert!(
        desk.letters
            .redeliver_key("sequential", "k1")
            .unwrap_err()
            .is_conflict()
    );

    // Live events go on joining until the key is empty.
    let mut live = 5..8;
    let (delivered, freed) = desk.work(|_| {
        if let Some(number) = live.next() {
            desk.block(step("k1", number));
        }
        false
    });
    assert_eq!(delivered, [2, 3, 4, 5, 6, 7]);
    assert_eq!(freed, 1);
    assert!(!desk.has_parked());
    assert!(!desk.queue.is_parked(2, hash("k1")));
    assert_eq!(winner.wait().unwrap().handled, 6);
    assert_eq!(*desk.unparked.lock(), [], "the owner did it itself");
    desk.check();
}

#[test]
fn dq3_redelivery_stops_at_the_first_failure() {
    let desk = desk();
    desk.keep(2, step("k1", 1));
    desk.block(step("k1", 2));
    desk.block(step("k1", 3));
    let ticket = desk.letters.redeliver_key("sequential", "k1").unwrap();
    assert_eq!(desk.work(|event| event.number == 2), (vec![1, 2], 0));
    let report = ticket.wait().unwrap();
    assert_eq!((report.handled, report.failed, report.given_up), (1, 1, 0));
    assert!(desk.queue.is_parked(2, hash("k1")));
    let rest = desk
        .letters
        .list(&Filter::new().key("k1"), Page::new())
        .letters;
    let states: Vec<_> = rest
        .iter()
        .map(|letter| (letter.replays, letter.status))
        .collect();
    assert_eq!(
        states,
        [(1, LetterStatus::Waiting), (0, LetterStatus::Waiting)]
    );

    // What is redelivered as one of many goes by its key as well, once.
    let ticket = desk.letters.redeliver_all(Filter::new());
    assert_eq!(desk.work(|_| true), (vec![2], 0));
    let report = ticket.wait().unwrap();
    assert_eq!((report.handled, report.failed, report.given_up), (0, 1, 0));
    let ticket = desk.letters.redeliver_all(Filter::new());
    assert_eq!(desk.work(|_| false), (vec![2, 3], 1));
    assert_eq!(ticket.wait().unwrap().handled, 2);
}

#[test]
fn dq3_the_owner_is_told_when_the_last_letter_of_a_key_goes_otherwise() {
    let desk = desk();
    let first = desk.keep(2, step("k1", 1));
    let second = desk.block(step("k1", 2));
    desk.letters.discard(first, "me", "obsolete").unwrap();
    assert_eq!(*desk.unparked.lock(), []);
    desk.letters.discard(second, "me", "obsolete").unwrap();
    let unpark = Unpark {
        subscription: 2,
        key_hash: hash("k1"),
    };
    assert_eq!(*desk.unparked.lock(), [unpark]);
    assert!(!desk.queue.is_parked(2, hash("k1")));

    // Discarded under a claim, the key stays parked until the claim ends.
    let only = desk.keep(2, step("k1", 3));
    let _ticket = desk.letters.redeliver_key("sequential", "k1").unwrap();
    desk.letters.discard(only, "me", "obsolete").unwrap();
    assert!(desk.queue.is_parked(2, hash("k1")));
    drop(desk.orders());
    assert_eq!(*desk.unparked.lock(), [unpark, unpark]);
    assert!(!desk.has_parked());
    assert!(!desk.queue.is_parked(2, hash("k1")));
    desk.check();
}

/// 100 deliveries fail for good with room for 10; what a worker would do about each.
fn check_full(overflow: Overflow, lost: [u64; 3]) {
    let told = Arc::new(Mutex::new([0_u64; 4]));
    let seen = Arc::clone(&told);
    let policy = DeadLetterPolicy::new().capacity(10).overflow(overflow);
    let desk = Desk::new(policy.observer(move |event: &LetterEvent<'_>| {
        seen.lock()[match event {
            LetterEvent::Kept(_) => 0,
            LetterEvent::Evicted(_) => 1,
            LetterEvent::Refused(_) => 2,
            LetterEvent::Paused(_) => 3,
        }] += 1;
    }));
    let (mut held, mut refused) = (Vec::new(), 0);
    for number in 0..100 {
        match desk.offer(1, step("a", number)) {
            Offered::Kept(_) | Offered::Evicted { .. } => {}
            Offered::Full(letter) => held.push(letter),
            Offered::Refused(_) => refused += 1,
        }
        desk.check();
        assert!(desk.letters.counts().letters <= 10);
    }
    let counts = desk.letters.counts();
    assert_eq!([counts.evicted, refused, held.len() as u64], lost);
    assert_eq!(counts.refused, refused);
    assert_eq!(
        counts.letters + counts.evicted + refused + held.len() as u64,
        100
    );
    assert_eq!(
        *told.lock(),
        [
            counts.kept,
            counts.evicted,
            counts.refused,
            held.len() as u64
        ]
    );
    let first = if counts.evicted > 0 { 90 } else { 0 };
    let page = desk.letters.list(&Filter::new(), Page::new());
    let numbers: Vec<u64> = page
        .letters
        .iter()
        .map(|letter| letter.value::<Step>().unwrap().number)
        .collect();
    assert_eq!(numbers, (first..first + 10).collect::<Vec<_>>());
}

#[test]
fn dq4_a_full_queue_does_what_the_policy_says() {
    check_full(Overflow::Pause, [0, 0, 90]);
    check_full(Overflow::EvictOldest, [90, 0, 0]);
    check_full(Overflow::Refuse, [0, 90, 0]);
}

#[test]
fn dq4_who_waits_for_room_is_told_once() {
    let desk = Desk::new(DeadLetterPolicy::new().capacity(1));
    let id = desk.keep(1, step("a", 1));
    let calls = Arc::new(AtomicUsize::new(0));
    let notify = |calls: &Arc<AtomicUsize>| -> Notify {
        let calls = Arc::clone(calls);
        Arc::new(move || {
            calls.fetch_add(1, Ordering::Relaxed);
        })
    };
    let (one, other) = (notify(&calls), notify(&calls));
    let bomb: Notify = Arc::new(|| panic!("from a notify"));
    for room in [&bomb, &one, &one, &other] {
        let letter = desk.letter(1, plain(step("a", 2)), Reason::Exhausted);
        assert!(matches!(
            desk.queue.offer(letter, Some(room)),
            Offered::Full(_)
        ));
    }
    assert!(!desk.queue.has_room());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    desk.letters.discard(id, "me", "room").unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert!(desk.queue.has_room());
    let id = desk.keep(1, step("a", 3));
    desk.letters.discard(id, "me", "room").unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn dq4_what_is_being_redelivered_is_not_evicted() {
    let policy = DeadLetterPolicy::new().capacity(2);
    let desk = Desk::new(policy.overflow(Overflow::EvictOldest));
    let (first, second) = (desk.keep(1, step("a", 1)), desk.keep(1, step("a", 2)));
    let _ticket = desk.letters.redeliver(first).unwrap();
    let Offered::Evicted { kept, evicted } = desk.offer(1, step("a", 3)) else {
        panic!("the second can go");
    };
    assert_eq!(evicted, second);
    let _other = desk.letters.redeliver(kept).unwrap();
    assert!(matches!(desk.offer(1, step("a", 4)), Offered::Refused(_)));
    desk.check();
}

#[test]
fn dq4_evicting_the_last_letter_of_a_key_frees_it_unless_another_comes() {
    let policy = DeadLetterPolicy::new().capacity(1);
    let desk = Desk::new(policy.overflow(Overflow::EvictOldest));
    desk.keep(2, step("k1", 1));
    let letter = desk.letter(2, plain(step("k1", 2)), Reason::SequenceBlocked);
    assert!(matches!(
        desk.queue.offer(letter, None),
        Offered::Evicted { .. }
    ));
    assert_eq!(desk.unparked.lock().len(), 0);
    assert!(desk.queue.is_parked(2, hash("k1")));
    assert!(matches!(
        desk.offer(1, step("a", 1)),
        Offered::Evicted { .. }
    ));
    assert_eq!(desk.unparked.lock().len(), 1);
    assert!(!desk.queue.is_parked(2, hash("k1")));
}

#[test]
fn dq4_an_observer_that_fails_or_panics_is_counted_and_stops_nothing() {
    let policy = DeadLetterPolicy::new().observer(|event: &LetterEvent<'_>| {
        let LetterEvent::Kept(letter) = event else {
            return Ok(());
        };
        match letter.value::<Step>().unwrap().number {
            1 => Err(Failure::new("no line to the pager")),
            2 => panic!("no pager at all"),
            _ => Ok(()),
        }
    });
    let desk = Desk::new(policy);
    for number in 1..=3 {
        desk.keep(1, step("a", number));
    }
    let counts = desk.letters.counts();
    assert_eq!((counts.letters, counts.observer_failures), (3, 2));
}

#[test]
fn dq4_settings_out_of_range_name_field_value_and_range() {
    let check = |capacity, expected: &[&str]| {
        let mut faults = Vec::new();
        DeadLetterPolicy::new()
            .capacity(capacity)
            .check(&mut faults);
        assert_eq!(faults, expected);
    };
    check(1, &[]);
    check(1 << 30, &[]);
    check(
        0,
        &["dead_letters.capacity: 0 is below 1 (give at least 1: letters are kept somewhere)"],
    );
    check(
        (1 << 30) + 1,
        &[
            "dead_letters.capacity: 1073741825 is above 1073741824 (give at most that, and export letters that are to stay)",
        ],
    );
}

#[test]
fn dq5_letters_are_filtered_and_paged() {
    let desk = desk();
    for number in 1..=4 {
        desk.keep(1, step("a", number));
    }
    desk.keep(2, step("k1", 5));
    let panicked = desk.letter(1, plain(Mute), Reason::Panic);
    assert!(matches!(desk.queue.offer(panicked, None), Offered::Kept(_)));
    let timed_out = Letter::new(
        plain(step("7", 7)),
        Arc::clone(&desk.subscribers[0]),
        Reason::Timeout,
        &["too slow".to_owned()],
        Attempts::default(),
        9_000,
    );
    assert!(matches!(
        desk.queue.offer(timed_out, None),
        Offered::Kept(_)
    ));
    let _ticket = desk.letters.redeliver(LetterId::from_u64(2)).unwrap();

    let all = Filter::new;
    let check = |filter: Filter, expected: &[u64]| {
        assert_eq!(desk.ids(&filter), expected, "{filter:?}");
        assert_eq!(desk.letters.count(&filter), expected.len() as u64);
    };
    check(all(), &[1, 2, 3, 4, 5, 6, 7]);
    check(all().subscription("sequential"), &[5]);
    check(all().event(Mute::NAME), &[6]);
    check(all().key("a"), &[1, 2, 3, 4]);
    check(all().key("a").status(LetterStatus::Waiting), &[1, 3, 4]);
    check(all().key_text("7"), &[7]);
    check(all().key(None::<u64>), &[]);
    check(all().reason(Reason::Panic), &[6]);
    check(all().status(LetterStatus::Redelivering), &[2]);
    check(all().failed_at(..2_002), &[]);
    check(all().failed_at(..=2_002), &[1, 2, 3, 4, 5, 6]);
    check(all().failed_at(2_003..), &[7]);
    check(all().failed_at(..0), &[]);
    check(all().error_text("disk"), &[1, 2, 3, 4, 5, 6]);
    check(all().error_text("disk").subscription("sequential"), &[5]);

    let page = |page: Page| {
        let page = desk.letters.list(&all(), page);
        let ids: Vec<u64> = page
            .letters
            .iter()
            .map(|letter| letter.id.as_u64())
            .collect();
        (ids, page.next.map(LetterId::as_u64))
    };
    let two = Page::new().limit(2);
    assert_eq!(page(two), (vec![1, 2], Some(2)));
    assert_eq!(page(two.offset(2)), (vec![3, 4], Some(4)));
    assert_eq!(page(two.offset(9)), (vec![], None));
    assert_eq!(page(two.after(LetterId::from_u64(5))), (vec![6, 7], None));
    assert_eq!(page(two.newest_first()), (vec![7, 6], Some(6)));
    let behind = two.newest_first().after(LetterId::from_u64(3));
    assert_eq!(page(behind), (vec![2, 1], None));
}

#[test]
fn dq5_discarding_is_on_record() {
    let desk = desk();
    for number in 1..=3_000 {
        desk.keep(1, step(if number % 3 == 0 { "a" } else { "b" }, number));
    }
    desk.hand.advance(Duration::from_secs(5));
    let nameless = desk
        .letters
        .discard(LetterId::from_u64(1), " ", "why")
        .unwrap_err();
    assert!(
        nameless.is_setting() && nameless.to_string().starts_with("discard.who"),
        "{nameless}"
    );
    assert!(
        desk.letters
            .discard_all(&Filter::new(), "me", "")
            .unwrap_err()
            .is_setting()
    );
    assert_eq!(desk.letters.counts().discarded, 0);

    desk.letters
        .discard(LetterId::from_u64(1), "ann", "paid by hand")
        .unwrap();
    let busy = desk.letters.redeliver(LetterId::from_u64(3)).unwrap();
    let count = desk
        .letters
        .discard_all(&Filter::new().key("a"), "bob", "test data")
        .unwrap();
    assert_eq!(count, 999, "all but the one that is being redelivered");
    assert_eq!(
        desk.letters
            .discard_all(&Filter::new().key("c"), "bob", "none")
            .unwrap(),
        0
    );
    let audit = desk.letters.audit();
    assert_eq!(audit.len(), 2);
    assert_eq!(
        (audit[0].who.as_str(), audit[0].why.as_str()),
        ("ann", "paid by hand")
    );
    assert_eq!(
        (audit[0].count, audit[0].letters.clone()),
        (1, vec![LetterId::from_u64(1)])
    );
    assert_eq!(audit[0].at_ms, 1_577_836_805_000);
    assert_eq!((audit[1].count, audit[1].letters.len()), (999, 64));
    assert_eq!(desk.letters.counts().discarded, 1_000);
    drop(desk.orders());
    drop(busy);
    desk.check();
}

#[test]
fn dq5_many_are_redelivered_some_at_a_time() {
    let desk = desk();
    for number in 1..=1_000 {
        desk.keep(1, step(if number % 2 == 0 { "a" } else { "b" }, number));
    }
    let ticket = desk.letters.redeliver_all(Filter::new().key("a"));
    assert_eq!(
        desk.engine.orders.lock().len(),
        64,
        "a bounded number is under way"
    );
    // What comes behind is left alone.
    desk.keep(1, step("a", 2_000));
    let (mut delivered, _) = desk.work(|event| event.number == 500);
    delivered.sort_unstable();
    assert_eq!(
        delivered,
        (1..=500).map(|number| number * 2).collect::<Vec<_>>()
    );
    let report = ticket.wait().unwrap();
    assert_eq!((report.handled, report.failed), (499, 1));
    let mut told = 0;
    while let Some(outcome) = ticket.next().unwrap() {
        told += 1;
        let failed = matches!(outcome.ended, Redelivered::Failed { .. });
        assert_eq!(failed, outcome.letter.as_u64() == 500);
    }
    assert_eq!(told, 500);
    desk.check();
}

#[test]
fn dq5_a_redelivery_of_many_can_be_cancelled() {
    let desk = desk();
    for number in 1..=1_000 {
        desk.keep(1, step("a", number));
    }
    let ticket = desk.letters.redeliver_all(Filter::new());
    let (delivered, _) = desk.work(|event| {
        if event.number == 10 {
            ticket.cancel();
        }
        false
    });
    assert_eq!(delivered, (1..=10).collect::<Vec<_>>());
    let report = ticket.wait_for(Duration::ZERO).unwrap().unwrap();
    assert_eq!((report.handled, report.failed), (10, 0));
    assert_eq!(desk.letters.counts().letters, 990);
    assert_eq!(
        desk.letters
            .count(&Filter::new().status(LetterStatus::Redelivering)),
        0
    );

    // The engine stops: what was not begun stays as well.
    desk.engine.is_closed.store(1, Ordering::Relaxed);
    let ticket = desk.letters.redeliver_all(Filter::new());
    assert_eq!(ticket.wait().unwrap().given_up, 1);
    desk.check();
}

#[test]
fn dq5_chosen_letters_are_redelivered() {
    let desk = desk();
    for number in 1..=4 {
        desk.keep(1, step("a", number));
    }
    let ids = [4, 9, 2, 2].map(LetterId::from_u64);
    let ticket = desk.letters.redeliver_many(ids);
    assert_eq!(desk.work(|_| false), (vec![2, 4], 0));
    let report = ticket.wait().unwrap();
    assert_eq!((report.handled, report.given_up), (2, 1));
    assert!(
        desk.letters
            .redeliver_key("plain", "b")
            .unwrap_err()
            .is_missing()
    );
    let ticket = desk.letters.redeliver_key("plain", "a").unwrap();
    assert_eq!(desk.work(|_| false), (vec![1, 3], 0));
    assert_eq!(ticket.wait().unwrap().handled, 2);
}

#[test]
fn dq5_where_an_order_is_worked_on_at_once_nothing_nests() {
    struct AtOnce;
    impl Redeliverer for AtOnce {
        fn begin(&self, mut order: Order) -> Result<(), Error> {
            while let Next::Deliver(_) = order.next() {
                order.succeed();
            }
            Ok(())
        }
        fn check_wait(&self) -> Result<(), Error> {
            Ok(())
        }
        #[cfg(feature = "json")]
        fn subscribers_named(&self, _: &str, _: u32) -> Vec<Arc<Subscriber>> {
            Vec::new()
        }
    }
    let desk = desk();
    for number in 1..=20_000 {
        desk.keep(1, step("a", number));
    }
    let letters = DeadLetters::new(Arc::clone(&desk.queue), Arc::new(AtOnce));
    let ticket = letters.redeliver_all(Filter::new());
    assert!(ticket.is_done());
    assert_eq!(ticket.report().handled, 20_000);
}

#[cfg(feature = "json")]
mod lines {
    use super::*;

    fn export(desk: &Desk) -> (String, ExportReport) {
        let mut text = Vec::new();
        let report = desk.letters.export(&Filter::new(), &mut text).unwrap();
        (String::from_utf8(text).unwrap(), report)
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Empty;

    impl Event for Empty {
        const NAME: &'static str = "dead_letter.empty";
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::json())
        }
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Amount {
        wide: u128,
        text: String,
    }

    impl Event for Amount {
        const NAME: &'static str = "dead_letter.amount";
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::json())
        }
    }

    fn offer<E: Event>(desk: &Desk, subscriber: usize, event: E) {
        let letter = desk.letter(subscriber, plain(event), Reason::Exhausted);
        assert!(matches!(desk.queue.offer(letter, None), Offered::Kept(_)));
    }

    #[test]
    fn dq5_letters_go_to_a_file_and_come_back() {
        let desk = desk();
        let head = Head {
            correlation: Wide::new(88),
            causation: Wide::new(99),
            extras: Some(Arc::new(Extras {
                id: EventId::from_u128(77),
                metadata: Some(Metadata::new().with("trace", "t\n1")),
                receipt: None,
                stored: None,
            })),
            ..Head::default()
        };
        let event = slot(step("k1", 1), Class::High, head);
        let letter = desk.letter(2, event, Reason::Exhausted);
        assert!(matches!(desk.queue.offer(letter, None), Offered::Kept(_)));
        desk.block(step("k1", 2));
        offer(&desk, 1, Empty);
        let wide = u128::MAX;
        let text = "two\nlines".to_owned();
        offer(&desk, 1, Amount { wide, text });
        let ticket = desk.letters.redeliver_key("sequential", "k1").unwrap();
        desk.work(|_| true);
        assert_eq!(ticket.wait().unwrap().failed, 1);
        let (text, report) = export(&desk);
        assert_eq!((report.letters, report.without_event), (4, 0));
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains(r#""codec":"text","event":"k1/1"}"#), "{text}");
        assert!(text.contains(r#""codec":"json","event":null}"#), "{text}");
        let one = desk.letters.inspect(LetterId::from_u64(1)).unwrap();
        assert_eq!(one.to_json_line().unwrap(), text.lines().next().unwrap());

        let other = self::desk();
        let report = other.letters.import(text.as_bytes());
        assert_eq!(
            (report.imported, report.faults.len()),
            (4, 0),
            "{:?}",
            report.faults
        );
        assert_eq!(export(&other).0, text, "everything comes back");
        let back = other.letters.inspect(LetterId::from_u64(4)).unwrap();
        assert_eq!(back.value::<Amount>().unwrap().wide, u128::MAX);
        // The key is parked here too, and goes in order.
        assert!(other.queue.is_parked(2, hash("k1")));
        let _ticket = other.letters.redeliver_key("sequential", "k1").unwrap();
        assert_eq!(other.work(|_| false), (vec![1, 2], 1));
        // Once more: numbers that are taken are given anew.
        assert_eq!(other.letters.import(text.as_bytes()).imported, 4);
        assert_eq!(other.ids(&Filter::new()), [1, 2, 3, 4, 5, 6]);
        other.check();
    }

    #[test]
    fn dq5_an_event_that_cannot_be_written_is_told_without_it() {
        let desk = desk();
        offer(&desk, 1, Mute);
        desk.keep(1, step("a", 666));
        let (text, report) = export(&desk);
        assert_eq!((report.letters, report.without_event), (2, 2));
        assert!(text.contains(r#""codec":null,"event":null}"#), "{text}");
        assert!(
            text.contains(r#""codec":"text","event_error":"the codec panicked while encoding: cannot be written","event":null}"#),
            "{text}"
        );
        let faults = self::desk().letters.import(text.as_bytes()).faults;
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "line 1: event_name: `dead_letter.mute` has no codec, so the event cannot be read: give the type one (#[event(codec = \"json\")])",
                "line 2: event_error: the event was not written: the codec panicked while encoding: cannot be written",
            ]
        );
    }

    #[test]
    fn dq5_a_bad_line_is_named_and_stops_nothing() {
        let desk = desk();
        desk.keep(1, step("a", 1));
        let (good, _) = export(&desk);
        let good = good.trim_end();
        let check = |from: &str, to: &str, expected: &str| {
            assert!(good.contains(from), "{from} is not in {good}");
            let lines = format!("\n{}\n{good}\r\n", good.replacen(from, to, 1));
            let report = self::desk().letters.import(lines.as_bytes());
            assert_eq!((report.imported, report.refused), (1, 1), "{report:?}");
            let told = report.faults[0].to_string();
            assert!(told.starts_with(&format!("line 2: {expected}")), "{told}");
        };
        check("{", "", "the line is no JSON object");
        check(
            Step::NAME,
            "nobody.knows",
            "event_name: no type of this program is called `nobody.knows`",
        );
        check(
            r#""event_version":3"#,
            r#""event_version":2"#,
            "event_version: 2 is not 3",
        );
        check(r#""event_id":""#, r#""event_id":"x"#, "event_id: `x");
        check(
            r#""class":"normal""#,
            r#""class":"urgent""#,
            "class: unknown variant `urgent`",
        );
        check(
            r#""subscription":"plain""#,
            r#""subscription":"gone""#,
            "subscription: there is no `gone`",
        );
        check(r#""reason":"exhausted","#, "", "reason: it is missing");
        check(
            r#""attempt_count":2"#,
            r#""attempt_count":"two""#,
            "attempt_count: invalid type",
        );
        check(
            r#""attempts":["#,
            r#""attempts":[7,"#,
            "attempts: invalid type",
        );
        check(
            r#""codec":"text""#,
            r#""codec":"json""#,
            "codec: `json` is not `text`",
        );
        check(r#""codec":"text""#, r#""codec":null"#, "codec: it is null");
        check(r#""event":"a/1""#, r#""event":"a1""#, "event: no slash");
        check(r#""event":"a/1""#, r#""event":7"#, "event: invalid type");
    }

    #[test]
    fn dq5_a_file_throws_nothing_away() {
        let desk = desk();
        for number in 1..=3 {
            desk.keep(1, step("a", number));
        }
        let (text, _) = export(&desk);
        let small = Desk::new(
            DeadLetterPolicy::new()
                .capacity(2)
                .overflow(Overflow::EvictOldest),
        );
        let report = small.letters.import(text.as_bytes());
        assert_eq!((report.imported, report.refused), (2, 1));
        assert!(
            report.faults[0]
                .to_string()
                .starts_with("line 3: the queue is full")
        );
        assert_eq!(small.ids(&Filter::new()), [1, 2]);
        small.check();
    }
}
