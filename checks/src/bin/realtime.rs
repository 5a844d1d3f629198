//! Publishing and handling under RealtimeSanitizer: `realtime [--plant key|batch-key|shared-key|allocation|file|lock]`.
//!
//! This program marks nothing: the engine does. Built with `--cfg rtsan`, `publish`, `try_publish` and `publish_batch` of a publisher and of a
//! handle, and the worker's way from taking a batch to recording its times, are nonblocking, and the sanitizer ends the
//! process at the first call in them that allocates, frees, or asks the kernel for anything. What may do so all the same
//! stands in the engine beside its reason, as an exception (`src/sync/realtime.rs`): a sleeping worker is woken, a
//! publisher waits because it was told to, lanes, inboxes and histograms are made at their first use, histograms and
//! queues grow with the longest time and the most events that they meet, what has no room is spilled.
//!
//! So events are watched from the first to the last, by lanes, inboxes and shared queues, published by handlers, spilled,
//! refused, waited for, polled, and handled by workers that spin and by workers that sleep. A planted fault is in what
//! the engine calls, under the engine's own mark: an event's key, or a handler.
//!
//! What the sanitizer knows are calls of the C library, most of those that block: it does not see spinning, nor a lock
//! that nobody else holds, nor `clock_nanosleep`.

use checks::arguments::Arguments;
use checks::watchdog::Watchdog;
use ringbolt::metrics::WorkerState;
use ringbolt::prelude::*;
use ringbolt::{Polled, Poller};
use std::fs::File;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COUNT: u64 = 50_000;
/// Events that wait to be polled, at most.
const LANE: usize = 1 << 10;
/// Nothing takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(60);

/// Fits its slot; the derive makes its type known.
#[derive(Debug, Clone, Copy, Event)]
#[event(name = "realtime.tick", key = "number")]
struct Tick {
    number: u64,
}

/// Taken by value.
#[derive(Debug, Event)]
#[event(name = "realtime.taken", key = "number")]
struct Taken {
    number: u64,
}

/// Published by the handler of [`Tick`].
#[derive(Debug, Event)]
#[event(name = "realtime.echo", key = "number")]
struct Echo {
    number: u64,
}

/// Nobody has subscribed to it.
#[derive(Debug, Event)]
#[event(name = "realtime.unheard", key = "number")]
struct Unheard {
    number: u64,
}

/// Without a cell for its type, which is looked up; and, if that is planted, with a key that allocates.
#[derive(Debug, Clone, Copy)]
struct Plain {
    number: u64,
    is_careless: bool,
}

impl Event for Plain {
    const NAME: &'static str = "realtime.plain";

    fn key(&self) -> Key<'_> {
        if self.is_careless {
            drop(black_box(Box::new(self.number)));
        }
        Key::U64(self.number)
    }
}

/// The fault that has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    None,
    Key,
    BatchKey,
    SharedKey,
    Allocation,
    File,
    Lock,
}

impl Plant {
    fn act(self) {
        match self {
            Self::Allocation => drop(black_box(Box::new(1_u64))),
            Self::File => drop(black_box(File::open("/dev/null"))),
            _ => {}
        }
    }
}

fn main() -> ExitCode {
    let plant = match Arguments::read(&["plant"])
        .plant(&[
            "key",
            "batch-key",
            "shared-key",
            "allocation",
            "file",
            "lock",
        ])
        .as_str()
    {
        "key" => Plant::Key,
        "batch-key" => Plant::BatchKey,
        "shared-key" => Plant::SharedKey,
        "allocation" => Plant::Allocation,
        "file" => Plant::File,
        "lock" => Plant::Lock,
        _ => Plant::None,
    };
    if !cfg!(rtsan) {
        eprintln!("built without the sanitizer, this proves nothing (`just rtsan`)");
        return ExitCode::FAILURE;
    }
    let watchdog = Watchdog::start();
    watchdog.says("polls");
    polled(plant);
    watchdog.says("spills");
    spilled();
    for wait in [Wait::Yield, Wait::Adaptive] {
        watchdog.says(format!("works, {wait:?}"));
        worked(wait, plant);
    }
    ExitCode::SUCCESS
}

