//! Views that are made anew.

use super::*;
use std::sync::Arc;

/// Counts, and waits at the gate when it meets an event again.
fn gated(gate: &Arc<Gate>) -> Projection<Sums> {
    let gate = Arc::clone(gate);
    Projection::new("gated", Sums::default()).on::<Credited>(move |sums, event, at| {
        if at.is_replay() && event.cents == 50 {
            gate.pass();
        }
        sums.add(event.cents, at);
    })
}

fn filled(store: &EventStore) -> u64 {
    (0..100).map(|cents| credit(store, 1, cents)).max().unwrap()
}

#[test]
fn pc4_readers_see_the_old_view_until_the_swap_and_appends_go_on() {
    for is_inline in [false, true] {
        let store = small();
        let last = filled(&store);
        let gate = Arc::new(Gate::default());
        let projection = gated(&gate).batch(8);
        let handle = if is_inline {
            store.project_inline(projection).unwrap()
        } else {
            store.project(projection).unwrap()
        };
        assert!(handle.wait_for(last, LONG));
        let before = handle.export();
        let rebuild = handle.rebuild().unwrap();
        gate.wait_for_arrivals(1);
        assert_eq!(handle.export(), before, "half-built or gone");
        let Status::Rebuilding(progress) = handle.status() else {
            panic!("{:?}", handle.status())
        };
        assert!(
            progress.next <= 50 && progress.target == 100,
            "{progress:?}"
        );
        assert!(rebuild.wait_timeout(Duration::ZERO).is_none());
        assert!(handle.rebuild().unwrap_err().is_conflict());
        assert!(handle.reset().unwrap_err().is_conflict());
        // The old view goes on.
        let last = (0..30).map(|cents| credit(&store, 2, cents)).max().unwrap();
        assert!(handle.wait_for(last, LONG));
        let before = handle.export();
        gate.open();
        assert_eq!(rebuild.wait(), Rebuilt::Swapped);
        assert_eq!(handle.export(), before);
        assert_eq!(handle.status(), Status::Running);
        let last = credit(&store, 3, 7);
        assert!(handle.wait_for(last, LONG));
        assert_eq!(handle.read(|sums, _| sums.events), 131);
    }
}

#[test]
fn pc4_a_cancelled_rebuild_leaves_view_and_checkpoint() {
    let store = small();
    let last = filled(&store);
    let gate = Arc::new(Gate::default());
    let handle = store.project(gated(&gate)).unwrap();
    assert!(handle.wait_for(last, LONG));
    let before = handle.export();
    let rebuild = handle
        .rebuild_with(gated(&gate).on::<Noted>(|_, _, _| ()))
        .unwrap();
    gate.wait_for_arrivals(1);
    assert!(rebuild.cancel());
    gate.open();
    assert_eq!(rebuild.wait(), Rebuilt::Cancelled);
    assert!(!rebuild.cancel(), "it has ended");
    assert_eq!(
        (handle.export(), handle.status()),
        (before, Status::Running)
    );
    assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
}

/// Opens the gate when the projection saves: at its end, once its rebuild is cancelled.
struct OpensAtTheEnd(Arc<Gate>);

impl CheckpointStore<Sums> for OpensAtTheEnd {
    fn save(&self, _: &str, _: Partition, _: &Sums, _: u64) -> Result<(), String> {
        self.0.open();
        Ok(())
    }

    fn load(&self, _: &str, _: Partition) -> Result<Option<(Sums, u64)>, String> {
        Ok(None)
    }

