//! Subscribing and unsubscribing beside publishing (W2, W3, R1).

use super::worker::{Letter, Letters, park};
use super::{BARRIER, Cell, bounded};
use crate::lane::{Flow, Room, lane};
use crate::sync::{Arc, thread};
use crate::table::Routes;
use crate::worker::Answer;

/// The event type of these models.
const TYPE: u32 = 0;

/// A subscription is installed, then the route to it opens, then a publisher that sees the route
/// sends an event.
fn subscribe(waits: bool) {
    let port = Arc::new(Letters::new(1));
    let routes = Arc::new(Routes::new());
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let worker = thread::spawn({
        let port = Arc::clone(&port);
        move || {
            let mut is_installed = false;
            loop {
                while let Some(letter) = port.take_control() {
                    match letter {
                        Letter::Install(answer) => {
                            is_installed = true;
                            answer.give(Ok(()));
                        }
                        Letter::Stop => return,
                        Letter::Remove(_) => unreachable!("not sent here"),
                    }
                }
                rx.take(8, BARRIER, |_, _| {
                    assert!(is_installed, "a worker knows a type before its events");
                    Flow::Next
                });
                park(&port, || rx.has_waiting());
            }
        }
    });
    let publisher = thread::spawn({
        let (port, routes) = (Arc::clone(&port), Arc::clone(&routes));
        move || {
            if routes.pools(TYPE) != 0 {
                assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
                port.wake.notify(BARRIER);
            }
        }
    });
    let answer = Answer::new(1);
    port.send(Letter::Install(Arc::clone(&answer)), BARRIER);
    if waits {
        answer.wait();
    }
    routes.set(TYPE, 1);
    publisher.join().unwrap();
    port.send(Letter::Stop, BARRIER);
    worker.join().unwrap();
}

#[test]
fn w2_a_worker_knows_a_type_before_its_events() {
    bounded(|| subscribe(true));
}

#[test]
#[should_panic(expected = "a worker knows a type before its events")]
fn w2_twin_that_opens_the_route_before_the_answer() {
    bounded(|| subscribe(false));
}

fn unsubscribe(waits: bool) {
    let port = Arc::new(Letters::new(1));
    let state = Arc::new(Cell::default());
    let (mut tx, mut rx) = lane(2, Arc::new(Room::new()));
    let worker = thread::spawn({
        let (port, state) = (Arc::clone(&port), Arc::clone(&state));
        move || {
            let mut is_installed = true;
            while is_installed {
                while let Some(letter) = port.take_control() {
                    if let Letter::Remove(answer) = letter {
                        is_installed = false;
                        answer.give(Ok(()));
                    }
                }
                rx.take(1, BARRIER, |_, _| {
                    if is_installed {
                        // The worker alone calls the handler until it has answered (W3).
                        state.touch();
                    }
                    Flow::Next
                });
                if is_installed {
                    park(&port, || rx.has_waiting());
                }
            }
        }
    });
    assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
    port.wake.notify(BARRIER);
    let answer = Answer::new(1);
    port.send(Letter::Remove(Arc::clone(&answer)), BARRIER);
    if waits {
        answer.wait();
    }
    // The worker has answered, so no call is in flight and none begins (W3).
    state.touch();
    worker.join().unwrap();
}

#[test]
fn w3_edge_answer_no_call_is_in_flight_after_unsubscribing() {
    bounded(|| unsubscribe(true));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn w3_edge_answer_twin_that_does_not_wait() {
    bounded(|| unsubscribe(false));
}

/// One thread subscribes and unsubscribes again, another publishes, the worker takes what comes.
fn come_and_go(waits_to_begin: bool, waits_at_the_end: bool) {
    let port = Arc::new(Letters::new(1));
    let routes = Arc::new(Routes::new());
    let state = Arc::new(Cell::default());
    let (mut tx, mut rx) = lane(1, Arc::new(Room::new()));
    let worker = thread::spawn({
        let (port, state) = (Arc::clone(&port), Arc::clone(&state));
        move || {
            let (mut is_installed, mut is_removed) = (false, false);
            while !is_removed {
                while let Some(letter) = port.take_control() {
                    match letter {
                        Letter::Install(answer) => {
                            is_installed = true;
                            answer.give(Ok(()));
                        }
                        Letter::Remove(answer) => {
                            is_removed = true;
                            answer.give(Ok(()));
                        }
                        Letter::Stop => unreachable!("not sent here"),
                    }
                }
                rx.take(8, BARRIER, |_, _| {
                    assert!(is_installed, "a bit leads to a worker that knows the type");
                    if !is_removed {
                        state.touch();
                    }
                    Flow::Next
                });
                if !is_removed {
                    park(&port, || rx.has_waiting());
                }
            }
        }
    });
    let publisher = thread::spawn({
        let (port, routes) = (Arc::clone(&port), Arc::clone(&routes));
        move || {
            if routes.pools(TYPE) != 0 {
                assert!(tx.push_with(|slot| slot.write(7_u32)), "there is room");
                port.wake.notify(BARRIER);
            }
        }
    });
    let installed = Answer::new(1);
    port.send(Letter::Install(Arc::clone(&installed)), BARRIER);
    if waits_to_begin {
        installed.wait();
    }
    routes.set(TYPE, 1);
    routes.set(TYPE, 0);
    let removed = Answer::new(1);
    port.send(Letter::Remove(Arc::clone(&removed)), BARRIER);
    if waits_at_the_end {
        removed.wait();
    }
    state.touch();
    publisher.join().unwrap();
    worker.join().unwrap();
}

#[test]
fn r1_a_bit_leads_to_a_worker_that_knows_the_type() {
    bounded(|| come_and_go(true, true));
}

#[test]
#[should_panic(expected = "a bit leads to a worker that knows the type")]
fn r1_twin_that_sets_the_bit_before_the_answer() {
    bounded(|| come_and_go(false, true));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn r1_twin_that_does_not_wait_for_the_removal() {
    bounded(|| come_and_go(true, false));
}
