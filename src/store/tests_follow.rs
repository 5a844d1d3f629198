//! Followers against what they promise.

use super::tests_common::{Count, LONG, append, append_together, at_once, tiny};
use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};

fn everything() -> EventStore {
    tiny(Retention::everything())
}

/// The positions of the events it is given, up to the first signal that is something else.
fn positions(follower: &mut Follower) -> Vec<u64> {
    let mut positions = Vec::new();
    while let Signal::Events(events) = follower.next(Duration::ZERO).unwrap() {
        positions.extend(events.map(|record| record.position()));
    }
    positions
}

/// The signal as text, events as their positions.
fn told(follower: &mut Follower, max: usize) -> String {
    match follower.next_batch(max, Duration::ZERO) {
        Ok(Signal::Events(events)) => {
            let positions: Vec<_> = events.map(|record| record.position()).collect();
            format!("{positions:?}")
        }
        Ok(signal) => format!("{signal:?}"),
        Err(error) => format!("{error:?}"),
    }
}

/// How these positions are told.
fn range(range: std::ops::Range<u64>) -> String {
    format!("{:?}", range.collect::<Vec<_>>())
}

#[test]
fn sd1_starts_are_exclusive_and_nothing_is_skipped_unsaid() {
    let store = everything();
    let start = |start| store.follow(start).open();
    let mut before = start(Start::Start).unwrap();
    assert!(start(Start::After(0)).is_err());
    append(&store, 0..100);
    assert_eq!(positions(&mut before), (0..100).collect::<Vec<_>>());
    let mut end = start(Start::End).unwrap();
    append(&store, 100..110);
    let check = |mut follower: Follower, first: u64| {
        assert_eq!(positions(&mut follower), (first..110).collect::<Vec<_>>());
    };
    assert!(matches!(end.next(LONG), Ok(Signal::Events(_))));
    check(start(Start::Start).unwrap(), 0);
    check(start(Start::After(0)).unwrap(), 1);
    check(start(Start::After(99)).unwrap(), 100);
    check(start(Start::After(109)).unwrap(), 110);
    for beyond in [110, u64::MAX - 1, u64::MAX] {
        let refused = start(Start::After(beyond)).unwrap_err();
        assert!(matches!(refused, ReadError::Invalid(_)), "{refused}");
    }
}

#[test]
fn sd1_a_start_below_what_is_kept_says_so() {
    for slow in [SlowReader::Block, SlowReader::Demote, SlowReader::Lossy] {
        let store = tiny(Retention::default().events(50));
        append(&store, 0..500);
        let first = store.reader().first();
        assert!(first > 400);
        for position in [0, first / 2, first - 2] {
            let refused = store.follow(Start::After(position)).slow(slow).open();
            assert_eq!(refused.unwrap_err(), ReadError::Truncated { first });
        }
        for start in [Start::Start, Start::After(first - 1)] {
            let mut follower = store.follow(start).slow(slow).open().unwrap();
            assert_eq!(positions(&mut follower), (first..500).collect::<Vec<_>>());
        }
    }
}

#[test]
fn sd1_a_batch_is_never_cut() {
    let store = everything();
    append_together(&store, 0..3);
    append_together(&store, 3..103);
    append(&store, 103..105);
    append_together(&store, 105..107);
    let mut follower = store.follow(Start::Start).open().unwrap();
    assert_eq!(told(&mut follower, 1), range(0..3));
    assert_eq!(told(&mut follower, 99), range(3..103));
    assert_eq!(told(&mut follower, 0), range(103..104));
    assert_eq!(told(&mut follower, 2), range(104..107));
    assert_eq!(told(&mut follower, 2), "CaughtUp");
    assert_eq!(told(&mut follower, 2), "TimedOut");
}

#[test]
fn sd1_an_append_whose_beginning_is_forgotten_is_not_begun_in_its_middle() {
    let store = tiny(Retention::default().events(1));
    let mut lossy = store
        .follow(Start::Start)
        .slow(SlowReader::Lossy)
        .open()
        .unwrap();
    append(&store, 0..10);
    append_together(&store, 10..100);
    append(&store, 100..102);
    // Retention lets go of whole appends, or waits.
    assert_eq!(store.reader().first(), 0);
    append(&store, 102..140);
    let kept = store.reader().first();
    assert!(kept >= 100, "the long append is cut: {kept}");
    let mut follower = store.follow(Start::Start).open().unwrap();
    assert_eq!(positions(&mut follower), (kept..140).collect::<Vec<_>>());
    assert_eq!(
        told(&mut lossy, 10),
        format!("Gap {{ from: 0, to: {kept} }}")
    );
    assert_eq!(
        store.follow(Start::After(5)).open().unwrap_err(),
        ReadError::Truncated { first: kept }
    );
}

