//! The work that every system is given: the same events, the same handler, the same start and end.
//!
//! A [`Run`] is one round of one system. Publishers first send a warm-up, which faults in the rings,
//! opens whatever opens at first use, and shows which share of the accounts each worker gets; when all of it
//! has been handled the first publisher reads the clock and lets everybody go. The worker that is done last
//! reads the clock again at its last event. At the end the sum over all
//! events handled has to be right, so a system that loses or repeats events has no result.

use crate::machine::{Placement, pin};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Accounts that orders are about. A publisher goes through them again and again, so that each worker of
/// several gets a share that is known beforehand.
pub(crate) const ACCOUNTS: u64 = 1_024;
/// Events for each publisher before the clock starts: twice what a peer's queue holds.
pub(crate) const WARM_UP: u64 = 8_192;
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
            account: number % ACCOUNTS,
            cents: 1,
            quantity: 1,
        }
    }

    pub(crate) fn account(&self) -> u64 {
        self.account
    }

    pub(crate) fn number(&self) -> u64 {
        self.order_id
    }
}

/// An order without a key.
#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "order.unkeyed")]
pub(crate) struct Unkeyed {
    pub(crate) order: Order,
}

impl Unkeyed {
    #[inline(always)]
    pub(crate) fn nth(number: u64) -> Self {
        Self {
            order: Order::nth(number),
        }
    }
}

/// What a handler fails with: an error of the application's, as `?` hands it on.
#[derive(Debug)]
pub(crate) struct Busy {
    account: u64,
}

impl Busy {
    #[cold]
    pub(crate) fn new(account: u64) -> Self {
        Self { account }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {} is being changed", self.account)
    }
}

impl std::error::Error for Busy {}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) name: &'static str,
    pub(crate) publishers: usize,
    /// More than one share the accounts out among them, by hash.
    pub(crate) workers: usize,
}

impl Topology {
    pub(crate) const fn new(name: &'static str, publishers: usize, workers: usize) -> Self {
        Self {
            name,
            publishers,
            workers,
        }
    }

    pub(crate) const ONE_TO_ONE: Self = Self::new("one_to_one", 1, 1);
    pub(crate) const TWO_TO_ONE: Self = Self::new("two_to_one", 2, 1);
    pub(crate) const FOUR_TO_ONE: Self = Self::new("four_to_one", 4, 1);
    pub(crate) const ONE_TO_TWO_KEYED: Self = Self::new("one_to_two_keyed", 1, 2);
}

/// What one round is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) topology: Topology,
    /// Events that a publisher hands over in one call; a divisor of [`ACCOUNTS`].
    pub(crate) batch: u64,
    /// Events under the clock, all publishers together; rounded down to whole turns through the accounts.
    pub(crate) events: u64,
    /// Events of each publisher before the clock starts; whole turns.
    pub(crate) warm_up: u64,
    pub(crate) placement: Placement,
}

impl Load {
    fn per_publisher(&self) -> u64 {
        let share = self.events / self.topology.publishers as u64;
        (share - share % ACCOUNTS).max(ACCOUNTS)
    }

    /// Events under the clock, all publishers together.
    fn timed(&self) -> u64 {
        self.per_publisher() * self.topology.publishers as u64
    }

    fn warm_up_of_all(&self) -> u64 {
        self.warm_up * self.topology.publishers as u64
    }
}

/// Where a worker is counting; on lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Sink {
    handled: AtomicU64,
    sum: AtomicU64,
    /// The count at which this worker is done; known when the warm-up has shown its share.
    last: AtomicU64,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            handled: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
        }
    }
}

/// What publishers wait at; on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Gate {
    arrived: AtomicUsize,
    is_open: AtomicBool,
    began: OnceLock<Instant>,
}

/// The end of the round, in cold memory.
#[derive(Debug)]
#[repr(align(128))]
struct End {
    /// Workers that are not done.
    working: AtomicUsize,
    ended: OnceLock<Instant>,
    waiting: Thread,
}

/// The handlers of each event type, the way an application with many types would keep them.
pub(crate) type Table = Vec<Box<dyn Fn(&Order) + Send>>;

/// The place of [`Order`]'s handler in a [`Table`].
pub(crate) const ORDER: u32 = 1;

/// One round of one system.
#[derive(Debug)]
pub(crate) struct Run {
    load: Load,
    sinks: Box<[Sink]>,
    gate: Gate,
    end: End,
}

impl Run {
    /// The thread that calls is the one that has to [`finish`](Self::finish).
    pub(crate) fn new(load: Load) -> Arc<Self> {
        assert!(
            ACCOUNTS.is_multiple_of(load.batch) && load.warm_up.is_multiple_of(ACCOUNTS),
            "publishers send whole batches and whole turns through the accounts"
        );
        Arc::new(Self {
            sinks: (0..load.topology.workers)
                .map(|_| Sink::default())
                .collect(),
            gate: Gate::default(),
            end: End {
                working: AtomicUsize::new(0),
                ended: OnceLock::new(),
                waiting: thread::current(),
            },
            load,
        })
    }

    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// The handler's work, for every system. To be called by one thread at a time for each worker.
    #[inline(always)]
    pub(crate) fn handle(&self, worker: usize, order: &Order) {
        let sink = &self.sinks[worker];
        // The whole event, so that all of it has to be there.
        let value = order.order_id + order.cents * order.quantity;
        let sum = sink.sum.load(Ordering::Relaxed) + value;
        sink.sum.store(sum, Ordering::Relaxed);
        let handled = sink.handled.load(Ordering::Relaxed) + 1;
        // Release: who waits for the warm-up or checks the sum sees all of it.
        sink.handled.store(handled, Ordering::Release);
        if handled == sink.last.load(Ordering::Relaxed) {
            self.end();
        }
    }

