//! An orderly end (DR1): what was admitted is handled with all that follows from it, newcomers are refused, leftovers are told by id.

use ringbolt::prelude::*;
use std::time::Duration;

/// Work that falls apart into two halves, until nothing is left to halve.
#[derive(Debug)]
struct Work(u64);

impl Event for Work {
    const NAME: &'static str = "work";
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder().workers(2).build()?;
    system.subscribe(|work: &Work, context: &mut Context<'_>| {
        if work.0 > 1 {
            context
                .publish(Work(work.0 / 2))
                .expect("handlers may publish to the end");
            context
                .publish(Work(work.0 / 2))
                .expect("handlers may publish to the end");
        }
    })?;
    let mut publisher = system.publisher();
    publisher.publish(Work(1 << 10))?;
    let report = system.shutdown(Duration::from_secs(10))?;
    println!("one piece of work became {}, all done", report.completed);
    assert_eq!(report.completed, (1 << 11) - 1);
    assert!(report.in_time && report.abandoned == 0);

    let refused = publisher.publish(Work(1)).expect_err("it is over");
    assert!(refused.is_closed());
    println!("afterwards: {refused}");
    assert_eq!(refused.into_event().0, 1, "and the event comes back");

    // What nobody handles (this pool waits for a thread that never polls) is told by its ids.
    let system = EventSystem::builder()
        .pool(Pool::new("nobody").polled())
        .build()?;
    system
        .subscription("never")
        .pool("nobody")
        .handler(|_: &Work, _: &mut Context<'_>| -> Outcome { unreachable!("nobody polls") })?;
    let mut publisher = system.publisher();
    for number in 1..=3 {
        publisher.publish(Work(number))?;
    }
    let report = system.shutdown(Duration::from_millis(20))?;
    for id in &report.abandoned_ids {
        println!("abandoned: {id}");
    }
    assert_eq!(
        (report.abandoned_events, report.abandoned_ids.len()),
        (3, 3)
    );
    Ok(())
}
