//! The two-sided barrier behind every "store, then look at the other's word" race.
//!
//! Two threads each store a word of their own and then load the other's; at least one of them must
//! see the other's store. The textbook answer is `fence(SeqCst)` between store and load on both
//! sides. On a hot publisher that fence waits until the store buffer has won back the slot's cache
//! lines from the worker's core, which nobody else waits for. So the barrier has a *light* side, for
//! the thread that passes it for every event, and a *heavy* side, for the one that is about to sleep
//! or to close.
//!
//! * [`Barrier::Asymmetric`] (Linux): light is a compiler fence, heavy is `membarrier`, which
//!   interrupts every core that runs this process and so places a full barrier into each light side.
//! * [`Barrier::Fence`]: `fence(SeqCst)` on both sides; the fallback, and what the models check.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence, fence};

/// Which barrier an engine uses; fixed before its first publisher exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// `membarrier` on the heavy side, a compiler fence on the light side.
    Asymmetric,
    /// `fence(SeqCst)` on both sides.
    Fence,
}

/// Shortest gap between two heavy barriers that idle workers ask for, in nanoseconds.
const HEAVY_GAP_NS_MIN: u64 = 20_000;

/// Set while one thread of the process is inside `membarrier`: the call takes a kernel-wide lock, so
/// a second idle worker had better go on polling than queue there.
static HEAVY_BUSY: AtomicBool = AtomicBool::new(false);
/// When the last heavy barrier of an idle worker ended, in nanoseconds since the process started.
static HEAVY_LAST_NS: AtomicU64 = AtomicU64::new(0);

impl Barrier {
    /// The asymmetric barrier where the kernel has it, else the fence.
    pub(crate) fn best() -> Self {
        if membarrier::register() {
            Self::Asymmetric
        } else {
            Self::Fence
        }
    }

    /// The side that a hot thread passes between its store and its load.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            Self::Asymmetric => compiler_fence(Ordering::SeqCst),
            Self::Fence => fence(Ordering::SeqCst),
        }
    }

    /// The side of the thread that can afford to wait: closers, waiting publishers, readers.
    pub(crate) fn heavy(self) {
        fence(Ordering::SeqCst);
        if self == Self::Asymmetric {
            membarrier::everywhere();
        }
    }

    /// The heavy side for a worker about to sleep; `false` if another thread is inside the barrier or
    /// left it a moment ago. A refused worker must not sleep: it goes on polling and asks again.
    #[must_use]
    pub(crate) fn try_heavy(self) -> bool {
        if self == Self::Fence {
            fence(Ordering::SeqCst);
            return true;
        }
        let now = super::clock::process_ns();
        if now.wrapping_sub(HEAVY_LAST_NS.load(Ordering::Relaxed)) < HEAVY_GAP_NS_MIN {
            return false;
        }
        // Relaxed, all of these: they keep calls apart and guard no data; what orders is the call.
        if HEAVY_BUSY.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.heavy();
        HEAVY_LAST_NS.store(super::clock::process_ns(), Ordering::Relaxed);
        HEAVY_BUSY.store(false, Ordering::Relaxed);
        true
    }
}

#[cfg(target_os = "linux")]
mod membarrier {
    //! `membarrier(2)`, private expedited.

    /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED` of linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Registers the process; once is enough, again is harmless.
    pub(super) fn register() -> bool {
        call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED)
    }

    pub(super) fn everywhere() {
        assert!(
            call(PRIVATE_EXPEDITED),
            "membarrier was registered and cannot be refused afterwards"
        );
    }
}

#[cfg(not(target_os = "linux"))]
mod membarrier {
    //! No asymmetric barrier here.

    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn everywhere() {
        unreachable!("the asymmetric barrier is chosen only where it exists")
    }
}
