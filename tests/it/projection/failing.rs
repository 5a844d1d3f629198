//! Events that cannot be applied.

use super::*;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct NewCredited {
    account: u64,
    cents: u64,
    currency: u64,
}

impl Event for NewCredited {
    const NAME: &'static str = Credited::NAME;
    const VERSION: u16 = 2;
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

/// Refuses 13 cents and panics over 14, until it is mended.
fn superstitious(is_mended: &Arc<Mutex<bool>>) -> Projection<Vec<(u64, u32)>> {
    let is_mended = Arc::clone(is_mended);
    Projection::new("superstitious", Vec::new()).on_checked::<Credited>(move |seen, event, at| {
        let is_mended = *is_mended.lock().unwrap_or_else(|lock| lock.into_inner());
        match event.cents {
            13 if !is_mended => Err("thirteen".into()),
            14 if !is_mended => panic!("worse: {}", event.cents),
            cents => {
                seen.push((cents, at.attempt()));
                Ok(())
            }
        }
    })
}

fn filled() -> EventStore {
    let store = small();
    (11..=16).for_each(|cents| _ = credit(&store, 1, cents));
    store
}

#[test]
fn pc2_by_default_it_stops_before_the_event_and_can_go_on() {
    let store = filled();
    let is_mended = Arc::default();
    let handle = store.project(superstitious(&is_mended)).unwrap();
    let status = wait_for_status(&handle, is_failed);
    let reason = "thirteen".to_owned();
    assert_eq!(
        status,
        Status::Failed {
            position: 2,
            reason
        }
    );
    assert!(
        !handle.wait_for(2, LONG),
        "it does not wait for what will not come"
    );
    handle.read(|seen, checkpoint| assert_eq!((seen.len(), checkpoint), (2, Some(1))));
    assert!(matches!(
        handle.health(100),
        Health::Failed { position: 2, .. }
    ));
    // Again, to the same end.
    handle.resume().unwrap();
    wait_for_status(&handle, is_failed);
    assert_eq!(handle.checkpoint(), Some(1));
    *is_mended.lock().unwrap() = true;
    handle.resume().unwrap();
    assert!(handle.wait_for(5, LONG));
    assert_eq!(
        (handle.read(|seen, _| seen.len()), handle.status()),
        (6, Status::Running)
    );
}

#[test]
fn pc2_skipped_events_are_noted_with_their_reason() {
    let store = filled();
    let projection = superstitious(&Arc::default()).on_error(ErrorPolicy::skip());
    let handle = store.project(projection).unwrap();
    assert!(handle.wait_for(5, LONG));
    let seen = handle.read(|seen, _| seen.clone());
    assert_eq!(seen, [(11, 1), (12, 1), (15, 1), (16, 1)]);
    let skipped = handle.skipped();
    assert_eq!(handle.skipped_count(), 2);
    let told: Vec<_> = skipped
        .iter()
        .map(|skipped| (skipped.position, skipped.version, skipped.reason.as_str()))
        .collect();
    let panic = "the function panicked: worse: 14";
    assert_eq!(told, [(2, 2, "thirteen"), (3, 3, panic)]);
    assert_eq!(skipped[0].stream, "account-1");
    assert_eq!(
        (skipped[0].attempts, skipped[0].event_type.as_str()),
        (1, Credited::NAME)
    );
    assert_eq!(store.reader().get(2).unwrap().unwrap().id(), skipped[0].id);
}

#[test]
fn pc2_retries_are_bounded_and_count_the_first() {
    let store = filled();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let projection = Projection::new("third time", 0)
        .on_checked::<Credited>(move |count, event, at| {
            if event.cents == 13 {
                seen.lock().unwrap().push(at.attempt());
                if at.attempt() < 3 {
                    return Err("not yet".into());
                }
            }
            *count += 1;
            Ok(())
        })
        .on_error(ErrorPolicy::retry(3, Duration::from_millis(1)));
    let handle = store.project(projection).unwrap();
    assert!(handle.wait_for(5, LONG));
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
    assert_eq!(handle.read(|count, _| *count), 6);

    let policy = ErrorPolicy::retry(4, Duration::ZERO).then_skip();
    let handle = store
        .project(superstitious(&Arc::default()).on_error(policy))
        .unwrap();
    assert!(handle.wait_for(5, LONG));
    assert_eq!(handle.read(|seen, _| seen.len()), 4);
    assert!(handle.skipped().iter().all(|skipped| skipped.attempts == 4));

    let policy = ErrorPolicy::retry(2, Duration::from_millis(1));
    let handle = store
        .project(superstitious(&Arc::default()).on_error(policy))
        .unwrap();
    wait_for_status(&handle, is_failed);
    assert_eq!(handle.checkpoint(), Some(1));
}

#[test]
fn pc2_whoever_waits_for_a_retry_still_hears() {
    let store = filled();
    let is_mended = Arc::default();
    let policy = ErrorPolicy::retry(2, Duration::from_secs(86_400));
    let handle = store
        .project(superstitious(&is_mended).on_error(policy))
        .unwrap();
    assert!(handle.wait_for(1, LONG));
    // Appends do not hasten the retry, and status, views and orders do not wait for it.
    let last = credit(&store, 1, 17);
    assert!(!handle.wait_for(last, Duration::from_millis(5)));
    assert_eq!(handle.status(), Status::Running);
    handle.pause().unwrap();
    *is_mended.lock().unwrap() = true;
    handle.resume().unwrap();
    assert!(handle.wait_for(last, LONG), "going on tries at once");
    let dropped = store
        .project(superstitious(&Arc::default()).on_error(policy))
        .unwrap();
    assert!(dropped.wait_for(1, LONG));
    drop(dropped);
}

#[test]
fn pc2_a_retry_goes_on_with_the_function_that_failed() {
    let store = filled();
    let failures = Mutex::new(0);
    let projection = Projection::new("twice", 0_u64)
        .on::<Credited>(|sum, event, _| *sum += event.cents)
        .on_effect::<Credited>(move |_, event, at| {
            let mut failures = failures.lock().unwrap();
            if event.cents == 13 && at.attempt() < 4 {
                *failures += 1;
                return Err("the mail server is away".into());
            }
            Ok(())
        })
        .on_error(ErrorPolicy::retry(4, Duration::ZERO));
    let handle = store.project(projection).unwrap();
    assert!(handle.wait_for(5, LONG));
    assert_eq!(handle.read(|sum, _| *sum), (11..=16).sum::<u64>());
}

#[test]
fn pc2_a_version_that_nobody_can_read_is_an_error() {
    let store = filled();
    let event = NewCredited {
        account: 1,
        cents: 5,
        currency: 1,
    };
    store
        .append("account-1", ExpectedVersion::Any, &event)
        .unwrap();
    let handle = store.project(sums("old")).unwrap();
    wait_for_status(&handle, is_failed);
    assert_eq!(handle.checkpoint(), Some(5));
    let both = sums("both").on::<NewCredited>(|sums, event, at| sums.add(event.cents, at));
    let both = store.project(both).unwrap();
    assert!(both.wait_for(6, LONG));
    assert_eq!(both.read(|sums, _| sums.cents), (11..=16).sum::<u64>() + 5);
}

#[test]
fn pc2_a_rebuild_has_a_policy_of_its_own() {
    let store = filled();
    let is_mended = Arc::new(Mutex::new(true));
    let handle = store
        .project(superstitious(&is_mended).on_rebuild_error(ErrorPolicy::skip()))
        .unwrap();
    assert!(handle.wait_for(5, LONG));
    *is_mended.lock().unwrap() = false;
    assert_eq!(handle.rebuild().unwrap().wait(), Rebuilt::Swapped);
    assert_eq!(handle.read(|seen, _| seen.len()), 4);
    assert_eq!((handle.skipped().len(), handle.skipped_count()), (2, 2));
    // The live one still stops.
    credit(&store, 1, 13);
    wait_for_status(&handle, is_failed);
    assert_eq!(handle.checkpoint(), Some(5));
}
