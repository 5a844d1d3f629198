//! Views that are kept up to date, and their checkpoints.

use super::*;
use ringbolt::store::{RecordFilter, Retention};
use std::sync::Arc;

#[test]
fn pc1_view_and_checkpoint_are_read_as_one() {
    let store = small();
    let handle = store.project(sums("sums").batch(3)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5_000).for_each(|number| _ = credit(&store, number % 7, number)));
        let mut before = None;
        loop {
            let (sums, checkpoint) = handle.read(|sums, checkpoint| (sums.clone(), checkpoint));
            assert_eq!(sums.last, checkpoint);
            assert_eq!(sums.events, checkpoint.map_or(0, |position| position + 1));
            assert!(checkpoint >= before, "{before:?}, then {checkpoint:?}");
            assert!(handle.checkpoint() >= checkpoint, "told less than read");
            before = checkpoint;
            if checkpoint == Some(4_999) {
                break;
            }
        }
    });
    assert_eq!(handle.read(|sums, _| sums.cents), (0..5_000).sum::<u64>());
    assert_eq!((handle.lag(), handle.status()), (0, Status::Running));
}

#[test]
fn pc1_resumed_from_its_checkpoint_it_is_as_if_it_had_never_stopped() {
    let store = small();
    let mut kept = vec![(Sums::default(), None)];
    let mut seed = 7_u64;
    for number in 0..600 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if seed >> 60 == 0 {
            let (state, checkpoint) = kept.remove(0);
            let handle = store
                .project(sums("sums").batch(5).resume_from(state, checkpoint))
                .unwrap();
            // Stopped wherever it is by now.
            kept = handle.export();
            assert_eq!(kept[0].0.last, kept[0].1);
        }
        if number % 3 == 0 {
            note(&store, "three");
        } else {
            credit(&store, number % 5, number);
        }
    }
    let (state, checkpoint) = kept.remove(0);
    let resumed = store
        .project(sums("resumed").resume_from(state, checkpoint))
        .unwrap();
    let whole = store.project(sums("whole")).unwrap();
    assert!(resumed.wait_for(599, LONG) && whole.wait_for(599, LONG));
    assert_eq!(resumed.export(), whole.export());
    // An import while it runs is the same.
    whole.import(vec![(Sums::default(), None)]).unwrap();
    assert!(whole.wait_for(599, LONG));
    assert_eq!(resumed.export(), whole.export());
    let beyond = whole.import(vec![(Sums::default(), Some(600))]);
    assert!(beyond.unwrap_err().is_setting());
    assert_eq!(resumed.export(), whole.export());
}

/// Notes what is saved.
#[derive(Default)]
struct Noting {
    memory: MemoryCheckpoints<Sums>,
    positions: Mutex<Vec<u64>>,
    is_failing: Mutex<bool>,
}

impl CheckpointStore<Sums> for Noting {
    fn save(&self, name: &str, part: Partition, sums: &Sums, position: u64) -> Result<(), String> {
        assert_eq!(sums.last, Some(position), "they belong together");
        if *self.is_failing.lock().unwrap() {
            return Err("the disk is gone".to_owned());
        }
        self.positions.lock().unwrap().push(position);
        self.memory.save(name, part, sums, position)
    }

    fn load(&self, name: &str, part: Partition) -> Result<Option<(Sums, u64)>, String> {
        self.memory.load(name, part)
    }

    fn forget(&self, name: &str, part: Partition) -> Result<(), String> {
        self.memory.forget(name, part)
    }
}

