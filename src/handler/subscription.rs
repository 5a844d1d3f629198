//! A subscription as all workers and reports share it.
//!
//! publish → route → lane → worker → **handler** → outcome

use super::{Policies, Recipe};
use crate::dead_letter::Subscriber;
use crate::event::{Descriptor, contain};
use crate::metrics::{AttemptCounts, CountsCell, DeliveryCounts, MARK_WITHDRAWN};
use crate::sync::{Arc, Mutex};

/// One registered handler.
#[derive(Debug)]
pub(crate) struct SubscriptionShared {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) pool: usize,
    /// The place of its histogram in the recorders of its pool's workers.
    pub(crate) place: usize,
    pub(crate) events: Vec<&'static Descriptor>,
    pub(crate) takes_by_value: bool,
    pub(crate) policies: Policies,
    /// Whose its letters are.
    pub(crate) subscriber: Arc<Subscriber>,
    /// Until the subscription is withdrawn or the engine has ended. A lock on the cold side only.
    recipe: Mutex<Option<Arc<dyn Recipe>>>,
    /// A counter block for each worker of the pool, and one for whoever stops the engine.
    pub(crate) counts: Vec<Arc<CountsCell>>,
}

impl SubscriptionShared {
    pub(crate) fn new(
        id: u64,
        name: String,
        pool: usize,
        place: usize,
        recipe: Arc<dyn Recipe>,
        policies: Policies,
        worker_count: usize,
    ) -> Self {
        let subscriber = Arc::new(Subscriber::new(
            id,
            name.as_str(),
            policies.is_sequential,
            recipe.takes_by_value(),
        ));
        Self {
            subscriber,
            id,
            name,
            pool,
            place,
            events: recipe.events(),
            takes_by_value: recipe.takes_by_value(),
            policies,
            recipe: Mutex::new(Some(recipe)),
            counts: (0..=worker_count).map(|_| Arc::default()).collect(),
        }
    }

    /// How the handlers are made; `None` once nobody is to make them any more.
    pub(crate) fn recipe(&self) -> Option<Arc<dyn Recipe>> {
        self.recipe.lock().clone()
    }

    /// From here on no call begins: what workers have in hand for it ends as withdrawn.
    pub(crate) fn withdraw(&self) {
        for cell in &self.counts {
            cell.set_mark(MARK_WITHDRAWN);
        }
    }

    /// Lets go of the user's closures. They may hold handles of the engine, which would otherwise keep
    /// itself alive through them.
    pub(crate) fn forget_recipe(&self) {
        let recipe = self.recipe.lock().take();
        // A closure's drop is the user's code.
        let _ = contain(|| drop(recipe));
    }

    /// How its attempts went, over the workers.
    pub(crate) fn attempts(&self) -> AttemptCounts {
        let mut totals = AttemptCounts::default();
        for cell in &self.counts {
            totals.add(&cell.attempts());
        }
        totals
    }

    /// Sum over the workers.
    pub(crate) fn totals(&self) -> DeliveryCounts {
        let mut totals = DeliveryCounts::default();
        for cell in &self.counts {
            totals.add(&cell.read());
        }
        totals
    }
}
