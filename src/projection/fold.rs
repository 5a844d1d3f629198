//! How events become a state: by hand, or by functions that are given one type each.

use super::at::At;
use super::types::{Types, with_event};
use crate::event::{Event, codec};
use crate::store::Record;
use std::fmt;

/// Why an event could not be applied: whatever the function has to say.
pub type ApplyError = Box<dyn std::error::Error + Send + Sync>;

/// A projection written by hand: it is shown every record that its filter lets through, of whatever type.
///
/// What `apply` does must follow from the state and the record alone, or a view that is rebuilt is another one. An
/// `apply` that fails should leave the state as it was: look first, change then.
///
/// ```
/// use ringbolt::projection::{ApplyError, At, Fold};
/// use ringbolt::store::Record;
/// use std::collections::BTreeMap;
///
/// /// How many bytes each type takes.
/// struct Sizes;
///
/// impl Fold for Sizes {
///     type State = BTreeMap<String, u64>;
///
///     fn initial(&self) -> Self::State {
///         BTreeMap::new()
///     }
///
///     fn apply(&self, sizes: &mut Self::State, record: &Record<'_>, _: &At<'_>) -> Result<(), ApplyError> {
///         let bytes = record.payload().len() as u64;
///         *sizes.entry(record.event_type().to_owned()).or_default() += bytes;
///         Ok(())
///     }
/// }
/// ```
pub trait Fold: Send + Sync + 'static {
    /// What is kept.
    type State: Send + Sync + 'static;

    /// What it is before the first event.
    fn initial(&self) -> Self::State;

    /// Takes in one event.
    ///
    /// # Errors
    /// The event could not be applied; what happens then is the projection's [`ErrorPolicy`](super::ErrorPolicy).
    fn apply(
        &self,
        state: &mut Self::State,
        record: &Record<'_>,
        at: &At<'_>,
    ) -> Result<(), ApplyError>;
}

type Apply<S> = dyn Fn(&mut S, &At<'_>) -> Result<(), ApplyError> + Send + Sync;

/// A function for one type.
struct Call<S> {
    apply: Box<Apply<S>>,
    is_effect: bool,
}

/// Functions by type; those of one type in the order in which they were given, effects last.
pub(crate) struct Calls<S> {
    types: Types,
    of_types: Vec<Vec<Call<S>>>,
}

impl<S> Default for Calls<S> {
    fn default() -> Self {
        Self {
            types: Types::default(),
            of_types: Vec::new(),
        }
    }
}

impl<S: 'static> Calls<S> {
    pub(crate) fn add<E: Event>(
        &mut self,
        is_effect: bool,
        apply: impl Fn(&mut S, &E, &At<'_>) -> Result<(), ApplyError> + Send + Sync + 'static,
    ) {
        let number = self.types.enter::<E>();
        if self.of_types.len() <= number {
            self.of_types.push(Vec::new());
        }
        let codec = codec::<E>();
        let call = Call {
            apply: Box::new(move |state, at| {
                with_event(codec, &at.record, |event| apply(state, event, at))?
            }),
            is_effect,
        };
        let calls = &mut self.of_types[number];
        let place = calls.partition_point(|found| is_effect || !found.is_effect);
        calls.insert(place, call);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_types.is_empty()
    }

    pub(crate) fn types(&self) -> &Types {
        &self.types
    }

    /// Calls those of one type, from the one with the number `done` on, which counts along: a record that is tried again
    /// goes on with the function that failed.
    #[inline(always)]
    pub(crate) fn call(
        &self,
        number: u32,
        state: &mut S,
        at: &At<'_>,
        done: &mut usize,
    ) -> Result<(), ApplyError> {
        let calls = self.of_types.get(number as usize).map_or(&[][..], |c| c);
        for call in calls.get(*done..).unwrap_or(&[]) {
            if !(call.is_effect && at.is_replay) {
                (call.apply)(state, at)?;
            }
            *done += 1;
        }
        Ok(())
    }
}

/// What is done with a record.
pub(crate) enum Body<S> {
    Calls(Calls<S>),
    Fold(Box<dyn Fold<State = S>>),
}

impl<S> fmt::Debug for Body<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calls(_) => "Body::Calls",
            Self::Fold(_) => "Body::Fold",
        })
    }
}
