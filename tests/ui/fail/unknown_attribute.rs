//! Settings that do not exist.

use ringbolt::Event;

#[derive(Event)]
#[event(name = "order.placed", topic = "orders")]
struct Misspelt;

#[derive(Event)]
#[event]
struct Nothing;

fn main() {}
