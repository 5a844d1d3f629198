//! The slot: an erased event and its envelope in two cache lines.
//!
//! event → **publish → route → lane → worker → handler** → outcome
//!
//! The only unsafe code of the event module. The layout, byte by byte:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | the type's number |
//! | 4 | how the payload is held: empty, in place, boxed, shared |
//! | 5 | class |
//! | 6 | flags (keyed) |
//! | 7 | unused |
//! | 8..16 | hash of the key |
//! | 16..24 | stamp of the publish, raw |
//! | 24..32 | sequence number, unique in the process |
//! | 32..48 | correlation id, 0: the event's own |
//! | 48..64 | causation id, 0: none |
//! | 64..72 | pointer to the extras, 0: none |
//! | 72..128 | the payload (56 bytes), or a pointer to it |
//!
//! Invariants:
//! * P1 The holding mark and the type's number describe the payload: `InPlace` means an initialised `E`
//!   lies in the bytes, `Boxed` a pointer from `Box::<E>::into_raw`, `Shared` one from
//!   `Arc::<E>::into_raw`, where `E` is the type interned under the number. Only this file writes them.
//! * P2 The mark is set to `Empty` before the value is read out or dropped, so a panic in a payload's
//!   `Drop` cannot lead to a second one.
//! * P3 In place only if the size is at most 56 and the alignment at most 8.
//!
//! What checks it: the tests below, and AddressSanitizer over the test suite.

#![allow(
    unsafe_code,
    reason = "erasure of typed payloads; each site cites P1, P2 or P3"
)]

use super::{Class, Event, EventType, Extras, descriptor_at};
use crate::sync::Arc;
use std::any::Any;
use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes that travel in the slot itself.
const PLACE_BYTES: usize = 56;
type Place = MaybeUninit<[u64; PLACE_BYTES / 8]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Held {
    Empty,
    InPlace,
    Boxed,
    Shared,
}

/// What the payload's bytes are; private to this file (P1).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Tag {
    type_index: u32,
    held: Held,
    class: u8,
    keyed: bool,
    unused: u8,
}

/// A 128-bit number that asks for the alignment of a 64-bit one, so that the envelope has no gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, packed(8))]
pub(crate) struct Wide(u128);

impl Wide {
    #[inline(always)]
    pub(crate) fn new(value: u128) -> Self {
        Self(value)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> u128 {
        self.0
    }
}

/// The envelope: everything about an event but its value.
#[derive(Debug, Default, Clone)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) key_hash: u64,
    pub(crate) stamp: u64,
    pub(crate) sequence: u64,
    /// 0: the event's own id.
    pub(crate) correlation: Wide,
    /// 0: none.
    pub(crate) causation: Wide,
    pub(crate) extras: Option<Arc<Extras>>,
}

/// One event on its way.
#[repr(C, align(128))]
pub(crate) struct Slot {
    tag: Tag,
    /// Dropped by the slot, which looks at both of its parts at once.
    head: ManuallyDrop<Head>,
    place: Place,
}

const _: () = assert!(size_of::<Slot>() == 128 && align_of::<Slot>() == 128);

// SAFETY: P1: the bytes hold an `E: Event`, which is `Send`, or a `Box` or `Arc` of one, and an `Event` is
// `Sync` too.
unsafe impl Send for Slot {}

/// What code that does not know the type can do with a payload: drop it, by how it is held, and share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadFns {
    in_place: Option<unsafe fn(*mut u8)>,
    boxed: unsafe fn(*mut u8),
    shared: unsafe fn(*mut u8),
    share: fn(&mut Payload<'_>, &Head) -> Option<Slot>,
    retain: unsafe fn(*const u8),
}

impl PayloadFns {
    pub(crate) fn of<E: Event>() -> Self {
        unsafe fn in_place<E>(payload: *mut u8) {
            // SAFETY: the caller passes the address of an initialised `E` that nobody uses again.
            unsafe { payload.cast::<E>().drop_in_place() }
        }
        unsafe fn boxed<E>(payload: *mut u8) {
            // SAFETY: the caller passes what `Box::<E>::into_raw` returned, once.
            drop(unsafe { Box::from_raw(payload.cast::<E>()) });
        }
        unsafe fn shared<E>(payload: *mut u8) {
            // SAFETY: the caller passes what `Arc::<E>::into_raw` returned, once.
            drop(unsafe { Arc::from_raw(payload.cast::<E>().cast_const()) });
        }
        unsafe fn retain<E>(payload: *const u8) {
            // SAFETY: the caller passes what `Arc::<E>::into_raw` returned, of a share that is alive.
            unsafe { Arc::increment_strong_count(payload.cast::<E>()) }
        }
        Self {
            in_place: std::mem::needs_drop::<E>().then_some(in_place::<E>),
            boxed: boxed::<E>,
            shared: shared::<E>,
            share: |payload, head| payload.share_as(EventType::<E>::of(), head),
            retain: retain::<E>,
        }
    }
}

