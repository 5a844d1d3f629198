//! A breaker: the word, the windows of those it judges, and whom it tells.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**

use super::member::{Member, Seat, Seated};
use super::policy::{BreakerPolicy, OnOpen, ns};
use super::report::{BreakerCause, BreakerStatus, BreakerTransition, BreakerTransitions};
use super::state::{Answer, BreakerState, Move, Permit, Seen, Shift, State, Told, epoch_after};
use super::window::{Note, Sum};
use crate::error::{Error, ErrorKind};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Transitions that wait for a slow observer; beyond that the oldest are told to nobody, and counted as such.
const UNTOLD_MAX: usize = 1_024;

/// Stops the calls of subscriptions while what they depend on is down.
///
/// Closed, it lets calls pass and counts them; when too many fail it opens and lets none pass; after a wait it lets a few
/// probes pass, and closes if all of them succeed (CB1, CB2). Cloning is cheap and gives the same breaker: give it to
/// several subscriptions that depend on the same thing, and they stop together. They are of one system: the
/// breaker's times are that system's.
///
/// ```
/// use ringbolt::{Breaker, BreakerPolicy, BreakerState};
///
/// let database = Breaker::new("database", BreakerPolicy::new().failure_rate(0.3))?;
/// database.on_transition(|made| {
///     println!("{}: {:?} -> {:?}", made.breaker, made.from, made.to);
/// });
/// database.force_open();
/// assert_eq!(database.state(), BreakerState::ForcedOpen);
/// database.reset();
/// assert_eq!(database.state(), BreakerState::Closed);
/// # Ok::<(), ringbolt::Error>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Inner>);

struct Inner {
    name: String,
    policy: BreakerPolicy,
    state: State,
    /// Until when the present state lasts, as far as it is known: those who are refused need not take the lock.
    until_hint: AtomicU64,
    /// A lock is right: it is taken when something fails or is slow, by probes, and by transitions, and never while all
    /// goes well.
    side: Mutex<Side>,
}

/// What hangs on the word.
#[derive(Default)]
struct Side {
    /// The epoch up to which transitions have been taken in here.
    epoch: u64,
    /// Those whose makers came here before the maker of an earlier one.
    early: Vec<BreakerTransition>,
    /// Open: when the wait is over. Half-open: when the probes that are out are given up.
    until_ns: u64,
    /// Openings since it was last closed.
    openings: u32,
    transitions: BreakerTransitions,
    members: Vec<Arc<Seated>>,
    observers: Vec<Observer>,
    untold: VecDeque<BreakerTransition>,
    /// Somebody is telling the observers, and will tell what comes meanwhile too.
    is_telling: bool,
}

type Observer = Arc<dyn Fn(&BreakerTransition) + Send + Sync>;

/// What became of asking whether a call may begin.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admit {
    Pass,
    /// It may, and its result is to be told with the permit.
    Probe(Permit),
    /// Not now. To be asked again at that time, and whenever the seat is notified.
    Refused {
        until: Option<u64>,
    },
}

impl Breaker {
    /// A closed breaker.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or the name is empty; the text names all bad settings at once.
    pub fn new(name: impl Into<String>, policy: BreakerPolicy) -> Result<Self, Error> {
        let name = name.into();
        let mut faults = Vec::new();
        if name.is_empty() {
            faults.push(
                "breaker.name: it is empty (transitions and reports go by it: give it one)"
                    .to_owned(),
            );
        }
        policy.check(&mut faults);
        if !faults.is_empty() {
            let faults = faults.join("; ");
            return Err(Error::new(
                ErrorKind::Setting,
                format!("breaker \"{name}\": {faults}"),
            ));
        }
        Ok(Self(Arc::new(Inner {
            state: State::new(policy.half_open_permits),
            until_hint: AtomicU64::new(0),
            side: Mutex::new(Side::default()),
            name,
            policy,
        })))
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.0.state.look().state()
    }

