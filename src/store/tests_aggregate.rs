//! Aggregates and their snapshots against a replay of everything.

use super::tests_common::{Count, append, at_once, tiny};
use super::*;
use crate::event::Codec;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, OnceLock};

/// Resets the sum to a number.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Reset {
    to: u64,
}

impl Event for Reset {
    const NAME: &'static str = "aggregate.reset";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

/// What all aggregates of these tests do.
#[derive(Debug, Default, Clone, PartialEq)]
struct Sum {
    sum: u64,
    events: u64,
}

impl Sum {
    fn take(&mut self, event: &Recorded<'_>) -> Result<(), ReadError> {
        if let Some(count) = event.decode_if::<Count>()? {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(count.number);
        } else {
            self.sum = event.decode::<Reset>()?.to;
        }
        self.events += 1;
        Ok(())
    }
}

macro_rules! aggregate {
    ($name:ident, $policy:expr) => {
        #[derive(Debug, Default, Clone)]
        struct $name(Sum);

        impl Aggregate for $name {
            fn apply(&mut self, event: &Recorded<'_>) -> Result<(), ReadError> {
                self.0.take(event)
            }
            fn snapshots() -> SnapshotPolicy {
                $policy
            }
        }
    };
}

aggregate!(Plain, SnapshotPolicy::never());
aggregate!(Every7, SnapshotPolicy::every(7));
aggregate!(Pinned, SnapshotPolicy::every(7).pinned());

fn count(number: u64) -> Count {
    Count { writer: 0, number }
}

fn add<A: Aggregate>(store: &EventStore, stream: &str, number: u64) -> Executed {
    let executed = store.execute(stream, 0, |_: &A, changes| {
        changes.push(&count(number));
        if number.is_multiple_of(5) {
            changes.push(&Reset { to: number });
        }
        Ok::<_, String>(())
    });
    executed.unwrap()
}

#[test]
fn snapshot_and_tail_are_what_a_replay_of_everything_is() {
    let store = tiny(Retention::everything());
    let mut snapshots = 0;
    let mut last = None;
    for number in 0..2_000 {
        if number % 3 == 0 {
            append(&store, number..number + 1);
        } else {
            add::<Every7>(&store, "s", number);
        }
        let snapshot = store.snapshot::<Every7>("s").map(|found| found.version());
        snapshots += u64::from(snapshot != last);
        last = snapshot;
        if number % 100 == 0 || number > 1_900 {
            let (all, some) = (
                store.load::<Plain>("s").unwrap(),
                store.load::<Every7>("s").unwrap(),
            );
            assert_eq!(all.state().0, some.state().0);
            assert_eq!(all.version(), some.version());
            assert_eq!(all.applied(), all.version().unwrap() + 1);
            assert!(some.applied() <= 8, "{}", some.applied());
        }
    }
    let events = store.load::<Plain>("s").unwrap().applied();
    assert!(
        (events / 10..=events / 7 + 1).contains(&snapshots),
        "{snapshots} of {events}"
    );
    assert!(store.snapshot::<Plain>("s").is_none());
    assert!(store.forget_snapshot::<Every7>("s") && !store.forget_snapshot::<Every7>("s"));
    let snapshot = store.take_snapshot::<Plain>("s").unwrap().unwrap();
    assert_eq!(snapshot.version() + 1, events);
    assert_eq!(store.load::<Plain>("s").unwrap().applied(), 0);
    assert!(store.take_snapshot::<Plain>("none").unwrap().is_none());
}

#[test]
fn a_decision_is_made_on_what_is_there_and_appended_where_it_was_made() {
    let store = tiny(Retention::everything());
    assert_eq!(
        store.load::<Plain>("s").unwrap().expected(),
        ExpectedVersion::NoStream
    );
    let first = add::<Plain>(&store, "s", 0);
    assert_eq!(
        first,
        Executed {
            version: Some(1),
            last_position: 1,
            events: 2,
            attempts: 1
        }
    );
    let nothing = store.execute("s", 0, |plain: &Plain, changes| {
        assert_eq!((plain.0.events, changes.is_empty()), (2, true));
        Ok::<_, String>(())
    });
    assert_eq!(nothing.unwrap().version, Some(1));
    let refused = store.execute("s", 0, |plain: &Plain, changes| {
        changes.push(&count(1));
        Err(plain.0.events)
    });
    assert_eq!(refused, Err(ExecuteError::Refused(2)));
    assert_eq!(store.reader().end(), 2);
    store.delete("s", ExpectedVersion::Any).unwrap();
    let gone = store.execute("s", 5, |_: &Plain, _| Ok::<_, String>(()));
    assert_eq!(
        gone.unwrap_err().to_string(),
        "stream \"s\" cannot be loaded: stream \"s\" was deleted at version 1"
    );
}

#[test]
fn conflicts_are_tried_again_so_many_times_and_the_error_names_the_stream() {
    let store = tiny(Retention::everything());
    for retries in [0, 1, 4] {
        let mut decided = 0;
        let refused = store.execute("busy", retries, |plain: &Plain, changes| {
            // Another is always faster.
            store
                .append("busy", ExpectedVersion::Any, &count(9))
                .unwrap();
            assert_eq!(plain.0.events + 1, store.reader().end());
            decided += 1;
            changes.push(&count(1));
            Ok::<_, String>(())
        });
        let refused = refused.unwrap_err();
        assert!(refused.is_conflict());
        assert_eq!(decided, retries + 1);
        let text = refused.to_string();
        let start = format!("stream \"busy\": others were faster, {decided} times in a row");
        assert!(text.starts_with(&start), "{text}");
    }
    // Nothing of them all was appended.
    assert_eq!(store.load::<Plain>("busy").unwrap().version(), Some(7));
    let mut is_first = true;
    let executed = store.execute("busy", 1, |plain: &Plain, changes| {
        if std::mem::take(&mut is_first) {
            append_busy(&store);
        }
        changes.push(&count(plain.0.events));
        Ok::<_, String>(())
    });
    assert_eq!((executed.unwrap().attempts, store.reader().end()), (2, 10));
}

fn append_busy(store: &EventStore) {
    store
        .append("busy", ExpectedVersion::Any, &count(9))
        .unwrap();
}

#[test]
fn eight_threads_that_decide_on_one_stream_lose_no_decision() {
    const EACH: u64 = 300;
    let store = tiny(Retention::everything());
    let conflicts = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    at_once(
        (0..8)
            .map(|_| {
                let (store, conflicts, seen) =
                    (store.clone(), Arc::clone(&conflicts), Arc::clone(&seen));
                Box::new(move || {
                    for _ in 0..EACH {
                        let mut decided_on = 0;
                        let executed = store
                            .execute("s", u32::MAX, |every: &Every7, changes| {
                                decided_on = every.0.events;
                                changes.push(&count(every.0.events));
                                Ok::<_, String>(())
                            })
                            .unwrap();
                        assert_eq!(executed.version, Some(decided_on));
                        conflicts.fetch_add(u64::from(executed.attempts - 1), Ordering::Relaxed);
                        seen.lock().push(decided_on);
                    }
                }) as Box<dyn FnOnce() + Send>
            })
            .collect(),
    );
    let mut seen = seen.lock();
    seen.sort_unstable();
    assert_eq!(*seen, (0..8 * EACH).collect::<Vec<_>>());
    let (all, some) = (
        store.load::<Plain>("s").unwrap(),
        store.load::<Every7>("s").unwrap(),
    );
    assert_eq!(all.state().0, some.state().0);
    assert_eq!(all.applied(), 8 * EACH);
    assert!(some.applied() < 7);
    assert_eq!(store.stats().conflicts, conflicts.load(Ordering::Relaxed));
}

#[test]
fn sd1_a_snapshot_pins_what_comes_behind_it_or_a_load_says_what_is_gone() {
    let store = tiny(Retention::default().events(40));
    for number in 1..=9 {
        let add_to = |stream: &str| append_to(&store, stream, number);
        add_to("pinned");
        add_to("plain");
        if number <= 7 {
            add_to("whole");
            store.load::<Every7>("whole").unwrap();
        }
        store.load::<Pinned>("pinned").unwrap();
        store.load::<Every7>("plain").unwrap();
    }
    let snapshot = store.snapshot::<Pinned>("pinned").unwrap();
    assert_eq!(snapshot.version(), 6);
    let behind = snapshot.position() + 1;
    for number in 0..500 {
        append_to(&store, "other", number);
    }
    assert!(store.reader().first() <= behind);
    for _ in 0..2 {
        let loaded = store.load::<Pinned>("pinned").unwrap();
        assert_eq!((loaded.state().0.events, loaded.applied()), (9, 2));
    }
    assert!(store.forget_snapshot::<Pinned>("pinned"));
    store.retain();
    assert!(store.reader().first() > 400);
    // One has no snapshot any more, one has events behind it, and one needs none.
    let truncated = ReadError::Truncated { first: 9 };
    assert_eq!(store.load::<Pinned>("pinned").unwrap_err(), truncated);
    assert_eq!(store.load::<Every7>("plain").unwrap_err(), truncated);
    let loaded = store.load::<Every7>("whole").unwrap();
    assert_eq!((loaded.state().0.events, loaded.applied()), (7, 0));
    let executed = add::<Every7>(&store, "whole", 8);
    assert_eq!(executed.version, Some(7));
}

fn append_to(store: &EventStore, stream: &str, number: u64) {
    store
        .append(stream, ExpectedVersion::Any, &count(number))
        .unwrap();
}

#[test]
fn so_many_snapshots_are_kept_and_the_one_not_asked_for_longest_goes() {
    let store = EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .snapshots_max(3)
        .build()
        .unwrap();
    let take = |stream: &str| {
        add::<Plain>(&store, stream, 1);
        store.take_snapshot::<Plain>(stream).unwrap();
    };
    let has = |stream: &str| store.snapshot::<Plain>(stream).is_some();
    for stream in ["a", "b", "c"] {
        take(stream);
    }
    assert!(has("a"));
    take("d");
    assert_eq!(["a", "b", "c", "d"].map(has), [true, false, true, true]);
    take("a");
    take("e");
    assert_eq!(["a", "c", "d", "e"].map(has), [true, false, true, true]);
}

#[test]
fn an_aggregate_has_its_events_upcast() {
    struct Old(u64);
    impl Event for Old {
        const NAME: &'static str = "aggregate.old";
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::new(
                |old| Ok(old.0.to_string()),
                |text| text.parse().map(Self).map_err(|_| "no number".to_owned()),
            ))
        }
    }

    #[derive(Debug, Default, Clone)]
    struct Upcast(Sum);
    impl Aggregate for Upcast {
        fn apply(&mut self, event: &Recorded<'_>) -> Result<(), ReadError> {
            self.0.take(event)
        }
        fn upcasters() -> Option<&'static Upcasters> {
            static UPCASTERS: OnceLock<Upcasters> = OnceLock::new();
            Some(UPCASTERS.get_or_init(|| {
                Upcasters::new()
                    .typed_many(|old: Old| [Reset { to: old.0 }, Reset { to: old.0 + 1 }])
            }))
        }
    }

    let store = tiny(Retention::everything());
    append(&store, 0..1);
    store.append("s", ExpectedVersion::Any, &Old(41)).unwrap();
    let loaded = store.load::<Upcast>("s").unwrap();
    assert_eq!(loaded.version(), Some(1));
    assert_eq!(loaded.state().0, Sum { sum: 42, events: 3 });
    let refused = store.load::<Plain>("s").unwrap_err();
    assert!(matches!(refused, ReadError::OtherType { position: 1, .. }));
}
