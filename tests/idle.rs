//! Measures the processor time of the whole process while the engine has nothing to do (PD10).
//!
//! A binary of its own, as the time is the process's. What is slept through here is the thing measured, not a wait for
//! something to happen.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "the processor time comes from a system call, and the time to measure has to pass"
)]

use ringbolt::metrics::WorkerState;
use ringbolt::{AsKey, Context, Event, EventSystem, Key, Pool, Wait};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle engine is watched.
const WATCH: Duration = Duration::from_secs(2);

struct Tick {
    key: u64,
}

impl Event for Tick {
    const NAME: &'static str = "idle.tick";
    fn key(&self) -> Key<'_> {
        self.key.as_key()
    }
}

/// One test measures at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processor time of all threads of the process so far; `None` where nobody can tell.
#[cfg(target_os = "linux")]
fn processor_time() -> Option<Duration> {
    let mut spec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec, which the kernel fills in.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut spec) };
    assert_eq!(result, 0, "Linux has had this clock for twenty years");
    Some(Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32))
}

#[cfg(not(target_os = "linux"))]
fn processor_time() -> Option<Duration> {
    eprintln!("SKIPPED: the processor time of the process is measured on Linux only");
    None
}

/// The share of one core that the process uses while the calling thread sleeps for `watch`; `None` where
/// it cannot be measured.
fn share_of_a_core(watch: Duration) -> Option<f64> {
    let began = Instant::now();
    let before = processor_time()?;
    std::thread::sleep(watch);
    let used = processor_time()? - before;
    Some(used.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// The process sleeps: it uses less than a hundredth of a core.
fn check_asleep() {
    if let Some(share) = share_of_a_core(WATCH) {
        assert!(share < 0.01, "{:.2} % of a core", share * 100.0);
    }
}

/// Waits until every worker sleeps.
fn wait_parked(system: &EventSystem) {
    let began = Instant::now();
    while !system
        .report()
        .workers
        .iter()
        .all(|worker| worker.state == WorkerState::Parked)
    {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the workers do not go to sleep: {:?}",
            system.report().workers
        );
        std::thread::yield_now();
    }
}

fn engine(wait: Wait) -> EventSystem {
    let system = EventSystem::builder()
        .workers(2)
        .wait(wait)
        .build()
        .unwrap();
    system.subscribe(|_: &Tick, _| ()).unwrap();
    system
}

#[test]
fn pd10_an_idle_engine_sleeps() {
    let _turn = turn();
    let system = engine(Wait::default());
    wait_parked(&system);
    check_asleep();
}

#[test]
fn pd10_an_engine_sleeps_again_after_traffic() {
    let _turn = turn();
    let system = engine(Wait::default());
    let mut publisher = system.publisher();
    for key in 0..200_000 {
        publisher.publish(Tick { key }).unwrap();
    }
    for key in 0..1_000 {
        system.publish(Tick { key }).unwrap();
    }
    wait_parked(&system);
    assert_eq!(system.report().totals.handled, 201_000);
    check_asleep();
}

/// What chose to spin does spin: the measure sees it.
#[test]
fn pd10_an_engine_that_was_told_to_spin_does_not_sleep() {
    let _turn = turn();
    for wait in [Wait::BusySpin, Wait::Yield] {
        let system = engine(wait);
        if let Some(share) = share_of_a_core(Duration::from_millis(500)) {
            assert!(share > 0.1, "{wait:?}: {:.2} % of a core", share * 100.0);
        }
        drop(system);
    }
}

/// What a handler published for a pool that nobody polls.
struct Far;

impl Event for Far {
    const NAME: &'static str = "idle.far";
}

/// It looks a thousand times a second whether there is room by now, and no more often.
#[test]
fn pd10_a_worker_whose_spill_has_nowhere_to_go_hardly_runs() {
    let _turn = turn();
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("far").polled())
        .lane_capacity(1)
        .build()
        .unwrap();
    system
        .subscription("far")
        .pool("far")
        .handler(|_: &Far, _| ())
        .unwrap();
    system
        .subscribe(|_: &Tick, context: &mut Context<'_>| {
            for _ in 0..5 {
                context.publish(Far).unwrap();
            }
        })
        .unwrap();
    let publish = system.publish_tracked(Tick { key: 1 }).unwrap();
    publish.wait().unwrap();
    if let Some(share) = share_of_a_core(WATCH) {
        assert!(share < 0.1, "{:.2} % of a core", share * 100.0);
    }
}

/// Kept up to date, paused, failed, between two tries, with something to save in a while: a projection sleeps.
#[test]
fn pd10_projections_with_nothing_to_do_sleep() {
    use ringbolt::Codec;
    use ringbolt::projection::{ErrorPolicy, MemoryCheckpoints, Projection, SaveEvery};
    use ringbolt::store::{EventStore, ExpectedVersion};

    struct Stored;

    impl Event for Stored {
        const NAME: &'static str = "idle.stored";
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::bytes(|_, _| Ok(()), |_| Ok(Self)))
        }
    }

    const HOUR: Duration = Duration::from_secs(3_600);
    let _turn = turn();
    let store = EventStore::builder().populate(false).build().unwrap();
    let counting = || Projection::new("count", 0_u64).on::<Stored>(|count, _, _| *count += 1);
    let failing = || counting().on_checked::<Stored>(|_, _, _| Err("never".into()));
    let saves = std::sync::Arc::new(MemoryCheckpoints::new());
    let saving = store.project(counting().checkpoints(saves, SaveEvery::time(HOUR)));
    let saving = saving.unwrap();
    let parts = store.project_partitioned(counting(), 2).unwrap();
    let paused = store.project(counting()).unwrap();
    paused.pause().unwrap();
    let failed = store.project(failing()).unwrap();
    let trying = store.project(failing().on_error(ErrorPolicy::retry(2, HOUR)));
    let trying = trying.unwrap();
    for _ in 0..10 {
        store.append("s", ExpectedVersion::Any, &Stored).unwrap();
    }
    assert!(saving.wait_for(9, HOUR) && parts.wait_for(9, HOUR));
    assert!(!failed.wait_for(9, HOUR));
    assert_eq!((trying.checkpoint(), paused.checkpoint()), (None, None));
    check_asleep();
}
