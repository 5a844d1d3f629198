//! Urgent first (PD3): of what waits, a worker takes the most urgent class, and yet never forgets the others.

use ringbolt::prelude::*;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

struct Job {
    class: Class,
    number: usize,
}

impl Event for Job {
    const NAME: &'static str = "job";
}

/// Keeps the worker busy while jobs are published behind its back.
struct Hold;

impl Event for Hold {
    const NAME: &'static str = "hold";
}

/// The jobs in the order in which one worker handles them, when they all wait at once.
fn handled_order(
    jobs: impl IntoIterator<Item = Class>,
    starvation_limit: usize,
) -> Result<Vec<(Class, usize)>, Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .workers(1)
        .starvation_limit(starvation_limit)
        .build()?;
    let gate = Arc::new(Barrier::new(2));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (held, log) = (Arc::clone(&gate), Arc::clone(&order));
    system.subscribe(move |_: &Hold, _: &mut Context<'_>| {
        held.wait(); // The worker is here...
        held.wait(); // ...and may go on.
    })?;
    system.subscribe(move |job: &Job, context: &mut Context<'_>| {
        assert_eq!(context.class(), job.class);
        log.lock().unwrap().push((job.class, job.number));
    })?;

    let mut publisher = system.publisher();
    publisher.publish(Hold)?;
    gate.wait();
    for (number, class) in jobs.into_iter().enumerate() {
        publisher.publish_with(Job { class, number }, Options::new().class(class))?;
    }
    gate.wait();
    system.shutdown(Duration::from_secs(10))?;
    let order = std::mem::take(&mut *order.lock().unwrap());
    Ok(order)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let published = [Class::Low, Class::Normal, Class::High, Class::Critical];
    let order = handled_order(published.into_iter().cycle().take(12), 256)?;
    for (class, number) in &order {
        println!("{:>8}  published as number {number}", class.name());
    }
    assert!(order.is_sorted(), "by class, and in order within a class");

    let flood = std::iter::once(Class::Low).chain([Class::Critical; 1_000]);
    let order = handled_order(flood, 16)?;
    let place = order.iter().position(|(class, _)| *class == Class::Low);
    let place = place.expect("nothing is lost");
    println!("one low job beside 1,000 critical ones: {place} of them went first");
    assert!(
        place <= 16,
        "a class that waits is served once in 16 events"
    );
    Ok(())
}