fn poll_all(poller: &mut Poller) -> u64 {
    let mut count = 0;
    while let Polled::Events(events @ 1..) = poller.poll(1) {
        count += events as u64;
    }
    count
}

/// One thread publishes and polls.
fn polled(plant: Plant) {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .lane_capacity(LANE)
        .inbox_capacity(LANE)
        .build()
        .expect("settings in range");
    let handled = Arc::new(AtomicU64::new(0));
    let count = || {
        let handled = Arc::clone(&handled);
        move || {
            handled.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (ticks, taken, echoes, plain) = (count(), count(), count(), count());
    let subscriptions = [
        system.subscribe(move |tick: &Tick, context: &mut Context<'_>| {
            ticks();
            plant.act();
            if tick.number.is_multiple_of(4) {
                let echo = Echo {
                    number: tick.number,
                };
                context.publish(echo).expect("room");
            }
        }),
        system
            .subscription("taken")
            .by_value(move |event: Taken, _: &mut Context<'_>| {
                black_box(event.number);
                taken();
            }),
        system.subscribe(move |echo: &Echo, _: &mut Context<'_>| {
            black_box(echo.number);
            echoes();
        }),
        system.subscribe(move |_: &Plain, _: &mut Context<'_>| plain()),
    ];
    for subscription in subscriptions {
        subscription.expect("the engine is open");
    }
    let mut publisher = system.publisher();
    let handle = system.handle();
    let mut poller = system.poller("default").expect("the pool is polled");
    let mut polled = 0;
    for number in 0..COUNT {
        publisher.set_class(Class::ALL[number as usize % 4]);
        let tick = Tick { number };
        publisher.publish(tick).expect("room");
        publisher.try_publish(tick).expect("room");
        publisher.publish(Taken { number }).expect("room");
        let plain = Plain {
            number,
            is_careless: plant == Plant::Key,
        };
        publisher.publish(plain).expect("room");
        handle.publish(tick).expect("room");
        let plain = Plain {
            number,
            is_careless: plant == Plant::SharedKey,
        };
        handle.try_publish(plain).expect("room");
        let batch = (0..number % 200).map(|number| Plain {
            number,
            is_careless: plant == Plant::BatchKey,
        });
        publisher.publish_batch(batch).expect("room");
        publisher.publish(Unheard { number }).expect("ignored");
        polled += poll_all(&mut poller);
    }
    // A full lane and a full inbox say so, and wait for nothing.
    publisher.set_class(Class::Normal);
    let mut refused = 0;
    for number in 0..2 * LANE as u64 {
        refused += u64::from(publisher.try_publish(Tick { number }).is_err());
        refused += u64::from(handle.try_publish(Tick { number }).is_err());
    }
    assert_eq!(refused, 2 * LANE as u64, "what is full refuses");
    polled += poll_all(&mut poller);
    let calls = handled.load(Ordering::Relaxed);
    assert_eq!(polled, calls, "each event has one subscription");
    println!(
        "polled: {polled} events were published, polled and handled, {refused} refused, nothing blocks"
    );
}

