//! The work that every system is given: the same events, the same handler, the same start and end.
//!
//! A [`Run`] is one round of one system. Publishers first send a warm-up, which faults in the rings
//! and opens whatever opens at first use; when all of it has been handled the first publisher reads the clock
//! and lets everybody go. The handler reads the clock again at the last event. At the end the sum over all
//! events handled has to be right, so a system that loses or repeats events has no result.

use crate::machine::{Placement, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Events for each publisher before the clock starts: twice what a peer's queue holds.
const WARM_UP: u64 = 8_192;
/// A round that takes longer has lost an event or hangs.
const ROUND_LIMIT: Duration = Duration::from_secs(30);
/// How many events a peer's queue holds.
pub(crate) const CAPACITY: usize = 4_096;
/// What the events carry.
pub(crate) const PAYLOAD_BYTES: usize = size_of::<Order>();

const _: () = assert!(PAYLOAD_BYTES == 32);

/// The event: 32 bytes, keyed by its account.
#[derive(Debug, Clone, Copy, Default, ringbolt::Event)]
#[event(name = "order.placed", key = "account")]
pub(crate) struct Order {
    order_id: u64,
    account: u64,
    cents: u64,
    quantity: u64,
}

impl Order {
    /// The event that a publisher sends as its `number`th.
    #[inline(always)]
    pub(crate) fn nth(number: u64) -> Self {
        Self {
            order_id: number,
            account: number & 1_023,
            cents: 1,
            quantity: 1,
        }
    }
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) name: &'static str,
    pub(crate) publishers: usize,
}

impl Topology {
    /// One publisher, one worker.
    pub(crate) const ONE_TO_ONE: Self = Self {
        name: "one_to_one",
        publishers: 1,
    };
    /// Four publishers, one worker.
    pub(crate) const FOUR_TO_ONE: Self = Self {
        name: "four_to_one",
        publishers: 4,
    };

    /// The threads that want a core each.
    pub(crate) const fn threads(self) -> usize {
        self.publishers + 1
    }
}

/// What one round is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) topology: Topology,
    /// Events that a publisher hands over in one call.
    pub(crate) batch: u64,
    /// Events under the clock, all publishers together; rounded down to whole batches.
    pub(crate) events: u64,
    pub(crate) placement: Placement,
}

impl Load {
    fn per_publisher(&self) -> u64 {
        let share = self.events / self.topology.publishers as u64;
        (share - share % self.batch).max(self.batch)
    }

    fn warm_up(&self) -> u64 {
        WARM_UP.next_multiple_of(self.batch)
    }
}

/// Where the worker is counting; on lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Sink {
    handled: AtomicU64,
    sum: AtomicU64,
    last: u64,
    ended: OnceLock<Instant>,
    waiting: Thread,
}

/// What publishers wait at; on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Gate {
    arrived: AtomicUsize,
    is_open: AtomicBool,
    began: OnceLock<Instant>,
}

/// The handlers of each event type, the way an application with many types would keep them.
pub(crate) type Table = Vec<Box<dyn Fn(&Order) + Send>>;

/// The place of [`Order`]'s handler in a [`Table`].
pub(crate) const ORDER: u32 = 1;

/// One round of one system.
#[derive(Debug)]
pub(crate) struct Run {
    load: Load,
    sink: Sink,
    gate: Gate,
}

impl Run {
    /// The thread that calls is the one that has to [`finish`](Self::finish).
    pub(crate) fn new(load: Load) -> Arc<Self> {
        let publishers = load.topology.publishers as u64;
        Arc::new(Self {
            sink: Sink {
                handled: AtomicU64::new(0),
                sum: AtomicU64::new(0),
                last: publishers * (load.warm_up() + load.per_publisher()),
                ended: OnceLock::new(),
                waiting: thread::current(),
            },
            gate: Gate::default(),
            load,
        })
    }

    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// The handler's work, for every system. To be called by one thread at a time.
    #[inline(always)]
    pub(crate) fn handle(&self, order: &Order) {
        let sink = &self.sink;
        // The whole event, so that all of it has to be there.
        let value = order.order_id + order.cents * order.quantity;
        let sum = sink.sum.load(Ordering::Relaxed) + value;
        sink.sum.store(sum, Ordering::Relaxed);
        let handled = sink.handled.load(Ordering::Relaxed) + 1;
        // Release: who waits for the warm-up or checks the sum sees all of it.
        sink.handled.store(handled, Ordering::Release);
        if handled == sink.last {
            self.end();
        }
    }

    #[cold]
    fn end(&self) {
        // Nobody else sets it: the count passes `last` once.
        let _ = self.sink.ended.set(Instant::now());
        self.sink.waiting.unpark();
    }

    /// The handlers of a peer: a table, looked up by the event's type.
    pub(crate) fn table(self: &Arc<Self>) -> Table {
        let run = Arc::clone(self);
        vec![
            Box::new(|_| unreachable!("nobody sends the type 0")),
            Box::new(move |order| run.handle(order)),
        ]
    }

