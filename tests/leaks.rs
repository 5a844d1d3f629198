//! Starts and stops engines over and over and looks for what stays behind: threads, payloads, memory (DR2).
//!
//! A binary of its own, as threads and memory are counted for the whole process.

#[path = "support/counting.rs"]
mod counting;

use ringbolt::{
    AsKey, Class, Context, Event, EventSystem, Failure, Handle, Handler, Key, Options, Outcome,
    Pool, ShutdownTicket, Wait,
};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Nothing here takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(60);
/// Starts and stops, half of them before the memory is first looked at.
const ROUNDS: usize = 200;
/// Growth over the second half that is not the engine's: what the harness keeps.
const GROWTH_BYTES_MAX: i64 = 32 * 1024;

/// One test counts at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event that is counted while it exists.
struct Counted {
    key: u64,
    alive: Arc<AtomicI64>,
}

impl Counted {
    fn new(key: u64, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            key,
            alive: Arc::clone(alive),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Event for Counted {
    const NAME: &'static str = "leaks.counted";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

/// A handler with state of its own that is counted as events are.
struct Stateful(#[allow(dead_code, reason = "it is there to be dropped")] Counted);

impl Handler<Counted> for Stateful {
    fn handle(&mut self, _: &Counted, _: &mut Context<'_>) -> Outcome {
        Outcome::Handled
    }
}

/// The names of the engine's threads that exist at this moment; `None` where nobody can tell.
fn engine_threads() -> Option<Vec<String>> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.flatten().filter_map(|task| {
        // A thread that ends at this moment has no name any more.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let name = name.trim_end().to_owned();
        (name.starts_with("leaky-") || name.starts_with("ringbolt-")).then_some(name)
    });
    Some(names.collect())
}

/// The engine's threads are gone; the last of them may still be on its way out, for a bounded time.
fn check_threads_gone() {
    let mut names = Vec::new();
    for _ in 0..1_000_000 {
        match engine_threads() {
            None => {
                eprintln!("SKIPPED: threads cannot be counted without /proc/self/task");
                return;
            }
            Some(now) if now.is_empty() => return,
            Some(now) => names = now,
        }
        std::thread::yield_now();
    }
    panic!("threads that stay: {names:?}");
}

/// An engine with a bit of everything: two pools of threads, a polled one, state of its own, lanes of
/// two classes, inboxes, an event for several pools.
fn engine(alive: &Arc<AtomicI64>) -> EventSystem {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .pool(Pool::new("leaky").workers(2))
        .pool(Pool::new("leaky-too").unordered().workers(2))
        .lane_capacity(16)
        .inbox_capacity(16)
        .build()
        .unwrap();
    for pool in ["default", "leaky-too"] {
        system
            .subscription("sees")
            .pool(pool)
            .handler(|_: &Counted, _| ())
            .unwrap();
    }
    let made = Arc::clone(alive);
    system
        .subscription("has state")
        .pool("leaky")
        .factory(move |_| Ok::<_, Failure>(Stateful(Counted::new(0, &made))))
        .on::<Counted>()
        .register()
        .unwrap();
    system
}

/// Publishes what fits, by both ways in.
fn fill(system: &EventSystem, alive: &Arc<AtomicI64>) {
    let mut publisher = system.publisher();
    for key in 0..20 {
        let class = Class::ALL[key as usize % 2];
        let options = Options::new()
            .class(class)
            .admission(ringbolt::Admission::Fail);
        let _ = publisher.publish_with(Counted::new(key, alive), options.clone());
        let _ = system.publish_with(Counted::new(key, alive), options);
    }
}

/// Runs `round` many times: every time all threads end and all payloads are dropped, and memory stays
/// where it was.
fn check_rounds(mut round: impl FnMut(&Arc<AtomicI64>)) {
    let alive = Arc::new(AtomicI64::new(0));
    let mut plateau = 0;
    for number in 0..ROUNDS {
        round(&alive);
        check_threads_gone();
        assert_eq!(
            alive.load(Ordering::Acquire),
            0,
            "payloads and state that stay after round {number}"
        );
        if number + 1 == ROUNDS / 2 {
            plateau = counting::live_bytes();
        }
    }
    let growth = counting::live_bytes() - plateau;
    assert!(
        growth < GROWTH_BYTES_MAX,
        "{growth} bytes more after {} rounds more",
        ROUNDS / 2
    );
}

/// Live bytes at the end of each window of an engine that goes on. Its tables of times may grow when a time
/// is longer than all before, so one window may grow, but not all of them.
#[derive(Debug, Default)]
struct Windows(Vec<i64>);

impl Windows {
    fn look(&mut self, number: usize) {
        if (number + 1).is_multiple_of(ROUNDS / 2) {
            self.0.push(counting::live_bytes());
        }
    }

    fn check(&self) {
        let growth = self.0.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(
            growth.unwrap() < GROWTH_BYTES_MAX,
            "every window grows: {self:?}"
        );
    }
}

#[test]
fn dr2_dropping_the_system_leaves_nothing_behind() {
    let _turn = turn();
    check_rounds(|alive| {
        let system = engine(alive);
        fill(&system, alive);
        drop(system);
    });
}

#[test]
fn dr2_dropping_the_system_beside_its_poller_and_publishers_leaves_nothing_behind() {
    let _turn = turn();
    check_rounds(|alive| {
        let system = engine(alive);
        let mut publisher = system.publisher();
        publisher.publish(Counted::new(1, alive)).unwrap();
        let mut poller = system.poller("default").unwrap();
        poller.poll(1);
        fill(&system, alive);
        let handle = system.handle();
        // The poller is on this thread, so the drop begins to stop and does not wait.
        drop(system);
        drop(poller);
        while let Ok(()) = publisher.publish(Counted::new(1, alive)) {}
        handle.shutdown(LONG).unwrap();
        drop((publisher, handle));
    });
}

#[test]
fn dr2_shutdown_leaves_nothing_behind() {
    let _turn = turn();
    check_rounds(|alive| {
        let system = engine(alive);
        fill(&system, alive);
        let subscription = system
            .subscription("goes")
            .pool("leaky")
            .handler(|_: &Counted, _| ())
            .unwrap();
        subscription.unsubscribe().unwrap();
        let report = system.shutdown(LONG).unwrap();
        assert_eq!(report.in_time, report.abandoned_events == 0, "{report:?}");
        assert!(Arc::ptr_eq(
            &report,
            &system.shutdown(Duration::ZERO).unwrap()
        ));
    });
}

#[test]
fn dr2_shutdown_from_several_threads_and_a_handler_leaves_nothing_behind() {
    let _turn = turn();
    check_rounds(|alive| {
        let system = engine(alive);
        let handle: Arc<Mutex<Option<Handle>>> = Arc::new(Mutex::new(Some(system.handle())));
        let ticket: Arc<Mutex<Option<ShutdownTicket>>> = Arc::default();
        let (inner_handle, inner_ticket) = (Arc::clone(&handle), Arc::clone(&ticket));
        system
            .subscription("stops")
            .pool("leaky")
            .handler(move |_: &Counted, _| {
                if let Some(handle) = inner_handle.lock().unwrap().take() {
                    let ticket = handle.begin_shutdown(LONG);
                    *inner_ticket.lock().unwrap() = Some(ticket);
                }
            })
            .unwrap();
        fill(&system, alive);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| system.shutdown(LONG).unwrap()))
                .collect();
            let reports: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            assert!(
                reports
                    .iter()
                    .all(|report| Arc::ptr_eq(report, &reports[0]))
            );
        });
        // What the handler has, or would have, begun is the same stop.
        if let Some(ticket) = ticket.lock().unwrap().take() {
            assert!(Arc::ptr_eq(
                &ticket.wait().unwrap(),
                &system.shutdown(LONG).unwrap()
            ));
        }
    });
}

#[test]
fn dr2_publishers_and_subscriptions_that_come_and_go_leave_nothing_behind() {
    let _turn = turn();
    let system = EventSystem::builder()
        .pool(Pool::new("default").workers(2))
        .wait(Wait::Adaptive)
        .build()
        .unwrap();
    let alive = Arc::new(AtomicI64::new(0));
    let mut windows = Windows::default();
    for number in 0..2 * ROUNDS {
        let made = Arc::clone(&alive);
        let subscription = system
            .subscription("goes")
            .factory(move |_| Ok::<_, Failure>(Stateful(Counted::new(0, &made))))
            .on::<Counted>()
            .register()
            .unwrap();
        let mut publisher = system.publisher();
        for key in 0..4 {
            publisher.publish(Counted::new(key, &alive)).unwrap();
        }
        drop(publisher);
        subscription.unsubscribe().unwrap();
        // The workers let go of lanes whose publisher is gone before they sleep.
        for _ in 0..10_000_000 {
            if system.report().lanes.is_empty() {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(system.report().lanes.len(), 0, "lanes that stay");
        assert_eq!(alive.load(Ordering::Acquire), 0, "in round {number}");
        windows.look(number);
    }
    windows.check();
}
