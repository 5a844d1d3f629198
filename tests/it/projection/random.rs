//! Random histories: however a view came about, it is the same.

use super::*;
use proptest::prelude::*;
use ringbolt::store::{Query, RecordFilter};

#[derive(Debug, Clone)]
enum Step {
    Credit { account: u64, cents: u64 },
    Note { text: String },
    Batch { accounts: Vec<u64> },
    Truncate { account: u64 },
    Rebuild,
    Reset,
    Pause,
    Resume,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..5_u64, 0..100_u64).prop_map(|(account, cents)| Step::Credit { account, cents }),
        4 => "[a-z]{0,40}".prop_map(|text| Step::Note { text }),
        3 => proptest::collection::vec(0..5_u64, 1..6).prop_map(|accounts| Step::Batch { accounts }),
        1 => (0..5_u64).prop_map(|account| Step::Truncate { account }),
        2 => Just(Step::Rebuild),
        1 => Just(Step::Reset),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Odd cents of two accounts and short notes, and what cannot be applied left out.
fn picky(batch: usize) -> Projection<Sums> {
    let streams = RecordFilter::stream("account-1")
        .or(RecordFilter::stream_prefix("account-3"))
        .or(RecordFilter::stream("notes"));
    Projection::new("picky", Sums::default())
        .on_checked::<Credited>(|sums, event, at| {
            if event.cents % 10 == 7 {
                return Err("seven".into());
            }
            if event.cents % 2 == 1 {
                sums.add(event.cents, at);
            }
            Ok(())
        })
        .on::<Noted>(|sums, event, at| {
            assert!(event.0.len() < 30, "a long one");
            sums.add(event.0.len() as u64, at);
        })
        .filter(streams)
        .batch(batch)
        .on_error(ErrorPolicy::skip())
        .on_rebuild_error(ErrorPolicy::skip())
}

/// The same by hand: what the view has to be.
fn expected(store: &EventStore) -> (Sums, Vec<u64>) {
    let (mut sums, mut skipped) = (Sums::default(), Vec::new());
    let reader = store.reader();
    for record in reader.read(Query::all()).unwrap() {
        let record = record.unwrap();
        let at = record.position();
        match record.stream() {
            "account-1" | "account-3" => {
                let event = record.decode::<Credited>().unwrap();
                if event.cents % 10 == 7 {
                    skipped.push(record.position());
                } else if event.cents % 2 == 1 {
                    sums.note(event.cents, at);
                }
            }
            "notes" => {
                let event = record.decode::<Noted>().unwrap();
                if event.0.len() < 30 {
                    sums.note(event.0.len() as u64, at);
                } else {
                    skipped.push(record.position());
                }
            }
            _ => {}
        }
    }
    (sums, skipped)
}

fn check(steps: Vec<Step>, batch: usize) {
    let store = small();
    let mut handle = store.project(picky(batch)).unwrap();
    let inline = store.project_inline(picky(batch)).unwrap();
    let mut is_killed = false;
    let mut rebuilds = Vec::new();
    for step in steps {
        match step {
            Step::Credit { account, cents } => _ = credit(&store, account, cents),
            Step::Note { text } => _ = note(&store, &text),
            Step::Batch { accounts } => {
                let mut events = store.batch();
                for account in accounts {
                    let stream = format!("account-{account}");
                    events
                        .push(
                            &stream,
                            &Credited {
                                account,
                                cents: account * 7,
                            },
                        )
                        .unwrap();
                }
                events.commit().unwrap();
            }
            Step::Truncate { account } => {
                // Of a stream that is there.
                let _ = store.truncate(&format!("account-{account}"), 1);
            }
            Step::Rebuild => {
                rebuilds.extend(handle.rebuild());
                rebuilds.extend(inline.rebuild());
            }
            Step::Reset => {
                let _ = handle.reset();
                let _ = inline.reset();
            }
            Step::Pause => handle.pause().unwrap(),
            Step::Resume => handle.resume().unwrap(),
            Step::Kill => {
                let (state, checkpoint) = handle.export().remove(0);
                drop(handle);
                is_killed = true;
                handle = store
                    .project(picky(batch).resume_from(state, checkpoint))
                    .unwrap();
            }
        }
    }
    handle.resume().unwrap();
    let end = store.reader().end();
    if end > 0 {
        assert!(handle.wait_for(end - 1, LONG));
    }
    let (sums, skipped) = expected(&store);
    let positions = |handle: &ProjectionHandle<Sums>| -> Vec<u64> {
        handle
            .skipped()
            .iter()
            .map(|skipped| skipped.position)
            .collect()
    };
    let whole = vec![(sums, end.checked_sub(1))];
    assert_eq!(handle.export(), whole);
    assert_eq!(inline.export(), whole);
    assert_eq!(positions(&inline), skipped);
    if !is_killed {
        assert_eq!(positions(&handle), skipped);
    }
    for rebuild in rebuilds {
        let ended = rebuild.wait();
        assert!(
            matches!(ended, Rebuilt::Swapped | Rebuilt::Cancelled),
            "{ended:?}"
        );
    }
    for handle in [&handle, &inline] {
        assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
        assert_eq!(handle.export(), whole);
        assert_eq!(positions(handle), skipped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pc6_a_rebuilt_view_is_the_one_that_was_kept(steps in steps(), batch in 1..20_usize) {
        check(steps, batch);
    }
}

#[test]
fn pc6_rebuilt_over_and_over_under_four_appenders_it_is_the_same() {
    let store = small();
    let handle = store.project(sums("sums").batch(32)).unwrap();
    let inline = store.project_inline(sums("inline").batch(32)).unwrap();
    std::thread::scope(|scope| {
        for account in 0..4 {
            let store = &store;
            scope.spawn(move || (0..1_000).for_each(|cents| _ = credit(store, account, cents)));
        }
        while store.reader().end() < 4_000 {
            for handle in [&handle, &inline] {
                assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
                handle.read(|sums, checkpoint| {
                    assert_eq!(sums.last, checkpoint);
                    assert_eq!(sums.events, checkpoint.map_or(0, |position| position + 1));
                });
            }
        }
    });
    assert!(handle.wait_for(3_999, LONG));
    assert_eq!(handle.export(), inline.export());
}
