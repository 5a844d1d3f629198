//! Event ids: 128 bits, ordered by time, unique across processes, without a random number per event.
//!
//! The layout is that of a version 7 UUID: 48 bits of wall milliseconds, then (around the version and
//! variant bits) 48 bits that are random per process start, then a 26-bit counter. A publisher leases
//! the counter in blocks; when it has run through, the process's 48 bits move on by an odd step, which
//! does not repeat before 2^48 rounds. So two events of one process never share their lower 74 bits,
//! and two processes share them only if 48 random bits, the counter and the millisecond all agree.

use super::Head;
use super::key::mix;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::clock::Clock;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::LazyLock;
use uuid::Uuid;

/// Bits of the counter inside an id.
const COUNTER_BITS: u32 = 26;
/// How many sequence numbers a publisher leases at a time.
const LEASE: u64 = 1024;
/// The odd step from one round's process bits to the next.
const ROUND_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The identity of an event. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// An id from elsewhere; `None` for zero, which means "no id".
    #[must_use]
    pub fn from_u128(value: u128) -> Option<Self> {
        (value != 0).then_some(Self(value))
    }

    /// The id as a number.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id as a UUID: of version 7 if this engine made it.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    /// The wall time in an id this engine made, in milliseconds since 1970. For people and for
    /// sorting logs; no order inside the engine depends on it.
    #[must_use]
    pub fn timestamp_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The id of the event with this stamp and process-wide sequence number.
    pub(crate) fn derive(clock: &Clock, stamp: u64, sequence: u64) -> Self {
        Self::at(clock.wall_ms(stamp), sequence)
    }

    /// The same, of this wall time in milliseconds since 1970.
    #[inline(always)]
    pub(crate) fn at(wall_ms: u64, sequence: u64) -> Self {
        let milliseconds = u128::from(wall_ms & ((1 << 48) - 1));
        let round = sequence >> COUNTER_BITS;
        let process = process_seed().wrapping_add(round.wrapping_mul(ROUND_STEP)) & ((1 << 48) - 1);
        let counter = sequence & ((1 << COUNTER_BITS) - 1);
        let unique = (u128::from(process) << COUNTER_BITS) | u128::from(counter);
        let upper = unique >> 62;
        let lower = unique & ((1 << 62) - 1);
        Self((milliseconds << 80) | (7 << 76) | (upper << 64) | (2 << 62) | lower)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_uuid().hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = Uuid::parse_str(&text)
            .map_err(|_| de::Error::custom(format!("`{text}` is no id of an event: a UUID")))?;
        Self::from_u128(id.as_u128())
            .ok_or_else(|| de::Error::custom("an event's id is never zero"))
    }
}

/// The id of the event with this envelope: the one it was given, or the one that follows from its stamp.
pub(crate) fn id_of(head: &Head, clock: &Clock) -> EventId {
    head.extras
        .as_ref()
        .and_then(|extras| extras.id)
        .unwrap_or_else(|| EventId::derive(clock, head.stamp, head.sequence))
}

/// Random once per process start; forked children that go on publishing are not supported.
fn process_seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u128() as u64);
    *SEED
}

/// A publisher's block of sequence numbers: unique in the process, increasing for the publisher.
#[derive(Debug, Default)]
pub(crate) struct SequenceLease {
    next: u64,
    end: u64,
}

/// Whether the event of this sequence number is among those whose latency is measured when stamps are
/// sampled: one in 8, scattered as by chance, known to publisher and worker without a mark.
#[inline(always)]
pub(crate) fn is_sampled(sequence: u64) -> bool {
    mix(sequence) >> 61 == 0
}

impl SequenceLease {
    /// What [`next`](Self::next) will answer.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> u64 {
        if self.next == self.end {
            self.renew();
        }
        self.next
    }

    /// The next number; leases a new block every thousand or so.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        if self.next == self.end {
            self.renew();
        }
        let sequence = self.next;
        self.next += 1;
        sequence
    }

    #[cold]
    fn renew(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.next = NEXT.fetch_add(LEASE, Ordering::Relaxed);
        self.end = self.next + LEASE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_7_and_carry_the_wall_time() {
        let (clock, hand) = Clock::manual();
        hand.advance(std::time::Duration::from_millis(1_500));
        let id = EventId::derive(&clock, clock.raw(), 5);
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.timestamp_ms(), 1_577_836_801_500);
    }

    #[test]
    fn ids_of_one_millisecond_differ_across_counter_rounds() {
        let (clock, _hand) = Clock::manual();
        let stamp = clock.raw();
        let mut seen = HashSet::new();
        for round in 0..50_u64 {
            for counter in [0, 1, (1 << COUNTER_BITS) - 1] {
                let id = EventId::derive(&clock, stamp, (round << COUNTER_BITS) | counter);
                assert!(seen.insert(id), "{id} came twice");
            }
        }
    }

    #[test]
    fn one_event_in_eight_is_sampled_and_no_pattern_shows() {
        let sampled: Vec<u64> = (0..80_000).filter(|&number| is_sampled(number)).collect();
        assert!(
            (9_500..10_500).contains(&sampled.len()),
            "{}",
            sampled.len()
        );
        // Whatever the period of a flow, each of its phases has its share.
        for period in [2, 3, 8, 64, 100] {
            for phase in 0..period {
                let count = sampled
                    .iter()
                    .filter(|&&number| number % period == phase)
                    .count();
                let fair = 10_000 / period as usize;
                assert!(
                    count.abs_diff(fair) < fair / 2 + 30,
                    "{phase} of {period}: {count}"
                );
            }
        }
    }

    #[test]
    fn leases_do_not_overlap() {
        // Two at a time in turn: which thread asks makes no difference to a lease.
        let mut leases = [SequenceLease::default(), SequenceLease::default()];
        let mut numbers = [Vec::new(), Vec::new()];
        for _ in 0..5_000 {
            for (lease, numbers) in leases.iter_mut().zip(&mut numbers) {
                numbers.push(lease.next());
            }
        }
        let mut seen = HashSet::new();
        for numbers in numbers {
            assert!(numbers.is_sorted());
            assert!(numbers.into_iter().all(|number| seen.insert(number)));
        }
    }
}
