//! Appending: everything is encoded before, checked and copied under the lock, and visible at once.
//!
//! publish → **store** → worker → handler → outcome

use super::counts::Tallies;
use super::error::{AppendError, Conflict};
use super::expected::{ExpectedVersion, StreamState, Verdict, decide};
use super::location::Location;
use super::log::{Locked, Log};
use super::record::{Extra, HEADER_BYTES, Header, NAME_BYTES_MAX, flag, size_of_record};
use super::segments::Tail;
use super::streams::{Run, Stream};
use crate::event::{AsKey, Class, EventId};
use crate::metrics::CoarseBuckets;
use smallvec::SmallVec;

/// How many of a stream's latest events are compared with an append that gives ids and expects no version.
const RECENT_MAX: u64 = 256;
/// An append is timed if it takes the log past a multiple of 2^this.
pub(crate) const SAMPLE_BITS: u32 = 6;

/// A stream that an append is about.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    hash: u64,
    pub(crate) expected: ExpectedVersion,
    number: Option<u32>,
    /// The stream, if it was there when the append began.
    row: Option<&'a Stream>,
    /// Events for it in this append.
    pub(crate) events: u64,
    /// Afterwards, or at a conflict: what it is.
    pub(crate) state: StreamState,
    verdict: Verdict,
}

impl<'a> Target<'a> {
    pub(crate) fn new(
        log: &'a Log,
        name: &'a str,
        expected: ExpectedVersion,
    ) -> Result<Self, AppendError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(AppendError::Invalid(format!(
                "a stream's name of {} bytes is outside 1 to {NAME_BYTES_MAX}",
                name.len()
            )));
        }
        let hash = log.streams.hash(name);
        let (number, row) = log.streams.find_row(hash, name).unzip();
        Ok(Self {
            name,
            hash,
            expected,
            number,
            row,
            events: 0,
            state: StreamState::Missing,
            verdict: Verdict::Append,
        })
    }

    /// The stream, if it was there when the append began.
    #[inline(always)]
    pub(crate) fn found(&self) -> Option<(u32, &'a Stream)> {
        self.number.zip(self.row)
    }

    /// The hash of the stream's name as a key, for events that have none.
    fn key(&self) -> u64 {
        self.name.as_key().hash().unwrap_or(0)
    }

    fn stream<'l>(&self, log: &'l Log) -> Option<&'l Stream> {
        self.number.and_then(|number| log.streams.get(number))
    }
}

/// An event, encoded, with its envelope.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// Which of the targets it is for.
    pub(crate) target: usize,
    pub(crate) kind: u32,
    pub(crate) codec: u8,
    pub(crate) class: Class,
    /// Without one it is the stream's.
    pub(crate) key: Option<u64>,
    /// Given from outside; else one is made.
    pub(crate) id: Option<EventId>,
    pub(crate) correlation: u128,
    /// Given from outside, when an event comes from elsewhere.
    pub(crate) stamp: Option<u64>,
    pub(crate) extra: Extra<'a>,
    pub(crate) payload: &'a [u8],
}

/// What was appended, or was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) is_duplicate: bool,
}

