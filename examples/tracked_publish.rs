//! A known outcome (PD6, PD8): a receipt tells how each delivery of an event ended, also the one that panicked.

use ringbolt::{Ended, prelude::*};
use std::time::Duration;

struct Payment {
    cents: u64,
}

impl Event for Payment {
    const NAME: &'static str = "payment";
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The panic below is wanted; nobody needs its backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let system = EventSystem::builder()
        .workers(1)
        .on_error(|failed| println!("{}: {}", failed.component, failed.message))
        .build()?;
    let booking = system
        .subscription("booking")
        .handler(|_: &Payment, _: &mut Context<'_>| Outcome::Handled)?;
    let alerts =
        system
            .subscription("alerts")
            .handler(|payment: &Payment, _: &mut Context<'_>| {
                if payment.cents < 1_000_000 {
                    return Outcome::Skipped;
                }
                Outcome::Failed(Failure::new("the pager does not answer"))
            })?;
    let broken =
        system
            .subscription("broken")
            .handler(|payment: &Payment, _: &mut Context<'_>| {
                assert!(payment.cents != 13, "13 is an unlucky amount");
            })?;

    let mut publisher = system.publisher();
    for (cents, expected) in [
        (500, [Ended::Handled, Ended::Skipped, Ended::Handled]),
        (13, [Ended::Handled, Ended::Skipped, Ended::Failed]),
        (9_999_999, [Ended::Handled, Ended::Failed, Ended::Handled]),
    ] {
        let receipt = publisher.publish_tracked(Payment { cents })?;
        let deliveries = receipt.wait()?;
        let ended = [&booking, &alerts, &broken].map(|subscription| {
            let of_it = |(id, _): &&(u64, Ended)| *id == subscription.id();
            let (_, ended) = deliveries.iter().find(of_it).expect("each has one");
            println!("{cents:>9} cents, {:>7}: {ended:?}", subscription.name());
            *ended
        });
        assert_eq!(ended, expected);
    }
    let report = system.shutdown(Duration::from_secs(10))?;
    let counts = (report.completed, report.skipped, report.failed);
    assert_eq!(counts, (5, 2, 2), "nine deliveries, and they add up");
    Ok(())
}
