//! Chapter three: stopping.

use crate::common::{Door, LONG, Log, Loose, Numbered, finish, numbered};
use ringbolt::{Event, EventSystem, Polled, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn dr1_shutdown_drains_what_handlers_still_publish() {
    for _ in 0..20 {
        let system = EventSystem::builder()
            .workers(2)
            .lane_capacity(2)
            .build()
            .unwrap();
        system
            .subscribe(|event: &Numbered, context: &mut ringbolt::Context<'_>| {
                if event.number > 0 {
                    context
                        .publish(numbered(event.key + 1, event.number - 1))
                        .unwrap();
                }
            })
            .unwrap();
        system.publish(numbered(0, 500)).unwrap();
        let report = system.shutdown(LONG).unwrap();
        assert!(report.in_time);
        assert_eq!(report.completed, 501);
        assert_eq!(report.abandoned_events, 0);
    }
}

#[test]
fn dr1_at_the_deadline_the_rest_is_abandoned_and_listed() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let door = Door::default();
    let inner = door.clone();
    system
        .subscribe(move |_: &Numbered, _| inner.pass())
        .unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    door.wait_for(1);
    for number in 1..50 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    let report = system.shutdown(Duration::from_millis(10)).unwrap();
    assert!(!report.in_time);
    assert_eq!(report.stuck_workers.len(), 1, "the stuck worker is named");
    assert_eq!(report.waiting + report.completed, 50 - 1 + report.completed);
    door.open();
    drop(system);
}

#[test]
fn dr1_abandoned_events_are_counted_and_dropped() {
    struct Counted(Arc<AtomicUsize>);
    impl Event for Counted {
        const NAME: &'static str = "test.counted";
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("polled").polled())
        .build()
        .unwrap();
    system
        .subscription("later")
        .pool("polled")
        .handler(|_: &Counted, _| ())
        .unwrap();
    let mut publisher = system.publisher();
    for _ in 0..20 {
        publisher.publish(Counted(Arc::clone(&drops))).unwrap();
        system.publish(Counted(Arc::clone(&drops))).unwrap();
    }
    // Nobody polls: at the end what waits is abandoned by the one who stops.
    let report = system.shutdown(Duration::from_secs(1)).unwrap();
    assert_eq!(report.abandoned_events, 40);
    assert_eq!(report.abandoned_ids.len(), 40);
    assert_eq!(drops.load(Ordering::Relaxed), 40);
}

#[test]
fn dr2_shutdown_is_idempotent_and_may_be_called_from_everywhere() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let handle = system.handle();
    system
        .subscribe(move |_: &Loose, _| {
            let ticket = handle.begin_shutdown(LONG);
            assert!(ticket.wait().unwrap_err().is_would_deadlock());
        })
        .unwrap();
    system.publish(Loose(1)).unwrap();
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| system.shutdown(LONG).unwrap()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for report in &reports {
        assert!(Arc::ptr_eq(report, &reports[0]), "everybody gets the same");
    }
    assert_eq!(reports[0].completed, 1);
    assert!(Arc::ptr_eq(&system.shutdown(LONG).unwrap(), &reports[0]));
}

#[test]
fn dr2_dropping_the_system_joins_its_threads_and_drops_state() {
    let alive = Arc::new(());
    for stop_in_handler in [false, true] {
        let system = EventSystem::builder().workers(2).build().unwrap();
        let kept = Arc::clone(&alive);
        let handle = system.handle();
        system
            .subscribe(move |_: &Loose, _| {
                let _ = &kept;
                if stop_in_handler {
                    drop(handle.begin_shutdown(Duration::ZERO));
                }
            })
            .unwrap();
        let mut publisher = system.publisher();
        for number in 0..100 {
            if publisher.publish(Loose(number)).is_err() {
                break;
            }
        }
        drop(system);
    }
    // The registry keeps a subscription's closure only as long as the engine; handles inside closures
    // make a circle, which the engine's end has to cut.
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn dr2_dropping_the_system_reports_what_it_abandoned() {
    let told: Log<(u64, u64)> = Log::default();
    let log = told.clone();
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .on_stopped(move |report| {
            log.add((report.completed, report.abandoned));
            panic!("the observer has its own troubles");
        })
        .build()
        .unwrap();
    system.subscribe(|_: &Numbered, _| ()).unwrap();
    let mut publisher = system.publisher();
    for number in 0..7 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    let mut poller = system.poller("default").unwrap();
    publisher.publish(numbered(1, 7)).unwrap();
    assert_eq!(poller.poll(1), Polled::Events(8));
    publisher.publish(numbered(1, 8)).unwrap();
    drop(poller);
    drop(system);
    assert_eq!(told.all(), [(8, 1)]);
}

#[test]
fn dr1_a_batch_ends_when_the_worker_is_told_to_stop() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let door = Door::default();
    let inner = door.clone();
    system
        .subscribe(move |_: &Numbered, _| inner.pass())
        .unwrap();
    let mut publisher = system.publisher();
    for number in 0..50 {
        publisher.publish(numbered(1, number)).unwrap();
    }
    door.wait_for(1);
    let report = system.shutdown(Duration::ZERO).unwrap();
    assert_eq!(report.waiting, 49);
    door.open();
    drop(publisher);
    let handle = system.handle();
    drop(system);
    let totals = handle.report().totals;
    assert_eq!(totals.handled + totals.abandoned, 50);
    assert!(
        totals.handled <= 2,
        "the one in hand, and one that is told to be the last: {totals:?}"
    );
}

