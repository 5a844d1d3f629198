//! Errors as data: what observers are told, what is counted, what escalates.

use crate::common::{Log, Loose, Numbered, finish, numbered};
use ringbolt::{
    Category, Clock, Context, ErrorEvent, Escalated, Escalation, EventSystem, Failure, Handler,
    Metadata, Options, Outcome, Polled, Pool, Severity,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A polled engine on a clock that stands still, so that a test says when what happens.
fn polled() -> (ringbolt::Builder, ringbolt::ManualClock) {
    let (clock, hand) = Clock::manual();
    let builder = EventSystem::builder()
        .pool(Pool::new("default").polled())
        .clock(clock);
    (builder, hand)
}

fn run_dry(system: &EventSystem) {
    let mut poller = system.poller("default").unwrap();
    while poller.poll(1) != Polled::Events(0) {}
}

#[test]
fn every_failed_delivery_is_told_once_to_each_observer_and_counted_once() {
    let (first, second): (Log<ErrorEvent>, Log<u64>) = Default::default();
    let (log, numbers) = (first.clone(), second.clone());
    let (builder, _hand) = polled();
    let system = builder
        .on_error(move |error| log.add(error.clone()))
        .on_error(move |error| numbers.add(error.occurrences))
        .build()
        .unwrap();
    let odd = system
        .subscription("odd")
        .handler(|event: &Numbered, _| match event.number % 4 {
            1 => Outcome::Failed(Failure::new("odd")),
            3 => panic!("very odd"),
            _ => Outcome::Handled,
        })
        .unwrap();
    system
        .subscription("fine")
        .handler(|_: &Numbered, _| ())
        .unwrap();
    let seen: Log<String> = Log::default();
    let ids = seen.clone();
    system
        .subscription("ids")
        .handler(move |event: &Numbered, context: &mut Context<'_>| {
            if event.number % 2 == 1 {
                ids.add(format!("{} {}", context.id(), context.correlation_id()));
            }
        })
        .unwrap();
    for number in 0..12 {
        let metadata = Metadata::new().with("tenant", "blue");
        system
            .publish_with(numbered(1, number), Options::new().metadata(metadata))
            .unwrap();
    }
    run_dry(&system);
    let told = first.all();
    assert_eq!(told.len() as u64, odd.counts().failed);
    let told_ids: Vec<String> = told
        .iter()
        .map(|it| format!("{} {}", it.event_id.unwrap(), it.correlation_id.unwrap()))
        .collect();
    assert_eq!(told_ids, seen.all());
    let told: Vec<_> = told
        .iter()
        .map(|it| (it.category, it.message.as_str(), it.occurrences))
        .collect();
    let (failed, panicked) = ((Category::Handler, "odd"), (Category::Panic, "very odd"));
    let expected: Vec<_> = (1..=3)
        .flat_map(|nth| [(failed.0, failed.1, nth), (panicked.0, panicked.1, nth)])
        .collect();
    assert_eq!(told, expected);
    assert_eq!(second.all(), [1, 1, 2, 2, 3, 3]);
    let one = &first.all()[0];
    assert_eq!(one.severity, Severity::Error);
    assert_eq!(one.component, "subscription odd");
    assert_eq!(one.subscription, Some(odd.id()));
    assert_eq!(one.event, Some("test.numbered"));
    assert_eq!(
        (one.pool, one.worker, one.attempt),
        (Some(0), Some(0), Some(1))
    );
    assert_eq!(one.will_retry_after_ms, None);
    assert_eq!(one.chain, ["odd"]);
    assert_eq!(one.context["tenant"], "blue");
    assert_eq!(one.wall_ms, 1_577_836_800_000);
    let counts = system.error_counts();
    assert_eq!(counts.total().error, 6);
    let rows: Vec<_> = counts
        .rows
        .iter()
        .map(|row| (row.event, row.subscription, row.category, row.counts.error))
        .collect();
    let (event, id) = (Some("test.numbered"), Some(odd.id()));
    assert_eq!(
        rows,
        [
            (event, id, Category::Handler, 3),
            (event, id, Category::Panic, 3)
        ]
    );
    finish(&system);
}

#[test]
fn errors_are_counted_with_nobody_listening_and_stay_counted_after_unsubscribing() {
    let system = EventSystem::builder().workers(2).build().unwrap();
    let broken = system
        .subscription("broken")
        .handler(|_: &Loose, _| Outcome::Failed(Failure::new("no")))
        .unwrap();
    for number in 0..100 {
        system.publish(Loose(number)).unwrap();
    }
    finish(&system);
    let counts = system.error_counts();
    assert_eq!(broken.counts().failed, 100);
    assert_eq!(counts.rows.len(), 1);
    assert_eq!(counts.rows[0].subscription_name.as_deref(), Some("broken"));
    assert_eq!(counts.rows[0].counts.error, 100);
}

