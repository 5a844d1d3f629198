//! Counts, observers and rules, without an engine around them.

use super::counts::ROWS_MAX;
use super::escalation::{COUNT_MAX, Watch};
use super::*;
use crate::event::{Event, EventType, Metadata};
use crate::outcome::Failure;
use crate::sync::{Arc, Mutex, Weak, thread};
use proptest::prelude::*;
use std::time::Duration;

struct Placed;

impl Event for Placed {
    const NAME: &'static str = "order.placed";
}

/// What an observer or a handler was told.
struct Told<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone + Send + 'static> Told<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn listener(&self) -> impl Fn(&T) + Send + Sync + use<T> {
        let told = Arc::clone(&self.0);
        move |value| told.lock().push(value.clone())
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().clone()
    }
}

/// A hub with one observer that keeps what it is told.
fn watched(rules: Vec<Escalation>) -> (ErrorHub, Told<ErrorEvent>) {
    let told = Told::new();
    (ErrorHub::new(vec![Arc::new(told.listener())], rules), told)
}

/// A failed delivery of the subscription `billing`.
fn billing(failure: &Failure) -> Draft<'_> {
    Draft {
        subscription: Some((7, "billing")),
        event_type: Some(EventType::<Placed>::of().index()),
        worker: Some((0, 3)),
        attempt: Some(2),
        ..Draft::of_failure(failure)
    }
}

fn at(draft: Draft<'_>, now_ns: u64) -> Draft<'_> {
    Draft { now_ns, ..draft }
}

/// Raises an error at each of these times; at which of them the rule called its handler.
#[track_caller]
fn check(rule: Escalation, times: &[u64], expected: &[u64]) {
    let told = Told::new();
    let failure = Failure::new("no");
    let (hub, seen) = watched(vec![rule.on_escalated(told.listener())]);
    for &now_ns in times {
        let draft = at(billing(&failure), now_ns);
        hub.raise(Draft {
            wall_ms: now_ns,
            ..draft
        });
    }
    let escalated: Vec<u64> = told.all().iter().map(|it| it.last.wall_ms).collect();
    assert_eq!(escalated, expected);
    // What was raised in severity is what was escalated, and nothing else.
    let raised: Vec<u64> = seen
        .all()
        .iter()
        .filter(|event| event.severity == Severity::Critical)
        .map(|event| event.wall_ms)
        .collect();
    assert_eq!(raised, expected);
    assert_eq!(hub.counts().escalations, expected.len() as u64);
    assert_eq!(hub.counts().total().total(), times.len() as u64);
}

fn three_in_ten() -> Escalation {
    Escalation::new("three in ten")
        .count(3)
        .within(Duration::from_nanos(10))
}

#[test]
fn escalation_fires_at_its_count_within_the_window() {
    check(three_in_ten(), &[0, 1], &[]);
    check(three_in_ten(), &[0, 1, 2], &[2]);
    // No further apart than the window is long: the bound is in it.
    check(three_in_ten(), &[0, 5, 10], &[10]);
    check(three_in_ten(), &[0, 5, 11], &[]);
    // The window slides, and does not begin anew.
    check(three_in_ten(), &[0, 9, 18, 19], &[19]);
    check(three_in_ten().count(1), &[4], &[4]);
}

#[test]
fn escalation_fires_once_per_cool_down() {
    let rule = || three_in_ten().cool_down(Duration::from_nanos(100));
    let dense: Vec<u64> = (0..=250).collect();
    check(rule(), &dense, &[2, 102, 202]);
    // Errors count during the cool-down: the first one after it is the third of its window.
    check(rule(), &[0, 1, 2, 95, 96, 102], &[2, 102]);
    // With nothing left in the window it takes as many as at first.
    check(rule(), &[0, 1, 2, 150, 151, 152, 153], &[2, 152]);
    // As long as the window, where nothing was said.
    check(three_in_ten(), &dense[..=13], &[2, 12]);
    // None at all, where that was said.
    let always = three_in_ten().cool_down(Duration::ZERO);
    check(always, &[0, 1, 2, 3, 50], &[2, 3]);
}

#[test]
fn escalation_takes_an_earlier_time_for_the_last() {
    check(three_in_ten(), &[20, 5, 20], &[20]);
    check(three_in_ten(), &[20, 5, 31], &[]);
    check(three_in_ten(), &[u64::MAX, 0, 0], &[0]);
}

#[test]
fn escalation_counts_only_what_it_is_for() {
    let error = Failure::new("no");
    let panic = Failure::panicked("oh".to_owned());
    let other = Draft {
        subscription: Some((8, "shipping")),
        ..billing(&error)
    };
    let mild = Draft {
        severity: Severity::Warning,
        ..billing(&error)
    };
    let nowhere = Draft::new(Severity::Critical, Category::Worker, "gone");
    let all = [billing(&error), billing(&panic), other, mild, nowhere];
    let rule = || Escalation::new("one").count(1);
    for (rule, expected) in [
        (rule(), vec![0, 1, 2, 4]),
        (rule().at_least(Severity::Warning), vec![0, 1, 2, 3, 4]),
        (rule().only_category(Category::Panic), vec![1]),
        (rule().only_subscription("billing"), vec![0, 1]),
        (
            rule()
                .only_subscription("shipping")
                .only_category(Category::Panic),
            vec![],
        ),
    ] {
        let told = Told::new();
        let rule = rule.cool_down(Duration::ZERO);
        let (hub, _) = watched(vec![rule.on_escalated(told.listener())]);
        for (number, draft) in all.iter().enumerate() {
            hub.raise(Draft {
                wall_ms: number as u64,
                ..*draft
            });
        }
        let escalated: Vec<u64> = told.all().iter().map(|it| it.last.wall_ms).collect();
        assert_eq!(escalated, expected);
    }
}

#[test]
fn escalation_never_lowers_a_severity() {
    let rule = Escalation::new("mild")
        .count(1)
        .at_least(Severity::Info)
        .to(Severity::Warning);
    let (hub, seen) = watched(vec![rule]);
    hub.raise(Draft::new(Severity::Critical, Category::Worker, "gone"));
    assert_eq!(seen.all()[0].severity, Severity::Critical);
}

#[test]
fn escalation_hands_on_what_it_raised_to_the_rules_behind_it() {
    let told = Told::new();
    let step = Escalation::new("step")
        .count(2)
        .at_least(Severity::Warning)
        .to(Severity::Error);
    let top = Escalation::new("top")
        .count(1)
        .only_category(Category::Handler)
        .on_escalated(told.listener());
    let (hub, seen) = watched(vec![step, top]);
    let failure = Failure::new("no");
    for _ in 0..2 {
        hub.raise(Draft {
            severity: Severity::Warning,
            ..billing(&failure)
        });
    }
    let severities: Vec<_> = seen.all().iter().map(|event| event.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Critical]);
    let told = told.all();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].rule.as_str(), told[0].count, told[0].severity),
        ("top", 1, Severity::Critical)
    );
    assert_eq!(told[0].window_ms, 60_000);
    assert_eq!(told[0].last, seen.all()[1]);
    // Counted as what they were told as.
    let total = hub.counts().total();
    assert_eq!((total.warning, total.error, total.critical), (1, 0, 1));
}

