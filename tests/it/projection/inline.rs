//! Projections that are applied in the append.

use super::*;
use ringbolt::store::AppendError;
use std::sync::Arc;

#[test]
fn what_was_appended_is_in_the_view() {
    let store = small();
    let handle = store.project_inline(sums("sums")).unwrap();
    std::thread::scope(|scope| {
        for account in 0..8 {
            let (store, handle) = (&store, &handle);
            scope.spawn(move || {
                for number in 0..500 {
                    let position = credit(store, account, number);
                    handle.read(|sums, checkpoint| {
                        assert!(checkpoint >= Some(position), "{checkpoint:?} {position}");
                        assert_eq!(sums.last, checkpoint);
                    });
                    assert!(handle.wait_for(position, Duration::ZERO));
                }
            });
        }
    });
    let whole = store.project(sums("whole")).unwrap();
    assert!(whole.wait_for(3_999, LONG));
    assert_eq!(handle.export(), whole.export());
    drop(handle);
    credit(&store, 1, 1);
}

#[test]
fn it_begins_with_what_is_there_and_misses_nothing_of_what_is_being_appended() {
    for _ in 0..50 {
        let store = small();
        std::thread::scope(|scope| {
            let appending =
                scope.spawn(|| (0..20).for_each(|number| _ = credit(&store, 1, number)));
            let handle = store.project_inline(sums("sums")).unwrap();
            appending.join().unwrap();
            handle.read(|sums, checkpoint| assert_eq!((sums.events, checkpoint), (20, Some(19))));
        });
    }
}

#[test]
fn pc2_a_panic_stops_the_view_and_not_the_append() {
    let store = small();
    let is_mended = Arc::new(Mutex::new(false));
    let mended = Arc::clone(&is_mended);
    let projection = sums("sums").on::<Credited>(move |_, event, _| {
        let is_mended = *mended.lock().unwrap_or_else(|lock| lock.into_inner());
        assert!(event.cents != 13 || is_mended, "thirteen");
    });
    let handle = store.project_inline(projection).unwrap();
    (11..=15).for_each(|cents| _ = credit(&store, 1, cents));
    let Status::Failed {
        position: 2,
        reason,
    } = handle.status()
    else {
        panic!("{:?}", handle.status())
    };
    assert_eq!(reason, "the function panicked: thirteen");
    assert_eq!((handle.checkpoint(), store.reader().end()), (Some(1), 5));
    *is_mended.lock().unwrap() = true;
    handle.resume().unwrap();
    handle
        .read(|sums, checkpoint| assert_eq!((sums.cents, checkpoint), ((11..=15).sum(), Some(4))));
}

#[test]
fn an_append_from_inside_is_refused() {
    let store = small();
    let (own, told) = (store.clone(), Arc::new(Mutex::new(None)));
    let refused = Arc::clone(&told);
    let projection = Projection::new("inside", 0).on::<Credited>(move |count, event, _| {
        let again = own.append("others", ExpectedVersion::Any, event);
        *refused.lock().unwrap() = Some(again.unwrap_err());
        // A mark is not asked for admission; it is found by whoever is inside.
        own.truncate("account-1", 0).unwrap();
        *count += 1;
    });
    let handle = store.project_inline(projection).unwrap();
    credit(&store, 1, 1);
    assert_eq!(*told.lock().unwrap(), Some(AppendError::WouldDeadlock));
    handle.read(|count, checkpoint| {
        assert_eq!((*count, checkpoint), (1, Some(1)));
        let event = Credited {
            account: 1,
            cents: 1,
        };
        let refused = store.append("account-1", ExpectedVersion::Any, &event);
        assert_eq!(refused.unwrap_err(), AppendError::WouldDeadlock);
    });
    assert_eq!(store.reader().end(), 2);
}

#[test]
fn a_paused_one_lets_appends_pass_and_catches_up() {
    let store = small();
    let handle = store.project_inline(sums("sums").batch(2)).unwrap();
    credit(&store, 1, 1);
    handle.pause().unwrap();
    (0..9).for_each(|_| _ = credit(&store, 1, 1));
    assert_eq!((handle.checkpoint(), handle.lag()), (Some(0), 9));
    handle.resume().unwrap();
    assert_eq!((handle.checkpoint(), handle.lag()), (Some(9), 0));
    handle.reset().unwrap();
    handle.read(|sums, checkpoint| assert_eq!((sums.events, checkpoint), (10, Some(9))));
}
