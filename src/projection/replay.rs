//! Playing the log again to handlers that are chosen for it: what a query asks for, at a rate, marked as a replay (PC5).
//!
//! store → **replay** → handlers
//!
//! The log is walked in pieces of a few thousand records, each let go of before the next, so that a long replay at a low
//! rate keeps no memory that retention wants to free; if it frees what is still to come, the replay ends and says so.

use super::at::At;
use super::fold::ApplyError;
use super::policy::{ErrorPolicy, Skipped, SkippedList};
use super::types::{Row, Rows, Types, other_version, with_event};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, codec, contain};
use crate::store::{EventStore, Query, ReadError, Record, StreamState};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, clock, thread};
use std::fmt;
use std::time::{Duration, Instant};

/// Records of one piece of the walk.
const PIECE: u64 = 4_096;
/// Waits shorter than this are saved up: a rate is kept over this time, not between any two events.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// The most skipped events that are kept.
const SKIPPED_MAX: usize = 1_000;

/// What becomes of handlers with side effects in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effects {
    /// They are not called; their events are counted.
    #[default]
    Skip,
    /// They are called like the others.
    Run,
}

type Handle<'h> = dyn FnMut(&At<'_>) -> Result<(), ApplyError> + Send + 'h;

struct Handler<'h> {
    kind: usize,
    is_effect: bool,
    handle: Box<Handle<'h>>,
}

/// A replay: which events, to whom, how fast.
///
/// ```
/// use ringbolt::Event;
/// use ringbolt::projection::Replay;
/// use ringbolt::store::{EventStore, ExpectedVersion, Query};
///
/// #[derive(Clone, Copy, Debug, Event, bytemuck::Pod, bytemuck::Zeroable)]
/// #[event(name = "account.credited", codec = "pod")]
/// #[repr(C)]
/// struct Credited {
///     cents: u64,
/// }
///
/// let store = EventStore::new();
/// for cents in 1..=4 {
///     store.append("account-7", ExpectedVersion::Any, &Credited { cents })?;
/// }
/// let mut cents = 0;
/// let report = Replay::of(&store, Query::stream("account-7").from(2))
///     .on::<Credited>(|event, at| {
///         assert!(at.is_replay());
///         cents += event.cents;
///     })
///     .on_effect::<Credited>(|_, _| panic!("no mail is sent twice"))
///     .run()?;
/// assert_eq!((report.handled, report.effects_left_out, cents), (2, 2, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is played before `run` or `start`"]
pub struct Replay<'h> {
    store: EventStore,
    query: Query,
    types: Types,
    handlers: Vec<Handler<'h>>,
    effects: Effects,
    policy: ErrorPolicy,
    rate: Option<f64>,
    control: ReplayControl,
}

/// The way to a replay that runs. Cheap to clone.
#[derive(Clone)]
pub struct ReplayControl {
    shared: Arc<Shared>,
    store: EventStore,
}

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    looked_at: AtomicU64,
    left: AtomicU64,
    handled: AtomicU64,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Positions (of a stream: versions) that were looked at.
    pub looked_at: u64,
    /// Positions that are to be looked at.
    pub left: u64,
    /// Events that were handed to a handler.
    pub handled: u64,
}

/// What a replay would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayCount {
    /// Events that the query asks for.
    pub matched: u64,
    /// Those that a handler would be called for.
    pub handled: u64,
    /// Those of which an effect would not be called.
    pub effects_left_out: u64,
}

/// What a replay has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Events that the query asked for.
    pub matched: u64,
    /// Those that a handler was called for, with success.
    pub handled: u64,
    /// Those of which an effect was not called.
    pub effects_left_out: u64,
    /// How many events were left out as a handler refused them...
    pub skipped_count: u64,
    /// ...and the latest 1,000 of them.
    pub skipped: Vec<Skipped>,
    /// The position of the last event that was dealt with.
    pub last: Option<u64>,
    /// It ended before its end, as somebody cancelled it.
    pub is_cancelled: bool,
}

