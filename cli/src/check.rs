//! The self-check: the subscription that counts what it sees and whether every key was seen in order.
//!
//! publish → route → lane → worker → **handler** → outcome
//!
//! Events carry their place among the events of their key, counted by the publishing side. Each worker
//! keeps the number it expects next for every key it has seen, in state of its own. An event that comes
//! late, twice, or on another worker than the key's earlier events has a lower number and is one
//! violation. One that comes early leaves a gap, which is written down: it is one violation more unless
//! each of the missing events is found among the dead letters at the end. So a key's handled events and
//! its letters together are all of its events, each once.
//!
//! A handler that panics is made anew by the engine. What it has seen outlasts it on the [`Sink`], where
//! the next one on the same worker takes it up.

use crate::flow::{Numbered, OrderAmended, OrderCancelled, OrderFilled, OrderPlaced};
use crate::input_event::InputEvent;
use ringbolt::{Context, Event, Failure, Handler, LetterView, Outcome, WorkerId};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all workers have counted together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// Events that came late or twice, gaps that no letters fill, and letters of events that were handled.
    pub(crate) order_violations: u64,
    /// Events handled, by the name of their type.
    pub(crate) types: BTreeMap<String, u64>,
}

/// Where workers leave what they have seen; clones lead to the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sink(Arc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    flow: Mutex<HashMap<WorkerId, FlowSeen>>,
    input: Mutex<HashMap<WorkerId, InputSeen>>,
}

impl Sink {
    /// What has been counted, once the engine has stopped and is gone: every key in order from its first
    /// event, with nothing missing but the letters.
    pub(crate) fn tally(&self, letters: &Places) -> Tally {
        let mut tally = self.ascending_tally();
        for seen in locked(&self.0.flow).values() {
            let book = |key: &str| key.parse().ok().and_then(|book: usize| seen.next.get(book));
            tally.order_violations += letters.unfilled(&seen.gaps, |key| book(key).copied());
        }
        for seen in locked(&self.0.input).values() {
            tally.order_violations +=
                letters.unfilled(&seen.gaps, |key| seen.next.get(key).copied());
        }
        tally
    }

    /// The same where only some of each key's events were there to be seen: every key in order.
    pub(crate) fn ascending_tally(&self) -> Tally {
        let mut tally = Tally::default();
        let mut add = |name: &str, count: u64| {
            if count > 0 {
                *tally.types.entry(name.to_owned()).or_default() += count;
            }
        };
        let mut late = 0;
        for seen in locked(&self.0.flow).values() {
            late += seen.late;
            for (name, count) in FLOW_TYPES.iter().zip(seen.counts) {
                add(name, count);
            }
        }
        for seen in locked(&self.0.input).values() {
            late += seen.late;
            for (name, count) in &seen.counts {
                add(name, *count);
            }
        }
        tally.order_violations = late;
        tally
    }
}

fn locked<T>(shelf: &Mutex<T>) -> MutexGuard<'_, T> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys and the numbers in them of the events that ended as letters.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_key: HashMap<Box<str>, Vec<u64>>,
}

impl Places {
    /// Notes where a letter's event stood, if it has a key.
    pub(crate) fn add(&mut self, letter: &LetterView) {
        if let Some((key, sequence)) = place_of(letter) {
            self.insert(&key, sequence);
        }
    }

    fn insert(&mut self, key: &str, sequence: u64) {
        let places = match self.by_key.get_mut(key) {
            Some(places) => places,
            None => self.by_key.entry(key.into()).or_default(),
        };
        // Letters of a key come in order, but for what an import or a redelivery has mixed.
        let at = places.partition_point(|other| *other < sequence);
        places.insert(at, sequence);
    }

