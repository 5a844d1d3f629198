//! Interned event types: a small number and what erased code must know of the type.

use super::Event;
use super::codec::TextFns;
use super::payload::PayloadFns;
use crate::sync::{OnceLock, RwLock, realtime};
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

/// What is known of an event type once its Rust type is gone.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) index: u32,
    pub(crate) type_id: TypeId,
    pub(crate) name: &'static str,
    pub(crate) version: u16,
    pub(crate) payload_fns: PayloadFns,
    pub(crate) text_fns: TextFns,
}

/// All types of the process, by number; the numbering is shared by all engines of a process, and is
/// the only thing they share.
static TYPES: RwLock<Vec<&'static Descriptor>> = RwLock::new(Vec::new());

/// The descriptor of a number that was given out.
pub(crate) fn descriptor_at(index: u32) -> &'static Descriptor {
    TYPES.read()[index as usize]
}

/// The type of this name, if it was published or subscribed to in this process; the first, if several types
/// have the name. For what comes from outside: it looks through all of them.
#[cfg(any(feature = "json", test))]
pub(crate) fn descriptor_named(name: &str) -> Option<&'static Descriptor> {
    let types = TYPES.read();
    types.iter().find(|found| found.name == name).copied()
}

/// The type of this name and version, likewise: a process may have several versions of a type.
pub(crate) fn descriptor_of(name: &str, version: u16) -> Option<&'static Descriptor> {
    let types = TYPES.read();
    types
        .iter()
        .find(|found| found.version == version && found.name == name)
        .copied()
}

/// Keeps a type's number beside the type, so that publishing needs no look-up. Made by the derive
/// macro.
pub struct TypeCell(OnceLock<&'static Descriptor>);

impl TypeCell {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

impl Default for TypeCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TypeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypeCell")
            .field(&self.0.get().map(|descriptor| descriptor.name))
            .finish()
    }
}

/// The proof that `E` is interned, and as which number.
pub(crate) struct EventType<E> {
    descriptor: &'static Descriptor,
    event: PhantomData<fn(E) -> E>,
}

impl<E> Clone for EventType<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for EventType<E> {}

impl<E> fmt::Debug for EventType<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({})", self.descriptor.name)
    }
}

impl<E: Event> EventType<E> {
    /// The type's number; given out at its first use in the process.
    #[inline(always)]
    pub(crate) fn of() -> Self {
        if let Some(cell) = E::type_cell()
            && let Some(descriptor) = cell.0.get()
            && descriptor.type_id == TypeId::of::<E>()
        {
            return Self {
                descriptor,
                event: PhantomData,
            };
        }
        Self {
            descriptor: Self::look_up(),
            event: PhantomData,
        }
    }

    /// For types without a cell, through a table of the thread's own; and for the first use.
    fn look_up() -> &'static Descriptor {
        thread_local! {
            static KNOWN: RefCell<HashMap<TypeId, &'static Descriptor, ahash::RandomState>> =
                RefCell::default();
        }
        let type_id = TypeId::of::<E>();
        let known = KNOWN
            .try_with(|known| known.borrow().get(&type_id).copied())
            .unwrap_or(None);
        if let Some(descriptor) = known {
            return descriptor;
        }
        // Once for each type and thread that publishes it, or for the type alone where it has a cell.
        let _allowed = realtime::allow();
        let descriptor = Self::intern();
        // A thread that is ending has no table any more and looks the type up each time.
        let _ = KNOWN.try_with(|known| known.borrow_mut().insert(type_id, descriptor));
        if let Some(cell) = E::type_cell() {
            cell.0.get_or_init(|| descriptor);
        }
        descriptor
    }

    #[cold]
    fn intern() -> &'static Descriptor {
        let type_id = TypeId::of::<E>();
        let mut types = TYPES.write();
        if let Some(descriptor) = types
            .iter()
            .find(|descriptor| descriptor.type_id == type_id)
        {
            return descriptor;
        }
        let index = u32::try_from(types.len()).expect("a process has fewer than 2^32 types");
        let descriptor: &'static Descriptor = Box::leak(Box::new(Descriptor {
            index,
            type_id,
            name: E::NAME,
            version: E::VERSION,
            payload_fns: PayloadFns::of::<E>(),
            text_fns: TextFns::of::<E>(),
        }));
        types.push(descriptor);
        descriptor
    }

    #[inline(always)]
    pub(crate) fn index(self) -> u32 {
        self.descriptor.index
    }

    #[inline(always)]
    pub(crate) fn descriptor(self) -> &'static Descriptor {
        self.descriptor
    }
}
