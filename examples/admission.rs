//! What happens when there is no room is the publisher's choice (PD1, PD4): fail, wait, wait so long, or drop and count.

use ringbolt::prelude::*;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

#[derive(Debug)]
struct Sample(u64);

impl Event for Sample {
    const NAME: &'static str = "sample";
}

const SLOTS: u64 = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .workers(1)
        .lane_capacity(SLOTS as usize)
        .lossy(Class::Low)
        .build()?;
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    system.subscribe(move |sample: &Sample, _: &mut Context<'_>| {
        if sample.0 == 0 {
            held.wait(); // The worker is here...
            held.wait(); // ...and may go on.
        }
    })?;
    let mut publisher = system.publisher();
    publisher.publish(Sample(0))?;
    gate.wait();

    // Fail: the event comes back, and can be sent elsewhere.
    let fail = Options::new().admission(Admission::Fail);
    let mut admitted = 1;
    let back = loop {
        match publisher.publish_with(Sample(admitted), fail.clone()) {
            Ok(()) => admitted += 1,
            Err(refused) => break refused,
        }
    };
    assert!(back.is_full());
    println!("after {admitted} samples: {back}");
    let Sample(number) = back.into_event();
    assert_eq!(number, admitted, "the very event");

    // Wait so long, and no longer.
    let patient = Options::new().admission(Admission::BlockFor(Duration::from_millis(5)));
    let refused = publisher.publish_with(Sample(number), patient);
    assert!(refused.is_err_and(|refused| refused.is_full()));

    // Lose rather than wait: for a class that was declared lossy.
    let lossy = Options::new().class(Class::Low).admission(Admission::Lossy);
    for number in 0..2 * SLOTS {
        publisher.publish_with(Sample(number + 1), lossy.clone())?;
    }
    let dropped = system.report().dropped;
    println!("of {} lossy samples, {dropped} were dropped", 2 * SLOTS);
    assert!((1..=SLOTS).contains(&dropped));

    // Wait: as long as it takes for the worker to go on.
    thread::scope(|scope| {
        scope.spawn(|| gate.wait());
        publisher.publish(Sample(number))
    })?;
    let report = system.shutdown(Duration::from_secs(10))?;
    assert_eq!(report.completed, admitted + 1 + 2 * SLOTS - dropped);
    println!("{} were handled: all that were admitted", report.completed);
    Ok(())
}
