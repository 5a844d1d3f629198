//! What few events carry: an explicit id, metadata, somebody who waits for the outcome.

use super::{Class, EventId, Tracker};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Named text values that travel with an event; for tracing headers and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, and gives the metadata back for the next.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All values in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A stored event's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// In the log.
    pub(crate) position: u64,
    /// In its stream.
    pub(crate) version: u64,
    /// Its class, which the order of the log does not follow: workers take stored events as those of one lane.
    pub(crate) class: Class,
}

/// One allocation for everything rare about an event.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) id: Option<EventId>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) receipt: Option<Tracker>,
    /// Where the event lies in the store, if it came from there.
    pub(crate) stored: Option<Stored>,
}