impl PayloadFns {
    /// Whether a value in place needs no drop.
    pub(crate) fn is_trivial(&self) -> bool {
        self.in_place.is_none()
    }
}

/// P3.
const fn fits<E>() -> bool {
    size_of::<E>() <= PLACE_BYTES && align_of::<E>() <= align_of::<Place>()
}

impl Slot {
    /// Whether events of this type lie in the slot itself.
    pub(crate) const fn holds<E>() -> bool {
        fits::<E>()
    }

    /// Writes an event into an empty place: in the slot if it fits, else in a box of its own.
    #[inline(always)]
    pub(crate) fn write<E: Event>(
        slot: &mut MaybeUninit<Self>,
        event_type: EventType<E>,
        class: Class,
        keyed: bool,
        head: Head,
        event: E,
    ) -> &mut Self {
        let place = slot.as_mut_ptr();
        if const { fits::<E>() } {
            // SAFETY: the pointer comes from a `&mut`, so all fields may be written; P3 holds as
            // checked, so the `E` lies inside the place and is aligned; P1 by writing the tag to match.
            unsafe {
                Self::write_envelope(place, event_type.index(), Held::InPlace, class, keyed, head);
                (&raw mut (*place).place).cast::<E>().write(event);
                slot.assume_init_mut()
            }
        } else {
            let pointer = Box::into_raw(Box::new(event));
            // SAFETY: as above; the place holds the pointer that the tag announces.
            unsafe {
                Self::write_envelope(place, event_type.index(), Held::Boxed, class, keyed, head);
                (&raw mut (*place).place).cast::<*mut E>().write(pointer);
                slot.assume_init_mut()
            }
        }
    }

    /// Writes an ordinary event: keyed, of no cause, with nothing special about it.
    ///
    /// What is written comes by reference, so that the closures that lead here own nothing large. What they
    /// own is copied through the stack, in wider steps than it was put there, and such a load waits until
    /// the stores before it have left the processor: that took a tenth of the time of a publish.
    #[inline(always)]
    pub(crate) fn write_plain<'a, E: Event>(
        slot: &'a mut MaybeUninit<Self>,
        event_type: EventType<E>,
        class: Class,
        &(key_hash, stamp, sequence): &(u64, u64, u64),
        event: &mut Option<E>,
    ) -> &'a mut Self {
        let Some(event) = event.take() else {
            unreachable!("an event is written once");
        };
        let head = Head {
            key_hash,
            stamp,
            sequence,
            ..Head::default()
        };
        Self::write(slot, event_type, class, true, head, event)
    }

    /// An event whose value could not be read: everything about it but that.
    pub(crate) fn without_value(type_index: u32, class: Class, keyed: bool, head: Head) -> Self {
        Self {
            tag: Tag {
                type_index,
                held: Held::Empty,
                class: class as u8,
                keyed,
                unused: 0,
            },
            head: ManuallyDrop::new(head),
            place: MaybeUninit::uninit(),
        }
    }

    /// Writes one share of an event that goes to several pools.
    pub(crate) fn write_shared<E: Event>(
        slot: &mut MaybeUninit<Self>,
        event_type: EventType<E>,
        class: Class,
        keyed: bool,
        head: Head,
        event: Arc<E>,
    ) -> &mut Self {
        let pointer = Arc::into_raw(event);
        let place = slot.as_mut_ptr();
        // SAFETY: as in `write`.
        unsafe {
            Self::write_envelope(place, event_type.index(), Held::Shared, class, keyed, head);
            (&raw mut (*place).place).cast::<*const E>().write(pointer);
            slot.assume_init_mut()
        }
    }

    /// # Safety
    /// `place` may be written; the payload that the mark announces is written before the slot is used.
    #[inline(always)]
    unsafe fn write_envelope(
        place: *mut Self,
        type_index: u32,
        held: Held,
        class: Class,
        keyed: bool,
        head: Head,
    ) {
        // SAFETY: the caller vouches for the place. Field by field, the head's too, so that nothing is
        // built on the stack first.
        unsafe {
            (&raw mut (*place).tag).write(Tag {
                type_index,
                held,
                class: class as u8,
                keyed,
                unused: 0,
            });
            let Head {
                key_hash,
                stamp,
                sequence,
                correlation,
                causation,
                extras,
            } = head;
            let head = (&raw mut (*place).head).cast::<Head>();
            (&raw mut (*head).key_hash).write(key_hash);
            (&raw mut (*head).stamp).write(stamp);
            (&raw mut (*head).sequence).write(sequence);
            (&raw mut (*head).correlation).write(correlation);
            (&raw mut (*head).causation).write(causation);
            (&raw mut (*head).extras).write(extras);
        }
    }

    /// A slot by value, for queues that are not rings.
    pub(crate) fn by_value(write: impl FnOnce(&mut MaybeUninit<Self>) -> &mut Self) -> Self {
        let mut slot = MaybeUninit::uninit();
        let place: *const Self = slot.as_ptr();
        let written: *const Self = write(&mut slot);
        assert!(
            std::ptr::eq(place, written),
            "a slot is written where it lies"
        );
        // SAFETY: `write` returned a reference to this very slot as an initialised value.
        unsafe { slot.assume_init() }
    }

    /// Moves the slot's content into another place and leaves this one empty.
    pub(crate) fn move_to(self, slot: &mut MaybeUninit<Self>) -> &mut Self {
        slot.write(self)
    }

    #[inline(always)]
    pub(crate) fn type_index(&self) -> u32 {
        self.tag.type_index
    }

    #[inline(always)]
    pub(crate) fn class(&self) -> Class {
        Class::ALL[usize::from(self.tag.class & 3)]
    }

    #[inline(always)]
    pub(crate) fn is_keyed(&self) -> bool {
        self.tag.keyed
    }

    #[inline(always)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tag.held == Held::Empty
    }

    /// As [`Payload::share`], of a slot that is held whole.
    pub(crate) fn share(&mut self) -> Option<Self> {
        let (head, mut payload) = self.split();
        payload.share(head)
    }

    /// The envelope and the payload, to be used side by side.
    #[inline(always)]
    pub(crate) fn split(&mut self) -> (&Head, Payload<'_>) {
        (
            &self.head,
            Payload {
                tag: &mut self.tag,
                place: &mut self.place,
            },
        )
    }
}

