//! The self-check: the subscription that counts what it sees and whether every key was seen in order.
//!
//! publish → route → lane → worker → **handler** → outcome
//!
//! Events carry their place among the events of their key, counted by the publishing side. Each worker
//! keeps the number it expects next for every key it has seen, in state of its own. An event that comes
//! early, late, twice, or on another worker than the key's earlier events does not have the expected
//! number and is one violation. What a worker has counted is added to the [`Tally`] when the engine drops
//! the worker's state.

use crate::flow::{Numbered, OrderAmended, OrderCancelled, OrderFilled, OrderPlaced};
use crate::input::InputEvent;
use ringbolt::{Context, Event, Handler, Outcome};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

/// What all workers have counted together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// Events that did not have the number their key was to have next.
    pub(crate) order_violations: u64,
    /// Events handled, by the name of their type.
    pub(crate) types: BTreeMap<String, u64>,
}

/// Where workers leave their counts; clones lead to the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Tally>>);

impl Sink {
    /// What has been left so far: all of it once the engine has stopped.
    pub(crate) fn tally(&self) -> Tally {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(&self, order_violations: u64, types: impl Iterator<Item = (String, u64)>) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.order_violations += order_violations;
        for (name, count) in types.filter(|(_, count)| *count > 0) {
            *tally.types.entry(name).or_default() += count;
        }
    }
}

/// Whether `sequence` is the number that was to come next; then the one after it is.
fn is_next(next: &mut u64, sequence: u64) -> bool {
    let as_expected = *next == sequence;
    // After a gap counting goes on behind it; after a late event where it was.
    *next = (*next).max(sequence + 1);
    as_expected
}

/// The state of one worker for the built-in flow.
#[derive(Debug)]
pub(crate) struct FlowCheck {
    /// By book: the books are few and dense.
    next: Vec<u64>,
    order_violations: u64,
    /// By the place of the type in [`FLOW_TYPES`].
    counts: [u64; FLOW_TYPES.len()],
    sink: Sink,
}

/// The types of the flow.
pub(crate) const FLOW_TYPES: [&str; 4] = [
    OrderPlaced::NAME,
    OrderAmended::NAME,
    OrderFilled::NAME,
    OrderCancelled::NAME,
];

impl FlowCheck {
    pub(crate) fn new(sink: Sink, book_count: u32) -> Self {
        Self {
            next: vec![0; book_count as usize],
            order_violations: 0,
            counts: [0; FLOW_TYPES.len()],
            sink,
        }
    }

    fn see(&mut self, type_index: usize, event: &impl Numbered) -> Outcome {
        let next = &mut self.next[event.book() as usize];
        self.order_violations += u64::from(!is_next(next, event.sequence()));
        self.counts[type_index] += 1;
        Outcome::Handled
    }
}

impl Handler<OrderPlaced> for FlowCheck {
    fn handle(&mut self, event: &OrderPlaced, _: &mut Context<'_>) -> Outcome {
        self.see(0, event)
    }
}

impl Handler<OrderAmended> for FlowCheck {
    fn handle(&mut self, event: &OrderAmended, _: &mut Context<'_>) -> Outcome {
        self.see(1, event)
    }
}

impl Handler<OrderFilled> for FlowCheck {
    fn handle(&mut self, event: &OrderFilled, _: &mut Context<'_>) -> Outcome {
        self.see(2, event)
    }
}

impl Handler<OrderCancelled> for FlowCheck {
    fn handle(&mut self, event: &OrderCancelled, _: &mut Context<'_>) -> Outcome {
        self.see(3, event)
    }
}

impl Drop for FlowCheck {
    fn drop(&mut self) {
        let types = FLOW_TYPES
            .iter()
            .map(|name| (*name).to_owned())
            .zip(self.counts);
        self.sink.add(self.order_violations, types);
    }
}

/// The state of one worker for events that were read from input.
#[derive(Debug)]
pub(crate) struct InputCheck {
    next: HashMap<Box<str>, u64>,
    order_violations: u64,
    counts: HashMap<Arc<str>, u64>,
    sink: Sink,
}

