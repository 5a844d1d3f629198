//! Which subscriptions exist, and which pools an event type goes to.

use crate::handler::SubscriptionShared;
use crate::metrics::{DeliveryCounts, Latency};
use crate::sync::Arc;
use crate::worker::Answer;
use std::collections::HashMap;

/// All subscriptions of an engine.
#[derive(Debug)]
pub(crate) struct Registry {
    next_id: u64,
    pub(crate) alive: Vec<Arc<SubscriptionShared>>,
    by_type: HashMap<u32, Vec<Arc<SubscriptionShared>>, ahash::RandomState>,
    /// Withdrawn ones whose workers have not all answered, or whose times have not been collected.
    pub(crate) leaving: Vec<(Arc<SubscriptionShared>, Arc<Answer>)>,
    /// What withdrawn subscriptions did, so that totals never run backwards (OB1).
    pub(crate) gone_counts: DeliveryCounts,
    pub(crate) gone_handler: Latency,
    /// Histogram places by pool; `true` is taken.
    places: Vec<Vec<bool>>,
}

impl Registry {
    pub(crate) fn new(pools: usize) -> Self {
        Self {
            next_id: 1,
            alive: Vec::new(),
            by_type: HashMap::default(),
            leaving: Vec::new(),
            gone_counts: DeliveryCounts::default(),
            gone_handler: Latency::default(),
            places: vec![Vec::new(); pools],
        }
    }

    pub(crate) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(crate) fn take_place(&mut self, pool: usize) -> usize {
        let places = &mut self.places[pool];
        let place = match places.iter().position(|taken| !taken) {
            Some(place) => place,
            None => {
                places.push(false);
                places.len() - 1
            }
        };
        places[place] = true;
        place
    }

    pub(crate) fn free_place(&mut self, pool: usize, place: usize) {
        self.places[pool][place] = false;
    }

    pub(crate) fn add(&mut self, shared: &Arc<SubscriptionShared>) {
        self.alive.push(Arc::clone(shared));
        for event in &shared.events {
            self.by_type
                .entry(event.index)
                .or_default()
                .push(Arc::clone(shared));
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Arc<SubscriptionShared>> {
        let index = self.alive.iter().position(|shared| shared.id == id)?;
        let shared = self.alive.remove(index);
        for event in &shared.events {
            if let Some(list) = self.by_type.get_mut(&event.index) {
                list.retain(|other| other.id != id);
            }
        }
        Some(shared)
    }

    /// Subscriptions of this type.
    pub(crate) fn of_type(&self, type_index: u32) -> &[Arc<SubscriptionShared>] {
        self.by_type.get(&type_index).map_or(&[], Vec::as_slice)
    }

    /// The pools with a subscription of this type, as bits.
    pub(crate) fn pools_of(&self, type_index: u32) -> u64 {
        self.of_type(type_index)
            .iter()
            .fold(0, |pools, shared| pools | 1 << shared.pool)
    }
}
