//! Settings given twice, within one attribute and in two.

use ringbolt::Event;

#[derive(Event)]
#[event(name = "a", name = "b")]
struct Within;

#[derive(Event)]
#[event(version = 1)]
#[event(version = 2)]
struct Across;

fn main() {}
