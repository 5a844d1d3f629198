//! Bounded channels, all alike: an enum of the event types, and a `match` at its end. Several workers have a
//! channel each, and the sender chooses by a hash of the account.

use crate::load::{CAPACITY, Load, ORDER, Order, Run};
use crate::machine::pin;
use std::thread;

/// What an application with several event types sends.
#[derive(Debug)]
pub(super) enum Message {
    Order(Order),
    Cancel(u64),
}

/// A kind of channel: how it is opened, and what its blocking ends are called.
pub(super) trait Channel {
    type Sender: Clone + Send + 'static;
    type Receiver: Send + 'static;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver);
    /// Waits for room; false if the receiver has gone.
    fn send(sender: &Self::Sender, message: Message) -> bool;
    /// Waits for a message; none when the last sender has gone.
    fn receive(receiver: &mut Self::Receiver) -> Option<Message>;
}

pub(super) struct Crossbeam;

impl Channel for Crossbeam {
    type Sender = crossbeam_channel::Sender<Message>;
    type Receiver = crossbeam_channel::Receiver<Message>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        crossbeam_channel::bounded(capacity)
    }

    #[inline(always)]
    fn send(sender: &Self::Sender, message: Message) -> bool {
        sender.send(message).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<Message> {
        receiver.recv().ok()
    }
}

pub(super) struct Kanal;

impl Channel for Kanal {
    type Sender = kanal::Sender<Message>;
    type Receiver = kanal::Receiver<Message>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        kanal::bounded(capacity)
    }

    #[inline(always)]
    fn send(sender: &Self::Sender, message: Message) -> bool {
        sender.send(message).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<Message> {
        receiver.recv().ok()
    }
}

pub(super) struct Flume;

impl Channel for Flume {
    type Sender = flume::Sender<Message>;
    type Receiver = flume::Receiver<Message>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    #[inline(always)]
    fn send(sender: &Self::Sender, message: Message) -> bool {
        sender.send(message).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<Message> {
        receiver.recv().ok()
    }
}

pub(super) struct Std;

impl Channel for Std {
    type Sender = std::sync::mpsc::SyncSender<Message>;
    type Receiver = std::sync::mpsc::Receiver<Message>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        std::sync::mpsc::sync_channel(capacity)
    }

    #[inline(always)]
    fn send(sender: &Self::Sender, message: Message) -> bool {
        sender.send(message).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<Message> {
        receiver.recv().ok()
    }
}

/// From thread to thread, by its blocking calls: no runtime is needed for that.
pub(super) struct Tokio;

impl Channel for Tokio {
    type Sender = tokio::sync::mpsc::Sender<Message>;
    type Receiver = tokio::sync::mpsc::Receiver<Message>;

    fn open(capacity: usize) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(capacity)
    }

    #[inline(always)]
    fn send(sender: &Self::Sender, message: Message) -> bool {
        sender.blocking_send(message).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<Message> {
        receiver.blocking_recv()
    }
}

pub(super) fn round<C: Channel>(load: Load) -> Result<f64, String> {
    let run = Run::new(load);
    let mut senders = Vec::new();
    let mut workers = Vec::new();
    for index in 0..load.topology.workers {
        let (sender, mut receiver) = C::open(CAPACITY);
        senders.push(sender);
        let table = run.table(index);
        workers.push(thread::spawn(move || {
            pin(load.placement.worker(index));
            while let Some(message) = C::receive(&mut receiver) {
                match message {
                    Message::Order(order) => table[ORDER as usize](&order),
                    Message::Cancel(order_id) => table[0](&Order::nth(order_id)),
                }
            }
        }));
    }
    let publishers = (0..load.topology.publishers)
        .map(|index| {
            let senders = senders.clone();
            run.start_publisher(index, move || {
                move |first| {
                    for number in first..first + load.batch {
                        let order = Order::nth(number);
                        let sender = match senders.len() {
                            1 => &senders[0],
                            count => &senders[worker_of(order.account(), count)],
                        };
                        assert!(
                            C::send(sender, message(number, order)),
                            "the receiver stays until the last sender goes"
                        );
                    }
                }
            })
        })
        .collect();
    drop(senders);
    let result = run.finish(publishers)?;
    for worker in workers {
        worker
            .join()
            .map_err(|_| String::from("a worker panicked"))?;
    }
    Ok(result)
}

/// Numbers in use are orders; the other variant is there so that the `match` has something to decide.
#[inline(always)]
fn message(number: u64, order: Order) -> Message {
    if number == u64::MAX {
        Message::Cancel(number)
    } else {
        Message::Order(order)
    }
}

/// The finaliser of splitmix64 (Sebastiano Vigna), and its upper bits: as good a spread as ringbolt's own.
#[inline(always)]
fn worker_of(account: u64, count: usize) -> usize {
    let mut z = account.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    ((u128::from(z) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ACCOUNTS;

    #[test]
    fn accounts_are_spread_over_the_channels() {
        let second = (0..ACCOUNTS).filter(|&account| worker_of(account, 2) == 1);
        let share = second.count();
        assert!((400..=624).contains(&share), "{share} of {ACCOUNTS}");
    }
}
