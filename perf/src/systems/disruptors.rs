//! disruptor-rs with one and with many producers, and one consumer on a thread of the disruptor's own.
//!
//! The consumer spins, as its documentation advises for speed. Slots are 128 bytes, as ringbolt's are; producers
//! write all of them, in place, batches by `batch_publish`.

use super::slot::Slot;
use crate::load::{CAPACITY, Load, Run};
use disruptor::{
    BusySpin, ProcessorSettings, Producer, Sequence, build_multi_producer, build_single_producer,
};
use std::sync::Arc;
use std::thread::JoinHandle;

pub(crate) fn single(load: Load) -> Result<f64, String> {
    let run = Run::new(load);
    let builder = pinned(
        build_single_producer(CAPACITY, Slot::default, BusySpin),
        load,
    );
    let producer = builder.handle_events_with(consumer(&run)).build();
    let publisher = publish(&run, 0, producer);
    run.finish(vec![publisher])
}

pub(crate) fn multi(load: Load) -> Result<f64, String> {
    let run = Run::new(load);
    let builder = pinned(
        build_multi_producer(CAPACITY, Slot::default, BusySpin),
        load,
    );
    let producer = builder.handle_events_with(consumer(&run)).build();
    let publishers = (0..load.topology.publishers)
        .map(|index| publish(&run, index, producer.clone()))
        .collect();
    run.finish(publishers)
}

fn pinned<W, B: ProcessorSettings<Slot, W>>(builder: B, load: Load) -> B {
    match load.placement.worker(0) {
        Some(processor) => builder.pin_at_core(processor),
        None => builder,
    }
}

fn consumer(run: &Arc<Run>) -> impl FnMut(&Slot, Sequence, bool) + Send + 'static {
    let table = run.table(0);
    move |slot, _, _| table[slot.type_index as usize](&slot.order)
}

fn publish<P>(run: &Arc<Run>, index: usize, mut producer: P) -> JoinHandle<()>
where
    P: Producer<Slot> + Send + 'static,
{
    let batch = run.load().batch;
    if batch == 1 {
        run.start_publisher(index, move || {
            move |number| producer.publish(|slot| *slot = Slot::nth(number))
        })
    } else {
        run.start_publisher(index, move || {
            move |first| {
                producer.batch_publish(batch as usize, |slots| {
                    for (slot, number) in slots.zip(first..) {
                        *slot = Slot::nth(number);
                    }
                });
            }
        })
    }
}
