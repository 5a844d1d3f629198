//! What is appended: an event, and what is said about it.

use super::record::write_metadata;
use crate::event::{AsKey, Class, Event, EventId, Metadata};

/// An event to be appended, with something special said about it. A plain reference to an event is one with nothing
/// special.
#[derive(Debug, Clone)]
pub struct Draft<'e, E> {
    pub(crate) event: &'e E,
    pub(crate) id: Option<EventId>,
    pub(crate) correlation: Option<EventId>,
    pub(crate) causation: Option<EventId>,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) class: Class,
    pub(crate) key: Option<u64>,
}

impl<'e, E: Event> Draft<'e, E> {
    /// This event.
    #[must_use]
    pub fn new(event: &'e E) -> Self {
        Self {
            event,
            id: None,
            correlation: None,
            causation: None,
            metadata: None,
            class: Class::Normal,
            key: None,
        }
    }

    /// Gives it an id. An append that is tried again with the same ids finds that it has happened.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Says to which story it belongs.
    #[must_use]
    pub fn correlation(mut self, id: EventId) -> Self {
        self.correlation = Some(id);
        self
    }

    /// Says which event caused it.
    #[must_use]
    pub fn causation(mut self, id: EventId) -> Self {
        self.causation = Some(id);
        self
    }

    /// Adds named values.
    #[must_use]
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        self.metadata = Some(write_metadata(metadata));
        self
    }

    /// Says how urgent it is to those who handle it. The order of one key's stored events is that of the log, whatever
    /// their classes.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The key by which its worker is chosen; without it the event's own, or, if it has none, its stream.
    #[must_use]
    pub fn key(mut self, key: &(impl AsKey + ?Sized)) -> Self {
        self.key = key.as_key().hash();
        self
    }
}

/// What can be appended: a reference to an event, or a [`Draft`] of one.
pub trait IntoDraft<'e> {
    /// The event's type.
    type Event: Event;

    /// The draft.
    fn into_draft(self) -> Draft<'e, Self::Event>;
}

impl<'e, E: Event> IntoDraft<'e> for &'e E {
    type Event = E;

    fn into_draft(self) -> Draft<'e, E> {
        Draft::new(self)
    }
}

impl<'e, E: Event> IntoDraft<'e> for Draft<'e, E> {
    type Event = E;

    fn into_draft(self) -> Self {
        self
    }
}
