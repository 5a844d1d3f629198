//! Faults for AddressSanitizer to find in handlers: `faults [--plant leak|use-after-free]`. Without a fault it ends well.
//!
//! The engine itself is looked at by its own tests; this only shows that the sanitizer is awake.

#![allow(unsafe_code, reason = "the planted fault reads what is gone")]

use checks::arguments::Arguments;
use ringbolt::prelude::*;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

struct Tick(u64);

impl Event for Tick {
    const NAME: &'static str = "faults.tick";
    fn key(&self) -> Key<'_> {
        self.0.as_key()
    }
}

fn main() -> ExitCode {
    let plant = Arguments::read(&["plant"]).plant(&["leak", "use-after-free"]);
    let system = EventSystem::builder().workers(2).build().expect("defaults");
    let subscription = system.subscribe(move |tick: &Tick, _: &mut Context<'_>| {
        let value = Box::new(tick.0);
        match plant.as_str() {
            "leak" => {
                black_box(Box::leak(value));
            }
            "use-after-free" => {
                let gone: *const u64 = black_box(&raw const *value);
                drop(value);
                // SAFETY: none: that is the fault.
                black_box(unsafe { gone.read() });
            }
            _ => {}
        }
    });
    subscription.expect("the engine is open");
    let mut publisher = system.publisher();
    for number in 0..1_000 {
        publisher.publish(Tick(number)).expect("the engine is open");
    }
    drop(publisher);
    let report = system.shutdown(Duration::from_secs(60)).expect("outside");
    println!("{} events handled", report.completed);
    ExitCode::SUCCESS
}
