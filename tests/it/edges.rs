//! Chapter four: corners in which the engine once broke a promise; each test failed before its mend.

use crate::common::LONG;
use ringbolt::{
    AsKey, Class, Context, Ended, Event, EventSystem, Failure, Handler, Key, NoHandler, Options,
    Outcome, Polled, Pool,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

struct E(u64, u64); // key, number
impl Event for E {
    const NAME: &'static str = "edges.e";
    fn key(&self) -> Key<'_> {
        self.0.as_key()
    }
}
struct Nobody(Option<&'static str>);
impl Event for Nobody {
    const NAME: &'static str = "edges.nobody";
    fn key(&self) -> Key<'_> {
        Key::U64(1)
    }
}
impl Drop for Nobody {
    fn drop(&mut self) {
        if let Some(text) = self.0.take()
            && !std::thread::panicking()
        {
            panic!("{text}")
        }
    }
}
struct Bad(u64);
impl Event for Bad {
    const NAME: &'static str = "edges.bad";
    fn key(&self) -> Key<'_> {
        self.0.as_key()
    }
}
impl Drop for Bad {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("drop")
        }
    }
}

fn bounded<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = tx.send(f());
    });
    rx.recv_timeout(Duration::from_secs(15))
        .unwrap_or_else(|e| panic!("{what}: hangs or panicked ({e})"))
}

#[test]
fn pd3_critical_is_taken_at_the_smallest_limit_too() {
    let error = EventSystem::builder()
        .starvation_limit(5)
        .build()
        .unwrap_err();
    assert!(error.is_setting());
    assert!(
        error.to_string().contains("starvation_limit: 5 is below 6"),
        "{error}"
    );
    for limit in 6..=9 {
        let system = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .starvation_limit(limit)
            .batch_max(8)
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&seen);
        system
            .subscribe(move |_: &E, c: &mut Context<'_>| log.lock().unwrap().push(c.class()))
            .unwrap();
        let mut publisher = system.publisher();
        for number in 0..100 {
            for class in Class::ALL {
                let options = Options::new().class(class);
                publisher.publish_with(E(1, number), options).unwrap();
            }
        }
        let mut poller = system.poller("default").unwrap();
        while seen.lock().unwrap().len() < 400 {
            poller.poll(1);
        }
        let seen = seen.lock().unwrap();
        // The longest run of others while a class still has events.
        let gap = |class: Class| {
            let end = seen.iter().rposition(|other| *other == class).unwrap();
            seen[..end]
                .split(|other| *other == class)
                .map(<[Class]>::len)
                .max()
                .unwrap()
        };
        assert!(
            gap(Class::Critical) <= 3,
            "limit {limit}: {}",
            gap(Class::Critical)
        );
        for class in [Class::High, Class::Normal, Class::Low] {
            assert!(gap(class) <= limit, "limit {limit}: {class} {}", gap(class));
        }
    }
}

fn two_pools_bad(by_context: bool) -> (u64, String) {
    bounded("shutdown", move || {
        let system = EventSystem::builder()
            .workers(1)
            .pool(Pool::new("other"))
            .pool(Pool::new("third"))
            .build()
            .unwrap();
        system.subscribe(|_: &Bad, _| ()).unwrap();
        system
            .subscription("o")
            .pool("other")
            .handler(|_: &Bad, _| ())
            .unwrap();
        let panics = Arc::new(AtomicU64::new(0));
        let inner = Arc::clone(&panics);
        system
            .subscription("t")
            .pool("third")
            .handler(move |e: &E, c: &mut Context<'_>| {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    c.publish(Bad(e.1)).unwrap()
                }))
                .is_err()
                {
                    inner.fetch_add(1, Ordering::SeqCst);
                }
            })
            .unwrap();
        for n in 0..2_000 {
            if by_context {
                system.publish(E(n, n)).unwrap();
                if n % 100 == 0 {
                    std::thread::yield_now();
                }
            } else if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                system.publish(Bad(n)).unwrap()
            }))
            .is_err()
            {
                panics.fetch_add(1, Ordering::SeqCst);
            }
            if panics.load(Ordering::SeqCst) > 0 {
                break;
            }
        }
        let report = system.shutdown(LONG).unwrap();
        (panics.load(Ordering::SeqCst), format!("{report:?}"))
    })
}
#[test]
fn pd1_an_event_for_two_pools_whose_drop_panics_by_handle() {
    assert_eq!(two_pools_bad(false).0, 0);
}
#[test]
fn pd1_an_event_for_two_pools_whose_drop_panics_by_context() {
    assert_eq!(two_pools_bad(true).0, 0);
}

