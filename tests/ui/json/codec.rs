//! Events with a codec, of types with and without parameters.

use ringbolt::{Codec, Event};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(codec = "json")]
struct OrderPlaced {
    order_id: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(key = "id", codec = "json")]
struct Row<I> {
    id: I,
}

#[derive(Event)]
struct Silent;

fn codec<E: Event>(_: &E) -> Option<Codec<E>> {
    E::codec()
}

fn main() {
    let placed = OrderPlaced { order_id: 7 };
    assert_eq!(placed.order_id, 7);
    assert_eq!(format!("{:?}", codec(&placed)), "Some(Codec(json))");
    assert!(codec(&Row { id: 9_u64 }).is_some());
    assert!(codec(&Silent).is_none());
}
