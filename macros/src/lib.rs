//! The derive macro of [ringbolt](https://docs.rs/ringbolt): `#[derive(Event)]`.
//!
//! Not meant to be named directly: ringbolt re-exports the macro beside the trait of the same name. The expansion says
//! `::ringbolt::…`, so the crate that derives must know ringbolt by that name. Every mistake in the attributes is told
//! at once, each at its own place, and says what to write instead.

mod attributes;
mod event;
mod name;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements ringbolt's `Event` for a struct or an enum.
///
/// ```
/// use ringbolt::{Event, Key};
///
/// #[derive(Event)]
/// #[event(name = "order.placed", version = 2, key = "order_id")]
/// struct OrderPlaced {
///     order_id: u64,
///     cents: i64,
/// }
///
/// assert_eq!(OrderPlaced::NAME, "order.placed");
/// assert_eq!(OrderPlaced::VERSION, 2);
/// assert_eq!(OrderPlaced { order_id: 7, cents: 4_200 }.key(), Key::U64(7));
/// ```
///
/// All of it may be left out:
///
/// | in `#[event(…)]` | says | without it |
/// | --- | --- | --- |
/// | `name = "order.placed"` | the type's name: segments of `a`-`z`, `0`-`9`, `_` and `-`, with dots between | the name of the type, cut at its capitals: `OrderPlaced` is `order.placed` |
/// | `version = 2` | the version of the type's shape, 1 to 65535 | 1 |
/// | `key = "order_id"` | the field whose value is the event's key (it implements `AsKey`) | no key, so no order is asked for |
/// | `codec = "json"` | how values become bytes and come back, for the store and for dead letters in a file: `json` or `postcard` by the type's `Serialize` and `Deserialize` (ringbolt's features of these names), `pod` as the value lies in memory, for types that are `bytemuck::Pod`, for the store | events exist in memory only |
///
/// The key is a field's name, the number of a tuple's field (`key = "0"`), or a path to something deeper
/// (`key = "header.order_id"`). An enum has no fields that are there in every variant: it has no key, or implements
/// `Event` by hand.
///
/// Types and constants as parameters are fine: each type parameter is bound by `Send + Sync + 'static`, and a key whose
/// type names one is bound by `AsKey`.
///
/// ```
/// use ringbolt::{Event, Key};
///
/// #[derive(Event)]
/// #[event(name = "row.changed", key = "id")]
/// struct RowChanged<I, const COLUMNS: usize> {
///     id: I,
///     columns: [f64; COLUMNS],
/// }
///
/// let changed = RowChanged { id: "a7", columns: [0.5, 0.25] };
/// assert_eq!(changed.key(), Key::Bytes(b"a7"));
/// ```
///
/// Borrowed data is refused, as an event outlives the call that publishes it:
///
/// ```compile_fail
/// #[derive(ringbolt::Event)]
/// struct Line<'a> {
///     text: &'a str,
/// }
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
