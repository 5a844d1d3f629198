//! Counts every allocation of the process while events flow (PD9).
//!
//! A binary of its own, as the allocator is the process's. The harness prints and starts threads beside the test that
//! counts, so each test counts several windows: the smallest count is the engine's, exactly, and all of them
//! together stay below a bound that does not grow with the number of events.

#[path = "support/counting.rs"]
mod counting;

use ringbolt::{
    AsKey, Breaker, BreakerPolicy, Class, Context, Event, EventId, EventSystem, Key, Metadata,
    Options, Pool, Publisher,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Windows that are counted one by one.
const WINDOWS: u64 = 5;
/// Events of a window where nothing may be allocated: a million in all.
const STEADY: u64 = 200_000;
/// Events of a window where each may allocate once.
const PRICED: u64 = 2_000;
/// What the harness and high-water marks may allocate while a test counts, whatever the number of events.
const BESIDE_MAX: u64 = 500;

/// One test counts at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `window` once to warm up and then counts it `WINDOWS` times; the smallest count and the sum.
fn count(mut window: impl FnMut()) -> (u64, u64) {
    window();
    let mut smallest = u64::MAX;
    let mut sum = 0;
    for _ in 0..WINDOWS {
        let before = counting::calls();
        window();
        let calls = counting::calls() - before;
        smallest = smallest.min(calls);
        sum += calls;
    }
    (smallest, sum)
}

/// Nothing is allocated, whatever the number of events.
fn check_nothing(window: impl FnMut()) {
    let (smallest, sum) = count(window);
    assert_eq!(
        smallest, 0,
        "allocations in the quietest window ({sum} in all)"
    );
    assert!(sum < BESIDE_MAX, "{sum} allocations in {WINDOWS} windows");
}

/// `each` allocations for every one of the window's `PRICED` events, and nothing else.
fn check_each(each: u64, window: impl FnMut()) {
    let (smallest, sum) = count(window);
    assert_eq!(smallest, each * PRICED, "allocations for {PRICED} events");
    assert!(sum < each * PRICED * WINDOWS + BESIDE_MAX, "{sum}");
}

struct Plain {
    key: u64,
    number: u64,
}

impl Event for Plain {
    const NAME: &'static str = "allocations.plain";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

/// As large as fits a slot.
struct Whole([u64; 7]);

impl Event for Whole {
    const NAME: &'static str = "allocations.whole";
    fn key(&self) -> Key<'_> {
        self.0[0].as_key()
    }
}

/// One byte too large for a slot.
struct Large(#[allow(dead_code, reason = "it is there to be large")] [u8; 57]);

impl Event for Large {
    const NAME: &'static str = "allocations.large";
    fn key(&self) -> Key<'_> {
        self.0[0].as_key()
    }
}

/// Small enough, and aligned beyond what a slot offers.
#[repr(align(16))]
struct Aligned(u64);

impl Event for Aligned {
    const NAME: &'static str = "allocations.aligned";
    fn key(&self) -> Key<'_> {
        self.0.as_key()
    }
}

struct Unkeyed;

impl Event for Unkeyed {
    const NAME: &'static str = "allocations.unkeyed";
}

/// What a handler answers another event with.
struct Reply {
    key: u64,
}

impl Event for Reply {
    const NAME: &'static str = "allocations.reply";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

/// Counts deliveries, and waits for them.
#[derive(Clone, Default)]
struct Deliveries(Arc<AtomicU64>);

impl Deliveries {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Waits until there are `more` than at the last call; a test that waits for ever is stopped from outside.
    fn wait_for(&self, more: u64) {
        while self.0.load(Ordering::Acquire) < more {
            std::thread::yield_now();
        }
        self.0.fetch_sub(more, Ordering::AcqRel);
    }

