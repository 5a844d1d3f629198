//! Retries that keep order (RO1, RO2, RO3): a payment fails twice, the account's later payments wait behind it, and
//! everybody else goes on.

use ringbolt::{RetryPolicy, prelude::*};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Event)]
#[event(name = "payment", key = "account")]
struct Payment {
    account: u64,
    number: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .workers(1)
        .on_error(|error| {
            let again = error.will_retry_after_ms;
            println!(
                "{}: {} (again in {again:?} ms)",
                error.component, error.message
            );
        })
        .build()?;
    let booked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&booked);
    let booking = system
        .subscription("booking")
        .retry(RetryPolicy::standard().base(Duration::from_millis(20)))
        .handler(move |payment: &Payment, context: &mut Context<'_>| {
            // The bank is slow to wake up for account 1.
            if payment.account == 1 && payment.number == 1 && context.attempt() < 3 {
                return Err(std::io::Error::other("the bank does not answer"));
            }
            log.lock().unwrap().push((payment.account, payment.number));
            Ok(())
        })?;

    let mut publisher = system.publisher();
    for number in 1..=3 {
        for account in [1, 2] {
            publisher.publish(Payment { account, number })?;
        }
    }
    // What is due before the deadline is waited for.
    let report = system.shutdown(Duration::from_secs(10))?;
    assert_eq!((report.completed, report.abandoned), (6, 0));
    let booked = booked.lock().unwrap();
    println!("booked: {booked:?}");
    assert_eq!(
        *booked,
        [(2, 1), (2, 2), (2, 3), (1, 1), (1, 2), (1, 3)],
        "account 2 did not wait, and account 1 kept its order"
    );
    assert_eq!(booking.attempts().retries, 2);
    Ok(())
}
