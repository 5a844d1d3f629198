//! Batches at both ends: many events published with one stamp and one bell, and one write for what was handled together.

use ringbolt::prelude::*;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

struct Reading {
    sensor: u64,
    value: u64,
}

impl Event for Reading {
    const NAME: &'static str = "reading";

    fn key(&self) -> Key<'_> {
        self.sensor.as_key()
    }
}

/// Collects readings and writes them when the batch ends: at once if only one came, together if many did, and never
/// more than fit.
struct Store {
    open: Vec<u64>,
    disk: Sender<Vec<u64>>,
}

impl Handler<Reading> for Store {
    fn handle(&mut self, reading: &Reading, context: &mut Context<'_>) -> Outcome {
        self.open.push(reading.value);
        if context.end_of_batch() || self.open.len() == WRITE_MAX {
            let _ = self.disk.send(std::mem::take(&mut self.open));
        }
        Outcome::Handled
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        assert!(self.open.is_empty(), "the last batch has ended too");
    }
}

const READINGS: u64 = 100_000;
const WRITE_MAX: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder().workers(2).build()?;
    let (disk, writes) = channel();
    system
        .subscription("store")
        .factory(move |_| {
            Ok::<_, Failure>(Store {
                open: Vec::new(),
                disk: disk.clone(),
            })
        })
        .on::<Reading>()
        .register()?;

    let readings = (0..READINGS).map(|value| Reading {
        sensor: value % 50,
        value,
    });
    let mut publisher = system.publisher();
    match publisher.publish_batch(readings) {
        Ok(published) => assert_eq!(published as u64, READINGS),
        // Nothing is lost: what was refused, pulled and not yet pulled is all in the error.
        Err(error) => panic!("{} were published, then {}", error.published, error.refused),
    }
    system.shutdown(Duration::from_secs(10))?;
    drop(system);

    let writes: Vec<Vec<u64>> = writes.iter().collect();
    let longest = writes.iter().map(Vec::len).max().unwrap_or(0);
    println!(
        "{READINGS} readings in {} writes, the longest of {longest}",
        writes.len()
    );
    let mut values: Vec<u64> = writes.concat();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..READINGS), "each of them once");
    assert!(longest <= WRITE_MAX);
    Ok(())
}