#[test]
fn pd7_a_poller_goes_while_another_thread_subscribes() {
    bounded("subscribing beside pollers that come and go", || {
        let system = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .build()
            .unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let mut p = system.poller("default").unwrap();
                    p.poll(1);
                    drop(p);
                }
            });
            for _ in 0..4_000 {
                let sub = system.subscribe(|_: &E, _| ()).unwrap();
                sub.unsubscribe().unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        system.shutdown(LONG).unwrap();
    });
}

#[test]
fn pd8_an_unmanned_pool_counts_what_it_abandons() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let sub = system.subscribe(|_: &E, _| ()).unwrap();
    let receipt = system.publish_tracked(E(1, 1)).unwrap();
    let report = system.shutdown(LONG).unwrap();
    assert_eq!(report.abandoned_events, 1);
    assert_eq!(receipt.peek(), (vec![(sub.id(), Ended::Abandoned)], true));
    assert_eq!(
        (
            sub.counts().admitted,
            sub.counts().abandoned,
            report.abandoned
        ),
        (1, 1, 1)
    );
}

struct H;
impl Handler<E> for H {
    fn handle(&mut self, _: &E, _: &mut Context<'_>) -> Outcome {
        Outcome::Handled
    }
}
#[test]
fn pd7_a_failing_factory_beside_the_threads_own_poller() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let mut poller = system.poller("default").unwrap();
    let result = system
        .subscription("f")
        .factory(|_| Err::<H, _>(Failure::new("no")))
        .on::<E>()
        .register();
    system.publish(E(1, 1)).unwrap();
    poller.poll(1);
    assert!(
        result.is_err() || system.report().subscriptions.is_empty(),
        "subscribed, and no handler anywhere"
    );
}

#[test]
fn pd2_the_inbox_is_causal_also_between_workers_that_spill() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .pool(Pool::new("a").polled())
        .pool(Pool::new("b").polled())
        .inbox_capacity(1)
        .build()
        .unwrap();
    let seen = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&seen);
    system
        .subscribe(move |e: &E, _| log.lock().unwrap().push(e.1))
        .unwrap();
    struct Go(u64);
    impl Event for Go {
        const NAME: &'static str = "edges.go";
    }
    struct Go2(u64);
    impl Event for Go2 {
        const NAME: &'static str = "edges.go2";
    }
    let (h1, h2) = (system.handle(), system.handle());
    system
        .subscription("a")
        .pool("a")
        .handler(move |e: &Go, _| h1.publish(E(1, e.0)).unwrap())
        .unwrap();
    system
        .subscription("b")
        .pool("b")
        .handler(move |e: &Go2, _| h2.publish(E(1, e.0)).unwrap())
        .unwrap();
    let (mut main, mut a, mut b) = (
        system.poller("default").unwrap(),
        system.poller("a").unwrap(),
        system.poller("b").unwrap(),
    );
    system.publish(E(1, 0)).unwrap(); // fills the inbox
    system.publish(Go(1)).unwrap();
    a.poll(1); // spilled by a
    system.publish(Go2(2)).unwrap();
    b.poll(1); // spilled by b, after a's publish has returned
    main.poll(1);
    b.poll(1); // b flushes first
    for _ in 0..4 {
        main.poll(1);
        a.poll(1);
        b.poll(1);
    }
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2]);
    let ticket = system.begin_shutdown(LONG);
    while ticket.peek().is_none() {
        for poller in [&mut main, &mut a, &mut b] {
            poller.poll(1);
            poller.wait(Duration::from_millis(1));
        }
    }
    assert!(ticket.wait().unwrap().in_time);
}

