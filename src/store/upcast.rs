//! Events that were written in an older shape, read in the present one.
//!
//! publish → **store** → worker → handler → outcome
//!
//! What is in the log is never rewritten. An upcaster turns an event of one name and version into one of the next, or into several, or
//! into none; a set of them is applied in a chain, from the version that was stored to the one that is wanted. An event that no
//! upcaster is for is read where it lies: the set costs such a record one look by name.

use super::error::ReadError;
use super::recorded::{Form, Raw, Recorded, Value, other_type};
use super::view::Record;
use crate::event::{Event, contain, descriptor_of};
use smallvec::{SmallVec, smallvec};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The most upcasters that one event can pass through: a longer chain goes in circles.
const CHAIN_MAX: usize = 64;

/// What is done with an event whose type, at the end of its chain, is none that the reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownType {
    /// It is an error.
    #[default]
    Error,
    /// It is left out.
    Skip,
    /// It is given as it is, as bytes ([`Recorded::raw`]).
    Raw,
}

type Forms<'a> = SmallVec<[Form<'a>; 1]>;
type Step = Box<dyn Fn(Form<'_>) -> Result<Forms<'static>, String> + Send + Sync>;

/// A set of upcasters.
///
/// ```
/// use ringbolt::store::{EventStore, ExpectedVersion, Query, Upcasters};
/// use ringbolt::{Codec, Event};
///
/// struct PlacedV1(u64);
/// struct PlacedV2 { cents: u64, currency: String }
/// # fn number(text: &str) -> Result<u64, String> { text.parse().map_err(|_| format!("{text:?} is no number")) }
/// # impl Event for PlacedV1 {
/// #     const NAME: &'static str = "order.placed";
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(|event| Ok(event.0.to_string()), |text| number(text).map(Self)))
/// #     }
/// # }
/// # impl Event for PlacedV2 {
/// #     const NAME: &'static str = "order.placed";
/// #     const VERSION: u16 = 2;
/// #     fn codec() -> Option<Codec<Self>> {
/// #         Some(Codec::new(
/// #             |event| Ok(format!("{} {}", event.cents, event.currency)),
/// #             |text| {
/// #                 let (cents, currency) = text.split_once(' ').ok_or("no currency")?;
/// #                 Ok(Self { cents: number(cents)?, currency: currency.to_owned() })
/// #             },
/// #         ))
/// #     }
/// # }
///
/// let store = EventStore::new();
/// store.append("order-1", ExpectedVersion::Any, &PlacedV1(500))?;
/// store.append("order-1", ExpectedVersion::Any, &PlacedV2 { cents: 700, currency: "CHF".into() })?;
///
/// let upcasters = Upcasters::new()
///     .typed(|old: PlacedV1| PlacedV2 { cents: old.0, currency: "EUR".into() });
/// let mut read = Vec::new();
/// for record in store.reader().read(Query::all())? {
///     for placed in upcasters.read::<PlacedV2>(&record?)? {
///         read.push(format!("{} {}", placed.cents, placed.currency));
///     }
/// }
/// assert_eq!(read, ["500 EUR", "700 CHF"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "a set is used by reading through it"]
pub struct Upcasters {
    steps: HashMap<String, Vec<(u16, Step)>>,
    known: HashSet<(&'static str, u16)>,
    unknown: UnknownType,
}

impl Upcasters {
    /// An empty set: events are read as they were written, and unknown types are errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns the bytes of an event of this version into those of the next, of the same name and encoding.
    ///
    /// # Panics
    /// There is one for this name and version already, or there is no version after it.
    pub fn one<F>(self, event_type: impl Into<String>, from_version: u16, upcast: F) -> Self
    where
        F: Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    {
        let event_type = event_type.into();
        let next = next_version(&event_type, from_version);
        let name = event_type.clone();
        self.many(event_type, from_version, move |raw| {
            let payload = upcast(raw.payload())?;
            Ok(vec![Raw::new(name.clone(), next, raw.encoding(), payload)])
        })
    }

    /// Turns an event of this version into any number of others, of any names and versions.
    ///
    /// # Panics
    /// There is one for this name and version already.
    pub fn many<F>(self, event_type: impl Into<String>, from_version: u16, upcast: F) -> Self
    where
        F: Fn(&Raw<'_>) -> Result<Vec<Raw<'static>>, String> + Send + Sync + 'static,
    {
        let step = move |form: Form<'_>| {
            let events = upcast(&form.raw()?)?;
            Ok(events.into_iter().map(Form::Raw).collect())
        };
        self.with(event_type.into(), from_version, Box::new(step))
    }

    /// Turns the JSON value of an event of this version into that of the next, of the same name.
    ///
    /// # Panics
    /// As [`one`](Self::one).
    #[cfg(feature = "json")]
    pub fn json<F>(self, event_type: impl Into<String>, from_version: u16, upcast: F) -> Self
    where
        F: Fn(serde_json::Value) -> Result<serde_json::Value, String> + Send + Sync + 'static,
    {
        let event_type = event_type.into();
        let next = next_version(&event_type, from_version);
        let name = event_type.clone();
        self.many(event_type, from_version, move |raw| {
            let value = upcast(raw.json()?)?;
            Ok(vec![Raw::of_json(name.clone(), next, &value)])
        })
    }

    /// Turns an `O` into an `N`, by their types: of the same name or another, one version on or several.
    ///
    /// # Panics
    /// There is one for the name and version of `O` already.
    pub fn typed<O: Event, N: Event>(
        self,
        upcast: impl Fn(O) -> N + Send + Sync + 'static,
    ) -> Self {
        let step = move |form: Form<'_>| {
            let event = upcast(form.into_event()?);
            Ok(smallvec![Form::Value(Value::of(event))])
        };
        self.knows::<N>()
            .with(O::NAME.to_owned(), O::VERSION, Box::new(step))
    }

