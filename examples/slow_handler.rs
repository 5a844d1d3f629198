//! A slow handler out of the others' way: on a pool of its own it holds nobody up but itself.

use ringbolt::prelude::*;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Order {
    number: u64,
}

impl Event for Order {
    const NAME: &'static str = "order";
}

const ORDERS: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("slow").workers(1))
        .build()?;

    let (done, all_matched) = channel();
    let matching =
        system
            .subscription("matching")
            .handler(move |order: &Order, _: &mut Context<'_>| {
                if order.number == ORDERS {
                    done.send(()).expect("the main thread waits");
                }
            })?;

    // As slow as can be: it does not get past its first order before it is told to.
    let (release, released) = sync_channel(1);
    let released = Mutex::new(Some(released));
    let audit = system.subscription("audit").pool("slow").handler(
        move |_: &Order, _: &mut Context<'_>| {
            if let Some(released) = released.lock().unwrap().take() {
                released.recv().expect("the main thread lets it go");
            }
        },
    )?;

    let mut publisher = system.publisher();
    for number in 1..=ORDERS {
        publisher.publish(Order { number })?;
    }
    all_matched.recv()?;
    println!(
        "matching is through with {} orders while audit has handled {}",
        matching.counts().admitted,
        audit.counts().handled
    );
    assert_eq!(audit.counts().handled, 0);

    release.send(())?;
    let report: Arc<_> = system.shutdown(Duration::from_secs(10))?;
    println!(
        "at the end: {} deliveries, each order to both",
        report.completed
    );
    assert_eq!(report.completed, 2 * ORDERS);
    Ok(())
}
