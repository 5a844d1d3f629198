//! What few events carry: an explicit id, metadata, somebody who waits for the outcome.

use super::EventId;
use crate::sync::Arc;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Named text values that travel with an event; for tracing headers and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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

/// Somebody who is told how each delivery of an event ended.
pub(crate) trait Settle: Send + Sync + fmt::Debug {
    /// A pool has taken the event: that many deliveries follow from it.
    fn taken(&self, deliveries: usize);
    /// One delivery has ended.
    fn ended(&self, subscription: u64, ended: crate::outcome::Ended);
}

/// One allocation for everything rare about an event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub(crate) id: Option<EventId>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) receipt: Option<Arc<dyn Settle>>,
}