#[test]
fn pd11_for_nobody_while_draining_is_not_counted_as_published() {
    for way in ["publisher", "handle"] {
        let system = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .no_handler(NoHandler::Error)
            .build()
            .unwrap();
        let publisher = Mutex::new(system.publisher());
        let handle = Mutex::new(Some(system.handle()));
        let result = Arc::new(Mutex::new(None));
        let out = Arc::clone(&result);
        system
            .subscribe(move |_: &E, _| {
                *out.lock().unwrap() = Some(match way {
                    "publisher" => publisher.lock().unwrap().publish(Nobody(None)).is_ok(),
                    _ => handle
                        .lock()
                        .unwrap()
                        .take()
                        .unwrap()
                        .publish(Nobody(None))
                        .is_ok(),
                });
            })
            .unwrap();
        let mut poller = system.poller("default").unwrap();
        system.publish(E(1, 1)).unwrap();
        let ticket = system.begin_shutdown(LONG);
        while !system
            .publisher()
            .try_publish(Nobody(None))
            .is_err_and(|e| e.is_closed())
        {
            std::thread::yield_now()
        }
        while poller.poll(1) != Polled::Stopped {
            poller.wait(Duration::from_millis(1));
        }
        ticket.wait().unwrap();
        let report = system.report();
        assert_eq!(
            report.published, 1,
            "{way}: an event for nobody counted as published"
        );
    }
}

#[test]
fn dr1_for_nobody_while_draining_with_a_panicking_drop_does_not_hang_the_stop() {
    for way in ["publisher", "handle"] {
        bounded(way, move || {
            let system = EventSystem::builder().workers(1).build().unwrap();
            let publisher = Mutex::new(system.publisher());
            let handle = Mutex::new(Some(system.handle()));
            let (tx, rx) = mpsc::channel::<()>();
            let rx = Mutex::new(rx);
            system
                .subscribe(move |_: &E, _| {
                    rx.lock().unwrap().recv().unwrap();
                    match way {
                        "publisher" => {
                            drop(publisher.lock().unwrap().publish(Nobody(Some("drop"))))
                        }
                        _ => drop(
                            handle
                                .lock()
                                .unwrap()
                                .take()
                                .unwrap()
                                .publish(Nobody(Some("drop"))),
                        ),
                    }
                })
                .unwrap();
            system.publish(E(1, 1)).unwrap();
            let ticket = system.begin_shutdown(LONG);
            while !system
                .publisher()
                .try_publish(Nobody(None))
                .is_err_and(|e| e.is_closed())
            {
                std::thread::yield_now()
            }
            tx.send(()).unwrap();
            ticket.wait().unwrap();
        });
    }
}

#[test]
fn pd8_what_was_spilled_for_another_pool_is_abandoned_for_the_right_one() {
    struct Go;
    impl Event for Go {
        const NAME: &'static str = "edges.go3";
    }
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .pool(Pool::new("other").polled())
        .lane_capacity(1)
        .batch_max(1)
        .build()
        .unwrap();
    let here = system.subscribe(|_: &E, _| ()).unwrap();
    let there = system
        .subscription("there")
        .pool("other")
        .handler(|_: &E, _| ())
        .unwrap();
    system
        .subscribe(|_: &Go, c: &mut Context<'_>| {
            for n in 0..3 {
                c.publish(E(1, n)).unwrap()
            }
        })
        .unwrap();
    let (mut a, b) = (
        system.poller("default").unwrap(),
        system.poller("other").unwrap(),
    );
    system.publish(Go).unwrap();
    assert_eq!(a.poll(1), Polled::Events(1));
    let ticket = system.begin_shutdown(Duration::ZERO);
    while !system.try_publish(Go).is_err_and(|e| e.is_closed()) {
        std::thread::yield_now()
    }
    let mut pollers = [a, b];
    while ticket.peek().is_none() {
        for poller in &mut pollers {
            poller.poll(1);
            poller.wait(Duration::from_millis(1));
        }
    }
    let report = ticket.wait().unwrap();
    // Pollers may have handled some before they read that they are to stop.
    assert_eq!(
        (here.counts().admitted, there.counts().admitted),
        (3, 3),
        "{report:?}"
    );
}

#[test]
fn dr2_a_poller_that_goes_while_the_engine_stops_loses_nothing() {
    let mut lost = 0;
    for _ in 0..300 {
        let system = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .lane_capacity(2)
            .inbox_capacity(2)
            .build()
            .unwrap();
        let sub = system.subscribe(|_: &E, _| ()).unwrap();
        let poller = system.poller("default").unwrap();
        system.publish(E(1, 1)).unwrap();
        let ticket = system.begin_shutdown(Duration::ZERO);
        while !system.try_publish(E(1, 2)).is_err_and(|e| e.is_closed()) {
            std::thread::yield_now()
        }
        drop(poller);
        let report = ticket.wait().unwrap();
        if report.abandoned_events == 0 {
            lost += 1
        }
        let _ = sub;
    }
    assert_eq!(lost, 0);
}

