//! Memory that the process has asked for and not given back, to the byte, counted where somebody asks for it.
//!
//! An allocator belongs to a whole program, so this one is there for the other commands too. For them it is the
//! system's, behind a look at a word that nobody writes: what is measured is not counted.

#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; every call is handed on to another one"
)]

#[path = "../../tests/support/counting.rs"]
mod counting;

use counting::Counting;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Begins to count: what was there before is not in it.
pub(crate) fn start() {
    SWITCH.0.store(true, Ordering::Relaxed);
}

/// Bytes asked for since [`start`], less those given back since.
pub(crate) fn bytes() -> i64 {
    counting::live_bytes()
}

/// On lines of its own, so that it stays where it is read.
#[repr(align(128))]
struct Switch(AtomicBool);

static SWITCH: Switch = Switch(AtomicBool::new(false));

#[global_allocator]
static ALLOCATOR: Switched = Switched;

struct Switched;

fn is_counting() -> bool {
    SWITCH.0.load(Ordering::Relaxed)
}

// SAFETY: every call goes to one of two allocators with the caller's own arguments, and both have their memory from the
// system's, so that either may free what the other gave.
unsafe impl GlobalAlloc for Switched {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_counting() {
            // SAFETY: the caller's promise, handed on.
            return unsafe { Counting.alloc(layout) };
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_counting() {
            // SAFETY: the caller's promise, handed on.
            return unsafe { Counting.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_counting() {
            // SAFETY: the caller's promise, handed on.
            return unsafe { Counting.dealloc(pointer, layout) };
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_counting() {
            // SAFETY: the caller's promise, handed on.
            return unsafe { Counting.realloc(pointer, layout, size) };
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the switch is the whole program's.
    #[test]
    fn nothing_is_counted_before_somebody_asks() {
        let before = bytes();
        let held: Vec<u8> = Vec::with_capacity(1 << 20);
        assert_eq!(bytes(), before, "nobody has begun to count");
        drop(held);
        start();
        let before = bytes();
        let held: Vec<u8> = Vec::with_capacity(64 << 20);
        // Other tests run meanwhile; none of them holds so much.
        let with = bytes();
        drop(held);
        assert!(with - before > 48 << 20, "{before} became {with}");
        assert!(bytes() - before < 16 << 20, "given back");
    }
}
