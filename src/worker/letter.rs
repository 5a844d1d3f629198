//! What a worker is told, and how it answers.
//!
//! publish → route → lane → **worker** → handler → outcome

use super::Answer;
use super::stored::StoredLane;
use super::tend::Place;
use crate::dead_letter::Order;
use crate::handler::SubscriptionShared;
use crate::publish::Delayed;
use crate::sync::{Arc, Mutex, clock};
use std::time::{Duration, Instant};

/// A letter to a worker, read at a batch boundary.
pub(crate) enum Letter {
    /// Make this subscription's handlers.
    Install(Arc<SubscriptionShared>, Arc<Answer>),
    /// Drop this subscription's handlers and state.
    Remove(u64, Arc<Answer>),
    /// A shutdown round: say whether anything happened since the last one.
    Round(Arc<Round>),
    /// Abandon what is left, drop all state, end.
    Stop(Arc<Answer>),
    /// A subscription's breaker has changed: what it stopped may go on.
    Breaker(Place),
    /// There is room in the dead-letter queue again.
    Room(Place),
    /// The parked letters of a key are gone.
    Unpark(Place, u64),
    /// A letter, or all of a parked key, is to be redelivered.
    Redeliver(Arc<SubscriptionShared>, Box<Order>),
    /// An event that is to be published at a stamp.
    Publish(u64, Arc<dyn Delayed>),
    /// Follow a log from here on.
    Follow(Box<StoredLane>),
}

impl Letter {
    /// The answer of a worker that has ended: it has no subscriptions, and nothing happens on it. What there
    /// is no answer to comes back.
    pub(crate) fn answer_for_ended(self) -> Option<Self> {
        match self {
            Self::Install(_, answer) | Self::Remove(_, answer) | Self::Stop(answer) => {
                answer.give(Ok(()));
            }
            Self::Round(round) => round.give(Activity::None),
            // The next one asks the breaker when it joins it.
            Self::Breaker(_) => {}
            Self::Room(_)
            | Self::Unpark(..)
            | Self::Redeliver(..)
            | Self::Publish(..)
            | Self::Follow(_) => {
                return Some(self);
            }
        }
        None
    }
}

/// What a worker has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// Nothing, and it did nothing since it was asked last.
    None,
    /// Nothing but to wait for a timer that is due before the asker's deadline.
    Waiting,
    Busy,
}

/// One round of asking every worker whether it is quiet.
///
/// A worker answers after a full look at everything that could hold an event. Two rounds in a row in
/// which nobody was active mean that the engine is quiet: between them lies a moment at which every
/// worker was inactive and nothing was on its way (docs/decisions/0005).
#[derive(Debug)]
pub(crate) struct Round {
    answer: Arc<Answer>,
    activity: Mutex<Activity>,
    deadline: Option<Instant>,
}

impl Round {
    pub(crate) fn new(workers: usize, deadline: Option<Instant>) -> Arc<Self> {
        Arc::new(Self {
            answer: Answer::new(workers),
            activity: Mutex::new(Activity::None),
            deadline,
        })
    }

    /// How long the asker waits yet; `None` for as long as it takes.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(clock::left)
    }

    pub(crate) fn give(&self, activity: Activity) {
        let mut most = self.activity.lock();
        *most = activity.max(*most);
        drop(most);
        self.answer.give(Ok(()));
    }

    /// `None` if the deadline came first; else the most that any worker had to do.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<Activity> {
        self.answer
            .wait_until(deadline)
            .then(|| *self.activity.lock())
    }
}
