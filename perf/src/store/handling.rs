//! Rounds from publish, or from append, until an event is handled: one thread, one worker.

use super::appending::Changed;
use crate::effort::Setting;
use crate::machine::pin;
use crate::systems::{Variant, builder, said};
use ringbolt::store::{EventStore, ExpectedVersion};
use ringbolt::{EventSystem, Follow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
/// Events before the clock starts.
const WARM_UP: u64 = 8_192;

/// An engine of one worker that counts.
fn engine(setting: Setting<'_>) -> Result<(EventSystem, Arc<AtomicU64>), String> {
    let placement = setting.machine.place(1, 1);
    let system = builder(Variant::DEFAULT, 1, placement)?
        .build()
        .map_err(said)?;
    let handled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&handled);
    system
        .subscribe(move |event: &Changed, _| {
            counted.store(event.number + 1, Ordering::Relaxed);
        })
        .map_err(said)?;
    Ok((system, handled))
}

/// Nanoseconds for each event, from the first to when the last was handled.
fn timed(
    setting: Setting<'_>,
    handled: &AtomicU64,
    mut send: impl FnMut(u64) -> Result<(), String> + Send,
) -> Result<f64, String> {
    let events = if setting.effort.is_full {
        2_000_000
    } else {
        500_000
    };
    let place = setting.machine.place(1, 1).publisher(0);
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            pin(place);
            let mut all = |from: u64, to: u64| {
                (from..to).try_for_each(&mut send)?;
                let began = Instant::now();
                while handled.load(Ordering::Relaxed) != to {
                    if began.elapsed() > LIMIT {
                        return Err(String::from("the last event is not handled"));
                    }
                    std::hint::spin_loop();
                }
                Ok(())
            };
            all(0, WARM_UP)?;
            let began = Instant::now();
            all(WARM_UP, WARM_UP + events)?;
            Ok(began.elapsed().as_nanos() as f64 / events as f64)
        });
        sending
            .join()
            .map_err(|_| String::from("the sender panicked"))?
    })
}

pub(super) fn published(setting: Setting<'_>) -> Result<f64, String> {
    let (system, handled) = engine(setting)?;
    let mut publisher = system.publisher();
    timed(setting, &handled, |number| {
        publisher.publish(Changed::nth(number)).map_err(said)
    })
}

pub(super) fn appended(setting: Setting<'_>) -> Result<f64, String> {
    let (system, handled) = engine(setting)?;
    let (store, names) = (EventStore::new(), super::appending::names());
    system.follow(&Follow::new(&store)).map_err(said)?;
    timed(setting, &handled, |number| {
        let name = &names[super::appending::stream_of(number)];
        let appended = store.append(name, ExpectedVersion::Any, &Changed::nth(number));
        appended.map(drop).map_err(said)
    })
}
