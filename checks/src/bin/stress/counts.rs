//! Teaches ThreadSanitizer how the standard library's `Arc` counts.
//!
//! Whoever drops the last `Arc` has passed `fetch_sub(1, Release)` and then an Acquire fence. ThreadSanitizer ignores
//! fences, and the standard library at hand is the compiled one, which does not know that it is watched. The linker
//! (`--wrap`) sends every 64-bit `fetch_sub` here, and here it is an AcqRel one: the same order, said without a fence.

#![allow(unsafe_code, reason = "stands in for a function of the sanitizer's")]

use std::ffi::c_int;

/// `__ATOMIC_ACQ_REL` of the sanitizer's interface.
const ACQ_REL: c_int = 4;

unsafe extern "C" {
    #[link_name = "__real___tsan_atomic64_fetch_sub"]
    fn real(word: *mut u64, value: u64, order: c_int) -> u64;
}

// SAFETY: the name is that of the linker's, and nobody else defines it.
#[unsafe(no_mangle)]
extern "C" fn __wrap___tsan_atomic64_fetch_sub(word: *mut u64, value: u64, _order: c_int) -> u64 {
    // SAFETY: the arguments are those that the instrumented code gave, but for a stronger order.
    unsafe { real(word, value, ACQ_REL) }
}
