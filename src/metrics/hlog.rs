//! Interval logs (`.hlog`): a histogram per interval, as the HdrHistogram tools read them.
//!
//! Callers may rely on: format version 1.3 with its version line, start time and legend; compressed
//! (V2 deflate) histograms; a line per interval, written at once. Histogram values are nanoseconds;
//! the `Interval_Max` column alone is in milliseconds, as the reference writer has it and its log
//! analyser and plotter expect. An interval's start is in seconds after the log's start time.
//!
//! Tools show the lines without a tag unless they are asked for one: write the distribution that
//! matters most untagged and the others under a tag.

use super::latency::Latency;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds per unit of the `Interval_Max` column.
const MAX_VALUE_UNIT_RATIO: f64 = 1_000_000.0;

/// Writes an interval log.
///
/// Intervals should be written in the order of their starts. Dropping the log flushes nothing that
/// its writer would not flush; end with [`into_inner`](Self::into_inner) or [`flush`](Self::flush).
pub struct IntervalLog<W: Write> {
    writer: W,
    serializer: V2DeflateSerializer,
    line: Vec<u8>,
}

impl<W: Write> IntervalLog<W> {
    /// Begins a log of measurements that started at `start`: writes its head to `writer`.
    ///
    /// # Errors
    ///
    /// Those of `writer`.
    pub fn new(mut writer: W, start: SystemTime) -> io::Result<Self> {
        // A clock set before 1970 is as good as unset.
        let since_epoch = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(
            writer,
            "#[Histogram log format version 1.3]\n\
             #[StartTime: {}.{:03} (seconds since epoch), {}]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            since_epoch.as_secs(),
            since_epoch.subsec_millis(),
            utc_text(since_epoch.as_secs()),
        )?;
        Ok(Self {
            writer,
            serializer: V2DeflateSerializer::new(),
            line: Vec::new(),
        })
    }

    /// Writes what was recorded between `start` (counted from the log's start) and `start + length`.
    ///
    /// `tag` tells distributions of one log apart. Commas and white space, which end a tag for its
    /// readers, are written as `_`; an empty tag is none.
    ///
    /// # Errors
    ///
    /// Those of the writer, and `InvalidData` for a count above `i64::MAX`, which the format cannot
    /// hold; nothing is written then.
    pub fn write(
        &mut self,
        tag: Option<&str>,
        start: Duration,
        length: Duration,
        latency: &Latency,
    ) -> io::Result<()> {
        let tag = tag
            .map(|tag| tag.replace(ends_a_tag, "_"))
            .filter(|tag| !tag.is_empty());
        let tag = tag.as_deref().and_then(Tag::new);
        // The range is part of the format and signed there: a histogram made for all of u64 would
        // read as one for -1.
        let in_range;
        let latency = if latency.histogram().high() > Latency::NS_MAX {
            in_range = latency.since(&Latency::with_digits(latency.digits()));
            &in_range
        } else {
            latency
        };

        self.line.clear();
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(MAX_VALUE_UNIT_RATIO)
            .begin_log_with(&mut self.line, &mut self.serializer)?
            .write_histogram(latency.histogram(), start, length, tag)
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => {
                    io::Error::new(io::ErrorKind::InvalidData, format!("interval log: {error}"))
                }
            })?;
        // The builder begins with a comment that names the divisor; the head has none, as the
        // reference writer's has not.
        let interval = self
            .line
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        self.writer.write_all(&self.line[interval..])
    }

    /// Flushes the writer.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Flushes the writer and gives it back.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

impl<W: Write> fmt::Debug for IntervalLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalLog").finish_non_exhaustive()
    }
}

fn ends_a_tag(c: char) -> bool {
    c == ',' || c.is_whitespace() || c.is_control()
}

/// A time as the reference writer prints it for people: `Wed Sep 09 15:24:39 UTC 2015`.
fn utc_text(seconds_since_epoch: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };

    let (days, second_of_day) = (seconds_since_epoch / 86_400, seconds_since_epoch % 86_400);
    let mut year = 1970 + days / DAYS_PER_400_YEARS * 400;
    let mut day = days % DAYS_PER_400_YEARS;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let mut month = 0;
    loop {
        let length = MONTHS[month].1 + u64::from(month == 1 && is_leap(year));
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!(
        "{} {} {:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[(days % 7) as usize],
        MONTHS[month].0,
        day + 1,
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    )
}

#[cfg(test)]
mod tests;