    #[cold]
    fn end(&self) {
        // Each worker comes here once, as its count passes `last` once.
        if self.end.working.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.end.ended.set(Instant::now());
            self.end.waiting.unpark();
        }
    }

    /// The handlers of a peer's worker: a table, looked up by the event's type.
    pub(crate) fn table(self: &Arc<Self>, worker: usize) -> Table {
        let run = Arc::clone(self);
        vec![
            Box::new(|_| unreachable!("nobody sends the type 0")),
            Box::new(move |order| run.handle(worker, order)),
        ]
    }

    /// Whether all events have been handled.
    pub(crate) fn is_over(&self) -> bool {
        self.end.ended.get().is_some()
    }

    fn handled(&self) -> u64 {
        let counts = self.sinks.iter();
        counts
            .map(|sink| sink.handled.load(Ordering::Acquire))
            .sum()
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
            let warm_up = run.load.warm_up;
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
            let warm = self.load.warm_up_of_all();
            wait_until(|| {
                self.gate.arrived.load(Ordering::Acquire) == publishers && self.handled() == warm
            });
            self.share_out();
            let _ = self.gate.began.set(Instant::now());
            self.gate.is_open.store(true, Ordering::Release);
        } else {
            wait_until(|| self.gate.is_open.load(Ordering::Acquire));
        }
    }

    /// What comes is whole turns through the accounts, as the warm-up was: each worker's share is as large.
    fn share_out(&self) {
        let warm = self.load.warm_up_of_all();
        let shares = self.sinks.iter().map(|sink| {
            let handled = sink.handled.load(Ordering::Acquire);
            (sink, handled, handled * self.load.timed() / warm)
        });
        let shares: Vec<_> = shares.filter(|(_, _, share)| *share > 0).collect();
        self.end.working.store(shares.len(), Ordering::Release);
        for (sink, handled, share) in shares {
            sink.last.store(handled + share, Ordering::Release);
        }
    }

    /// Waits for the last event; nanoseconds for each.
    pub(crate) fn finish(&self, publishers: Vec<JoinHandle<()>>) -> Result<f64, String> {
        let limit = Instant::now() + ROUND_LIMIT;
        while !self.is_over() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "{} of {} events handled after {} s",
                    self.handled(),
                    self.load.warm_up_of_all() + self.load.timed(),
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
        let (Some(began), Some(ended)) = (self.gate.began.get(), self.end.ended.get()) else {
            return Err(String::from("the last event came before the start"));
        };
        let publishers = self.load.topology.publishers as u64;
        let each = self.load.warm_up + self.load.per_publisher();
        // The numbers 0..each and one more for each event, from every publisher.
        let expected = publishers * (each * (each - 1) / 2 + each);
        let sums = self.sinks.iter();
        let sum: u64 = sums.map(|sink| sink.sum.load(Ordering::Acquire)).sum();
        if sum != expected {
            return Err(format!(
                "the handled events sum up to {sum} and not to {expected}: some are lost or repeated"
            ));
        }
        Ok((*ended - *began).as_nanos() as f64 / self.load.timed() as f64)
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

    fn load(topology: Topology) -> Load {
        Load {
            topology,
            batch: 64,
            events: 5_000,
            warm_up: WARM_UP,
            placement: Placement::FREE,
        }
    }

    fn run_with(
        topology: Topology,
        handle: impl Fn(&Run, &Order) + Send + Copy + 'static,
    ) -> Result<f64, String> {
        let run = Run::new(load(topology));
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
        let ns = run_with(Topology::ONE_TO_ONE, |run, order| run.handle(0, order))
            .expect("every event was handled");
        assert!(ns > 0.0, "{ns}");
    }

    #[test]
    fn a_round_ends_when_the_last_of_two_workers_is_done() {
        // One account in 16 for the second worker.
        let ns = run_with(Topology::ONE_TO_TWO_KEYED, |run, order| {
            run.handle(usize::from(order.account.is_multiple_of(16)), order);
        })
        .expect("every event was handled");
        assert!(ns > 0.0, "{ns}");
    }

    #[test]
    fn a_round_that_repeats_one_event_for_another_has_none() {
        let error = run_with(Topology::ONE_TO_ONE, |run, order| {
            let changed = if order.order_id == 8_200 {
                8_199
            } else {
                order.order_id
            };
            run.handle(0, &Order::nth(changed));
        })
        .expect_err("event 8,200 was lost");
        assert!(error.contains("lost or repeated"), "{error}");
    }

    #[test]
    fn publishers_send_whole_turns_through_the_accounts() {
        assert_eq!(load(Topology::FOUR_TO_ONE).per_publisher(), ACCOUNTS);
        assert_eq!(load(Topology::ONE_TO_ONE).per_publisher(), 4 * ACCOUNTS);
        assert_eq!(load(Topology::TWO_TO_ONE).timed(), 4 * ACCOUNTS);
        assert_eq!(WARM_UP % ACCOUNTS, 0);
    }
}
