//! Keys that lead to no field.

use ringbolt::Event;

#[derive(Event)]
#[event(key = "id")]
struct Named {
    order_id: u64,
    customer: String,
}

#[derive(Event)]
#[event(key = "2")]
struct Tuple(u64, u64);

#[derive(Event)]
#[event(key = "id")]
struct Unit;

#[derive(Event)]
#[event(key = "order_id")]
enum Variants {
    Placed { order_id: u64 },
}

#[derive(Event)]
#[event(key = "a..b")]
struct Path {
    a: u64,
}

#[derive(Event)]
#[event(key = id)]
struct Bare {
    id: u64,
}

fn main() {}
