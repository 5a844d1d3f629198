//! Processor time of the engine's threads, as the kernel counts it.

use crate::statistics::Rounds;
use crate::systems::said;
use ringbolt::metrics::WorkerState;
use ringbolt::{Context, EventSystem};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Traffic before the engine is left alone.
const EVENTS: u64 = 100_000;
/// A worker that has nothing to do goes to sleep long before.
const SLEEP_LIMIT: Duration = Duration::from_secs(60);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, ringbolt::Event)]
#[event(name = "tick", key = "number")]
struct Tick {
    number: u64,
}

/// How long each thread of this process has run, in nanoseconds, by its name in `/proc`.
type Times = HashMap<OsString, u64>;

/// The times of all threads but the calling one; none where the kernel does not tell.
fn times() -> Option<Times> {
    let own = fs::read_link("/proc/thread-self").ok()?;
    let mut times = Times::new();
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        if Some(task.file_name().as_os_str()) == own.file_name() {
            continue;
        }
        // A thread may have ended since the folder was read.
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            times.insert(task.file_name(), run_ns(&text)?);
        }
    }
    Some(times)
}

/// What the threads that are there have run since then. Thread by thread: one that has ended took its time with
/// it, which is not to be taken from the others'.
fn used_since(before: &Times) -> Option<u64> {
    let used = times()?.into_iter().map(|(thread, ns)| {
        let before = before.get(&thread).copied().unwrap_or(0);
        ns.saturating_sub(before)
    });
    Some(used.sum())
}

/// The first number of a thread's `schedstat`: the time it has run.
fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The percentage of one core that all other threads use while the calling one sleeps, over all and in so many
/// rounds; none where it cannot be measured.
fn percent_of_a_core(watch: Duration, rounds: u32) -> Option<(f64, Rounds)> {
    let mut shares = Rounds::default();
    let (began, before) = (Instant::now(), times()?);
    let percent = |used_ns: u64, time: Duration| 100.0 * used_ns as f64 / time.as_nanos() as f64;
    for _ in 0..rounds {
        let (began, before) = (Instant::now(), times()?);
        thread::sleep(watch / rounds);
        shares.push(percent(used_since(&before)?, began.elapsed()));
    }
    let whole = percent(used_since(&before)?, began.elapsed());
    Some((whole, shares))
}

/// What two workers use that have had traffic and sleep.
pub(super) fn idle_percent(watch: Duration, rounds: u32) -> Result<Option<(f64, Rounds)>, String> {
    let system = EventSystem::builder().workers(2).build().map_err(said)?;
    system
        .subscribe(|_: &Tick, _: &mut Context<'_>| ())
        .map_err(said)?;
    let mut publisher = system.publisher();
    for number in 0..EVENTS {
        publisher.publish(Tick { number }).map_err(said)?;
    }
    let limit = Instant::now() + SLEEP_LIMIT;
    while !are_asleep(&system) {
        if Instant::now() > limit {
            return Err(String::from("the workers do not go to sleep"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    let percent = percent_of_a_core(watch, rounds);
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    Ok(percent)
}

fn are_asleep(system: &EventSystem) -> bool {
    let report = system.report();
    let is_parked = report
        .workers
        .iter()
        .all(|w| w.state == WorkerState::Parked);
    is_parked && report.totals.handled == EVENTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn the_time_a_thread_has_run_is_read() {
        assert_eq!(run_ns("325324555 21073538 66\n"), Some(325_324_555));
        assert_eq!(run_ns(""), None);
    }

    #[test]
    fn a_thread_that_spins_is_seen() {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let spinning = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let percent = percent_of_a_core(Duration::from_millis(200), 2);
        is_over.store(true, Ordering::Relaxed);
        spinning.join().expect("spinning cannot fail");
        if let Some((whole, rounds)) = percent {
            assert!(whole > 5.0 && rounds.max() > 5.0, "{whole} {rounds:?}");
        }
    }
}
