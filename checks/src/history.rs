//! Judges a recorded history, in the manner of linearizability checkers: from what was called and what returned, in one
//! order that all calls share, it follows what must not have happened.
//!
//! A publish is an interval from its call to its return, a handler's call is a point. The turns that number them come
//! from one word that everybody changes, so of two turns the lower one happened before the higher one. What is checked:
//!
//! * an admitted event has exactly one outcome at each subscription that stayed from the first publish to the end, or is
//!   counted as abandoned; a refused event has none (PD1, PD8). Its attempts follow each other by number, and behind one
//!   that was the last there are only those of its letter's redeliveries (RO1, DQ2);
//! * per subscription of an ordered pool, publisher, key and class, calls come in the order of publishing, and a key
//!   stays at one worker (PD2);
//! * through the inboxes also across publishers: if one publish had returned before another of that key and class was
//!   called, their events are handled in that order;
//! * no call begins behind the return of unsubscribe, and what was published behind the return of subscribe is seen as
//!   soon as its worker has come to it (PD7);
//! * the engine's counters say the same as the record (PD8).
//!
//! The word that gives the turns orders what it watches: this looks for faults of the engine's logic, and leaves missing
//! barriers to the models.

use crate::item::Id;
use ringbolt::metrics::DeliveryCounts;
use ringbolt::{Class, Ended};
use std::collections::{HashMap, HashSet};

#[cfg(test)]
mod tests;

/// Complaints of one kind that are told.
const TOLD_MAX: usize = 5;

/// By which way an event went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A publisher's lane.
    Lane,
    /// The inboxes.
    Inbox,
    /// A handler's context.
    Handler,
}

/// One publish: called at the turn `start`, returned at `end`.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Which event.
    pub id: Id,
    /// Of which type.
    pub kind: usize,
    /// Its key.
    pub key: Option<u32>,
    /// Its class.
    pub class: Class,
    /// Its way.
    pub way: Way,
    /// The turn before the call.
    pub start: u64,
    /// The turn after the return.
    pub end: u64,
    /// Whether it was admitted.
    pub is_admitted: bool,
}

/// One call of a handler.
#[derive(Debug, Clone)]
pub struct Call {
    /// The subscription's place.
    pub place: u32,
    /// The worker in its pool.
    pub worker: u32,
    /// Which event.
    pub id: Id,
    /// The turn at which it began.
    pub order: u64,
    /// How it ended.
    pub ended: Ended,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Whether no other is to follow.
    pub is_last: bool,
    /// Whether it was a letter's.
    pub is_redelivery: bool,
}

/// One subscription, and what the engine counted for it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its place among the subscriptions of the life.
    pub place: u32,
    /// Its name.
    pub name: String,
    /// The event type it is for.
    pub kind: usize,
    /// Its pool.
    pub pool: String,
    /// Whether its pool keeps order.
    pub is_ordered: bool,
    /// Whether its letters are redelivered in order.
    pub is_sequential: bool,
    /// The turn after subscribing had returned.
    pub from: u64,
    /// The turns before unsubscribing was called and after it had returned.
    pub withdrawal: Option<(u64, u64)>,
    /// What the engine counted.
    pub counts: DeliveryCounts,
}

/// All that happened in a life.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every publish.
    pub publishes: Vec<Publish>,
    /// Every call.
    pub calls: Vec<Call>,
    /// Every subscription.
    pub subscriptions: Vec<Watched>,
}

/// What one subscription was called with, in order.
struct Seen<'a> {
    watched: &'a Watched,
    calls: Vec<(&'a Call, &'a Publish)>,
    ids: HashSet<Id>,
}

/// Complaints, the first few of each kind.
#[derive(Default)]
struct Complaints {
    told: Vec<String>,
    counts: HashMap<&'static str, usize>,
}

impl Complaints {
    fn add(&mut self, promise: &'static str, text: impl FnOnce() -> String) {
        let count = self.counts.entry(promise).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            self.told.push(format!("{promise}: {}", text()));
        }
    }
}

