//! Publishing and handling under RealtimeSanitizer: `realtime [--plant allocation|file|wake]`.
//!
//! Functions marked as nonblocking publish on a warm engine and poll a polled pool; the sanitizer ends the process at
//! the first call in them that allocates, frees, or asks the kernel for anything. Workers spin here: waking one
//! that sleeps is a system call, the one exception that the README names, and `--plant wake` shows that it is seen.
//! So that no histogram grows at the first time that is longer than any before, which it does as long as there are
//! such times, the longest that a run can bring are recorded first. `publish_batch` is not among them, as each batch, whatever its length, allocates the buffer it collects a group in.
//!
//! What the sanitizer knows are calls of the C library, most of those that block: it does not see spinning, nor a lock
//! that nobody else holds, nor `clock_nanosleep`.

#![cfg_attr(rtsan, feature(sanitize))]

use checks::arguments::Arguments;
use ringbolt::prelude::*;
use ringbolt::{Polled, Poller};
use std::fs::File;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Events until everything has been used once: lanes, queues, histograms.
const WARM_COUNT: u64 = 20_000;
const WATCHED_COUNT: u64 = 200_000;
/// Longer than any handler, preempted or not, can take later on.
const LONG_HANDLER: Duration = Duration::from_millis(1_100);
/// Room that nobody fills here.
const LANE: usize = 1 << 12;

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

#[inline(never)]
#[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
fn publish<E: Event>(publisher: &mut Publisher, event: E) -> Result<(), PublishError<E>> {
    publisher.publish(event)
}

#[inline(never)]
#[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
fn try_publish(publisher: &mut Publisher, event: Tick) -> Result<(), PublishError<Tick>> {
    publisher.try_publish(event)
}

#[inline(never)]
#[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
fn try_publish_shared(handle: &Handle, event: Tick) -> Result<(), PublishError<Tick>> {
    handle.try_publish(event)
}

#[inline(never)]
#[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
fn poll(poller: &mut Poller) -> Polled {
    poller.poll(1)
}

/// What handlers do besides counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    None,
    Allocation,
    File,
    Wake,
}

impl Plant {
    fn act(self) {
        match self {
            Self::Allocation => drop(black_box(Box::new(1_u64))),
            Self::File => drop(black_box(File::open("/dev/null"))),
            Self::None | Self::Wake => {}
        }
    }
}

fn main() -> ExitCode {
    let plant = match Arguments::read(&["plant"])
        .plant(&["allocation", "file", "wake"])
        .as_str()
    {
        "allocation" => Plant::Allocation,
        "file" => Plant::File,
        "wake" => Plant::Wake,
        _ => Plant::None,
    };
    if !cfg!(rtsan) {
        eprintln!("built without the sanitizer, this proves nothing (`just rtsan`)");
        return ExitCode::FAILURE;
    }
    polled(plant);
    spinning(plant);
    ExitCode::SUCCESS
}

/// The events with this number take long.
fn linger(number: u64) {
    if number == 0 {
        std::thread::sleep(LONG_HANDLER);
    }
}

/// Records the longest times there can be: each handler takes long once, and an event of each class comes from the
/// beginning of time.
fn record_long_times(publisher: &mut Publisher, poller: &mut Poller) {
    publisher.publish(Tick { number: 0 }).expect("room");
    publisher.publish(Taken { number: 0 }).expect("room");
    for class in Class::ALL {
        let options = Options::new().class(class).intended(0);
        publisher
            .publish_with(Tick { number: 1 }, options)
            .expect("room");
    }
    while let Polled::Events(1..) = poller.poll(1) {}
}