#[test]
fn pc1_saved_checkpoints_rise_and_are_gone_on_from() {
    let store = small();
    let saves = Arc::new(Noting::default());
    let start = || {
        let saves = Arc::clone(&saves) as Arc<dyn CheckpointStore<Sums>>;
        let every = SaveEvery::events(10);
        store
            .project(sums("sums").batch(4).checkpoints(saves, every))
            .unwrap()
    };
    (0..25).for_each(|number| _ = credit(&store, 1, number));
    let handle = start();
    assert!(handle.wait_for(24, LONG));
    drop(handle);
    let saved = saves.positions.lock().unwrap().clone();
    assert!(saved.is_sorted() && saved.len() == 3, "{saved:?}");
    assert_eq!(saved.last(), Some(&24), "the end is saved as well");

    credit(&store, 1, 25);
    let handle = start();
    assert!(
        handle.checkpoint() >= Some(24),
        "it begins with what was saved"
    );
    assert!(handle.wait_for(25, LONG));
    assert_eq!(handle.read(|sums, _| sums.events), 26);

    *saves.is_failing.lock().unwrap() = true;
    (0..10).for_each(|number| _ = credit(&store, 1, number));
    assert!(handle.wait_for(35, LONG));
    while handle.save_faults().0 == 0 {
        std::thread::yield_now();
    }
    assert_eq!(handle.save_faults().1.as_deref(), Some("the disk is gone"));
    assert_eq!(handle.status(), Status::Running);

    *saves.is_failing.lock().unwrap() = false;
    handle.pause().unwrap();
    handle.reset().unwrap();
    assert_eq!(handle.checkpoint(), None);
    assert_eq!(saves.load("sums", Partition::WHOLE), Ok(None));
}

#[test]
fn pc1_a_view_is_saved_after_a_time_without_any_append() {
    let store = small();
    let saves = Arc::new(Noting::default());
    let every = SaveEvery::time(Duration::from_millis(5));
    let handle = store
        .project(sums("sums").checkpoints(Arc::clone(&saves) as Arc<_>, every))
        .unwrap();
    credit(&store, 1, 1);
    while saves.positions.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(*saves.positions.lock().unwrap(), [0]);
    drop(handle);
    assert_eq!(*saves.positions.lock().unwrap(), [0], "nothing has changed");
}

#[test]
fn pc3_what_is_filtered_moves_the_checkpoint() {
    let store = small();
    let even = sums("even").filter(RecordFilter::stream_prefix("account-2"));
    let handle = store.project(even).unwrap();
    credit(&store, 2, 5);
    credit(&store, 1, 7);
    note(&store, "of no account");
    let mark = store.delete("notes", ExpectedVersion::Any).unwrap();
    assert!(handle.wait_for(mark, LONG));
    handle.read(|sums, checkpoint| {
        assert_eq!(
            (sums.cents, sums.last, checkpoint),
            (5, Some(0), Some(mark))
        );
    });
    // Types that nobody takes move it too.
    let notes = Projection::new("notes", 0).on::<Noted>(|count, _, _| *count += 1);
    let notes = store.project(notes).unwrap();
    assert!(notes.wait_for(mark, LONG));
    notes.read(|count, checkpoint| assert_eq!((*count, checkpoint), (1, Some(mark))));
}

#[test]
fn what_was_appended_together_is_seen_together() {
    let store = small();
    let handle = store.project(sums("sums").batch(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..500 {
                let mut batch = store.batch();
                for account in 0..3 {
                    let credited = Credited { account, cents: 1 };
                    batch
                        .push(&format!("account-{account}"), &credited)
                        .unwrap();
                }
                batch.commit().unwrap();
                assert!(number < 500);
            }
        });
        while handle.read(|sums, _| {
            assert_eq!(sums.cents % 3, 0, "half of an append");
            sums.cents < 1_500
        }) {}
    });
}

#[test]
fn a_paused_projection_applies_nothing_until_it_goes_on() {
    let store = small();
    let handle = store.project(sums("sums")).unwrap();
    let last = credit(&store, 1, 1);
    assert!(handle.wait_for(last, LONG));
    handle.pause().unwrap();
    assert_eq!(handle.status(), Status::Paused);
    let last = credit(&store, 1, 1);
    assert!(!handle.wait_for(last, Duration::from_millis(20)));
    assert_eq!((handle.checkpoint(), handle.lag()), (Some(0), 1));
    handle.resume().unwrap();
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.read(|sums, _| sums.events), 2);
    handle.reset().unwrap();
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.read(|sums, _| sums.events), 2);
}

#[test]
fn pc7_one_waits_for_a_position_and_lag_tells_of_health() {
    let store = small();
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let projection = Projection::new("slow", 0).on::<Credited>(move |count, _, _| {
        held.pass();
        *count += 1;
    });
    let handle = store.project(projection).unwrap();
    assert!(!handle.wait_for(0, Duration::ZERO), "nothing is there");
    (0..4).for_each(|_| _ = credit(&store, 1, 1));
    gate.wait_for_arrivals(1);
    assert!(!handle.wait_for(3, Duration::from_millis(5)));
    assert_eq!(handle.lag(), 4);
    assert_eq!(handle.health(3), Health::Lagging { lag: 4, lag_max: 3 });
    assert_eq!(handle.health(4), Health::Healthy { lag: 4 });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.wait_for(3, LONG));
        gate.open();
        assert!(waiting.join().unwrap());
    });
    handle.read(|count, checkpoint| assert_eq!((*count, checkpoint), (4, Some(3))));
    assert_eq!((handle.lag(), handle.health(0).is_healthy()), (0, true));
}

