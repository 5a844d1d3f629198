//! Time: raw stamps that cost one instruction, turned into nanoseconds only when somebody reads.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bits behind the point of a [`Clock`]'s scale.
const SCALE_BITS: u32 = 32;

/// The engine's source of time.
///
/// A raw stamp is a count of ticks: of the processor's time-stamp counter for [`Clock::real`], of
/// nanoseconds for [`Clock::manual`]. Stamps of one clock compare with each other and with nothing
/// else. Cloning is cheap and gives the same clock.
#[derive(Debug, Clone)]
pub struct Clock {
    source: quanta::Clock,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
    /// Ticks per nanosecond, times 2^32.
    per_ns: u64,
    /// The stamp at which the wall clock was read...
    base_raw: u64,
    /// ...and what it said, in nanoseconds since 1970.
    base_wall_ns: u64,
    /// Of a manual clock: who wants to know that it was moved.
    sleepers: Option<Arc<Sleepers>>,
}

/// The hand that moves a [`Clock::manual`].
#[derive(Debug, Clone)]
pub struct ManualClock {
    source: quanta::Clock,
    hand: Arc<quanta::Mock>,
    sleepers: Arc<Sleepers>,
}

/// Wakes one that sleeps by a manual clock; `false` once nobody is there.
type Waker = Box<dyn Fn() -> bool + Send + Sync>;

/// Those that sleep until a manual clock says so: their real time tells them nothing.
#[derive(Default)]
struct Sleepers(Mutex<Vec<Waker>>);

impl fmt::Debug for Sleepers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleepers")
    }
}

impl Clock {
    /// The processor's time-stamp counter (`quanta`), or the system's monotonic clock where there is
    /// none that can be trusted. The first call in a process calibrates and takes some milliseconds.
    #[must_use]
    pub fn real() -> Self {
        // One for all, so that they tell the same wall time for the same stamp.
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK
            .get_or_init(|| Self::of(quanta::Clock::new(), wall_ns(), None))
            .clone()
    }

    /// A clock that stands still until its hand moves it; wall time starts at 2020-01-01.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let (source, hand) = quanta::Clock::mock();
        let sleepers = Arc::new(Sleepers::default());
        (
            Self::of(
                source.clone(),
                1_577_836_800_000_000_000,
                Some(Arc::clone(&sleepers)),
            ),
            ManualClock {
                source,
                hand,
                sleepers,
            },
        )
    }

    /// Has a manual clock call this whenever it is moved, until it answers `false`; a real one never does, as
    /// sleepers of real time wake by themselves.
    pub(crate) fn on_move(&self, wake: impl Fn() -> bool + Send + Sync + 'static) {
        if let Some(sleepers) = &self.sleepers {
            let mut sleepers = sleepers.0.lock().unwrap_or_else(PoisonError::into_inner);
            sleepers.push(Box::new(wake));
        }
    }

    /// Whether time passes by itself.
    pub(crate) fn is_real(&self) -> bool {
        self.sleepers.is_none()
    }

    fn of(source: quanta::Clock, base_wall_ns: u64, sleepers: Option<Arc<Sleepers>>) -> Self {
        let scale = source.delta_as_nanos(0, 1 << SCALE_BITS);
        let base_raw = source.raw();
        Self {
            source,
            scale,
            per_ns: ((1_u128 << (2 * SCALE_BITS)) / u128::from(scale.max(1))) as u64,
            base_raw,
            base_wall_ns,
            sleepers,
        }
    }

    /// The present stamp.
    #[inline(always)]
    #[must_use]
    pub fn raw(&self) -> u64 {
        self.source.raw()
    }

    /// Nanoseconds from stamp `from` to stamp `to`; 0 if `to` is the earlier one.
    #[inline(always)]
    #[must_use]
    pub fn delta_ns(&self, from: u64, to: u64) -> u64 {
        self.ticks_to_ns(to.saturating_sub(from))
    }

    /// The stamp that lies `delay` after `raw`; the last possible one if that is too far away.
    #[must_use]
    pub fn raw_after(&self, raw: u64, delay: Duration) -> u64 {
        let ticks = (delay.as_nanos() << SCALE_BITS) / u128::from(self.scale.max(1));
        raw.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    #[inline(always)]
    fn ticks_to_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> SCALE_BITS) as u64
    }

    /// The wall time of a stamp, in milliseconds since 1970: an extrapolation from the moment the
    /// clock was made, good for ids and reports and for no decision about order.
    #[must_use]
    pub fn wall_ms(&self, raw: u64) -> u64 {
        self.wall_ns(raw) / 1_000_000
    }

    /// The stamp of a wall time that [`wall_ns`](Self::wall_ns) told, near to one of which both are known: what is lost by
    /// rounding grows with the distance.
    #[inline(always)]
    pub(crate) fn raw_near(&self, (raw, wall_ns): (u64, u64), at_ns: u64) -> u64 {
        let ticks = |ns: u64| ((u128::from(ns) * u128::from(self.per_ns)) >> SCALE_BITS) as u64;
        if at_ns >= wall_ns {
            raw.saturating_add(ticks(at_ns - wall_ns))
        } else {
            raw.saturating_sub(ticks(wall_ns - at_ns))
        }
    }

    /// As [`wall_ms`](Self::wall_ms), in nanoseconds.
    #[inline]
    pub(crate) fn wall_ns(&self, raw: u64) -> u64 {
        if raw >= self.base_raw {
            self.base_wall_ns
                .saturating_add(self.ticks_to_ns(raw - self.base_raw))
        } else {
            self.base_wall_ns
                .saturating_sub(self.ticks_to_ns(self.base_raw - raw))
        }
    }
}

impl ManualClock {
    /// Moves the clock forward, to the last moment that it can tell at most, and wakes the workers that sleep until a
    /// time by it.
    pub fn advance(&self, by: Duration) {
        let mut sleepers = self
            .sleepers
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let left = u64::MAX - self.source.raw();
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.hand.increment(by.min(left));
        sleepers.retain(|wake| wake());
    }
}

/// Nanoseconds of wall time since 1970; 0 for a machine set before that.
fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// Nanoseconds of real time since the process first asked: for waiting and idling, which go by real
/// time also when events are stamped by a manual clock.
pub(crate) fn process_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(|| Instant::now() - Duration::from_secs(1));
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The real moment `after` from now, for waits with a deadline; `None` for "never".
pub(crate) fn deadline(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}

/// What is left until `deadline`; zero once it has passed.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