/// What is wrong with a history; nothing, if all is well.
#[must_use]
pub fn check(history: &History) -> Vec<String> {
    let mut complaints = Complaints::default();
    let mut publishes: HashMap<Id, &Publish> = HashMap::new();
    for publish in &history.publishes {
        if publishes.insert(publish.id, publish).is_some() {
            complaints.add("record", || format!("{:?} was published twice", publish.id));
        }
    }
    let mut seen: HashMap<u32, Seen<'_>> = history
        .subscriptions
        .iter()
        .map(|watched| {
            let seen = Seen {
                watched,
                calls: Vec::new(),
                ids: HashSet::new(),
            };
            (watched.place, seen)
        })
        .collect();
    for call in &history.calls {
        let (Some(publish), Some(seen)) = (publishes.get(&call.id), seen.get_mut(&call.place))
        else {
            complaints.add("record", || format!("{call:?} is about nothing known"));
            continue;
        };
        look_at_call(call, publish, seen, &mut complaints);
        seen.calls.push((call, publish));
    }
    let mut places: Vec<u32> = seen.keys().copied().collect();
    places.sort_unstable();
    for place in &places {
        let seen = seen.get_mut(place).expect("a place that is there");
        seen.calls.sort_unstable_by_key(|(call, _)| call.order);
    }
    for place in &places {
        let one = &seen[place];
        attempts(one, &mut complaints);
        counters(one, history, &mut complaints);
        if one.watched.is_ordered {
            publishing_order(one, &mut complaints);
            causal_order(one, &mut complaints);
        }
        if one.watched.withdrawal.is_some() {
            missed(one, &seen, &mut complaints);
        }
    }
    complaints.told
}

fn look_at_call<'a>(
    call: &Call,
    publish: &'a Publish,
    seen: &mut Seen<'a>,
    complaints: &mut Complaints,
) {
    let name = &seen.watched.name;
    if !publish.is_admitted {
        complaints.add("PD1", || {
            format!("{name}: called with {:?}, which was refused", call.id)
        });
    }
    if publish.kind != seen.watched.kind || call.order < publish.start {
        complaints.add("record", || {
            format!("{name}: {call:?} does not fit {publish:?}")
        });
    }
    seen.ids.insert(call.id);
    if let Some((_, left)) = seen.watched.withdrawal
        && call.order > left
    {
        complaints.add("PD7", || {
            format!(
                "{name}: called with {:?} at {} when gone since {left}",
                call.id, call.order
            )
        });
    }
}

/// One outcome for each event, and attempts in a row before it.
fn attempts(seen: &Seen<'_>, complaints: &mut Complaints) {
    let name = &seen.watched.name;
    let mut last: HashMap<Id, &Call> = HashMap::new();
    for (call, _) in &seen.calls {
        let before = last.insert(call.id, call);
        let fits = match before {
            // What joins a parked key is a letter without a call.
            None => call.attempt == 1 && (!call.is_redelivery || seen.watched.is_sequential),
            Some(before) if before.ended != Ended::Failed => false,
            Some(before) if before.is_last => call.is_redelivery && call.attempt == 1,
            // A redelivery that was given up in the middle begins anew.
            Some(before) if before.is_redelivery => {
                call.is_redelivery && (call.attempt == 1 || call.attempt == before.attempt + 1)
            }
            Some(before) => !call.is_redelivery && call.attempt == before.attempt + 1,
        };
        if !fits {
            complaints.add("PD8", || match before {
                None => format!("{name}: {call:?} does not begin a delivery"),
                Some(before) => format!("{name}: {call:?} comes a second time, behind {before:?}"),
            });
        }
    }
}

