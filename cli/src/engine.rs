//! The engine as the command sets it up, for a run and for a redelivery.
//!
//! arguments → input or flow → feed → ***the engine*** → check → summary

use crate::check::{FlowCheck, InputCheck, Places, Sink};
use crate::faults::{Earlier, Faults, Faulty};
use crate::flow::{BOOK_COUNT, OrderAmended, OrderCancelled, OrderFilled, OrderPlaced};
use crate::input_event::InputEvent;
use crate::stop::Stop;
use anyhow::{Context as _, Result};
use ringbolt::{
    Breaker, BreakerTransitions, DeadLetterPolicy, DeadLetters, EventSystem, FactoryBuilder,
    Failure, Filter, Handler, Page, Subscription,
};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// The name of the subscription; letters have it.
pub(crate) const SUBSCRIPTION: &str = "check";
/// Letters that are kept: as many as there is memory for.
const LETTERS_MAX: usize = 1 << 30;
/// Longest time in which nothing happens before a run with faults is given up.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Longest sleep between two looks at what is still to be done.
const NAP_MAX: Duration = Duration::from_millis(10);

/// What is to be set up.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) lane_capacity: usize,
    pub(crate) has_flow: bool,
    pub(crate) has_input: bool,
    pub(crate) faults: Option<Faults>,
    pub(crate) keeps_letters: bool,
    pub(crate) is_sequential: bool,
    pub(crate) earlier: Earlier,
}

/// An engine with the self-check subscribed.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) system: EventSystem,
    pub(crate) sink: Sink,
    pub(crate) breaker: Option<Breaker>,
    /// `None` if none are kept.
    pub(crate) letters: Option<DeadLetters>,
    has_faults: bool,
}

impl Engine {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be built.
    pub(crate) fn start(setup: &Setup) -> Result<Self> {
        let builder = EventSystem::builder()
            .workers(setup.workers)
            .lane_capacity(setup.lane_capacity);
        let builder = if setup.keeps_letters {
            builder.dead_letters(DeadLetterPolicy::new().capacity(LETTERS_MAX))
        } else {
            builder
        };
        let system = builder.build()?;
        let sink = Sink::default();
        let breaker = setup
            .faults
            .map(|faults| faults.breaker(SUBSCRIPTION))
            .transpose()?;
        subscribe(&system, setup, &sink, breaker.as_ref())?;
        Ok(Self {
            letters: system.dead_letters(),
            system,
            sink,
            breaker,
            has_faults: setup.faults.is_some(),
        })
    }

    /// What the breaker did, if there is one.
    pub(crate) fn transitions(&self) -> Option<BreakerTransitions> {
        let breaker = self.breaker.as_ref()?;
        Some(breaker.status().transitions)
    }

    /// Waits until everything that was admitted has ended, where that may take longer than a shutdown's
    /// deadline: until then, until the run is to stop, or until nothing has happened for long.
    pub(crate) fn settle(&self, stop: &Stop) {
        if !self.has_faults {
            return;
        }
        let mut nap = Duration::from_millis(1);
        let (mut last, mut moved) = (None, Instant::now());
        while !stop.is_asked() {
            let report = self.system.report();
            let ended = report.totals.ended();
            if ended >= report.published {
                return;
            }
            let attempts: u64 = report
                .subscriptions
                .iter()
                .map(|subscription| subscription.attempts.failed_attempts)
                .sum();
            let now = Some((ended, attempts));
            if now != last {
                (last, moved) = (now, Instant::now());
            } else if moved.elapsed() > STANDSTILL {
                return;
            }
            thread::sleep(nap);
            nap = (nap * 2).min(NAP_MAX);
        }
    }
}

/// What there is to say of the letters of a run.
#[derive(Debug, Default)]
pub(crate) struct LetterCount {
    pub(crate) by_reason: BTreeMap<String, u64>,
    pub(crate) places: Places,
}

impl LetterCount {
    /// Looks through all letters.
    pub(crate) fn of(letters: &DeadLetters) -> Self {
        let mut count = Self::default();
        let mut page = Page::new().limit(1_000);
        loop {
            let found = letters.list(&Filter::new(), page);
            for letter in &found.letters {
                *count
                    .by_reason
                    .entry(letter.reason.name().to_owned())
                    .or_default() += 1;
                count.places.add(letter);
            }
            match found.next {
                Some(next) => page = page.after(next),
                None => return count,
            }
        }
    }
}

/// One subscription for each type, so that deliveries are events.
fn subscribe(
    system: &EventSystem,
    setup: &Setup,
    sink: &Sink,
    breaker: Option<&Breaker>,
) -> Result<()> {
    let subscription = || {
        let subscription = system.subscription(SUBSCRIPTION);
        let subscription = if setup.is_sequential {
            subscription.sequential()
        } else {
            subscription
        };
        match (&setup.faults, breaker) {
            (Some(faults), Some(breaker)) => faults.policies(subscription, breaker),
            _ => subscription,
        }
    };
    if setup.has_flow {
        let sink = sink.clone();
        let check = move |worker| FlowCheck::new(sink.clone(), BOOK_COUNT, worker);
        let subscription = subscription();
        match setup.faults {
            None => on_flow(subscription.factory(move |worker| Ok::<_, Failure>(check(worker)))),
            Some(faults) => {
                let earlier = setup.earlier.clone();
                on_flow(subscription.factory(move |worker| {
                    Ok::<_, Failure>(Faulty::new(check(worker), faults, &earlier))
                }))
            }
        }
        .context("cannot subscribe to the flow")?;
    }
    if setup.has_input {
        let sink = sink.clone();
        let check = move |worker| InputCheck::new(sink.clone(), worker);
        let subscription = subscription();
        match setup.faults {
            None => subscription
                .factory(move |worker| Ok::<_, Failure>(check(worker)))
                .on::<InputEvent>()
                .register(),
            Some(faults) => {
                let earlier = setup.earlier.clone();
                subscription
                    .factory(move |worker| {
                        Ok::<_, Failure>(Faulty::new(check(worker), faults, &earlier))
                    })
                    .on::<InputEvent>()
                    .register()
            }
        }
        .context("cannot subscribe to the input")?;
    }
    Ok(())
}

fn on_flow<H>(factory: FactoryBuilder<H>) -> Result<Subscription, ringbolt::Error>
where
    H: Handler<OrderPlaced>
        + Handler<OrderAmended>
        + Handler<OrderFilled>
        + Handler<OrderCancelled>,
{
    factory
        .on::<OrderPlaced>()
        .on::<OrderAmended>()
        .on::<OrderFilled>()
        .on::<OrderCancelled>()
        .register()
}
