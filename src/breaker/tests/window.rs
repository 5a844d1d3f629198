//! Windows against a plain list of calls.

use super::super::window::{CallWindow, Note, Sum, TENTHS};
use super::*;
use proptest::prelude::*;

/// A tenth of the windows in time here.
const TENTH_NS: u64 = 100_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    Well(u64),
    Noted(Note),
    Wait(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..20_u64).prop_map(Step::Well),
        2 => Just(Step::Noted(Note::Failed)),
        1 => Just(Step::Noted(Note::FailedSlowly)),
        1 => Just(Step::Noted(Note::Slow)),
        4 => (0..3 * TENTH_NS).prop_map(Step::Wait),
        1 => Just(Step::Wait(20 * TENTH_NS)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..150)
}

/// Runs the steps as a worker does, and compares with a list of all calls at every step.
fn check(window: Window, handled_at_first: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut handled, mut now) = (handled_at_first, 0);
    let mut real = CallWindow::new(window, handled);
    let mut list: Vec<(u64, Option<Note>)> = Vec::new();
    for step in steps {
        // Before each batch, as a worker does.
        real.tick(handled, now);
        match step {
            Step::Well(count) => {
                handled += count;
                list.extend((0..count).map(|_| (now, None)));
            }
            Step::Noted(note) => {
                handled += u64::from(note == Note::Slow);
                real.note(note, handled, now);
                list.push((now, Some(note)));
            }
            Step::Wait(time) => now += time,
            Step::Restart => {
                real.restart(handled);
                list.clear();
            }
        }
        let first = match window {
            Window::Count(length) => list.len().saturating_sub(length as usize),
            Window::Time(_) => {
                let oldest = (now / TENTH_NS).saturating_sub(TENTHS - 1);
                list.partition_point(|(at, _)| at / TENTH_NS < oldest)
            }
        };
        let mut expected = Sum::default();
        for (_, note) in &list[first..] {
            expected.calls += 1;
            expected.failed += u64::from(matches!(note, Some(Note::Failed | Note::FailedSlowly)));
            expected.slow += u64::from(matches!(note, Some(Note::Slow | Note::FailedSlowly)));
        }
        prop_assert_eq!(real.sum(handled, now), expected);
    }
    Ok(())
}

proptest! {
    #[test]
    fn cb5_a_count_window_is_that_of_a_list(length in 1..40_u32, handled in 0..1_000_u64, steps in steps()) {
        check(Window::Count(length), handled, steps)?;
    }

    #[test]
    fn cb5_a_time_window_is_that_of_a_list_in_tenths(handled in 0..1_000_u64, steps in steps()) {
        check(Window::Time(Duration::from_nanos(TENTHS * TENTH_NS)), handled, steps)?;
    }
}

#[test]
fn cb5_without_ticks_calls_are_counted_to_an_earlier_tenth() {
    let mut window = CallWindow::new(Window::Time(Duration::from_millis(1)), 0);
    window.note(Note::Failed, 0, 0);
    // A hundred successes at some time, and nobody looked: they are not held against the present.
    window.note(Note::Failed, 100, 50 * TENTH_NS);
    let sum = window.sum(100, 50 * TENTH_NS);
    assert_eq!((sum.calls, sum.failed), (1, 1));
}

#[test]
fn cb5_time_does_not_go_back() {
    let mut window = CallWindow::new(Window::Time(Duration::from_millis(1)), 0);
    window.note(Note::Failed, 0, 30 * TENTH_NS);
    window.note(Note::Failed, 5, 3 * TENTH_NS);
    let sum = window.sum(5, 3 * TENTH_NS);
    assert_eq!((sum.calls, sum.failed), (7, 2));
    assert_eq!(window.sum(5, 40 * TENTH_NS), Sum::default());
}

#[test]
fn cb5_a_count_from_before_is_believed_as_far_as_it_goes() {
    let mut window = CallWindow::new(Window::Count(10), 50);
    window.note(Note::Failed, 60, 0);
    let sum = window.sum(40, 0);
    assert_eq!((sum.calls, sum.failed), (1, 1));
}