/// A replay on a thread of its own. Dropped, it is cancelled and waited for.
pub struct RunningReplay {
    control: ReplayControl,
    ended: Arc<Mutex<Option<Result<ReplayReport, Error>>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl<'h> Replay<'h> {
    /// A replay of what a query asks for, as far as it is committed when the replay begins.
    pub fn of(store: &EventStore, query: Query) -> Self {
        Self {
            store: store.clone(),
            query,
            types: Types::default(),
            handlers: Vec::new(),
            effects: Effects::Skip,
            policy: ErrorPolicy::stop(),
            rate: None,
            control: ReplayControl {
                shared: Arc::new(Shared::default()),
                store: store.clone(),
            },
        }
    }

    /// Hands it events of a type.
    pub fn on<E: Event>(self, mut handle: impl FnMut(&E, &At<'_>) + Send + 'h) -> Self {
        self.add(false, move |event: &E, at| {
            handle(event, at);
            Ok(())
        })
    }

    /// As [`on`](Self::on), by a handler that can fail.
    pub fn on_checked<E: Event>(
        self,
        handle: impl FnMut(&E, &At<'_>) -> Result<(), ApplyError> + Send + 'h,
    ) -> Self {
        self.add(false, handle)
    }

    /// Hands events of a type to a handler with side effects: only if [`effects`](Self::effects) says so. A set of handlers
    /// that is made in one place says there which of them may be called again.
    pub fn on_effect<E: Event>(
        self,
        handle: impl FnMut(&E, &At<'_>) -> Result<(), ApplyError> + Send + 'h,
    ) -> Self {
        self.add(true, handle)
    }

    fn add<E: Event>(
        mut self,
        is_effect: bool,
        mut handle: impl FnMut(&E, &At<'_>) -> Result<(), ApplyError> + Send + 'h,
    ) -> Self {
        let kind = self.types.enter::<E>();
        let codec = codec::<E>();
        self.handlers.push(Handler {
            kind,
            is_effect,
            handle: Box::new(move |at| with_event(codec, &at.record, |event| handle(event, at))?),
        });
        self
    }

    /// Whether handlers with side effects are called; [`Effects::Skip`].
    pub fn effects(mut self, effects: Effects) -> Self {
        self.effects = effects;
        self
    }

    /// What happens with events that a handler refuses; [`ErrorPolicy::stop`]: the replay ends with an error.
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// So many events a second at most; no bound. Kept over a millisecond, not between any two events.
    pub fn events_per_second(mut self, events: f64) -> Self {
        self.rate = Some(events);
        self
    }

    /// What cancels it and tells how far it is, from another thread or from a handler.
    #[must_use]
    pub fn control(&self) -> ReplayControl {
        self.control.clone()
    }

    /// Counts what it would do; no handler is called.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn count(&self) -> Result<ReplayCount, Error> {
        let mut count = ReplayCount::default();
        let (mut rows, known) = (Rows::default(), self.known());
        self.walk(|record| {
            count.matched += 1;
            let wanted = wanted(&known, &self.types, &mut rows, record);
            count.handled += u64::from(wanted.calls);
            count.effects_left_out += u64::from(wanted.leaves_out);
            Ok(true)
        })?;
        Ok(count)
    }

    fn known(&self) -> Vec<Known> {
        let is_left_out =
            |handler: &Handler<'_>| handler.is_effect && self.effects == Effects::Skip;
        let handlers = self.handlers.iter();
        handlers
            .map(|handler| (handler.kind, is_left_out(handler)))
            .collect()
    }

    /// Plays it on this thread.
    ///
    /// # Errors
    /// The query cannot be answered, or what it asks for is no longer kept when its turn comes; an event was refused and the
    /// policy says to stop; the rate is not above 0.
    pub fn run(mut self) -> Result<ReplayReport, Error> {
        self.play()
    }

    fn play(&mut self) -> Result<ReplayReport, Error> {
        let setting = |text: &str| Err(Error::new(ErrorKind::Setting, format!("replay: {text}")));
        if self
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return setting("the events per second are not above 0");
        }
        if self.policy.attempts_max == 0 {
            return setting("an error policy of 0 attempts (the first is one)");
        }
        let known = self.known();
        let mut handlers = std::mem::take(&mut self.handlers);
        let mut rows = Rows::default();
        let mut pace = self.rate.map(Pace::new);
        let mut skipped = SkippedList::new(SKIPPED_MAX);
        let mut report = ReplayReport {
            matched: 0,
            handled: 0,
            effects_left_out: 0,
            skipped_count: 0,
            skipped: Vec::new(),
            last: None,
            is_cancelled: false,
        };
        let shared = Arc::clone(&self.control.shared);
        report.is_cancelled = !self.walk(|record| {
            report.matched += 1;
            let Wanted {
                row,
                calls,
                leaves_out,
            } = wanted(&known, &self.types, &mut rows, record);
            report.effects_left_out += u64::from(leaves_out);
            if calls || row == Row::OtherVersion {
                if let Some(pace) = &mut pace
                    && !self.control.wait_until(pace.next())
                {
                    return Ok(false);
                }
                let mut attempt = 1;
                let mut done = 0;
                loop {
                    let at = At {
                        record: *record,
                        is_replay: true,
                        attempt,
                    };
                    let called = contain(|| {
                        if row == Row::OtherVersion {
                            return Err(other_version(record));
                        }
                        for (number, &(kind, is_left_out)) in known.iter().enumerate().skip(done) {
                            if row == Row::Of(kind as u32) && !is_left_out {
                                (handlers[number].handle)(&at)?;
                            }
                            done = number + 1;
                        }
                        Ok(())
                    });
                    let reason = match called {
                        Ok(Ok(())) => {
                            report.handled += 1;
                            break;
                        }
                        Ok(Err(error)) => error.to_string(),
                        Err(panic) => format!("the handler panicked: {panic}"),
                    };
                    if attempt < self.policy.attempts_max {
                        attempt += 1;
                        let delay = self.policy.delay;
                        if !delay.is_zero() && !self.control.wait_until(clock::deadline(delay)) {
                            return Ok(false);
                        }
                    } else if self.policy.is_skipping {
                        skipped.push(Skipped::of(record, attempt, reason));
                        break;
                    } else {
                        return Err(Error::new(
                            ErrorKind::Conflict,
                            format!("replay: record {} was refused: {reason}", record.position()),
                        ));
                    }
                }
                shared.handled.store(report.handled, Ordering::Relaxed);
            }
            report.last = Some(record.position());
            Ok(true)
        })?;
        report.skipped_count = skipped.count();
        report.skipped = skipped.latest().cloned().collect();
        Ok(report)
    }

    /// Hands over all records that the query asks for, piece by piece, until the function says to end or somebody cancels;
    /// whether it came to the end.
    fn walk(&self, mut f: impl FnMut(&Record<'_>) -> Result<bool, Error>) -> Result<bool, Error> {
        let (mut low, mut high) = self.bounds().map_err(|error| unreadable(&error))?;
        let shared = &self.control.shared;
        let mut left = self.query.records_max();
        let mut looked_at = 0;
        while low < high && left > 0 {
            shared.left.store(high - low, Ordering::Relaxed);
            let (from, to) = if self.query.is_backward() {
                (high.saturating_sub(PIECE).max(low), high)
            } else {
                (low, low.saturating_add(PIECE).min(high))
            };
            // A reader for each piece: what it has pinned goes with it.
            let reader = self.store.reader();
            let records = reader
                .read(self.query.part(from, to).limit(left))
                .map_err(|error| unreadable(&error))?;
            for record in records {
                // Relaxed: whoever cancels is heard at the next record, and rings for a wait.
                if shared.is_cancelled.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                left -= 1;
                let record = record.map_err(|error| unreadable(&error))?;
                if !record.is_mark() && !f(&record)? {
                    return Ok(false);
                }
            }
            if self.query.is_backward() {
                high = from;
            } else {
                low = to;
            }
            looked_at += to - from;
            shared.looked_at.store(looked_at, Ordering::Relaxed);
        }
        shared.left.store(0, Ordering::Relaxed);
        Ok(!shared.is_cancelled.load(Ordering::Relaxed))
    }

    /// The first position (of a stream: version) that is asked for, and the one behind the last.
    fn bounds(&self) -> Result<(u64, u64), ReadError> {
        let reader = self.store.reader();
        let (from, to) = self.query.bounds();
        let (first, end) = match self.query.stream_name() {
            None => (reader.first(), reader.end()),
            Some(stream) => {
                // A stream that is not there, or was deleted, is the error that reading gives.
                let mut records = reader.read(Query::stream(stream).limit(1).with_marks())?;
                let first = match records.next() {
                    Some(record) => record?.version(),
                    None => 0,
                };
                let end = match self.store.stream_state(stream) {
                    StreamState::At(version) => version + 1,
                    _ => first,
                };
                (first, end)
            }
        };
        let low = from.unwrap_or(first);
        if low < first {
            return Err(ReadError::Truncated { first });
        }
        if let Some(to) = to
            && to < low
        {
            return Err(ReadError::Invalid(format!(
                "the range from {low} to before {to} ends before it begins"
            )));
        }
        Ok((low, to.unwrap_or(end).min(end)))
    }
}

impl Replay<'static> {
    /// Plays it on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started. What [`run`](Self::run) answers, [`RunningReplay::wait`] does.
    pub fn start(mut self) -> Result<RunningReplay, Error> {
        let control = self.control();
        let ended = Arc::new(Mutex::new(None));
        let place = Arc::clone(&ended);
        let thread = thread::start("replay".to_owned(), move || {
            let report = self.play();
            *place.lock() = Some(report);
        });
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Thread, format!("replay: no thread: {error}"))
        })?;
        Ok(RunningReplay {
            control,
            ended,
            thread: Some(thread),
        })
    }
}

