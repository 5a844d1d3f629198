//! A million letters in the engine's own queue, and what each takes: in a process of its own, with every byte counted.

use crate::held;
use crate::load::{Order, PAYLOAD_BYTES};
use crate::memory::resident_bytes;
use crate::systems::said;
use clap::ValueEnum;
use ringbolt::{
    Clock, Context, DeadLetterPolicy, EventSystem, Filter, Polled, Poller, Pool, Publisher,
    RetryPolicy,
};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt;
use std::process::{Command, Stdio};

const LETTERS: u64 = 1_000_000;
/// Letters that come before anything is counted: what opens or grows at first use has done so.
const FIRST: u64 = 4_096;
/// Events that are published and dealt with at a time.
const AT_A_TIME: u64 = 1_024;
const ATTEMPTS: u32 = 3;

/// What failed, and how it said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Each of three attempts failed with words of its own, and with a cause
    Letters,
    /// All three with the same words
    LettersAlike,
    /// As the first, and each letter parks a key of its own
    LettersParked,
}

impl Case {
    pub(super) const ALL: [Self; 3] = [Self::Letters, Self::LettersAlike, Self::LettersParked];

    pub(super) const fn argument(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::LettersAlike => "letters-alike",
            Self::LettersParked => "letters-parked",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Letters => "each attempt in its own words",
            Self::LettersAlike => "all attempts in the same words",
            Self::LettersParked => "in its own words, a key parked",
        }
    }
}

/// What so many letters took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    letters: u64,
    /// Asked for while they came, and not given back.
    live_bytes: i64,
    /// By which the process has grown.
    resident_bytes: i64,
}

impl Taken {
    fn each(self, bytes: i64) -> f64 {
        bytes as f64 / self.letters as f64 - PAYLOAD_BYTES as f64
    }

    /// Bytes for each, beside the payload.
    pub(super) fn live_each(self) -> f64 {
        self.each(self.live_bytes)
    }

    /// The same of what is resident: the allocator's own bytes and gaps are in it.
    pub(super) fn resident_each(self) -> f64 {
        self.each(self.resident_bytes)
    }
}

/// What a handler fails with: an error of the application's...
#[derive(Debug)]
struct Refused {
    order: u64,
    attempt: Option<u32>,
    source: Down,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            Some(attempt) => write!(f, "try {attempt}: order {} was refused", self.order),
            None => write!(f, "the order {} was refused", self.order),
        }
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// ...and where that came from.
#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset by peer")
    }
}

impl Error for Down {}

/// Every order has an account of its own.
#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "order.parked", key = "number")]
struct Parked {
    number: u64,
    order: [u64; 3],
}

#[derive(Debug, Clone, Copy, ringbolt::Event)]
#[event(name = "order.loose")]
struct Loose {
    order: Order,
}

const _: () = assert!(size_of::<Parked>() == PAYLOAD_BYTES && size_of::<Loose>() == PAYLOAD_BYTES);

/// One of each case, in a process of its own: this program, run again.
pub(super) fn measure(case: Case) -> Result<Taken, String> {
    let program = std::env::current_exe().map_err(said)?;
    let output = Command::new(program)
        .args(["failing", "--child", case.argument()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(said)?;
    if !output.status.success() {
        let (case, status) = (case.argument(), output.status);
        return Err(format!("{case}: its process ended with {status}"));
    }
    serde_json::from_slice(&output.stdout).map_err(said)
}

/// The part of the process of its own.
pub(crate) fn child(case: Case) -> Result<String, String> {
    held::start();
    serde_json::to_string(&fill(case, LETTERS)?).map_err(said)
}

/// Live bytes are counted from [`held::start`] on, and are 0 in a test, as counting is the whole program's.
fn fill(case: Case, letters: u64) -> Result<Taken, String> {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .clock(Clock::manual().0)
        .dead_letters(DeadLetterPolicy::new().capacity((FIRST + letters) as usize))
        .build()
        .map_err(said)?;
    let says_which = case != Case::LettersAlike;
    let refuse = move |order: u64, context: &Context<'_>| {
        Err::<(), _>(Refused {
            order,
            attempt: says_which.then(|| context.attempt()),
            source: Down,
        })
    };
    let subscription = || {
        system
            .subscription("billing")
            .retry(RetryPolicy::none().max_attempts(ATTEMPTS))
    };
    let subscribed =
        if case == Case::LettersParked {
            subscription().sequential().handler(
                move |parked: &Parked, context: &mut Context<'_>| refuse(parked.order[0], context),
            )
        } else {
            subscription().handler(move |loose: &Loose, context: &mut Context<'_>| {
                refuse(loose.order.number(), context)
            })
        };
    subscribed.map_err(said)?;
    let mut desk = Desk {
        publisher: system.publisher(),
        poller: system.poller("default").map_err(said)?,
        case,
        number: 0,
    };
    desk.fail(FIRST)?;
    let letters_there = || {
        let queue = system.dead_letters();
        queue.map_or(0, |queue| queue.count(&Filter::new()))
    };
    expect("at first", letters_there(), FIRST)?;
    let resident_before = resident_bytes()?;
    let live_before = held::bytes();
    desk.fail(letters)?;
    let taken = Taken {
        letters,
        live_bytes: held::bytes() - live_before,
        resident_bytes: resident_bytes()? as i64 - resident_before as i64,
    };
    expect("at the end", letters_there(), FIRST + letters)?;
    Ok(taken)
}

fn expect(when: &str, letters: u64, expected: u64) -> Result<(), String> {
    if letters == expected {
        Ok(())
    } else {
        Err(format!(
            "{when} there were {letters} letters, and not {expected}"
        ))
    }
}

/// Publishes and polls in turn, so that nothing but letters piles up.
struct Desk {
    publisher: Publisher,
    poller: Poller,
    case: Case,
    number: u64,
}

impl Desk {
    fn fail(&mut self, count: u64) -> Result<(), String> {
        let end = self.number + count;
        while self.number < end {
            let next = end.min(self.number + AT_A_TIME);
            for number in self.number..next {
                self.publish(number)?;
            }
            self.number = next;
            while self.poller.poll(1) != Polled::Events(0) {}
        }
        Ok(())
    }

    fn publish(&mut self, number: u64) -> Result<(), String> {
        if self.case == Case::LettersParked {
            let order = [number, 1, 1];
            self.publisher
                .publish(Parked { number, order })
                .map(drop)
                .map_err(said)
        } else {
            let order = Order::nth(number);
            self.publisher
                .publish(Loose { order })
                .map(drop)
                .map_err(said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_not_counted() {
        let taken = Taken {
            letters: 1_000,
            live_bytes: 544_000,
            resident_bytes: 632_000,
        };
        assert_eq!(taken.live_each(), 512.0);
        assert_eq!(taken.resident_each(), 600.0);
    }

    #[test]
    fn every_failure_becomes_a_letter() {
        for case in Case::ALL {
            assert!(fill(case, 2_000).is_ok(), "{case:?}");
            assert_eq!(Case::from_str(case.argument(), false), Ok(case));
        }
        assert!(expect("at the end", 9, 10).is_err());
    }
}
