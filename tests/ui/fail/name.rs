//! Names that are none.

use ringbolt::Event;

#[derive(Event)]
#[event(name = "")]
struct Empty;

#[derive(Event)]
#[event(name = "Order.Placed")]
struct Upper;

#[derive(Event)]
#[event(name = "order placed")]
struct Spaced;

#[derive(Event)]
#[event(name = "order..placed")]
struct Gap;

#[derive(Event)]
#[event(name = 7)]
struct Number;

fn main() {}
