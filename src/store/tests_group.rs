//! Groups against what they promise.

use super::tests_common::{Count, LONG, append, at_once, tiny};
use super::*;
use crate::event::AsKey;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The numbers that a member is given; what it is given is left unacknowledged.
fn numbers(member: &mut Member, max: usize) -> Vec<u64> {
    match member.next_batch(max, Duration::ZERO) {
        Ok(Signal::Events(events)) => events
            .map(|record| record.view::<Count>().unwrap().number)
            .collect(),
        Ok(Signal::TimedOut) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn per_writer(store: &EventStore, writers: u64, each: u64) {
    for number in 0..each {
        for writer in 0..writers {
            let count = Count { writer, number };
            store
                .append(&format!("w{writer}"), ExpectedVersion::Any, &count)
                .unwrap();
        }
    }
}

#[test]
fn partitions_are_dealt_out_evenly_and_move_seldom() {
    let store = tiny(Retention::everything());
    let group = store.group("g").partitions(16).open().unwrap();
    let mut members: Vec<Member> = Vec::new();
    let mut before: Vec<Vec<usize>> = Vec::new();
    for count in 1..=20 {
        members.push(group.join().unwrap());
        for _ in 0..2 {
            for member in &mut members {
                member.ack();
            }
        }
        let dealt: Vec<_> = members.iter_mut().map(Member::partitions).collect();
        let mut all: Vec<usize> = dealt.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..16).collect::<Vec<_>>(), "{dealt:?}");
        for (number, partitions) in dealt.iter().enumerate() {
            assert!((16 / count..=16_usize.div_ceil(count)).contains(&partitions.len()));
            // Who was there before has got nothing.
            if let Some(before) = before.get(number) {
                assert!(
                    partitions
                        .iter()
                        .all(|partition| before.contains(partition))
                );
            }
        }
        before = dealt;
    }
    drop(members.split_off(1));
    assert_eq!(members[0].partitions(), (0..16).collect::<Vec<_>>());
    assert_eq!(group.members(), 1);
}

#[test]
fn a_partition_changes_hands_only_when_its_owner_is_done_with_it() {
    let store = tiny(Retention::everything());
    append(&store, 0..20);
    let group = store.group("g").partitions(1).open().unwrap();
    let mut one = group.join().unwrap();
    assert_eq!(numbers(&mut one, 5), [0, 1, 2, 3, 4]);
    one.ack();
    assert_eq!(numbers(&mut one, 3), [5, 6, 7]);
    let mut two = group.join().unwrap();
    // One keeps what it has; a second leaves, and it is nobody else's.
    assert_eq!(numbers(&mut two, 3), [0; 0]);
    assert_eq!(group.checkpoints(), [5]);
    // One leaves without an acknowledgement.
    drop(one);
    assert_eq!(numbers(&mut two, 2), [5, 6]);
    two.ack();
    assert_eq!(group.checkpoints(), [7]);
    let mut three = group.join().unwrap();
    assert_eq!(numbers(&mut two, 2), [7, 8]);
    drop(two);
    assert_eq!(numbers(&mut three, 100), (7..20).collect::<Vec<_>>());
    drop(three);
    assert_eq!(group.checkpoints(), [7]);
    assert_eq!(
        store.group("g").open().unwrap_err().to_string(),
        "group \"g\" has 1 partitions, not 16"
    );
    assert!(store.forget_group("g") && !store.forget_group("g"));
}

#[test]
fn an_owner_gives_a_partition_up_once_it_has_acknowledged_it() {
    let store = tiny(Retention::everything());
    per_writer(&store, 40, 3);
    let group = store.group("g").partitions(8).open().unwrap();
    let mut one = group.join().unwrap();
    assert_eq!(numbers(&mut one, 60).len(), 60);
    let mut two = group.join().unwrap();
    assert_eq!(numbers(&mut two, 60).len(), 0, "all are given to the other");
    let rest = numbers(&mut one, 60).len();
    assert!(
        (10..50).contains(&rest),
        "of the half that it keeps: {rest}"
    );
    assert_eq!(numbers(&mut two, 60).len(), 0);
    one.ack();
    assert_eq!(one.partitions().len(), 4);
    assert_eq!(two.partitions().len(), 4);
    assert_eq!(numbers(&mut two, 60).len(), 60 - rest);
    assert_eq!(numbers(&mut two, 60).len(), 0);
    two.ack();
    assert_eq!(group.checkpoints(), [120; 8]);
    assert!(!store.forget_group("g"));
}

