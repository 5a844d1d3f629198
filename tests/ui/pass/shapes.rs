//! Every shape of event the derive takes, and what it makes of it.

use std::sync::Arc;

use ringbolt::{AsKey, Event, Key};

#[derive(Event)]
#[event(name = "order.placed", version = 3, key = "order_id")]
struct OrderPlaced {
    order_id: u64,
}

#[derive(Event)]
struct MarketClosed;

#[derive(Event)]
#[event(key = "1")]
struct Pair(u8, String);

#[derive(Event)]
enum Side {
    Bid,
    Ask { quantity: u64 },
}

struct Header {
    ids: (u32, Option<Arc<str>>),
}

#[derive(Event)]
#[event(key = "header.ids.1")]
struct Nested {
    header: Header,
}

#[derive(Event)]
#[event(key = "type")]
struct Raw {
    r#type: char,
}

#[derive(Event)]
#[event(name = "row.changed", key = "id")]
struct Row<I, V = u8, const N: usize = 1>
where
    V: Copy,
{
    id: I,
    values: [V; N],
}

/// A type that comes out of a macro, with its key named there.
macro_rules! event {
    ($name:ident, $field:ident) => {
        #[derive(Event)]
        #[event(key = "inner")]
        struct $name {
            inner: u64,
            $field: u64,
        }
    };
}

event!(Made, outer);

/// Names of the user's that an expansion must not trip over.
mod hostile {
    #![allow(
        dead_code,
        non_camel_case_types,
        reason = "they are only to be in the way"
    )]

    struct Option;
    struct Some;
    struct CELL;
    struct Key;
    struct AsKey;
    trait Send {}
    trait Sync {}
    mod core {}
    mod ringbolt {}

    #[derive(::ringbolt::Event)]
    #[event(key = "key")]
    pub struct Amidst<T> {
        pub key: u64,
        pub rest: T,
    }
}

fn name<E: Event>(_: &E) -> (&'static str, u16, bool) {
    (E::NAME, E::VERSION, E::type_cell().is_some())
}

fn main() {
    let placed = OrderPlaced { order_id: 7 };
    assert_eq!(name(&placed), ("order.placed", 3, true));
    assert_eq!(placed.key(), Key::U64(7));

    assert_eq!(name(&MarketClosed), ("market.closed", 1, true));
    assert_eq!(MarketClosed.key(), Key::None);

    let pair = Pair(1, "a7".to_owned());
    assert_eq!((pair.0, pair.key()), (1, Key::Bytes(b"a7")));

    for side in [Side::Bid, Side::Ask { quantity: 3 }] {
        assert_eq!(side.key(), Key::None);
        assert!(!matches!(side, Side::Ask { quantity: 0 }));
    }

    let header = Header {
        ids: (1, Some("x".into())),
    };
    let nested = Nested { header };
    assert_eq!((nested.header.ids.0, nested.key()), (1, Key::Bytes(b"x")));
    let header = Header { ids: (1, None) };
    assert_eq!(Nested { header }.key(), Key::None);

    assert_eq!(Raw { r#type: 'x' }.key(), 'x'.as_key());

    let row = Row {
        id: 9_u128,
        values: [0.5, 0.25],
    };
    assert_eq!(name(&row), ("row.changed", 1, false));
    assert_eq!((row.values.len(), row.key()), (2, Key::U128(9)));

    let made = Made { inner: 1, outer: 2 };
    assert_eq!((made.outer, made.key()), (2, Key::U64(1)));

    let amidst = hostile::Amidst { key: 5, rest: 'x' };
    assert_eq!((amidst.rest, amidst.key()), ('x', Key::U64(5)));

    // Types have cells of their own.
    let cell = |cell: Option<&'static _>| cell.map(|cell| cell as *const _ as usize);
    assert_ne!(
        cell(OrderPlaced::type_cell()),
        cell(MarketClosed::type_cell())
    );
}
