//! A walk along the log for those who follow it: what was found stays where it lies, and no append is cut in two.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A scan remembers where the records lie that it has found and gives them when asked, so nothing is copied and a batch
//! costs no memory of its own. It goes on from the end of an append only: what it has passed is always whole.

use super::error::ReadError;
use super::location::Watermark;
use super::reader::Reader;
use super::view::Record;
use super::walk::{Cursor, Step};
use std::fmt;

/// Records looked at in one go, at most, before the one who asked is asked again; an append that is longer is one go. It bounds the
/// segments that a batch keeps pinned while a filter lets little through.
const LOOKED_AT_MAX: usize = 4_096;

/// A walk: a reader of its own, and how far it is.
#[derive(Debug)]
pub(crate) struct Scan {
    reader: Reader,
    cursor: Cursor,
    /// Where each record lies that was found last: the cursor before it.
    found: Vec<Cursor>,
    /// The watermark of the last look.
    watermark: Watermark,
}

/// What a look has found.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// Events; whether they are all that was committed.
    Found { is_end: bool },
    /// No event, but there is more to look at.
    Nothing,
    /// No event, and nothing more is committed.
    End,
    /// What comes next is not kept any more; what is, begins at `first`.
    Gone { first: u64 },
}

impl Scan {
    /// From this position on.
    pub(crate) fn new(reader: Reader, position: u64) -> Result<Self, ReadError> {
        let cursor = cursor_at(&reader, position)?;
        Ok(Self {
            watermark: reader.log.watermark(),
            reader,
            cursor,
            found: Vec::new(),
        })
    }

    /// The position of the next record.
    pub(crate) fn position(&self) -> u64 {
        self.cursor.position
    }

    /// The watermark of the last look.
    pub(crate) fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Lets go of what was found.
    pub(crate) fn release(&mut self) {
        self.found.clear();
        self.reader.release();
    }

    /// How many records the log has beyond.
    pub(crate) fn lag(&mut self) -> u64 {
        let lag = self.reader.end().saturating_sub(self.cursor.position);
        self.release();
        lag
    }

    /// Goes on from another position.
    pub(crate) fn seek(&mut self, position: u64) -> Result<(), ReadError> {
        self.release();
        self.cursor = cursor_at(&self.reader, position)?;
        Ok(())
    }

    /// Goes on from the first record that is kept with all of its append; what was passed over is between the two
    /// positions that are returned.
    pub(crate) fn seek_first(&mut self) -> Result<(u64, u64), ReadError> {
        let from = self.cursor.position;
        loop {
            let first = self.reader.first();
            match self.seek(first.max(from)) {
                // Retired meanwhile: there is a later one.
                Err(ReadError::Truncated { .. }) => {}
                other => return other.map(|()| (from, self.cursor.position)),
            }
        }
    }

    /// Looks for events that pass, up to `max` of them, or more if the last append has more. A filter that panics
    /// leaves it where it was.
    pub(crate) fn look(&mut self, max: usize, passes: impl FnMut(&Record<'_>) -> bool) -> Scanned {
        self.release();
        self.watermark = self.reader.log.watermark();
        let mut passed = self.cursor;
        let scanned = walk(
            &self.reader,
            self.watermark,
            (&mut passed, &mut self.found),
            max,
            passes,
        );
        self.cursor = passed;
        if let Scanned::Gone { .. } = scanned {
            self.release();
        }
        scanned
    }

    /// What the last look has found.
    pub(crate) fn events(&self) -> Events<'_> {
        Events {
            reader: &self.reader,
            found: &self.found,
            watermark: self.watermark,
            position: self.cursor.position,
        }
    }
}

/// Walks on from `passed`, which is left at the end of an append, and enters in `found` what passes.
fn walk(
    reader: &Reader,
    watermark: Watermark,
    (passed, found): (&mut Cursor, &mut Vec<Cursor>),
    max: usize,
    mut passes: impl FnMut(&Record<'_>) -> bool,
) -> Scanned {
    let mut cursor = *passed;
    let (mut whole, mut looked_at) = (0, 0);
    loop {
        let before = cursor;
        match reader.step(&mut cursor, watermark) {
            Step::Record(record) => {
                let record = reader.record(record);
                looked_at += 1;
                if !record.is_mark() && passes(&record) {
                    found.push(before);
                }
                if record.batch_left() > 0 {
                    continue;
                }
                *passed = cursor;
                whole = found.len();
                if whole >= max.max(1) || looked_at >= LOOKED_AT_MAX {
                    return match whole {
                        0 => Scanned::Nothing,
                        _ => Scanned::Found { is_end: false },
                    };
                }
            }
            Step::End => {
                return match whole {
                    0 => Scanned::End,
                    _ => Scanned::Found { is_end: true },
                };
            }
            Step::Gone => match cursor_at(reader, before.position) {
                // Only what had been passed before was gone.
                Ok(there) => cursor = there,
                Err(_) if whole > 0 => {
                    found.truncate(whole);
                    return Scanned::Found { is_end: false };
                }
                Err(_) => {
                    return Scanned::Gone {
                        first: reader.first(),
                    };
                }
            },
        }
    }
}

/// A cursor at a position. A segment that is retired between two looks is no reason to say that the position is gone.
fn cursor_at(reader: &Reader, position: u64) -> Result<Cursor, ReadError> {
    loop {
        match reader.cursor(position, reader.watermark()) {
            Err(ReadError::Truncated { first }) if first <= position => {}
            Err(ReadError::Truncated { .. }) => {
                return Err(ReadError::Truncated {
                    first: reader.first(),
                });
            }
            other => return other,
        }
    }
}

/// Events of a batch, in the order of their positions: an iterator of [`Record`]s that lie where they were appended. They
/// are kept until the one who gave them is asked for more.
#[derive(Clone)]
pub struct Events<'f> {
    reader: &'f Reader,
    found: &'f [Cursor],
    watermark: Watermark,
    position: u64,
}

impl Events<'_> {
    /// The last position that was looked at for this batch, whether its event is in it or was left out by the filter:
    /// the checkpoint once all of the batch is handled ([`Start::After`](super::Start::After)).
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.saturating_sub(1)
    }
}

impl<'f> Iterator for Events<'f> {
    type Item = Record<'f>;

    fn next(&mut self) -> Option<Record<'f>> {
        let (&first, rest) = self.found.split_first()?;
        self.found = rest;
        let mut cursor = first;
        match self.reader.step(&mut cursor, self.watermark) {
            Step::Record(found) => Some(self.reader.record(found)),
            Step::End | Step::Gone => unreachable!("what was found is pinned"),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.found.len(), Some(self.found.len()))
    }
}

impl ExactSizeIterator for Events<'_> {}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("left", &self.found.len())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
