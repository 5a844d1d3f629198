//! What is drawn for a life before it begins.

use crate::random::Random;
use ringbolt::{
    Breaker, BreakerPolicy, Builder, DeadLetterPolicy, EventSystem, Jitter, Overflow, Pool,
    RetryPolicy, Stamps, Wait, Wake, Window,
};
use std::time::Duration;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// With all the time it takes.
    Drained,
    /// With a deadline that may come first.
    Within(Duration),
    /// At once.
    Cut,
    /// By a handler.
    FromHandler,
    /// The system is dropped.
    Dropped,
}

/// The settings of one engine and the traffic through it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the pool `default`.
    pub workers: usize,
    /// Threads that publish.
    pub publishers: usize,
    /// Different keys.
    pub keys: u64,
    /// Slots of a lane; 1 at times.
    pub lane_capacity: usize,
    /// Slots of an inbox.
    pub inbox_capacity: usize,
    /// Events that a worker holds back.
    pub spill_max: usize,
    /// Events of a batch.
    pub batch_max: usize,
    /// Events until a lower class is served.
    pub starvation_limit: usize,
    /// How workers wait.
    pub wait: Wait,
    /// How they are woken.
    pub wake: Wake,
    /// How latency is stamped.
    pub stamps: Stamps,
    /// Handlers publish once in so many events; 0: never.
    pub child_every: u32,
    /// Handlers that panic.
    pub panic_percent: u64,
    /// Handlers, in ten thousand, that take a millisecond.
    pub slow_share: u64,
    /// How it ends.
    pub stop: Stop,
    /// Events of a publisher, on average, between two of its pauses.
    pub burst: u64,
    /// Calls of a delivery, the first included.
    pub attempts: u32,
    /// The wait before the second.
    pub delay: Duration,
    /// Most deliveries that a subscription holds on a worker.
    pub held_max: usize,
    /// Letters that are kept; without any there is no queue.
    pub letters: usize,
    /// What happens when there are more.
    pub overflow: Overflow,
    /// A letter parks its key, for the subscriptions that stay.
    pub is_sequential: bool,
    /// Subscriptions that stay share a breaker.
    pub has_breaker: bool,
}

impl Settings {
    /// Draws them.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let mut settings = Self {
            workers: 1 + random.below(3) as usize,
            publishers: 2 + random.below(3) as usize,
            keys: random.pick(&[1, 4, 16]),
            lane_capacity: random.pick(&[1, 1, 2, 16, 256]),
            inbox_capacity: random.pick(&[1, 4, 64]),
            spill_max: random.pick(&[1, 16, 1024]),
            batch_max: random.pick(&[1, 8, 128]),
            starvation_limit: random.pick(&[6, 16, 256]),
            wait: random.pick(&[Wait::Yield, Wait::Adaptive, Wait::Adaptive]),
            wake: random.pick(&[Wake::Auto, Wake::Fence]),
            stamps: random.pick(&[Stamps::Each, Stamps::Adaptive]),
            child_every: random.pick(&[0, 1, 3, 10]),
            panic_percent: random.pick(&[0, 0, 1]),
            slow_share: random.pick(&[0, 2, 20]),
            stop: random.pick(&[
                Stop::Drained,
                Stop::Within(Duration::from_millis(5)),
                Stop::Cut,
                Stop::FromHandler,
                Stop::Dropped,
            ]),
            burst: random.pick(&[100, 400, 4_000]),
            attempts: random.pick(&[1, 2, 4]),
            delay: random.pick(&[
                Duration::ZERO,
                Duration::from_micros(20),
                Duration::from_millis(1),
            ]),
            held_max: random.pick(&[1, 16, 65_536]),
            letters: random.pick(&[0, 4, 64, 100_000]),
            overflow: random.pick(&[Overflow::Pause, Overflow::EvictOldest, Overflow::Refuse]),
            is_sequential: random.percent(40),
            has_breaker: random.percent(40),
        };
        if settings.overflow == Overflow::Pause && settings.stop == Stop::Drained {
            // What waits for room is not waited for.
            settings.overflow = Overflow::EvictOldest;
        }
        settings.is_sequential &= settings.letters > 0;
        settings
    }

    /// What is done about a failure.
    #[must_use]
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy::none()
            .max_attempts(self.attempts)
            .base(self.delay)
            .max_delay(self.delay * 4)
            .multiplier(2.0)
            .jitter(Jitter::Full)
            .held_max(self.held_max)
    }

    /// The breaker of the subscriptions that stay: it opens soon, and not for long.
    #[must_use]
    pub fn breaker(&self) -> Option<Breaker> {
        let policy = BreakerPolicy::new()
            .window(Window::Count(8))
            .minimum_calls(4)
            .failure_rate(0.4)
            .open_wait(Duration::from_micros(200))
            .open_wait_max(Duration::from_millis(2))
            .half_open_permits(2);
        let breaker = Breaker::new("stays", policy).expect("settings in range");
        self.has_breaker.then_some(breaker)
    }

    /// The engine: the pools `default`, `any` (unordered), `value` and `polled`.
    pub fn builder(&self) -> Builder {
        let mut builder = EventSystem::builder();
        if self.letters > 0 {
            let policy = DeadLetterPolicy::new()
                .capacity(self.letters)
                .overflow(self.overflow);
            builder = builder.dead_letters(policy);
        }
        builder
            .workers(self.workers)
            .pool(Pool::new("any").workers(2).unordered())
            .pool(Pool::new("value").workers(2))
            .pool(Pool::new("polled").polled())
            .lane_capacity(self.lane_capacity)
            .inbox_capacity(self.inbox_capacity)
            .spill_max(self.spill_max)
            .batch_max(self.batch_max)
            .starvation_limit(self.starvation_limit)
            .wait(self.wait)
            .wake(self.wake)
            .stamps(self.stamps)
    }
}
