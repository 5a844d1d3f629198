//! Handlers: how user code is registered, held on each worker, and called.
//!
//! publish → route → lane → worker → **handler** → outcome

mod bench;
mod context;
mod erased;
mod policies;
mod subscription;

pub(crate) use crate::event::id_of;
pub(crate) use bench::{Bench, BenchPlace, BenchSub};
pub(crate) use context::Caller;
pub use context::{Context, WorkerId};
pub(crate) use erased::{Erased, Installer, Recipe, by_ref, by_value, from_factory};
pub(crate) use policies::{Policies, TimeLimit};
pub(crate) use subscription::SubscriptionShared;

use crate::event::Event;
use crate::outcome::Outcome;

/// A handler with state of its own on each worker, made there by a factory.
///
/// One type may handle several event types, with one state for all of them:
///
/// ```
/// use ringbolt::{Context, EventSystem, Failure, Handler, Outcome, Event};
/// # #[derive(Event)] struct Deposit { #[allow(dead_code)] account: u64, amount: i64 }
/// # #[derive(Event)] struct Withdrawal { #[allow(dead_code)] account: u64, amount: i64 }
/// #[derive(Default)]
/// struct Balance {
///     total: i64,
/// }
///
/// impl Handler<Deposit> for Balance {
///     fn handle(&mut self, event: &Deposit, _: &mut Context<'_>) -> Outcome {
///         self.total += event.amount;
///         Outcome::Handled
///     }
/// }
///
/// impl Handler<Withdrawal> for Balance {
///     fn handle(&mut self, event: &Withdrawal, _: &mut Context<'_>) -> Outcome {
///         self.total -= event.amount;
///         Outcome::Handled
///     }
/// }
///
/// let system = EventSystem::builder().build()?;
/// system
///     .subscription("balances")
///     .factory(|_worker| Ok::<_, Failure>(Balance::default()))
///     .on::<Deposit>()
///     .on::<Withdrawal>()
///     .register()?;
/// # Ok::<(), ringbolt::Error>(())
/// ```
pub trait Handler<E: Event>: 'static {
    /// Handles one event. A panic is a failed attempt; the state is then made anew by the factory.
    fn handle(&mut self, event: &E, context: &mut Context<'_>) -> Outcome;
}
