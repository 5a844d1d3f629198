//! A worker's own count of times: the buckets of an HDR histogram, filled by an index and an addition.
//!
//! publish → route → lane → worker → handler → **outcome**
//!
//! Picture `hdrhistogram`'s table of counts without the rest of it. A value's bucket is found by its
//! leading zeros: values below 2^BITS have a bucket each, and each doubling above has 2^(BITS-1), so a
//! bucket is never wider than one part in 2^(BITS-1) of its values. 11 bits keep 3 significant digits, 8
//! bits 2, with the same bucket bounds as `hdrhistogram` draws for them, so turning one into the other
//! loses nothing.
//!
//! Why not that crate's `record`: it checks ranges, keeps a total and extremes, and saturates, which is
//! several times the work per event, and its tables cover all values from the start, which ten thousand
//! subscriptions cannot afford. Here the table grows with the largest value seen, by four doublings at
//! least, so that growing ends soon. A count would take centuries to overflow.

use super::Latency;
use crate::sync::realtime;

/// The longest time that is told apart, in nanoseconds: 73 minutes, the end of a doubling. Longer ones
/// count as this long.
const TIME_NS_MAX: u64 = (1 << 42) - 1;

/// A first table reaches to this at least, 2 us: there may be one for each of ten thousand handlers.
const FIRST_NS_MIN: u64 = (1 << 11) - 1;

/// Counts of times in nanoseconds, to 3 (11 bits) or 2 (8 bits) significant digits.
#[derive(Debug, Default)]
pub(crate) struct Buckets<const BITS: u32> {
    counts: Vec<u64>,
}

/// Counts to 3 significant digits.
pub(crate) type FineBuckets = Buckets<11>;
/// Counts to 2 significant digits.
pub(crate) type CoarseBuckets = Buckets<8>;

impl<const BITS: u32> Buckets<BITS> {
    /// Without counts; times up to `ns` will not make the table grow.
    pub(crate) fn up_to(ns: u64) -> Self {
        let mut buckets = Self { counts: Vec::new() };
        buckets.reach(Self::index(ns));
        buckets
    }

    #[inline(always)]
    fn index(ns: u64) -> usize {
        let shift = (u64::BITS - BITS) - (ns | ((1 << BITS) - 1)).leading_zeros();
        ((u64::from(shift) << (BITS - 1)) + (ns >> shift)) as usize
    }

    /// The smallest time of a bucket.
    fn lowest(index: usize) -> u64 {
        let half = 1_usize << (BITS - 1);
        let shift = (index / half).saturating_sub(1);
        ((index - shift * half) as u64) << shift
    }

    /// Counts `count` equal times.
    #[inline(always)]
    pub(crate) fn record_n(&mut self, ns: u64, count: u64) {
        let index = Self::index(ns);
        match self.counts.get_mut(index) {
            Some(place) => *place += count,
            None => self.record_beyond(ns, count),
        }
    }

    /// A time beyond the table: it grows, up to the longest time that is told apart.
    #[cold]
    #[inline(never)]
    fn record_beyond(&mut self, ns: u64, count: u64) {
        let ns = ns.min(TIME_NS_MAX);
        // With room for times 16 times as long: a table that has met a few outliers grows no more.
        let room_ns = ns.saturating_mul(16).clamp(FIRST_NS_MIN, TIME_NS_MAX);
        self.reach(Self::index(room_ns));
        self.counts[Self::index(ns)] += count;
    }

    /// Makes the table reach to the end of this bucket's doubling.
    fn reach(&mut self, index: usize) {
        // Seldom, and soon no more: a table that meets times longer than any before grows.
        let _allowed = realtime::allow();
        let half = 1_usize << (BITS - 1);
        let wanted = (index / half + 1) * half;
        if wanted > self.counts.len() {
            self.counts.reserve_exact(wanted - self.counts.len());
            self.counts.resize(wanted, 0);
        }
    }

    /// Moves everything that was counted into `total`, and starts again from nothing.
    pub(crate) fn move_to(&mut self, total: &mut Self) {
        let Some(last) = self.counts.iter().rposition(|count| *count != 0) else {
            return;
        };
        total.reach(last);
        for (from, to) in self.counts[..=last].iter_mut().zip(&mut total.counts) {
            *to += std::mem::take(from);
        }
    }

    /// As a distribution that can be asked.
    pub(crate) fn to_latency(&self) -> Latency {
        let mut latency = Latency::with_digits(if BITS == 11 { 3 } else { 2 });
        for (index, count) in self.counts.iter().enumerate() {
            if *count != 0 {
                latency.record_n(Self::lowest(index), *count);
            }
        }
        latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Both ways of counting agree on every figure.
    fn check<const BITS: u32>(times: &[u64]) {
        let mut buckets = Buckets::<BITS>::up_to(1_000);
        let mut latency = Latency::with_digits(if BITS == 11 { 3 } else { 2 });
        for (nth, time) in times.iter().enumerate() {
            let count = nth as u64 % 3 + 1;
            buckets.record_n(*time, count);
            latency.record_n((*time).min(TIME_NS_MAX), count);
        }
        assert_eq!(buckets.to_latency(), latency);
        let mut total = Buckets::<BITS>::up_to(1);
        buckets.move_to(&mut total);
        assert_eq!(total.to_latency(), latency);
        assert!(buckets.to_latency().is_empty());
        buckets.record_n(7, 1);
        buckets.move_to(&mut total);
        assert_eq!(total.to_latency().count(), latency.count() + 1);
    }

    #[test]
    fn buckets_are_those_of_an_hdr_histogram() {
        for bits in 0..u64::BITS {
            let edge = 1_u64 << bits;
            let around = [edge - 1, edge, edge + 1, edge + edge / 3];
            check::<11>(&around);
            check::<8>(&around);
        }
        check::<11>(&[]);
        check::<8>(&[u64::MAX, TIME_NS_MAX, TIME_NS_MAX + 1]);
    }

    proptest! {
        #[test]
        fn any_times_are_counted_alike(times in prop::collection::vec(any::<u64>(), 0..50), shift in 0..64_u32) {
            let times: Vec<u64> = times.into_iter().map(|time| time >> shift).collect();
            check::<11>(&times);
            check::<8>(&times);
        }
    }
}
