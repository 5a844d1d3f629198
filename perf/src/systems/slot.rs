//! What travels through the bare rings: as many bytes as a slot of ringbolt's, all of them written.

use crate::load::{ORDER, Order};

#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(128))]
pub(super) struct Slot {
    pub(super) type_index: u32,
    envelope: [u64; 11],
    pub(super) order: Order,
}

const _: () = assert!(size_of::<Slot>() == 128);

impl Slot {
    #[inline(always)]
    pub(super) fn nth(number: u64) -> Self {
        Self {
            type_index: ORDER,
            envelope: [number; 11],
            order: Order::nth(number),
        }
    }
}
