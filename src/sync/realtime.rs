//! What may block on an event's way all the same, said where it stands.
//!
//! Under `--cfg rtsan` publishing and handling carry `sanitize(realtime = "nonblocking")`, and RealtimeSanitizer ends the
//! process at the first call in them that allocates, frees or asks the kernel for anything. The few exceptions are made
//! by an [`allow`] with its reason. In every other build there is nothing here to run.

/// Where an exception is made: until this is dropped, by this thread.
#[derive(Debug)]
#[must_use = "the exception ends when it is dropped"]
pub(crate) struct Allowed(());

/// Makes an exception; whoever calls says why.
#[inline(always)]
pub(crate) fn allow() -> Allowed {
    #[cfg(rtsan)]
    // SAFETY: it counts in the calling thread, and is followed by its counterpart in the drop below.
    unsafe {
        runtime::__rtsan_disable();
    }
    Allowed(())
}

#[cfg(rtsan)]
impl Drop for Allowed {
    fn drop(&mut self) {
        // SAFETY: the counterpart of the call in `allow`, on the same thread.
        unsafe { runtime::__rtsan_enable() }
    }
}

#[cfg(rtsan)]
mod runtime {
    // Of compiler-rt, `rtsan/rtsan.h`, which the sanitizer links.
    unsafe extern "C" {
        pub(super) fn __rtsan_disable();
        pub(super) fn __rtsan_enable();
    }
}
