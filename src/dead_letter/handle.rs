//! What people do with letters: look, deliver again, throw away.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::letter::LetterId;
use super::order::Order;
use super::query::{Filter, LetterPage, Page};
use super::queue::{DeadLetterCounts, DiscardRecord, Queue};
use super::ticket::{Flow, Redeliverer, RedeliveryTicket, Which};
use super::view::LetterView;
use crate::error::{Error, ErrorKind};
use crate::event::AsKey;
use crate::sync::Arc;
use std::fmt;
use std::ops::ControlFlow;

/// The dead letters of an engine. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct DeadLetters {
    pub(super) queue: Arc<Queue>,
    pub(super) redeliverer: Arc<dyn Redeliverer>,
}

impl DeadLetters {
    pub(crate) fn new(queue: Arc<Queue>, redeliverer: Arc<dyn Redeliverer>) -> Self {
        Self { queue, redeliverer }
    }

    /// Some of the letters that are meant.
    #[must_use]
    pub fn list(&self, filter: &Filter, page: Page) -> LetterPage {
        let (letters, has_more) = self.queue.page(filter, page);
        let last = letters.last().map(|letter| letter.id);
        LetterPage {
            next: last.or(page.after).filter(|_| has_more),
            letters,
        }
    }

    /// How many letters are meant.
    #[must_use]
    pub fn count(&self, filter: &Filter) -> u64 {
        let mut count = 0;
        self.queue.scan(None, false, |letter| {
            count += u64::from(filter.is_met(letter));
            ControlFlow::Continue(())
        });
        count
    }

    /// How many letters there are and were.
    #[must_use]
    pub fn counts(&self) -> DeadLetterCounts {
        self.queue.counts()
    }

    /// The letter of this number, if it is there.
    #[must_use]
    pub fn inspect(&self, letter: LetterId) -> Option<LetterView> {
        self.queue.inspect(letter)
    }

    /// Delivers a letter's event again to its subscription, and to no other.
    ///
    /// # Errors
    ///
    /// `is_missing` if there is no such letter or its value is gone, `is_conflict` if it is being redelivered already
    /// or is parked behind others ([`redeliver_key`](Self::redeliver_key)), `is_closed` if the engine stops.
    pub fn redeliver(&self, letter: LetterId) -> Result<RedeliveryTicket, Error> {
        let flow = Flow::single();
        let order = Order::of_letter(&self.queue, letter, &flow)?;
        self.redeliverer.begin(order)?;
        Ok(self.ticket(flow))
    }

    /// Delivers the letters of a key again to a subscription: in order if it is sequential, until one fails.
    ///
    /// # Errors
    ///
    /// `is_missing` if no letter waits there, `is_conflict` if the key is being redelivered already, `is_closed` if the
    /// engine stops.
    pub fn redeliver_key(
        &self,
        subscription: &str,
        key: impl AsKey,
    ) -> Result<RedeliveryTicket, Error> {
        let key = key.as_key();
        let sequence = key
            .hash()
            .and_then(|hash| self.queue.sequence_named(subscription, hash));
        if let Some(sequence) = sequence {
            let flow = Flow::single();
            let order = Order::of_key(&self.queue, sequence, &flow)?;
            self.redeliverer.begin(order)?;
            return Ok(self.ticket(flow));
        }
        let filter = Filter::new().subscription(subscription).of_key(key);
        if self.count(&filter) == 0 {
            let key = key.to_text();
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "no letter with key `{}` waits for a subscription `{subscription}`: list the letters to see which do",
                    key.as_deref().unwrap_or("(none)")
                ),
            ));
        }
        Ok(self.redeliver_all(filter))
    }

    /// Delivers these letters again. One that is parked stands for its whole key.
    pub fn redeliver_many(&self, letters: impl IntoIterator<Item = LetterId>) -> RedeliveryTicket {
        let mut letters: Vec<LetterId> = letters.into_iter().collect();
        letters.sort_unstable();
        letters.dedup();
        self.begin_many(Which::These(letters))
    }

    /// Delivers all letters again that are meant and are there now, some at a time. One that is parked stands for its
    /// whole key, whose letters go in order until one fails.
    pub fn redeliver_all(&self, filter: Filter) -> RedeliveryTicket {
        self.begin_many(Which::Met(filter))
    }

    fn begin_many(&self, which: Which) -> RedeliveryTicket {
        let flow = Flow::many(&self.queue, &self.redeliverer, which);
        flow.pump();
        self.ticket(flow)
    }

    fn ticket(&self, flow: Arc<Flow>) -> RedeliveryTicket {
        RedeliveryTicket {
            flow,
            redeliverer: Arc::clone(&self.redeliverer),
        }
    }

    /// Throws a letter away, on record.
    ///
    /// # Errors
    ///
    /// `is_missing` if there is no such letter, `is_conflict` if it is being redelivered, `is_setting` if `who` or `why`
    /// is empty.
    pub fn discard(&self, letter: LetterId, who: &str, why: &str) -> Result<(), Error> {
        check_reason(who, why)?;
        self.queue.discard(letter, who, why)
    }

    /// Throws away all letters that are meant and are not being redelivered, on record; how many.
    ///
    /// # Errors
    ///
    /// `is_setting` if `who` or `why` is empty.
    pub fn discard_all(&self, filter: &Filter, who: &str, why: &str) -> Result<u64, Error> {
        check_reason(who, why)?;
        Ok(self.queue.discard_all(filter, who, why))
    }

    /// What was discarded, the latest last; the last 4,096 times.
    #[must_use]
    pub fn audit(&self) -> Vec<DiscardRecord> {
        self.queue.audit()
    }
}

fn check_reason(who: &str, why: &str) -> Result<(), Error> {
    for (field, value) in [("who", who), ("why", why)] {
        if value.trim().is_empty() {
            return Err(Error::new(
                ErrorKind::Setting,
                format!("discard.{field}: it is empty (say {field}: it is what the record is for)"),
            ));
        }
    }
    Ok(())
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