#[test]
fn dr4_two_systems_share_nothing() {
    let one = EventSystem::builder().workers(1).build().unwrap();
    let two = EventSystem::builder().workers(1).build().unwrap();
    let (log_one, log_two): (Log<u64>, Log<u64>) = Default::default();
    let (a, b) = (log_one.clone(), log_two.clone());
    one.subscribe(move |event: &Loose, _| a.add(event.0))
        .unwrap();
    two.subscribe(move |event: &Loose, _| b.add(event.0))
        .unwrap();
    one.publish(Loose(1)).unwrap();
    two.publish(Loose(2)).unwrap();
    finish(&one);
    two.publish(Loose(3)).unwrap();
    finish(&two);
    assert_eq!(log_one.all(), [1]);
    assert_eq!(log_two.all(), [2, 3]);
    assert_eq!(one.report().published, 1);
    assert_eq!(two.report().published, 2);
}

#[test]
fn a_polled_pool_runs_on_the_users_thread() {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("mine").polled())
        .build()
        .unwrap();
    let here = std::thread::current().id();
    let seen: Log<u64> = Log::default();
    let log = seen.clone();
    system
        .subscription("mine")
        .pool("mine")
        .handler(move |event: &Numbered, _| {
            assert_eq!(std::thread::current().id(), here);
            log.add(event.number);
        })
        .unwrap();
    let mut publisher = system.publisher();
    publisher.publish(numbered(1, 0)).unwrap();
    let mut poller = system.poller("mine").unwrap();
    assert!(system.poller("mine").unwrap_err().is_conflict());
    assert_eq!(poller.poll(1), Polled::Events(1));
    assert_eq!(poller.poll(1), Polled::Events(0));
    publisher.publish(numbered(1, 1)).unwrap();
    drop(poller);
    publisher.publish(numbered(1, 2)).unwrap();
    let mut poller = system.poller("mine").unwrap();
    assert_eq!(poller.poll(10), Polled::Events(2));
    assert_eq!(seen.all(), [0, 1, 2]);
    assert!(system.shutdown(LONG).unwrap_err().is_would_deadlock());
    let ticket = system.begin_shutdown(LONG);
    while poller.poll(1) != Polled::Stopped {
        poller.wait(Duration::from_millis(1));
    }
    assert!(ticket.wait().unwrap().in_time);
}

#[test]
fn pd8_a_subscription_that_its_poller_has_not_read_of_is_counted_when_the_stop_was_faster() {
    let system = EventSystem::builder()
        .pool(Pool::new("mine").polled())
        .build()
        .unwrap();
    let mut poller = system.poller("mine").unwrap();
    // On the poller's own thread nobody waits for the letter to be read.
    let subscription = system
        .subscription("late")
        .pool("mine")
        .handler(|_: &Numbered, _| -> () { unreachable!("the engine has stopped") })
        .unwrap();
    system.publish(numbered(1, 0)).unwrap();
    let handle = system.handle();
    let stop = std::thread::spawn(move || handle.shutdown(Duration::ZERO).unwrap());
    let report = stop.join().unwrap();
    assert_eq!(
        report.stuck_workers.len(),
        1,
        "a poller that does not poll is given up"
    );
    assert_eq!(poller.poll(1), Polled::Stopped);
    let counts = subscription.counts();
    assert_eq!((counts.admitted, counts.abandoned), (1, 1), "{counts:?}");
}
