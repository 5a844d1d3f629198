//! Aggregates: state that is made of a stream's events, and decisions that append to it.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A decision is made on a state and appended with the version that it was made on (EV2): if another was faster, the new
//! events are applied and it is made again, so many times at most. Nothing is locked in between. State is loaded from
//! the latest snapshot and the events behind it, which is the same as all events applied in order.
//!
//! An aggregate usually has events of several types, so it is given each as [`Recorded`] and asks for those that it knows, and a
//! decision pushes events of whatever types ([`Changes`]); an enum of all of them is not needed.

use super::error::{AppendError, ReadError};
use super::recorded::Recorded;
use super::snapshot::{Snapshot, SnapshotPolicy};
use super::upcast::Upcasters;
use super::{Batch, EventStore, ExpectedVersion, IntoDraft, Query};
use std::fmt;

/// Events applied before the reader lets go of the segments behind it.
const PAGE: u64 = 1_024;

/// State that is made of events, in the order of their versions, beginning with the default.
///
/// ```
/// # use ringbolt::{Codec, Event};
/// # fn number(text: &str) -> Result<u64, String> { text.parse().map_err(|_| "no number".to_owned()) }
/// # struct Credited(u64);
/// # impl Event for Credited {
/// #     const NAME: &'static str = "account.credited";
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(|event| Ok(event.0.to_string()), |text| number(text).map(Self)))
/// #     }
/// # }
/// # struct Debited(u64);
/// # impl Event for Debited {
/// #     const NAME: &'static str = "account.debited";
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(|event| Ok(event.0.to_string()), |text| number(text).map(Self)))
/// #     }
/// # }
/// use ringbolt::store::{Aggregate, EventStore, ReadError, Recorded, SnapshotPolicy};
///
/// #[derive(Default, Clone)]
/// struct Account { cents: u64 }
///
/// impl Aggregate for Account {
///     fn apply(&mut self, event: &Recorded<'_>) -> Result<(), ReadError> {
///         if let Some(credited) = event.decode_if::<Credited>()? {
///             self.cents += credited.0;
///         } else if let Some(debited) = event.decode_if::<Debited>()? {
///             self.cents -= debited.0;
///         }
///         Ok(())
///     }
///
///     fn snapshots() -> SnapshotPolicy {
///         SnapshotPolicy::every(100)
///     }
/// }
///
/// let store = EventStore::new();
/// store.execute("account-7", 3, |_: &Account, changes| {
///     changes.push(&Credited(500)).push(&Debited(200));
///     Ok::<_, String>(())
/// })?;
/// let refused = store.execute("account-7", 3, |account: &Account, changes| {
///     if account.cents < 1_000 {
///         return Err("not enough");
///     }
///     changes.push(&Debited(1_000));
///     Ok(())
/// });
/// assert_eq!(refused.unwrap_err().refusal(), Some(&"not enough"));
/// assert_eq!(store.load::<Account>("account-7")?.state().cents, 300);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// Takes an event in. It happened: it cannot be refused, and the same events make the same state. An event that it does
    /// not know is passed over, or an error, as it decides.
    ///
    /// # Errors
    /// The event cannot be read; the state is not used then.
    fn apply(&mut self, event: &Recorded<'_>) -> Result<(), ReadError>;

    /// What its events pass through before they are applied. Nothing.
    #[must_use]
    fn upcasters() -> Option<&'static Upcasters> {
        None
    }

    /// When snapshots are taken of it. Never.
    #[must_use]
    fn snapshots() -> SnapshotPolicy {
        SnapshotPolicy::never()
    }
}

/// An aggregate, as its stream was at a version.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    state: A,
    version: Option<u64>,
    /// The position of the event at that version.
    position: u64,
    /// How many events the snapshot has that it began with, or that was taken of it.
    in_snapshot: u64,
    applied: u64,
}

impl<A> Loaded<A> {
    /// The state.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.state
    }

    /// The state, for oneself.
    #[must_use]
    pub fn into_state(self) -> A {
        self.state
    }

    /// The version of the last event in it; `None` if there is no such stream.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// What an append expects that was decided on this state.
    #[must_use]
    pub fn expected(&self) -> ExpectedVersion {
        self.version
            .map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact)
    }

    /// How many events were applied, those in the snapshot not counted.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    fn next(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }
}