impl Drop for Slot {
    /// Nearly every slot has been handled and has no extras: one look, as this is done for each slot that
    /// is given back.
    #[inline(always)]
    fn drop(&mut self) {
        if self.tag.held != Held::Empty || self.head.extras.is_some() {
            self.drop_rest();
        }
    }
}

impl Slot {
    /// Drops what is left in the slot. A payload whose own `Drop` panics is contained here, so that
    /// giving slots back never unwinds.
    #[cold]
    #[inline(never)]
    fn drop_rest(&mut self) {
        let _ = contain(|| self.split().1.discard());
        // Metadata and receipt are dropped behind the payload.
        drop(self.head.extras.take());
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("tag", &self.tag)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// The payload of a slot.
pub(crate) struct Payload<'a> {
    tag: &'a mut Tag,
    place: &'a mut Place,
}

impl Payload<'_> {
    /// Where the value lies, while there is one.
    #[inline(always)]
    fn address(&self) -> *const u8 {
        let place: *const Place = self.place;
        match self.tag.held {
            Held::InPlace => place.cast(),
            // SAFETY: P1: the place holds a pointer.
            _ => unsafe { *place.cast::<*const u8>() },
        }
    }

    /// The value, if it is still there and of this type.
    #[inline(always)]
    pub(crate) fn get<E: Event>(&self, event_type: EventType<E>) -> Option<&E> {
        if self.tag.type_index != event_type.index() || self.tag.held == Held::Empty {
            return None;
        }
        // SAFETY: P1: the number and the mark say that an `E` lies at the address, and it stays while
        // the payload is borrowed.
        Some(unsafe { &*self.address().cast::<E>() })
    }

    /// Moves the value out. `None` if it is gone, of another type, or shared with another pool that
    /// has not let go of it; then it stays.
    pub(crate) fn take<E: Event>(&mut self, event_type: EventType<E>) -> Option<E> {
        if self.tag.type_index != event_type.index() {
            return None;
        }
        let address = self.address_or_null().cast_mut().cast::<E>();
        match self.tag.held {
            Held::Empty => None,
            Held::InPlace => {
                self.tag.held = Held::Empty;
                // SAFETY: P1, and P2: the mark says empty, so nobody reads the value again.
                Some(unsafe { address.read() })
            }
            Held::Boxed => {
                self.tag.held = Held::Empty;
                // SAFETY: P1 and P2.
                Some(*unsafe { Box::from_raw(address) })
            }
            Held::Shared => {
                // SAFETY: P1: the pointer is a live share; it goes back where it was unless this was
                // the last one.
                let share = ManuallyDrop::new(unsafe { Arc::from_raw(address.cast_const()) });
                if Arc::strong_count(&share) != 1 {
                    return None;
                }
                self.tag.held = Held::Empty;
                Arc::into_inner(ManuallyDrop::into_inner(share))
            }
        }
    }

