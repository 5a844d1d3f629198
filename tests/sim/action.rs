//! What a run is made of: the settings of an engine, and a list of actions.
//!
//! A run is a function of these and of nothing else. They are drawn from a seed (`draw.rs`), cut down when a run fails
//! (`shrink.rs`), and written as JSON, a line for the settings and one for each action, so that what is left of a
//! failure can be read, kept and run again. Every number is taken modulo what exists when its action comes, and an action
//! that finds nothing to act on does nothing: so any of them may be left out and the rest stays valid. What a field
//! is when it is left out is the simplest there is.

use crate::random::Random;
use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Script {
    pub(crate) setup: Setup,
    pub(crate) actions: Vec<Action>,
}

/// What the engine of a run is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Setup {
    pub(crate) pools: usize,
    pub(crate) lane_capacity: usize,
    pub(crate) inbox_capacity: usize,
    pub(crate) spill_max: usize,
    pub(crate) batch_max: usize,
    pub(crate) starvation_limit: usize,
    pub(crate) no_handler_is_error: bool,
    /// Classes that are declared lossy.
    pub(crate) lossy: Vec<u8>,
    pub(crate) stamps_each: bool,
    /// No subscription goes, no poller changes, no handler publishes: then the order of classes can be told from
    /// outside (PD3).
    pub(crate) is_calm: bool,
    /// Whoever is told of the stop panics.
    pub(crate) traps_stopped: bool,
    /// What subscriptions and the list say of failing counts: retries, breakers, letters.
    pub(crate) has_policies: bool,
    /// Letters that are kept; without any there is no queue.
    pub(crate) letters: usize,
    pub(crate) overflow: Full,
    /// The breaker that subscriptions may share.
    pub(crate) fuse: Fuse,
    /// Whoever is told of a letter panics.
    pub(crate) traps_letters: bool,
    /// A fault of the simulation's own, for the tests of what a failure looks like.
    pub(crate) plant: Option<Plant>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pools: 1,
            lane_capacity: 8,
            inbox_capacity: 8,
            spill_max: 40,
            batch_max: 9,
            starvation_limit: 24,
            no_handler_is_error: false,
            lossy: Vec::new(),
            stamps_each: false,
            is_calm: false,
            traps_stopped: false,
            has_policies: false,
            letters: 0,
            overflow: Full::Pause,
            fuse: Fuse::default(),
            traps_letters: false,
            plant: None,
        }
    }
}

/// What a full dead-letter queue does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Full {
    #[default]
    Pause,
    Evict,
    Refuse,
}

/// What a breaker is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fuse {
    pub(crate) window: u8,
    pub(crate) minimum: u8,
    pub(crate) permits: u8,
    pub(crate) wait_ns: u32,
    pub(crate) on_open: Aside,
}

/// What becomes of events that cannot be tried or held now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aside {
    /// They wait, and whoever brings more with them.
    #[default]
    Wait,
    Letter,
    Skip,
}

/// Which breaker a subscription has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breaks {
    #[default]
    Never,
    Shared,
    Own,
}

/// Faults that are not the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plant {
    /// Handlers of the second pool forget the keyed events of the lowest class.
    Loses,
    /// The run itself panics where the clock moves behind two withdrawn subscriptions.
    Breaks,
}

/// One thing that is done to the engine from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    Publish(Item),
    Batch(Batch),
    Poll {
        #[serde(default)]
        pool: u8,
        #[serde(default)]
        batches: u8,
    },
    Subscribe(Subscribe),
    /// Withdraws a subscription.
    Withdraw(u8),
    /// A poller comes to a pool that has none.
    Man(u8),
    /// The poller of a pool goes.
    Unman(u8),
    /// A new publisher takes the place of an old one.
    Renew(u8),
    /// The clock moves, by nanoseconds.
    Advance(u32),
    /// An event that is published later, by the way of its class and key alone.
    Later {
        #[serde(default)]
        item: Item,
        #[serde(default)]
        after_ns: u32,
    },
    /// One of those is called back.
    Recall(u8),
    /// A letter, by its place, is redelivered; where it is parked, its key is.
    Redeliver(u8),
    RedeliverAll,
    /// A redelivery is cancelled.
    Cancel(u8),
    Discard(u8),
    DiscardAll,
    /// A breaker is forced open, reset or disabled.
    Fuse {
        #[serde(default)]
        place: u8,
        #[serde(default)]
        hand: Hand,
    },
    /// A look at the counts of every subscription.
    Count,
    /// A look at a whole report.
    Report,
    /// The engine stops; what comes behind is done while it does, and after.
    Stop(Stop),
}

/// What is done to a breaker by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hand {
    #[default]
    Reset,
    ForceOpen,
    Disable,
}

/// How an engine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// With time to drain.
    Gently,
    AtOnce,
    /// The pollers go first: what waits is abandoned.
    Unmanned,
    /// The system is dropped, before its pollers...
    Dropped,
    /// ...or after them.
    DroppedUnmanned,
}

