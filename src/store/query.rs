//! What to read: which records, from where, in which direction, how many.

use super::error::ReadError;
use super::filter::RecordFilter;
use super::location::Watermark;
use super::reader::Reader;
use super::streams::Run;
use super::view::Record;
use super::walk::{Cursor, Step};
use std::fmt;

/// A question to the store.
#[derive(Debug, Clone, Default)]
pub struct Query {
    stream: Option<String>,
    filter: Option<RecordFilter>,
    from: Option<u64>,
    to: Option<u64>,
    is_backward: bool,
    limit: Option<u64>,
    has_marks: bool,
}

impl Query {
    /// All events of the log, in the order of their positions.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The events of a stream, in the order of their versions. Its bounds are versions.
    #[must_use]
    pub fn stream(name: impl Into<String>) -> Self {
        Self {
            stream: Some(name.into()),
            ..Self::default()
        }
    }

    /// Begins with this position (of a stream: version), or, backward, ends with it. Without it, with the first that is
    /// kept; a bound below that is an error and not a silent skip.
    #[must_use]
    pub fn from(mut self, first: u64) -> Self {
        self.from = Some(first);
        self
    }

    /// Begins behind this position (of a stream: version): how a page follows the one before.
    #[must_use]
    pub fn after(self, last: u64) -> Self {
        self.from(last.saturating_add(1))
    }

    /// Ends before this position (of a stream: version); backward, begins there. How a page follows the one before when
    /// one reads backward.
    #[must_use]
    pub fn before(mut self, end: u64) -> Self {
        self.to = Some(end);
        self
    }

    /// The latest first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.is_backward = true;
        self
    }

    /// So many records at most.
    #[must_use]
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = Some(records);
        self
    }

    /// Only records that pass; a second filter is added to the first.
    #[must_use]
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(first) => first.and(filter),
            None => filter,
        });
        self
    }

    /// The stream it asks for; `None` for the whole log.
    pub(crate) fn stream_name(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// Its bounds, of positions or versions: the first, and the one behind the last.
    pub(crate) fn bounds(&self) -> (Option<u64>, Option<u64>) {
        (self.from, self.to)
    }

    pub(crate) fn is_backward(&self) -> bool {
        self.is_backward
    }

    /// The most records it asks for.
    pub(crate) fn records_max(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }

    /// The part of it that lies between two positions (of a stream: versions), whatever its own bounds.
    pub(crate) fn part(&self, from: u64, to: u64) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            ..self.clone()
        }
    }

    /// Tombstones and truncations too.
    #[must_use]
    pub fn with_marks(mut self) -> Self {
        self.has_marks = true;
        self
    }
}

#[derive(Debug)]
enum Way {
    Stream {
        number: u32,
        low: u64,
        high: u64,
        hint: Run,
    },
    Forward {
        cursor: Cursor,
        end: u64,
    },
    Backward {
        low: u64,
        high: u64,
    },
}

/// The answer to a query: what was committed when it was asked.
pub struct Records<'r> {
    reader: &'r Reader,
    filter: Option<RecordFilter>,
    watermark: Watermark,
    way: Way,
    is_backward: bool,
    has_marks: bool,
    left: u64,
}

impl<'r> Records<'r> {
    pub(crate) fn new(reader: &'r Reader, query: Query) -> Result<Self, ReadError> {
        if let (Some(from), Some(to)) = (query.from, query.to)
            && from > to
        {
            return Err(ReadError::Invalid(format!(
                "the range from {from} to before {to} ends before it begins"
            )));
        }
        let (watermark, way) = match &query.stream {
            Some(name) => {
                let watermark = reader.log.watermark();
                (watermark, stream_way(reader, name, &query, watermark)?)
            }
            None => log_way(reader, &query)?,
        };
        Ok(Self {
            reader,
            watermark,
            way,
            filter: query.filter,
            is_backward: query.is_backward,
            has_marks: query.has_marks,
            left: query.limit.unwrap_or(u64::MAX),
        })
    }

    fn step(&mut self) -> Option<Result<Record<'r>, ReadError>> {
        let reader = self.reader;
        let gone = || Some(Err(reader.truncated()));
        match &mut self.way {
            Way::Stream {
                number,
                low,
                high,
                hint,
            } => {
                if low >= high {
                    return None;
                }
                let version = if self.is_backward {
                    *high -= 1;
                    *high
                } else {
                    *low += 1;
                    *low - 1
                };
                let streams = &reader.log.streams;
                let stream = streams.get(*number)?;
                let location = streams.location(stream, version, hint);
                Some(reader.at(location).ok_or_else(|| ReadError::Truncated {
                    first: reader.first_version(stream),
                }))
            }
            Way::Forward { cursor, end } => {
                if cursor.position >= *end {
                    return None;
                }
                match reader.step(cursor, self.watermark) {
                    Step::Record(found) => Some(Ok(reader.record(found))),
                    Step::End => None,
                    Step::Gone => gone(),
                }
            }
            Way::Backward { low, high } => {
                if low >= high {
                    return None;
                }
                *high -= 1;
                let location = reader.locate(*high, self.watermark);
                let record = location.and_then(|location| reader.at(location));
                record.map_or_else(gone, |record| Some(Ok(record)))
            }
        }
    }
}

fn log_way(reader: &Reader, query: &Query) -> Result<(Watermark, Way), ReadError> {
    loop {
        let mut watermark = reader.log.watermark();
        let end = reader.end_of(&mut watermark);
        let first = reader.first();
        if first >= end && end > 0 {
            // Retention has overtaken the look at the end: there is a later one.
            continue;
        }
        let low = query.from.unwrap_or(first);
        if low < first {
            return Err(reader.truncated());
        }
        let high = query.to.unwrap_or(end).min(end);
        if query.is_backward {
            return Ok((watermark, Way::Backward { low, high }));
        }
        match reader.cursor(low.min(end), watermark) {
            Ok(cursor) => return Ok((watermark, Way::Forward { cursor, end: high })),
            // The first that is kept is another one by now.
            Err(ReadError::Truncated { .. }) if query.from.is_none() => {}
            Err(error) => return Err(error),
        }
    }
}

fn stream_way(
    reader: &Reader,
    name: &str,
    query: &Query,
    watermark: Watermark,
) -> Result<Way, ReadError> {
    let streams = &reader.log.streams;
    let missing = || ReadError::NoStream {
        stream: name.to_owned(),
    };
    let number = streams.find(streams.hash(name), name).ok_or_else(missing)?;
    let stream = streams.get(number).ok_or_else(missing)?;
    let count = streams.committed(stream, watermark);
    if count == 0 {
        return Err(missing());
    }
    if stream.is_deleted(watermark) {
        return Err(ReadError::Deleted {
            stream: name.to_owned(),
            version: count - 1,
        });
    }
    let first = reader.first_version(stream);
    let from = query.from.unwrap_or(first);
    if from < first {
        return Err(ReadError::Truncated { first });
    }
    let high = query.to.unwrap_or(count).min(count);
    Ok(Way::Stream {
        number,
        low: from,
        high,
        hint: Run::default(),
    })
}

impl<'r> Iterator for Records<'r> {
    type Item = Result<Record<'r>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let record = match self.step()? {
                Ok(record) => record,
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            };
            if record.is_mark() && !self.has_marks {
                continue;
            }
            if self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.passes(&record))
            {
                self.left -= 1;
                return Some(Ok(record));
            }
        }
        None
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("way", &self.way)
            .finish_non_exhaustive()
    }
}
