//! Counters that are read while their worker counts (M1 of `metrics/README.md`).

use super::every;
use crate::metrics::CountsCell;
use crate::outcome::Ended;
use crate::sync::{Arc, Weakness, thread, weakened};

/// Two deliveries, and a report that looks in between.
fn look() {
    let cell = Arc::new(CountsCell::default());
    let reporter = thread::spawn({
        let cell = Arc::clone(&cell);
        move || {
            let counts = cell.read();
            assert!(
                counts.ended() <= counts.admitted,
                "no more have ended than begun"
            );
        }
    });
    // The worker is the first thread: loom begins with it, and would forget the reporter's loads over the
    // worker's own (`models/mod.rs`).
    for ended in [Ended::Handled, Ended::Failed] {
        cell.admit();
        cell.end(ended);
    }
    reporter.join().unwrap();
}

#[test]
fn m1_edge_ending_no_more_have_ended_than_begun() {
    every(look);
}

#[test]
#[should_panic(expected = "no more have ended than begun")]
fn m1_edge_ending_twin_without_release() {
    weakened(Weakness::NoRelease("ending"), || every(look));
}

#[test]
#[should_panic(expected = "no more have ended than begun")]
fn m1_edge_ending_twin_without_acquire() {
    weakened(Weakness::NoAcquire("ending"), || every(look));
}
