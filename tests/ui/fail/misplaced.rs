//! Settings below the type.

use ringbolt::Event;

#[derive(Event)]
struct Placed {
    #[event(key)]
    order_id: u64,
}

#[derive(Event)]
enum Moved {
    #[event(name = "moved.up")]
    Up,
    Down,
}

fn main() {}
