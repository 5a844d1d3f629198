//! The inbox: places reserved before they are filled, closing, publishers that wait, the spill (L5, L6, L9, L11).

use super::{BARRIER, bounded, every};
use crate::lane::{Gate, GateState, Inbox, Port, Room};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Weakness, thread, weakened};

fn pop_waiting(inbox: &Inbox<u32>) -> u32 {
    loop {
        if let Some(value) = inbox.pop() {
            return value;
        }
        thread::yield_now();
    }
}

fn push_trying(inbox: &Inbox<u32>, value: u32) {
    while !inbox.reserve() {
        thread::yield_now();
    }
    inbox.push(value);
}

/// One publisher and one worker on an inbox of one place.
fn pass_through() {
    let inbox = Arc::new(Inbox::new(1));
    let publisher = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            push_trying(&inbox, 0);
            push_trying(&inbox, 1);
        }
    });
    for expected in 0..2 {
        assert_eq!(pop_waiting(&inbox), expected, "the order of one publisher");
        inbox.give_back(1, BARRIER);
    }
    publisher.join().unwrap();
}

#[test]
fn l9_edge_place_a_reserved_place_is_free() {
    every(pass_through);
}

#[test]
#[should_panic(expected = "a reserved place is free (L9)")]
fn l9_edge_place_twin_without_release() {
    weakened(Weakness::NoRelease("place"), || every(pass_through));
}

#[test]
#[should_panic(expected = "a reserved place is free (L9)")]
fn l9_edge_place_twin_without_acquire() {
    weakened(Weakness::NoAcquire("place"), || every(pass_through));
}

#[test]
fn l9_two_publishers_share_one_place() {
    bounded(|| {
        let inbox = Arc::new(Inbox::new(1));
        let publishers = [1, 2].map(|value| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || push_trying(&inbox, value))
        });
        let mut sum = 0;
        for _ in 0..2 {
            sum += pop_waiting(&inbox);
            inbox.give_back(1, BARRIER);
        }
        assert_eq!(sum, 3, "both come, once each");
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}

/// Two workers of an unordered pool empty places in any order, and give them back in another.
#[test]
fn l9_two_workers_share_a_queue() {
    bounded(|| {
        let queue = Arc::new(Inbox::new(2));
        push_trying(&queue, 1);
        push_trying(&queue, 2);
        let workers = [(), ()].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let value = queue.pop();
                queue.give_back(usize::from(value.is_some()), BARRIER);
                value.unwrap_or(0)
            })
        });
        push_trying(&queue, 4);
        let mut sum: u32 = workers.map(|worker| worker.join().unwrap()).iter().sum();
        while let Some(value) = queue.pop() {
            queue.give_back(1, BARRIER);
            sum += value;
        }
        assert_eq!(sum, 7, "each comes once");
    });
}