impl Log {
    /// Appends all of the entries, or none and says why. The targets say afterwards what their streams are.
    pub(crate) fn append<'a>(
        &'a self,
        targets: &mut [Target<'a>],
        entries: &mut [Entry<'a>],
    ) -> Result<Committed, AppendError> {
        let room = self.record_bytes_max();
        for entry in entries.iter() {
            let names = targets[entry.target].name.len() + 2 * NAME_BYTES_MAX;
            let bytes = size_of_record(entry.payload.len(), entry.extra.bytes());
            if bytes.is_none_or(|bytes| bytes > room)
                || bytes
                    .is_some_and(|bytes| bytes + names > room && self.needs(targets, entry) > room)
            {
                return Err(AppendError::TooLarge {
                    bytes: bytes.unwrap_or(usize::MAX),
                    bytes_max: room,
                });
            }
        }
        for entry in entries.iter_mut() {
            entry.key.get_or_insert_with(|| targets[entry.target].key());
        }
        if self.bell.is_listened_to() {
            for entry in entries.iter() {
                self.bell.admit(entry.key)?;
            }
        }
        let clock = &self.settings.clock;
        let raw = clock.raw();
        let stamp = clock.wall_ns(raw);
        let (committed, has_rolled) = {
            let locked = &mut *self.lock();
            self.check_open()?;
            let refused = self.check(targets);
            // What is there already is there, whatever has become of streams that were only checked.
            let is_refused = |target: &Target<'_>| {
                target.verdict == Verdict::Conflict && (target.events > 0 || entries.is_empty())
            };
            let found = if targets.iter().any(is_refused) {
                Ok(None)
            } else {
                self.duplicates(targets, entries)
            };
            match (found, refused.is_empty()) {
                (Ok(None), true) => {}
                (Ok(Some(committed)), _) => {
                    locked.tallies.duplicates += 1;
                    return Ok(committed);
                }
                (Ok(None), false) => {
                    return Err(Self::refuse(
                        &mut locked.tallies,
                        AppendError::Conflict(refused),
                    ));
                }
                (Err(error), _) => return Err(Self::refuse(&mut locked.tallies, error)),
            }
            if entries.is_empty() {
                let next = locked.tail.position;
                return Ok(Committed {
                    first: next,
                    last: next,
                    is_duplicate: false,
                });
            }
            let segment = locked.tail.segment;
            let committed = self.write(locked, targets, entries, raw, stamp)?;
            (committed, locked.tail.segment != segment)
        };
        self.bell.ring();
        if self.bell.is_listened_to() {
            for entry in entries.iter() {
                self.bell.tell(entry.key);
            }
            if has_rolled {
                self.bell.tell_rolled();
            }
        }
        Ok(committed)
    }

    /// Whether anything may be appended. Under the lock, so that whoever ends knows the last of them.
    pub(crate) fn check_open(&self) -> Result<(), AppendError> {
        if self.bell.is_listened_to() && self.bell.is_closed() {
            return Err(AppendError::Closed);
        }
        Ok(())
    }