    /// Refuses calls from now on, until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub fn force_open(&self) {
        self.by_hand(State::force_open);
    }

    /// Lets all calls pass and counts none, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn disable(&self) {
        self.by_hand(State::disable);
    }

    /// Closes it, with empty windows and the first wait ahead of it, however it stands.
    pub fn reset(&self) {
        {
            let mut side = self.side();
            if self.state() == BreakerState::Closed {
                side.openings = 0;
                side.restart_windows();
            }
        }
        self.by_hand(State::reset);
    }

    /// How it stands, in numbers. Workers go on meanwhile; those whose calls fail wait for it a moment.
    #[must_use]
    pub fn status(&self) -> BreakerStatus {
        let side = self.side();
        let seen = self.0.state.look();
        let now_ns = side.now_ns();
        let sum = side.sum(now_ns.unwrap_or(0));
        let is_waiting = seen.state() == BreakerState::Open && side.epoch == seen.epoch();
        BreakerStatus {
            name: self.0.name.clone(),
            state: seen.state(),
            epoch: seen.epoch(),
            transitions: side.transitions,
            openings_in_row: side.openings,
            calls: sum.calls,
            failures: sum.failed,
            slow_calls: sum.slow,
            permits_out: seen.out(),
            probes_succeeded: seen.succeeded(),
            half_open_in: now_ns
                .filter(|_| is_waiting)
                .map(|now_ns| Duration::from_nanos(side.until_ns.saturating_sub(now_ns))),
        }
    }

    /// Calls `observer` with every transition from now on, one at a time and in their order, on the thread of one who
    /// made a transition: often a worker's, so let it be short. It may use the breaker. If it panics, that is contained
    /// and forgotten.
    pub fn on_transition(&self, observer: impl Fn(&BreakerTransition) + Send + Sync + 'static) {
        self.side().observers.push(Arc::new(observer));
    }

    pub(crate) fn on_open(&self) -> OnOpen {
        self.0.policy.on_open
    }

    /// From where on a call is slow; `None` if that does not matter and calls need not be timed.
    pub(crate) fn slow_after_ns(&self) -> Option<u64> {
        let (slower_than, _) = self.0.policy.slow_call?;
        Some(ns(slower_than))
    }

    /// Takes a subscription on a worker in, and marks it at once if calls have to ask. The seat is let go by
    /// [`leave`](Self::leave) alone.
    pub(crate) fn join(&self, seat: Arc<dyn Seat>) -> Member {
        let seated = Arc::new(Seated::new(seat, self.0.policy.window));
        let mut side = self.side();
        side.members.push(Arc::clone(&seated));
        // Lock [settle]: a transition whose maker has been here is seen by this look, and a later one marks this
        // member too (B5).
        seated.seat.mark(!self.state().passes());
        Member(seated)
    }

    pub(crate) fn leave(&self, member: &Member) {
        let mut side = self.side();
        side.members.retain(|other| !Arc::ptr_eq(other, &member.0));
    }

    /// Whether a call may begin. Only to be asked where the seat is marked; a refusal costs nothing but this.
    pub(crate) fn admit(&self, now_ns: u64) -> Admit {
        let seen = self.0.state.look();
        // Relaxed: a hint. It may be of another epoch while a transition is on its way here; then the seat is notified
        // behind it. That the time has come is decided under the lock.
        let hint_ns = self.0.until_hint.load(Ordering::Relaxed);
        let is_full = seen.issued() >= self.0.policy.half_open_permits;
        match seen.state() {
            BreakerState::Closed | BreakerState::Disabled => Admit::Pass,
            BreakerState::ForcedOpen => Admit::Refused { until: None },
            BreakerState::Open if now_ns < hint_ns => Admit::Refused {
                until: Some(hint_ns),
            },
            BreakerState::HalfOpen if is_full && now_ns < hint_ns => Admit::Refused {
                until: Some(hint_ns),
            },
            BreakerState::Open | BreakerState::HalfOpen => self.admit_slowly(now_ns),
        }
    }

    /// A call failed; `is_slow` if it was slow besides. A panic and a timeout are failures like others.
    pub(crate) fn on_failure(
        &self,
        member: &Member,
        permit: Option<Permit>,
        is_slow: bool,
        now_ns: u64,
    ) {
        match permit {
            Some(permit) => self.on_probe_failure(&permit, now_ns),
            None if is_slow => self.note(member, Note::FailedSlowly, now_ns),
            None => self.note(member, Note::Failed, now_ns),
        }
    }

    /// A call succeeded, too slowly. The worker has counted it as handled already.
    pub(crate) fn on_slow(&self, member: &Member, permit: Option<Permit>, now_ns: u64) {
        match permit {
            Some(permit) => self.on_probe_failure(&permit, now_ns),
            None => self.note(member, Note::Slow, now_ns),
        }
    }

    /// A probe succeeded. The worker has counted it as handled already, so that it is not in the window that may begin
    /// here. Of other successes the breaker is told nothing.
    pub(crate) fn on_success(&self, permit: Permit, now_ns: u64) {
        let told = self.0.state.succeed(&permit);
        if let Told::Moved(made) = told {
            let made = self.transition(made, BreakerCause::ProbesSucceeded, Some(now_ns));
            self.settle(self.side(), made);
        }
    }

    /// Nothing came of a probe: its handler left the event aside, or the call never began.
    pub(crate) fn on_ignored(&self, permit: Permit) {
        match self.0.state.give_back(&permit) {
            Told::Counted => {
                // No transition, and yet somebody may now be let through who was refused.
                let members = self.side().members.clone();
                notify(&members);
            }
            Told::Moved(_) | Told::Void => {}
        }
    }

    fn on_probe_failure(&self, permit: &Permit, now_ns: u64) {
        let told = self.0.state.fail(permit);
        if let Told::Moved(made) = told {
            let made = self.transition(made, BreakerCause::ProbeFailed, Some(now_ns));
            self.settle(self.side(), made);
        }
    }

    /// The wait may be over, or there may be a permit, or a probe may have been out for too long.
    #[cold]
    fn admit_slowly(&self, now_ns: u64) -> Admit {
        let side = self.side();
        loop {
            let seen = self.0.state.look();
            match seen.state() {
                BreakerState::Closed | BreakerState::Disabled => return Admit::Pass,
                // Its maker is on the way here and will notify.
                _ if side.epoch != seen.epoch() => return Admit::Refused { until: None },
                BreakerState::ForcedOpen => return Admit::Refused { until: None },
                BreakerState::Open if now_ns < side.until_ns => {
                    return Admit::Refused {
                        until: Some(side.until_ns),
                    };
                }
                BreakerState::Open => {
                    if let Shift::Moved(made) = self.0.state.half_open(seen.epoch()) {
                        return self.first_probe(side, made, now_ns);
                    }
                }
                BreakerState::HalfOpen if seen.out() > 0 && now_ns >= side.until_ns => {
                    if let Shift::Moved(made) = self.0.state.expire(seen) {
                        let until = now_ns.saturating_add(self.wait_ns(side.openings + 1));
                        let made = self.transition(made, BreakerCause::ProbeLimit, Some(now_ns));
                        self.settle(side, made);
                        return Admit::Refused { until: Some(until) };
                    }
                }
                BreakerState::HalfOpen => return self.next_probe(side, seen, now_ns),
            }
        }
    }

    /// The caller has moved the breaker to half-open, and is the first to ask for a permit.
    fn first_probe(&self, side: MutexGuard<'_, Side>, made: Move, now_ns: u64) -> Admit {
        let epoch = made.epoch;
        let answer = self.0.state.try_permit(epoch);
        let made = self.transition(made, BreakerCause::WaitOver, Some(now_ns));
        self.settle(side, made);
        match answer {
            Answer::Given(permit) => Admit::Probe(permit),
            // Somebody has forced the breaker in between.
            Answer::NoneLeft | Answer::Over => Admit::Refused { until: None },
        }
    }

    fn next_probe(&self, mut side: MutexGuard<'_, Side>, seen: Seen, now_ns: u64) -> Admit {
        if seen.out() == 0 {
            // The limit runs from the first permit given while none is out: nobody waits for anybody else, and an
            // episode that sees little traffic is not cut short.
            self.set_until(&mut side, now_ns.saturating_add(self.limit_ns()));
        }
        match self.0.state.try_permit(seen.epoch()) {
            Answer::Given(permit) => Admit::Probe(permit),
            Answer::NoneLeft => Admit::Refused {
                until: Some(side.until_ns),
            },
            // The maker of the transition notifies.
            Answer::Over => Admit::Refused { until: None },
        }
    }

    /// Notes a call that began while nobody had to ask, and opens the breaker if the windows of all say so.
    #[cold]
    fn note(&self, member: &Member, note: Note, now_ns: u64) {
        let side = self.side();
        let seen = self.0.state.look();
        if seen.state() != BreakerState::Closed || side.epoch != seen.epoch() {
            return;
        }
        member.0.note(note, now_ns);
        let sum = side.sum(now_ns);
        let Some(cause) = self.judge(sum) else {
            return;
        };
        if let Shift::Moved(made) = self.0.state.open(seen.epoch()) {
            let mut made = self.transition(made, cause, Some(now_ns));
            made.failure_rate = sum.failure_rate();
            made.slow_call_rate = sum.slow_rate();
            made.calls = sum.calls;
            self.settle(side, made);
        }
    }

    fn judge(&self, sum: Sum) -> Option<BreakerCause> {
        let policy = &self.0.policy;
        if sum.calls < u64::from(policy.minimum_calls) {
            return None;
        }
        if sum.failure_rate() >= policy.failure_rate {
            return Some(BreakerCause::FailureRate);
        }
        let (_, slow_rate) = policy.slow_call?;
        (sum.slow_rate() >= slow_rate).then_some(BreakerCause::SlowCallRate)
    }

    fn by_hand(&self, shift: impl FnOnce(&State) -> Shift) {
        let side = self.side();
        if let Shift::Moved(made) = shift(&self.0.state) {
            let now_ns = side.now_ns();
            let made = self.transition(made, BreakerCause::ByHand, now_ns);
            self.settle(side, made);
        }
    }

    fn transition(&self, made: Move, cause: BreakerCause, at_ns: Option<u64>) -> BreakerTransition {
        BreakerTransition {
            breaker: self.0.name.clone(),
            from: made.from,
            to: made.to,
            cause,
            epoch: made.epoch,
            at_ns,
            failure_rate: 0.0,
            slow_call_rate: 0.0,
            calls: 0,
        }
    }

    /// What every maker of a transition does behind it: takes it in, marks the members, wakes them, tells of it.
    fn settle(&self, mut side: MutexGuard<'_, Side>, made: BreakerTransition) {
        side.early.push(made);
        // In the order of epochs, whoever comes here first: each is here once, so none is waited for in vain (B2).
        loop {
            let next = epoch_after(side.epoch);
            let Some(at) = side.early.iter().position(|made| made.epoch == next) else {
                break;
            };
            let made = side.early.swap_remove(at);
            self.take_in(&mut side, made);
        }
        // Lock [settle]: the word is looked at again. Whoever is here last sees every transition whose maker was here
        // before, so the marks end as the word does (B5).
        let asks = !self.state().passes();
        for member in &side.members {
            member.seat.mark(asks);
        }
        let members = side.members.clone();
        drop(side);
        notify(&members);
        self.tell();
    }

    fn take_in(&self, side: &mut Side, made: BreakerTransition) {
        side.epoch = made.epoch;
        side.transitions.count(made.to);
        let now_ns = made.at_ns.unwrap_or(0);
        match made.to {
            BreakerState::Open => {
                side.openings = side.openings.saturating_add(1);
                let wait_ns = self.wait_ns(side.openings);
                self.set_until(side, now_ns.saturating_add(wait_ns));
            }
            BreakerState::HalfOpen => {
                self.set_until(side, now_ns.saturating_add(self.limit_ns()));
            }
            BreakerState::Closed => {
                side.openings = 0;
                side.restart_windows();
            }
            BreakerState::ForcedOpen | BreakerState::Disabled => {}
        }
        if side.observers.is_empty() {
            return;
        }
        if side.untold.len() == UNTOLD_MAX {
            side.untold.pop_front();
            side.transitions.untold += 1;
        }
        side.untold.push_back(made);
    }

    /// Tells the observers what waits to be told, unless somebody is at it: then that one does.
    fn tell(&self) {
        let mut side = self.side();
        if mem::replace(&mut side.is_telling, true) {
            return;
        }
        while let Some(made) = side.untold.pop_front() {
            let observers = side.observers.clone();
            drop(side);
            for observer in observers {
                contain(|| observer(&made));
            }
            side = self.side();
        }
        side.is_telling = false;
    }

    fn set_until(&self, side: &mut Side, until_ns: u64) {
        side.until_ns = until_ns;
        // Relaxed: a hint, see `admit`.
        self.0.until_hint.store(until_ns, Ordering::Relaxed);
    }

    fn wait_ns(&self, openings: u32) -> u64 {
        self.0.policy.wait_ns(openings)
    }

    fn limit_ns(&self) -> u64 {
        ns(self.0.policy.probe_limit)
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        // Lock [settle]: what hangs on the word has one user at a time, who sees what those before did (B5).
        self.0.side.lock()
    }
}

impl Side {
    fn sum(&self, now_ns: u64) -> Sum {
        let mut sum = Sum::default();
        for member in &self.members {
            sum.add(member.sum(now_ns));
        }
        sum
    }

    fn restart_windows(&self) {
        for member in &self.members {
            member.restart();
        }
    }

    fn now_ns(&self) -> Option<u64> {
        self.members.first().map(|member| member.seat.now_ns())
    }
}

fn notify(members: &[Arc<Seated>]) {
    for member in members {
        member.seat.notify();
    }
}

/// Runs an observer; what it panics with is dropped, and if that panics too, leaked.
fn contain(observe: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(observe))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic)))
    {
        mem::forget(second);
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
