//! A word on which a thread can sleep until it changes.
//!
//! One word is both the state that the protocol reads and the futex that the sleeper waits on, so a
//! wake-up needs no second object and a publisher that wakes nobody touches nothing else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A 32-bit state with sleeping.
#[derive(Debug, Default)]
pub(crate) struct ParkWord(AtomicU32);

impl ParkWord {
    pub(crate) fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.0.swap(value, order)
    }

    /// Sleeps while the word is `expected`, or until the time is up; may return early. Whoever calls
    /// looks at the word again.
    pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) {
        imp::wait(&self.0, expected, timeout);
    }

    /// Wakes every thread that sleeps on the word.
    pub(crate) fn wake_all(&self) {
        // The one system call on an event's way: there is a sleeper, and nothing cheaper wakes it.
        let _allowed = super::realtime::allow();
        imp::wake_all(&self.0);
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{AtomicU32, Duration};

    pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let spec = timeout.map(|timeout| libc::timespec {
            // A wait longer than the type can say is as good as one for ever.
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            #[allow(
                clippy::unnecessary_fallible_conversions,
                reason = "the field is 32 bits wide on some targets"
            )]
            tv_nsec: timeout.subsec_nanos().try_into().unwrap_or(0),
        });
        let spec = spec
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref::<libc::timespec>);
        // SAFETY: the word outlives the call, and the timeout is null or points at a live timespec;
        // the kernel only reads both.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                expected,
                spec,
            );
        }
    }

    pub(super) fn wake_all(word: &AtomicU32) {
        // SAFETY: the word is alive; the kernel uses its address only to find the sleepers.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                libc::c_int::MAX,
            );
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{AtomicU32, Duration};
    use parking_lot_core::{
        DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, ParkResult, park, unpark_all,
    };
    use std::sync::atomic::Ordering;

    pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        // Relaxed: the bucket's lock stands between this look and a waker's, which changed the word before.
        // SAFETY: the key is the address of a word of ours; the closures neither panic nor park.
        let _: ParkResult = unsafe {
            park(
                word.as_ptr() as usize,
                || word.load(Ordering::Relaxed) == expected,
                || {},
                |_, _| {},
                DEFAULT_PARK_TOKEN,
                deadline,
            )
        };
    }

    pub(super) fn wake_all(word: &AtomicU32) {
        // SAFETY: the key is the address of a word of ours.
        unsafe {
            unpark_all(word.as_ptr() as usize, DEFAULT_UNPARK_TOKEN);
        }
    }
}
