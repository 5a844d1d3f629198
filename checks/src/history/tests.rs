//! The judge before small histories made by hand: a good one passes, and each way to tamper with it is seen.

use super::*;

/// Two publishers by the inboxes with one key, one by a lane with another, and two subscriptions, of which one leaves.
fn good() -> History {
    let publish = |publisher, number, key, way, turn| Publish {
        id: Id { publisher, number },
        kind: 0,
        key: Some(key),
        class: Class::Normal,
        way,
        start: turn,
        end: turn + 1,
        is_admitted: true,
    };
    let call = |place, publisher, number, order| Call {
        place,
        worker: 0,
        id: Id { publisher, number },
        order,
        ended: Ended::Handled,
        attempt: 1,
        is_last: true,
        is_redelivery: false,
    };
    let watched = |place: u32, name: &str, handled, withdrawal| Watched {
        place,
        name: name.to_owned(),
        kind: 0,
        pool: "default".to_owned(),
        is_ordered: true,
        is_sequential: false,
        from: 1,
        withdrawal,
        counts: DeliveryCounts {
            admitted: handled,
            handled,
            ..DeliveryCounts::default()
        },
    };
    History {
        publishes: vec![
            publish(1, 0, 7, Way::Inbox, 10),
            publish(2, 0, 7, Way::Inbox, 20),
            publish(1, 1, 7, Way::Inbox, 30),
            publish(3, 0, 8, Way::Lane, 40),
            publish(3, 1, 8, Way::Lane, 50),
            publish(3, 2, 8, Way::Lane, 80),
        ],
        calls: vec![
            call(0, 1, 0, 12),
            call(1, 1, 0, 13),
            call(0, 2, 0, 22),
            call(1, 2, 0, 23),
            call(0, 1, 1, 32),
            call(1, 1, 1, 33),
            call(0, 3, 0, 60),
            call(1, 3, 0, 61),
            call(0, 3, 1, 62),
            call(0, 3, 2, 83),
        ],
        subscriptions: vec![
            watched(0, "stays", 6, None),
            watched(1, "leaves", 4, Some((64, 70))),
        ],
    }
}

/// Changes the good history and expects complaints about these promises, and no others.
fn check_tampered(tamper: impl FnOnce(&mut History), expected: &[&str]) {
    let mut history = good();
    tamper(&mut history);
    let told = check(&history);
    let mut promises: Vec<&str> = told
        .iter()
        .filter_map(|text| Some(text.split_once(": ")?.0))
        .collect();
    promises.sort_unstable();
    promises.dedup();
    assert_eq!(promises, expected, "{told:#?}");
}

/// The call of a place with an event.
fn call_of(history: &mut History, place: u32, publisher: u32, number: u32) -> &mut Call {
    let id = Id { publisher, number };
    history
        .calls
        .iter_mut()
        .find(|call| call.place == place && call.id == id)
        .expect("such a call")
}

/// The last two events of the lane, published one right after the other, are handled the other way round.
fn swap_last_two(history: &mut History) {
    history.publishes[5].start = 55;
    call_of(history, 0, 3, 1).order = 83;
    call_of(history, 0, 3, 2).order = 62;
}

#[test]
fn a_good_history_passes() {
    check_tampered(|_| {}, &[]);
}

#[test]
fn pd2_a_stream_out_of_order_is_seen() {
    check_tampered(swap_last_two, &["PD2"]);
}

#[test]
fn pd2_order_is_asked_for_neither_across_classes_nor_of_unordered_pools() {
    let unordered = |history: &mut History| {
        swap_last_two(history);
        history.subscriptions[0].is_ordered = false;
    };
    check_tampered(unordered, &[]);
    let of_two_classes = |history: &mut History| {
        swap_last_two(history);
        history.publishes[4].class = Class::Low;
    };
    check_tampered(of_two_classes, &[]);
}

#[test]
fn pd2_a_key_at_two_workers_is_seen() {
    check_tampered(|history| call_of(history, 0, 3, 1).worker = 1, &["PD2"]);
}

#[test]
fn pd2_effects_before_causes_are_seen_through_the_inboxes_only() {
    let swap = |history: &mut History| {
        call_of(history, 0, 1, 0).order = 22;
        call_of(history, 0, 2, 0).order = 21;
        // What was called is as it was: only the order of two publishers is another.
        history.publishes[1].start = 19;
    };
    check_tampered(swap, &["PD2 (causal)"]);
    let by_lanes = |history: &mut History| {
        swap(history);
        for publish in &mut history.publishes {
            publish.way = Way::Lane;
        }
    };
    check_tampered(by_lanes, &[]);
    let at_the_same_time = |history: &mut History| {
        swap(history);
        history.publishes[0].end = 20;
    };
    check_tampered(at_the_same_time, &[]);
}

