//! Rules that raise an error's severity once there are many.
//!
//! publish → route → lane → worker → handler → **outcome** → (retry | breaker | dead letter)

use super::{Category, ErrorEvent, Severity};
use crate::sync::Arc;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Most errors that a rule may wait for: half a megabyte of times.
pub(super) const COUNT_MAX: usize = 65_536;
/// The shortest window: what is told of it is in milliseconds.
const WINDOW_MIN: Duration = Duration::from_millis(1);

type Handler = Arc<dyn Fn(&Escalated) + Send + Sync>;

/// A rule: after so many errors within a window, the last of them is raised to a higher severity, and a handler is
/// called, once until the cool-down is over. Given to [`Builder::escalate`](crate::Builder::escalate).
///
/// The window slides and is exact: the rule is at its count whenever the last so many errors lie no further apart than
/// the window is long. Errors go on counting during the cool-down, so a trouble that lasts is told again by the first
/// error after it. Rules are asked in the order in which they were given, and each sees the severity that the ones
/// before it have made of the error.
///
/// ```
/// use ringbolt::{Escalation, Severity};
/// use std::time::Duration;
///
/// let rule = Escalation::new("billing is down")
///     .count(5)
///     .at_least(Severity::Error)
///     .within(Duration::from_secs(10))
///     .only_subscription("billing")
///     .to(Severity::Critical)
///     .cool_down(Duration::from_secs(300))
///     .on_escalated(|escalated| eprintln!("{}: {}", escalated.rule, escalated.last.message));
/// # drop(rule);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Escalation {
    name: String,
    count: usize,
    severity: Severity,
    window: Duration,
    category: Option<Category>,
    subscription: Option<String>,
    to: Severity,
    cool_down: Option<Duration>,
    handler: Option<Handler>,
}

impl Escalation {
    /// A rule: 10 errors, of any category and subscription, within 60 seconds are critical, with a cool-down as
    /// long as the window.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            count: 10,
            severity: Severity::Error,
            window: Duration::from_secs(60),
            category: None,
            subscription: None,
            to: Severity::Critical,
            cool_down: None,
            handler: None,
        }
    }

    /// How many errors it takes; 1 to 65,536.
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// How severe they have to be at least.
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Within which time; at least a millisecond.
    pub fn within(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Counts errors of this category only.
    pub fn only_category(mut self, category: Category) -> Self {
        self.category = Some(category);
        self
    }

    /// Counts errors of subscriptions of this name only.
    pub fn only_subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = Some(name.into());
        self
    }

    /// What the error that makes up the count is raised to; above the severity that is counted from.
    pub fn to(mut self, severity: Severity) -> Self {
        self.to = severity;
        self
    }

    /// How long the rule then stays silent; as long as the window if nothing is said. With zero, every
    /// error is raised for which there are so many in the window.
    pub fn cool_down(mut self, time: Duration) -> Self {
        self.cool_down = Some(time);
        self
    }

    /// Is called whenever the rule comes to its count, after the error observers, on the thread that met the
    /// error; to be quick, and free to panic.
    pub fn on_escalated(mut self, handler: impl Fn(&Escalated) + Send + Sync + 'static) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Adds a text for each setting that is out of range.
    pub(crate) fn check(&self, faults: &mut Vec<String>) {
        let name = &self.name;
        if self.count == 0 {
            faults.push(format!(
                "escalation {name}: count: 0 is below 1 (give how many errors it takes; 1 raises each)"
            ));
        }
        if self.count > COUNT_MAX {
            faults.push(format!(
                "escalation {name}: count: {} is above {COUNT_MAX} (the time of each is kept; count for a shorter window)",
                self.count
            ));
        }
        if self.window < WINDOW_MIN {
            faults.push(format!(
                "escalation {name}: window: {:?} is below {WINDOW_MIN:?} (give the time within which so many errors are too many)",
                self.window
            ));
        }
        if self.to <= self.severity {
            faults.push(format!(
                "escalation {name}: to: {} is not above the counted severity {} (raise to a higher one, or count from a lower one)",
                self.to, self.severity
            ));
        }
    }

    pub(super) fn matches(
        &self,
        severity: Severity,
        category: Category,
        subscription: Option<&str>,
    ) -> bool {
        severity >= self.severity
            && self.category.is_none_or(|only| only == category)
            && self
                .subscription
                .as_deref()
                .is_none_or(|only| subscription == Some(only))
    }

    pub(super) fn target(&self) -> Severity {
        self.to
    }

    pub(super) fn watch(&self) -> Watch {
        let window_ns = ns(self.window);
        Watch {
            count: self.count,
            window_ns,
            cool_down_ns: self.cool_down.map_or(window_ns, ns),
            times: VecDeque::new(),
            escalated: None,
        }
    }

    /// Calls the rule's handler, if it has one.
    pub(super) fn tell(&self, last: &ErrorEvent) {
        if let Some(handler) = &self.handler {
            handler(&Escalated {
                rule: self.name.clone(),
                count: self.count,
                window_ms: u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX),
                severity: self.to,
                last: last.clone(),
            });
        }
    }
}

impl fmt::Debug for Escalation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escalation")
            .field("name", &self.name)
            .field("count", &self.count)
            .field("severity", &self.severity)
            .field("window", &self.window)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// A rule that has come to its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Escalated {
    /// The rule's name.
    pub rule: String,
    /// So many errors...
    pub count: usize,
    /// ...within this time...
    pub window_ms: u64,
    /// ...are to be taken as this severe.
    pub severity: Severity,
    /// The error that made up the count, as it was raised.
    pub last: ErrorEvent,
}

/// What a rule remembers: the last so many times.
#[derive(Debug)]
pub(super) struct Watch {
    count: usize,
    window_ns: u64,
    cool_down_ns: u64,
    /// At most `count`, the latest at the back, none older than the window.
    times: VecDeque<u64>,
    /// When the rule last came to its count, cool-downs aside.
    escalated: Option<u64>,
}

impl Watch {
    /// Counts an error at this time; whether the rule is to be followed now. Workers' clocks are read before they
    /// meet here: an earlier time than the last is taken for the last.
    pub(super) fn note(&mut self, now_ns: u64) -> bool {
        let now_ns = self
            .times
            .back()
            .map_or(now_ns, |&latest| latest.max(now_ns));
        while self
            .times
            .front()
            .is_some_and(|&first| now_ns - first > self.window_ns)
        {
            self.times.pop_front();
        }
        if self.times.len() == self.count {
            self.times.pop_front();
        }
        self.times.push_back(now_ns);
        let is_due = self.times.len() == self.count
            && self
                .escalated
                .is_none_or(|at| now_ns - at >= self.cool_down_ns);
        if is_due {
            self.escalated = Some(now_ns);
        }
        is_due
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.times.len()
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
