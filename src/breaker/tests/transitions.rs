//! The word, one transition after another.

use super::super::state::{Answer, Shift, State, Told};
use super::*;
use BreakerState::{Closed, Disabled, ForcedOpen, HalfOpen, Open};
use proptest::prelude::*;

/// A word in that state, the epoch it is in, and a permit of it if there are any.
fn word_in(state: BreakerState) -> (State, u64, Permit) {
    let word = State::new(1);
    let moved = |shift| assert!(matches!(shift, Shift::Moved(_)));
    let mut permit = None;
    match state {
        Closed => {}
        Open => moved(word.open(0)),
        HalfOpen => {
            moved(word.open(0));
            moved(word.half_open(1));
            if let Answer::Given(given) = word.try_permit(2) {
                permit = Some(given);
            }
        }
        ForcedOpen => moved(word.force_open()),
        Disabled => moved(word.disable()),
    }
    let epoch = word.look().epoch();
    (word, epoch, permit.unwrap_or_else(|| Permit::of(epoch)))
}

#[test]
fn cb1_every_transition_from_every_state() {
    type Act = fn(&State, u64, &Permit) -> Option<BreakerState>;
    fn shifted(shift: Shift) -> Option<BreakerState> {
        match shift {
            Shift::Moved(made) => Some(made.to),
            Shift::Stayed => None,
        }
    }
    fn told(told: Told) -> Option<BreakerState> {
        match told {
            Told::Moved(made) => Some(made.to),
            Told::Counted | Told::Void => None,
        }
    }
    let states = [Closed, Open, HalfOpen, ForcedOpen, Disabled];
    // What each does, in that order of states; nothing where the word stays.
    let table: [(&str, Act, [Option<BreakerState>; 5]); 9] = [
        (
            "open",
            |word, epoch, _| shifted(word.open(epoch)),
            [Some(Open), None, None, None, None],
        ),
        (
            "half_open",
            |word, epoch, _| shifted(word.half_open(epoch)),
            [None, Some(HalfOpen), None, None, None],
        ),
        (
            "expire",
            |word, _, _| shifted(word.expire(word.look())),
            [None, None, Some(Open), None, None],
        ),
        (
            "succeed",
            |word, _, permit| told(word.succeed(permit)),
            [None, None, Some(Closed), None, None],
        ),
        (
            "fail",
            |word, _, permit| told(word.fail(permit)),
            [None, None, Some(Open), None, None],
        ),
        (
            "give_back",
            |word, _, permit| told(word.give_back(permit)),
            [None; 5],
        ),
        (
            "force_open",
            |word, _, _| shifted(word.force_open()),
            [
                Some(ForcedOpen),
                Some(ForcedOpen),
                Some(ForcedOpen),
                None,
                Some(ForcedOpen),
            ],
        ),
        (
            "disable",
            |word, _, _| shifted(word.disable()),
            [
                Some(Disabled),
                Some(Disabled),
                Some(Disabled),
                Some(Disabled),
                None,
            ],
        ),
        (
            "reset",
            |word, _, _| shifted(word.reset()),
            [None, Some(Closed), Some(Closed), Some(Closed), Some(Closed)],
        ),
    ];
    for (name, act, expected) in table {
        for (state, expected) in states.into_iter().zip(expected) {
            let (word, epoch, permit) = word_in(state);
            assert_eq!(act(&word, epoch, &permit), expected, "{name} in {state:?}");
            let seen = word.look();
            assert_eq!(
                seen.state(),
                expected.unwrap_or(state),
                "{name} in {state:?}"
            );
            let moved = u64::from(expected.is_some());
            assert_eq!(seen.epoch(), epoch + moved, "{name} in {state:?}");
            if expected.is_some() {
                assert_eq!((seen.issued(), seen.succeeded()), (0, 0));
            }
        }
    }
}

#[test]
fn cb2_the_epoch_goes_round_and_numbers_stay_apart() {
    let last = (1 << 41) - 1;
    let word = State::at(1_000, last);
    assert!(matches!(word.open(last), Shift::Moved(made) if made.epoch == 0));
    assert!(matches!(word.half_open(0), Shift::Moved(_)));
    let permits: Vec<_> = std::iter::from_fn(|| match word.try_permit(1) {
        Answer::Given(permit) => Some(permit),
        _ => None,
    })
    .collect();
    assert_eq!(permits.len(), 1_000);
    for permit in &permits[..999] {
        assert_eq!(word.succeed(permit), Told::Counted);
    }
    let seen = word.look();
    assert_eq!(
        (seen.state(), seen.epoch(), seen.issued(), seen.succeeded()),
        (HalfOpen, 1, 1_000, 999)
    );
    assert!(matches!(word.succeed(&permits[999]), Told::Moved(_)));
    assert_eq!(word.look().state(), Closed);
}

proptest! {
    /// Any results in any order: the numbers are those of a plain count.
    #[test]
    fn b1_to_b4_the_word_counts_as_a_list_of_permits_does(permits in 1..5_u32, steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..80)) {
        let word = State::new(permits);
        let _ = (word.open(0), word.half_open(1));
        let (mut out, mut succeeded, mut old) = (Vec::new(), 0, Vec::new());
        for (step, which) in steps {
            let epoch = word.look().epoch();
            if step == 0 {
                match word.try_permit(epoch) {
                    Answer::Given(permit) => out.push(permit),
                    Answer::NoneLeft => prop_assert_eq!(out.len() as u32 + succeeded, permits),
                    Answer::Over => prop_assert!(false, "half-open in this epoch"),
                }
            } else if !old.is_empty() && which.index(2) == 0 {
                prop_assert_eq!(word.succeed(&old[which.index(old.len())]), Told::Void);
            } else if !out.is_empty() {
                let permit = out.swap_remove(which.index(out.len()));
                let told = match step {
                    1 => word.succeed(&permit),
                    2 => word.give_back(&permit),
                    _ => word.fail(&permit),
                };
                succeeded += u32::from(step == 1);
                let moves = step == 3 || succeeded == permits;
                prop_assert_eq!(matches!(told, Told::Moved(_)), moves);
                if moves {
                    old.append(&mut out);
                    old.push(permit);
                    succeeded = 0;
                    let epoch = word.look().epoch();
                    let _ = word.open(epoch);
                    let epoch = word.look().epoch();
                    prop_assert!(matches!(word.half_open(epoch), Shift::Moved(_)));
                }
            }
            prop_assert_eq!(word.look().out(), out.len() as u32);
            prop_assert_eq!(word.look().succeeded(), succeeded);
        }
    }
}
