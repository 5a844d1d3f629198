//! Histograms handed from their writer to a reader (H1, H2 of `sync/README.md`).

use super::{BARRIER, bounded, every};
use crate::sync::{Arc, Handover, OnceLock, Weakness, thread, weakened};

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

/// As above with the writer as the first thread, so that loom sees the readers' looks at it.
fn count_first(writes: u32) {
    let counts = Arc::new(Handover::new(0_u32, 0_u32, BARRIER));
    let reader = thread::spawn({
        let counts = Arc::clone(&counts);
        move || counts.read(std::mem::take) + counts.read(std::mem::take)
    });
    for _ in 0..writes {
        counts.write(|copy| *copy += 1);
    }
    let mut total = reader.join().unwrap();
    total += counts.read(std::mem::take);
    total += counts.read(std::mem::take);
    assert_eq!(total, writes, "every record is collected once");
}

#[test]
fn h1_no_copy_has_two_users_whoever_comes_first() {
    bounded(|| count_first(2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_twin_of_a_first_writer_without_the_light_barrier() {
    weakened(Weakness::NoLight, || bounded(|| count_first(2)));
}

#[test]
fn h1_edge_flip_no_copy_has_two_users() {
    every(|| count(1, 2));
}

#[test]
fn h2_edge_leave_a_reader_has_all_that_was_recorded() {
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
fn h2_edge_leave_twin_without_release() {
    weakened(Weakness::NoRelease("leave"), || every(|| count(1, 1)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h2_edge_leave_twin_without_acquire() {
    weakened(Weakness::NoAcquire("leave"), || every(|| count(1, 1)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_edge_flip_twin_without_release() {
    weakened(Weakness::NoRelease("flip"), || bounded(|| count(2, 2)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_edge_flip_twin_without_acquire() {
    weakened(Weakness::NoAcquire("flip"), || bounded(|| count(2, 2)));
}

/// Two readers, one of them a rotation of the interval log say, and the writer.
fn two_readers() {
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
}

#[test]
fn h1_edge_turn_readers_take_turns() {
    bounded(two_readers);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_edge_turn_twin_without_the_lock() {
    weakened(Weakness::NoLock("turn"), || bounded(two_readers));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h1_twin_of_two_readers_without_the_light_barrier() {
    weakened(Weakness::NoLight, || bounded(two_readers));
}

/// A value is made once, by whoever comes first.
fn make_once() {
    let value = Arc::new(OnceLock::new());
    let other = thread::spawn({
        let value = Arc::clone(&value);
        move || *value.get_or_init(|| 1)
    });
    if let Some(found) = value.get() {
        assert_eq!(*found, 1);
    }
    assert_eq!(*value.get_or_init(|| 2), other.join().unwrap());
}

#[test]
fn h3_edge_made_what_is_found_is_whole() {
    every(make_once);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h3_edge_made_twin_without_release() {
    weakened(Weakness::NoRelease("made"), || every(make_once));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn h3_edge_made_twin_without_acquire() {
    weakened(Weakness::NoAcquire("made"), || every(make_once));
}
