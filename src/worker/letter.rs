//! What a worker is told, and how it answers.
//!
//! publish → route → lane → **worker** → handler → outcome

use super::Answer;
use crate::handler::SubscriptionShared;
use crate::sync::{Arc, Mutex};
use std::time::Instant;

/// A letter to a worker, read at a batch boundary.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Make this subscription's handlers.
    Install(Arc<SubscriptionShared>, Arc<Answer>),
    /// Drop this subscription's handlers and state.
    Remove(u64, Arc<Answer>),
    /// A shutdown round: say whether anything happened since the last one.
    Round(Arc<Round>),
    /// Abandon what is left, drop all state, end.
    Stop(Arc<Answer>),
}

impl Letter {
    /// The answer of a worker that has ended: it has no subscriptions, and nothing happens on it.
    pub(crate) fn answer_for_ended(self) {
        match self {
            Self::Install(_, answer) | Self::Remove(_, answer) | Self::Stop(answer) => {
                answer.give(Ok(()));
            }
            Self::Round(round) => round.give(false),
        }
    }
}

/// One round of asking every worker whether it is quiet.
///
/// A worker answers after a full look at everything that could hold an event. Two rounds in a row in
/// which nobody was active mean that the engine is quiet: between them lies a moment at which every
/// worker was inactive and nothing was on its way (docs/decisions/0005).
#[derive(Debug)]
pub(crate) struct Round {
    answer: Arc<Answer>,
    active: Mutex<bool>,
}

impl Round {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            answer: Answer::new(workers),
            active: Mutex::new(false),
        })
    }

    pub(crate) fn give(&self, active: bool) {
        if active {
            *self.active.lock() = true;
        }
        self.answer.give(Ok(()));
    }

    /// `None` if the deadline came first; else whether any worker was active.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<bool> {
        self.answer
            .wait_until(deadline)
            .then(|| *self.active.lock())
    }
}
