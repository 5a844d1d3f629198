//! Dead letters: deliveries that failed for good, kept with everything that is needed to look at them and to try again.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)
//!
//! Picture a shelf with a bounded number of places. A worker puts a letter on it when a delivery has failed for good
//! (DQ1); people look through the letters, throw some away and have others delivered again. A letter of a subscription
//! that was declared sequential parks its key: later events of the key become letters behind it, and a redelivery takes
//! them in order until none is left (DQ3).
//!
//! What callers may rely on: the shelf never holds more than its capacity, and whatever happens at the bound is counted
//! and told (DQ4): `kept + imported = letters + redelivered + discarded + evicted` at any time. A letter is redelivered
//! by one at a time (DQ2). The user's code (a key, a codec, an observer, a value's drop) never runs under the lock, and
//! its panics are contained.
//!
//! A mutex stands around the shelf: it is taken for a failure, a look or a redelivery, by several threads and never on
//! the way of an event that is handled; looks through many letters let go of it every so many.
//!
//! Left to others: when a delivery has failed for good (`retry`), the attempts of a redelivery and the holding of keys
//! (`worker`). Nothing here reads a clock but to say when a letter was discarded or imported.
//!
//! What checks it: the tests beside the code, named after the promises.

mod handle;
#[cfg(feature = "json")]
mod json;
mod letter;
mod order;
mod policy;
mod query;
mod queue;
mod ticket;
mod view;
mod words;

pub use handle::DeadLetters;
#[cfg(feature = "json")]
pub use json::{ExportReport, ImportFault, ImportReport};
pub(crate) use letter::{Attempts, Letter, Subscriber};
pub use letter::{LetterId, LetterStatus, Reason};
pub(crate) use order::{Failed, Next, Order};
pub use policy::{DeadLetterPolicy, LetterEvent, Overflow};
pub use query::{Filter, LetterPage, Page};
pub use queue::{DeadLetterCounts, DiscardRecord};
pub(crate) use queue::{Notify, Offered, Queue, Unpark};
pub(crate) use ticket::Redeliverer;
pub use ticket::{LetterOutcome, Redelivered, RedeliveryReport, RedeliveryTicket};
pub use view::{Attempt, LetterView};

#[cfg(test)]
mod tests;