/// Handlers publish more than there is room for, in each way that they have, and their worker spills.
fn spilled() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .pool(Pool::new("slow").polled())
        .lane_capacity(4)
        .inbox_capacity(4)
        .build()
        .expect("settings in range");
    let handled = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&handled);
    let handle = system.handle();
    let subscriptions = [
        system
            .subscription("flood")
            .factory(move |_| {
                Ok::<_, Failure>(Flood {
                    publisher: handle.publisher(),
                    handle: handle.clone(),
                })
            })
            .on::<Tick>()
            .register(),
        system
            .subscription("slow")
            .pool("slow")
            .handler(move |_: &Echo, _: &mut Context<'_>| {
                seen.fetch_add(1, Ordering::Relaxed);
            }),
    ];
    for subscription in subscriptions {
        subscription.expect("the engine is open");
    }
    let mut publisher = system.publisher();
    let mut pollers = ["default", "slow"].map(|pool| system.poller(pool).expect("it is polled"));
    for number in 0..COUNT / 100 {
        publisher.publish(Tick { number }).expect("room");
        // In turn, as the one has to move on what the other makes room for.
        while pollers.iter_mut().map(poll_all).sum::<u64>() > 0 {}
    }
    let handled = handled.load(Ordering::Relaxed);
    assert_eq!(handled, 3 * 16 * (COUNT / 100), "all came through");
    println!("spilled: {handled} events were handled, nothing blocks");
}

/// Publishes more than there is room for.
struct Flood {
    publisher: Publisher,
    handle: Handle,
}

impl Handler<Tick> for Flood {
    fn handle(&mut self, tick: &Tick, context: &mut Context<'_>) -> Outcome {
        for number in 0..16 {
            let echo = || Echo {
                number: tick.number + number,
            };
            let ways = [
                self.publisher.publish(echo()).is_ok(),
                context.publish(echo()).is_ok(),
                self.handle.publish(echo()).is_ok(),
            ];
            assert_eq!(ways, [true; 3], "what has no room is spilled");
        }
        Outcome::Handled
    }
}

/// Until nobody has anything to do, so that the next event wakes a worker.
fn until_parked(system: &EventSystem) {
    let is_awake = |state| state != WorkerState::Parked;
    while system
        .report()
        .workers
        .iter()
        .any(|worker| is_awake(worker.state))
    {
        std::thread::yield_now();
    }
}

/// One thread publishes for workers, who spin, or sleep and are woken; it waits where a lane is full.
fn worked(wait: Wait, plant: Plant) {
    let system = EventSystem::builder()
        .workers(2)
        .pool(Pool::new("any").workers(2).unordered())
        .wait(wait)
        .lane_capacity(LANE)
        .inbox_capacity(LANE)
        .build()
        .expect("settings in range");
    let handled = Arc::new(AtomicU64::new(0));
    let (ticks, echoes) = (Arc::clone(&handled), Arc::clone(&handled));
    let lock = Arc::new(Mutex::new(()));
    let taken = Arc::clone(&lock);
    let subscriptions = [
        system.subscribe(move |_: &Tick, _: &mut Context<'_>| {
            if plant == Plant::Lock {
                drop(black_box(taken.lock()));
            }
            ticks.fetch_add(1, Ordering::Relaxed);
        }),
        system
            .subscription("any")
            .pool("any")
            .handler(move |_: &Echo, _: &mut Context<'_>| {
                echoes.fetch_add(1, Ordering::Relaxed);
            }),
    ];
    for subscription in subscriptions {
        subscription.expect("the engine is open");
    }
    let mut publisher = system.publisher();
    let held = (plant == Plant::Lock).then(|| lock.lock());
    let mut admitted = 0;
    for number in 0..COUNT {
        publisher.publish(Tick { number }).expect("open");
        publisher.publish(Echo { number }).expect("open");
        system.publish(Tick { number }).expect("open");
        admitted += 3;
        admitted += u64::from(system.try_publish(Tick { number }).is_ok());
        if wait == Wait::Adaptive && held.is_none() && number % (COUNT / 16) == 0 {
            until_parked(&system);
        }
    }
    drop(held);
    drop(publisher);
    let report = system.shutdown(LONG).expect("outside");
    assert_eq!(report.completed, admitted, "all are handled");
    assert_eq!(handled.load(Ordering::Relaxed), admitted);
    println!("{wait:?}: {admitted} events were published and handled, nothing blocks");
}