    /// A slot of its own for this event, with the same envelope and a share of the value: for a delivery
    /// that waits or failed, while others go on reading the value where it is. `None` if the value is gone.
    ///
    /// The value moves into an `Arc`, once, whatever number of shares follow.
    #[cold]
    pub(crate) fn share(&mut self, head: &Head) -> Option<Slot> {
        (descriptor_at(self.tag.type_index).payload_fns.share)(self, head)
    }

    fn share_as<E: Event>(&mut self, event_type: EventType<E>, head: &Head) -> Option<Slot> {
        if self.tag.type_index != event_type.index() || self.tag.held == Held::Empty {
            return None;
        }
        if self.tag.held != Held::Shared {
            // Room first: should there be none, the value is still where it was, and marked so.
            let mut share = Arc::<E>::new_uninit();
            let room = Arc::get_mut(&mut share).map(MaybeUninit::as_mut_ptr);
            let room = room.expect("an `Arc` that was just made is nobody else's");
            let address = self.address().cast_mut().cast::<E>();
            let held = std::mem::replace(&mut self.tag.held, Held::Empty);
            // SAFETY: P1: an initialised `E` lies at the address, in the place or in a box; P2: the mark says
            // empty, so nobody reads it there again, and what is left of the box is its memory. From here to
            // the new mark nothing can panic.
            let share = unsafe {
                room.copy_from_nonoverlapping(address, 1);
                if held == Held::Boxed {
                    drop(Box::from_raw(address.cast::<MaybeUninit<E>>()));
                }
                share.assume_init()
            };
            let place: *mut Place = self.place;
            // SAFETY: the place is ours to write, and holds a pointer (P3 does not matter to it); P1 by the
            // mark that follows.
            unsafe { place.cast::<*const E>().write(Arc::into_raw(share)) };
            self.tag.held = Held::Shared;
        }
        // SAFETY: P1: the place holds what `Arc::into_raw` returned, and its share stays there.
        let share = ManuallyDrop::new(unsafe { Arc::from_raw(self.address().cast::<E>()) });
        Some(Slot::by_value(|slot| {
            let share = Arc::clone(&share);
            let class = Class::ALL[usize::from(self.tag.class & 3)];
            Slot::write_shared(slot, event_type, class, self.tag.keyed, head.clone(), share)
        }))
    }

    /// A slot with this event's envelope and no value: for what is to be told of an event whose value was
    /// taken.
    #[cold]
    pub(crate) fn envelope(&self, head: &Head) -> Slot {
        Slot {
            tag: Tag {
                held: Held::Empty,
                ..*self.tag
            },
            head: ManuallyDrop::new(head.clone()),
            place: MaybeUninit::uninit(),
        }
    }

    fn address_or_null(&self) -> *const u8 {
        match self.tag.held {
            Held::Empty => std::ptr::null(),
            _ => self.address(),
        }
    }

    /// Drops the value, if it is still there. Unwinds if its `Drop` does; the slot is empty then too.
    #[inline(always)]
    pub(crate) fn discard(&mut self) {
        let held = self.tag.held;
        if held == Held::Empty {
            return;
        }
        let address = self.address().cast_mut();
        self.tag.held = Held::Empty;
        let fns = descriptor_at(self.tag.type_index).payload_fns;
        // SAFETY: P1: the functions belong to the type; P2: the mark was cleared before.
        unsafe {
            match held {
                Held::InPlace => {
                    if let Some(drop_fn) = fns.in_place {
                        drop_fn(address);
                    }
                }
                Held::Boxed => (fns.boxed)(address),
                Held::Shared => (fns.shared)(address),
                Held::Empty => {}
            }
        }
    }

    /// The number of the event's type.
    pub(crate) fn type_index(&self) -> u32 {
        self.tag.type_index
    }