impl Stop {
    pub(crate) const ALL: [Self; 5] = [
        Self::Gently,
        Self::AtOnce,
        Self::Unmanned,
        Self::Dropped,
        Self::DroppedUnmanned,
    ];
}

/// An event, how it is published, and what its handlers do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) by: By,
    /// Which publisher.
    pub(crate) place: u8,
    pub(crate) kind: u8,
    pub(crate) key: Option<u8>,
    pub(crate) class: u8,
    pub(crate) style: Style,
    pub(crate) admission: NoRoom,
    /// Asking for its key panics.
    pub(crate) traps_key: bool,
    /// Dropping it panics.
    pub(crate) traps_drop: bool,
    /// What handlers do: each subscription takes one of these by its number.
    pub(crate) doings: Vec<Doing>,
}

/// By which way an event goes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// The context of the handler; from outside, a publisher.
    #[default]
    Context,
    Publisher,
    Handle,
}

/// Which of the calls of a publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    #[default]
    With,
    Try,
    Tracked,
}

/// What to do when there is no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoRoom {
    #[default]
    Fail,
    Lossy,
    /// Waits for no time at all.
    BlockFor,
    /// On a worker's thread; from outside, where it would wait for itself, as `Fail`.
    Block,
}

/// Events of one kind and class that are published together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) place: u8,
    pub(crate) kind: u8,
    pub(crate) class: u8,
    pub(crate) keys: Vec<Option<u8>>,
    /// The iterator panics in the place of this one.
    pub(crate) traps_next: Option<u8>,
    /// The key of this one panics.
    pub(crate) traps_key: Option<u8>,
    /// The drop of each panics.
    pub(crate) traps_drop: bool,
    pub(crate) doings: Vec<Doing>,
}

/// What a handler does with an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Doing {
    pub(crate) takes_ns: u32,
    pub(crate) children: Vec<Item>,
    /// More events of one kind than fit, then turns of all other workers, then one event more.
    pub(crate) overflow: Option<Box<Item>>,
    /// Subscriptions that it withdraws.
    pub(crate) withdraws: Vec<u8>,
    pub(crate) stop: Option<Stop>,
    pub(crate) end: End,
    /// So many calls end like that, and the others well; all of them, if it is none.
    pub(crate) fails: u8,
    /// Whoever is told of a failure panics.
    pub(crate) traps_observer: bool,
}

/// How a handler's call is going to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    #[default]
    Handled,
    Skipped,
    Failed,
    /// Fails with an error whose drop panics.
    FailedBadly,
    /// Fails, and says that no further attempt will go better.
    FailedForGood,
    /// Fails, and says when to try again.
    FailedForNow,
    Panics,
    /// Panics with a value whose drop panics.
    PanicsBadly,
}

/// A subscription that comes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Subscribe {
    pub(crate) sort: Sort,
    pub(crate) kind: u8,
    pub(crate) pool: u8,
    /// Dropping its state panics.
    pub(crate) traps_state: bool,
    pub(crate) attempts: u8,
    pub(crate) delay_ns: u32,
    /// The most that is held, from 1; as much as an engine holds by itself, if it is none.
    pub(crate) held_max: u8,
    pub(crate) when_full: Aside,
    pub(crate) breaks: Breaks,
    /// Its own breaker.
    pub(crate) fuse: Fuse,
    pub(crate) is_sequential: bool,
    pub(crate) without_letters: bool,
}

impl End {
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Handled | Self::Skipped)
    }
}

/// The sorts of handlers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    #[default]
    ByRef,
    /// Always of one kind: the others would hardly ever be free.
    ByValue,
    /// With state of its own, for two kinds.
    Factory,
}

impl Script {
    /// As text: the settings, and each action on a line.
    pub(crate) fn to_text(&self) -> String {
        let line = |value: serde_json::Result<String>| value.expect("plain data") + "\n";
        let actions = self.actions.iter();
        let actions = actions.map(|action| line(serde_json::to_string(action)));
        line(serde_json::to_string(&self.setup)) + &actions.collect::<String>()
    }

    /// From such a text.
    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let wrong = |line: &str, error| format!("{line}: {error}");
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let setup = lines.next().ok_or("an empty list of actions")?;
        Ok(Self {
            setup: serde_json::from_str(setup).map_err(|error| wrong(setup, error))?,
            actions: lines
                .map(|line| serde_json::from_str(line).map_err(|error| wrong(line, error)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The same with the engine stopped before the action of this index; other stops are left out.
    pub(crate) fn stopped_at(&self, index: usize, stop: Stop) -> Self {
        let is_kept = |action: &&Action| !matches!(action, Action::Stop(_));
        let mut actions: Vec<Action> = self.actions.iter().filter(is_kept).cloned().collect();
        actions.insert(index.min(actions.len()), Action::Stop(stop));
        Self {
            setup: self.setup.clone(),
            actions,
        }
    }
}

/// A number for the test of two runs that ought to be the same.
pub(crate) fn mix(digest: u64, with: u64) -> u64 {
    Random::of(digest, with).next()
}
