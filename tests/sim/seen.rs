//! What came about in runs, counted, so that a simulation that no longer gets somewhere is noticed.

use std::fmt;

macro_rules! things {
    ($($thing:ident $text:literal,)*) => {
        /// Something that a simulation is to bring about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Thing { $($thing,)* }

        const THINGS: &[(Thing, &str)] = &[$((Thing::$thing, $text),)*];

        /// How often each thing came about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct Seen([u64; [$($text,)*].len()]);

        impl Default for Seen {
            fn default() -> Self {
                Self([0; [$($text,)*].len()])
            }
        }
    };
}

things! {
    SlotFull "lanes of one slot: a publisher found one full",
    SlotSpilled "lanes of one slot: a handler's event was spilled behind one",
    LaneFull "a publisher found a longer lane full",
    InboxFull "a handle found an inbox full",
    SpillFull "a handler found the spill full",
    Lost "a lossy event was dropped for want of room",
    Slow "a handler took longer than a batch may",
    Cycle "an event's offspring came back to a worker by way of another",
    SlotCycle "the same with lanes of one slot",
    NestedPoll "a worker took its turn inside another's handler",
    HandlerPanic "a handler panicked",
    PanicValueDrop "the drop of a panic's value panicked",
    ErrorDrop "the drop of a handler's error panicked",
    PayloadDrop "the drop of a payload panicked on its worker",
    PayloadDropPublish "the drop of a payload panicked in its publish",
    PayloadDropStop "the drop of a payload panicked while it was abandoned",
    StateDrop "the drop of a handler's state panicked",
    KeyPanic "an event panicked when asked for its key",
    NextPanic "the iterator of a batch panicked",
    ObserverPanic "an observer of failures panicked",
    StoppedPanic "an observer of the stop panicked",
    Storm "four subscriptions or more went between two turns",
    StormInside "four subscriptions or more went in one call",
    Withdrawn "a delivery was withdrawn",
    Drained "a quiet engine was stopped",
    StopGently "an engine at work was stopped with time to drain",
    StopAtOnce "... at once",
    StopUnmanned "... without pollers",
    StopDropped "... by dropping it",
    StopDroppedUnmanned "... by dropping it without pollers",
    StopInside "... by a handler",
    StopWaiting "the stop found events that waited",
    ClosedOutside "an event from outside was refused by an engine that was stopping",
    PublishedStopping "a handler published while the engine drained",
    Abandoned "a delivery was abandoned",
    Held "events were held while the engine was quiet",
    HandlerFailed "an only attempt failed",
    RetrySucceeded "a retry succeeded",
    RetryExhausted "attempts were used up",
    RetryPermanent "a failure was for good at once",
    RetryPanic "a panic was followed by another attempt",
    HeldBehind "an event was held behind another of its key",
    ReleasedByClass "a key's events were let go in the order of their classes",
    HeldFull "a full shelf kept its worker from taking more",
    HeldFullLetter "... made letters",
    HeldFullSkip "... let events be skipped",
    BreakerOpened "a breaker opened",
    BreakerHalfOpen "a breaker was half-open",
    BreakerReopened "a probe failed",
    BreakerClosed "a breaker closed, and events waited for it",
    BreakerLetter "an open breaker made a letter",
    BreakerSkip "an open breaker let an event be skipped",
    LetterKept "a letter was kept",
    LetterParked "a letter joined its parked key",
    LetterPaused "a full queue paused a subscription",
    LetterEvicted "... gave up its oldest letter",
    LetterRefused "... refused a letter",
    LetterDiscarded "a letter was discarded",
    LetterObserverPanic "an observer of letters panicked",
    Redelivered "a redelivery succeeded",
    RedeliveredInOrder "two letters of a parked key were redelivered in order",
    RedeliveryFailed "a redelivery failed",
    RedeliveryGivenUp "a redelivery was given up",
    WithdrawnHeld "a subscription went with events held",
    AbandonedHeld "an event that was held was abandoned",
    LeftHeld "a poller left with events held",
    LaterPublished "a scheduled event was published",
    LaterRecalled "... was called back",
    LaterStopped "... was there when the engine stopped",
}

impl Seen {
    pub(crate) fn note(&mut self, thing: Thing) {
        self.add(thing, 1);
    }

    pub(crate) fn add(&mut self, thing: Thing, count: u64) {
        self.0[thing as usize] += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            *sum += other;
        }
    }

    /// What has not come about.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = |(thing, _): &&(Thing, _)| self.0[*thing as usize] == 0;
        THINGS.iter().filter(never).map(|(_, text)| *text).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (thing, text) in THINGS {
            writeln!(f, "{:>9}  {text}", self.0[*thing as usize])?;
        }
        Ok(())
    }
}
