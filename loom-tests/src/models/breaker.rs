//! The breaker's word under those who ask, those who have results, and those who move it by hand (B1 to B5).

use super::{bounded, every};
use crate::breaker::{
    Admit, Answer, Breaker, BreakerPolicy, BreakerState, Permit, Seat, Shift, State, Told,
};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weakness, thread, weakened};

/// Half-open in epoch 2, with `permits` to give.
fn half_open(permits: u32) -> State {
    let state = State::new(permits);
    assert!(matches!(state.open(0), Shift::Moved(_)));
    assert!(matches!(state.half_open(1), Shift::Moved(_)));
    state
}

const EPISODE: u64 = 2;

/// Three threads ask for a permit at once, the real way or a twin's.
fn ask_together(permits: u32, ask: impl Fn(&State) -> bool + Copy + Send + Sync + 'static) {
    let state = Arc::new(half_open(permits));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let state = Arc::clone(&state);
            thread::spawn(move || u32::from(ask(&state)))
        })
        .collect();
    let own = u32::from(ask(&state));
    let given: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
    assert!(own + given <= permits, "no more permits than there are");
    assert_eq!(
        own + given,
        permits.min(3),
        "a permit that is left is given"
    );
}

fn ask(state: &State) -> bool {
    matches!(state.try_permit(EPISODE), Answer::Given(_))
}

/// Looks whether a permit is left and then takes it for given.
fn ask_by_looking(state: &State) -> bool {
    let is_left = state.look().issued() < 1;
    is_left && {
        let _ = state.try_permit(EPISODE);
        true
    }
}

#[test]
fn b1_no_more_permits_are_given_than_there_are() {
    bounded(|| ask_together(1, ask));
    bounded(|| ask_together(2, ask));
}

#[test]
#[should_panic(expected = "no more permits than there are")]
fn b1_twin_that_looks_and_then_takes() {
    bounded(|| ask_together(1, ask_by_looking));
}

/// A permit comes back and is asked for again while another thread asks: at no time are two out.
fn give_and_ask(gives_back: bool) {
    let state = Arc::new(half_open(1));
    let Answer::Given(permit) = state.try_permit(EPISODE) else {
        panic!("the first to ask is given the permit");
    };
    let other = thread::spawn({
        let state = Arc::clone(&state);
        move || matches!(state.try_permit(EPISODE), Answer::Given(_))
    });
    if gives_back {
        assert_eq!(state.give_back(&permit), Told::Counted);
    }
    let again = matches!(state.try_permit(EPISODE), Answer::Given(_));
    let other = other.join().unwrap();
    assert!(!(again && other), "a permit is had by one");
    assert!(again || other, "what is given back can be given again");
    assert_eq!(state.look().out(), 1);
}

#[test]
fn b4_what_is_given_back_can_be_given_again() {
    every(|| give_and_ask(true));
}

#[test]
#[should_panic(expected = "what is given back can be given again")]
fn b4_twin_that_keeps_it() {
    every(|| give_and_ask(false));
}

