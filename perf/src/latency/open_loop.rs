//! Events at fixed times, to ringbolt and to a channel, with the same handler at the end.

use super::Percentiles;
use super::samples::Samples;
use crate::load::CAPACITY;
use crate::machine::{Placement, pin};
use crate::systems::{Stamps, Variant, Wake, build, said};
use crossbeam_channel::TryRecvError;
use ringbolt::{Clock, Context};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// How the receiver waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Both sides look again and again.
    BusySpin,
    /// ringbolt's default; the channel's `recv`.
    Adaptive,
}

impl Waiting {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BusySpin => "busy_spin",
            Self::Adaptive => "adaptive",
        }
    }

    pub(super) const fn peer(self) -> &'static str {
        match self {
            Self::BusySpin => "crossbeam-channel try_recv",
            Self::Adaptive => "crossbeam-channel recv",
        }
    }

    const fn variant(self) -> Variant {
        Variant {
            stamps: Stamps::Adaptive,
            wake: match self {
                Self::BusySpin => Wake::Spin,
                Self::Adaptive => Wake::Asymmetric,
            },
        }
    }
}

/// When events are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Events in a second.
    pub(super) rate: u64,
    pub(super) warm_up: usize,
    pub(super) events: usize,
    pub(super) placement: Placement,
}

/// The event: 32 bytes.
#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "order.paced", key = "account")]
struct Paced {
    /// The stamp at which it was meant to be sent.
    due: u64,
    account: u64,
    number: u64,
    quantity: u64,
}

const _: () = assert!(size_of::<Paced>() == 32);

impl Paced {
    /// Reads the whole event, so that all of it has to be there.
    #[inline(always)]
    fn due(&self) -> u64 {
        std::hint::black_box(self.account ^ self.number ^ self.quantity);
        self.due
    }
}

impl Pace {
    /// Sends each event when it is due, or at once if that has passed.
    fn keep(self, mut send: impl FnMut(Paced)) {
        let clock = Clock::real();
        let ticks_per_s = clock.raw_after(0, Duration::from_secs(1)) as f64;
        let step = ticks_per_s / self.rate as f64;
        let start = clock.raw_after(clock.raw(), Duration::from_micros(100));
        for number in 0..(self.warm_up + self.events) as u64 {
            let due = start + (number as f64 * step) as u64;
            while clock.raw() < due {
                std::hint::spin_loop();
            }
            send(Paced {
                due,
                account: number % 1_024,
                number,
                quantity: 1,
            });
        }
    }
}

pub(super) fn ringbolt(pace: Pace, waiting: Waiting) -> Result<Percentiles, String> {
    let system = build(waiting.variant(), 1, pace.placement)?;
    let samples = Samples::new(pace.warm_up, pace.events);
    let seen = Arc::clone(&samples);
    system
        .subscribe(move |event: &Paced, _: &mut Context<'_>| seen.arrived(event.due()))
        .map_err(said)?;
    let mut publisher = system.publisher();
    let sender = thread::spawn(move || {
        pin(pace.placement.publisher(0));
        pace.keep(|event| {
            assert!(publisher.publish(event).is_ok(), "the engine runs");
        });
    });
    let result = samples.finish();
    sender.join().map_err(|_| "the publisher panicked")?;
    system.shutdown(SHUTDOWN_LIMIT).map_err(said)?;
    result
}

/// What an application with several event types sends.
#[derive(Debug)]
enum Message {
    Paced(Paced),
    Cancel(u64),
}

/// The handlers of each event type.
type Table = Vec<Box<dyn Fn(&Paced) + Send>>;

pub(super) fn crossbeam(pace: Pace, waiting: Waiting) -> Result<Percentiles, String> {
    let samples = Samples::new(pace.warm_up, pace.events);
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(CAPACITY);
    let seen = Arc::clone(&samples);
    let table: Table = vec![
        Box::new(|_| unreachable!("nobody cancels")),
        Box::new(move |event| seen.arrived(event.due())),
    ];
    let dispatch = move |message| match message {
        Message::Paced(event) => table[1](&event),
        Message::Cancel(number) => table[0](&Paced {
            due: 0,
            account: 0,
            number,
            quantity: 0,
        }),
    };
    let worker = thread::spawn(move || {
        pin(pace.placement.worker(0));
        match waiting {
            Waiting::Adaptive => receiver.into_iter().for_each(dispatch),
            Waiting::BusySpin => loop {
                match receiver.try_recv() {
                    Ok(message) => dispatch(message),
                    Err(TryRecvError::Empty) => std::hint::spin_loop(),
                    Err(TryRecvError::Disconnected) => break,
                }
            },
        }
    });
    let publisher = thread::spawn(move || {
        pin(pace.placement.publisher(0));
        pace.keep(|event| {
            let message = if event.number == u64::MAX {
                Message::Cancel(event.number)
            } else {
                Message::Paced(event)
            };
            assert!(sender.send(message).is_ok(), "the receiver stays");
        });
    });
    let result = samples.finish();
    publisher.join().map_err(|_| "the sender panicked")?;
    worker.join().map_err(|_| "the worker panicked")?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_in_even_steps_and_never_sent_early() {
        let pace = Pace {
            rate: 1_000_000,
            warm_up: 10,
            events: 90,
            placement: Placement::FREE,
        };
        let clock = Clock::real();
        let mut dues = Vec::new();
        pace.keep(|event| {
            assert!(clock.raw() >= event.due);
            dues.push(event.due);
        });
        assert_eq!(dues.len(), 100);
        let whole_ns = clock.delta_ns(dues[0], dues[99]);
        assert!((98_900..=99_100).contains(&whole_ns), "{whole_ns}");
    }

    #[test]
    fn both_sides_hand_over_every_event() {
        let pace = Pace {
            rate: 100_000,
            warm_up: 100,
            events: 400,
            placement: Placement::FREE,
        };
        for waiting in [Waiting::BusySpin, Waiting::Adaptive] {
            let own = ringbolt(pace, waiting).expect("the engine runs");
            let peer = crossbeam(pace, waiting).expect("the channel runs");
            assert!(own.p50 > 0 && peer.p50 > 0, "{own:?} {peer:?}");
        }
    }
}