    /// What the record may need with all names that it may have to give.
    #[cold]
    fn needs(&self, targets: &[Target<'_>], entry: &Entry<'_>) -> usize {
        let kind = self.kinds.get(entry.kind);
        let names = Extra {
            stream_name: Some(targets[entry.target].name),
            kind_name: kind.map(|kind| (kind.name(), kind.version())),
            ..entry.extra
        };
        size_of_record(entry.payload.len(), names.bytes()).unwrap_or(usize::MAX)
    }

    /// Counts a refused append.
    #[cold]
    fn refuse(tallies: &mut Tallies, error: AppendError) -> AppendError {
        tallies.conflicts += 1;
        error
    }

    /// The verdicts, and every expectation that does not hold.
    #[inline]
    fn check(&self, targets: &mut [Target<'_>]) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for target in targets.iter_mut() {
            if target.number.is_none() {
                // It may have come into being since.
                target.number = self.streams.find(target.hash, target.name);
            }
            target.state = target
                .stream(self)
                .map_or(StreamState::Missing, |stream| self.state(stream));
            target.verdict = decide(target.expected, target.state, target.events == 0);
            if target.verdict == Verdict::Conflict {
                conflicts.push(conflict(target));
            }
        }
        conflicts
    }

    /// What a stream is, to the lock's holder.
    fn state(&self, stream: &Stream) -> StreamState {
        match stream.count().checked_sub(1) {
            None => StreamState::Missing,
            Some(version) if stream.is_deleted(self.watermark()) => StreamState::Deleted(version),
            Some(version) => StreamState::At(version),
        }
    }

    /// Whether these events are in their streams already, where the expectation wants that looked at (EV4).
    #[inline]
    fn duplicates(
        &self,
        targets: &[Target<'_>],
        entries: &[Entry<'_>],
    ) -> Result<Option<Committed>, AppendError> {
        let looks = |target: &Target<'_>| match target.verdict {
            Verdict::CompareFrom(_) => true,
            Verdict::AppendUnlessRecent => entries.iter().any(|entry| entry.id.is_some()),
            Verdict::Append | Verdict::Conflict => false,
        };
        if entries.is_empty() || !targets.iter().any(looks) {
            return Ok(None);
        }
        self.compare(targets, entries)
    }

    #[cold]
    fn compare(
        &self,
        targets: &[Target<'_>],
        entries: &[Entry<'_>],
    ) -> Result<Option<Committed>, AppendError> {
        let (mut found, mut missing) = (0, 0);
        let (mut first, mut last) = (u64::MAX, 0);
        let mut conflicts = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let own = || entries.iter().filter(move |entry| entry.target == number);
            let Some(stream) = target.stream(self) else {
                missing += own().count();
                continue;
            };
            let mut own_found = 0;
            let versions: SmallVec<[Option<u64>; 4]> = match target.verdict {
                Verdict::CompareFrom(from) => (from..)
                    .zip(own())
                    .map(|(version, _)| Some(version))
                    .collect(),
                Verdict::AppendUnlessRecent => own()
                    .map(|entry| entry.id.and_then(|id| self.recent(stream, id)))
                    .collect(),
                Verdict::Append | Verdict::Conflict => own().map(|_| None).collect(),
            };
            for (entry, version) in own().zip(versions) {
                match version.map_or(Ok(None), |version| {
                    self.same(target, stream, version, entry)
                })? {
                    Some(position) => {
                        own_found += 1;
                        first = first.min(position);
                        last = last.max(position);
                    }
                    None => missing += 1,
                }
            }
            found += own_found;
            let is_partial = own_found > 0 && own_found < own().count();
            if is_partial || (matches!(target.verdict, Verdict::CompareFrom(_)) && own_found == 0) {
                conflicts.push(conflict(target));
            }
        }
        if found > 0 && missing > 0 && conflicts.is_empty() {
            // Some streams have all of theirs and others none.
            conflicts.extend(
                targets
                    .iter()
                    .filter(|target| target.events > 0)
                    .map(conflict),
            );
        }
        if !conflicts.is_empty() {
            return Err(AppendError::Conflict(conflicts));
        }
        Ok((found > 0).then_some(Committed {
            first,
            last,
            is_duplicate: true,
        }))
    }

    /// The version of the stream's latest event with this id, among the most recent ones.
    fn recent(&self, stream: &Stream, id: EventId) -> Option<u64> {
        let count = stream.count();
        let mut hint = Run::default();
        (count.saturating_sub(RECENT_MAX)..count)
            .rev()
            .find(|&version| {
                let location = self.streams.location(stream, version, &mut hint);
                self.kept_header(location)
                    .is_some_and(|header| header.id == id.as_u128())
            })
    }

    /// The header of a record, to the lock's holder; `None` if it is not kept.
    fn kept_header(&self, location: Location) -> Option<&Header> {
        if location < self.segments.first_location() {
            return None;
        }
        let segment = self.segments.get(location.segment())?;
        Some(segment.header(location.offset()))
    }

    /// The position of the event at this version if it is the one that is to be appended.
    fn same(
        &self,
        target: &Target<'_>,
        stream: &Stream,
        version: u64,
        entry: &Entry<'_>,
    ) -> Result<Option<u64>, AppendError> {
        let Some(id) = entry.id else {
            return Ok(None);
        };
        if version >= stream.count() {
            return Ok(None);
        }
        let location = self.streams.location(stream, version, &mut Run::default());
        let Some(header) = self.kept_header(location) else {
            return Ok(None);
        };
        if header.id != id.as_u128() {
            return Ok(None);
        }
        let payload = self.segments.get(location.segment()).map(|segment| {
            segment.read(
                location.offset() + HEADER_BYTES,
                header.payload_bytes as usize,
            )
        });
        if header.kind != entry.kind || payload != Some(entry.payload) {
            return Err(AppendError::IdReused {
                stream: target.name.to_owned(),
                id,
                version,
            });
        }
        Ok(Some(header.position))
    }

    /// Writes all entries behind the last record and commits them together. What could fail comes first.
    #[inline]
    fn write<'a>(
        &'a self,
        locked: &mut Locked,
        targets: &mut [Target<'a>],
        entries: &mut [Entry<'a>],
        raw: u64,
        stamp: u64,
    ) -> Result<Committed, AppendError> {
        // A stream's first record gives its name, and a type's first the type's.
        for number in 0..entries.len() {
            let (before, rest) = entries.split_at_mut(number);
            let Some(entry) = rest.first_mut() else { break };
            let target = &targets[entry.target];
            if target.number.is_none() && before.iter().all(|other| other.target != entry.target) {
                entry.extra.stream_name = Some(target.name);
            }
            if let Some(kind) = self.kinds.get(entry.kind)
                && !kind.is_told()
                && before.iter().all(|other| other.kind != entry.kind)
            {
                entry.extra.kind_name = Some((kind.name(), kind.version()));
            }
        }
        let Locked {
            tail,
            sequence,
            append_times,
            tallies,
        } = locked;
        let size = |entry: &Entry<'_>| {
            size_of_record(entry.payload.len(), entry.extra.bytes()).unwrap_or(usize::MAX)
        };
        let mut arenas = match entries {
            [entry] if tail.has_room(size(entry)) => Vec::new(),
            _ => self.reserve(tail, || entries.iter().map(size))?,
        }
        .into_iter();
        let new = targets
            .iter()
            .filter(|target| target.number.is_none() && target.events > 0)
            .count();
        if u64::from(self.streams.len()) + new as u64 >= u64::from(u32::MAX) {
            return Err(AppendError::Invalid(
                "the store has as many streams as it can number".to_owned(),
            ));
        }
        // From here on nothing fails.
        let mut has_rolled = false;
        let first = tail.position;
        let mut location = Location::default();
        let mut left = entries.len() as u32;
        let (mut payload_bytes, mut record_bytes) = (0, 0);
        for entry in entries.iter() {
            left -= 1;
            let size = size(entry);
            if !tail.has_room(size)
                && let Some(arena) = arenas.next()
            {
                self.roll(tail, arena, tail.position > first);
                has_rolled = true;
            }
            let target = &mut targets[entry.target];
            let number = match target.number {
                Some(number) => number,
                None => {
                    let number = self
                        .streams
                        .insert(target.hash, target.name)
                        .unwrap_or(u32::MAX);
                    *target.number.insert(number)
                }
            };
            let Some(stream) = self.streams.get(number) else {
                unreachable!("the stream was found or made");
            };
            if entry.extra.stream_name.is_some() {
                stream.set_key(target.key());
            }
            let version = stream.count();
            let id = entry
                .id
                .unwrap_or_else(|| EventId::derive(&self.settings.clock, raw, sequence.next()));
            let header = Header {
                size: size as u32,
                checksum: 0,
                position: tail.position,
                version,
                stream: number,
                kind: entry.kind,
                id: id.as_u128(),
                correlation: entry.correlation,
                stamp: entry.stamp.unwrap_or(stamp),
                key: entry.key.unwrap_or_else(|| stream.key()),
                payload_bytes: entry.payload.len() as u32,
                extra_bytes: entry.extra.bytes() as u32,
                batch: left,
                class: entry.class as u8,
                codec: entry.codec,
                flags: entry.extra.flags() | if entry.key.is_none() { flag::NO_KEY } else { 0 },
            };
            location = self.put(tail, &header, entry.payload, &entry.extra);
            self.streams.push(stream, location);
            stream.add_bytes(size as u64);
            target.state = StreamState::At(version);
            if entry.extra.kind_name.is_some()
                && let Some(kind) = self.kinds.get(entry.kind)
            {
                kind.tell();
            }
            payload_bytes += entry.payload.len() as u64;
            record_bytes += size as u64;
        }
        tail.stamp = stamp;
        tallies.add(payload_bytes, record_bytes);
        self.segments.note_end(tail.position);
        if has_rolled {
            self.segments.begin(tail);
        }
        self.segments.commit(location);
        // One append in 64 is timed, told by the position: the others pay for one comparison.
        if is_timed(first, tail.position) {
            self.note_time(append_times, raw);
        }
        if has_rolled {
            self.retain(tail);
        }
        Ok(Committed {
            first,
            last: tail.position - 1,
            is_duplicate: false,
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn note_time(&self, times: &mut CoarseBuckets, since_raw: u64) {
        let clock = &self.settings.clock;
        let time_ns = clock.delta_ns(since_raw, clock.raw());
        times.record_n(time_ns, 1);
    }

    /// Copies one record to the end of the open segment.
    #[inline(always)]
    pub(crate) fn put(
        &self,
        tail: &mut Tail,
        header: &Header,
        payload: &[u8],
        extra: &Extra<'_>,
    ) -> Location {
        const ZEROS: [u8; 16] = [0; 16];
        self.segments.put(tail, header.size(), |segment, at| {
            segment.write(at, bytemuck::bytes_of(header));
            segment.write(at + HEADER_BYTES, payload);
            let mut end = at + HEADER_BYTES + payload.len();
            if header.extra_bytes > 0 {
                extra.write(|part| {
                    segment.write(end, part);
                    end += part.len();
                });
            }
            let padding = at + header.size() - end;
            if padding > 0 {
                segment.write(end, &ZEROS[..padding]);
            }
        })
    }

    /// Appends a mark to a stream that is there: a tombstone, or that events before `version` are forgotten.
    fn mark(
        &self,
        name: &str,
        expected: ExpectedVersion,
        truncate: Option<u64>,
        given: Option<(EventId, Option<u64>)>,
    ) -> Result<u64, AppendError> {
        let mut target = Target::new(self, name, expected)?;
        let clock = &self.settings.clock;
        let raw = clock.raw();
        let (position, has_rolled) = {
            let Locked {
                tail,
                sequence,
                tallies,
                ..
            } = &mut *self.lock();
            self.check_open()?;
            // As an append of an event would be checked, though a tombstone twice is no harm.
            target.events = 1;
            let mut targets = [target];
            let refused = self.check(&mut targets);
            if !refused.is_empty() {
                return Err(Self::refuse(tallies, AppendError::Conflict(refused)));
            }
            let [target] = targets;
            let is_stale = matches!(target.verdict, Verdict::CompareFrom(_));
            let (Some(number), Some(stream), false) =
                (target.number, target.stream(self), is_stale)
            else {
                return Err(Self::refuse(
                    tallies,
                    AppendError::Conflict(vec![conflict(&target)]),
                ));
            };
            let last = target.state.version().unwrap_or(0);
            if truncate.is_some_and(|version| version > last + 1) {
                return Err(AppendError::Invalid(format!(
                    "stream {name:?} cannot be truncated before version {}: it is at version {last}",
                    truncate.unwrap_or(0)
                )));
            }
            let mut arenas = self.reserve(tail, || std::iter::once(HEADER_BYTES))?;
            let has_rolled = !arenas.is_empty();
            if let Some(arena) = arenas.pop() {
                self.roll(tail, arena, false);
            }
            let (id, stamp) = given.unzip();
            let id = id.unwrap_or_else(|| EventId::derive(clock, raw, sequence.next()));
            let now = clock.wall_ns(raw);
            let header = Header {
                size: HEADER_BYTES as u32,
                checksum: 0,
                position: tail.position,
                version: truncate.unwrap_or(last),
                stream: number,
                kind: u32::MAX,
                id: id.as_u128(),
                correlation: 0,
                stamp: stamp.flatten().unwrap_or(now),
                key: 0,
                payload_bytes: 0,
                extra_bytes: 0,
                batch: 0,
                class: Class::Normal as u8,
                codec: 0,
                flags: flag::NO_KEY
                    | if truncate.is_some() {
                        flag::TRUNCATION
                    } else {
                        flag::TOMBSTONE
                    },
            };
            let location = self.put(tail, &header, &[], &Extra::default());
            match truncate {
                Some(version) => stream.truncate(version.max(stream.first())),
                None => stream.delete(location),
            }
            tail.stamp = now;
            tallies.record_bytes += HEADER_BYTES as u64;
            self.segments.note_end(tail.position);
            tallies.marks += 1;
            self.segments.commit(location);
            if has_rolled {
                self.retain(tail);
            }
            (header.position, has_rolled)
        };
        self.bell.ring();
        if self.bell.is_listened_to() {
            self.bell.tell(None);
            if has_rolled {
                self.bell.tell_rolled();
            }
        }
        Ok(position)
    }

    /// Deletes a stream: it takes no more events.
    pub(crate) fn delete(&self, name: &str, expected: ExpectedVersion) -> Result<u64, AppendError> {
        self.mark(name, expected, None, None)
    }

    /// Takes over a mark that was written somewhere else: a truncation before a version, else a tombstone.
    #[cfg(feature = "json")]
    pub(crate) fn mark_foreign(
        &self,
        name: &str,
        truncate: Option<u64>,
        id: EventId,
        stamp: Option<u64>,
    ) -> Result<u64, AppendError> {
        let expected = ExpectedVersion::StreamExists;
        self.mark(name, expected, truncate, Some((id, stamp)))
    }

    /// Forgets the events of a stream before `version`.
    pub(crate) fn truncate(&self, name: &str, version: u64) -> Result<u64, AppendError> {
        self.mark(name, ExpectedVersion::StreamExists, Some(version), None)
    }
}

/// Whether an append of the positions from `first` to before `end` is one whose time is noted.
#[inline(always)]
pub(super) fn is_timed(first: u64, end: u64) -> bool {
    (first ^ end) >> SAMPLE_BITS != 0
}

fn conflict(target: &Target<'_>) -> Conflict {
    Conflict {
        stream: target.name.to_owned(),
        expected: target.expected,
        actual: target.state,
    }
}
