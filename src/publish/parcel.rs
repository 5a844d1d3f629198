//! An event with everything that its slot will say, before it has a place.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! In two parts: the label is all that the way to a place looks at, the cargo is the value. Only the cargo
//! knows the event's type, so what publishing does in its rarer cases is compiled once and not for each
//! type.

use super::{Options, PublishError, Receipt};
use crate::event::{Class, Event, EventType, Extras, Head, Slot, Tracker, Wide};
use crate::route::Unwanted;
use crate::sync::Arc;
use std::mem::MaybeUninit;

/// What a slot will say beside the event's value.
#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) type_index: u32,
    pub(crate) class: Class,
    pub(crate) key: Option<u64>,
    pub(crate) stamp: u64,
    pub(crate) correlation: u128,
    pub(crate) causation: u128,
    pub(crate) extras: Option<Arc<Extras>>,
}

impl Label {
    /// Tells a receipt to how many pools the event goes.
    pub(crate) fn expect_pools(&self, pools: usize) {
        if let Some(extras) = &self.extras
            && let Some(receipt) = &extras.receipt
        {
            receipt.expect_pools(pools);
        }
    }

    fn head(&self, sequence: u64) -> Head {
        Head {
            key_hash: self.key.unwrap_or(0),
            stamp: self.stamp,
            sequence,
            correlation: Wide::new(self.correlation),
            causation: Wide::new(self.causation),
            extras: self.extras.clone(),
        }
    }

    /// Puts the event into `places`, of which there is at least one: moved into a single one, shared
    /// among several. Nothing of the event is left in its cargo: what a payload's `Drop` does is the
    /// workers' affair.
    pub(crate) fn put<P: Copy>(
        &self,
        cargo: &mut dyn Cargo,
        sequence: u64,
        places: &[P],
        mut put: impl FnMut(P, Slot),
    ) {
        let Some((&last, others)) = places.split_last() else {
            unreachable!("an event that goes nowhere is not put anywhere");
        };
        for &place in others {
            put(
                place,
                Slot::by_value(|slot| cargo.share(self, sequence, slot)),
            );
        }
        put(
            last,
            Slot::by_value(|slot| cargo.hand_over(self, sequence, slot)),
        );
    }
}

/// The value of an event, to be put into slots.
pub(crate) trait Cargo {
    /// Fills a slot with a share of the value.
    fn share<'a>(
        &mut self,
        label: &Label,
        sequence: u64,
        slot: &'a mut MaybeUninit<Slot>,
    ) -> &'a mut Slot;

    /// Fills a slot with the value, or with what is left of it after shares were given out.
    fn hand_over<'a>(
        &mut self,
        label: &Label,
        sequence: u64,
        slot: &'a mut MaybeUninit<Slot>,
    ) -> &'a mut Slot;
}

enum Value<E> {
    Whole(E),
    Shared(Arc<E>),
    Gone,
}

impl<E: Event> Cargo for Value<E> {
    fn share<'a>(
        &mut self,
        label: &Label,
        sequence: u64,
        slot: &'a mut MaybeUninit<Slot>,
    ) -> &'a mut Slot {
        let event = match std::mem::replace(self, Self::Gone) {
            Self::Whole(event) => Arc::new(event),
            Self::Shared(event) => event,
            Self::Gone => unreachable!("nothing is shared after the value has gone"),
        };
        *self = Self::Shared(Arc::clone(&event));
        write_share(label, sequence, slot, event)
    }

    fn hand_over<'a>(
        &mut self,
        label: &Label,
        sequence: u64,
        slot: &'a mut MaybeUninit<Slot>,
    ) -> &'a mut Slot {
        match std::mem::replace(self, Self::Gone) {
            Self::Whole(event) => Slot::write(
                slot,
                EventType::of(),
                label.class,
                label.key.is_some(),
                label.head(sequence),
                event,
            ),
            Self::Shared(event) => write_share(label, sequence, slot, event),
            Self::Gone => unreachable!("the value goes once"),
        }
    }
}