/// The engine's counters against the record.
fn counters(seen: &Seen<'_>, history: &History, complaints: &mut Complaints) {
    let watched = seen.watched;
    let counts = &watched.counts;
    let ended = |ended: Ended| {
        seen.calls
            .iter()
            .filter(|(call, _)| call.ended == ended)
            .count() as u64
    };
    let recorded = [ended(Ended::Handled), ended(Ended::Skipped)];
    if recorded != [counts.handled, counts.skipped] || counts.admitted != counts.ended() {
        complaints.add("PD8", || {
            format!(
                "{}: handled and skipped are {recorded:?} in the record, and {counts:?}",
                watched.name
            )
        });
    }
    // What has failed for good is a letter, or failed; or waited for room among the letters until the end.
    let calls = || seen.calls.iter().map(|(call, _)| *call);
    let failed = calls().filter(|call| call.ended == Ended::Failed && call.is_last);
    let failed = failed.count() as u64;
    let told = counts.failed + counts.dead_lettered;
    if watched.is_sequential && failed > told + counts.abandoned + counts.withdrawn
        || !watched.is_sequential
            && !(told..=told + counts.abandoned + counts.withdrawn).contains(&failed)
    {
        complaints.add("PD8", || {
            format!(
                "{}: {failed} failed for good in the record, and {counts:?}",
                watched.name
            )
        });
    }
    if watched.withdrawal.is_some() {
        return;
    }
    let admitted = history
        .publishes
        .iter()
        .filter(|publish| publish.is_admitted && publish.kind == watched.kind);
    // Each redelivery is a delivery more; one that ended before its call was abandoned.
    let replays = calls().filter(|call| call.is_redelivery && call.attempt == 1);
    let count = admitted.clone().count() as u64 + replays.count() as u64;
    if !(count..=count + counts.abandoned).contains(&counts.admitted) {
        complaints.add("PD1", || {
            format!(
                "{}: {count} events were admitted, and counted {counts:?}",
                watched.name
            )
        });
    }
    let uncalled: Vec<Id> = admitted
        .map(|publish| publish.id)
        .filter(|id| !seen.ids.contains(id))
        .collect();
    let mut failing: HashSet<Id> = HashSet::new();
    for (call, _) in &seen.calls {
        if call.ended == Ended::Failed {
            failing.insert(call.id);
        } else {
            failing.remove(&call.id);
        }
    }
    let uncalled_count = uncalled.len() as u64;
    // What waited for its next attempt is abandoned too; and what joined a parked key was not called.
    let joined = if watched.is_sequential {
        counts.dead_lettered + counts.failed
    } else {
        0
    };
    let abandoned = uncalled_count.saturating_sub(joined)..=uncalled_count + failing.len() as u64;
    if !abandoned.contains(&counts.abandoned) {
        complaints.add("PD8", || {
            format!(
                "{}: {} events were admitted and not handled (the first: {:?}), and {} counted as abandoned",
                watched.name,
                uncalled.len(),
                uncalled.first(),
                counts.abandoned
            )
        });
    }
}

/// PD2: for one publisher, key and class.
fn publishing_order(seen: &Seen<'_>, complaints: &mut Complaints) {
    let mut last: HashMap<(u32, u32, Class), u32> = HashMap::new();
    let mut homes: HashMap<u32, u32> = HashMap::new();
    for (call, publish) in &seen.calls {
        let Some(key) = publish.key else { continue };
        if call.is_redelivery && !seen.watched.is_sequential {
            continue;
        }
        let stream = (call.id.publisher, key, publish.class);
        let before = last.insert(stream, call.id.number);
        // That its attempts follow each other is looked at by itself.
        if before.is_some_and(|before| before > call.id.number) {
            complaints.add("PD2", || {
                format!(
                    "{}: {:?} of key {key}, {}, came behind {before:?}",
                    seen.watched.name, call.id, publish.class
                )
            });
        }
        let home = *homes.entry(key).or_insert(call.worker);
        if home != call.worker {
            complaints.add("PD2", || {
                format!(
                    "{}: key {key} was at the workers {home} and {}",
                    seen.watched.name, call.worker
                )
            });
        }
    }
}

/// Through the inboxes: what had returned before another was called is handled before it.
fn causal_order(seen: &Seen<'_>, complaints: &mut Complaints) {
    // From the end: the earliest return among what is handled later, by key and class.
    let mut returns: HashMap<(u32, Class), (u64, Id)> = HashMap::new();
    for (call, publish) in seen.calls.iter().rev() {
        let Some(key) = publish.key else { continue };
        if publish.way != Way::Inbox || call.is_redelivery && !seen.watched.is_sequential {
            continue;
        }
        let earliest = returns
            .entry((key, publish.class))
            .or_insert((publish.end, call.id));
        if earliest.0 < publish.start {
            let later = *earliest;
            complaints.add("PD2 (causal)", || {
                format!(
                    "{}: {:?}, whose publish had returned at {}, was handled behind {:?}, published at {} (key {key}, {})",
                    seen.watched.name, later.1, later.0, call.id, publish.start, publish.class
                )
            });
        }
        if publish.end < earliest.0 {
            *earliest = (publish.end, call.id);
        }
    }
}

