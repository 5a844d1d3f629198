//! The append that is nearly always made: events with nothing special about them, to one stream that is there.
//!
//! publish → **store** → worker → handler → outcome
//!
//! It is what [`Log::append`] does, with everything left out that such events cannot need; whatever is different goes that
//! way instead. `perf/notes/0012-append.md` has what it saves.

use super::append::{Committed, Entry, Target, is_timed};
use super::error::AppendError;
use super::expected::{StreamState, Verdict, decide};
use super::location::Location;
use super::log::{Locked, Log};
use super::record::{Extra, Header, size_of_record};
use super::segment::ENTRY_BYTES;
use crate::event::EventId;

impl Log {
    /// Appends events to one stream; says what that is afterwards.
    #[inline]
    pub(crate) fn append_to<'a>(
        &'a self,
        mut target: Target<'a>,
        entries: &mut [Entry<'a>],
    ) -> Result<(Committed, StreamState), AppendError> {
        if let Some(done) = self.append_plain(&target, entries) {
            return done;
        }
        target.events = entries.len() as u64;
        let mut targets = [target];
        let committed = self.append(&mut targets, entries)?;
        let [target] = targets;
        Ok((committed, target.state))
    }

    /// The same, if there is nothing special about them; `None` if there is, and nothing was done.
    #[inline]
    fn append_plain(
        &self,
        target: &Target<'_>,
        entries: &[Entry<'_>],
    ) -> Option<Result<(Committed, StreamState), AppendError>> {
        let (number, stream) = target.found()?;
        let kind = entries.first()?.kind;
        if !self.kinds.get(kind)?.is_told() {
            return None;
        }
        let (mut payload_bytes, mut record_bytes) = (0, 0);
        for entry in entries {
            if entry.id.is_some()
                || entry.stamp.is_some()
                || entry.kind != kind
                || !entry.extra.is_empty()
            {
                return None;
            }
            payload_bytes += entry.payload.len();
            record_bytes += size_of_record(entry.payload.len(), 0)?;
        }
        let key_of = |entry: &Entry<'_>| entry.key.unwrap_or_else(|| stream.key());
        if self.bell.is_listened_to() {
            for entry in entries {
                if let Err(error) = self.bell.admit(Some(key_of(entry))) {
                    return Some(Err(error));
                }
            }
        }
        self.streams.prefetch(stream);
        let clock = &self.settings.clock;
        let raw = clock.raw();
        let stamp = clock.wall_ns(raw);
        let done = {
            let Locked {
                tail,
                sequence,
                append_times,
                tallies,
            } = &mut *self.lock();
            if let Err(error) = self.check_open() {
                return Some(Err(error));
            }
            let mut version = stream.count_here();
            let state = match version.checked_sub(1) {
                Some(version) if !stream.is_deleted(self.watermark()) => StreamState::At(version),
                _ => return None,
            };
            // Without an id there is nothing to be compared.
            let verdict = decide(target.expected, state, false);
            let is_allowed = matches!(verdict, Verdict::Append | Verdict::AppendUnlessRecent);
            let offsets = (entries.len() - 1) * ENTRY_BYTES;
            if !is_allowed || !tail.has_room(record_bytes + offsets) {
                return None;
            }
            let first = tail.position;
            let mut left = entries.len() as u32;
            let mut location = Location::default();
            for entry in entries {
                left -= 1;
                // Summed up above.
                let size = size_of_record(entry.payload.len(), 0).unwrap_or(0);
                let header = Header {
                    size: size as u32,
                    checksum: 0,
                    position: tail.position,
                    version,
                    stream: number,
                    kind,
                    id: EventId::at(stamp / 1_000_000, sequence.next()).as_u128(),
                    correlation: entry.correlation,
                    stamp,
                    key: key_of(entry),
                    payload_bytes: entry.payload.len() as u32,
                    extra_bytes: 0,
                    batch: left,
                    class: entry.class as u8,
                    codec: entry.codec,
                    flags: 0,
                };
                location = self.put(tail, &header, entry.payload, &Extra::default());
                self.streams.push(stream, location);
                version += 1;
            }
            stream.add_bytes(record_bytes as u64);
            tail.stamp = stamp;
            tallies.add(payload_bytes as u64, record_bytes as u64);
            self.segments.note_end(tail.position);
            self.segments.prefetch(tail);
            self.segments.commit(location);
            if is_timed(first, tail.position) {
                self.note_time(append_times, raw);
            }
            let committed = Committed {
                first,
                last: tail.position - 1,
                is_duplicate: false,
            };
            (committed, StreamState::At(version - 1))
        };
        self.bell.ring();
        if self.bell.is_listened_to() {
            for entry in entries {
                self.bell.tell(Some(key_of(entry)));
            }
        }
        Some(Ok(done))
    }
}