/// A publisher by `&self` while the gate is shut: its reserved place is its bracket.
fn close(wait: impl Fn(&Inbox<u32>)) {
    let gate = Arc::new(Gate::new());
    let inbox = Arc::new(Inbox::new(1));
    let publisher = thread::spawn({
        let (gate, inbox) = (Arc::clone(&gate), Arc::clone(&inbox));
        move || {
            if !inbox.reserve() {
                return 0;
            }
            BARRIER.light();
            if gate.is_open() {
                inbox.push(7);
                1
            } else {
                inbox.give_back(1, BARRIER);
                0
            }
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    wait(&inbox);
    let drained = u32::from(inbox.pop().is_some());
    let admitted = publisher.join().unwrap();
    assert_eq!(drained, admitted, "the drain finds all that was admitted");
}

fn settled(inbox: &Inbox<u32>) {
    inbox.wait_settled(|| true);
}

#[test]
fn l5_a_reserved_place_holds_the_closer() {
    every(|| close(settled));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_inbox_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(|| close(settled)));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_inbox_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(|| close(settled)));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_inbox_twin_that_does_not_wait() {
    every(|| close(|_| ()));
}

/// One value waits in an inbox of two places; a worker takes it, a publisher pushes another, the closer
/// must not count the first as waiting and its place as free.
fn close_beside_a_worker() {
    let gate = Arc::new(Gate::new());
    let inbox = Arc::new(Inbox::new(2));
    push_trying(&inbox, 1);
    let publisher = thread::spawn({
        let (gate, inbox) = (Arc::clone(&gate), Arc::clone(&inbox));
        move || {
            assert!(inbox.reserve(), "there is room");
            BARRIER.light();
            let is_open = gate.is_open();
            if is_open {
                inbox.push(2);
            } else {
                inbox.give_back(1, BARRIER);
            }
            u32::from(is_open)
        }
    });
    let worker = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            let taken = inbox.pop();
            if taken.is_some() {
                inbox.give_back(1, BARRIER);
            }
            u32::from(taken.is_some())
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    settled(&inbox);
    let mut drained = 0;
    while inbox.pop().is_some() {
        drained += 1;
    }
    let admitted = 1 + publisher.join().unwrap();
    drained += worker.join().unwrap();
    assert_eq!(drained, admitted, "no place is counted twice");
}

#[test]
fn l5_edge_settle_no_place_is_counted_twice() {
    bounded(close_beside_a_worker);
}

#[test]
#[should_panic(expected = "no place is counted twice")]
fn l5_edge_settle_twin_without_release() {
    weakened(Weakness::NoRelease("settle"), || {
        bounded(close_beside_a_worker);
    });
}

#[test]
#[should_panic(expected = "no place is counted twice")]
fn l5_edge_settle_twin_without_acquire() {
    weakened(Weakness::NoAcquire("settle"), || {
        bounded(close_beside_a_worker);
    });
}

/// The inbox itself is made by the publisher, while the gate is shut.
fn close_a_new_inbox() {
    let gate = Arc::new(Gate::new());
    let port = Arc::new(Port::<u32, u32>::new(1));
    let publisher = thread::spawn({
        let (gate, port) = (Arc::clone(&gate), Arc::clone(&port));
        move || {
            let inbox = port.inbox(0);
            assert!(inbox.reserve(), "there is room");
            BARRIER.light();
            let is_open = gate.is_open();
            if is_open {
                inbox.push(1);
            } else {
                inbox.give_back(1, BARRIER);
            }
            u32::from(is_open)
        }
    });
    gate.advance(GateState::Shut);
    BARRIER.heavy();
    let drained = port.used_inbox(0).map_or(0, |inbox| {
        settled(inbox);
        u32::from(inbox.pop().is_some())
    });
    let admitted = publisher.join().unwrap();
    assert_eq!(drained, admitted, "the drain finds all that was admitted");
}

#[test]
fn l5_an_inbox_made_while_closing_is_found() {
    every(close_a_new_inbox);
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_twin_of_a_new_inbox_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(close_a_new_inbox));
}

#[test]
#[should_panic(expected = "the drain finds all that was admitted")]
fn l5_twin_of_a_new_inbox_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(close_a_new_inbox));
}

/// A publisher waits for a place in a full inbox the way `publish` does.
fn reserve_waiting(inbox: &Inbox<u32>) {
    let room = Arc::new(Room::new());
    while inbox.is_deferred() || !inbox.reserve() {
        inbox.start_waiting(&room);
        room.announce(BARRIER);
        if inbox.has_room() {
            room.cancel();
        } else {
            room.sleep(None);
        }
        inbox.stop_waiting(&room);
    }
}

fn wait_for_a_place() {
    let inbox = Arc::new(Inbox::new(1));
    push_trying(&inbox, 1);
    let publisher = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            reserve_waiting(&inbox);
            inbox.push(2);
        }
    });
    assert_eq!(inbox.pop(), Some(1));
    inbox.give_back(1, BARRIER);
    publisher.join().unwrap();
    assert_eq!(inbox.pop(), Some(2));
}

#[test]
fn l6_no_publisher_sleeps_beside_a_free_place() {
    every(wait_for_a_place);
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_inbox_twin_without_the_light_barrier() {
    weakened(Weakness::NoLight, || every(wait_for_a_place));
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_inbox_twin_without_the_heavy_barrier() {
    weakened(Weakness::NoHeavy, || every(wait_for_a_place));
}

/// Two publishers wait for the same place: one after the other gets it.
#[test]
fn l6_two_publishers_wait_for_one_place() {
    bounded(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert!(inbox.reserve());
        let publishers = [(), ()].map(|()| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                reserve_waiting(&inbox);
                inbox.give_back(1, BARRIER);
            })
        });
        inbox.give_back(1, BARRIER);
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}

/// A publisher waits because a worker's spill holds events for the inbox.
fn wait_for_the_spill() {
    let inbox = Arc::new(Inbox::new(2));
    inbox.spill(1);
    let publisher = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            reserve_waiting(&inbox);
            inbox.push(2);
        }
    });
    assert_eq!(inbox.flush(BARRIER), (1, 1));
    publisher.join().unwrap();
    assert_eq!([inbox.pop(), inbox.pop()], [Some(1), Some(2)]);
}

