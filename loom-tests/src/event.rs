//! What the mounted files of `store` name of `event`: ids, and types with their numbers.

#![allow(
    dead_code,
    reason = "the engine uses all of it, the models what they are about"
)]

use std::fmt;
use std::marker::PhantomData;

/// An event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId(u128);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An event type as the process knows it.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) index: u32,
    pub(crate) name: &'static str,
    pub(crate) version: u16,
}

/// Something that has a descriptor; a model's are constants.
pub(crate) trait Event {
    const DESCRIPTOR: &'static Descriptor;
}

/// The way from a type to its descriptor.
pub(crate) struct EventType<E>(PhantomData<E>);

impl<E: Event> EventType<E> {
    pub(crate) fn of() -> Self {
        Self(PhantomData)
    }

    pub(crate) fn descriptor(&self) -> &'static Descriptor {
        E::DESCRIPTOR
    }
}

/// No model asks for a type by its name.
pub(crate) fn descriptor_of(_name: &str, _version: u16) -> Option<&'static Descriptor> {
    None
}