    /// One for each gap that these do not fill, and for each of these that lies below a worker's next number
    /// for its key and in no gap.
    fn unfilled<K: ToString>(
        &self,
        gaps: &[(K, Range<u64>)],
        next: impl Fn(&str) -> Option<u64>,
    ) -> u64 {
        let mut violations = 0;
        let mut in_gaps: HashMap<String, u64> = HashMap::new();
        for (key, gap) in gaps {
            let key = key.to_string();
            let filled = self.by_key.get(&*key).map_or(0, |places| {
                let below = |number: u64| places.partition_point(|other| *other < number);
                (below(gap.end) - below(gap.start)) as u64
            });
            violations += u64::from(filled != gap.end - gap.start);
            *in_gaps.entry(key).or_default() += filled;
        }
        for (key, places) in &self.by_key {
            let Some(next) = next(key) else { continue };
            let below = places.partition_point(|other| *other < next) as u64;
            violations += below - in_gaps.get(&**key).copied().unwrap_or(0);
        }
        violations
    }
}

/// The key and the number in it of a letter's event.
fn place_of(letter: &LetterView) -> Option<(String, u64)> {
    fn of<E: Numbered>(letter: &LetterView) -> Option<(String, u64)> {
        let event = letter.value::<E>()?;
        Some((event.book().to_string(), event.sequence()))
    }
    let input = || {
        let event = letter.value::<InputEvent>()?;
        Some((event.record.key.as_deref()?.to_owned(), event.sequence))
    };
    of::<OrderPlaced>(letter)
        .or_else(|| of::<OrderAmended>(letter))
        .or_else(|| of::<OrderFilled>(letter))
        .or_else(|| of::<OrderCancelled>(letter))
        .or_else(input)
}

/// How an event's number compares with the one that was to come next.
enum Came {
    InTurn,
    Late,
    /// These are missing.
    Behind(Range<u64>),
}

/// After a gap counting goes on behind it; after a late event where it was.
fn step(next: &mut u64, sequence: u64) -> Came {
    let expected = *next;
    if sequence < expected {
        return Came::Late;
    }
    // A file of letters may say any number.
    *next = sequence.saturating_add(1);
    if sequence == expected {
        Came::InTurn
    } else {
        Came::Behind(expected..sequence)
    }
}

/// What one worker has seen of the built-in flow.
#[derive(Debug, Default)]
struct FlowSeen {
    /// By book: the books are few and dense.
    next: Vec<u64>,
    late: u64,
    gaps: Vec<(u32, Range<u64>)>,
    /// By the place of the type in [`FLOW_TYPES`].
    counts: [u64; FLOW_TYPES.len()],
}

/// The state of one worker for the built-in flow.
#[derive(Debug)]
pub(crate) struct FlowCheck {
    seen: FlowSeen,
    worker: WorkerId,
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
    pub(crate) fn new(sink: Sink, book_count: u32, worker: WorkerId) -> Self {
        let left = locked(&sink.0.flow).remove(&worker);
        let seen = left.unwrap_or_else(|| FlowSeen {
            next: vec![0; book_count as usize],
            ..FlowSeen::default()
        });
        Self { seen, worker, sink }
    }

    fn see(&mut self, type_index: usize, event: &impl Numbered) -> Outcome {
        let seen = &mut self.seen;
        let Some(next) = seen.next.get_mut(event.book() as usize) else {
            return no_such_book(event.book());
        };
        match step(next, event.sequence()) {
            Came::InTurn => {}
            Came::Late => seen.late += 1,
            Came::Behind(missing) => seen.gaps.push((event.book(), missing)),
        }
        seen.counts[type_index] += 1;
        Outcome::Handled
    }
}

/// Only a letter that somebody has edited has one.
#[cold]
fn no_such_book(book: u32) -> Outcome {
    Outcome::Failed(Failure::new(format!("there is no book {book}")).permanent())
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
        let seen = mem::take(&mut self.seen);
        locked(&self.sink.0.flow).insert(self.worker, seen);
    }
}

/// What one worker has seen of events that were read from input.
#[derive(Debug, Default)]
struct InputSeen {
    next: HashMap<Box<str>, u64>,
    late: u64,
    gaps: Vec<(Box<str>, Range<u64>)>,
    counts: HashMap<Arc<str>, u64>,
}

