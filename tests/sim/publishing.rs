//! Publishing in the simulation: by every way, and what became of each event (PD1, PD4, PD5, PD11).

use crate::action::{Batch, By, Item, NoRoom, Style};
use crate::event::{Job, KINDS, with_kind};
use crate::ledger::{Cause, Fate, Plan};
use crate::seen::Thing;
use crate::world::{CONTEXT, HANDLE, World, full, is_lossy, lock};
use ringbolt::{
    Admission, Class, Context, Handle, NoHandler, Options, Polled, PublishError, Publisher,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

enum Way<'a, 'c> {
    Publisher(&'a mut Publisher),
    Handle(&'a Handle),
    Context(&'a mut Context<'c>),
}

fn class_of(class: u8) -> Class {
    Class::ALL[usize::from(class) % Class::ALL.len()]
}

pub(crate) fn plan_of(item: &Item, publisher: u32) -> Plan {
    Plan {
        kind: item.kind % KINDS,
        key: item.key.map(u64::from),
        class: class_of(item.class),
        publisher,
        traps_key: item.traps_key,
        traps_drop: item.traps_drop,
        doings: item.doings.clone().into(),
    }
}

impl World {
    /// Publishes one event, from outside or from the handler whose context this is; whether there was a way.
    pub(crate) fn publish(
        self: &Arc<Self>,
        item: &Item,
        inside: Option<&mut Context<'_>>,
        cause: Cause,
    ) -> bool {
        match (item.by, inside) {
            (By::Handle, _) => {
                let Some(handle) = self.handle() else {
                    return false;
                };
                publish_as(self, &mut Way::Handle(&handle), item, HANDLE, cause);
            }
            (By::Context, Some(context)) => {
                let pool = cause.map_or(0, |(_, pool)| pool);
                let publisher = CONTEXT + pool as u32;
                publish_as(self, &mut Way::Context(context), item, publisher, cause);
            }
            (By::Publisher | By::Context, _) => {
                let place = usize::from(item.place) % self.publishers.len();
                let Some((id, publisher)) = &mut *lock(&self.publishers[place]) else {
                    return false;
                };
                publish_as(self, &mut Way::Publisher(publisher), item, *id, cause);
            }
        }
        true
    }

    /// A batch of one kind, from outside; whether there was a publisher.
    pub(crate) fn publish_batch(self: &Arc<Self>, batch: &Batch) -> bool {
        let place = usize::from(batch.place) % self.publishers.len();
        let Some((id, publisher)) = &mut *lock(&self.publishers[place]) else {
            return false;
        };
        let kind = batch.kind % KINDS;
        with_kind!(kind, batch_of_kind(self, publisher, *id, batch));
        true
    }

    /// In a quiet engine there is room for an event of every kind by every way.
    pub(crate) fn publish_into_room(self: &Arc<Self>) {
        for kind in 0..KINDS {
            for place in 0..=self.publishers.len() {
                let item = Item {
                    by: if place == self.publishers.len() {
                        By::Handle
                    } else {
                        By::Publisher
                    },
                    place: place as u8,
                    kind,
                    key: Some(kind),
                    class: kind,
                    ..Item::default()
                };
                let before = self.ledger.books().records.len();
                // A handler may have stopped the engine.
                if self.is_stopping() || !self.publish(&item, None, None) {
                    continue;
                }
                let (fate, has_pools) = {
                    let record = &self.ledger.books().records[before];
                    (record.fate, !record.pools.is_empty())
                };
                if has_pools && fate != Fate::Admitted {
                    self.ledger
                        .violation(format!("PD4: quiet, and no room for {before}: {fate:?}"));
                }
                self.drain_one();
            }
        }
    }

    /// Lets what was just published be handled, so that the next finds room.
    fn drain_one(&self) {
        let mut idle_rounds = 0;
        while idle_rounds < 4 {
            let has_taken = |pool| matches!(self.poll(pool, 4), Polled::Events(1..));
            let taken = (0..self.setup.pools).any(has_taken);
            idle_rounds = if taken { 0 } else { idle_rounds + 1 };
        }
    }
}

fn publish_as(world: &Arc<World>, way: &mut Way<'_, '_>, item: &Item, by: u32, cause: Cause) {
    let plan = plan_of(item, by);
    with_kind!(
        plan.kind,
        publish_kind(world, way, item, plan.clone(), cause)
    );
}

/// Publishes one event and notes what became of it (PD1).
fn publish_kind<const K: u8, const N: usize>(
    world: &Arc<World>,
    way: &mut Way<'_, '_>,
    item: &Item,
    plan: Plan,
    cause: Cause,
) {
    let ledger = &world.ledger;
    let in_handler = cause.is_some();
    let (class, traps_key) = (plan.class, plan.traps_key);
    let serial = ledger.make(plan, cause);
    let event = Job::<K, N>::new(serial, ledger);
    let admission = world.admission(item.admission, in_handler);
    let options = Options::new().class(class).admission(admission);
    let is_try = item.style == Style::Try && matches!(way, Way::Publisher(_));
    let may_lose = item.admission == NoRoom::Lossy && is_lossy(&world.setup, class) && !is_try;
    let mut receipt = None;
    let result = catch_unwind(AssertUnwindSafe(|| match way {
        Way::Publisher(publisher) => {
            publisher.set_class(class);
            publisher.set_admission(admission);
            match item.style {
                Style::Try => publisher.try_publish(event),
                Style::Tracked => publisher
                    .publish_tracked(event)
                    .map(|given| receipt = Some(given)),
                Style::With => publisher.publish_with(event, options),
            }
        }
        Way::Handle(handle) => handle.publish_with(event, options),
        Way::Context(context) => context.publish_with(event, options),
    }));
    if let Way::Publisher(publisher) = way {
        publisher.set_admission(Admission::Fail);
    }
    let (drops, has_pools, traps_drop) = {
        let books = ledger.books();
        let record = &books.records[serial as usize];
        (
            record.drops,
            !record.pools.is_empty(),
            record.plan.traps_drop,
        )
    };
    let gone = if may_lose && has_pools {
        Fate::Lost
    } else {
        Fate::Unhandled
    };
    let fate = match result {
        Ok(Ok(())) if drops == 0 => Fate::Admitted,
        Ok(Ok(())) => gone,
        Ok(Err(error)) => {
            if drops != 0 {
                ledger.violation(format!("PD1: {serial} was dropped and came back"));
            }
            check_refusal(world, serial, &error, in_handler, has_pools);
            if error.is_full() && !in_handler {
                full(world, matches!(way, Way::Handle(_)));
            }
            ledger.disarm(serial);
            let event = error.into_event();
            if event.serial != serial {
                ledger.violation(format!("PD1: not {serial} came back but {}", event.serial));
            }
            Fate::Refused
        }
        Err(_) if traps_key => Fate::Refused,
        Err(_) if traps_drop && drops == 1 => gone,
        Err(panic) => {
            ledger.violation(format!(
                "PD6: a publish of {serial} panicked: {:?}",
                panic.downcast_ref::<&str>()
            ));
            // It may be one whose drop panics.
            std::mem::forget(panic);
            Fate::Refused
        }
    };
    if fate == Fate::Unhandled && has_pools {
        ledger.violation(format!("PD1: {serial} was published and is gone"));
    }
    if fate == Fate::Admitted && !has_pools {
        ledger.violation(format!("PD11: {serial} was admitted for nobody"));
    }
    if fate == Fate::Lost {
        ledger.note(Thing::Lost);
    }
    world.say(|| format!("  publish {serial} {item:?}: {fate:?}"));
    ledger.settle(serial, fate);
    if let Some(receipt) = receipt {
        lock(&world.receipts).push((serial, receipt));
    }
}

/// An event comes back for a reason that there is.
fn check_refusal<E>(
    world: &World,
    serial: u32,
    error: &PublishError<E>,
    in_handler: bool,
    has_pools: bool,
) {
    let is_allowed = match error {
        PublishError::Full(_) => true,
        PublishError::Closed(_) => world.is_stopping(),
        PublishError::NoHandler(_) => !has_pools && world.setup.no_handler_is_error,
        PublishError::WouldDeadlock(_) => in_handler,
        _ => false,
    };
    if !is_allowed {
        world
            .ledger
            .violation(format!("PD1: {serial} came back with {error:?}"));
    }
    match error {
        PublishError::Closed(_) if !in_handler => world.ledger.note(Thing::ClosedOutside),
        // Whoever publishes in a handler and has to wait is refused only for want of room in the spill.
        PublishError::WouldDeadlock(_) => world.ledger.note(Thing::SpillFull),
        _ => {}
    }
}

/// Publishes a batch and notes what became of each of its events.
fn batch_of_kind<const K: u8, const N: usize>(
    world: &Arc<World>,
    publisher: &mut Publisher,
    id: u32,
    batch: &Batch,
) {
    let ledger = &world.ledger;
    let traps = Cell::new(true);
    let has_trapped = Cell::new(false);
    let serials = Cell::new(Vec::new());
    let length = batch.keys.len();
    let is_at = |trap: Option<u8>, nth: usize| trap.map(usize::from) == Some(nth);
    let events = batch.keys.iter().enumerate().map(|(nth, &key)| {
        if is_at(batch.traps_next, nth) && traps.get() {
            has_trapped.set(true);
            ledger.note(Thing::NextPanic);
            panic!("the iterator is a trap");
        }
        let item = Item {
            kind: batch.kind,
            key,
            class: batch.class,
            traps_key: is_at(batch.traps_key, nth),
            traps_drop: batch.traps_drop,
            doings: batch.doings.clone(),
            ..Item::default()
        };
        let serial = ledger.make(plan_of(&item, id), None);
        let mut made = serials.take();
        made.push(serial);
        serials.set(made);
        Job::<K, N>::new(serial, ledger)
    });
    publisher.set_class(class_of(batch.class));
    let result = catch_unwind(AssertUnwindSafe(|| publisher.publish_batch(events)));
    // What was not pulled is pulled below, where nothing is to go off.
    traps.set(false);
    let (told, back) = match result {
        Ok(Ok(published)) => (Some(published), Vec::new()),
        Ok(Err(error)) => {
            let (is_full, published) = (error.refused.is_full(), error.published);
            let has_pools = {
                let books = ledger.books();
                let refused = serials.take();
                let record = refused.get(published).map(|&s| &books.records[s as usize]);
                let has_pools = record.is_some_and(|record| !record.pools.is_empty());
                serials.set(refused);
                has_pools
            };
            check_refusal(world, published as u32, &error.refused, false, has_pools);
            if is_full {
                full(world, false);
            }
            let refused = error.refused.into_event();
            let back: Vec<u32> = std::iter::once(refused)
                .chain(error.pulled)
                .chain(error.rest)
                .map(|event| {
                    ledger.disarm(event.serial);
                    event.serial
                })
                .collect();
            (Some(published), back)
        }
        // What had been pulled and was not published is gone with the panic.
        Err(_) => (None, Vec::new()),
    };
    let serials = serials.into_inner();
    let mut published = told.unwrap_or(0);
    let mut went_off = has_trapped.get();
    for (nth, &serial) in serials.iter().enumerate() {
        let (drops, has_pools, plan) = {
            let record = &ledger.books().records[serial as usize];
            let traps = record.plan.traps_key || record.plan.traps_drop;
            (record.drops, !record.pools.is_empty(), traps)
        };
        went_off |= plan;
        let fate = match told {
            Some(published) if nth >= published => Fate::Refused,
            Some(_) if has_pools == (drops == 0) && has_pools => Fate::Admitted,
            Some(_) if has_pools == (drops == 0) => Fate::Unhandled,
            Some(_) => {
                ledger.violation(format!(
                    "PD1: {serial} of a batch was published and is gone"
                ));
                Fate::Refused
            }
            // A panic ends the batch: what lives was admitted, in the order of pulling.
            None if drops == 0 && published == nth => {
                published += 1;
                if !has_pools {
                    ledger.violation(format!("PD11: {serial} of a batch is kept for nobody"));
                }
                Fate::Admitted
            }
            None if drops == 0 => {
                ledger.violation(format!("PD1: {serial} went in behind one that did not"));
                Fate::Admitted
            }
            None => Fate::Refused,
        };
        ledger.settle(serial, fate);
    }
    let is_told_right = match told {
        Some(published) => {
            published + back.len() == length && serials[published.min(length)..] == back
        }
        None => went_off,
    };
    if !is_told_right {
        ledger.violation(format!(
            "PD1: of {length} events {told:?} were published and {back:?} came back"
        ));
    }
    world.say(|| format!("  batch {serials:?}: {told:?} published, {back:?} came back"));
}

/// The policy of a setting.
pub(crate) fn no_handler(is_error: bool) -> NoHandler {
    if is_error {
        NoHandler::Error
    } else {
        NoHandler::Ignore
    }
}
