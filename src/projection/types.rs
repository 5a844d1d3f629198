//! From a record's kind to those who want it, by one look.
//!
//! A log numbers its types itself, and may learn of one at any time. So a walk keeps a row for each number it has met,
//! filled in by name and version the first time, and looks nothing up afterwards.

use super::fold::ApplyError;
use crate::event::{Codec, Encoding, Event};
use crate::store::Record;

/// The types that somebody wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Types(Vec<(&'static str, u16)>);

impl Types {
    /// The number of this type among them.
    pub(crate) fn enter<E: Event>(&mut self) -> usize {
        let wanted = (E::NAME, E::VERSION);
        let found = self.0.iter().position(|&found| found == wanted);
        found.unwrap_or_else(|| {
            self.0.push(wanted);
            self.0.len() - 1
        })
    }
}

/// What is to happen with records of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Not met before.
    Unknown,
    /// Nobody wants them.
    Ignored,
    /// Somebody wants the type, in another version: to leave it out would be silent.
    OtherVersion,
    /// They are of the type with this number.
    Of(u32),
}

/// The rows of a walk, by the log's numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// What is to happen with this record, which is no mark.
    #[inline(always)]
    pub(crate) fn of(&mut self, types: &Types, record: &Record<'_>) -> Row {
        match self.0.get(record.header.kind as usize) {
            Some(&row) if row != Row::Unknown => row,
            _ => self.resolve(types, record),
        }
    }

    #[cold]
    fn resolve(&mut self, types: &Types, record: &Record<'_>) -> Row {
        let (name, version) = (record.event_type(), record.type_version());
        let mut row = Row::Ignored;
        for (number, &wanted) in types.0.iter().enumerate() {
            if wanted == (name, version) {
                row = Row::Of(number as u32);
                break;
            }
            if wanted.0 == name {
                row = Row::OtherVersion;
            }
        }
        let kind = record.header.kind as usize;
        if self.0.len() <= kind {
            self.0.resize(kind + 1, Row::Unknown);
        }
        self.0[kind] = row;
        row
    }
}

/// Why a record of another version is an error.
pub(crate) fn other_version(record: &Record<'_>) -> ApplyError {
    format!(
        "{:?} is of version {}, which nobody here can read (register a type of this version too, or filter it)",
        record.event_type(),
        record.type_version()
    )
    .into()
}

/// Has `f` look at the event of a record that is an `E`: where it lies if it is plain old data, else decoded.
#[inline(always)]
pub(crate) fn with_event<E: Event, R>(
    codec: Option<Codec<E>>,
    record: &Record<'_>,
    f: impl FnOnce(&E) -> R,
) -> Result<R, ApplyError> {
    let codec = codec.ok_or_else(|| format!("{:?} has no codec", E::NAME))?;
    if record.header.codec == Encoding::Pod as u8
        && let Some(event) = codec.view(record.payload())
    {
        return Ok(f(event));
    }
    let event = codec.decode(record.payload());
    Ok(f(&event.map_err(|reason| record.fault(reason))?))
}