    fn forget(&self, _: &str, _: Partition) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn pc4_the_end_of_the_projection_cancels_its_rebuild() {
    let store = small();
    let last = filled(&store);
    let gate = Arc::new(Gate::default());
    let opens = Arc::new(OpensAtTheEnd(Arc::clone(&gate)));
    let projection = gated(&gate).checkpoints(opens, SaveEvery::events(1_000));
    let handle = store.project(projection).unwrap();
    assert!(handle.wait_for(last, LONG));
    let rebuild = handle.rebuild().unwrap();
    gate.wait_for_arrivals(1);
    drop(handle);
    assert_eq!(rebuild.wait(), Rebuilt::Cancelled);
}

#[test]
fn pc4_a_rebuild_that_fails_changes_nothing() {
    let store = small();
    let last = filled(&store);
    let handle = store.project(sums("sums")).unwrap();
    assert!(handle.wait_for(last, LONG));
    let before = handle.export();
    let worse = sums("worse").on_checked::<Credited>(|_, event, _| match event.cents {
        70 => Err("seventy".into()),
        71 => panic!("seventy-one"),
        _ => Ok(()),
    });
    let failed = Rebuilt::Failed {
        position: 70,
        reason: "seventy".to_owned(),
    };
    assert_eq!(handle.rebuild_with(worse).unwrap().wait(), failed);
    assert_eq!(
        (handle.export(), handle.status()),
        (before, Status::Running)
    );
    // The old functions are still in place.
    let last = credit(&store, 1, 70);
    assert!(handle.wait_for(last, LONG));
}

#[test]
fn pc4_mended_functions_heal_a_projection_that_had_failed() {
    let store = small();
    let last = filled(&store);
    let broken = sums("sums").on_checked::<Credited>(|_, event, _| {
        if event.cents == 70 {
            Err("seventy".into())
        } else {
            Ok(())
        }
    });
    let handle = store.project(broken).unwrap();
    assert!(!handle.wait_for(last, LONG));
    assert!(is_failed(&handle.status()));
    let mended = sums("mended").on::<Credited>(|sums, _, _| sums.trace = 0);
    assert_eq!(
        handle.rebuild_with(mended).unwrap().wait(),
        Rebuilt::Swapped
    );
    assert!(handle.wait_for(last, LONG));
    handle.read(|sums, checkpoint| {
        assert_eq!((sums.events, sums.trace, checkpoint), (100, 0, Some(last)));
    });
}

#[test]
fn pc4_a_rebuild_can_begin_at_a_checkpoint() {
    let store = small();
    filled(&store);
    let half = store.project(sums("half")).unwrap();
    assert!(half.wait_for(99, LONG));
    let kept = half.export();
    let last = (0..10).map(|cents| credit(&store, 1, cents)).max().unwrap();
    assert!(half.wait_for(last, LONG));
    let whole = half.export();
    assert_eq!(half.rebuild_from(kept).unwrap().wait(), Rebuilt::Swapped);
    assert_eq!(half.export(), whole);
    let wrong = vec![(
        Sums {
            cents: 1,
            ..Sums::default()
        },
        Some(last),
    )];
    assert_eq!(half.rebuild_from(wrong).unwrap().wait(), Rebuilt::Swapped);
    assert_eq!(half.read(|sums, _| sums.cents), 1, "the state is believed");
    half.pause().unwrap();
    let last = credit(&store, 1, 1);
    let ahead = half.rebuild_from(vec![(Sums::default(), Some(last))]);
    assert!(
        ahead.unwrap_err().is_setting(),
        "it would run ahead of the view"
    );
    // A paused view is made anew as far as it is, and stays paused.
    assert_eq!(half.rebuild().unwrap().wait(), Rebuilt::Swapped);
    assert_eq!(
        (half.checkpoint(), half.status()),
        (Some(last - 1), Status::Paused)
    );
}

#[test]
fn pc5_effects_happen_once_whatever_comes_again() {
    let store = small();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mails = Arc::clone(&sent);
    let projection = sums("mails")
        .batch(4)
        .on_effect::<Credited>(move |sums, event, at| {
            assert!(!at.is_replay() && sums.last == Some(at.position()));
            mails.lock().unwrap().push(event.cents);
            Ok(())
        });
    let handle = store.project(projection).unwrap();
    let last = filled(&store);
    assert!(handle.wait_for(last, LONG));
    let before = handle.export();
    handle.reset().unwrap();
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
    handle.import(vec![(Sums::default(), None)]).unwrap();
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.export(), before);
    // Rebuilt while appends go on: what is new happens, and nothing twice.
    std::thread::scope(|scope| {
        scope.spawn(|| (100..1_000).for_each(|cents| _ = credit(&store, 1, cents)));
        while handle.checkpoint() < Some(999) {
            assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
        }
    });
    assert_eq!(*sent.lock().unwrap(), (0..1_000).collect::<Vec<_>>());
    assert_eq!(handle.read(|sums, _| sums.events), 1_000);
}

#[test]
fn pc4_a_state_that_panics_when_it_goes_leaves_nobody_waiting() {
    #[derive(Clone, Default)]
    struct Touchy(u64);

    impl Drop for Touchy {
        fn drop(&mut self) {
            assert!(self.0 != 100 || std::thread::panicking(), "not like this");
        }
    }

    let store = small();
    let projection =
        Projection::new("touchy", Touchy::default()).on::<Credited>(|touchy, _, _| touchy.0 += 1);
    let handle = store.project(projection).unwrap();
    let last = filled(&store);
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
    let last = credit(&store, 1, 1);
    assert!(handle.wait_for(last, LONG));
    assert_eq!(handle.read(|touchy, _| touchy.0), 101);
}

#[test]
fn pc1_a_rebuilt_view_takes_the_saved_one_s_place() {
    let store = small();
    let saved = Arc::new(MemoryCheckpoints::<Sums>::new());
    let every = SaveEvery::events(1_000);
    let start = |projection: Projection<Sums>| {
        let projection = projection.checkpoints(Arc::clone(&saved) as Arc<_>, every);
        store.project(projection).unwrap()
    };
    let handle = start(sums("sums"));
    let last = filled(&store);
    assert!(handle.wait_for(last, LONG));
    let zeroed = sums("sums").on::<Credited>(|sums, _, _| sums.trace = 0);
    assert_eq!(
        handle.rebuild_with(zeroed).unwrap().wait(),
        Rebuilt::Swapped
    );
    drop(handle);
    let (found, position) = saved.load("sums", Partition::WHOLE).unwrap().unwrap();
    assert_eq!((found.trace, found.events, position), (0, 100, last));
    let handle = start(sums("sums"));
    assert_eq!(
        handle.read(|sums, checkpoint| (sums.trace, checkpoint)),
        (0, Some(last))
    );
}
