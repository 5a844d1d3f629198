//! Projections on several threads, by key.

use super::*;
use std::collections::BTreeMap;

type Totals = BTreeMap<u64, Vec<u64>>;

fn totals(name: &str) -> Projection<Totals> {
    Projection::new(name, Totals::new())
        .on::<Credited>(|totals, event, _| {
            totals.entry(event.account).or_default().push(event.cents);
        })
        .batch(16)
}

fn merged(handle: &ProjectionHandle<Totals>) -> Totals {
    handle.read_partitions(|views| {
        let mut all = Totals::new();
        for (totals, _) in views {
            for (&account, cents) in *totals {
                let before = all.insert(account, cents.clone());
                assert!(before.is_none(), "a key in two partitions");
            }
        }
        all
    })
}

#[test]
fn together_they_are_the_whole() {
    let store = small();
    let whole = store.project(totals("whole")).unwrap();
    for partitions in [1, 2, 3, 5] {
        let handle = store
            .project_partitioned(totals("parts"), partitions)
            .unwrap();
        assert_eq!(handle.partitions(), partitions);
        let last = (0..400)
            .map(|number| credit(&store, number % 17, number))
            .max()
            .unwrap();
        note(&store, "of no account");
        let last = last + 1;
        assert!(handle.wait_for(last, LONG) && whole.wait_for(last, LONG));
        assert_eq!(merged(&handle), whole.read(|totals, _| totals.clone()));
        assert_eq!((handle.checkpoint(), handle.lag()), (Some(last), 0));
        for account in 0..17_u64 {
            let own = handle.read_key(&account, |totals, checkpoint| {
                assert_eq!(checkpoint, Some(last));
                totals.get(&account).cloned()
            });
            assert_eq!(own, whole.read(|totals, _| totals.get(&account).cloned()));
        }
        let kept = handle.export();
        assert!(
            partitions == 1 || kept.iter().filter(|(totals, _)| !totals.is_empty()).count() > 1
        );
        // Made anew, and gone on with from what was exported.
        assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
        assert_eq!(handle.export(), kept);
        drop(handle);
        let resumed = kept
            .iter()
            .cloned()
            .fold(totals("resumed"), |projection, (state, at)| {
                projection.resume_from(state, at)
            });
        let resumed = store.project_partitioned(resumed, partitions).unwrap();
        let last = credit(&store, 3, 9);
        assert!(resumed.wait_for(last, LONG) && whole.wait_for(last, LONG));
        assert_eq!(merged(&resumed), whole.read(|totals, _| totals.clone()));
    }
}

#[test]
fn as_many_states_as_partitions_are_asked_for() {
    let store = small();
    let one = totals("parts").resume_from(Totals::new(), None);
    assert!(store.project_partitioned(one, 2).unwrap_err().is_setting());
    assert!(
        store
            .project_partitioned(totals("none"), 0)
            .unwrap_err()
            .is_setting()
    );
    let handle = store.project_partitioned(totals("parts"), 2).unwrap();
    assert!(handle.import(Vec::new()).unwrap_err().is_setting());
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        handle.read(|_, _| ());
    }));
    assert!(read.is_err());
}
