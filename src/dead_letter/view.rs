//! A letter as people see it: plain data, and the value where the program knows its type.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::letter::{Letter, LetterId, LetterStatus, Reason};
use crate::event::{Class, Event, EventId, EventType, Kept, Metadata, descriptor_at, id_of};
use crate::sync::clock::Clock;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One attempt of a delivery. Times are wall milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which attempt it was, from 1; redeliveries go on counting.
    pub number: u32,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// What it said.
    pub message: String,
}

/// A letter as it was when it was looked at. Serialises as what it says; the value is had by its type
/// ([`value`](Self::value)) or as text ([`to_text`](Self::to_text)).
///
/// It holds a share of the value. A subscription that takes its event by value cannot have it again while somebody
/// looks at it, so do not keep views for long.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct LetterView {
    /// The letter's number.
    pub id: LetterId,
    /// The name of the event's type.
    pub event_name: &'static str,
    /// The version of the event's type.
    pub event_version: u16,
    /// The event's id.
    pub event_id: EventId,
    /// The id that all events of its story share.
    pub correlation_id: EventId,
    /// The id of the event whose handler published it.
    pub causation_id: Option<EventId>,
    /// Its priority class.
    pub class: Class,
    /// What was published along with it.
    pub metadata: Option<Metadata>,
    /// Its key as people read it; `None` for no key, or if the value is gone.
    pub key: Option<String>,
    /// The hash of its key, in this process.
    pub key_hash: Option<u64>,
    /// The name of the subscription that failed.
    pub subscription: String,
    /// The number of the subscription, in this process.
    pub subscription_id: u64,
    /// Whether the subscription's letters are delivered again in order, key by key.
    pub sequential: bool,
    /// Why it is a letter.
    pub reason: Reason,
    /// The messages of the last failure and of every error it came from, the latest first.
    pub errors: Vec<String>,
    /// The first attempt and the last 15.
    pub attempts: Vec<Attempt>,
    /// How many attempts there were.
    pub attempt_count: u32,
    /// When an attempt failed first, in wall milliseconds since 1970.
    pub first_failure_ms: u64,
    /// When the last one did.
    pub last_failure_ms: u64,
    /// How many redeliveries failed.
    pub replays: u32,
    /// What is being done about it.
    pub status: LetterStatus,
    #[serde(skip)]
    kept: Kept,
}

impl LetterView {
    /// Calls the user's code for the key: not to be done under a lock.
    pub(super) fn new(letter: Letter, clock: &Clock) -> Self {
        let errors = letter.errors().map(str::to_owned).collect();
        let Letter {
            id,
            event,
            subscriber,
            attempts,
            first_failure_ms,
            last_failure_ms,
            replays,
            reason,
            status,
            ..
        } = letter;
        let head = event.head();
        let descriptor = descriptor_at(event.type_index());
        let event_id = id_of(head, clock);
        Self {
            id,
            event_name: descriptor.name,
            event_version: descriptor.version,
            event_id,
            correlation_id: EventId::from_u128(head.correlation.get()).unwrap_or(event_id),
            causation_id: EventId::from_u128(head.causation.get()),
            class: event.class(),
            metadata: head
                .extras
                .as_ref()
                .and_then(|extras| extras.metadata.clone()),
            key: descriptor.text_fns.key(&event),
            key_hash: event.key_hash(),
            subscription: subscriber.name.to_string(),
            subscription_id: subscriber.id,
            sequential: subscriber.is_sequential,
            reason,
            errors,
            attempts: attempts
                .stored
                .iter()
                .map(|attempt| Attempt {
                    number: attempt.number,
                    started_ms: attempt.started_ms,
                    ended_ms: attempt.ended_ms(),
                    message: attempts.message(attempt).to_owned(),
                })
                .collect(),
            attempt_count: attempts.count,
            first_failure_ms,
            last_failure_ms,
            replays,
            status,
            kept: event,
        }
    }

    /// The event, if it is an `E` and the letter has it: a handler that took it by value has not given it back.
    #[must_use]
    pub fn value<E: Event>(&self) -> Option<&E> {
        self.kept.get(EventType::<E>::of())
    }

    /// Whether the letter has its event's value.
    #[must_use]
    pub fn has_value(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The name of the event type's codec.
    #[must_use]
    pub fn codec(&self) -> Option<&'static str> {
        descriptor_at(self.kept.type_index()).text_fns.codec()
    }

    /// The event as its codec writes it; `None` if its type has no codec. What the codec found wrong is the error.
    #[must_use]
    pub fn to_text(&self) -> Option<Result<String, String>> {
        let descriptor = descriptor_at(self.kept.type_index());
        descriptor.text_fns.encode(&self.kept)
    }
}

impl fmt::Debug for LetterView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterView")
            .field("id", &self.id)
            .field("event_name", &self.event_name)
            .field("event_id", &self.event_id)
            .field("key", &self.key)
            .field("subscription", &self.subscription)
            .field("reason", &self.reason)
            .field("errors", &self.errors)
            .field("attempt_count", &self.attempt_count)
            .field("replays", &self.replays)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