#[test]
fn pd7_unsubscribe_waits_for_a_call_that_outlives_the_stop() {
    let system = EventSystem::builder().workers(1).build().unwrap();
    let door = crate::common::Door::default();
    let inner = door.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let subscription = system
        .subscribe(move |_: &E, _| {
            inner.pass();
            over.store(true, Ordering::SeqCst);
        })
        .unwrap();
    system.publish(E(1, 1)).unwrap();
    door.wait_for(1);
    assert_eq!(
        system.shutdown(Duration::ZERO).unwrap().stuck_workers.len(),
        1
    );
    std::thread::scope(|scope| {
        let ticket = subscription.begin_unsubscribe();
        assert!(!ticket.is_complete(), "the handler is running");
        scope.spawn(|| door.open());
        ticket.wait().unwrap();
        assert!(is_over.load(Ordering::SeqCst));
    });
}

#[test]
fn pd8_a_poller_that_goes_after_the_stop_leaves_nothing_open() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let subscription = system.subscribe(|_: &E, _| ()).unwrap();
    let poller = system.poller("default").unwrap();
    let receipt = system.publish_tracked(E(1, 1)).unwrap();
    assert!(receipt.wait().unwrap_err().is_would_deadlock());
    let ticket = system.begin_shutdown(Duration::ZERO);
    while ticket.peek().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(ticket.peek().unwrap().stuck_workers.len(), 1);
    drop(poller);
    assert_eq!(
        receipt.wait().unwrap(),
        [(subscription.id(), Ended::Abandoned)]
    );
    assert_eq!(subscription.counts().abandoned, 1);
}

#[test]
fn pd5_a_poller_that_publishes_to_its_own_full_pool_does_not_wait() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .lane_capacity(1)
        .inbox_capacity(1)
        .build()
        .unwrap();
    system.subscribe(|_: &E, _| ()).unwrap();
    let mut poller = system.poller("default").unwrap();
    let mut publisher = system.publisher();
    publisher.publish(E(1, 1)).unwrap();
    system.publish(E(1, 2)).unwrap();
    for refused in [publisher.publish(E(1, 3)), system.publish(E(1, 3))] {
        assert!(matches!(
            refused,
            Err(ringbolt::PublishError::WouldDeadlock(_))
        ));
    }
    while poller.poll(1) != Polled::Events(0) {}
    publisher.publish(E(1, 3)).unwrap();
}

#[test]
fn pd7_a_factory_that_subscribes_inside_a_poller_is_refused() {
    let system = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .build()
        .unwrap();
    let handle = system.handle();
    system
        .subscription("inner")
        .factory(move |_| match handle.subscribe(|_: &E, _| ()) {
            Err(error) if error.is_would_deadlock() => Ok(H),
            other => Err(Failure::new(format!("{other:?}"))),
        })
        .on::<E>()
        .register()
        .unwrap();
    drop(system.poller("default").unwrap());
}

#[test]
fn pd5_a_worker_with_nowhere_to_spill_goes_on_when_there_is_room() {
    let system = EventSystem::builder()
        .workers(1)
        .pool(Pool::new("far").polled())
        .lane_capacity(1)
        .build()
        .unwrap();
    system
        .subscription("far")
        .pool("far")
        .handler(|_: &Empty, _| ())
        .unwrap();
    let here = system
        .subscribe(|event: &E, c: &mut Context<'_>| {
            for _ in 0..event.1 {
                c.publish(Empty).unwrap();
            }
        })
        .unwrap();
    system.publish(E(1, 5)).unwrap();
    system.publish(E(1, 0)).unwrap();
    let mut poller = system.poller("far").unwrap();
    let mut far = 0;
    while far < 5 {
        if let Polled::Events(count) = poller.poll(1) {
            far += count;
        }
        std::thread::yield_now();
    }
    while here.counts().handled < 2 {
        std::thread::yield_now();
    }
}

/// An event without a key or a value.
struct Empty;

impl Event for Empty {
    const NAME: &'static str = "edges.empty";
}

#[test]
fn settings_that_nothing_can_hold_are_refused() {
    let error = EventSystem::builder()
        .pool(Pool::new("a\0b"))
        .lane_capacity(usize::MAX)
        .inbox_capacity(1 << 40)
        .build()
        .unwrap_err();
    assert!(error.is_setting());
    for part in ["lane_capacity: ", "inbox_capacity: ", "\"a\\0b\""] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