/// One thread publishes and polls.
fn polled(plant: Plant) {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .lane_capacity(LANE)
        .inbox_capacity(LANE)
        .build()
        .expect("settings in range");
    let mut poller = system.poller("default").expect("the pool is polled");
    let handled = Arc::new(AtomicU64::new(0));
    let (ticks, taken, echoes) = (
        Arc::clone(&handled),
        Arc::clone(&handled),
        Arc::clone(&handled),
    );
    let is_warm = Arc::new(AtomicU64::new(0));
    let warmth = Arc::clone(&is_warm);
    let subscriptions = [
        system.subscribe(move |tick: &Tick, context: &mut Context<'_>| {
            ticks.fetch_add(1, Ordering::Relaxed);
            linger(tick.number);
            if warmth.load(Ordering::Relaxed) != 0 {
                plant.act();
            }
            if tick.number % 4 == 0 {
                let echo = Echo {
                    number: tick.number,
                };
                context
                    .publish(echo)
                    .map_err(PublishError::into_event)
                    .expect("room");
            }
        }),
        system
            .subscription("taken")
            .by_value(move |event: Taken, _: &mut Context<'_>| {
                taken.fetch_add(1, Ordering::Relaxed);
                linger(event.number);
            }),
        system.subscribe(move |echo: &Echo, _: &mut Context<'_>| {
            echoes.fetch_add(1, Ordering::Relaxed);
            linger(echo.number);
        }),
    ];
    for subscription in subscriptions {
        subscription.expect("the engine is open");
    }
    let mut publisher = system.publisher();
    let handle = system.handle();
    let mut polled_count = 0;
    record_long_times(&mut publisher, &mut poller);
    for number in 1..=WARM_COUNT + WATCHED_COUNT {
        is_warm.store(u64::from(number > WARM_COUNT), Ordering::Relaxed);
        let class = Class::ALL[number as usize % 4];
        publisher.set_class(class);
        let tick = Tick { number };
        if number <= WARM_COUNT {
            // The same, unwatched: the functions above are the only ones that are marked.
            publisher.publish(tick).expect("room");
            publisher.publish(Taken { number }).expect("room");
            handle.try_publish(tick).expect("room");
            while let Polled::Events(1..) = poller.poll(1) {}
            continue;
        }
        publish(&mut publisher, tick).expect("room");
        publish(&mut publisher, Taken { number }).expect("room");
        try_publish(&mut publisher, tick).expect("room");
        try_publish_shared(&handle, tick).expect("room");
        while let Polled::Events(events @ 1..) = poll(&mut poller) {
            polled_count += events;
        }
    }
    // A full lane says so, and waits for nothing.
    publisher.set_class(Class::Low);
    let mut tick = Tick { number: 2 };
    let mut refused = 0;
    for _ in 0..2 * LANE {
        tick.number += 1;
        refused += usize::from(try_publish(&mut publisher, tick).is_err());
    }
    assert_eq!(refused, LANE, "a full lane refuses");
    println!(
        "polled: {polled_count} events were published and polled, {refused} refused, {} calls, nothing blocks",
        handled.load(Ordering::Relaxed)
    );
    drop(poller);
}

/// One thread publishes for workers that spin; with the planted fault they sleep, and are woken.
fn spinning(plant: Plant) {
    let wait = if plant == Plant::Wake {
        Wait::Adaptive
    } else {
        Wait::Yield
    };
    let system = EventSystem::builder()
        .workers(2)
        .wait(wait)
        .lane_capacity(LANE)
        .build()
        .expect("settings in range");
    let handled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&handled);
    let subscription = system.subscribe(move |_: &Tick, _: &mut Context<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    subscription.expect("the engine is open");
    let mut publisher = system.publisher();
    let mut admitted = 0;
    for number in 0..WARM_COUNT {
        publisher.publish(Tick { number }).expect("open");
        admitted += 1;
    }
    for number in 0..WATCHED_COUNT {
        if plant == Plant::Wake {
            std::thread::sleep(Duration::from_micros(500));
        }
        // With `publish` a full lane is waited for, which is what was asked for then.
        admitted += u64::from(try_publish(&mut publisher, Tick { number }).is_ok());
    }
    drop(publisher);
    let report = system.shutdown(Duration::from_secs(60)).expect("outside");
    assert_eq!(report.completed, admitted, "all are handled");
    println!("spinning: {admitted} events were published, nothing blocks");
}
