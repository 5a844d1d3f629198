//! Dispatching a log's events again, into a fresh run.
//!
//! file → store → **the engine** → check → summary
//!
//! Events that the command knows come as what they were; all others as records of input whose key is their stream, and
//! whose number is their version, by which the self-check sees whether a stream came in order.

use super::args::ReplayArgs;
use super::file::{Loaded, load};
use super::read::told;
use super::{exit, printed};
use crate::args::{Format, default_workers};
use crate::console::Console;
use crate::engine::{Engine, Setup};
use crate::flow::{OrderAmended, OrderCancelled, OrderFilled, OrderPlaced};
use crate::input::Record;
use crate::input_event::InputEvent;
use crate::monitor::{Monitor, progress_line};
use crate::outlet::{Outlet, Streamed};
use crate::pace::{Pace, Plan};
use crate::run::{DRAIN, print};
use crate::stop::Stop;
use crate::summary::{Failing, Replay, Summary, grouped, printable, shortened};
use anyhow::{Context as _, Result};
use ringbolt::store::{Query, ReadError, Record as Stored};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

/// Slots of each lane.
const LANE_CAPACITY: usize = 2_048;

/// Dispatches the events that are meant, in the order of the log, and says whether each stream came in order.
///
/// # Errors
/// The file cannot be read, a stream is not there, or nothing can be printed.
pub(super) fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    if args.dry_run {
        let loaded = load(&args.file)?;
        loaded.expect_streams(&args.filter.streams)?;
        let plan = Planned::of(&loaded, query(args))?;
        let text = match args.format {
            Format::Json => serde_json::to_string(&plan)? + "\n",
            Format::Text => plan.to_text(),
        };
        printed(anstream::stdout().lock().write_all(text.as_bytes()))?;
        return Ok(exit(loaded.refused == 0));
    }
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    // First the engine: with its subscriptions the process knows the types, and a line that is none of them is told.
    let engine = Engine::start(&Setup {
        workers: args.workers.map_or_else(default_workers, usize::from),
        lane_capacity: LANE_CAPACITY,
        has_flow: true,
        has_input: true,
        ..Setup::default()
    })?;
    let loaded = load(&args.file)?;
    loaded.expect_streams(&args.filter.streams)?;
    let system = &engine.system;
    let monitor = Monitor::start(system.handle(), progress_line(), None)
        .context("the watching thread cannot be started")?;
    let plan = match (args.rate, args.speed) {
        (Some(rate), _) => Plan::Rate(rate),
        (None, Some(speed)) => Plan::Speed(speed),
        (None, None) => Plan::FullSpeed,
    };
    let pace = Pace::new(plan, system.clock());
    let started = Instant::now();
    let mut outlet = Outlet::new(system.publisher(), None);
    let fed = feed(&mut outlet, &loaded, query(args), &pace, &stop);
    drop(outlet);
    let drained = system.shutdown(DRAIN)?;
    let elapsed = started.elapsed();
    monitor.finish()?;
    let report = system.report();
    let sink = engine.sink.clone();
    drop(engine);
    let Fed { dispatched, error } = fed;
    let tally = sink.ascending_tally();
    let mut summary = Summary::new(&report, tally, Failing::default(), loaded.refused, elapsed);
    summary.replay = Some(Replay {
        events: loaded.store.stats().events,
        dispatched,
    });
    printed(print(args.format, &summary, &report))?;

    let mut is_good = loaded.refused == 0;
    let mut fault = |message: String| {
        is_good = false;
        Console::default().complain(&message);
    };
    if let Some(error) = error {
        fault(error);
    }
    if !drained.in_time {
        fault(format!(
            "{} deliveries were abandoned after {} s",
            drained.abandoned,
            DRAIN.as_secs()
        ));
    }
    if summary.order_violations > 0 {
        fault(format!(
            "{} events came out of order",
            grouped(summary.order_violations)
        ));
    }
    let left = dispatched.saturating_sub(summary.handled);
    if left > 0 {
        fault(format!(
            "{} of {} events were not handled",
            grouped(left),
            grouped(dispatched)
        ));
    }
    Ok(stop
        .exit_code()
        .map_or_else(|| exit(is_good), ExitCode::from))
}

fn query(args: &ReplayArgs) -> Query {
    let query = args.filter.query();
    match args.limit {
        Some(limit) => query.limit(limit),
        None => query,
    }
}

/// How far it came.
struct Fed {
    dispatched: u64,
    error: Option<String>,
}

