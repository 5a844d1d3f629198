//! An order book out of a market-data feed: records in, typed events through the engine, a summary of every book out.
//!
//! capture → **replay** → ringbolt → books → summaries
//!
//! What to look at: [`events`] for `#[derive(Event)]`, [`Books`] for state that each worker has for itself and that
//! serves several event types, and [`replay`] for the life of a system from its start to its orderly end.

pub(crate) mod book;
pub(crate) mod capture;
pub(crate) mod events;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringbolt::prelude::*;

use book::{Book, Summary};
use capture::{Message, Record};
use events::{BookSnapshot, BookTicker, DepthDiff, Symbol, Trade};

/// Cold errors, all told to the user in the end.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long handlers may take for what is still waiting when the input is at its end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);

/// What a replay came to.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) events: u64,
    /// One for every symbol, in the order of their names.
    pub(crate) summaries: Vec<Summary>,
}

/// Publishes the records in their order and waits until all are handled.
///
/// With a `speed`, each record waits for its time: as long after the first one as it was received after it, divided by
/// the speed. Without, all go as fast as they can.
pub(crate) fn replay(
    records: impl IntoIterator<Item = Result<Record>>,
    workers: usize,
    speed: Option<f64>,
) -> Result<Replay> {
    let summaries = Arc::new(Mutex::new(Vec::new()));
    let system = EventSystem::builder().workers(workers).build()?;
    let collected = Arc::clone(&summaries);
    system
        .subscription("books")
        .factory(move |_worker| {
            Ok::<_, Failure>(Books {
                by_symbol: HashMap::new(),
                summaries: Arc::clone(&collected),
            })
        })
        .on::<BookSnapshot>()
        .on::<DepthDiff>()
        .on::<BookTicker>()
        .on::<Trade>()
        .register()?;

    // One publisher keeps the order of the file for every symbol. When a worker falls behind, `publish` waits.
    let mut publisher = system.publisher();
    let mut pace = speed.map(|speed| Pace::new(system.clock().clone(), speed));
    let mut events = 0;
    for record in records {
        let record = record?;
        if let Some(pace) = &mut pace {
            pace.wait_for(record.received_ns);
        }
        match record.message {
            Message::Snapshot(snapshot) => publisher.publish(snapshot)?,
            Message::Diff(diff) => publisher.publish(diff)?,
            Message::Ticker(ticker) => publisher.publish(ticker)?,
            Message::Trade(trade) => publisher.publish(trade)?,
        }
        events += 1;
    }

    // Handles what was published, then drops the workers' states, which leave their summaries behind.
    let stopped = system.shutdown(DRAIN_TIME_MAX)?;
    if stopped.completed != events {
        return Err(format!(
            "{} of {events} events were handled: {stopped:?}",
            stopped.completed
        )
        .into());
    }
    let mut summaries = std::mem::take(&mut *summaries.lock().expect(NO_PANIC));
    summaries.sort_by_key(|summary: &Summary| summary.symbol);
    Ok(Replay { events, summaries })
}

const NO_PANIC: &str = "nobody panics while holding the summaries";

/// One worker's books. As events are keyed by their symbol, all about one symbol comes to one worker: it needs no lock.
struct Books {
    by_symbol: HashMap<Symbol, Book>,
    summaries: Arc<Mutex<Vec<Summary>>>,
}

impl Books {
    fn of(&mut self, symbol: Symbol) -> &mut Book {
        self.by_symbol.entry(symbol).or_default()
    }
}

impl Handler<BookSnapshot> for Books {
    fn handle(&mut self, snapshot: &BookSnapshot, _: &mut Context<'_>) -> Outcome {
        self.of(snapshot.symbol).begin(snapshot);
        Outcome::Handled
    }
}

impl Handler<DepthDiff> for Books {
    fn handle(&mut self, diff: &DepthDiff, _: &mut Context<'_>) -> Outcome {
        self.of(diff.symbol).change(diff);
        Outcome::Handled
    }
}

impl Handler<BookTicker> for Books {
    fn handle(&mut self, ticker: &BookTicker, _: &mut Context<'_>) -> Outcome {
        self.of(ticker.symbol).check(ticker);
        Outcome::Handled
    }
}

impl Handler<Trade> for Books {
    fn handle(&mut self, trade: &Trade, _: &mut Context<'_>) -> Outcome {
        self.of(trade.symbol).trade(trade);
        Outcome::Handled
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let left = self
            .by_symbol
            .iter()
            .map(|(&symbol, book)| Summary::of(symbol, book));
        self.summaries.lock().expect(NO_PANIC).extend(left);
    }
}

/// Brings records in at the times at which they were received, only faster or slower.
struct Pace {
    clock: Clock,
    speed: f64,
    /// The first record: when it was received, and when it came in here.
    first: Option<(u64, u64)>,
}

impl Pace {
    fn new(clock: Clock, speed: f64) -> Self {
        Self {
            clock,
            speed,
            first: None,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this thread waits for a time of day and for nobody's work"
    )]
    fn wait_for(&mut self, received_ns: u64) {
        let (first_ns, began) = *self
            .first
            .get_or_insert_with(|| (received_ns, self.clock.raw()));
        let after = Duration::from_nanos(received_ns.saturating_sub(first_ns));
        let due = self.clock.raw_after(began, after.div_f64(self.speed));
        loop {
            match self.clock.delta_ns(self.clock.raw(), due) {
                0 => return,
                left => std::thread::sleep(Duration::from_nanos(left)),
            }
        }
    }
}