    /// Turns an `O` into any number of `N`s.
    ///
    /// # Panics
    /// As [`typed`](Self::typed).
    pub fn typed_many<O: Event, N: Event, I: IntoIterator<Item = N>>(
        self,
        upcast: impl Fn(O) -> I + Send + Sync + 'static,
    ) -> Self {
        let step = move |form: Form<'_>| {
            let events = upcast(form.into_event()?).into_iter();
            Ok(events.map(|event| Form::Value(Value::of(event))).collect())
        };
        self.knows::<N>()
            .with(O::NAME.to_owned(), O::VERSION, Box::new(step))
    }

    /// Says that `E` is a type that the reader knows. Those of the process that were used before are known too.
    pub fn knows<E: Event>(mut self) -> Self {
        self.known.insert((E::NAME, E::VERSION));
        self
    }

    /// What is done with an event of an unknown type. It is an error.
    pub fn unknown(mut self, unknown: UnknownType) -> Self {
        self.unknown = unknown;
        self
    }

    fn with(mut self, event_type: String, version: u16, step: Step) -> Self {
        let steps = self.steps.entry(event_type.clone()).or_default();
        assert!(
            steps.iter().all(|(found, _)| *found != version),
            "event {event_type:?}, version {version}: there is an upcaster already"
        );
        steps.push((version, step));
        self
    }

    /// The events that the record is today, of whatever types; none if an upcaster drops it, or it is unknown and left out.
    ///
    /// # Errors
    /// [`ReadError::Decode`] for an upcaster that fails or panics, upcasters that go in circles, and an
    /// unknown type where that is an error.
    pub fn upcast<'r>(
        &self,
        record: &Record<'r>,
    ) -> Result<SmallVec<[Recorded<'r>; 1]>, ReadError> {
        let mut found = SmallVec::new();
        for form in self.chain(record, |_| false)? {
            if !self.is_known(&form) {
                match self.unknown {
                    UnknownType::Error => {
                        return Err(record.fault(format!(
                            "the type {:?} of version {} is not known (say `knows`, add an upcaster, or skip it)",
                            form.event_type(),
                            form.version()
                        )));
                    }
                    UnknownType::Skip => continue,
                    UnknownType::Raw => {}
                }
            }
            found.push(Recorded::new(*record, form));
        }
        Ok(found)
    }

    /// The `E`s that the record is today. Several, or none, where an upcaster says so. Of a record that
    /// is no `E` at all: none, or an error, as unknown types are treated.
    ///
    /// # Errors
    /// [`ReadError::Decode`] for a codec or an upcaster that fails or panics, and upcasters that go in circles;
    /// [`ReadError::OtherType`] for a record that is no `E`, where that is an error.
    pub fn read<E: Event>(&self, record: &Record<'_>) -> Result<SmallVec<[E; 1]>, ReadError> {
        let mut events = SmallVec::new();
        let mut other = None;
        for form in self.chain(record, |form| form.is::<E>())? {
            if form.is::<E>() {
                events.push(form.into_event().map_err(|reason| record.fault(reason))?);
            } else {
                other = Some(form);
            }
        }
        match other {
            Some(form) if events.is_empty() && self.unknown == UnknownType::Error => {
                Err(other_type::<E>(record, &form))
            }
            _ => Ok(events),
        }
    }

    fn is_known(&self, form: &Form<'_>) -> bool {
        let (name, version) = (form.event_type(), form.version());
        let is_listed = self
            .known
            .iter()
            .any(|&(known, of)| of == version && known == name);
        is_listed || descriptor_of(name, version).is_some()
    }

    /// Applies what there is to apply, in the order of the events, as far as `is_wanted` does not say to stop.
    fn chain<'r>(
        &self,
        record: &Record<'r>,
        is_wanted: impl Fn(&Form<'_>) -> bool,
    ) -> Result<Forms<'r>, ReadError> {
        let mut done = Forms::new();
        // A stack: what comes first is on top.
        let mut left: SmallVec<[(Form<'r>, usize); 2]> =
            smallvec![(Form::Raw(Raw::from(record)), 0)];
        while let Some((form, passed)) = left.pop() {
            let version = form.version();
            let step = self
                .steps
                .get(form.event_type())
                .filter(|_| !is_wanted(&form))
                .and_then(|steps| steps.iter().find(|(from, _)| *from == version));
            let Some((_, step)) = step else {
                done.push(form);
                continue;
            };
            let of = |form: &str| format!("the upcaster of {form:?} from version {version}");
            let name = form.event_type().to_owned();
            if passed >= CHAIN_MAX {
                return Err(record.fault(format!(
                    "{} is the last of {CHAIN_MAX}: they go in circles",
                    of(&name)
                )));
            }
            let made =
                contain(|| step(form)).unwrap_or_else(|panic| Err(format!("panicked: {panic}")));
            let made = made.map_err(|reason| record.fault(format!("{}: {reason}", of(&name))))?;
            left.extend(made.into_iter().rev().map(|form| (form, passed + 1)));
        }
        Ok(done)
    }
}

/// # Panics
/// There is none.
fn next_version(event_type: &str, version: u16) -> u16 {
    let next = version.checked_add(1);
    next.unwrap_or_else(|| panic!("event {event_type:?}: version {version} has none after it"))
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut from: Vec<_> = self
            .steps
            .iter()
            .flat_map(|(name, steps)| steps.iter().map(move |(version, _)| (name, version)))
            .collect();
        from.sort_unstable();
        f.debug_struct("Upcasters")
            .field("from", &from)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}