#[test]
fn l6_the_last_deferred_event_lets_publishers_in() {
    every(wait_for_the_spill);
}

#[test]
#[should_panic(expected = "deadlock")]
fn l6_deferred_twin_that_calls_nobody() {
    weakened(Weakness::NoWakeCall, || every(wait_for_the_spill));
}

/// One worker spills for a full inbox; another publishes after that, when there may be room again; the
/// inbox's worker takes what comes.
fn spill_and_follow(looks_at_the_spill: bool) {
    let inbox = Arc::new(Inbox::new(1));
    push_trying(&inbox, 0);
    let spilled = Arc::new(AtomicU32::new(0));
    let first = thread::spawn({
        let (inbox, spilled) = (Arc::clone(&inbox), Arc::clone(&spilled));
        move || {
            inbox.spill(1);
            // Release and Acquire: the second publish comes after the first has returned.
            spilled.store(1, Ordering::Release);
        }
    });
    let second = thread::spawn({
        let (inbox, spilled) = (Arc::clone(&inbox), Arc::clone(&spilled));
        move || {
            if spilled.load(Ordering::Acquire) == 0 {
                return false;
            }
            let may_enter = !looks_at_the_spill || !inbox.is_deferred();
            if may_enter && inbox.reserve() {
                inbox.push(2);
            } else {
                inbox.spill(2);
            }
            true
        }
    });
    let mut seen = Vec::new();
    seen.extend(inbox.pop());
    inbox.give_back(1, BARRIER);
    first.join().unwrap();
    let followed = second.join().unwrap();
    let count = if followed { 3 } else { 2 };
    while seen.len() < count {
        inbox.flush(BARRIER);
        if let Some(value) = inbox.pop() {
            inbox.give_back(1, BARRIER);
            seen.push(value);
        }
    }
    assert!(seen.is_sorted(), "what was spilled is not overtaken");
}

#[test]
fn l11_what_is_spilled_is_not_overtaken() {
    bounded(|| spill_and_follow(true));
}

#[test]
#[should_panic(expected = "what was spilled is not overtaken")]
fn l11_twin_that_does_not_look_at_the_spill() {
    bounded(|| spill_and_follow(false));
}

/// Two workers spill for a full inbox, one of them twice; its worker takes what comes. `goes_past` is
/// whether the one that spills twice would push past what it has spilled.
fn two_spill(goes_past: bool) {
    let inbox = Arc::new(Inbox::new(1));
    push_trying(&inbox, 0);
    let twice = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            inbox.spill(1);
            if (goes_past || !inbox.is_deferred()) && inbox.reserve() {
                inbox.push(2);
            } else {
                inbox.spill(2);
            }
        }
    });
    let once = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            inbox.spill(10);
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 4 {
        inbox.flush(BARRIER);
        if let Some(value) = inbox.pop() {
            inbox.give_back(1, BARRIER);
            seen.push(value);
        } else {
            thread::yield_now();
        }
    }
    twice.join().unwrap();
    once.join().unwrap();
    assert!(!inbox.is_deferred(), "publishers are let in again");
    seen.retain(|value| *value < 10);
    assert!(seen.is_sorted(), "what was spilled is not overtaken");
}

#[test]
fn l11_two_spilling_workers_keep_their_order() {
    bounded(|| two_spill(false));
}

#[test]
#[should_panic(expected = "what was spilled is not overtaken")]
fn l11_twin_of_two_that_goes_past_its_own_spill() {
    bounded(|| two_spill(true));
}

/// What is held back moves in; whoever is let in finds it there.
fn let_in() {
    let inbox = Arc::new(Inbox::new(2));
    inbox.spill(1);
    let worker = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            inbox.flush(BARRIER);
        }
    });
    if !inbox.is_deferred() {
        assert_eq!(inbox.pop(), Some(1), "what was spilled is inside");
    }
    worker.join().unwrap();
}

#[test]
fn l11_edge_deferred_what_was_spilled_is_inside_before_anybody_is_let_in() {
    every(let_in);
}

#[test]
#[should_panic(expected = "what was spilled is inside")]
fn l11_edge_deferred_twin_without_release() {
    weakened(Weakness::NoRelease("deferred"), || every(let_in));
}

#[test]
#[should_panic(expected = "what was spilled is inside")]
fn l11_edge_deferred_twin_without_acquire() {
    weakened(Weakness::NoAcquire("deferred"), || every(let_in));
}
