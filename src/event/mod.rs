//! What an event is: its type, its key, its class, its id, and the slot it travels in.
//!
//! **event** → publish → route → lane → worker → handler → outcome
//!
//! An event is any value of a type that implements [`Event`]. It is moved into a slot of two cache
//! lines and handled there; nothing is serialised to be dispatched. Types are interned to small
//! integers once per process, so dispatch compares integers.

mod class;
mod codec;
mod descriptor;
mod extras;
mod id;
mod key;
mod payload;
mod tracker;

pub use class::Class;
#[cfg(feature = "json")]
pub(crate) use codec::JSON;
pub(crate) use codec::codec;
pub use codec::{Codec, Encoding};
pub use descriptor::TypeCell;
#[cfg(any(feature = "json", test))]
pub(crate) use descriptor::descriptor_named;
pub(crate) use descriptor::descriptor_of;
pub(crate) use descriptor::{Descriptor, EventType, descriptor_at};
pub use extras::Metadata;
pub(crate) use extras::{Extras, Stored};
pub use id::EventId;
pub(crate) use id::{SequenceLease, id_of, is_sampled};
pub use key::{AsKey, Key};
pub(crate) use payload::{Head, Kept, Payload, Slot, Wide, contain, panic_message};
pub(crate) use tracker::Tracker;

/// A typed, immutable fact that can be published.
///
/// Implemented by `#[derive(Event)]`, or by hand:
///
/// ```
/// use ringbolt::{AsKey, Event, Key};
///
/// struct OrderPlaced {
///     order_id: u64,
/// }
///
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
///     fn key(&self) -> Key<'_> {
///         self.order_id.as_key()
///     }
/// }
/// ```
///
/// Values are moved from the publisher to the worker; up to 56 bytes (aligned to at most 8) travel in
/// the slot itself, anything else in a box of its own.
pub trait Event: Send + Sync + Sized + 'static {
    /// The type's name, in dotted lower case: `"order.placed"`.
    const NAME: &'static str;

    /// The version of the type's shape, for what leaves memory.
    const VERSION: u16 = 1;

    /// What the event is about. Events of one key are handled by one worker, in order; events without
    /// a key go wherever there is room.
    fn key(&self) -> Key<'_> {
        Key::None
    }

    /// How values leave memory and come back: for dead letters in a file, and wherever else an event has to
    /// become text. Without one, an event exists in memory only.
    fn codec() -> Option<Codec<Self>> {
        None
    }

    /// Where the type's number is kept; filled in by the derive macro to save a look-up. A cell that
    /// belongs to another type is ignored.
    #[doc(hidden)]
    fn type_cell() -> Option<&'static TypeCell> {
        None
    }
}
