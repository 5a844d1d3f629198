//! A distribution of latencies in nanoseconds.
//!
//! Picture an HDR histogram that is asked the way the reference tools ask theirs. Callers may rely
//! on: a percentile is never above the maximum and never falls as the percentile rises; 100 is the
//! maximum whatever the count; an empty distribution answers 0 everywhere; recording and merging
//! never fail (values are capped at [`Latency::NS_MAX`], counts saturate). Values are exact to the
//! histogram's significant digits: `min` is the bottom of the lowest bucket in use, `max` and
//! percentiles are the top of theirs, so that no percentile can pass the maximum.
//!
//! Percentiles, mean and deviation are computed here and not taken from `hdrhistogram`: its
//! percentile multiplies in floating point, so that past 2^53 values the last percentiles overrun
//! the counts and answer 0, and below that some fall into the next bucket by one unit of rounding.

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::fmt;

/// A distribution of latencies in nanoseconds; see [`LatencySummary`] for its usual figures.
#[derive(Clone, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// The figures of a [`Latency`] that reports print, all in nanoseconds but `count`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// How many latencies were recorded.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 90 in 100 are at or below this.
    pub p90: u64,
    /// 99 in 100 are at or below this.
    pub p99: u64,
    /// 999 in 1,000 are at or below this.
    pub p99_9: u64,
    /// 9,999 in 10,000 are at or below this.
    pub p99_99: u64,
    /// The largest.
    pub max: u64,
    /// The smallest.
    pub min: u64,
    /// The mean, to a tenth of a nanosecond.
    pub mean: f64,
}

/// A bucket that holds something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// The largest value that falls into the bucket.
    pub(super) highest: u64,
    /// The middle of the values that fall into the bucket.
    pub(super) median: u64,
    /// How many values fell into it, above 0.
    pub(super) count: u64,
}

impl Latency {
    /// The largest value kept, 292 years: the reference tools read values as signed.
    pub const NS_MAX: u64 = i64::MAX as u64;

    /// An empty distribution that keeps 3 significant digits and grows as needed.
    #[must_use]
    pub fn new() -> Self {
        Self::with_digits(3)
    }

    /// An empty distribution that keeps `digits` significant digits and grows as needed.
    ///
    /// # Panics
    ///
    /// If `digits` is above 5.
    #[must_use]
    pub fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new(digits)
            .unwrap_or_else(|_| panic!("latency: {digits} significant digits (keep 0 to 5)"));
        Self { histogram }
    }

    /// The distribution of a histogram of nanoseconds. What is merged into it later may be larger
    /// than what the histogram was made for.
    #[must_use]
    pub fn from_histogram(mut histogram: Histogram<u64>) -> Self {
        histogram.auto(true);
        Self { histogram }
    }

    /// The histogram behind it.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Adds one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.record_n(latency_ns, 1);
    }

    /// Adds `count` equal latencies.
    pub fn record_n(&mut self, latency_ns: u64, count: u64) {
        self.histogram
            .record_n(latency_ns.min(Self::NS_MAX), count)
            .expect("a growing histogram takes every value up to NS_MAX");
    }

    /// Adds what `other` holds. Where the two keep a different number of digits, the values of
    /// `other` count as the top of their buckets, as its own percentiles show them.
    pub fn merge(&mut self, other: &Self) {
        // `Histogram::add` puts foreign buckets in at their bottom, which would lower the maximum.
        if self.digits() == other.digits() && self.histogram.low() == other.histogram.low() {
            self.histogram
                .add(&other.histogram)
                .expect("a growing histogram takes what another one holds");
        } else {
            for bucket in other.buckets() {
                self.record_n(bucket.highest, bucket.count);
            }
        }
    }

    /// What was recorded after `earlier`, an older snapshot of the same distribution.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = Self::with_digits(self.digits());
        let earlier_max = earlier.max();
        for bucket in self.buckets() {
            // Above its range a histogram answers with the count of its last bucket.
            let seen = if bucket.highest > earlier_max {
                0
            } else {
                earlier.histogram.count_at(bucket.highest)
            };
            let added = bucket.count.saturating_sub(seen);
            if added > 0 {
                later.record_n(bucket.highest, added);
            }
        }
        later
    }

    /// How many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The significant digits that are kept.
    #[must_use]
    pub fn digits(&self) -> u8 {
        self.histogram.sigfig()
    }

    /// The smallest latency, 0 if there is none.
    #[must_use]
    pub fn min(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.histogram.min()
    }

    /// The largest latency, 0 if there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.histogram.max()
    }

    /// The latency that `percentile` in 100 are at or below, by the reference implementation's
    /// rule; at 0 and less the minimum, at 100 and more the maximum.
    #[must_use]
    pub fn percentile(&self, percentile: f64) -> u64 {
        self.percentile_in(self.buckets(), percentile)
    }

    /// [`Self::percentile`], given this distribution's buckets.
    fn percentile_in(&self, buckets: impl Iterator<Item = Bucket>, percentile: f64) -> u64 {
        if percentile >= 100.0 {
            return self.max();
        }
        if self.is_empty() || percentile <= 0.0 {
            return self.min();
        }
        // The next smaller float, since `90.0 * 10.0 / 100.0` may come out a touch above 9 and
        // would then round up to the tenth value.
        let fraction_count = percentile.next_down() * self.count() as f64 / 100.0;
        let wanted = (fraction_count.ceil() as u64).max(1);
        let mut reached = 0_u64;
        for bucket in buckets {
            reached = reached.saturating_add(bucket.count);
            if reached >= wanted {
                return bucket.highest;
            }
        }
        // Counts above 2^53 are rounded in `fraction_count`, perhaps past the last value.
        self.max()
    }

    /// The mean, 0 if nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let total = self.buckets().fold(0.0, |total, bucket| {
            total + (u128::from(bucket.median) * u128::from(bucket.count)) as f64
        });
        total / self.count() as f64
    }

    /// The standard deviation, 0 if nothing was recorded.
    #[must_use]
    pub fn std_deviation(&self) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let mean = self.mean();
        let total = self.buckets().fold(0.0, |total, bucket| {
            let deviation = bucket.median as f64 - mean;
            total + deviation * deviation * bucket.count as f64
        });
        (total / self.count() as f64).sqrt()
    }

    /// The usual figures at once.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        // Walking the few buckets in use beats walking all of them for each figure.
        let buckets: Vec<Bucket> = self.buckets().collect();
        let percentile = |percentile| self.percentile_in(buckets.iter().copied(), percentile);
        LatencySummary {
            count: self.count(),
            p50: percentile(50.0),
            p90: percentile(90.0),
            p99: percentile(99.0),
            p99_9: percentile(99.9),
            p99_99: percentile(99.99),
            max: self.max(),
            min: self.min(),
            mean: (self.mean() * 10.0).round() / 10.0,
        }
    }

    /// The buckets that hold something, the lowest first.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.histogram.iter_recorded().map(|step| {
            let highest = step.value_iterated_to();
            Bucket {
                highest,
                median: self.histogram.median_equivalent(highest),
                count: step.count_at_value(),
            }
        })
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Histogram<u64>> for Latency {
    fn from(histogram: Histogram<u64>) -> Self {
        Self::from_histogram(histogram)
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The figures, not thousands of buckets.
        f.debug_tuple("Latency").field(&self.summary()).finish()
    }
}

/// As its [`LatencySummary`].
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.summary().serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
