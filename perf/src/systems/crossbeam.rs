//! A bounded crossbeam channel: an enum of the event types, and a `match` at its end.

use crate::load::{CAPACITY, Load, ORDER, Order, Run};
use crate::machine::pin;
use std::sync::Arc;
use std::thread;

/// What an application with several event types sends.
#[derive(Debug)]
enum Message {
    Order(Order),
    Cancel(u64),
}

pub(crate) fn round(load: Load) -> Result<f64, String> {
    let run = Run::new(load);
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(CAPACITY);
    let table = run.table();
    let worker = {
        let run = Arc::clone(&run);
        thread::spawn(move || {
            pin(load.placement.worker());
            for message in receiver {
                match message {
                    Message::Order(order) => table[ORDER as usize](&order),
                    Message::Cancel(order_id) => table[0](&Order::nth(order_id)),
                }
            }
            drop(run);
        })
    };
    let publishers = (0..load.topology.publishers)
        .map(|index| {
            let sender = sender.clone();
            run.start_publisher(index, move || {
                move |first| {
                    for number in first..first + load.batch {
                        assert!(
                            sender.send(message(number)).is_ok(),
                            "the receiver stays until the last sender goes"
                        );
                    }
                }
            })
        })
        .collect();
    drop(sender);
    let result = run.finish(publishers)?;
    worker
        .join()
        .map_err(|_| String::from("the worker panicked"))?;
    Ok(result)
}

/// Numbers in use are orders; the other variant is there so that the `match` has something to decide.
#[inline(always)]
fn message(number: u64) -> Message {
    if number == u64::MAX {
        Message::Cancel(number)
    } else {
        Message::Order(Order::nth(number))
    }
}
