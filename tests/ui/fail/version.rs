//! Versions outside of 1 to 65535.

use ringbolt::Event;

#[derive(Event)]
#[event(version = 0)]
struct Zero;

#[derive(Event)]
#[event(version = 65536)]
struct Large;

#[derive(Event)]
#[event(version = "1")]
struct Text;

fn main() {}
