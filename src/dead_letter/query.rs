//! Which letters are meant, and how many of them are told at a time.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::letter::{Letter, LetterId, LetterStatus, Reason};
use super::view::LetterView;
use crate::event::{AsKey, Key, descriptor_at};
use smallvec::SmallVec;
use std::ops::RangeBounds;
use uuid::Uuid;

/// Most letters of a page.
const PAGE_MAX: usize = 1_000;

/// Which letters are meant: all that agree with everything that is said here.
///
/// ```
/// use ringbolt::{Filter, Reason};
///
/// let filter = Filter::new().subscription("billing").reason(Reason::Exhausted).key("a7");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    subscription: Option<String>,
    event: Option<String>,
    /// The hashes of every key that is meant.
    keys: Option<SmallVec<[u64; 3]>>,
    reason: Option<Reason>,
    status: Option<LetterStatus>,
    failed_from_ms: Option<u64>,
    failed_until_ms: Option<u64>,
    text: Option<String>,
}

impl Filter {
    /// All letters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Letters of the subscription of this name.
    #[must_use]
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = Some(name.into());
        self
    }

    /// Letters of events whose type has this name.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Letters of events with this key.
    #[must_use]
    pub fn key(self, key: impl AsKey) -> Self {
        self.of_key(key.as_key())
    }

    pub(super) fn of_key(mut self, key: Key<'_>) -> Self {
        self.keys = Some(key.hash().into_iter().collect());
        self
    }

    /// Letters of events whose key reads like this: text, a number, or a UUID.
    #[must_use]
    pub fn key_text(mut self, text: &str) -> Self {
        let number = text
            .parse()
            .ok()
            .or_else(|| text.parse::<i64>().ok().map(|number| number as u64));
        let wide = Uuid::parse_str(text).ok();
        self.keys = Some(
            [
                Some(Key::Bytes(text.as_bytes())),
                number.map(Key::U64),
                wide.map(|wide| Key::U128(wide.as_u128())),
            ]
            .into_iter()
            .flatten()
            .filter_map(Key::hash)
            .collect(),
        );
        self
    }

    /// Letters for this reason.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Letters with which this is being done.
    #[must_use]
    pub fn status(mut self, status: LetterStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Letters whose last failure was at these times, in wall milliseconds since 1970.
    #[must_use]
    pub fn failed_at(mut self, times_ms: impl RangeBounds<u64>) -> Self {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        self.failed_from_ms = match times_ms.start_bound() {
            Included(&from) => Some(from),
            Excluded(&from) => Some(from.saturating_add(1)),
            Unbounded => None,
        };
        self.failed_until_ms = match times_ms.end_bound() {
            Included(&until) => Some(until),
            // Nothing is before the first moment.
            Excluded(&0) => {
                self.failed_from_ms = Some(u64::MAX);
                Some(0)
            }
            Excluded(&until) => Some(until - 1),
            Unbounded => None,
        };
        self
    }

    /// Letters with this text somewhere in the messages of their last failure.
    #[must_use]
    pub fn error_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Calls nobody's code but ours: it is asked under the lock.
    pub(super) fn is_met(&self, letter: &Letter) -> bool {
        let Self {
            subscription,
            event,
            keys,
            reason,
            status,
            failed_from_ms,
            failed_until_ms,
            text,
        } = self;
        let agrees =
            |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
        reason.is_none_or(|reason| reason == letter.reason)
            && status.is_none_or(|status| status == letter.status)
            && failed_from_ms.is_none_or(|from| letter.last_failure_ms >= from)
            && failed_until_ms.is_none_or(|until| letter.last_failure_ms <= until)
            && agrees(subscription, &letter.subscriber.name)
            && keys.as_ref().is_none_or(|keys| {
                let hash = letter.event.key_hash();
                hash.is_some_and(|hash| keys.contains(&hash))
            })
            && agrees(event, descriptor_at(letter.event.type_index()).name)
            && text.as_ref().is_none_or(|text| {
                let mut errors = letter.errors();
                errors.any(|error| error.contains(text.as_str()))
            })
    }
}

/// Which of the letters that are meant are told: by their place, or from a letter on.
///
/// ```
/// use ringbolt::Page;
///
/// let second = Page::new().limit(50).offset(50).newest_first();
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) after: Option<LetterId>,
    pub(super) is_newest_first: bool,
}

impl Page {
    /// The first 100, the oldest first.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limit: 100,
            offset: 0,
            after: None,
            is_newest_first: false,
        }
    }

    /// So many letters at most, and never more than 1,000.
    #[must_use]
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = letters.min(PAGE_MAX);
        self
    }

    /// Leaves out so many.
    #[must_use]
    pub fn offset(mut self, letters: usize) -> Self {
        self.offset = letters;
        self
    }

    /// Begins behind this letter, which may be gone: [`LetterPage::next`] of the page before. Unlike an offset, it
    /// misses and repeats nothing while letters come and go.
    #[must_use]
    pub fn after(mut self, letter: LetterId) -> Self {
        self.after = Some(letter);
        self
    }

    /// The newest letter comes first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.is_newest_first = true;
        self
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// Some of the letters that are meant.
#[derive(Debug)]
#[non_exhaustive]
pub struct LetterPage {
    /// The letters, in the order that was asked for.
    pub letters: Vec<LetterView>,
    /// What the next page begins behind; `None` if this was the last.
    pub next: Option<LetterId>,
}