/// The state of one worker for events that were read from input.
#[derive(Debug)]
pub(crate) struct InputCheck {
    seen: InputSeen,
    worker: WorkerId,
    sink: Sink,
}

impl InputCheck {
    pub(crate) fn new(sink: Sink, worker: WorkerId) -> Self {
        let left = locked(&sink.0.input).remove(&worker);
        Self {
            seen: left.unwrap_or_default(),
            worker,
            sink,
        }
    }

    fn see(&mut self, event: &InputEvent) {
        let record = &event.record;
        let seen = &mut self.seen;
        if let Some(key) = &record.key {
            let came = match seen.next.get_mut(key) {
                Some(next) => step(next, event.sequence),
                None => {
                    let mut next = 0;
                    let came = step(&mut next, event.sequence);
                    seen.next.insert(key.clone(), next);
                    came
                }
            };
            match came {
                Came::InTurn => {}
                Came::Late => seen.late += 1,
                Came::Behind(missing) => seen.gaps.push((key.clone(), missing)),
            }
        }
        match seen.counts.get_mut(&record.event_type) {
            Some(count) => *count += 1,
            None => {
                seen.counts.insert(Arc::clone(&record.event_type), 1);
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
        let seen = mem::take(&mut self.seen);
        locked(&self.sink.0.input).insert(self.worker, seen);
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
        let mut check = FlowCheck::new(sink.clone(), BOOK_COUNT, worker(0));
        for event in events {
            let _ = match &event {
                FlowEvent::Placed(event) => check.see(0, event),
                FlowEvent::Amended(event) => check.see(1, event),
                FlowEvent::Filled(event) => check.see(2, event),
                FlowEvent::Cancelled(event) => check.see(3, event),
            };
        }
        drop(check);
        sink.tally(&Places::default())
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
        let mut workers = [0, 1].map(|index| InputCheck::new(sink.clone(), worker(index)));
        for (sequence, worker) in [(0, 0), (1, 0), (2, 1)] {
            workers[worker].see(&input(Some("a"), sequence));
            workers[worker].see(&input(None, 0));
        }
        drop(workers);
        let tally = sink.tally(&Places::default());
        assert_eq!(tally.order_violations, 1);
        assert_eq!(tally.types["json"], 6);
    }

    #[test]
    fn letters_fill_the_gaps_and_nothing_else() {
        // What a worker has handled of a key, what became letters, and how many violations that is.
        let check = |handled: &[u64], letters: &[u64], violations: u64| {
            let sink = Sink::default();
            let mut check = InputCheck::new(sink.clone(), worker(0));
            for sequence in handled {
                check.see(&input(Some("a"), *sequence));
            }
            drop(check);
            let mut places = Places::default();
            for sequence in letters {
                places.insert("a", *sequence);
            }
            let tally = sink.tally(&places);
            assert_eq!(
                tally.order_violations, violations,
                "{handled:?} {letters:?}"
            );
        };
        check(&[0, 1, 4, 5], &[2, 3], 0);
        check(&[1, 2, 4], &[3, 0, 5, 6], 0);
        check(&[], &[0, 1], 0);
        check(&[0, 3], &[2], 1);
        check(&[0, 3, 5], &[], 2);
        check(&[0, 1, 2], &[1], 1);
        check(&[0, 2, 1], &[1], 1);
    }

    #[test]
    fn what_was_seen_outlasts_a_panic() {
        let sink = Sink::default();
        for sequence in 0..3 {
            // Each of them is made behind the drop of the one before, as the engine does it.
            InputCheck::new(sink.clone(), worker(0)).see(&input(Some("a"), sequence));
        }
        let tally = sink.tally(&Places::default());
        assert_eq!((tally.order_violations, tally.types["json"]), (0, 3));
    }

    fn worker(index: u16) -> WorkerId {
        WorkerId { pool: 0, index }
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
