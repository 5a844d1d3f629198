//! A hint that a slot will be read soon.

/// Asks for both cache lines of the slot at `index` behind `base` without touching them.
///
/// The address may lie past the slots that hold values: a prefetch reads nothing a program can
/// see and faults on nothing.
#[inline(always)]
pub(crate) fn prefetch_slot<T>(base: *const T, index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = base.wrapping_add(index).cast::<i8>();
        // SAFETY: prefetching is a hint; it is defined for every address, mapped or not.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address);
            _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(64));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, index);
}

/// As [`prefetch_slot`], for a slot that will be written: the lines are also won from other processors.
#[inline(always)]
pub(crate) fn prefetch_slot_for_writing<T>(base: *const T, index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let address = base.wrapping_add(index).cast::<u8>();
        // SAFETY: prefetching is a hint; it is defined for every address, mapped or not, and a processor
        // that does not know it does nothing. As text, because the intrinsic asks for reading only where
        // the target is not known to have this.
        unsafe {
            std::arch::asm!(
                "prefetchw [{0}]",
                "prefetchw [{0} + 64]",
                in(reg) address,
                options(nostack, preserves_flags)
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, index);
}