/// Hands all events to the engine, until that is done or the run is to stop.
fn feed(outlet: &mut Outlet, loaded: &Loaded, query: Query, pace: &Pace, stop: &Stop) -> Fed {
    let mut fed = Fed {
        dispatched: 0,
        error: None,
    };
    let reader = loaded.store.reader();
    let records = match reader.read(query) {
        Ok(records) => records,
        Err(error) => {
            fed.error = Some(error.to_string());
            return fed;
        }
    };
    let mut first_ns = None;
    for record in records {
        let put = record.map_err(told_of).and_then(|record| {
            let time = record.time().duration_since(UNIX_EPOCH);
            let time_ns = time.map_or(0, |time| time.as_nanos());
            let since = time_ns.saturating_sub(*first_ns.get_or_insert(time_ns));
            let due = pace.due(fed.dispatched, u64::try_from(since).unwrap_or(u64::MAX));
            if due.map_or_else(|| stop.is_asked(), |due| !pace.wait_until(due, stop)) {
                return Ok(false);
            }
            put(outlet, &record, due).map(|()| true)
        });
        match put {
            Ok(true) => fed.dispatched += 1,
            Ok(false) => break,
            Err(error) => {
                fed.error = Some(error);
                break;
            }
        }
    }
    fed
}

fn told_of(error: ReadError) -> String {
    error.to_string()
}

fn put(outlet: &mut Outlet, record: &Stored<'_>, due: Option<u64>) -> Result<(), String> {
    fn known<E: Streamed>(
        outlet: &mut Outlet,
        record: &Stored<'_>,
        due: Option<u64>,
    ) -> Option<Result<(), String>> {
        let event = record.is::<E>().then(|| record.decode::<E>())?;
        Some(
            event
                .map_err(told_of)
                .and_then(|event| outlet.put(event, due)),
        )
    }
    known::<OrderPlaced>(outlet, record, due)
        .or_else(|| known::<OrderAmended>(outlet, record, due))
        .or_else(|| known::<OrderFilled>(outlet, record, due))
        .or_else(|| known::<OrderCancelled>(outlet, record, due))
        .unwrap_or_else(|| {
            let event = input_event(record).map_err(told_of)?;
            outlet.put(event, due)
        })
}

/// The event as a record of input, whose key and number are those of the log.
fn input_event(stored: &Stored<'_>) -> Result<InputEvent, ReadError> {
    let mut event = if stored.is::<InputEvent>() {
        stored.decode::<InputEvent>()?
    } else {
        let text = stored.encoding().is_text();
        let text = std::str::from_utf8(stored.payload()).ok().filter(|_| text);
        let data = match text {
            Some(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
            }
            // Of bytes it is told how many there are.
            None => Value::from(stored.payload().len()),
        };
        let time = stored.time().duration_since(UNIX_EPOCH).ok();
        InputEvent {
            record: Box::new(Record {
                event_type: stored.event_type().into(),
                key: None,
                time_ns: time.and_then(|time| i128::try_from(time.as_nanos()).ok()),
                data,
            }),
            sequence: 0,
        }
    };
    event.record.key = Some(stored.stream().into());
    event.sequence = stored.version();
    Ok(event)
}

/// What a replay would dispatch.
#[derive(Debug, Default, Serialize)]
struct Planned {
    events: u64,
    streams: usize,
    types: BTreeMap<String, u64>,
    first_position: Option<u64>,
    last_position: Option<u64>,
    first_time: Option<String>,
    last_time: Option<String>,
}

impl Planned {
    fn of(loaded: &Loaded, query: Query) -> Result<Self> {
        let mut plan = Self::default();
        let mut streams: HashSet<&str> = HashSet::new();
        let mut types: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let reader = loaded.store.reader();
        let mut last_time = None;
        for record in reader.read(query)? {
            let record = record?;
            plan.events += 1;
            plan.first_position.get_or_insert(record.position());
            plan.last_position = Some(record.position());
            plan.first_time.get_or_insert_with(|| told(record.time()));
            last_time = Some(record.time());
            streams.insert(record.stream());
            match types.get_mut(record.event_type()) {
                Some(count) => *count += 1,
                None => {
                    types.insert(record.event_type().into(), 1);
                }
            }
        }
        plan.last_time = last_time.map(told);
        plan.streams = streams.len();
        let named = types.into_iter();
        plan.types = named
            .map(|(name, count)| (name.to_string(), count))
            .collect();
        Ok(plan)
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "would dispatch {} events of {} streams\n",
            grouped(self.events),
            grouped(self.streams as u64)
        );
        let or_none = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        if let (Some(first), Some(last)) = (self.first_position, self.last_position) {
            let _ = writeln!(
                text,
                "positions {first} to {last}, {} to {}\n",
                or_none(&self.first_time),
                or_none(&self.last_time)
            );
        }
        let names = self.types.keys().map(|name| shortened(&printable(name)));
        let rows: Vec<(String, u64)> = names.zip(self.types.values().copied()).collect();
        let width = rows.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0);
        for (name, count) in rows {
            let _ = writeln!(text, "{name:width$}  {}", grouped(count));
        }
        text
    }
}
