//! Types that cannot be events.

use ringbolt::Event;

#[derive(Event)]
union Either {
    whole: u64,
    half: u32,
}

#[derive(Event)]
struct Borrowed<'a> {
    text: &'a str,
}

fn main() {}
