//! Planted faults: handlers that fail, panic or dawdle as a seed decides.
//!
//! publish → route → lane → worker → **handler** → outcome → (retry | breaker | dead letter)
//!
//! Whether an attempt fails is a pure function of the seed, of what the event is (its type, its key and its
//! place in the key) and of the attempt's number. Threads, time and the breaker have no say in it: they
//! decide when an attempt is made, not how it ends. So the same seed gives the same letters.

use crate::flow::{Numbered, OrderAmended, OrderCancelled, OrderFilled, OrderPlaced, mix};
use crate::input_event::InputEvent;
use clap::Args;
use jiff::SignedDuration;
use ringbolt::{
    Breaker, BreakerPolicy, BreakerState, BreakerTransitions, Context, Event, EventId, Failure,
    Handler, Jitter, Outcome, RetryPolicy, SubscriptionBuilder, Window,
};
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Attempts at a delivery, the first one included.
const ATTEMPTS_MAX: u32 = 4;
/// The delay behind the first attempt; each is twice as long as the one before...
const RETRY_BASE: Duration = Duration::from_millis(1);
/// ...up to this.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(2);
/// How long the breaker stays open at first; twice as long each time its probes fail...
const OPEN_WAIT: Duration = Duration::from_millis(1);
/// ...up to this.
const OPEN_WAIT_MAX: Duration = Duration::from_millis(8);
/// So often the breaker opens. Then it is disabled: what always fails would otherwise be tried a few times
/// at each wait's end, and two million events would take hours.
const OPENINGS_MAX: u64 = 250;
/// Longest time that `--slow` takes: shutdown waits as long for handlers.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// The options that plant faults.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Planted faults")]
pub(crate) struct FaultArgs {
    /// Part of the attempts, 0 to 1, that fail and may be tried again. With this or any of the next three
    /// there are 4 attempts (the second after 1 ms, the others after 2 ms), a circuit breaker and dead letters;
    /// the seed decides which attempts it is
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, value_parser = rate)]
    pub(crate) fail: Option<f64>,

    /// Part of the attempts that fail for good: no further attempt is made
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, value_parser = rate)]
    pub(crate) fail_permanent: Option<f64>,

    /// Part of the attempts that panic
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, value_parser = rate)]
    pub(crate) panic: Option<f64>,

    /// Part of the attempts that take so long, as in `0.01:5ms`. They are handled, and counted as timeouts;
    /// where half of the calls are slow the breaker opens
    #[arg(long, value_name = "RATE:DURATION", allow_negative_numbers = true, value_parser = slow)]
    pub(crate) slow: Option<Slow>,
}

/// How many attempts are slow, and how slow they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Slow {
    rate: f64,
    takes: Duration,
}

impl FaultArgs {
    /// What to plant; `None` if no rate was given, be it 0.
    pub(crate) fn faults(&self, seed: u64) -> Option<Faults> {
        let rates = self.rates();
        if rates.iter().all(|(_, rate)| rate.is_none()) {
            return None;
        }
        let mut until = 0.0;
        let bounds = rates.map(|(_, rate)| {
            until += rate.unwrap_or(0.0);
            until
        });
        Some(Faults {
            seed,
            bounds,
            slow: self.slow.map(|slow| slow.takes),
        })
    }

    /// Why the rates cannot be had together.
    pub(crate) fn conflict(&self) -> Option<String> {
        let given = self.rates();
        let given = given
            .iter()
            .filter_map(|(flag, rate)| Some((flag, (*rate)?)));
        let sum: f64 = given.clone().map(|(_, rate)| rate).sum();
        // Tenths do not add up to the last bit.
        if sum <= 1.0 + 1e-9 {
            return None;
        }
        let told: Vec<String> = given.map(|(flag, rate)| format!("{flag} {rate}")).collect();
        Some(format!(
            "{}: the rates add up to {sum}, and an attempt has one fate: they may be 0 to 1 together",
            told.join(", ")
        ))
    }

