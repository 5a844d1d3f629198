//! An allocator that counts what the whole process asks of it.

#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; every call is handed on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// To be made the `#[global_allocator]` of a test binary.
#[derive(Debug)]
pub(crate) struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// How often memory has been asked for, growing what there was included.
#[allow(dead_code, reason = "each binary that counts asks one of the two")]
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::SeqCst)
}

/// Bytes that have been asked for and not given back.
#[allow(dead_code, reason = "each binary that counts asks one of the two")]
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::SeqCst)
}

fn note(bytes: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    LIVE_BYTES.fetch_add(bytes as i64, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting beside it
// touches two atomics and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
