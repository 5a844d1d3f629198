//! What is told of attempts that fail, and of shelves and queues that are full, as errors.
//!
//! publish → route → lane → **worker** → handler → outcome → (retry | breaker | dead letter)

use super::attempt::{Around, Of, drop_contained};
use super::tend::Tending;
use crate::error_event::{Category, Draft, Severity};
use crate::event::{EventId, Head};
use crate::handler::{SubscriptionShared, id_of};
use crate::outcome::{Failure, FailureKind};
use std::time::Duration;

/// What is told of a failure beside the failure.
pub(super) struct Told {
    pub(super) severity: Severity,
    pub(super) category: Category,
    pub(super) attempt: u32,
    pub(super) again_after: Option<Duration>,
}

impl Tending {
    pub(super) fn tell(&self, around: Around<'_>, of: &Of, category: Category, text: &str) {
        let clock = &around.caller.clock;
        let now = clock.raw();
        self.errors.raise(Draft {
            subscription: Some((of.shared.id, &of.shared.name)),
            worker: Some((around.caller.worker.pool, around.caller.worker.index)),
            now_ns: clock.delta_ns(0, now),
            wall_ms: clock.wall_ms(now),
            ..Draft::new(Severity::Warning, category, text)
        });
    }

    /// Tells whoever listens that an attempt failed.
    pub(super) fn tell_failed(
        &mut self,
        around: Around<'_>,
        shared: &SubscriptionShared,
        (head, event): (&Head, u32),
        failure: &Failure,
        attempt: u32,
        again_after: Option<Duration>,
    ) {
        let told = Told {
            severity: if again_after.is_some() {
                Severity::Warning
            } else {
                Severity::Error
            },
            category: match failure.kind() {
                FailureKind::Panic => Category::Panic,
                FailureKind::Timeout => Category::Timeout,
                FailureKind::Error => Category::Handler,
                FailureKind::Decode => Category::Decode,
            },
            attempt,
            again_after,
        };
        self.raise(around, shared, head, event, failure, told);
        if let Some(renewal) = self.renewal.take() {
            let told = Told {
                severity: Severity::Critical,
                category: Category::Factory,
                attempt,
                again_after: None,
            };
            self.raise(around, shared, head, event, &renewal, told);
            drop_contained(renewal);
        }
    }

    pub(super) fn raise(
        &self,
        around: Around<'_>,
        shared: &SubscriptionShared,
        head: &Head,
        event: u32,
        failure: &Failure,
        told: Told,
    ) {
        let clock = &around.caller.clock;
        let now = clock.raw();
        let event_id = id_of(head, clock);
        self.errors.raise(Draft {
            severity: told.severity,
            category: told.category,
            subscription: Some((shared.id, &shared.name)),
            event_type: Some(event),
            event_id: Some(event_id),
            correlation_id: EventId::from_u128(head.correlation.get()).or(Some(event_id)),
            metadata: (head.extras.as_ref()).and_then(|extras| extras.metadata.as_ref()),
            worker: Some((around.caller.worker.pool, around.caller.worker.index)),
            attempt: Some(told.attempt).filter(|attempt| *attempt > 0),
            will_retry_after: told.again_after,
            now_ns: clock.delta_ns(0, now),
            wall_ms: clock.wall_ms(now),
            ..Draft::of_failure(failure)
        });
    }
}