#[test]
fn pd8_a_loss_is_seen() {
    let lose = |history: &mut History| {
        history.calls.pop();
        history.subscriptions[0].counts.handled -= 1;
        history.subscriptions[0].counts.admitted -= 1;
    };
    // The engine's counters lie along with it, and it is seen all the same.
    check_tampered(lose, &["PD1", "PD8"]);
    let abandoned = |history: &mut History| {
        history.calls.pop();
        history.subscriptions[0].counts.handled -= 1;
        history.subscriptions[0].counts.abandoned += 1;
    };
    check_tampered(abandoned, &[]);
}

#[test]
fn pd8_a_duplicate_is_seen() {
    let repeat = |history: &mut History| {
        let again = Call {
            order: 90,
            ..call_of(history, 0, 3, 2).clone()
        };
        history.calls.push(again);
        history.subscriptions[0].counts.handled += 1;
        history.subscriptions[0].counts.admitted += 1;
    };
    check_tampered(repeat, &["PD1", "PD8"]);
}

/// Puts a failed attempt before the call of the first publisher's first event, and numbers both.
fn retried(history: &mut History, numbers: [u32; 2], is_last: bool) {
    let call = call_of(history, 0, 1, 0);
    let failed = Call {
        order: call.order - 1,
        ended: Ended::Failed,
        attempt: numbers[0],
        is_last,
        ..call.clone()
    };
    call.attempt = numbers[1];
    history.calls.push(failed);
}

#[test]
fn ro1_attempts_are_one_outcome_and_follow_each_other() {
    check_tampered(|history| retried(history, [1, 2], false), &[]);
    check_tampered(|history| retried(history, [1, 3], false), &["PD8"]);
    check_tampered(|history| retried(history, [2, 3], false), &["PD8"]);
    // The last one, and yet another.
    check_tampered(|history| retried(history, [1, 2], true), &["PD8"]);
}

#[test]
fn dq2_a_redelivery_follows_what_has_failed_for_good() {
    let replayed = |is_kept: bool| {
        move |history: &mut History| {
            retried(history, [1, 1], true);
            call_of(history, 0, 1, 0).is_redelivery = true;
            let counts = &mut history.subscriptions[0].counts;
            counts.admitted += 1;
            counts.dead_lettered += u64::from(is_kept);
            counts.skipped += u64::from(!is_kept);
        }
    };
    check_tampered(replayed(true), &[]);
    check_tampered(replayed(false), &["PD8"]);
}

#[test]
fn pd8_counters_that_differ_from_the_record_are_seen() {
    check_tampered(
        |history| history.subscriptions[1].counts.failed += 1,
        &["PD8"],
    );
    check_tampered(
        |history| call_of(history, 0, 1, 0).ended = Ended::Failed,
        &["PD8"],
    );
}

#[test]
fn pd1_a_refused_event_that_is_handled_is_seen() {
    let refuse = |history: &mut History| {
        history.publishes[5].is_admitted = false;
        history.subscriptions[0].counts.admitted = 6;
    };
    check_tampered(refuse, &["PD1"]);
}

#[test]
fn pd7_a_call_behind_unsubscribe_is_seen() {
    check_tampered(|history| call_of(history, 1, 3, 0).order = 71, &["PD7"]);
}

#[test]
fn pd7_an_event_that_a_subscription_did_not_see_is_seen() {
    let lose = |history: &mut History| {
        history
            .calls
            .retain(|call| call.place != 1 || call.id.publisher != 2);
        history.subscriptions[1].counts.handled -= 1;
        history.subscriptions[1].counts.admitted -= 1;
    };
    check_tampered(lose, &["PD7"]);
    // Published before it came, or the last one in the worker's hands: not promised.
    let before = |history: &mut History| {
        lose(history);
        history.subscriptions[1].from = 21;
    };
    check_tampered(before, &[]);
}

#[test]
fn what_nobody_published_is_seen() {
    let invent = |history: &mut History| {
        let call = call_of(history, 0, 3, 2);
        call.id.number = 9;
    };
    check_tampered(invent, &["PD8", "record"]);
}

#[test]
fn every_fault_that_can_be_planted_is_seen() {
    for fault in [
        "reorder",
        "causal",
        "loss",
        "duplicate",
        "late",
        "uncounted",
    ] {
        let mut history = good();
        assert!(
            plant(&mut history, fault),
            "{fault}: nothing to tamper with"
        );
        assert!(!check(&history).is_empty(), "{fault} is not seen");
    }
}
