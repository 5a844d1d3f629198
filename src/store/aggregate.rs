//! Aggregates: state that is made of a stream's events.
//!
//! publish → **store** → worker → handler → outcome
//!
//! State is loaded from the latest snapshot and the events behind it, which is the same as all events applied in order. An
//! aggregate usually has events of several types, so it is given each as [`Recorded`] and asks for those that it knows: an enum
//! of all of them is not needed. What is decided on it, and appended, is in [`EventStore::execute`].

use super::error::ReadError;
use super::recorded::Recorded;
use super::snapshot::{Snapshot, SnapshotPolicy};
use super::upcast::Upcasters;
use super::{EventStore, ExpectedVersion, Query};

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
    pub(crate) state: A,
    version: Option<u64>,
    /// The position of the event at that version.
    position: u64,
    /// How many events the snapshot has that it began with, or that was taken of it.
    pub(crate) in_snapshot: u64,
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

    pub(crate) fn next(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
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
    pub(crate) fn catch_up<A: Aggregate>(
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

    pub(crate) fn keep_if_due<A: Aggregate>(&self, stream: &str, loaded: &mut Loaded<A>) {
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
