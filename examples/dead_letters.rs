//! Dead letters that come back in order (DQ1, DQ2, DQ3): one event is poison, its key's later events park behind it, and
//! once the handler is mended the key is delivered again, in order.

use ringbolt::{DeadLetterPolicy, Filter, Page, RetryPolicy, prelude::*};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Event)]
#[event(name = "stock.moved", key = "item")]
struct StockMoved {
    item: u64,
    number: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .workers(1)
        .dead_letters(DeadLetterPolicy::new().capacity(1_000))
        .build()?;
    let is_mended = Arc::new(AtomicBool::new(false));
    let moved = Arc::new(Mutex::new(Vec::new()));
    let (mended, log) = (Arc::clone(&is_mended), Arc::clone(&moved));
    system
        .subscription("stock")
        .retry(RetryPolicy::immediate())
        .sequential()
        .handler(move |event: &StockMoved, context: &mut Context<'_>| {
            if event.item == 1 && event.number == 2 && !mended.load(Ordering::Acquire) {
                return Err(std::io::Error::other("a quantity below zero"));
            }
            let is_again = context.is_redelivery();
            log.lock()
                .unwrap()
                .push((event.item, event.number, is_again));
            Ok(())
        })?;

    let mut publisher = system.publisher();
    for number in 1..=4 {
        for item in [1, 2] {
            publisher.publish(StockMoved { item, number })?;
        }
    }
    let letters = system
        .dead_letters()
        .expect("the builder was given a queue");
    while letters.counts().letters < 3 {
        std::thread::yield_now();
    }
    for letter in letters.list(&Filter::new(), Page::new()).letters {
        let key = letter.key.as_deref().unwrap_or("-");
        println!(
            "letter {}, key {key}: {} {:?}",
            letter.id, letter.reason, letter.errors
        );
    }

    is_mended.store(true, Ordering::Release);
    let ticket = letters.redeliver_key("stock", 1_u64)?;
    println!("{:?}", ticket.wait()?);
    publisher.publish(StockMoved { item: 1, number: 5 })?;
    system.shutdown(Duration::from_secs(10))?;

    assert_eq!(letters.counts().letters, 0);
    let moved = moved.lock().unwrap();
    let of_one: Vec<_> = moved.iter().filter(|entry| entry.0 == 1).collect();
    println!("{of_one:?}");
    assert!(
        of_one.iter().map(|entry| entry.1).eq(1..=5),
        "in order, live events behind"
    );
    assert!(of_one[1].2 && !of_one[4].2);
    Ok(())
}
