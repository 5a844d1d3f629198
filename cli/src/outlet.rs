//! Where fed events go: into the engine, and first into the event store if there is one.
//!
//! input → feed → **outlet** → *the engine* → check → summary
//!
//! This is the one place that knows both ways. When the workers follow the log themselves, [`Outlet::put`] appends and
//! does not publish; nothing else in the command need change.

use crate::flow::Numbered;
use crate::input_event::InputEvent;
use ringbolt::store::{EventStore, ExpectedVersion};
use ringbolt::{Event, Options, Publisher};
use std::borrow::Cow;

/// An event that knows its stream: that of its key.
pub(crate) trait Streamed: Event {
    /// The name of the stream in a store.
    fn stream(&self) -> Cow<'_, str>;
}

impl<E: Numbered> Streamed for E {
    fn stream(&self) -> Cow<'_, str> {
        Cow::Owned(self.book().to_string())
    }
}

impl Streamed for InputEvent {
    /// The key; of events without one, their type.
    fn stream(&self) -> Cow<'_, str> {
        let key = self.record.key.as_deref().filter(|key| !key.is_empty());
        Cow::Borrowed(key.unwrap_or(&self.record.event_type))
    }
}

/// The way out of one publishing thread.
#[derive(Debug)]
pub(crate) struct Outlet {
    publisher: Publisher,
    store: Option<EventStore>,
}

impl Outlet {
    pub(crate) fn new(publisher: Publisher, store: Option<&EventStore>) -> Self {
        Self {
            publisher,
            store: store.cloned(),
        }
    }

    /// Hands on one event: at full speed as it comes, else with the moment it was due.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn put<E: Streamed>(&mut self, event: E, due: Option<u64>) -> Result<(), String> {
        if let Some(store) = &self.store {
            let appended = store.append(&event.stream(), ExpectedVersion::Any, &event);
            appended.map_err(|error| {
                format!(
                    "an event cannot be stored: {error} (without --store it is only dispatched)"
                )
            })?;
        }
        let published = match due {
            None => self.publisher.publish(event),
            Some(due) => {
                let options = Options::new().intended(due);
                self.publisher.publish_with(event, options)
            }
        };
        published.map_err(|refused| format!("an event was refused: {refused}"))
    }
}
