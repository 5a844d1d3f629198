//! A bare rtrb ring of 128-byte slots: what a lane costs with nothing in it.
//!
//! Both ends use chunks, as ringbolt's own lanes do; a full or empty ring is looked at again after a pause.

use super::slot::Slot;
use crate::load::{CAPACITY, Load, Run, wait_until};
use crate::machine::pin;
use std::sync::Arc;
use std::thread;

/// Most events the worker takes together.
const CHUNK: usize = 256;

pub(crate) fn round(load: Load) -> Result<f64, String> {
    let run = Run::new(load);
    let (mut producer, mut consumer) = ::rtrb::RingBuffer::<Slot>::new(CAPACITY);
    let table = run.table(0);
    let worker = {
        let run = Arc::clone(&run);
        thread::spawn(move || {
            pin(load.placement.worker(0));
            while !run.is_over() {
                let mut count = 0;
                wait_until(|| {
                    count = consumer.slots().min(CHUNK);
                    count > 0
                });
                let Ok(chunk) = consumer.read_chunk(count) else {
                    unreachable!("as many slots were there a moment ago");
                };
                let (front, back) = chunk.as_slices();
                for slot in front.iter().chain(back) {
                    table[slot.type_index as usize](&slot.order);
                }
                chunk.commit_all();
            }
        })
    };
    let batch = load.batch as usize;
    let publisher = run.start_publisher(0, move || {
        move |first| {
            wait_until(|| match producer.write_chunk_uninit(batch) {
                Ok(chunk) => {
                    chunk.fill_from_iter((first..first + load.batch).map(Slot::nth));
                    true
                }
                Err(_) => false,
            });
        }
    });
    let result = run.finish(vec![publisher])?;
    worker
        .join()
        .map_err(|_| String::from("the worker panicked"))?;
    Ok(result)
}
