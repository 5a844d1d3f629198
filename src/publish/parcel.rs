//! An event with everything that its slot will say, before it has a place.
//!
//! **publish** → route → lane → worker → handler → outcome

use super::Options;
use crate::event::{Class, Event, EventType, Extras, Head, Settle, Slot, Wide};
use crate::sync::Arc;
use smallvec::SmallVec;
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

    pub(crate) fn set(&mut self, options: Options, receipt: Option<Arc<dyn Settle>>) {
        if let Some(stamp) = options.intended {
            self.stamp = stamp;
        }
        if let Some(id) = options.correlation {
            self.correlation = id.as_u128();
        }
        if let Some(id) = options.causation {
            self.causation = id.as_u128();
        }
        if options.id.is_some() || options.metadata.is_some() || receipt.is_some() {
            self.extras = Some(Arc::new(Extras {
                id: options.id,
                metadata: options.metadata,
                receipt,
            }));
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
    /// among several.
    pub(crate) fn put<P>(
        self,
        sequence: u64,
        mut places: SmallVec<[P; 4]>,
        mut put: impl FnMut(P, Slot),
    ) {
        if places.len() == 1
            && let Some(place) = places.pop()
        {
            put(place, Slot::by_value(|slot| self.write(sequence, slot)));
            return;
        }
        let head = self.head(sequence);
        let event = Arc::new(self.event);
        for place in places {
            let head = Head {
                key_hash: head.key_hash,
                stamp: head.stamp,
                sequence: head.sequence,
                correlation: head.correlation,
                causation: head.causation,
                extras: head.extras.clone(),
            };
            let slot = Slot::by_value(|slot| {
                Slot::write_shared(
                    slot,
                    self.event_type,
                    self.class,
                    self.key.is_some(),
                    head,
                    Arc::clone(&event),
                )
            });
            put(place, slot);
        }
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
