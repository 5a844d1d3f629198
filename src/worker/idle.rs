//! What a worker does when there is nothing to do.
//!
//! publish → route → lane → **worker** → handler → outcome
//!
//! Parking and waking cost tens of microseconds in a virtual machine, spinning costs a core. The
//! adaptive strategy learns the gap between events: if events usually come within the time a wake-up
//! takes, it spins a little longer than the gap; if they do not, it sleeps soon.

use crate::sync::{clock, spin_loop, thread};

/// Shortest and longest time a worker spins before it parks, in nanoseconds.
const BUDGET_NS_MIN: u64 = 5_000;
const BUDGET_NS_MAX: u64 = 200_000;
/// A gap above this is not worth spinning through.
const GAP_NS_MAX: u64 = 80_000;
/// Looks at the clock once in so many idle steps.
const STEPS_PER_LOOK: u32 = 8;

/// How a worker waits for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Never sleeps: the lowest latency, a whole core for each worker.
    BusySpin,
    /// Gives way to other threads but never sleeps.
    Yield,
    /// Spins as long as events have been worth it lately, then sleeps.
    #[default]
    Adaptive,
}

/// What an idle step asks of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look again.
    Poll,
    /// Go to sleep, after the last look.
    Park,
}

/// The learned part.
#[derive(Debug)]
pub(crate) struct Idle {
    wait: Wait,
    /// More threads than cores: spinning takes time from whoever has the next event.
    is_crowded: bool,
    /// When the worker ran dry, in nanoseconds of the process; 0: it has not.
    since_ns: u64,
    steps: u32,
    /// A running mean of the gaps.
    gap_ns: u64,
}

impl Idle {
    pub(crate) fn new(wait: Wait, is_crowded: bool) -> Self {
        Self {
            wait,
            is_crowded,
            since_ns: 0,
            steps: 0,
            gap_ns: BUDGET_NS_MIN,
        }
    }

    /// The worker found something.
    #[inline(always)]
    pub(crate) fn found(&mut self) {
        if self.steps != 0 {
            self.learn();
        }
    }

    #[cold]
    fn learn(&mut self) {
        self.steps = 0;
        if self.wait == Wait::Adaptive && self.since_ns != 0 {
            let gap = clock::process_ns()
                .saturating_sub(self.since_ns)
                .min(10 * GAP_NS_MAX);
            self.gap_ns = (self.gap_ns * 7 + gap) / 8;
        }
        self.since_ns = 0;
    }

    fn budget_ns(&self) -> u64 {
        if self.gap_ns > GAP_NS_MAX {
            BUDGET_NS_MIN
        } else {
            (2 * self.gap_ns).clamp(BUDGET_NS_MIN, BUDGET_NS_MAX)
        }
    }

    /// One step of having nothing to do.
    pub(crate) fn step(&mut self) -> Step {
        self.steps = self.steps.saturating_add(1);
        match self.wait {
            Wait::BusySpin => {
                // No pause: it would be what an event has to wait for.
                if self.is_crowded && self.steps.is_multiple_of(64) {
                    thread::yield_now();
                }
                Step::Poll
            }
            Wait::Yield => {
                if self.steps < 16 {
                    spin_loop();
                } else {
                    thread::yield_now();
                }
                Step::Poll
            }
            Wait::Adaptive => {
                if self.is_crowded && self.steps > 16 {
                    thread::yield_now();
                } else {
                    spin_loop();
                }
                if self.steps % STEPS_PER_LOOK == 1 {
                    let now = clock::process_ns();
                    if self.since_ns == 0 {
                        self.since_ns = now;
                    } else if now - self.since_ns > self.budget_ns() {
                        return Step::Park;
                    }
                }
                Step::Poll
            }
        }
    }
}