    /// A handler that counts.
    fn of<E: Event>(&self) -> impl Fn(&E, &mut Context<'_>) + Send + Sync + 'static {
        let deliveries = self.clone();
        move |_: &E, _: &mut Context<'_>| deliveries.add()
    }
}

fn plain(number: u64) -> Plain {
    Plain {
        key: number % 97,
        number,
    }
}

#[test]
fn pd9_a_publishers_lane_allocates_nothing() {
    let _turn = turn();
    for workers in [1, 2] {
        let system = EventSystem::builder().workers(workers).build().unwrap();
        let seen = Deliveries::default();
        system.subscribe(seen.of::<Plain>()).unwrap();
        let mut publisher = system.publisher();
        check_nothing(|| {
            for number in 0..STEADY {
                publisher.publish(plain(number)).unwrap();
            }
            seen.wait_for(STEADY);
        });
    }
}

#[test]
fn pd9_every_class_and_events_without_a_key_and_a_full_slot_allocate_nothing() {
    let _turn = turn();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen = Deliveries::default();
    system.subscribe(seen.of::<Whole>()).unwrap();
    system.subscribe(seen.of::<Unkeyed>()).unwrap();
    let mut publisher = system.publisher();
    check_nothing(|| {
        for number in 0..STEADY / 8 {
            for class in Class::ALL {
                publisher.set_class(class);
                publisher.publish(Whole([number; 7])).unwrap();
                publisher
                    .publish_with(Unkeyed, Options::new().class(class))
                    .unwrap();
            }
        }
        seen.wait_for(STEADY);
    });
}

#[test]
fn pd9_the_inbox_allocates_nothing() {
    let _turn = turn();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen = Deliveries::default();
    system.subscribe(seen.of::<Plain>()).unwrap();
    check_nothing(|| {
        for number in 0..STEADY {
            system.publish(plain(number)).unwrap();
        }
        seen.wait_for(STEADY);
    });
}

#[test]
fn pd9_several_subscriptions_allocate_nothing() {
    let _turn = turn();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen = Deliveries::default();
    for _ in 0..6 {
        system.subscribe(seen.of::<Plain>()).unwrap();
    }
    let mut publisher = system.publisher();
    check_nothing(|| {
        for number in 0..STEADY {
            publisher.publish(plain(number)).unwrap();
        }
        seen.wait_for(6 * STEADY);
    });
}

#[test]
fn pd9_a_handler_that_publishes_allocates_nothing() {
    let _turn = turn();
    for workers in [1, 2] {
        let system = EventSystem::builder().workers(workers).build().unwrap();
        let seen = Deliveries::default();
        system
            .subscribe(|event: &Plain, context: &mut Context<'_>| {
                // Half of them to this worker, half to the other one.
                let key = event.number;
                context.publish(Reply { key }).unwrap();
            })
            .unwrap();
        system.subscribe(seen.of::<Reply>()).unwrap();
        let mut publisher = system.publisher();
        check_nothing(|| {
            for number in 0..STEADY {
                publisher.publish(plain(number)).unwrap();
                // A worker's own events wait in a queue that grows to what it once held: that is a
                // high-water mark, and flow control keeps it where the first window left it.
                if number % 512 == 511 {
                    seen.wait_for(512);
                }
            }
            seen.wait_for(STEADY % 512);
        });
    }
}

/// What a batch costs, and what its events cost.
#[test]
fn pd9_the_events_of_a_batch_allocate_nothing() {
    let _turn = turn();
    let system = EventSystem::builder().workers(2).build().unwrap();
    let seen = Deliveries::default();
    system.subscribe(seen.of::<Plain>()).unwrap();
    let mut publisher = system.publisher();
    let (smallest, _) = count(|| {
        publisher.publish_batch((0..STEADY).map(plain)).unwrap();
        seen.wait_for(STEADY);
    });
    assert!(
        smallest <= 1,
        "{smallest} allocations for one batch of {STEADY} events"
    );
}

/// Publishes `PRICED` events, each made before the count begins, and waits for their deliveries.
fn check_priced<T>(
    each: u64,
    deliveries: u64,
    seen: &Deliveries,
    mut make: impl FnMut(u64) -> T,
    mut publish: impl FnMut(T),
) {
    let mut windows: Vec<Vec<T>> = (0..=WINDOWS)
        .map(|_| (0..PRICED).map(&mut make).collect())
        .collect();
    check_each(each, || {
        for event in windows.pop().unwrap() {
            publish(event);
        }
        seen.wait_for(PRICED * deliveries);
    });
}

fn two_pools() -> (EventSystem, Deliveries, Publisher) {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("other"))
        .build()
        .unwrap();
    let seen = Deliveries::default();
    system.subscribe(seen.of::<Plain>()).unwrap();
    let publisher = system.publisher();
    (system, seen, publisher)
}