    /// Whether the event has a key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.tag.keyed
    }

    /// Whether the value is there: nobody has taken it.
    pub(crate) fn is_there(&self) -> bool {
        self.tag.held != Held::Empty
    }

    /// Whether a value lies in place; where its type needs no drop, such a payload may be left as it is.
    #[inline(always)]
    pub(crate) fn is_in_place(&self) -> bool {
        self.tag.held == Held::InPlace
    }

    /// As [`discard`](Self::discard), with a panic of the payload's `Drop` contained.
    pub(crate) fn discard_contained(&mut self) {
        if self.tag.held != Held::Empty {
            // The payload is gone either way; its panic has nobody to go to.
            let _ = contain(|| self.discard());
        }
    }
}

/// An event at rest: a slot without its alignment and its unused bytes, for those that lie somewhere for long.
/// The value is shared, or gone. A clone has a share of its own.
pub(crate) struct Kept {
    /// Says `Shared` or `Empty`.
    tag: Tag,
    head: Head,
    /// What `Arc::into_raw` returned, while there is a value.
    share: *const u8,
}

// SAFETY: P1: the pointer is an `Arc` of an `E: Event`, which is `Send` and `Sync`.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    pub(crate) fn type_index(&self) -> u32 {
        self.tag.type_index
    }

    pub(crate) fn class(&self) -> Class {
        Class::ALL[usize::from(self.tag.class & 3)]
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The hash of the key, if the event has one.
    pub(crate) fn key_hash(&self) -> Option<u64> {
        self.tag.keyed.then_some(self.head.key_hash)
    }

    /// Whether the value is gone.
    pub(crate) fn is_empty(&self) -> bool {
        self.tag.held == Held::Empty
    }

    /// The value, if there is one and it is of this type.
    pub(crate) fn get<E: Event>(&self, event_type: EventType<E>) -> Option<&E> {
        if self.tag.type_index != event_type.index() || self.tag.held != Held::Shared {
            return None;
        }
        // SAFETY: P1: the number and the mark say that the pointer is a share of an `E`, which lives while
        // this is borrowed.
        Some(unsafe { &*self.share.cast::<E>() })
    }

    /// The slot of the event, and in its place the envelope without a value.
    pub(crate) fn take(&mut self) -> Slot {
        let envelope = Self {
            tag: Tag {
                held: Held::Empty,
                ..self.tag
            },
            head: self.head.clone(),
            share: std::ptr::null(),
        };
        std::mem::replace(self, envelope).into_slot()
    }

    /// The same event in a slot.
    pub(crate) fn into_slot(mut self) -> Slot {
        let mut place = Place::uninit();
        // SAFETY: the place is large enough for a pointer and aligned for one (P1: the tag goes with it).
        unsafe { place.as_mut_ptr().cast::<*const u8>().write(self.share) };
        let tag = self.tag;
        // P2: the share is the slot's from here on.
        self.tag.held = Held::Empty;
        Slot {
            tag,
            head: ManuallyDrop::new(std::mem::take(&mut self.head)),
            place,
        }
    }
}

impl From<Slot> for Kept {
    fn from(mut slot: Slot) -> Self {
        // A value that is not shared yet moves into an `Arc`; the second share is not needed.
        drop(slot.share());
        let mut kept = Self {
            tag: slot.tag,
            head: std::mem::take(&mut *slot.head),
            share: std::ptr::null(),
        };
        if kept.tag.held == Held::Shared {
            kept.share = slot.split().1.address();
            // P2: the share is this one's from here on.
            slot.tag.held = Held::Empty;
        }
        kept
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        if self.tag.held == Held::Shared {
            let fns = descriptor_at(self.tag.type_index).payload_fns;
            // SAFETY: P1: the pointer is a share of the type's, alive while this is borrowed.
            unsafe { (fns.retain)(self.share) };
        }
        Self {
            tag: self.tag,
            head: self.head.clone(),
            share: self.share,
        }
    }
}

impl Drop for Kept {
    /// As a slot's: a panic of the value's own `Drop` is contained.
    fn drop(&mut self) {
        if self.tag.held == Held::Shared {
            let fns = descriptor_at(self.tag.type_index).payload_fns;
            self.tag.held = Held::Empty;
            let share = self.share.cast_mut();
            // SAFETY: P1: the functions belong to the type; P2: the mark was cleared before.
            let _ = contain(|| unsafe { (fns.shared)(share) });
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("tag", &self.tag)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Runs user code that may panic; the panic's message, if it did.
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(panic_message)
}

/// The text of a panic. A panic value whose own `Drop` panics is contained as well.
#[cold]
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked with a value that is no text".to_owned());
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // A panic value's panic value: whoever builds such a thing leaks it.
        std::mem::forget(second);
    }
    message
}

#[cfg(test)]
mod tests;