impl InputCheck {
    pub(crate) fn new(sink: Sink) -> Self {
        Self {
            next: HashMap::new(),
            order_violations: 0,
            counts: HashMap::new(),
            sink,
        }
    }

    fn see(&mut self, event: &InputEvent) {
        let record = &event.record;
        if let Some(key) = &record.key {
            let as_expected = match self.next.get_mut(key) {
                Some(next) => is_next(next, event.sequence),
                None => {
                    let mut next = 0;
                    let as_expected = is_next(&mut next, event.sequence);
                    self.next.insert(key.clone(), next);
                    as_expected
                }
            };
            self.order_violations += u64::from(!as_expected);
        }
        match self.counts.get_mut(&record.event_type) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(Arc::clone(&record.event_type), 1);
            }
        }
        // The payload came all the way; a handler would look at it now.
        black_box(&record.data);
    }
}

impl Handler<InputEvent> for InputCheck {
    fn handle(&mut self, event: &InputEvent, _: &mut Context<'_>) -> Outcome {
        self.see(event);
        Outcome::Handled
    }
}

impl Drop for InputCheck {
    fn drop(&mut self) {
        let types = self
            .counts
            .drain()
            .map(|(name, count)| (name.to_string(), count));
        self.sink.add(self.order_violations, types);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{BOOK_COUNT, Flow, FlowEvent};
    use crate::input::Record;
    use serde_json::Value;

    /// The tally of a run whose events reach one worker in the order given.
    fn tally_of(events: impl IntoIterator<Item = FlowEvent>) -> Tally {
        let sink = Sink::default();
        let mut check = FlowCheck::new(sink.clone(), BOOK_COUNT);
        for event in events {
            let _ = match &event {
                FlowEvent::Placed(event) => check.see(0, event),
                FlowEvent::Amended(event) => check.see(1, event),
                FlowEvent::Filled(event) => check.see(2, event),
                FlowEvent::Cancelled(event) => check.see(3, event),
            };
        }
        drop(check);
        sink.tally()
    }

    fn flow() -> Vec<FlowEvent> {
        Flow::new(3, 10_000).map(|planned| planned.event).collect()
    }

    #[test]
    fn a_run_in_order_has_no_violations() {
        let tally = tally_of(flow());
        assert_eq!(tally.order_violations, 0);
        assert_eq!(tally.types.values().sum::<u64>(), 10_000);
        assert_eq!(tally.types.len(), FLOW_TYPES.len());
    }

    #[test]
    fn a_reordered_run_has_violations() {
        let mut events = flow();
        let last = events.pop().expect("the flow is not empty");
        let book = last.book();
        let earlier = events
            .iter()
            .position(|event| event.book() == book)
            .expect("every book is opened first");
        events.insert(earlier, last);
        assert!(tally_of(events).order_violations > 0);
    }

    #[test]
    fn a_lost_and_a_repeated_event_are_violations() {
        let mut lost = flow();
        lost.remove(0);
        assert!(tally_of(lost).order_violations > 0);
        let mut repeated = flow();
        repeated.push(repeated[0].clone());
        assert_eq!(tally_of(repeated).order_violations, 1);
    }

    #[test]
    fn a_key_that_changes_its_worker_is_a_violation() {
        let sink = Sink::default();
        let mut workers = [InputCheck::new(sink.clone()), InputCheck::new(sink.clone())];
        for (sequence, worker) in [(0, 0), (1, 0), (2, 1)] {
            workers[worker].see(&input(Some("a"), sequence));
            workers[worker].see(&input(None, 0));
        }
        drop(workers);
        let tally = sink.tally();
        assert_eq!(tally.order_violations, 1);
        assert_eq!(tally.types["json"], 6);
    }

    fn input(key: Option<&str>, sequence: u64) -> InputEvent {
        let record = Record {
            event_type: "json".into(),
            key: key.map(Into::into),
            time_ns: None,
            data: Value::Null,
        };
        InputEvent {
            record: Box::new(record),
            sequence,
        }
    }
}
