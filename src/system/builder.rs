//! Settings, checked together, and the start of the threads.

use super::engine::{Engine, EngineParts, PoolRuntime};
use super::handle::EventSystem;
use super::letters::NobodyWants;
use super::shutdown::{ShutdownReport, StopObserver};
use crate::dead_letter::{DeadLetterPolicy, Queue};
use crate::error::{Error, ErrorKind};
use crate::error_event::{ErrorEvent, ErrorHub, ErrorObserver, Escalation};
use crate::event::Class;
use crate::handler::WorkerId;
use crate::lane::CLASS_COUNT;
use crate::route::{Fabric, FabricParts, POOL_COUNT_MAX, PoolInfo, Unwanted, WorkerPort};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Barrier, thread};
use crate::worker::{Failing, Stamps, Wait, Worker, WorkerSettings, WorkerShared, needs_bell};
use std::fmt;
use std::time::Duration;

/// What happens to an event that nobody subscribes to (PD11). It is counted in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoHandler {
    /// It is dropped.
    #[default]
    Ignore,
    /// It comes back as `PublishError::NoHandler`.
    Error,
    /// It becomes a dead letter; needs [`Builder::dead_letters`]. With a full queue that pauses, there is no
    /// room for it, and the publisher's admission says what then.
    DeadLetter,
}

/// How publishers and sleeping workers find each other; fixed when the engine is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wake {
    /// The best there is here.
    #[default]
    Auto,
    /// `membarrier` on the worker's side, nothing on the publisher's. Linux only.
    Asymmetric,
    /// A full fence on both sides.
    Fence,
}

/// A named group of workers.
#[derive(Debug, Clone)]
pub struct Pool {
    name: String,
    workers: usize,
    unordered: bool,
    polled: bool,
    wait: Option<Wait>,
    pin: Vec<usize>,
}

impl Pool {
    /// A pool of one worker.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            workers: 1,
            unordered: false,
            polled: false,
            wait: None,
            pin: Vec::new(),
        }
    }

    /// How many workers; at least 1.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Gives order up: all workers share one queue, so that nothing waits behind a slow event.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.unordered = true;
        self
    }

    /// No threads: the pool's one worker runs when [`Poller::poll`](crate::Poller::poll) is called.
    #[must_use]
    pub fn polled(mut self) -> Self {
        self.polled = true;
        self
    }

    /// How the pool's workers wait, in place of the engine's choice.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Pins the workers to these processors, in turn.
    #[must_use]
    pub fn pin(mut self, processors: impl IntoIterator<Item = usize>) -> Self {
        self.pin = processors.into_iter().collect();
        self
    }
}

/// Most slots of a lane or an inbox: 2 GiB.
const CAPACITY_MAX: usize = 1 << 24;
/// Three lower classes that fall due together take three events; the class above them wants as many.
const STARVATION_LIMIT_MIN: usize = 6;

