//! A breaker that pauses (CB1, CB3): while a service is down nothing is called, nothing is lost, and when it is back
//! everything comes in order.

use ringbolt::{Breaker, BreakerPolicy, BreakerState, RetryPolicy, prelude::*};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Event)]
#[event(name = "mail", key = "customer")]
struct Mail {
    customer: u64,
    number: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = Breaker::new(
        "mail server",
        BreakerPolicy::new()
            .failure_rate(0.5)
            .minimum_calls(5)
            .open_wait(Duration::from_millis(20)),
    )?;
    breaker.on_transition(|made| println!("{}: {:?} -> {:?}", made.breaker, made.from, made.to));

    let system = EventSystem::builder().workers(1).build()?;
    let is_up = Arc::new(AtomicBool::new(false));
    let calls_while_down = Arc::new(AtomicU64::new(0));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (up, calls, log) = (
        Arc::clone(&is_up),
        Arc::clone(&calls_while_down),
        Arc::clone(&sent),
    );
    let mails = system
        .subscription("mails")
        .retry(
            RetryPolicy::immediate()
                .max_attempts(1_000)
                .base(Duration::from_millis(1))
                .max_delay(Duration::from_millis(1)),
        )
        .breaker(&breaker)
        .handler(move |mail: &Mail, _: &mut Context<'_>| {
            if !up.load(Ordering::Acquire) {
                calls.fetch_add(1, Ordering::Relaxed);
                return Outcome::Failed(Failure::new("connection refused"));
            }
            log.lock().unwrap().push(mail.number);
            Outcome::Handled
        })?;

    let mut publisher = system.publisher();
    for number in 0..1_000 {
        publisher.publish(Mail {
            customer: number % 3,
            number,
        })?;
    }
    // A thousand wait on the worker; the server has hardly been asked.
    while mails.attempts().held < 1_000 || breaker.state() == BreakerState::Closed {
        std::thread::yield_now();
    }
    assert!(calls_while_down.load(Ordering::Relaxed) < 100);

    is_up.store(true, Ordering::Release);
    let report = system.shutdown(Duration::from_secs(30))?;
    println!(
        "{} mails sent, {} held at the end",
        report.completed,
        mails.attempts().held
    );
    assert_eq!(report.completed, 1_000);
    for customer in 0..3 {
        let sent = sent.lock().unwrap();
        let of_one = sent.iter().filter(|number| **number % 3 == customer);
        assert!(of_one.is_sorted(), "each customer's mails in order");
    }
    Ok(())
}
