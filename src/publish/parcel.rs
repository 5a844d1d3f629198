//! An event with everything that its slot will say, before it has a place.
//!
//! **publish** → route → lane → worker → handler → outcome

use super::{Options, Receipt};
use crate::event::{Class, Event, EventType, Extras, Head, Slot, Tracker, Wide};
use crate::sync::Arc;
use std::mem::MaybeUninit;

/// One event, ready to be put into slots.
pub(crate) struct Parcel<E> {
    pub(crate) event: E,
    pub(crate) event_type: EventType<E>,
    pub(crate) class: Class,
    pub(crate) key: Option<u64>,
    pub(crate) stamp: u64,
    pub(crate) correlation: u128,
    pub(crate) causation: u128,
    pub(crate) extras: Option<Arc<Extras>>,
}

impl<E: Event> Parcel<E> {
    /// Calls the event's `key`, which is the user's code.
    pub(crate) fn new(event: E, class: Class, stamp: u64) -> Self {
        let key = event.key().hash();
        Self {
            event,
            event_type: EventType::of(),
            class,
            key,
            stamp,
            correlation: 0,
            causation: 0,
            extras: None,
        }
    }

    pub(crate) fn set(&mut self, options: Options) {
        if let Some(stamp) = options.intended {
            self.stamp = stamp;
        }
        if let Some(id) = options.correlation {
            self.correlation = id.as_u128();
        }
        if let Some(id) = options.causation {
            self.causation = id.as_u128();
        }
        if options.id.is_some() || options.metadata.is_some() {
            self.extras = Some(Arc::new(Extras {
                id: options.id,
                metadata: options.metadata,
                receipt: None,
            }));
        }
    }

    /// Has the outcome told to whoever holds the receipt.
    pub(crate) fn track(&mut self) -> Receipt {
        let extras = Arc::new(Extras {
            receipt: Some(Tracker::default()),
            ..Extras::default()
        });
        self.extras = Some(Arc::clone(&extras));
        Receipt(extras)
    }

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

    fn write(self, sequence: u64, slot: &mut MaybeUninit<Slot>) -> &mut Slot {
        let head = self.head(sequence);
        Slot::write(
            slot,
            self.event_type,
            self.class,
            self.key.is_some(),
            head,
            self.event,
        )
    }

    /// Puts the event into `places`, of which there is at least one: moved into a single one, shared
    /// among several. Nothing of the event is left here: what a payload's `Drop` does is the workers'
    /// affair.
    pub(crate) fn put<P: Copy>(self, sequence: u64, places: &[P], mut put: impl FnMut(P, Slot)) {
        let Some((&last, others)) = places.split_last() else {
            unreachable!("an event that goes nowhere is not put anywhere");
        };
        if others.is_empty() {
            put(last, Slot::by_value(|slot| self.write(sequence, slot)));
            return;
        }
        let Self {
            event,
            event_type,
            class,
            key,
            stamp,
            correlation,
            causation,
            extras,
        } = self;
        let share = |extras, event| {
            let head = Head {
                key_hash: key.unwrap_or(0),
                stamp,
                sequence,
                correlation: Wide::new(correlation),
                causation: Wide::new(causation),
                extras,
            };
            Slot::by_value(|slot| {
                Slot::write_shared(slot, event_type, class, key.is_some(), head, event)
            })
        };
        let event = Arc::new(event);
        for &place in others {
            put(place, share(extras.clone(), Arc::clone(&event)));
        }
        put(last, share(extras, event));
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