    fn rates(&self) -> [(&'static str, Option<f64>); 4] {
        [
            ("--fail-permanent", self.fail_permanent),
            ("--fail", self.fail),
            ("--panic", self.panic),
            ("--slow", self.slow.map(|slow| slow.rate)),
        ]
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        Ok(_) => Err("is not within 0 to 1".to_owned()),
        Err(_) => Err("is no number, and is to be one of 0 to 1".to_owned()),
    }
}

fn slow(text: &str) -> Result<Slow, String> {
    let (share, takes) = text
        .split_once(':')
        .ok_or("is no RATE:DURATION, as 0.01:5ms is")?;
    let rate = rate(share).map_err(|error| format!("the rate {share:?} {error}"))?;
    let takes = takes
        .parse()
        .ok()
        .and_then(|takes: SignedDuration| Duration::try_from(takes).ok())
        .filter(|takes| !takes.is_zero() && *takes <= SLOW_MAX)
        .ok_or_else(|| {
            format!("the duration {takes:?} is not above 0 and at most 60s, as 200us, 5ms or 1s is")
        })?;
    Ok(Slow { rate, takes })
}

/// Which attempts end how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    seed: u64,
    /// Where each fate ends on the way from 0 to 1.
    bounds: [f64; 4],
    slow: Option<Duration>,
}

/// What is planted in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Permanent,
    Failure,
    Panic,
    Slow(Duration),
}

impl Faults {
    fn at(&self, event: u64, attempt: u32) -> Option<Fault> {
        let draw = mix(mix(mix(self.seed) ^ event).wrapping_add(u64::from(attempt)));
        let draw = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        let fate = self.bounds.iter().position(|until| draw < *until)?;
        Some(match fate {
            0 => Fault::Permanent,
            1 => Fault::Failure,
            2 => Fault::Panic,
            _ => Fault::Slow(self.slow?),
        })
    }

    /// The policies of a subscription with faults, and the breaker among them.
    pub(crate) fn policies(
        &self,
        subscription: SubscriptionBuilder,
        breaker: &Breaker,
    ) -> SubscriptionBuilder {
        let subscription = subscription.retry(retry_policy()).breaker(breaker);
        match self.slow {
            Some(limit) => subscription.time_limit(limit),
            None => subscription,
        }
    }

    /// The breaker, which gives up after [`OPENINGS_MAX`].
    ///
    /// # Errors
    /// None that is expected: the settings are constants.
    pub(crate) fn breaker(&self, name: &str) -> Result<Breaker, ringbolt::Error> {
        let policy = BreakerPolicy::new()
            .window(Window::Count(100))
            .minimum_calls(20)
            .failure_rate(0.5)
            .half_open_permits(3)
            .open_wait(OPEN_WAIT)
            .open_wait_max(OPEN_WAIT_MAX);
        let policy = match self.slow {
            Some(limit) => policy.slow_call(limit, 0.5),
            None => policy,
        };
        let breaker = Breaker::new(name, policy)?;
        let given_up = breaker.clone();
        breaker.on_transition(move |made| {
            if made.to == BreakerState::Open
                && given_up.status().transitions.to_open >= OPENINGS_MAX
            {
                given_up.disable();
            }
        });
        Ok(breaker)
    }
}

/// Whether the breaker was disabled to let the run end.
pub(crate) fn has_given_up(transitions: &BreakerTransitions) -> bool {
    transitions.to_disabled > 0
}

fn retry_policy() -> RetryPolicy {
    RetryPolicy::none()
        .max_attempts(ATTEMPTS_MAX)
        .base(RETRY_BASE)
        .multiplier(2.0)
        .max_delay(RETRY_DELAY_MAX)
        .jitter(Jitter::None)
}

/// An event that is the same one in every run.
pub(crate) trait Identified: Event {
    /// A hash of what the event is, in every process.
    fn identity(&self) -> u64;
}

macro_rules! identified {
    ($($event:ty),*) => {$(
        impl Identified for $event {
            fn identity(&self) -> u64 {
                const TYPE: u64 = hash(0, <$event>::NAME.as_bytes());
                mix(mix(TYPE ^ u64::from(self.book())) ^ self.sequence())
            }
        }
    )*};
}

identified!(OrderPlaced, OrderAmended, OrderFilled, OrderCancelled);

impl Identified for InputEvent {
    fn identity(&self) -> u64 {
        let event_type = hash(1, self.record.event_type.as_bytes());
        let key = self.record.key.as_deref();
        let key = key.map_or(event_type, |key| mix(hash(event_type, key.as_bytes())));
        mix(key ^ self.sequence)
    }
}

/// FNV-1a of 64 bits, by Glenn Fowler, Landon Curt Noll and Kiem-Phong Vo: short, and the same for ever.
const fn hash(salt: u64, bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ salt;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01B3);
        at += 1;
    }
    hash
}

