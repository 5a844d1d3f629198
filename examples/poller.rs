//! Handlers on a thread of your own: a polled pool has no workers but the thread that calls `poll`.

use ringbolt::{Polled, prelude::*};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

struct Input {
    frame: u64,
}

impl Event for Input {
    const NAME: &'static str = "input";
}

const FRAMES: u64 = 5;
const INPUTS_A_FRAME: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder()
        .pool(Pool::new("frame").polled())
        .build()?;
    let (mine, seen) = (thread::current().id(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&seen);
    system.subscription("game").pool("frame").handler(
        move |input: &Input, _: &mut Context<'_>| {
            assert_eq!(thread::current().id(), mine, "never anywhere else");
            assert_eq!(input.frame, count.fetch_add(1, Relaxed) / INPUTS_A_FRAME);
        },
    )?;

    // A game loop: inputs come from another thread, and are handled when the frame has time for them.
    let mut poller = system.poller("frame")?;
    for frame in 0..FRAMES {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = system.publisher();
                for _ in 0..INPUTS_A_FRAME {
                    publisher.publish(Input { frame }).expect("there is room");
                }
            });
        });
        assert_eq!(seen.load(Relaxed), frame * INPUTS_A_FRAME, "it has waited");
        let mut handled = 0;
        while let Polled::Events(count @ 1..) = poller.poll(1) {
            handled += count;
        }
        println!("frame {frame}: {handled} inputs, and then it is drawn");
        assert_eq!(handled as u64, INPUTS_A_FRAME);
    }

    let stopping = system.begin_shutdown(Duration::from_secs(10));
    while poller.poll(1) != Polled::Stopped {
        poller.wait(Duration::from_millis(1));
    }
    assert_eq!(stopping.wait()?.completed, FRAMES * INPUTS_A_FRAME);
    Ok(())
}