#[test]
fn sd2_each_change_is_told_once() {
    let store = everything();
    let mut follower = store
        .follow(Start::Start)
        .fell_behind_after(5)
        .open()
        .unwrap();
    assert_eq!(told(&mut follower, 2), "CaughtUp");
    assert_eq!(told(&mut follower, 2), "TimedOut");
    append(&store, 0..5);
    assert_eq!(told(&mut follower, 2), "[0, 1]");
    append(&store, 5..10);
    assert_eq!(told(&mut follower, 2), "FellBehind { by: 8 }");
    assert_eq!(told(&mut follower, 2), "[2, 3]");
    append(&store, 10..20);
    assert!(!follower.is_live());
    assert_eq!(told(&mut follower, 100), range(4..20));
    append(&store, 20..26);
    // More than it may lag has come since it had all: it does not count as caught up.
    assert_eq!(told(&mut follower, 1), "[20]");
    assert_eq!(told(&mut follower, 100), "[21, 22, 23, 24, 25]");
    append(&store, 26..31);
    assert_eq!(told(&mut follower, 100), "CaughtUp");
    assert_eq!(told(&mut follower, 100), "[26, 27, 28, 29, 30]");
    assert_eq!(told(&mut follower, 100), "TimedOut");
    assert!(follower.is_live());
}

#[test]
fn sd2_no_gap_and_no_duplicate_where_catching_up_ends() {
    for round in 0..150 {
        let store = tiny(Retention::everything());
        append(&store, 0..round);
        let total = round + 300;
        let (writer, reader) = (store.clone(), store.clone());
        at_once(vec![
            Box::new(move || {
                for number in (round..total).step_by(3) {
                    append(&writer, number..number + 1);
                    append_together(&writer, number + 1..number + 3);
                }
            }),
            Box::new(move || {
                let mut follower = reader.follow(Start::Start).batch_max(7).open().unwrap();
                let (mut next, mut seams) = (0, 0);
                while next < total {
                    let is_live = follower.is_live();
                    match follower.next(LONG).unwrap() {
                        Signal::Events(events) => {
                            for record in events {
                                assert_eq!(record.position(), next);
                                assert_eq!(record.view::<Count>().unwrap().number, next);
                                next += 1;
                            }
                        }
                        Signal::CaughtUp => {
                            assert!(!is_live);
                            seams += 1;
                        }
                        other => panic!("{other:?} at {next}"),
                    }
                }
                assert!(seams <= 1);
            }),
        ]);
    }
}