#[test]
fn escalation_without_an_observer_still_calls_its_handler() {
    let told = Told::new();
    let hub = ErrorHub::new(
        Vec::new(),
        vec![three_in_ten().on_escalated(told.listener())],
    );
    let failure = Failure::new("no");
    (0..3).for_each(|now| hub.raise(at(billing(&failure), now)));
    assert_eq!(told.all().len(), 1);
    assert_eq!(told.all()[0].last.occurrences, 3);
}

#[test]
fn bad_escalation_settings_are_all_named() {
    let mut faults = Vec::new();
    Escalation::new("fine").check(&mut faults);
    assert_eq!(faults, Vec::<String>::new());
    Escalation::new("bad")
        .count(0)
        .within(Duration::ZERO)
        .to(Severity::Error)
        .check(&mut faults);
    Escalation::new("big")
        .count(COUNT_MAX + 1)
        .check(&mut faults);
    assert_eq!(
        faults,
        [
            "escalation bad: count: 0 is below 1 (give how many errors it takes; 1 raises each)",
            "escalation bad: window: 0ns is below 1ms (give the time within which so many errors are too many)",
            "escalation bad: to: error is not above the counted severity error (raise to a higher one, or count from a lower one)",
            "escalation big: count: 65537 is above 65536 (the time of each is kept; count for a shorter window)",
        ]
    );
}

proptest! {
    #[test]
    fn escalation_is_exact_and_keeps_no_more_than_its_count(
        steps in prop::collection::vec(0_u64..40, 1..300),
        count in 1_usize..20,
        window in 1_u64..200,
        cool_down in 0_u64..300,
    ) {
        let mut watch: Watch = Escalation::new("any")
            .count(count)
            .within(Duration::from_nanos(window))
            .cool_down(Duration::from_nanos(cool_down))
            .watch();
        let mut times: Vec<u64> = Vec::new();
        let mut escalated: Option<u64> = None;
        let mut now = 0;
        for step in steps {
            now += step;
            times.push(now);
            // All times, looked through each time.
            let in_window = times.iter().filter(|&&time| now - time <= window).count();
            let is_due = in_window >= count && escalated.is_none_or(|at| now - at >= cool_down);
            if is_due {
                escalated = Some(now);
            }
            prop_assert_eq!(watch.note(now), is_due);
            prop_assert!(watch.kept() <= count);
        }
    }
}

