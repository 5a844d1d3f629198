//! One event to somebody who sleeps: what a wake-up costs through the engine, and bare.

use super::Percentiles;
use super::samples::Samples;
use crate::machine::{Placement, pin};
use crate::systems::{Variant, build, said};
use ringbolt::metrics::WorkerState;
use ringbolt::{Clock, Context, EventSystem};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// Long enough for the receiver to be asleep, and its processor too.
const NAP: Duration = Duration::from_millis(1);
/// A worker that has nothing to do goes to sleep long before.
const SLEEP_LIMIT: Duration = Duration::from_secs(10);

/// The call that wakes, with the stamp of its beginning.
#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "alarm", key = "due")]
struct Alarm {
    due: u64,
}

/// Sends so many alarms, each to a receiver that has been asleep for a while.
fn ring(
    wakes: usize,
    samples: &Samples,
    mut is_asleep: impl FnMut() -> bool,
    mut send: impl FnMut(u64),
) -> Result<(), String> {
    let clock = Clock::real();
    for wake in 0..wakes {
        let limit = Instant::now() + SLEEP_LIMIT;
        while samples.count() < wake || !is_asleep() {
            if Instant::now() > limit {
                return Err(String::from("the receiver does not go to sleep"));
            }
            thread::sleep(NAP);
        }
        // Looking at it may have warmed something.
        thread::sleep(NAP);
        send(clock.raw());
    }
    Ok(())
}

pub(super) fn ringbolt(wakes: usize, placement: Placement) -> Result<Percentiles, String> {
    let system = build(Variant::DEFAULT, 1, placement)?;
    let samples = Samples::new(1, wakes);
    let seen = Arc::clone(&samples);
    system
        .subscribe(move |alarm: &Alarm, _: &mut Context<'_>| seen.arrived(alarm.due))
        .map_err(said)?;
    let rung = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin(placement.publisher(0));
            let mut publisher = system.publisher();
            ring(
                1 + wakes,
                &samples,
                || is_parked(&system),
                |due| {
                    assert!(publisher.publish(Alarm { due }).is_ok(), "the engine runs");
                },
            )
        });
        sending.join()
    });
    rung.map_err(|_| "the publisher panicked")??;
    let result = samples.finish();
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}

fn is_parked(system: &EventSystem) -> bool {
    let workers = system.report().workers;
    workers.iter().all(|w| w.state == WorkerState::Parked)
}

/// Nothing but a stamp in a mailbox and `Thread::unpark`.
pub(super) fn bare(wakes: usize, placement: Placement) -> Result<Percentiles, String> {
    let samples = Samples::new(1, wakes);
    let mailbox = AtomicU64::new(0);
    let rung = thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            pin(placement.worker(0));
            for _ in 0..=wakes {
                let mut due = 0;
                while due == 0 {
                    thread::park();
                    due = mailbox.swap(0, Ordering::Acquire);
                }
                samples.arrived(due);
            }
        });
        let receiver = receiving.thread().clone();
        let (samples, mailbox) = (&samples, &mailbox);
        let sending = scope.spawn(move || {
            pin(placement.publisher(0));
            ring(
                1 + wakes,
                samples,
                || true,
                |due| {
                    mailbox.store(due, Ordering::Release);
                    receiver.unpark();
                },
            )
        });
        sending.join()
    });
    rung.map_err(|_| "the sender panicked")??;
    samples.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_wake_up() {
        let own = ringbolt(3, Placement::FREE).expect("the worker wakes");
        let peer = bare(3, Placement::FREE).expect("the thread wakes");
        assert!(own.p50 > 0 && peer.p50 > 0, "{own:?} {peer:?}");
    }
}