    /// Whether all events have been handled.
    pub(crate) fn is_over(&self) -> bool {
        self.sink.ended.get().is_some()
    }

    /// Starts a publisher's thread. `make` is called on it and returns what sends a whole batch, given the
    /// number of its first event.
    pub(crate) fn start_publisher<M, S>(self: &Arc<Self>, index: usize, make: M) -> JoinHandle<()>
    where
        M: FnOnce() -> S + Send + 'static,
        S: FnMut(u64),
    {
        let run = Arc::clone(self);
        thread::spawn(move || {
            pin(run.load.placement.publisher(index));
            let mut send = make();
            let warm_up = run.load.warm_up();
            let end = warm_up + run.load.per_publisher();
            let batch = run.load.batch;
            let mut number = 0;
            while number < warm_up {
                send(number);
                number += batch;
            }
            run.wait_for_start(index);
            while number < end {
                send(number);
                number += batch;
            }
        })
    }

    /// The first publisher waits for the others and for the warm-up's end, then starts the clock.
    fn wait_for_start(&self, index: usize) {
        let publishers = self.load.topology.publishers;
        self.gate.arrived.fetch_add(1, Ordering::AcqRel);
        if index == 0 {
            let warm = self.load.warm_up() * publishers as u64;
            wait_until(|| {
                self.gate.arrived.load(Ordering::Acquire) == publishers
                    && self.sink.handled.load(Ordering::Acquire) == warm
            });
            let _ = self.gate.began.set(Instant::now());
            self.gate.is_open.store(true, Ordering::Release);
        } else {
            wait_until(|| self.gate.is_open.load(Ordering::Acquire));
        }
    }

    /// Waits for the last event; nanoseconds for each.
    pub(crate) fn finish(&self, publishers: Vec<JoinHandle<()>>) -> Result<f64, String> {
        let limit = Instant::now() + ROUND_LIMIT;
        while !self.is_over() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let handled = self.sink.handled.load(Ordering::Acquire);
                return Err(format!(
                    "{} of {} events handled after {} s",
                    handled,
                    self.sink.last,
                    ROUND_LIMIT.as_secs()
                ));
            }
            thread::park_timeout(left);
        }
        for publisher in publishers {
            publisher
                .join()
                .map_err(|_| String::from("a publisher panicked"))?;
        }
        self.result()
    }

    fn result(&self) -> Result<f64, String> {
        let (Some(began), Some(ended)) = (self.gate.began.get(), self.sink.ended.get()) else {
            return Err(String::from("the last event came before the start"));
        };
        let publishers = self.load.topology.publishers as u64;
        let each = self.load.warm_up() + self.load.per_publisher();
        // The numbers 0..each and one more for each event, from every publisher.
        let expected = publishers * (each * (each - 1) / 2 + each);
        let sum = self.sink.sum.load(Ordering::Acquire);
        if sum != expected {
            return Err(format!(
                "the handled events sum up to {sum} and not to {expected}: some are lost or repeated"
            ));
        }
        let timed = publishers * self.load.per_publisher();
        Ok((*ended - *began).as_nanos() as f64 / timed as f64)
    }
}

/// Waits by spinning, and gives way now and then: there may be more threads than cores.
#[inline]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let mut spins = 0_u32;
    while !is_so() {
        spins += 1;
        if spins.is_multiple_of(64) {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(handle: impl Fn(&Run, &Order) + Send + Copy + 'static) -> Result<f64, String> {
        let run = Run::new(Load {
            topology: Topology::ONE_TO_ONE,
            batch: 64,
            events: 1_000,
            placement: Placement::FREE,
        });
        let publisher = {
            let sent_to = Arc::clone(&run);
            run.start_publisher(0, move || {
                move |first| (first..first + 64).for_each(|n| handle(&sent_to, &Order::nth(n)))
            })
        };
        run.finish(vec![publisher])
    }

    #[test]
    fn a_round_that_handles_everything_has_a_result() {
        let ns = run_with(|run, order| run.handle(order)).expect("every event was handled");
        assert!(ns > 0.0, "{ns}");
    }

    #[test]
    fn a_round_that_repeats_one_event_for_another_has_none() {
        let error = run_with(|run, order| {
            let changed = if order.order_id == 8_200 {
                8_199
            } else {
                order.order_id
            };
            run.handle(&Order::nth(changed));
        })
        .expect_err("event 8,200 was lost");
        assert!(error.contains("lost or repeated"), "{error}");
    }

    #[test]
    fn publishers_send_whole_batches() {
        let load = Load {
            topology: Topology::FOUR_TO_ONE,
            batch: 64,
            events: 1_000,
            placement: Placement::FREE,
        };
        assert_eq!(load.per_publisher(), 192);
        assert_eq!(load.warm_up() % 64, 0);
    }
}