/// 32 threads append, 8 follow; segments are tiny and forgotten as soon as they may be.
#[test]
fn sd2_tailing_followers_of_racing_appends_lose_nothing_unsaid() {
    const WRITERS: u64 = 32;
    const EACH: u64 = 6_250;
    const TOTAL: u64 = WRITERS * EACH;
    let store = tiny(Retention::default().events(2_000));
    let overtaken = Arc::new(AtomicU64::new(0));
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for number in 0..8 {
        let slow = match number {
            0..4 => SlowReader::Block,
            4..6 => SlowReader::Demote,
            _ => SlowReader::Lossy,
        };
        let mut follower = store
            .follow(Start::Start)
            .slow(slow)
            .batch_max(1 + number * 40)
            .fell_behind_after(500)
            .open()
            .unwrap();
        let overtaken = Arc::clone(&overtaken);
        bodies.push(Box::new(move || {
            let (mut next, mut gaps, mut given) = (0, 0, 0);
            let mut numbers = [0; WRITERS as usize];
            let mut is_live = false;
            while next < TOTAL {
                match follower.next(LONG) {
                    Ok(Signal::Events(events)) => {
                        let position = events.position();
                        for record in events {
                            assert_eq!(record.position(), next, "{slow:?}");
                            next += 1;
                            given += 1;
                            let count = record.view::<Count>().unwrap();
                            let number = &mut numbers[count.writer as usize];
                            assert!(
                                count.number == *number || gaps > 0 && count.number > *number,
                                "{slow:?}"
                            );
                            *number = count.number + 1;
                        }
                        assert_eq!(position + 1, next);
                    }
                    Ok(Signal::CaughtUp) => {
                        assert!(!is_live);
                        is_live = true;
                    }
                    Ok(Signal::FellBehind { by }) => {
                        assert!(is_live && by > 500);
                        is_live = false;
                    }
                    Ok(Signal::Gap { from, to }) => {
                        assert!(slow == SlowReader::Lossy && from == next && to > from);
                        gaps += to - from;
                        next = to;
                    }
                    Err(ReadError::Truncated { first }) => {
                        assert!(slow == SlowReader::Demote && first > next);
                        overtaken.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    other => panic!("{other:?} at {next}"),
                }
            }
            assert_eq!((given + gaps, follower.lost()), (TOTAL, gaps));
        }));
    }
    for writer in 0..WRITERS {
        let store = store.clone();
        bodies.push(Box::new(move || {
            for number in 0..EACH {
                store
                    .append(
                        &format!("s{writer}"),
                        ExpectedVersion::Any,
                        &Count { writer, number },
                    )
                    .unwrap();
            }
        }));
    }
    at_once(bodies);
    assert!(overtaken.load(Ordering::Relaxed) <= 2);
    // Whoever held it is gone: now it is forgotten.
    store.retain();
    assert!(store.reader().first() > TOTAL - 2_100);
}

#[test]
fn sd3_blocking_holds_what_it_was_not_given_and_lets_go_of_the_rest() {
    let store = tiny(Retention::default().events(1));
    let mut follower = store
        .follow(Start::Start)
        .slow(SlowReader::Block)
        .filter(RecordFilter::new(|record| {
            record.view::<Count>().unwrap().number != 150
        }))
        .open()
        .unwrap();
    append(&store, 0..500);
    let first = || store.reader().first();
    assert_eq!(first(), 0);
    let given: Vec<_> = (0..150).chain(151..301).collect();
    assert_eq!(told(&mut follower, 300), format!("{given:?}"));
    store.retain();
    // What was given is not handled yet.
    assert_eq!(first(), 0);
    assert!(matches!(
        follower.next_batch(1, LONG),
        Ok(Signal::Events(_))
    ));
    store.retain();
    assert!((250..=301).contains(&first()), "{}", first());
    assert_eq!(positions(&mut follower).len(), 198);
    store.retain();
    assert!(first() > 450);
    append(&store, 500..800);
    assert!((400..=500).contains(&first()), "{}", first());
    assert_eq!(positions(&mut follower), (500..800).collect::<Vec<_>>());
    append(&store, 800..900);
    let held = first();
    assert!(held <= 800);
    drop(follower);
    store.retain();
    assert!(first() > 850);
}

#[test]
fn sd3_a_demoted_follower_is_told_before_it_fails_and_fails_for_good() {
    let store = tiny(Retention::default().events(50));
    let mut follower = store.follow(Start::Start).open().unwrap();
    append(&store, 0..10);
    assert_eq!(positions(&mut follower).len(), 10);
    assert_eq!(told(&mut follower, 9), "TimedOut");
    append(&store, 10..500);
    let first = store.reader().first();
    // Not as far behind as would be told for itself, but overtaken.
    assert_eq!(told(&mut follower, 9), "FellBehind { by: 490 }");
    for _ in 0..3 {
        assert_eq!(
            told(&mut follower, 9),
            format!("Truncated {{ first: {first} }}")
        );
    }
    assert_eq!(follower.position(), Some(9));
    let mut follower = store.follow(Start::After(first - 1)).open().unwrap();
    assert_eq!(positions(&mut follower), (first..500).collect::<Vec<_>>());
}

#[test]
fn sd3_what_a_lossy_follower_loses_adds_up() {
    let store = tiny(Retention::default().events(50));
    let mut follower = store
        .follow(Start::Start)
        .slow(SlowReader::Lossy)
        .open()
        .unwrap();
    let (mut next, mut lost, mut gaps) = (0, 0, 0);
    for round in 0..50 {
        let end = (round + 1) * 100;
        append(&store, round * 100..end);
        loop {
            match follower.next_batch(3, Duration::ZERO).unwrap() {
                Signal::Events(events) => {
                    for record in events {
                        assert_eq!(record.position(), next);
                        next += 1;
                    }
                }
                Signal::Gap { from, to } => {
                    assert_eq!((from, to), (next, store.reader().first()));
                    lost += to - from;
                    gaps += 1;
                    next = to;
                }
                Signal::TimedOut => break,
                _ => {}
            }
            if round % 3 == 1 {
                break;
            }
        }
    }
    assert!(gaps > 10, "{gaps}");
    assert_eq!(follower.lost(), lost);
    assert_eq!(store.log.counts.lost.load(Ordering::Relaxed), lost);
    assert_eq!(follower.position(), Some(next - 1));
}

#[test]
fn sd3_who_has_all_of_a_forgotten_segment_has_lost_nothing() {
    let store = tiny(Retention::default().events(1));
    let mut follower = store.follow(Start::Start).open().unwrap();
    for number in 0..500 {
        append(&store, number..number + 1);
        let found = positions(&mut follower);
        assert!(found.is_empty() || found == [number]);
        if number % 2 == 1 {
            assert_eq!(told(&mut follower, 1), "TimedOut");
        }
        assert_eq!(follower.position(), Some(number));
    }
    assert!(store.reader().first() > 400);
}

#[test]
fn sd4_a_checkpoint_goes_on_where_it_was_taken() {
    let store = everything();
    for number in 0..300 {
        let stream = if number % 3 == 0 { "a" } else { "b" };
        let count = Count { writer: 0, number };
        store.append(stream, ExpectedVersion::Any, &count).unwrap();
        if number == 150 {
            store.append("gone", ExpectedVersion::Any, &count).unwrap();
            store.delete("gone", ExpectedVersion::Any).unwrap();
        }
    }
    let mut given = Vec::new();
    let mut checkpoint = Start::Start;
    loop {
        let mut follower = store
            .follow(checkpoint)
            .filter(RecordFilter::stream("a"))
            .open()
            .unwrap();
        for _ in 0..2 {
            if let Signal::Events(events) = follower.next_batch(7, Duration::ZERO).unwrap() {
                // The batch that comes next is given and not handled: it comes again.
                if checkpoint != follower_after(&events) {
                    checkpoint = follower_after(&events);
                    given.extend(events.map(|record| record.view::<Count>().unwrap().number));
                }
            }
        }
        if follower.is_live() {
            assert_eq!(follower.checkpoint(), Start::After(301));
            break;
        }
    }
    assert_eq!(given, (0..300).step_by(3).collect::<Vec<_>>());
}

fn follower_after(events: &Events<'_>) -> Start {
    Start::After(events.position())
}

#[test]
fn what_is_left_out_is_behind_it_all_the_same() {
    let store = everything();
    append(&store, 0..20_000);
    let mut follower = store
        .follow(Start::Start)
        .filter(RecordFilter::stream("s").not())
        .open()
        .unwrap();
    assert_eq!(follower.checkpoint(), Start::Start);
    assert_eq!(told(&mut follower, 1), "CaughtUp");
    assert_eq!(follower.position(), Some(19_999));
    store.delete("s", ExpectedVersion::Any).unwrap();
    assert_eq!(told(&mut follower, 1), "TimedOut");
    assert_eq!(follower.checkpoint(), Start::After(20_000));
}

#[test]
fn a_follower_that_sleeps_is_woken_to_stop() {
    for _ in 0..100 {
        let store = everything();
        let mut follower = store.follow(Start::Start).open().unwrap();
        let stopper = follower.stopper();
        assert!(matches!(follower.next(LONG), Ok(Signal::CaughtUp)));
        at_once(vec![
            Box::new(move || {
                for _ in 0..2 {
                    assert!(matches!(follower.next(Duration::MAX), Ok(Signal::Stopped)));
                }
            }),
            Box::new(move || stopper.stop()),
        ]);
    }
}

#[test]
fn sd2_a_filter_that_panics_loses_nothing() {
    let store = everything();
    append(&store, 0..10);
    let panics = Arc::new(AtomicU64::new(1));
    let left = Arc::clone(&panics);
    let mut follower = store
        .follow(Start::Start)
        .filter(RecordFilter::new(move |record| {
            assert!(record.position() != 5 || left.fetch_sub(1, Ordering::Relaxed) == 0);
            true
        }))
        .open()
        .unwrap();
    let caught = crate::event::contain(|| told(&mut follower, 100));
    assert!(caught.is_err());
    assert_eq!(follower.position(), None);
    assert_eq!(told(&mut follower, 100), range(0..10));
}

/// What is done to a store and a follower of it.
#[derive(Debug, Clone)]
enum Action {
    /// Appends so many events, together or one by one.
    Append { events: u64, is_together: bool },
    /// Appends a mark.
    Mark,
    /// Asks for so many events.
    Next { max: usize },
    /// Goes on with a follower of the checkpoint.
    Again,
}

fn action() -> impl proptest::strategy::Strategy<Value = Action> {
    use proptest::prelude::*;
    prop_oneof![
        3 => (1..60_u64, any::<bool>())
            .prop_map(|(events, is_together)| Action::Append { events, is_together }),
        1 => Just(Action::Mark),
        6 => (0..80_usize).prop_map(|max| Action::Next { max }),
        1 => Just(Action::Again),
    ]
}

/// Every record of the log as it must be: whether it passes the filter, and whether it ends its append.
#[derive(Default)]
struct Oracle(Vec<(bool, bool)>);

impl Oracle {
    /// What a call for `max` events may give from `next` on, with the log as it is: the positions, and where it goes on.
    fn batch(&self, next: u64, max: usize) -> (Vec<u64>, u64) {
        let mut given = Vec::new();
        for (&(passes, ends), position) in self.0[next as usize..].iter().zip(next..) {
            if passes {
                given.push(position);
            }
            if ends && given.len() >= max.max(1) {
                return (given, position + 1);
            }
        }
        (given, self.0.len() as u64)
    }
}

fn follows_as_the_oracle_says(slow: SlowReader, filtered: bool, actions: &[Action]) {
    let store = tiny(Retention::default().events(60));
    let mut oracle = Oracle::default();
    let open = |start| {
        let mut builder = store.follow(start).slow(slow).fell_behind_after(50);
        if filtered {
            let odd = |record: &Record<'_>| record.view::<Count>().unwrap().number % 2 == 1;
            builder = builder.filter(RecordFilter::new(odd));
        }
        builder.open()
    };
    let mut follower = open(Start::Start).unwrap();
    let (mut next, mut lost, mut is_live) = (0, 0, false);
    for action in actions {
        match *action {
            Action::Append {
                events,
                is_together,
            } => {
                let start = oracle.0.len() as u64;
                if is_together {
                    append_together(&store, start..start + events);
                } else {
                    append(&store, start..start + events);
                }
                for number in start..start + events {
                    let is_last = number + 1 == start + events;
                    let passes = !filtered || number % 2 == 1;
                    oracle.0.push((passes, is_last || !is_together));
                }
            }
            Action::Mark => {
                if !oracle.0.is_empty() {
                    store.truncate("s", 0).unwrap();
                    oracle.0.push((false, true));
                }
            }
            Action::Again => {
                if slow == SlowReader::Lossy || next < store.reader().first() || next == 0 {
                    continue;
                }
                follower = open(follower.checkpoint()).unwrap();
                is_live = false;
            }
            Action::Next { max } => {
                let first = store.reader().first();
                let end = oracle.0.len() as u64;
                match follower.next_batch(max, Duration::ZERO) {
                    Ok(Signal::Events(events)) => {
                        let (expected, behind) = oracle.batch(next, max);
                        assert_eq!(events.position() + 1, behind);
                        let given: Vec<_> = events.map(|record| record.position()).collect();
                        assert_eq!(given, expected);
                        next = behind;
                    }
                    Ok(Signal::CaughtUp) => {
                        assert!(!is_live && oracle.batch(next, 1).0.len() as u64 <= 50);
                        is_live = true;
                        next = follower.position().map_or(0, |position| position + 1);
                    }
                    Ok(Signal::FellBehind { by }) => {
                        assert!(is_live && by == end - next && (by > 50 || next < first));
                        is_live = false;
                    }
                    Ok(Signal::Gap { from, to }) => {
                        assert!(slow == SlowReader::Lossy && from == next && to == first);
                        lost += to - from;
                        next = to;
                    }
                    Ok(Signal::TimedOut) => {
                        assert!(is_live && oracle.batch(next, 1).0.is_empty());
                        next = end;
                    }
                    Err(error) => {
                        assert_eq!(error, ReadError::Truncated { first });
                        assert!(slow == SlowReader::Demote && next < first);
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!((follower.lost(), follower.is_live()), (lost, is_live));
                assert_eq!(follower.position(), next.checked_sub(1));
            }
        }
        if slow == SlowReader::Block {
            assert!(store.reader().first() <= next);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn sd2_a_follower_is_given_what_the_oracle_says(
        slow in proptest::sample::select(&[SlowReader::Block, SlowReader::Demote, SlowReader::Lossy][..]),
        filtered in proptest::bool::ANY,
        actions in proptest::collection::vec(action(), 1..80),
    ) {
        follows_as_the_oracle_says(slow, filtered, &actions);
    }
}