fn forgetful() -> EventStore {
    EventStore::builder()
        .segment_bytes(4_096)
        .populate(false)
        .retention(Retention::everything().events(10))
        .build()
        .unwrap()
}

#[test]
fn a_projection_that_lost_its_records_says_so_and_a_pin_keeps_them() {
    let store = forgetful();
    let [lost, kept] = [sums("lost"), sums("kept").pins_log()].map(|projection| {
        let handle = store.project(projection).unwrap();
        handle.pause().unwrap();
        handle
    });
    let last = (0..500)
        .map(|number| credit(&store, 1, number))
        .max()
        .unwrap();
    kept.resume().unwrap();
    assert!(kept.wait_for(last, LONG));
    assert_eq!(kept.read(|sums, _| sums.events), 500);
    store.retain();
    lost.resume().unwrap();
    assert!(!lost.wait_for(last, LONG));
    let Status::Failed {
        position: 0,
        reason,
    } = lost.status()
    else {
        panic!("{:?}", lost.status())
    };
    assert!(reason.contains("no longer kept"), "{reason}");
    assert!(lost.reset().unwrap_err().is_missing());
    assert!(store.project(sums("late")).unwrap_err().is_missing());
    let first = store.reader().first();
    let late = store.project(sums("late").starts_after(first - 1)).unwrap();
    assert!(late.wait_for(last, LONG));
    assert_eq!(late.read(|sums, _| sums.events), 500 - first);
}

#[test]
fn one_that_has_all_loses_nothing_when_its_segment_goes() {
    let mut rested_at_an_end = 0;
    // It rests at every place of a segment, its end included, when the segment goes.
    for count in 1..=80 {
        let store = forgetful();
        let handle = store.project(sums("sums").pins_log()).unwrap();
        let last = (0..count).map(|_| credit(&store, 1, 1)).max().unwrap();
        assert!(handle.wait_for(last, LONG));
        handle.pause().unwrap();
        let last = (0..12).map(|_| credit(&store, 1, 1)).max().unwrap();
        store.retain();
        let first = store.reader().first();
        handle.resume().unwrap();
        assert_eq!(
            handle.wait_for(last, LONG),
            first <= count,
            "{count}, {first}"
        );
        rested_at_an_end += u64::from(first == count);
    }
    assert!(rested_at_an_end > 0);
}

#[test]
fn settings_that_make_no_sense_are_told_together() {
    let store = small();
    let error = store
        .project_inline(
            Projection::new("", 0)
                .batch(0)
                .on_error(ErrorPolicy::retry(0, LONG)),
        )
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "its name is empty or",
        "no function",
        "batch: 0",
        "0 attempts",
        "hold up appends",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.is_setting());
}

#[test]
fn a_call_from_inside_is_refused() {
    let store = small();
    let place = Arc::new(Mutex::new(None::<ProjectionHandle<u64>>));
    let found = Arc::new(Mutex::new(Vec::new()));
    let (own, told) = (Arc::clone(&place), Arc::clone(&found));
    let projection = Projection::new("self", 0).on::<Credited>(move |count, _, _| {
        if let Some(handle) = &*own.lock().unwrap() {
            let results = [handle.pause(), handle.reset(), handle.rebuild().map(drop)];
            told.lock().unwrap().extend(results);
        }
        *count += 1;
    });
    let handle = store.project(projection).unwrap();
    *place.lock().unwrap() = Some(handle.clone());
    let last = credit(&store, 1, 1);
    assert!(handle.wait_for(last, LONG));
    *place.lock().unwrap() = None;
    let found = found.lock().unwrap();
    assert!(
        found.len() == 3
            && found.iter().all(|result| {
                result
                    .as_ref()
                    .is_err_and(ringbolt::Error::is_would_deadlock)
            })
    );
    handle.read(|_, _| assert!(handle.resume().unwrap_err().is_would_deadlock()));
}