/// What a decision appends.
#[derive(Debug)]
pub struct Changes<'s> {
    batch: Batch<'s>,
    stream: &'s str,
    fault: Option<AppendError>,
}

impl Changes<'_> {
    /// Adds an event, of any type, or a [`Draft`](super::Draft) of one. If it cannot be encoded, nothing is appended, and
    /// [`EventStore::execute`] says why.
    pub fn push<'e>(&mut self, draft: impl IntoDraft<'e>) -> &mut Self {
        if self.fault.is_none()
            && let Err(fault) = self.batch.push(self.stream, draft)
        {
            self.fault = Some(fault);
        }
        self
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a decision has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// The version of the stream's last event; `None` if there is still no such stream.
    pub version: Option<u64>,
    /// The position of its last event; of a decision for nothing, that of the event to come.
    pub last_position: u64,
    /// How many events were appended.
    pub events: usize,
    /// How often it was decided: once, and once more for each time that another was faster.
    pub attempts: u32,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecuteError<D> {
    /// The decision was against it.
    Refused(D),
    /// Others were faster each time.
    Conflict {
        /// The stream's name.
        stream: String,
        /// How often it was decided.
        attempts: u32,
        /// What the last append found.
        last: AppendError,
    },
    /// The append was refused for another reason.
    Append {
        /// The stream's name.
        stream: String,
        /// The reason.
        error: AppendError,
    },
    /// The state could not be loaded.
    Load {
        /// The stream's name.
        stream: String,
        /// The reason.
        error: ReadError,
    },
}

impl<D> ExecuteError<D> {
    /// Others were faster each time.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// What the decision said against it.
    #[must_use]
    pub fn refusal(&self) -> Option<&D> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl<D: fmt::Display> fmt::Display for ExecuteError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Conflict {
                stream,
                attempts,
                last,
            } => write!(
                f,
                "stream {stream:?}: others were faster, {attempts} times in a row (allow more retries, or try later): {last}"
            ),
            Self::Append { stream, error } => {
                write!(f, "stream {stream:?} cannot be appended to: {error}")
            }
            Self::Load { stream, error } => {
                write!(f, "stream {stream:?} cannot be loaded: {error}")
            }
        }
    }
}

impl<D: fmt::Debug + fmt::Display> std::error::Error for ExecuteError<D> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Conflict { last: error, .. } | Self::Append { error, .. } => Some(error),
            Self::Load { error, .. } => Some(error),
        }
    }
}

impl EventStore {
    /// The aggregate of a stream: its latest snapshot, and what has come since. Of a stream that is not there, the default.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if events that are not in a snapshot are not kept any more (`first` is a version),
    /// [`ReadError::Deleted`] for a stream that was deleted, and what [`Aggregate::apply`] says.
    pub fn load<A: Aggregate>(&self, stream: &str) -> Result<Loaded<A>, ReadError> {
        let mut loaded = match self.log.snapshots.get::<A>(stream) {
            Some(snapshot) => Loaded {
                state: snapshot.state().clone(),
                version: Some(snapshot.version()),
                position: snapshot.position(),
                in_snapshot: snapshot.version() + 1,
                applied: 0,
            },
            None => Loaded {
                state: A::default(),
                version: None,
                position: 0,
                in_snapshot: 0,
                applied: 0,
            },
        };
        self.catch_up(stream, &mut loaded)?;
        self.keep_if_due(stream, &mut loaded);
        Ok(loaded)
    }