#[test]
fn sd3_a_group_holds_what_was_not_acknowledged_or_says_what_is_gone() {
    for slow in [SlowReader::Block, SlowReader::Demote, SlowReader::Lossy] {
        let store = tiny(Retention::default().events(50));
        let group = store.group("g").partitions(4).slow(slow).open().unwrap();
        let mut member = group.join().unwrap();
        append(&store, 0..60);
        assert_eq!(numbers(&mut member, 10).len(), 10);
        member.ack();
        assert_eq!(numbers(&mut member, 10).len(), 10);
        append(&store, 60..600);
        let first = store.reader().first();
        match slow {
            SlowReader::Block => {
                assert!(first <= 10);
                drop(member);
                let mut member = group.join().unwrap();
                assert_eq!(numbers(&mut member, 1_000), (10..600).collect::<Vec<_>>());
                store.retain();
                assert!(store.reader().first() <= 10);
                member.ack();
                store.retain();
                assert!(store.reader().first() > 500);
            }
            SlowReader::Demote => {
                for _ in 0..2 {
                    let refused = member.next_batch(10, LONG).unwrap_err();
                    assert_eq!(refused, ReadError::Truncated { first });
                }
            }
            SlowReader::Lossy => {
                match member.next_batch(10, LONG).unwrap() {
                    Signal::Gap { from, to } => assert_eq!((from, to), (20, first)),
                    other => panic!("{other:?}"),
                }
                assert_eq!(store.log.counts.lost.load(Ordering::Relaxed), first - 20);
                assert_eq!(
                    numbers(&mut member, 1_000),
                    (first..600).collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn sd4_a_group_goes_on_from_checkpoints_that_were_kept() {
    let store = tiny(Retention::everything());
    per_writer(&store, 40, 3);
    let group = store.group("g").partitions(4).open().unwrap();
    let (mut one, mut two) = (group.join().unwrap(), group.join().unwrap());
    let mut given = numbers(&mut one, 13).len();
    given += numbers(&mut two, 5).len();
    one.ack();
    two.ack();
    numbers(&mut two, 5);
    let kept = group.checkpoints();
    assert!(kept.iter().any(|&checkpoint| checkpoint < 40));
    let again = store.group("again").checkpoints(kept).open().unwrap();
    let mut member = again.join().unwrap();
    loop {
        let more = numbers(&mut member, 10).len();
        if more == 0 {
            break;
        }
        given += more;
    }
    assert_eq!(given, 120);
    let beyond = store.group("beyond").checkpoints([3, 121]).open();
    assert!(matches!(beyond, Err(ReadError::Invalid(_))));
}

#[test]
fn a_member_that_sleeps_is_woken_by_what_becomes_its_own() {
    for _ in 0..50 {
        let store = tiny(Retention::everything());
        append(&store, 0..5);
        let group = store.group("g").partitions(1).open().unwrap();
        let mut one = group.join().unwrap();
        assert_eq!(numbers(&mut one, 2), [0, 1]);
        let mut two = group.join().unwrap();
        let stopper = two.stopper();
        at_once(vec![
            Box::new(move || {
                match two.next_batch(10, LONG).unwrap() {
                    Signal::Events(events) => assert_eq!(events.len(), 5),
                    other => panic!("{other:?}"),
                }
                two.ack();
                stopper.stop();
                assert!(matches!(two.next_batch(10, LONG), Ok(Signal::Stopped)));
            }),
            Box::new(move || drop(one)),
        ]);
    }
}

/// What the members of the test below have done so far.
struct Ledger {
    /// By key: how many were acknowledged, which is the next one's number.
    acked: Vec<u64>,
    /// By key: who has been given some that are not acknowledged.
    holder: Vec<Option<u64>>,
    total: u64,
    again: u64,
    stoppers: Vec<Stopper>,
    is_over: bool,
}

/// Members join, acknowledge, leave things unacknowledged, leave and come back, while events are appended and forgotten.
#[test]
fn every_event_once_for_a_life_that_is_acknowledged_and_in_order() {
    const KEYS: u64 = 64;
    const EACH: u64 = 600;
    let store = tiny(Retention::default().events(100));
    let group = store
        .group("g")
        .partitions(16)
        .slow(SlowReader::Block)
        .open()
        .unwrap();
    let ledger = Arc::new(Mutex::new(Ledger {
        acked: vec![0; KEYS as usize],
        holder: vec![None; KEYS as usize],
        total: 0,
        again: 0,
        stoppers: Vec::new(),
        is_over: false,
    }));
    let lives = Arc::new(AtomicU64::new(0));
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for number in 0..6_u64 {
        let (group, ledger, lives) = (group.clone(), Arc::clone(&ledger), Arc::clone(&lives));
        bodies.push(Box::new(move || {
            let mut draws = number;
            let mut draw = |below: u64| {
                draws += 1;
                ((draws * 0x9E37).as_key().hash().unwrap() >> 33) % below
            };
            loop {
                let life = lives.fetch_add(1, Ordering::Relaxed);
                let mut member = group.join().unwrap();
                {
                    let mut ledger = ledger.lock();
                    if ledger.is_over {
                        return;
                    }
                    ledger.stoppers.push(member.stopper());
                }
                let mut pending = vec![0; KEYS as usize];
                let batches = 5 + draw(60);
                for _ in 0..batches {
                    // Nobody sleeps on what the others wait for.
                    let is_acked = pending.iter().all(|&pending| pending == 0);
                    let timeout = if is_acked { LONG } else { Duration::ZERO };
                    let mut is_done = draw(3) > 0;
                    match member.next_batch(1 + draw(40) as usize, timeout).unwrap() {
                        Signal::Events(events) => {
                            let mut ledger = ledger.lock();
                            for record in events {
                                let count = *record.view::<Count>().unwrap();
                                let key = count.writer as usize;
                                let holder = *ledger.holder[key].get_or_insert(life);
                                assert_eq!(holder, life, "two have key {key}");
                                assert_eq!(count.number, ledger.acked[key] + pending[key]);
                                pending[key] += 1;
                            }
                        }
                        Signal::Stopped => break,
                        Signal::TimedOut if !is_acked => is_done = true,
                        other => panic!("{other:?}"),
                    }
                    if is_done {
                        let mut ledger = ledger.lock();
                        for (key, pending) in pending.iter_mut().enumerate() {
                            ledger.acked[key] += *pending;
                            ledger.total += *pending;
                            *pending = 0;
                            if ledger.holder[key] == Some(life) {
                                ledger.holder[key] = None;
                            }
                        }
                        member.ack();
                        if ledger.total == KEYS * EACH {
                            ledger.is_over = true;
                            ledger.stoppers.iter().for_each(Stopper::stop);
                        }
                    }
                }
                let mut ledger = ledger.lock();
                for holder in &mut ledger.holder {
                    if *holder == Some(life) {
                        *holder = None;
                    }
                }
                ledger.again += pending.iter().sum::<u64>();
                drop(member);
                if ledger.is_over {
                    return;
                }
            }
        }));
    }
    for writer in 0..4 {
        let store = store.clone();
        bodies.push(Box::new(move || {
            for number in 0..EACH {
                for key in (writer..KEYS).step_by(4) {
                    let count = Count {
                        writer: key,
                        number,
                    };
                    let stream = format!("k{key}");
                    store.append(&stream, ExpectedVersion::Any, &count).unwrap();
                }
            }
        }));
    }
    at_once(bodies);
    let ledger = ledger.lock();
    assert_eq!(ledger.acked, [EACH; KEYS as usize]);
    assert!(ledger.again > 0 && lives.load(Ordering::Relaxed) > 12);
    // Who was stopped may not have seen that the rest is not its own.
    assert_eq!(numbers(&mut group.join().unwrap(), 1), [0; 0]);
    assert_eq!(group.checkpoints(), [KEYS * EACH; 16]);
    store.retain();
    assert!(store.reader().first() > KEYS * EACH - 200);
}
