//! What has failed for good: it becomes a letter, joins one, waits for room, or ends as failed.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | **dead letter**)

use super::attempt::{Around, Of, drop_contained};
use super::hold::{From, Target, Waiting};
use super::letters::{Buried, failed};
use super::tend::{Place, Tending};
use crate::dead_letter::{Notify, Reason};
use crate::error_event::Category;
use crate::outcome::{Ended, Failure};
use crate::retry::{GiveUp, Next};
use crate::sync::Arc;

impl Tending {
    /// A delivery has failed for good: it becomes a letter, or its letter is brought up to date, or there is
    /// no queue and it ends as failed. Where the queue is full and that pauses the subscription, it waits.
    /// Then its key goes on, or is parked.
    pub(super) fn bury(
        &mut self,
        around: Around<'_>,
        of: &Of,
        waiting: Waiting,
        reason: Reason,
        from: From,
    ) {
        let key = waiting.key();
        let joins = reason == Reason::SequenceBlocked;
        let Some(ended) = self.bury_one(around, of, waiting, reason, from) else {
            // It waits for room, which letters of its key may make.
            if let Some(key) = key.filter(|key| self.hold_of(of).has_letters(*key)) {
                self.ready.push_back((of.place(), Target::Key(key)));
            }
            return;
        };
        let Some(key) = key else { return };
        if ended == Ended::DeadLettered && of.shared.policies.is_sequential {
            // What joins others finds its key parked, or on its way through a redelivery.
            if !joins {
                self.hold_of(of).park(key);
            }
            if self.hold_of(of).is_parked(key) == Some(true) {
                self.join_letters(around, of, key);
            }
        } else if let From::Shelf(_) = from {
            self.ready.push_back((of.place(), Target::Key(key)));
        }
    }

    /// How the delivery ended; `None` if it waits for room.
    pub(super) fn bury_one(
        &mut self,
        around: Around<'_>,
        of: &Of,
        mut waiting: Waiting,
        reason: Reason,
        from: From,
    ) -> Option<Ended> {
        if let Some(mut order) = waiting.order.take() {
            // Its letter is there, and is brought up to date.
            of.end_again(Ended::DeadLettered);
            let failed = failed(&mut waiting, reason, &self.clock);
            if let Some(failure) = waiting.failure.take() {
                drop_contained(failure);
            }
            order.fail(failed, Some(waiting.slot));
            return Some(Ended::DeadLettered);
        }
        let room = self.room(of);
        let buried = match (&self.letters, room) {
            (Some(letters), Some(room)) => letters.bury(of, waiting, reason, &self.clock, &room),
            _ => Buried::Refused(waiting),
        };
        let ended = match buried {
            Buried::Kept(head, evicted) => {
                of.end(&head, Ended::DeadLettered);
                if let Some(evicted) = evicted {
                    let text = format!("letter {evicted} had to make room for another");
                    self.tell(around, of, Category::DeadLetter, &text);
                }
                Ended::DeadLettered
            }
            Buried::Refused(mut waiting) => {
                of.end(waiting.slot.head(), Ended::Failed);
                if self.keeps_letters(&of.shared) {
                    self.tell(
                        around,
                        of,
                        Category::DeadLetter,
                        "a delivery that failed for good was not kept",
                    );
                }
                if let Some(failure) = waiting.failure.take() {
                    drop_contained(failure);
                }
                Ended::Failed
            }
            Buried::Full(waiting) => {
                if !self.hold_of(of).is_waiting_for_room() {
                    let text = "the dead-letter queue is full, and the subscription waits";
                    self.tell(around, of, Category::DeadLetter, text);
                }
                self.hold_of(of).bury_later(from, waiting);
                self.weigh(around, of);
                return None;
            }
        };
        if let From::Shelf(_) = from {
            self.hold_of(of).note_out();
            self.weigh(around, of);
        }
        Some(ended)
    }

    /// How the subscription's shelf here is told of room in the queue; `None` if it keeps no letters.
    pub(super) fn room(&mut self, of: &Of) -> Option<Notify> {
        if !self.keeps_letters(&of.shared) {
            return None;
        }
        if self.hold_of(of).room.is_none() {
            let room = self
                .letters
                .as_ref()
                .map(|letters| letters.room(of.place()));
            self.hold_of(of).room = room;
        }
        self.hold_of(of).room.clone()
    }

    /// What was held behind a key that is parked now joins it, in order.
    pub(super) fn join_letters(&mut self, around: Around<'_>, of: &Of, key: u64) {
        while !self.hold_of(of).is_waiting_for_room()
            && let Some(slot) = self.hold_of(of).pop_behind(key)
        {
            let waiting = Waiting::fresh(slot, self.clock.raw());
            let reason = Reason::SequenceBlocked;
            if self
                .bury_one(around, of, waiting, reason, From::Shelf(None))
                .is_none()
            {
                break;
            }
        }
    }

    /// There is room in the dead-letter queue again: what waits for it goes there, and then what was stopped
    /// behind it goes on.
    pub(super) fn bury_waiting(&mut self, around: Around<'_>, place: Place) {
        loop {
            let Some(hold) = self.hold(place) else { return };
            let of = Of {
                shared: Arc::clone(&hold.shared),
                counts: Arc::clone(&hold.counts),
            };
            let Some(waiting) = hold.next_unburied() else {
                break;
            };
            let reason = waiting
                .letter
                .as_ref()
                .map_or(Reason::Exhausted, |letter| letter.reason());
            if reason == Reason::SequenceBlocked
                && let Some(key) = waiting.key()
                && self.unpark(place, key)
            {
                // What it was to join is gone: it goes on as if it had not been parked.
                let waiting = Waiting {
                    letter: None,
                    ..waiting
                };
                let target = self.hold_of(&of).put_back(Some(key), None, waiting);
                self.ready.push_back((place, target));
                continue;
            }
            let before = self.hold_of(&of).unburied_count();
            self.bury(around, &of, waiting, reason, From::Shelf(None));
            if self.hold_of(&of).unburied_count() > before {
                // Full again: whoever makes room tells again.
                self.hold_of(&of).bury_first();
                return;
            }
        }
        if let Some(hold) = self.hold(place) {
            hold.mark();
        }
        self.kick(place);
    }
}

/// Why a delivery failed for good.
pub(super) fn reason_of(next: &Next, failure: Option<&Failure>) -> Reason {
    match (next, failure) {
        (Next::GiveUp(GiveUp::Permanent | GiveUp::Declined), _) | (_, None) => Reason::Permanent,
        (_, Some(failure)) => Reason::of(failure),
    }
}