/// PD7, the other half: a subscription that came and went has seen what a staying one of its pool and type saw between,
/// but for the last event in each worker's hands when it went.
fn missed(seen: &Seen<'_>, all: &HashMap<u32, Seen<'_>>, complaints: &mut Complaints) {
    let watched = seen.watched;
    let Some((leaving, _)) = watched.withdrawal else {
        return;
    };
    let Some(stayed) = all.values().find(|other| {
        let other = other.watched;
        other.withdrawal.is_none() && other.kind == watched.kind && other.pool == watched.pool
    }) else {
        return;
    };
    let mut in_hand: HashMap<u32, &(&Call, &Publish)> = HashMap::new();
    for pair in &stayed.calls {
        let (call, _) = pair;
        if call.order > leaving {
            break;
        }
        let Some((done, publish)) = in_hand.insert(call.worker, pair) else {
            continue;
        };
        if publish.start > watched.from && !seen.ids.contains(&done.id) {
            complaints.add("PD7", || {
                format!(
                    "{} ({}): was there from {} to {leaving} and did not see {:?}, published at {} and handled at {}",
                    watched.name, watched.place, watched.from, done.id, publish.start, done.order
                )
            });
        }
    }
}

/// Tampers with a history as a broken engine would have: `reorder`, `causal`, `loss`, `duplicate`, `late` or `uncounted`.
/// `false` if the history has nothing to tamper with.
pub fn plant(history: &mut History, fault: &str) -> bool {
    let is_kept = |place: u32, history: &History| {
        history
            .subscriptions
            .iter()
            .any(|one| one.place == place && one.is_ordered && one.withdrawal.is_none())
    };
    let about: HashMap<Id, Publish> = history
        .publishes
        .iter()
        .map(|publish| (publish.id, publish.clone()))
        .collect();
    match fault {
        "reorder" | "causal" => {
            // Two neighbours of a stream change places.
            let mut order: Vec<usize> = (0..history.calls.len()).collect();
            order.sort_unstable_by_key(|at| history.calls[*at].order);
            let mut last: HashMap<(u32, u32, u32, Class), usize> = HashMap::new();
            for at in order {
                let call = &history.calls[at];
                let publish = &about[&call.id];
                let (Some(key), true) = (publish.key, is_kept(call.place, history)) else {
                    continue;
                };
                let is_causal = fault == "causal";
                if is_causal && publish.way != Way::Inbox {
                    continue;
                }
                let publisher = if is_causal { 0 } else { call.id.publisher };
                let before = last.insert((call.place, publisher, key, publish.class), at);
                let Some(before) = before else { continue };
                let earlier = &about[&history.calls[before].id];
                let fits = earlier.end < publish.start
                    && (!is_causal || earlier.id.publisher != publish.id.publisher);
                if fits {
                    let order = history.calls[at].order;
                    history.calls[at].order = history.calls[before].order;
                    history.calls[before].order = order;
                    return true;
                }
            }
            false
        }
        "loss" => {
            let found = history
                .calls
                .iter()
                .position(|call| is_kept(call.place, history));
            found.map(|at| history.calls.swap_remove(at)).is_some()
        }
        "duplicate" => {
            let found = history
                .calls
                .iter()
                .find(|call| is_kept(call.place, history))
                .cloned();
            history.calls.extend(found.clone());
            found.is_some()
        }
        "late" => {
            let left: HashMap<u32, u64> = history
                .subscriptions
                .iter()
                .filter_map(|one| Some((one.place, one.withdrawal?.1)))
                .collect();
            let call = history
                .calls
                .iter_mut()
                .find(|call| left.contains_key(&call.place));
            call.map(|call| call.order = left[&call.place] + 1)
                .is_some()
        }
        "uncounted" => history
            .subscriptions
            .iter_mut()
            .find(|one| one.counts.handled > 0)
            .map(|one| one.counts.handled -= 1)
            .is_some(),
        _ => false,
    }
}
