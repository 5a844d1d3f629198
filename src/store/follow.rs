//! Following the log: from where one was, through what is kept, to what is being appended.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A follower pulls. It walks along the log by its own reader, and catching up and being live are the same walk: there is no
//! second source that takes over at the end, and so no seam at which an event could be lost or come twice (SD2).
//! What differs is only what it is told: [`Signal::CaughtUp`] when it has seen all that was committed at some moment,
//! [`Signal::FellBehind`] when it is further back than it wanted to be. It sleeps until something is appended and polls nothing.
//!
//! A log forgets its oldest segments, so a slow follower may be overtaken; what then happens is its [`SlowReader`] (SD3).
//! No record is copied, and no append waits for a follower.

use super::EventStore;
use super::error::ReadError;
use super::filter::RecordFilter;
use super::reader::Reader;
use super::retention::RetentionPin;
use super::scan::{Scan, Scanned};
use super::signal::{Limit, Signal, SlowReader, Start, Stopper};
use crate::sync::atomic::Ordering;
use std::fmt;
use std::time::Duration;

/// A follower to be set up. Made by [`EventStore::follow`].
#[derive(Debug, Clone)]
#[must_use = "nothing is followed before `open`"]
pub struct FollowBuilder {
    store: EventStore,
    start: Start,
    filter: Option<RecordFilter>,
    batch_max: usize,
    slow: SlowReader,
    fell_behind_after: u64,
}

impl EventStore {
    /// Follows the log.
    ///
    /// ```
    /// use ringbolt::store::{EventStore, ExpectedVersion, Signal, Start};
    /// use std::time::Duration;
    /// # use ringbolt::{Codec, Event};
    /// # struct Noted(String);
    /// # impl Event for Noted {
    /// #     const NAME: &'static str = "noted";
    /// #     fn codec() -> Option<Codec<Self>> {
    /// #         Some(Codec::new(|noted| Ok(noted.0.clone()), |text| Ok(Self(text.to_owned()))))
    /// #     }
    /// # }
    ///
    /// let store = EventStore::new();
    /// store.append("notes", ExpectedVersion::Any, &Noted("one".to_owned()))?;
    /// let mut follower = store.follow(Start::Start).open()?;
    /// let stopper = follower.stopper();
    /// let mut checkpoint = None;
    /// loop {
    ///     match follower.next(Duration::MAX)? {
    ///         Signal::Events(events) => {
    ///             let position = events.position();
    ///             for record in events {
    ///                 println!("{} {:?}", record.position(), record.payload());
    ///             }
    ///             checkpoint = Some(position);
    ///         }
    ///         Signal::CaughtUp => stopper.stop(), // Whoever wants to stay goes on instead.
    ///         Signal::Stopped => break,
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// assert_eq!(checkpoint, Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(&self, start: Start) -> FollowBuilder {
        FollowBuilder {
            store: self.clone(),
            start,
            filter: None,
            batch_max: 256,
            slow: SlowReader::default(),
            fell_behind_after: 10_000,
        }
    }

    /// Opens a walk at a start, pinned if it is to be. It is where the start says or fails: nothing is skipped unsaid (SD1).
    pub(crate) fn scan(
        &self,
        start: Start,
        is_pinned: bool,
    ) -> Result<(Scan, Option<RetentionPin>), ReadError> {
        loop {
            let reader = self.reader();
            let position = position_of(&reader, start)?;
            let pin = if is_pinned {
                self.pin(position).map(Some)
            } else {
                Ok(None)
            };
            let opened = pin.and_then(|pin| Ok((Scan::new(reader, position)?, pin)));
            match (start, opened) {
                // Retired since it was looked for.
                (Start::Start | Start::End, Err(ReadError::Truncated { .. })) => {}
                (Start::After(_), Err(ReadError::Truncated { .. })) => {
                    return Err(ReadError::Truncated {
                        first: self.reader().first(),
                    });
                }
                (_, Ok((mut scan, pin))) => {
                    scan.release();
                    return Ok((scan, pin));
                }
                (_, Err(error)) => return Err(error),
            }
        }
    }
}

fn position_of(reader: &Reader, start: Start) -> Result<u64, ReadError> {
    match start {
        Start::Start => Ok(reader.first()),
        Start::End => Ok(reader.end()),
        Start::After(position) => position.checked_add(1).ok_or_else(|| {
            ReadError::Invalid(format!("nothing can be behind position {position}"))
        }),
    }
}

impl FollowBuilder {
    /// Only events that pass; a second filter is added to the first. All.
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(first) => first.and(filter),
            None => filter,
        });
        self
    }

    /// The most events that [`Follower::next`] gives at once; more only where the last append has more, as none is cut. 256.
    pub fn batch_max(mut self, events: usize) -> Self {
        self.batch_max = events;
        self
    }

    /// What happens when it is slower than the log forgets. It is demoted.
    pub fn slow(mut self, slow: SlowReader) -> Self {
        self.slow = slow;
        self
    }

    /// How many records it may be behind while it counts as caught up. 10,000.
    pub fn fell_behind_after(mut self, records: u64) -> Self {
        self.fell_behind_after = records;
        self
    }

    /// Begins.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if what follows the start is not kept any more, [`ReadError::Invalid`] if the start is
    /// beyond the end of the log: a checkpoint of another one.
    pub fn open(self) -> Result<Follower, ReadError> {
        let is_pinned = self.slow == SlowReader::Block;
        let (scan, pin) = self.store.scan(self.start, is_pinned)?;
        Ok(Follower {
            stopper: Stopper::new(&self.store.log),
            scan,
            filter: self.filter,
            batch_max: self.batch_max,
            slow: self.slow,
            fell_behind_after: self.fell_behind_after,
            pin,
            is_live: false,
            is_at_end: false,
            lost: 0,
        })
    }
}

