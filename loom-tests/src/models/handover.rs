//! Histograms handed from their writer to a reader (H1, H2 of `sync/README.md`).

use super::{BARRIER, bounded, every};
use crate::sync::{Arc, Handover, Weakness, thread, weakened};

/// A writer counts `writes` up by one each, a reader collects `reads` times; nothing is lost or
/// counted twice.
fn count(writes: u32, reads: u32) {
    let counts = Arc::new(Handover::new(0_u32, 0_u32, BARRIER));
    let writer = thread::spawn({
        let counts = Arc::clone(&counts);
        move || {
            for _ in 0..writes {
                counts.write(|copy| *copy += 1);
            }
        }
    });
    let mut total = 0;
    for _ in 0..reads {
        total += counts.read(std::mem::take);
    }
    writer.join().unwrap();
    // Both copies, now that the writer is gone.
    total += counts.read(std::mem::take);
    total += counts.read(std::mem::take);
    assert_eq!(total, writes, "every record is collected once");
}

#[test]
fn h1_no_copy_has_two_users() {
    every(|| count(1, 2));
}

#[test]
fn h2_a_reader_has_all_that_was_recorded() {
    bounded(|| count(3, 2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| count(1, 1)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| count(1, 1)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h2_twin_without_release_of_the_words() {
    weakened(Weakness::RelaxedWords, || every(|| count(1, 2)));
}

/// Two readers take turns.
#[test]
fn h2_readers_take_turns() {
    bounded(|| {
        let counts = Arc::new(Handover::new(0_u32, 0_u32, BARRIER));
        let writer = thread::spawn({
            let counts = Arc::clone(&counts);
            move || counts.write(|copy| *copy += 1)
        });
        let reader = thread::spawn({
            let counts = Arc::clone(&counts);
            move || counts.read(std::mem::take)
        });
        let mut total = counts.read(std::mem::take);
        writer.join().unwrap();
        total += reader.join().unwrap();
        total += counts.read(std::mem::take);
        total += counts.read(std::mem::take);
        assert_eq!(total, 1, "every record is collected once");
    });
}