#[test]
fn occurrences_count_the_same_category_subscription_and_event_type() {
    let (hub, seen) = watched(Vec::new());
    let error = Failure::new("no");
    let panic = Failure::panicked("oh".to_owned());
    let retried = Draft {
        severity: Severity::Warning,
        ..billing(&error)
    };
    let elsewhere = Draft {
        subscription: Some((8, "billing")),
        ..billing(&error)
    };
    let untyped = Draft {
        event_type: None,
        ..billing(&error)
    };
    for draft in [
        billing(&error),
        retried,
        billing(&panic),
        elsewhere,
        untyped,
        billing(&error),
        billing(&panic),
    ] {
        hub.raise(draft);
    }
    let occurrences: Vec<u64> = seen.all().iter().map(|event| event.occurrences).collect();
    assert_eq!(occurrences, [1, 2, 1, 1, 1, 3, 2]);
    let counts = hub.counts();
    let rows: Vec<_> = counts
        .rows
        .iter()
        .map(|row| {
            let name = row.subscription_name.as_deref();
            (row.event, row.subscription, name, row.category, row.counts)
        })
        .collect();
    let of = |warning, error| SeverityCounts {
        warning,
        error,
        ..SeverityCounts::default()
    };
    let (placed, billing) = (Some("order.placed"), Some("billing"));
    assert_eq!(
        rows,
        [
            (None, Some(7), billing, Category::Handler, of(0, 1)),
            (placed, Some(7), billing, Category::Handler, of(1, 2)),
            (placed, Some(7), billing, Category::Panic, of(0, 2)),
            (placed, Some(8), billing, Category::Handler, of(0, 1)),
        ]
    );
    assert_eq!(counts.total(), of(1, 6));
    assert_eq!(counts.total().of(Severity::Error), 6);
}

#[test]
fn counts_are_the_same_with_nobody_listening() {
    let failure = Failure::new("no");
    let (heard, _) = watched(Vec::new());
    let unheard = ErrorHub::new(Vec::new(), Vec::new());
    for hub in [&heard, &unheard] {
        (0..5).for_each(|_| hub.raise(billing(&failure)));
    }
    assert_eq!(heard.counts(), unheard.counts());
}

#[test]
fn the_table_of_counts_is_bounded_and_loses_nothing() {
    let (hub, seen) = watched(Vec::new());
    let failure = Failure::new("no");
    let id_max = ROWS_MAX as u64 + 300;
    for _ in 0..2 {
        for id in 0..id_max {
            hub.raise(Draft {
                subscription: Some((id, "many")),
                ..billing(&failure)
            });
        }
    }
    let counts = hub.counts();
    assert_eq!(counts.rows.len(), ROWS_MAX);
    assert!(counts.rows.iter().all(|row| row.counts.error == 2));
    assert_eq!(counts.other.error, 600);
    assert_eq!(counts.total().total(), 2 * id_max);
    assert_eq!(seen.all().last().unwrap().occurrences, 600);
}

#[test]
fn each_occurrence_is_numbered_once_whoever_raises_it() {
    let (hub, seen) = watched(Vec::new());
    let hub = Arc::new(hub);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let hub = Arc::clone(&hub);
            let raise = move || {
                let failure = Failure::new("no");
                (0..500).for_each(|_| hub.raise(billing(&failure)));
            };
            thread::start(format!("raiser-{number}"), raise).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut numbers: Vec<u64> = seen.all().iter().map(|event| event.occurrences).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2_000).collect::<Vec<_>>());
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let failure = Failure::new("no");
    let run = |panics: bool| {
        let (seen, escalated) = (Told::new(), Told::new());
        let tell = escalated.listener();
        let rule = three_in_ten().on_escalated(move |it| {
            tell(it);
            assert!(!panics, "so does the handler");
        });
        let first: ErrorObserver = Arc::new(move |_| assert!(!panics, "the first observer"));
        let hub = ErrorHub::new(vec![first, Arc::new(seen.listener())], vec![rule]);
        (0..4).for_each(|now| hub.raise(at(billing(&failure), now)));
        let mut counts = hub.counts();
        let panicked = std::mem::take(&mut counts.observer_panics);
        (seen.all(), escalated.all(), counts, panicked)
    };
    let (calm, panicking) = (run(false), run(true));
    assert_eq!(
        (&calm.0, &calm.1, &calm.2),
        (&panicking.0, &panicking.1, &panicking.2)
    );
    assert_eq!(calm.0.len(), 4);
    assert_eq!((calm.3, panicking.3), (0, 5));
}

