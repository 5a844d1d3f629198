//! The event types of a log: name and version, by a number of the log's own.
//!
//! A log holds types that this process does not know (imported, or written by another version of it), so its numbers are
//! not the process's; where both know a type, each finds the other by one look.

use super::chunks::Chunks;
use super::header::NAME_BYTES_MAX;
use crate::event::{Descriptor, Event, EventType, descriptor_of};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Mutex, OnceLock};
use std::collections::HashMap;

/// A type as the log has it.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    name: OnceLock<(Box<str>, u16)>,
    /// The descriptor of the type in this process; looked for again while there is none.
    known: OnceLock<&'static Descriptor>,
    /// A committed record gives the name.
    is_told: AtomicBool,
}

impl Kind {
    pub(crate) fn name(&self) -> &str {
        self.name.get().map_or("", |(name, _)| name)
    }

    pub(crate) fn version(&self) -> u16 {
        self.name.get().map_or(0, |(_, version)| *version)
    }

    /// Whether the process has a type of this name and version, and which.
    pub(crate) fn known(&self) -> Option<&'static Descriptor> {
        if let Some(found) = self.known.get() {
            return Some(found);
        }
        let found = descriptor_of(self.name(), self.version())?;
        Some(self.known.get_or_init(|| found))
    }

    /// Whether a record has given the name. The lock's holder's.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self) {
        self.is_told.store(true, Ordering::Relaxed);
    }
}

/// All types of a log.
#[derive(Debug)]
pub(crate) struct Kinds {
    rows: Chunks<Kind>,
    count: AtomicU32,
    /// By the process's number of the type: the log's, plus one.
    of_types: Chunks<AtomicU32>,
    /// Cold: asked once for each type, and for each event of a type that is named by text.
    by_name: Mutex<HashMap<(Box<str>, u16), u32>>,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Self {
            rows: Chunks::new(),
            count: AtomicU32::new(0),
            of_types: Chunks::new(),
            by_name: Mutex::default(),
        }
    }

    /// The log's number of an event type.
    #[inline(always)]
    pub(crate) fn of<E: Event>(&self) -> Result<u32, String> {
        let descriptor = EventType::<E>::of().descriptor();
        if let Some(number) = self.of_types.get(descriptor.index as usize) {
            // Acquire [kind]: the row of this number is there.
            let number = number.load(Ordering::Acquire);
            if number != 0 {
                return Ok(number - 1);
            }
        }
        self.enter(descriptor)
    }

    #[cold]
    fn enter(&self, descriptor: &'static Descriptor) -> Result<u32, String> {
        let number = self.named(descriptor.name, descriptor.version)?;
        if let Some(row) = self.get(number) {
            row.known.get_or_init(|| descriptor);
        }
        let place = self.of_types.make(descriptor.index as usize);
        // Release [kind]: pairs with the Acquire in `of`.
        place.store(number + 1, Ordering::Release);
        Ok(number)
    }

    /// The log's number of the type of this name and version.
    pub(crate) fn named(&self, name: &str, version: u16) -> Result<u32, String> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!(
                "a type's name of {} bytes is outside 1 to {NAME_BYTES_MAX}",
                name.len()
            ));
        }
        let mut by_name = self.by_name.lock();
        if let Some(&number) = by_name.get(&(Box::from(name), version)) {
            return Ok(number);
        }
        let number = self.count.load(Ordering::Relaxed);
        self.rows
            .make(number as usize)
            .name
            .get_or_init(|| (Box::from(name), version));
        by_name.insert((Box::from(name), version), number);
        // Release [kind]: pairs with the Acquire in `len`.
        self.count.store(number + 1, Ordering::Release);
        Ok(number)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Kind> {
        self.rows.get(number as usize)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        // Acquire [kind]: so many rows are there.
        self.count.load(Ordering::Acquire)
    }
}