/// What becomes of a record: of which type it is, whether a handler is called, and whether an effect is not.
struct Wanted {
    row: Row,
    calls: bool,
    leaves_out: bool,
}

/// What a handler is known by: the number of its type, and whether it is left out.
type Known = (usize, bool);

fn wanted(known: &[Known], types: &Types, rows: &mut Rows, record: &Record<'_>) -> Wanted {
    let row = rows.of(types, record);
    let (mut calls, mut leaves_out) = (false, false);
    for &(_, is_left_out) in known
        .iter()
        .filter(|&&(kind, _)| row == Row::Of(kind as u32))
    {
        calls |= !is_left_out;
        leaves_out |= is_left_out;
    }
    Wanted {
        row,
        calls,
        leaves_out,
    }
}

/// When the next event may be handed over.
struct Pace {
    gap: Duration,
    due: Option<Instant>,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self {
            gap: Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX),
            due: None,
        }
    }

    /// Time that was not used is not made up for. A moment that cannot be told does not come.
    fn next(&mut self) -> Option<Instant> {
        let now = clock::deadline(Duration::ZERO)?;
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = due.checked_add(self.gap);
        Some(due)
    }
}

impl ReplayControl {
    /// Ends the replay before its next event; a handler that runs is not interrupted.
    pub fn cancel(&self) {
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
        self.store.log.bell.disturb();
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            looked_at: self.shared.looked_at.load(Ordering::Relaxed),
            left: self.shared.left.load(Ordering::Relaxed),
            handled: self.shared.handled.load(Ordering::Relaxed),
        }
    }

    /// Waits until then, or for ever; `false` if it was cancelled meanwhile.
    fn wait_until(&self, due: Option<Instant>) -> bool {
        let is_cancelled = || self.shared.is_cancelled.load(Ordering::Relaxed);
        if due.is_none_or(|due| clock::left(due) >= WAIT_MIN) {
            return !self.store.log.bell.wait(is_cancelled, due);
        }
        !is_cancelled()
    }
}

impl RunningReplay {
    /// What cancels it and tells how far it is.
    #[must_use]
    pub fn control(&self) -> ReplayControl {
        self.control.clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Replay::run`].
    pub fn wait(mut self) -> Result<ReplayReport, Error> {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let ended = self.ended.lock().take();
        ended.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Thread,
                "replay: its thread has ended without an answer",
            ))
        })
    }
}

impl Drop for RunningReplay {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.control.cancel();
            if thread.thread().id() != thread::current() {
                let _ = thread.join();
            }
        }
    }
}

fn unreadable(error: &ReadError) -> Error {
    let kind = match error {
        ReadError::Truncated { .. } | ReadError::NoStream { .. } | ReadError::Deleted { .. } => {
            ErrorKind::Missing
        }
        _ => ErrorKind::Setting,
    };
    Error::new(kind, format!("replay: {error}"))
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("query", &self.query)
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReplayControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.progress().fmt(f)
    }
}

impl fmt::Debug for RunningReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.progress().fmt(f)
    }
}