#[test]
fn an_observer_may_raise_and_ask_itself() {
    let rule = Escalation::new("one")
        .count(1)
        .at_least(Severity::Info)
        .cool_down(Duration::ZERO);
    let hub = Arc::new_cyclic(|hub: &Weak<ErrorHub>| {
        let hub = Weak::clone(hub);
        let again = move |event: &ErrorEvent| {
            let hub = hub.upgrade().unwrap();
            // No lock of the hub's is held here.
            assert_eq!(hub.counts().total().total(), event.occurrences);
            if event.occurrences < 3 {
                hub.raise(Draft::new(Severity::Info, Category::Observer, "and again"));
            }
        };
        ErrorHub::new(vec![Arc::new(again)], vec![rule])
    });
    hub.raise(Draft::new(Severity::Info, Category::Observer, "once"));
    let counts = hub.counts();
    assert_eq!((counts.total().critical, counts.observer_panics), (3, 0));
}

#[derive(Debug)]
struct Mute;

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first time is when the failure is made.
        static SAID: Mutex<bool> = Mutex::new(false);
        assert!(!std::mem::replace(&mut *SAID.lock(), true), "no more words");
        f.write_str("said once")
    }
}

impl std::error::Error for Mute {}

#[test]
fn an_error_that_panics_when_it_is_told_is_told_by_its_message() {
    let (hub, seen) = watched(Vec::new());
    hub.raise(billing(&Failure::from(Mute)));
    assert_eq!(seen.all()[0].chain, ["said once"]);
    assert_eq!(hub.counts().observer_panics, 0);
}

#[derive(Debug)]
struct BadAmount(std::num::ParseIntError);

impl fmt::Display for BadAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad amount")
    }
}

impl std::error::Error for BadAmount {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_error_event_says_all_that_is_known() {
    let cause = "x".parse::<u32>().unwrap_err();
    let failure = Failure::from(BadAmount(cause));
    let id = EventId::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001);
    let metadata = Metadata::new().with("tenant", "blue");
    let (hub, seen) = watched(Vec::new());
    hub.raise(Draft {
        event_id: id,
        correlation_id: id,
        metadata: Some(&metadata),
        will_retry_after: Some(Duration::from_millis(250)),
        context: &[("held", &3)],
        wall_ms: 1_577_836_800_000,
        ..billing(&failure)
    });
    let told = serde_json::to_value(&seen.all()[0]).unwrap();
    assert_eq!(
        told,
        serde_json::json!({
            "severity": "error",
            "category": "handler",
            "component": "subscription billing",
            "subscription": 7,
            "subscription_name": "billing",
            "event": "order.placed",
            "event_id": "01930000-0000-7000-8000-000000000001",
            "correlation_id": "01930000-0000-7000-8000-000000000001",
            "pool": 0,
            "worker": 3,
            "attempt": 2,
            "will_retry_after_ms": 250,
            "message": "bad amount",
            "chain": ["bad amount", "invalid digit found in string"],
            "context": {"held": "3", "tenant": "blue"},
            "occurrences": 1,
            "wall_ms": 1_577_836_800_000_u64,
        })
    );
}

#[test]
fn a_component_is_named_by_the_nearest_thing_that_is_known() {
    let plain = Draft::new(Severity::Error, Category::Breaker, "it opened");
    let on_worker = Draft {
        worker: Some((1, 2)),
        ..plain
    };
    let of_subscription = Draft {
        subscription: Some((7, "billing")),
        ..on_worker
    };
    let named = Draft {
        component: Some("breaker payments"),
        ..of_subscription
    };
    let (hub, seen) = watched(Vec::new());
    for draft in [plain, on_worker, of_subscription, named] {
        hub.raise(draft);
    }
    let components: Vec<_> = seen.all().into_iter().map(|it| it.component).collect();
    assert_eq!(
        components,
        [
            "engine",
            "worker 1/2",
            "subscription billing",
            "breaker payments"
        ]
    );
}

#[test]
fn severities_are_ordered_and_named_as_in_json() {
    let all = [
        Severity::Debug,
        Severity::Info,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
    ];
    assert!(all.is_sorted());
    assert_eq!(all.len(), SEVERITY_COUNT);
    for severity in all {
        assert_eq!(serde_json::to_value(severity).unwrap(), severity.name());
    }
    for category in [
        Category::Handler,
        Category::Panic,
        Category::Timeout,
        Category::Retry,
        Category::Breaker,
        Category::DeadLetter,
        Category::HeldFull,
        Category::Stuck,
        Category::Observer,
        Category::Factory,
        Category::Worker,
    ] {
        assert_eq!(serde_json::to_value(category).unwrap(), category.name());
    }
}