#[test]
fn pd9_a_payload_that_does_not_fit_costs_one() {
    let _turn = turn();
    let (system, seen, mut publisher) = two_pools();
    system.subscribe(seen.of::<Large>()).unwrap();
    system.subscribe(seen.of::<Aligned>()).unwrap();
    check_priced(
        1,
        1,
        &seen,
        |_| Large([1; 57]),
        |event| {
            publisher.publish(event).unwrap();
        },
    );
    check_priced(1, 1, &seen, Aligned, |event| {
        publisher.publish(event).unwrap();
    });
    check_priced(
        1,
        1,
        &seen,
        |_| Large([1; 57]),
        |event| {
            system.publish(event).unwrap();
        },
    );
}

#[test]
fn pd9_an_event_for_several_pools_costs_one() {
    let _turn = turn();
    let (system, seen, mut publisher) = two_pools();
    system
        .subscription("other")
        .pool("other")
        .handler(seen.of::<Plain>())
        .unwrap();
    check_priced(1, 2, &seen, plain, |event| {
        publisher.publish(event).unwrap();
    });
    check_priced(1, 2, &seen, plain, |event| system.publish(event).unwrap());
}

#[test]
fn pd9_metadata_or_an_id_costs_one() {
    let _turn = turn();
    let (system, seen, mut publisher) = two_pools();
    let with_id = |number: u64| {
        let id = EventId::from_u128(u128::from(number) + 1).unwrap();
        (plain(number), Options::new().id(id))
    };
    let with_both = |number: u64| {
        let (event, options) = with_id(number);
        let metadata = Metadata::new().with("trace", number.to_string());
        (event, options.metadata(metadata))
    };
    check_priced(1, 1, &seen, with_id, |(event, options)| {
        publisher.publish_with(event, options).unwrap();
    });
    check_priced(1, 1, &seen, with_both, |(event, options)| {
        publisher.publish_with(event, options).unwrap();
    });
    check_priced(1, 1, &seen, with_both, |(event, options)| {
        system.publish_with(event, options).unwrap();
    });
}

#[test]
fn pd9_a_tracked_publish_costs_one() {
    let _turn = turn();
    let (_system, seen, mut publisher) = two_pools();
    check_priced(1, 1, &seen, plain, |event| {
        drop(publisher.publish_tracked(event).unwrap());
    });
}

#[test]
fn pd9_batches_allocate_nothing_whatever_their_size() {
    let _turn = turn();
    let (_system, seen, mut publisher) = two_pools();
    check_nothing(|| {
        for batch in 0..STEADY / 10 {
            publisher
                .publish_batch((0..10).map(|n| plain(batch * 10 + n)))
                .unwrap();
        }
        seen.wait_for(STEADY);
    });
}

#[test]
fn pd9_an_event_for_six_pools_costs_one() {
    let _turn = turn();
    let mut builder = EventSystem::builder().workers(1);
    for number in 1..6 {
        builder = builder.pool(Pool::new(format!("pool-{number}")));
    }
    let system = builder.build().unwrap();
    let seen = Deliveries::default();
    system.subscribe(seen.of::<Plain>()).unwrap();
    for number in 1..6 {
        system
            .subscription("six")
            .pool(format!("pool-{number}"))
            .handler(seen.of::<Plain>())
            .unwrap();
    }
    let mut publisher = system.publisher();
    check_priced(1, 6, &seen, plain, |event| {
        publisher.publish(event).unwrap();
    });
}

#[test]
fn pd9_an_event_that_is_held_costs_one() {
    let _turn = turn();
    let system = EventSystem::builder().workers(1).build().unwrap();
    let breaker = Breaker::new("held", BreakerPolicy::new()).unwrap();
    let seen = Deliveries::default();
    let subscription = system
        .subscription("held")
        .breaker(&breaker)
        .handler(seen.of::<Plain>())
        .unwrap();
    let mut publisher = system.publisher();
    let (smallest, _) = count(|| {
        breaker.force_open();
        for number in 0..PRICED {
            publisher.publish(plain(number)).unwrap();
        }
        while subscription.attempts().held < PRICED {
            std::thread::yield_now();
        }
        breaker.reset();
        seen.wait_for(PRICED);
    });
    // One each, for the share of the value; and what two transitions and their letters take.
    let beside = smallest - PRICED;
    assert!(beside < 32, "{beside} allocations beside one each");
}