/// Builds an [`EventSystem`]; see [`EventSystem::builder`].
#[must_use]
pub struct Builder {
    pools: Vec<Pool>,
    wait: Wait,
    stamps: Stamps,
    wake: Wake,
    lane_capacity: usize,
    inbox_capacity: usize,
    spill_max: usize,
    batch_max: usize,
    batch_time: Duration,
    starvation_limit: usize,
    no_handler: NoHandler,
    lossy: [bool; CLASS_COUNT],
    observers: Vec<ErrorObserver>,
    escalations: Vec<Escalation>,
    stop_observer: Option<StopObserver>,
    delayed_max: usize,
    dead_letters: Option<DeadLetterPolicy>,
    clock: Option<Clock>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            pools: vec![Pool::new("default").workers(thread::cores().clamp(1, 4))],
            wait: Wait::default(),
            stamps: Stamps::default(),
            wake: Wake::default(),
            lane_capacity: 2_048,
            inbox_capacity: 1_024,
            spill_max: 65_536,
            batch_max: 128,
            batch_time: Duration::from_micros(20),
            starvation_limit: 256,
            no_handler: NoHandler::default(),
            lossy: [false; CLASS_COUNT],
            observers: Vec::new(),
            escalations: Vec::new(),
            stop_observer: None,
            delayed_max: 1_000_000,
            dead_letters: None,
            clock: None,
        }
    }

    /// Workers of the pool `default`; as many as cores, at most 4, if nothing is said.
    pub fn workers(mut self, count: usize) -> Self {
        self.pools[0].workers = count;
        self
    }

    /// Adds a pool, or replaces the one of that name (`default` exists).
    pub fn pool(mut self, pool: Pool) -> Self {
        match self.pools.iter_mut().find(|other| other.name == pool.name) {
            Some(other) => *other = pool,
            None => self.pools.push(pool),
        }
        self
    }

    /// How workers wait for events; adaptive at first.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How latency is stamped; adaptive at first.
    pub fn stamps(mut self, stamps: Stamps) -> Self {
        self.stamps = stamps;
        self
    }

    /// How sleeping workers are found; the best there is at first.
    pub fn wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// Slots of a private lane, 128 bytes each; 2,048 at first.
    pub fn lane_capacity(mut self, slots: usize) -> Self {
        self.lane_capacity = slots;
        self
    }

    /// Slots of an inbox, for each worker and class; 1,024 at first.
    pub fn inbox_capacity(mut self, slots: usize) -> Self {
        self.inbox_capacity = slots;
        self
    }

    /// Events a worker holds that its handlers published and that have no room; 65,536 at first.
    pub fn spill_max(mut self, events: usize) -> Self {
        self.spill_max = events;
        self
    }

    /// Most events of one class that a worker takes together; 128 at first.
    pub fn batch_max(mut self, events: usize) -> Self {
        self.batch_max = events;
        self
    }

    /// Longest time that a batch of a class below critical goes on; 20 us at first.
    pub fn batch_time(mut self, time: Duration) -> Self {
        self.batch_time = time;
        self
    }

    /// A waiting lower class is served at least once in so many events; 256 at first, 6 at least.
    pub fn starvation_limit(mut self, events: usize) -> Self {
        self.starvation_limit = events;
        self
    }

    /// What happens to events that nobody subscribes to.
    pub fn no_handler(mut self, policy: NoHandler) -> Self {
        self.no_handler = policy;
        self
    }

    /// Declares a class lossy: with [`Admission::Lossy`](crate::Admission::Lossy) its events are dropped
    /// and counted when there is no room.
    pub fn lossy(mut self, class: Class) -> Self {
        self.lossy[class.index()] = true;
        self
    }

    /// Is told of everything that goes wrong, every failed delivery first of all, on the worker's thread; to be quick,
    /// and free to panic. Several may be given, and are told in this order.
    pub fn on_error(mut self, observer: impl Fn(&ErrorEvent) + Send + Sync + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Adds a rule that raises the severity of errors once there are many. Several are asked in this order.
    pub fn escalate(mut self, rule: Escalation) -> Self {
        self.escalations.push(rule);
        self
    }

    /// Is told once how the stop went: the way to learn of what was abandoned where the system is
    /// dropped and not shut down. Free to panic.
    pub fn on_stopped(
        mut self,
        observer: impl Fn(&ShutdownReport) + Send + Sync + 'static,
    ) -> Self {
        self.stop_observer = Some(Arc::new(observer));
        self
    }

    /// Gives the engine a dead-letter queue: deliveries that fail for good are kept there, with everything that
    /// is needed to look at them and to try again. Without one they are counted as failed.
    pub fn dead_letters(mut self, policy: DeadLetterPolicy) -> Self {
        self.dead_letters = Some(policy);
        self
    }

    /// How many events may wait to be published later; a million at first.
    pub fn delayed_max(mut self, events: usize) -> Self {
        self.delayed_max = events;
        self
    }

    /// The source of stamps; the real one if nothing is said.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Every setting that is out of range, in one text.
    fn check(&self) -> Result<(), Error> {
        let mut faults = Vec::new();
        let mut at_least_one = |name: &str, value: usize| {
            if value == 0 {
                faults.push(format!("{name}: 0 is below 1 (set it to 1 or more)"));
            }
        };
        at_least_one("lane_capacity", self.lane_capacity);
        at_least_one("inbox_capacity", self.inbox_capacity);
        at_least_one("spill_max", self.spill_max);
        at_least_one("batch_max", self.batch_max);
        for pool in &self.pools {
            at_least_one(&format!("pool {}: workers", pool.name), pool.workers);
        }
        for (name, value) in [
            ("lane_capacity", self.lane_capacity),
            ("inbox_capacity", self.inbox_capacity),
        ] {
            if value > CAPACITY_MAX {
                faults.push(format!(
                    "{name}: {value} is above {CAPACITY_MAX} (a slot is 128 bytes, and each publisher, worker and class has its own)"
                ));
            }
        }
        for pool in &self.pools {
            if pool.name.contains('\0') {
                faults.push(format!(
                    "pool {:?}: a name with a NUL cannot name a thread (leave it out)",
                    pool.name
                ));
            }
        }
        if self.starvation_limit < STARVATION_LIMIT_MIN {
            faults.push(format!(
                "starvation_limit: {} is below {STARVATION_LIMIT_MIN} (with less, three waiting lower classes would leave no turn for critical events)",
                self.starvation_limit
            ));
        }
        if self.pools.len() > POOL_COUNT_MAX {
            faults.push(format!(
                "pools: {} are more than {POOL_COUNT_MAX} (share pools between subscriptions)",
                self.pools.len()
            ));
        }
        for pool in &self.pools {
            if pool.workers > usize::from(u16::MAX) {
                faults.push(format!(
                    "pool {}: {} workers are more than {}",
                    pool.name,
                    pool.workers,
                    u16::MAX
                ));
            }
            if pool.polled && pool.workers != 1 {
                faults.push(format!(
                    "pool {}: a polled pool has one worker, not {} (declare a polled pool for each polling thread)",
                    pool.name, pool.workers
                ));
            }
            if pool.polled && pool.unordered {
                faults.push(format!(
                    "pool {}: a polled pool has one worker, so it cannot be unordered (leave one of the two out)",
                    pool.name
                ));
            }
        }
        for rule in &self.escalations {
            rule.check(&mut faults);
        }
        match &self.dead_letters {
            Some(policy) => policy.check(&mut faults),
            None if self.no_handler == NoHandler::DeadLetter => faults.push(
                "no_handler: there is no dead-letter queue for such events (give one with dead_letters, or choose Ignore or Error)"
                    .to_owned(),
            ),
            None => {}
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Setting, faults.join("; ")))
        }
    }

    /// Builds the engine and starts its threads.
    ///
    /// # Errors
    /// `is_setting`: settings out of range, all of them in the text. `is_thread`: a thread could not be
    /// started or pinned; those that had started are stopped again.
    pub fn build(self) -> Result<EventSystem, Error> {
        self.check()?;
        let barrier = match self.wake {
            Wake::Auto => Barrier::best(),
            Wake::Fence => Barrier::Fence,
            Wake::Asymmetric => {
                let barrier = Barrier::best();
                if barrier != Barrier::Asymmetric {
                    return Err(Error::new(
                        ErrorKind::Setting,
                        "wake: asymmetric needs Linux with membarrier (use Wake::Auto)",
                    ));
                }
                barrier
            }
        };
        let clock = self.clock.clone().unwrap_or_else(Clock::real);
        let waits: Vec<Wait> = self
            .pools
            .iter()
            .map(|pool| pool.wait.unwrap_or(self.wait))
            .collect();
        let has_bell = needs_bell(waits.iter().copied()) || self.pools.iter().any(|p| p.polled);
        let threads: usize = self
            .pools
            .iter()
            .filter(|pool| !pool.polled)
            .map(|pool| pool.workers)
            .sum();
        let mut first = 0_usize;
        let mut infos = Vec::new();
        let mut pools = Vec::new();
        let mut shared = Vec::new();
        for (index, (pool, wait)) in self.pools.iter().zip(waits).enumerate() {
            infos.push(PoolInfo {
                name: pool.name.clone(),
                first: u32::try_from(first).expect("checked above"),
                count: u32::try_from(pool.workers).expect("checked above"),
                shared: pool.unordered.then(Default::default),
            });
            pools.push(PoolRuntime::new(
                pool.polled,
                WorkerSettings {
                    batch_max: self.batch_max,
                    batch_time: self.batch_time,
                    starvation_limit: self.starvation_limit,
                    wait,
                    stamps: self.stamps,
                    pool: index,
                    is_crowded: threads >= thread::cores(),
                },
            ));
            for number in 0..pool.workers {
                shared.push(Arc::new(WorkerShared::new(
                    WorkerId {
                        pool: index as u16,
                        index: number as u16,
                    },
                    first + number,
                    barrier,
                    clock.raw(),
                )));
            }
            first += pool.workers;
        }
        let letters = self
            .dead_letters
            .clone()
            .map(|policy| Arc::new(Queue::new(policy, clock.clone())));
        let unwanted = match (self.no_handler, &letters) {
            (NoHandler::DeadLetter, Some(queue)) => {
                Unwanted::Kept(Arc::new(NobodyWants::new(Arc::clone(queue))))
            }
            (NoHandler::Error, _) => Unwanted::Refused,
            _ => Unwanted::Dropped,
        };
        let fabric = Arc::new(Fabric::new(FabricParts {
            barrier,
            has_bell,
            clock,
            pools: infos,
            ports: (0..first)
                .map(|_| Arc::new(WorkerPort::new(self.inbox_capacity)))
                .collect(),
            is_sampled: self.stamps == Stamps::Sampled,
            lane_capacity: self.lane_capacity,
            inbox_capacity: self.inbox_capacity,
            spill_max: self.spill_max,
            unwanted,
            lossy: self.lossy,
        }));
        let engine = Arc::new(Engine::new(EngineParts {
            fabric,
            pools,
            workers: shared,
            stamps: self.stamps,
            failing: Failing {
                errors: Arc::new(ErrorHub::new(
                    self.observers.clone(),
                    self.escalations.clone(),
                )),
                letters,
            },
            delayed_max: self.delayed_max,
            stop_observer: self.stop_observer.clone(),
        }));
        engine.own_letters();
        let sleepers = Arc::downgrade(&engine.fabric);
        engine.fabric.clock.on_move(move || {
            let Some(fabric) = sleepers.upgrade() else {
                return false;
            };
            for port in &fabric.ports {
                port.wake.notify(fabric.barrier);
            }
            true
        });
        let system = EventSystem::new(Arc::clone(&engine));
        // If a thread cannot be started, dropping the system stops those that were.
        for (index, pool) in self.pools.iter().enumerate() {
            if pool.polled {
                continue;
            }
            for (number, worker) in engine.fabric.pools[index].workers().enumerate() {
                let processor = (!pool.pin.is_empty()).then(|| pool.pin[number % pool.pin.len()]);
                self.start(&engine, index, worker, processor)?;
            }
        }
        Ok(system)
    }

    fn start(
        &self,
        engine: &Arc<Engine>,
        pool: usize,
        worker: usize,
        processor: Option<usize>,
    ) -> Result<(), Error> {
        let fabric = Arc::clone(&engine.fabric);
        let shared = Arc::clone(&engine.workers[worker]);
        let settings = engine.pools[pool].settings.clone();
        let failing = engine.failing.clone();
        let name = format!("{}-{}", self.pools[pool].name, shared.id.index);
        let pinned = super::engine::StartSignal::new();
        let signal = Arc::clone(&pinned);
        let thread = thread::start(name.clone(), move || {
            if let Err(error) = processor.map_or(Ok(()), thread::pin) {
                signal.give(Err(error));
                return;
            }
            // Made before the signal: from then on letters find a worker that reads them.
            let worker = Worker::new(fabric, shared, settings, failing);
            signal.give(Ok(()));
            worker.run();
        })
        .map_err(|error| {
            Error::new(
                ErrorKind::Thread,
                format!("worker {name}: its thread could not be started: {error}"),
            )
        })?;
        pinned.wait().map_err(|error| {
            Error::new(
                ErrorKind::Thread,
                format!(
                    "worker {name}: could not be pinned to processor {}: {error} (leave Pool::pin out, or name a processor that exists)",
                    processor.unwrap_or_default()
                ),
            )
        })?;
        engine.note_started(worker, thread);
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}