/// Attempts that were made in earlier runs, by event: a redelivery's go on counting.
pub(crate) type Earlier = Arc<HashMap<EventId, u32>>;

/// A handler in whose attempts faults are planted.
#[derive(Debug)]
pub(crate) struct Faulty<H> {
    handler: H,
    faults: Faults,
    earlier: Earlier,
}

impl<H> Faulty<H> {
    pub(crate) fn new(handler: H, faults: Faults, earlier: &Earlier) -> Self {
        Self {
            handler,
            faults,
            earlier: Arc::clone(earlier),
        }
    }
}

impl<E: Identified, H: Handler<E>> Handler<E> for Faulty<H> {
    fn handle(&mut self, event: &E, context: &mut Context<'_>) -> Outcome {
        let mut attempt = context.attempt();
        if context.is_redelivery() {
            let earlier = self.earlier.get(&context.id()).copied();
            attempt = attempt.saturating_add(earlier.unwrap_or(0));
        }
        match self.faults.at(event.identity(), attempt) {
            None => {}
            Some(Fault::Slow(takes)) => thread::sleep(takes),
            Some(Fault::Permanent) => {
                let failure = Failure::new(format!("planted failure for good, attempt {attempt}"));
                return Outcome::Failed(failure.permanent());
            }
            Some(Fault::Failure) => {
                let failure = Failure::new(format!("planted failure, attempt {attempt}"));
                return Outcome::Failed(failure);
            }
            // Resumed and not begun, so that no hook prints it: it was meant to happen.
            Some(Fault::Panic) => {
                resume_unwind(Box::new(format!("planted panic, attempt {attempt}")))
            }
        }
        self.handler.handle(event, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(args: FaultArgs) -> Faults {
        args.faults(1).expect("a rate is given")
    }

    #[test]
    fn rates_are_kept_and_the_seed_decides() {
        let args = FaultArgs {
            fail: Some(0.2),
            fail_permanent: Some(0.05),
            panic: Some(0.1),
            slow: Some(slow("0.15:5ms").expect("it is one")),
        };
        let faults = planted(args.clone());
        let mut counts = HashMap::new();
        for event in 0..10_000 {
            for attempt in 1..=4 {
                let fault = faults.at(mix(event), attempt);
                *counts.entry(format!("{fault:?}")).or_insert(0) += 1;
                assert_eq!(fault, planted(args.clone()).at(mix(event), attempt));
            }
        }
        for (fault, expected) in [
            ("None", 20_000),
            ("Some(Failure)", 8_000),
            ("Some(Permanent)", 2_000),
            ("Some(Panic)", 4_000),
            ("Some(Slow(5ms))", 6_000),
        ] {
            let count: i32 = counts[fault];
            assert!((count - expected).abs() < 400, "{fault}: {counts:?}");
        }
        let other = args.faults(2).expect("a rate is given");
        assert!((0..100).any(|event| other.at(event, 1) != faults.at(event, 1)));
    }

    #[test]
    fn all_or_none_is_exact() {
        let all = planted(FaultArgs {
            fail: Some(1.0),
            ..FaultArgs::default()
        });
        let none = planted(FaultArgs {
            panic: Some(0.0),
            ..FaultArgs::default()
        });
        for event in 0..10_000 {
            assert_eq!(all.at(event, 1), Some(Fault::Failure));
            assert_eq!(none.at(event, 1), None);
        }
        assert!(FaultArgs::default().faults(1).is_none());
    }

    #[test]
    fn rates_add_up_to_1_at_most() {
        let conflict = |fail, panic| {
            FaultArgs {
                fail: Some(fail),
                panic: Some(panic),
                ..FaultArgs::default()
            }
            .conflict()
        };
        assert_eq!(conflict(0.9, 0.1), None);
        let told = conflict(0.75, 0.5).expect("too much");
        for words in ["--fail 0.75", "--panic 0.5", "1.25", "0 to 1"] {
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn what_is_slow_has_a_rate_and_a_duration() {
        let parsed = slow("0.5:1.5ms").expect("it is one");
        assert_eq!(parsed.takes, Duration::from_micros(1_500));
        for (text, words) in [
            ("0.5", "RATE:DURATION"),
            ("2:5ms", "within 0 to 1"),
            ("x:5ms", "no number"),
            ("0.5:0ms", "above 0"),
            ("0.5:-1ms", "above 0"),
            ("0.5:2h", "at most 60s"),
            ("0.5:soon", "above 0"),
        ] {
            let told = slow(text).expect_err("refused");
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
