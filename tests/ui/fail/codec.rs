//! Codecs that do not exist.

use ringbolt::Event;

#[derive(Event)]
#[event(codec = "xml")]
struct Unknown;

#[derive(Event)]
#[event(codec = json)]
struct Bare;

fn main() {}
