//! How many events of the lowest class are still handled once a critical one has arrived.
//!
//! The worker is a polled pool on this thread and time stands still between steps of the manual clock, so the
//! count is the engine's doing and not the machine's. At certain low events the handler has another thread
//! publish the critical event, and goes on when that has been admitted.

use crate::statistics::Rounds;
use crate::systems::said;
use crossbeam_channel::{Receiver, Sender, bounded};
use ringbolt::{Class, Clock, Context, EventSystem, Polled, Pool};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Low events that wait from the beginning; all that fit into the lane.
const LOW: u64 = 2_048;
/// Low events at which the critical one arrives: at the start of a batch, in its middle, at its end. The first
/// arrival opens its lane, the others find it open.
const ARRIVALS: [u64; 12] = [
    1, 30, 200, 257, 385, 500, 513, 700, 896, 1_000, 1_025, 1_500,
];
/// Batches that the worker is given: far more than it needs.
const BATCHES_MAX: usize = 10_000;

#[derive(Debug, ringbolt::Event)]
#[event(name = "chore", key = "number")]
struct Chore {
    number: u64,
}

#[derive(Debug, ringbolt::Event)]
#[event(name = "alarm", key = "number")]
struct Alarm {
    number: u64,
}

/// What the handlers share.
#[derive(Debug, Default)]
struct Seen {
    low: AtomicU64,
    /// Of each critical event, how many low ones were handled between its arrival and its turn.
    passed: Mutex<Vec<u64>>,
}

impl Seen {
    fn passed(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.passed.lock().expect("no handler panics")
    }
}

/// For each arrival; every low event moves the clock by `each`.
pub(super) fn low_events_before(each: Duration) -> Result<Rounds, String> {
    low_events_before_class(Class::Critical, each)
}

fn low_events_before_class(class: Class, each: Duration) -> Result<Rounds, String> {
    let (clock, hand) = Clock::manual();
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .clock(clock)
        .build()
        .map_err(said)?;
    let seen = Arc::new(Seen::default());
    let (ask, asked) = bounded::<u64>(0);
    let (answer, answered) = bounded::<()>(0);
    let low = Arc::clone(&seen);
    system
        .subscribe(move |_: &Chore, _: &mut Context<'_>| {
            let count = low.low.fetch_add(1, Ordering::Relaxed) + 1;
            if ARRIVALS.contains(&count) {
                arrive(&ask, &answered, count);
            }
            hand.advance(each);
        })
        .map_err(said)?;
    let critical = Arc::clone(&seen);
    system
        .subscribe(move |alarm: &Alarm, _: &mut Context<'_>| {
            let count = critical.low.load(Ordering::Relaxed);
            critical.passed().push(count - alarm.number);
        })
        .map_err(said)?;
    let mut publisher = system.publisher();
    let alarming = thread::spawn(move || {
        publisher.set_class(class);
        for number in asked {
            assert!(publisher.publish(Alarm { number }).is_ok(), "there is room");
            assert!(answer.send(()).is_ok(), "the handler waits for it");
        }
    });
    let mut publisher = system.publisher();
    publisher.set_class(Class::Low);
    for number in 0..LOW {
        publisher.try_publish(Chore { number }).map_err(said)?;
    }
    let mut poller = system.poller("default").map_err(said)?;
    for _ in 0..BATCHES_MAX {
        if seen.passed().len() == ARRIVALS.len() || poller.poll(1) == Polled::Events(0) {
            break;
        }
    }
    // Dropping the engine lets go of the handlers, and so of the thread that waits for them.
    drop((poller, system));
    alarming.join().map_err(|_| "the alarm's thread panicked")?;
    let passed = std::mem::take(&mut *seen.passed());
    if passed.len() != ARRIVALS.len() {
        return Err(format!(
            "{} of {} critical events were handled",
            passed.len(),
            ARRIVALS.len()
        ));
    }
    Ok(passed.into_iter().map(|count| count as f64).collect())
}

/// Returns when the critical event is in.
fn arrive(ask: &Sender<u64>, answered: &Receiver<()>, count: u64) {
    assert!(ask.send(count).is_ok(), "the alarm's thread listens");
    assert!(answered.recv().is_ok(), "the alarm's thread answers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_critical_waits_for_the_batch() {
        let passed = low_events_before_class(Class::Normal, Duration::ZERO).expect("it runs");
        // So what is measured of critical ones is their class's doing.
        assert!(passed.max() > 10.0, "{passed:?}");
    }

    #[test]
    fn every_arrival_is_counted() {
        let passed = low_events_before(Duration::ZERO).expect("the engine runs");
        // It came while low ones waited, so it cannot have been the last of all.
        assert!(passed.max() < 500.0, "{passed:?}");
        assert!(passed.min() >= 0.0, "{passed:?}");
    }
}