struct Fragile;

impl Handler<Loose> for Fragile {
    fn handle(&mut self, _: &Loose, _: &mut Context<'_>) -> Outcome {
        panic!("it broke")
    }
}

#[test]
fn a_state_that_cannot_be_made_anew_is_a_critical_error() {
    let told: Log<(Severity, Category, String)> = Log::default();
    let log = told.clone();
    let (builder, _hand) = polled();
    let system = builder
        .on_error(move |error| log.add((error.severity, error.category, error.message.clone())))
        .build()
        .unwrap();
    // A polled pool makes the state when its poller comes.
    let made = Arc::new(AtomicU64::new(0));
    system
        .subscription("fragile")
        .factory(move |_| match made.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Fragile),
            _ => Err(Failure::new("out of parts")),
        })
        .on::<Loose>()
        .register()
        .unwrap();
    (0..2).for_each(|number| system.publish(Loose(number)).unwrap());
    run_dry(&system);
    let lost = "the handler's state was lost in a panic and its factory failed to make another";
    assert_eq!(
        told.all(),
        [
            (Severity::Error, Category::Panic, "it broke".to_owned()),
            (
                Severity::Critical,
                Category::Factory,
                "out of parts".to_owned()
            ),
            (Severity::Error, Category::Handler, lost.to_owned()),
        ]
    );
    finish(&system);
}

#[test]
fn many_errors_escalate_once_per_cool_down_and_observers_see_the_raised_one() {
    let (told, escalated): (Log<Severity>, Log<Escalated>) = Default::default();
    let (log, calls) = (told.clone(), escalated.clone());
    let (builder, hand) = polled();
    let system = builder
        .on_error(move |error| log.add(error.severity))
        .escalate(
            Escalation::new("broken a lot")
                .count(3)
                .within(Duration::from_secs(10))
                .only_subscription("broken")
                .cool_down(Duration::from_secs(60))
                .on_escalated(move |it| {
                    calls.add(it.clone());
                    panic!("the handler has its own troubles");
                }),
        )
        .build()
        .unwrap();
    system
        .subscription("broken")
        .handler(|_: &Loose, _| Outcome::Failed(Failure::new("no")))
        .unwrap();
    let mut poller = system.poller("default").unwrap();
    // An error each 4 seconds: the third lies 8 behind the first, and the cool-down ends 60 behind that.
    for number in 0..20 {
        system.publish(Loose(number)).unwrap();
        while poller.poll(1) != Polled::Events(0) {}
        hand.advance(Duration::from_secs(4));
    }
    let raised: Vec<usize> = (0..20)
        .filter(|&nth| told.all()[nth] == Severity::Critical)
        .collect();
    assert_eq!(raised, [2, 17]);
    let calls = escalated.all();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].rule.as_str(), calls[0].count, calls[0].window_ms),
        ("broken a lot", 3, 10_000)
    );
    assert_eq!(calls[0].last.occurrences, 3);
    assert_eq!(calls[1].last.occurrences, 18);
    let counts = system.error_counts();
    assert_eq!((counts.escalations, counts.observer_panics), (2, 2));
    assert_eq!((counts.total().error, counts.total().critical), (18, 2));
    drop(poller);
    finish(&system);
}

#[test]
fn bad_rules_are_refused_with_all_other_bad_settings() {
    let error = EventSystem::builder()
        .lane_capacity(0)
        .escalate(Escalation::new("never").count(0))
        .escalate(Escalation::new("down").to(Severity::Info))
        .build()
        .unwrap_err();
    assert!(error.is_setting());
    let text = error.to_string();
    for part in [
        "lane_capacity: 0 is below 1",
        "escalation never: count: 0 is below 1",
        "escalation down: to: info is not above the counted severity error",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn pd6_an_endless_chain_of_errors_ends() {
    #[derive(Debug)]
    struct Endless;
    impl std::fmt::Display for Endless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("and so on")
        }
    }
    impl std::error::Error for Endless {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&Endless)
        }
    }
    // Its source says the same as it does.
    assert_eq!(Failure::from(Endless).chain(), ["and so on"]);
    // Below a message of its own.
    assert!(Failure::from(std::io::Error::other(Endless)).chain().len() < 100);
}