fn write_share<'a, E: Event>(
    label: &Label,
    sequence: u64,
    slot: &'a mut MaybeUninit<Slot>,
    event: Arc<E>,
) -> &'a mut Slot {
    let head = label.head(sequence);
    let keyed = label.key.is_some();
    Slot::write_shared(slot, EventType::of(), label.class, keyed, head, event)
}

/// Why an event was not admitted, without the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No room, perhaps only for now.
    Full,
    Closed,
    NoHandler,
    WouldDeadlock,
}

/// One event, ready to be put into slots.
pub(crate) struct Parcel<E> {
    pub(crate) label: Label,
    value: Value<E>,
}

impl<E: Event> Parcel<E> {
    /// Calls the event's `key`, which is the user's code.
    pub(crate) fn new(event: E, class: Class, stamp: u64) -> Self {
        let key = event.key().hash();
        Self {
            label: Label {
                type_index: EventType::<E>::of().index(),
                class,
                key,
                stamp,
                correlation: 0,
                causation: 0,
                extras: None,
            },
            value: Value::Whole(event),
        }
    }

    pub(crate) fn set(&mut self, options: Options) {
        let label = &mut self.label;
        if let Some(stamp) = options.intended {
            label.stamp = stamp;
        }
        if let Some(id) = options.correlation {
            label.correlation = id.as_u128();
        }
        if let Some(id) = options.causation {
            label.causation = id.as_u128();
        }
        if options.id.is_some() || options.metadata.is_some() {
            label.extras = Some(Arc::new(Extras {
                id: options.id,
                metadata: options.metadata,
                receipt: None,
                stored: None,
            }));
        }
    }

    /// Has the outcome told to whoever holds the receipt.
    pub(crate) fn track(&mut self) -> Receipt {
        let extras = Arc::new(Extras {
            receipt: Some(Tracker::default()),
            ..Extras::default()
        });
        self.label.extras = Some(Arc::clone(&extras));
        Receipt(extras)
    }

    /// An event that was refused, with what was said about it.
    pub(crate) fn again(label: Label, event: E) -> Self {
        Self {
            label,
            value: Value::Whole(event),
        }
    }

    /// The event, if it was put nowhere.
    pub(crate) fn into_event(self) -> Option<E> {
        match self.value {
            Value::Whole(event) => Some(event),
            Value::Shared(_) | Value::Gone => None,
        }
    }

    /// Has the event sent; if it is refused, it comes back.
    pub(crate) fn send(
        mut self,
        send: impl FnOnce(&mut Label, &mut dyn Cargo) -> Result<(), Refused>,
    ) -> Result<(), PublishError<E>> {
        let Err(refused) = send(&mut self.label, &mut self.value) else {
            return Ok(());
        };
        let Value::Whole(event) = self.value else {
            unreachable!("a refused event was put nowhere");
        };
        Err(match refused {
            Refused::Full => PublishError::Full(event),
            Refused::Closed => PublishError::Closed(event),
            Refused::NoHandler => PublishError::NoHandler(event),
            Refused::WouldDeadlock => PublishError::WouldDeadlock(event),
        })
    }
}

/// What becomes of an event that nobody subscribes to; `note` is called if that is settled.
#[cold]
pub(crate) fn dispose(
    unwanted: &Unwanted,
    label: &Label,
    cargo: &mut dyn Cargo,
    note: impl FnOnce(),
    sequence: impl FnOnce() -> u64,
) -> Result<(), Refused> {
    match unwanted {
        Unwanted::Kept(keeper) if !keeper.has_room() => return Err(Refused::Full),
        Unwanted::Kept(keeper) => {
            label.put(cargo, sequence(), &[()], |(), slot| keeper.keep(slot));
        }
        Unwanted::Dropped | Unwanted::Refused => {}
    }
    note();
    match unwanted {
        Unwanted::Refused => Err(Refused::NoHandler),
        Unwanted::Dropped | Unwanted::Kept(_) => Ok(()),
    }
}

/// The pools in a routing word.
pub(crate) fn pools_in(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let pool = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(pool)
    })
}
