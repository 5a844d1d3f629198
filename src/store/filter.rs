//! Which records: conditions that can be put together.

use super::view::Record;
use crate::event::{Class, Event, EventId};
use crate::sync::Arc;
use std::fmt;
use std::ops::RangeBounds;
use std::time::SystemTime;

/// A condition on records.
///
/// ```
/// use ringbolt::store::RecordFilter;
///
/// let filter = RecordFilter::event_types(["order.placed", "order.paid"])
///     .and(RecordFilter::stream_prefix("order-"))
///     .and(RecordFilter::metadata("tenant", "7").or(RecordFilter::metadata("tenant", "8")))
///     .and(RecordFilter::stream("order-0").not());
/// # let _ = filter;
/// ```
#[derive(Clone)]
pub struct RecordFilter(Arc<dyn Fn(&Record<'_>) -> bool + Send + Sync>);

impl RecordFilter {
    /// Whatever the function says yes to.
    pub fn new(passes: impl Fn(&Record<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(passes))
    }

    /// Records of the stream of this name.
    pub fn stream(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::new(move |record| record.stream() == name)
    }

    /// Records of streams whose names begin so.
    pub fn stream_prefix(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self::new(move |record| record.stream().starts_with(&prefix))
    }

    /// Events of this type, of any version.
    #[must_use]
    pub fn of<E: Event>() -> Self {
        Self::new(|record| record.event_type() == E::NAME)
    }

    /// Events of the types of these names, of any version.
    pub fn event_types<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self::new(move |record| names.iter().any(|name| name == record.event_type()))
    }

    /// Records appended within this time, by the store's clock.
    pub fn time(range: impl RangeBounds<SystemTime> + Send + Sync + 'static) -> Self {
        Self::new(move |record| range.contains(&record.time()))
    }

    /// Events of one story.
    #[must_use]
    pub fn correlation(id: EventId) -> Self {
        Self::new(move |record| record.correlation_id() == id)
    }

    /// Events with this named value.
    pub fn metadata(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self::new(move |record| record.metadata().any(|found| found == (&name, &value)))
    }

    /// Events of this class.
    #[must_use]
    pub fn class(class: Class) -> Self {
        Self::new(move |record| record.class() == class)
    }

    /// What passes both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(move |record| self.passes(record) && other.passes(record))
    }

    /// What passes one of them.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::new(move |record| self.passes(record) || other.passes(record))
    }

    /// What does not pass.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "it stands in a row with `and` and `or`"
    )]
    pub fn not(self) -> Self {
        Self::new(move |record| !self.passes(record))
    }

    /// Whether a record does.
    #[must_use]
    pub fn passes(&self, record: &Record<'_>) -> bool {
        (self.0)(record)
    }
}

impl fmt::Debug for RecordFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordFilter")
    }
}