/// One who follows the log, on one thread at a time. Every event that passes its filter comes once, in the order of positions.
pub struct Follower {
    scan: Scan,
    filter: Option<RecordFilter>,
    batch_max: usize,
    slow: SlowReader,
    fell_behind_after: u64,
    pin: Option<RetentionPin>,
    stopper: Stopper,
    /// Told to be caught up, and not since told to have fallen behind.
    is_live: bool,
    /// The last events were all that was committed.
    is_at_end: bool,
    lost: u64,
}

impl Follower {
    /// What comes next; waits for it to be appended, for so long at most ([`Duration::ZERO`]: not at all, [`Duration::MAX`]:
    /// forever). Looking through what is there is no waiting. Events that were given before are let go.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if what comes next is not kept any more, unless it is [lossy](SlowReader::Lossy). The call
    /// after it fails as well: a follower that is to go on with what is left is opened anew.
    pub fn next(&mut self, timeout: Duration) -> Result<Signal<'_>, ReadError> {
        self.next_batch(self.batch_max, timeout)
    }

    /// As [`next`](Self::next), with at most so many events (0 counts as 1).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_batch(&mut self, max: usize, timeout: Duration) -> Result<Signal<'_>, ReadError> {
        let signal = self.go_on(max, timeout)?;
        Ok(signal.unwrap_or_else(|| Signal::Events(self.scan.events())))
    }

    /// Goes on to the next signal; `None` for events.
    fn go_on(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<Option<Signal<'static>>, ReadError> {
        let mut limit = Limit::new(timeout);
        self.scan.release();
        loop {
            if let Some(pin) = &self.pin {
                // What was given is done with, and what was left out is not needed.
                pin.advance(self.scan.position());
            }
            if self.stopper.is_stopped() {
                return Ok(Some(Signal::Stopped));
            }
            if self.is_live || self.is_at_end {
                let by = self.scan.lag();
                let is_behind = by > self.fell_behind_after;
                let was_at_end = std::mem::take(&mut self.is_at_end);
                if self.is_live && is_behind {
                    return Ok(Some(self.falls_behind(by)));
                }
                if !self.is_live && was_at_end && !is_behind {
                    return Ok(Some(self.catches_up()));
                }
            }
            let filter = self.filter.as_ref();
            let looked = self.scan.look(max, |record| {
                filter.is_none_or(|filter| filter.passes(record))
            });
            match looked {
                Scanned::Found { is_end } => {
                    self.is_at_end = is_end;
                    return Ok(None);
                }
                Scanned::Nothing if limit.is_over(&mut self.scan) => {
                    return Ok(Some(Signal::TimedOut));
                }
                Scanned::Nothing => {}
                Scanned::End if !self.is_live => return Ok(Some(self.catches_up())),
                Scanned::End => {
                    // What was left out on the way holds nothing back while it sleeps.
                    self.scan.release();
                    if let Some(pin) = &self.pin {
                        pin.advance(self.scan.position());
                    }
                    let (log, seen) = (&self.stopper.log, self.scan.watermark());
                    let is_done = || log.watermark() != seen || self.stopper.is_stopped();
                    if !limit.wait(log, is_done) {
                        return Ok(Some(Signal::TimedOut));
                    }
                }
                Scanned::Gone { first } => return self.is_overtaken(first).map(Some),
            }
        }
    }

    fn catches_up(&mut self) -> Signal<'static> {
        self.is_live = true;
        Signal::CaughtUp
    }

    fn falls_behind(&mut self, by: u64) -> Signal<'static> {
        self.is_live = false;
        Signal::FellBehind { by }
    }

    /// What comes next is gone.
    fn is_overtaken(&mut self, first: u64) -> Result<Signal<'static>, ReadError> {
        if self.is_live {
            let by = self.scan.lag();
            return Ok(self.falls_behind(by));
        }
        if self.slow != SlowReader::Lossy {
            return Err(ReadError::Truncated { first });
        }
        let (from, to) = self.scan.seek_first()?;
        self.lost += to - from;
        let lost = &self.stopper.log.counts.lost;
        lost.fetch_add(to - from, Ordering::Relaxed);
        Ok(Signal::Gap { from, to })
    }

    /// The last position that is behind it, given or left out: the checkpoint once what was given is handled. `None` if it
    /// has nothing behind it.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.scan.position().checked_sub(1)
    }

    /// Where a follower begins that goes on from here.
    #[must_use]
    pub fn checkpoint(&self) -> Start {
        self.position().map_or(Start::Start, Start::After)
    }

    /// Whether it was told to be caught up, and not since to have fallen behind.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// How many records it has lost: the lengths of its gaps together.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What stops it from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("position", &self.position())
            .field("slow", &self.slow)
            .field("is_live", &self.is_live)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
