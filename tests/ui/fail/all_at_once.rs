//! Several mistakes in one type: all are told.

use ringbolt::Event;

#[derive(Event)]
#[event(name = "", version = 0, key = "id")]
struct Placed<'a> {
    order_id: &'a str,
}

fn main() {}
