//! Publishing from a handler never waits and never deadlocks (PD5), and the trace from cause to effect is kept.

use ringbolt::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A guess that asks for more guesses; the keys send them in circles between the workers.
struct Guess {
    place: u64,
    depth: u32,
}

impl Event for Guess {
    const NAME: &'static str = "guess";

    fn key(&self) -> Key<'_> {
        self.place.as_key()
    }
}

const DEPTH: u32 = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Lanes of 64 slots for thousands of guesses in both directions: with waiting there would be no way out.
    let system = EventSystem::builder()
        .workers(2)
        .lane_capacity(64)
        .build()?;
    let roots = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&roots);
    system.subscribe(move |guess: &Guess, context: &mut Context<'_>| {
        // What a handler publishes belongs to the same story, and names the event that caused it.
        assert_eq!(context.causation_id().is_none(), guess.depth == 0);
        if guess.depth == 0 {
            assert_eq!(context.correlation_id(), context.id());
            seen.fetch_add(1, Relaxed);
        }
        if guess.depth < DEPTH {
            for place in [2 * guess.place, 2 * guess.place + 1] {
                let depth = guess.depth + 1;
                context.publish(Guess { place, depth })?;
            }
        }
        Ok::<_, PublishError<Guess>>(())
    })?;

    let mut publisher = system.publisher();
    for place in 1..=4 {
        publisher.publish(Guess { place, depth: 0 })?;
    }
    let report = system.shutdown(Duration::from_secs(60))?;
    println!(
        "4 guesses led to {}, through lanes of 64 slots, and {} failed",
        report.completed, report.failed
    );
    assert_eq!(report.completed, 4 * ((1 << (DEPTH + 1)) - 1));
    assert_eq!((roots.load(Relaxed), report.failed), (4, 0));
    Ok(())
}