/// Two probes fail while somebody moves the breaker by hand; who has made a transition tells of it, going by `is_made`.
fn move_together(is_made: fn(bool) -> bool) {
    let state = Arc::new(half_open(2));
    let told = Arc::new(AtomicU64::new(0));
    let tell = move |told: &AtomicU64, made: bool| {
        if is_made(made) {
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    let permits = [EPISODE; 2].map(|epoch| match state.try_permit(epoch) {
        Answer::Given(permit) => permit,
        _ => panic!("there are two"),
    });
    let probes = permits.map(|permit| {
        let (state, told) = (Arc::clone(&state), Arc::clone(&told));
        thread::spawn(move || tell(&told, matches!(state.fail(&permit), Told::Moved(_))))
    });
    tell(&told, matches!(state.force_open(), Shift::Moved(_)));
    for probe in probes {
        probe.join().unwrap();
    }
    assert_eq!(state.look().state(), BreakerState::ForcedOpen);
    assert_eq!(
        EPISODE + told.load(Ordering::Relaxed),
        state.look().epoch(),
        "one is told for each transition"
    );
}

#[test]
fn b2_each_transition_has_one_maker() {
    bounded(|| move_together(|made| made));
}

#[test]
#[should_panic(expected = "one is told for each transition")]
fn b2_twin_that_tells_whatever_the_answer() {
    bounded(|| move_together(|_| true));
}

/// A probe's result comes in while the episode ends and a new one begins.
fn late_result(of_today: bool) {
    let state = Arc::new(half_open(1));
    let Answer::Given(permit) = state.try_permit(EPISODE) else {
        panic!("there is one");
    };
    let late = thread::spawn({
        let state = Arc::clone(&state);
        move || {
            let seen = state.look();
            let permit = if of_today {
                Permit::of(seen.epoch())
            } else {
                permit
            };
            (seen.epoch(), state.succeed(&permit))
        }
    });
    let given_up = state.expire(state.look());
    if let Shift::Moved(made) = given_up {
        assert_eq!(made.epoch, EPISODE + 1);
        assert!(matches!(state.half_open(EPISODE + 1), Shift::Moved(_)));
        let Answer::Given(_next) = state.try_permit(EPISODE + 2) else {
            panic!("the new episode has its own");
        };
        let (_, told) = late.join().unwrap();
        assert_eq!(
            told,
            Told::Void,
            "a result of an old epoch counts for nothing"
        );
        assert_eq!(state.look().state(), BreakerState::HalfOpen);
        assert_eq!(state.look().out(), 1);
    } else {
        let (_, told) = late.join().unwrap();
        assert!(matches!(told, Told::Moved(_)), "it came in time");
        assert_eq!(state.look().state(), BreakerState::Closed);
    }
}

#[test]
fn b3_a_result_of_an_old_epoch_counts_for_nothing() {
    every(|| late_result(false));
}

#[test]
#[should_panic(expected = "a result of an old epoch counts for nothing")]
fn b3_twin_that_goes_by_the_present_epoch() {
    every(|| late_result(true));
}

/// A member that keeps its mark.
struct Marked(AtomicU64);

impl Seat for Marked {
    fn handled(&self) -> u64 {
        0
    }

    fn mark(&self, asks: bool) {
        self.0.store(u64::from(asks), Ordering::Relaxed);
    }

    fn notify(&self) {}

    fn now_ns(&self) -> u64 {
        0
    }
}

/// A probe fails while somebody moves the breaker by hand: the real breaker, its lock and its marks.
fn settle_together(by_hand: fn(&Breaker)) {
    let policy = BreakerPolicy::new().half_open_permits(1).minimum_calls(1);
    let breaker = Breaker::new("model", policy).expect("the settings are good");
    let seat = Arc::new(Marked(AtomicU64::new(0)));
    let member = breaker.join(seat.clone());
    breaker.on_failure(&member, None, false, 0);
    let Admit::Probe(permit) = breaker.admit(u64::MAX) else {
        panic!("the wait is over");
    };
    let other = thread::spawn({
        let breaker = breaker.clone();
        move || breaker.on_success(permit, 0)
    });
    by_hand(&breaker);
    other.join().unwrap();
    let asks = !breaker.state().passes();
    assert_eq!(
        seat.0.load(Ordering::Relaxed),
        u64::from(asks),
        "the mark says what the word says"
    );
    let status = breaker.status();
    assert_eq!(
        status.transitions.total(),
        status.epoch,
        "each transition is taken in once"
    );
}

#[test]
fn b5_edge_settle_marks_end_as_the_word_does() {
    every(|| settle_together(Breaker::force_open));
    every(|| settle_together(Breaker::reset));
}

/// A subscription comes while the breaker opens.
#[test]
fn b5_edge_settle_whoever_joins_is_marked() {
    every(|| {
        let breaker = Breaker::new("model", BreakerPolicy::new()).expect("the settings are good");
        let other = thread::spawn({
            let breaker = breaker.clone();
            move || breaker.force_open()
        });
        let seat = Arc::new(Marked(AtomicU64::new(0)));
        let _member = breaker.join(seat.clone());
        other.join().unwrap();
        assert_eq!(seat.0.load(Ordering::Relaxed), 1, "calls have to ask");
    });
}

#[test]
#[should_panic(expected = "currently writing to cell")]
fn b5_edge_settle_twin_without_the_lock() {
    weakened(Weakness::NoLock("settle"), || {
        every(|| settle_together(Breaker::force_open));
    });
}

/// What a maker of a transition does to the marks, as `Breaker::settle` does it, or a twin's way.
fn mark_together(settle: fn(&State, &Mutex<u64>)) {
    let state = Arc::new(State::new(1));
    let mark = Arc::new(Mutex::new(0));
    let other = thread::spawn({
        let (state, mark) = (Arc::clone(&state), Arc::clone(&mark));
        move || {
            if let Shift::Moved(_) = state.disable() {
                settle(&state, &mark);
            }
        }
    });
    if let Shift::Moved(_) = state.force_open() {
        settle(&state, &mark);
    }
    other.join().unwrap();
    let asks = !state.look().state().passes();
    assert_eq!(
        *mark.lock(),
        u64::from(asks),
        "the mark says what the word says"
    );
}

#[test]
fn b5_the_last_to_look_has_seen_all() {
    every(|| {
        mark_together(|state, mark| {
            let mut mark = mark.lock();
            *mark = u64::from(!state.look().state().passes());
        });
    });
}

#[test]
#[should_panic(expected = "the mark says what the word says")]
fn b5_twin_that_looks_before_it_locks() {
    every(|| {
        mark_together(|state, mark| {
            let asks = !state.look().state().passes();
            *mark.lock() = u64::from(asks);
        });
    });
}