    /// Decides on the aggregate's state and appends what was decided, all or nothing, unless the stream has gone on since: then it
    /// is decided again on what it has become, `retries` times at most. A decision for nothing is checked in the
    /// same way. Takes a snapshot if one is due.
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing was appended.
    pub fn execute<A: Aggregate, D>(
        &self,
        stream: &str,
        retries: u32,
        mut decide: impl FnMut(&A, &mut Changes<'_>) -> Result<(), D>,
    ) -> Result<Executed, ExecuteError<D>> {
        let load = |error| ExecuteError::Load {
            stream: stream.to_owned(),
            error,
        };
        let refused = |error| ExecuteError::Append {
            stream: stream.to_owned(),
            error,
        };
        let mut loaded = self.load::<A>(stream).map_err(load)?;
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let mut changes = Changes {
                batch: self.batch(),
                stream,
                fault: None,
            };
            decide(&loaded.state, &mut changes).map_err(ExecuteError::Refused)?;
            if let Some(fault) = changes.fault {
                return Err(refused(fault));
            }
            let mut batch = changes.batch;
            batch.expect(stream, loaded.expected()).map_err(refused)?;
            let events = batch.len();
            match batch.commit() {
                Ok(appended) => {
                    let appended = appended.single();
                    let count = loaded.next() + events as u64;
                    if A::snapshots().is_due(count, loaded.in_snapshot)
                        && self.catch_up(stream, &mut loaded).is_ok()
                    {
                        // If it cannot be read, there is no snapshot; what was appended is.
                        self.keep_if_due(stream, &mut loaded);
                    }
                    return Ok(Executed {
                        version: appended.version,
                        last_position: appended.last_position,
                        events,
                        attempts,
                    });
                }
                Err(last) if last.is_conflict() => {
                    if attempts > retries {
                        return Err(ExecuteError::Conflict {
                            stream: stream.to_owned(),
                            attempts,
                            last,
                        });
                    }
                    self.catch_up(stream, &mut loaded).map_err(load)?;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// The latest snapshot of a stream's aggregate.
    #[must_use]
    pub fn snapshot<A: Aggregate>(&self, stream: &str) -> Option<Snapshot<A>> {
        self.log.snapshots.get(stream)
    }

    /// Takes a snapshot of a stream's aggregate now, whatever its policy; `None` if there is no such stream.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn take_snapshot<A: Aggregate>(
        &self,
        stream: &str,
    ) -> Result<Option<Snapshot<A>>, ReadError> {
        let mut loaded = self.load::<A>(stream)?;
        self.keep(stream, &mut loaded);
        Ok(self.snapshot(stream))
    }

    /// Forgets the snapshot of a stream's aggregate; whether there was one.
    pub fn forget_snapshot<A: Aggregate>(&self, stream: &str) -> bool {
        self.log.snapshots.remove::<A>(stream)
    }

    /// Applies what the stream has beyond the state.
    fn catch_up<A: Aggregate>(
        &self,
        stream: &str,
        loaded: &mut Loaded<A>,
    ) -> Result<(), ReadError> {
        let mut reader = self.reader();
        loop {
            let page = Query::stream(stream).from(loaded.next()).limit(PAGE);
            let records = match reader.read(page) {
                Err(ReadError::NoStream { .. }) if loaded.version.is_none() => return Ok(()),
                records => records?,
            };
            let before = loaded.applied;
            for record in records {
                let record = record?;
                match A::upcasters() {
                    None => loaded.state.apply(&Recorded::from(record))?,
                    Some(upcasters) => {
                        for event in upcasters.upcast(&record)? {
                            loaded.state.apply(&event)?;
                        }
                    }
                }
                loaded.version = Some(record.version());
                loaded.position = record.position();
                loaded.applied += 1;
            }
            if loaded.applied - before < PAGE {
                return Ok(());
            }
            reader.release();
        }
    }

    fn keep_if_due<A: Aggregate>(&self, stream: &str, loaded: &mut Loaded<A>) {
        if A::snapshots().is_due(loaded.next(), loaded.in_snapshot) {
            self.keep(stream, loaded);
        }
    }

    fn keep<A: Aggregate>(&self, stream: &str, loaded: &mut Loaded<A>) {
        let Some(version) = loaded.version else {
            return;
        };
        let pin = A::snapshots()
            .is_pinning()
            .then(|| self.log.pin_from(loaded.position + 1));
        let state = loaded.state.clone();
        self.log
            .snapshots
            .put(stream, state, version, loaded.position, pin);
        loaded.in_snapshot = version + 1;
    }
}
