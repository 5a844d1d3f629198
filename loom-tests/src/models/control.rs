//! Control messages to a worker that may be parked (L10).

use super::{BARRIER, bounded, every};
use crate::lane::Port;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, SegQueue, Weakness, thread, weakened};

type Letters = Port<u32, u32>;

/// The worker: reads its letters, parks when there are none, until their sum is `sum`.
fn read_letters(port: &Letters, sum: u32) {
    let mut read = 0;
    loop {
        while let Some(letter) = port.take_control() {
            read += letter;
        }
        if read == sum {
            return;
        }
        if port.wake.announce(BARRIER) {
            if port.has_control() {
                port.wake.cancel();
            } else {
                port.wake.sleep(None);
            }
        }
    }
}

fn one_sender() {
    let port = Arc::new(Letters::new(1));
    let sender = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            port.send(1, BARRIER);
            port.send(2, BARRIER);
        }
    });
    read_letters(&port, 3);
    sender.join().unwrap();
}

fn two_senders() {
    let port = Arc::new(Letters::new(1));
    let senders = [1, 2].map(|letter| {
        let port = Arc::clone(&port);
        thread::spawn(move || port.send(letter, BARRIER))
    });
    read_letters(&port, 3);
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn l10_every_letter_reaches_a_parked_worker() {
    bounded(one_sender);
}

#[test]
fn l10_edge_control_letters_of_two_senders_are_all_read() {
    bounded(two_senders);
}

#[test]
#[should_panic(expected = "deadlock")]
fn l10_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || bounded(one_sender));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l10_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || bounded(one_sender));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l10_edge_control_twin_without_release() {
    weakened(Weakness::NoRelease("control"), || bounded(two_senders));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l10_edge_control_twin_without_acquire() {
    weakened(Weakness::NoAcquire("control"), || bounded(two_senders));
}

/// Unsubscribing: a letter, and the wait for the worker's answer. When it has come, everything the
/// worker did before it read the letter is seen, and what it does later knows the letter.
#[test]
fn l10_an_answered_letter_is_behind_the_worker() {
    every(|| {
        let port = Arc::new(Letters::new(1));
        let answered = Arc::new(AtomicU32::new(0));
        let worker = thread::spawn({
            let (port, answered) = (Arc::clone(&port), Arc::clone(&answered));
            move || {
                read_letters(&port, 1);
                answered.store(1, Ordering::Release);
            }
        });
        port.send(1, BARRIER);
        while answered.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        assert!(port.take_control().is_none(), "the letter was read");
        worker.join().unwrap();
    });
}

/// What [`Port`] would be if it read the queue first and cleared the mark afterwards.
#[test]
#[should_panic(expected = "a letter is read or marked")]
fn l10_twin_that_clears_the_mark_after_reading() {
    every(|| {
        let shared = Arc::new((SegQueue::new(), AtomicU32::new(0)));
        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.0.push(1_u32);
                shared.1.swap(1, Ordering::AcqRel);
            }
        });
        let read = shared.0.pop().is_some();
        shared.1.swap(0, Ordering::AcqRel);
        sender.join().unwrap();
        let marked = shared.1.load(Ordering::Acquire) == 1;
        assert!(read || marked, "a letter is read or marked");
    });
}
