//! The store against a plain `Vec`, by generated operations.
//!
//! The oracle is the contract's rules, written one after another without a thought of speed. The one thing that it takes
//! from the store is where the log begins after retention, which goes by segments; that this is in bounds it checks.

use super::*;
use proptest::prelude::*;

const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// An expectation, as one that knows the stream's head would draw it.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    NoStream,
    Exists,
    /// The head's version and so many.
    Head(i64),
}

/// An event: its number, and the id that goes with it, if one does.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Item {
    id: Option<u8>,
    number: u64,
}

#[derive(Debug, Clone)]
enum Op {
    /// Events, each for one of the streams, and what is expected of streams.
    Append(Vec<(usize, Item)>, Vec<(usize, Expect)>),
    /// What an earlier append said, once more.
    Again(usize),
    Delete(usize, Expect),
    /// Before the head and so many.
    Truncate(usize, i64),
    Read(Way),
}

/// Bounds in hundredths of what there is, and a little beyond.
#[derive(Debug, Clone, Copy)]
struct Way {
    stream: Option<usize>,
    from: Option<u64>,
    to: Option<u64>,
    is_backward: bool,
    limit: Option<u64>,
    has_marks: bool,
    page: u64,
}

fn expects() -> impl Strategy<Value = Expect> {
    prop_oneof![
        2 => Just(Expect::Any),
        2 => Just(Expect::NoStream),
        1 => Just(Expect::Exists),
        4 => Just(Expect::Head(0)),
        3 => (-4..3_i64).prop_map(Expect::Head),
    ]
}

fn items() -> impl Strategy<Value = Item> {
    prop_oneof![
        3 => Just(Item { id: None, number: 0 }),
        // Mostly an id goes with one number; at times it is used again for another.
        6 => (0..24_u8).prop_map(|id| Item { id: Some(id), number: u64::from(id) }),
        1 => (0..24_u8).prop_map(|id| Item { id: Some(id), number: 1_000 }),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let stream = 0..STREAMS.len();
    let single = (
        stream.clone(),
        prop::collection::vec(items(), 0..4),
        expects(),
    )
        .prop_map(|(stream, items, expect)| {
            let items = items.into_iter().map(|item| (stream, item)).collect();
            Op::Append(items, vec![(stream, expect)])
        });
    let many = (
        prop::collection::vec((stream.clone(), items()), 0..20),
        prop::collection::vec((stream.clone(), expects()), 0..4),
    )
        .prop_map(|(items, mut expects)| {
            expects.sort_by_key(|(stream, _)| *stream);
            expects.dedup_by_key(|(stream, _)| *stream);
            Op::Append(items, expects)
        });
    let bound = || prop::option::of(0..110_u64);
    let way = (
        prop::option::of(stream.clone()),
        bound(),
        bound(),
        any::<bool>(),
        prop::option::of(0..30_u64),
        any::<bool>(),
        1..9_u64,
    )
        .prop_map(|(stream, from, to, is_backward, limit, has_marks, page)| {
            Op::Read(Way {
                stream,
                from,
                to,
                is_backward,
                limit,
                has_marks,
                page,
            })
        });
    let op = prop_oneof![
        8 => single,
        4 => many,
        4 => (0..40_usize).prop_map(Op::Again),
        1 => (stream.clone(), expects()).prop_map(|(stream, expect)| Op::Delete(stream, expect)),
        1 => (stream, -3..3_i64).prop_map(|(stream, by)| Op::Truncate(stream, by)),
        6 => way,
    ];
    prop::collection::vec(op, 0..80)
}

/// A record of the oracle's log.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    stream: usize,
    version: u64,
    /// `None`: a mark.
    item: Option<Item>,
    left: u32,
}

#[derive(Debug, Clone, Default)]
struct Life {
    /// Positions of its events.
    events: Vec<u64>,
    first: u64,
    is_deleted: bool,
}

#[derive(Debug, Default)]
struct Oracle {
    log: Vec<Row>,
    streams: [Life; STREAMS.len()],
    first: u64,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Done(u64, u64),
    Duplicate(u64, u64),
    Checked,
    Conflict,
    Reused,
    Invalid,
}

impl Oracle {
    fn expected(&self, stream: usize, expect: Expect) -> ExpectedVersion {
        let head = self.streams[stream].events.len() as i64 - 1;
        match expect {
            Expect::Any => ExpectedVersion::Any,
            Expect::NoStream => ExpectedVersion::NoStream,
            Expect::Exists => ExpectedVersion::StreamExists,
            Expect::Head(by) => ExpectedVersion::Exact((head + by).max(0) as u64),
        }
    }

    fn state(&self, stream: usize) -> StreamState {
        let life = &self.streams[stream];
        match life.events.len().checked_sub(1) {
            None => StreamState::Missing,
            Some(version) if life.is_deleted => StreamState::Deleted(version as u64),
            Some(version) => StreamState::At(version as u64),
        }
    }

    /// EV1, EV5, EV6: whether what is expected holds, to append to the stream or to check it only.
    fn holds(&self, stream: usize, expected: ExpectedVersion, is_check: bool) -> bool {
        let state = self.state(stream);
        if matches!(state, StreamState::Deleted(_)) && !is_check {
            return false;
        }
        match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => !matches!(state, StreamState::At(_)),
            ExpectedVersion::StreamExists => matches!(state, StreamState::At(_)),
            ExpectedVersion::Exact(version) => state == StreamState::At(version),
        }
    }

    /// EV4: where the event that an append would repeat is, if it is kept: `Err` for another one with its id.
    fn found(&self, position: Option<u64>, item: Item) -> Result<Option<u64>, ()> {
        let kept = position.filter(|&position| position >= self.first);
        let Some((position, id)) = kept.zip(item.id) else {
            return Ok(None);
        };
        let there = self.log[position as usize].item.unwrap();
        match there.id == Some(id) {
            true if there.number == item.number => Ok(Some(position)),
            true => Err(()),
            false => Ok(None),
        }
    }

    fn append(&mut self, items: &[(usize, Item)], expected: &[(usize, ExpectedVersion)]) -> Answer {
        let of = |stream| {
            items
                .iter()
                .filter(move |(own, _)| *own == stream)
                .map(|(_, item)| *item)
        };
        let mut repeats = Vec::new();
        let (mut is_refused, mut is_stale) = (false, false);
        for stream in 0..STREAMS.len() {
            let given = expected.iter().find(|(own, _)| *own == stream);
            let expected = given.map_or(ExpectedVersion::Any, |(_, expected)| *expected);
            let is_check = of(stream).next().is_none();
            let holds = self.holds(stream, expected, is_check);
            if is_check {
                is_stale |= !holds;
                continue;
            }
            let events = &self.streams[stream].events;
            let from = match (expected, self.state(stream)) {
                (ExpectedVersion::NoStream, StreamState::At(_)) => Some(0),
                (ExpectedVersion::Exact(version), StreamState::At(head)) if version < head => {
                    Some(version as usize + 1)
                }
                _ => None,
            };
            let places: Option<Vec<Option<u64>>> = match (from, expected, self.state(stream)) {
                (Some(from), ..) => Some(
                    (from..)
                        .zip(of(stream))
                        .map(|(at, _)| events.get(at).copied())
                        .collect(),
                ),
                (
                    None,
                    ExpectedVersion::Any | ExpectedVersion::StreamExists,
                    StreamState::At(_),
                ) => {
                    let recent = &events[events.len().saturating_sub(256)..];
                    let has = |position: u64, item: Item| {
                        position >= self.first
                            && item.id.is_some()
                            && self.log[position as usize].item.unwrap().id == item.id
                    };
                    let find = |item: Item| {
                        recent
                            .iter()
                            .rev()
                            .copied()
                            .find(|&position| has(position, item))
                    };
                    Some(of(stream).map(find).collect())
                }
                _ => None,
            };
            is_refused |= !holds && from.is_none();
            repeats.push((stream, from.is_some(), places));
        }
        if is_refused {
            return Answer::Conflict;
        }
        if items.is_empty() {
            return if is_stale {
                Answer::Conflict
            } else {
                Answer::Checked
            };
        }
        let (mut there, mut is_partial, mut are_new) = (Vec::new(), false, false);
        for (stream, must, places) in repeats {
            let places = places.unwrap_or_else(|| of(stream).map(|_| None).collect());
            let mut found = Vec::new();
            for (place, item) in places.iter().zip(of(stream)) {
                match self.found(*place, item) {
                    Ok(position) => found.push(position),
                    Err(()) => return Answer::Reused,
                }
            }
            let count = found.iter().flatten().count();
            is_partial |= (count > 0 && count < found.len()) || (must && count == 0);
            are_new |= count == 0;
            there.extend(found.into_iter().flatten());
        }
        if is_partial || (!there.is_empty() && are_new) {
            return Answer::Conflict;
        }
        if let (Some(&first), Some(&last)) = (there.iter().min(), there.iter().max()) {
            return Answer::Duplicate(first, last);
        }
        if is_stale {
            return Answer::Conflict;
        }
        let first = self.log.len() as u64;
        for (number, (stream, item)) in items.iter().enumerate() {
            let life = &mut self.streams[*stream];
            life.events.push(self.log.len() as u64);
            self.log.push(Row {
                stream: *stream,
                version: life.events.len() as u64 - 1,
                item: Some(*item),
                left: (items.len() - 1 - number) as u32,
            });
        }
        Answer::Done(first, self.log.len() as u64 - 1)
    }

    fn mark(&mut self, stream: usize, version: u64) -> Answer {
        self.log.push(Row {
            stream,
            version,
            item: None,
            left: 0,
        });
        let position = self.log.len() as u64 - 1;
        Answer::Done(position, position)
    }

    fn delete(&mut self, stream: usize, expected: ExpectedVersion) -> Answer {
        let StreamState::At(version) = self.state(stream) else {
            return Answer::Conflict;
        };
        if !self.holds(stream, expected, false) {
            return Answer::Conflict;
        }
        self.streams[stream].is_deleted = true;
        self.mark(stream, version)
    }

    fn truncate(&mut self, stream: usize, before: u64) -> Answer {
        let StreamState::At(version) = self.state(stream) else {
            return Answer::Conflict;
        };
        if before > version + 1 {
            return Answer::Invalid;
        }
        let life = &mut self.streams[stream];
        life.first = life.first.max(before);
        self.mark(stream, before)
    }

    /// The positions that a query finds, by its bounds, or where it could begin.
    fn read(&self, way: &Way, from: Option<u64>, to: Option<u64>) -> Result<Vec<u64>, Option<u64>> {
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(None);
        }
        let (all, first): (Vec<u64>, u64) = match way.stream {
            None => ((0..self.log.len() as u64).collect(), self.first),
            Some(stream) => {
                if !matches!(self.state(stream), StreamState::At(_)) {
                    return Err(None);
                }
                let life = &self.streams[stream];
                let freed = life
                    .events
                    .iter()
                    .filter(|&&position| position < self.first)
                    .count();
                (life.events.clone(), life.first.max(freed as u64))
            }
        };
        if from.is_some_and(|from| from < first) {
            return Err(Some(first));
        }
        let low = from.unwrap_or(first);
        let high = to.unwrap_or(u64::MAX).min(all.len() as u64);
        let mut found: Vec<u64> = (low..high.max(low))
            .filter_map(|at| all.get(at as usize).copied())
            .collect();
        if way.is_backward {
            found.reverse();
        }
        found.retain(|&position| way.has_marks || self.log[position as usize].item.is_some());
        found.truncate(way.limit.unwrap_or(u64::MAX).min(1 << 40) as usize);
        Ok(found)
    }
}

/// What a record says, as the oracle would.
fn row(record: &Record<'_>) -> Row {
    let id = record.id().as_u128();
    Row {
        stream: STREAMS
            .iter()
            .position(|name| *name == record.stream())
            .unwrap(),
        version: record.version(),
        item: (!record.is_mark()).then(|| {
            let step = record.view::<Step>().unwrap();
            assert_eq!(record.decode::<Step>().unwrap(), *step);
            Item {
                id: (id <= 256).then_some((id - 1) as u8),
                number: step.number,
            }
        }),
        left: record.batch_left(),
    }
}

fn answer(result: Result<(u64, u64, bool), AppendError>) -> Answer {
    match result {
        Ok((first, last, true)) => Answer::Duplicate(first, last),
        Ok((first, last, false)) => Answer::Done(first, last),
        Err(AppendError::Conflict(conflicts)) => {
            assert!(!conflicts.is_empty());
            Answer::Conflict
        }
        Err(AppendError::IdReused { .. }) => Answer::Reused,
        Err(AppendError::Invalid(_)) => Answer::Invalid,
        Err(other) => panic!("{other}"),
    }
}

fn append(
    store: &EventStore,
    items: &[(usize, Item)],
    expected: &[(usize, ExpectedVersion)],
) -> Answer {
    let steps: Vec<Step> = items.iter().map(|(_, item)| step(item.number)).collect();
    let draft = |at: usize| {
        let draft = Draft::new(&steps[at]);
        match items[at].1.id {
            Some(id) => draft.id(id_of(u128::from(id))),
            None => draft,
        }
    };
    // A single append has a way of its own.
    if let ([(stream, _)], [(own, expected)]) = (items, expected)
        && stream == own
    {
        let result = store.append(STREAMS[*stream], *expected, draft(0));
        return answer(
            result.map(|done| (done.first_position, done.last_position, done.is_duplicate)),
        );
    }
    let mut batch = store.batch();
    for (stream, expected) in expected {
        batch.expect(STREAMS[*stream], *expected).unwrap();
    }
    for (at, (stream, _)) in items.iter().enumerate() {
        batch.push(STREAMS[*stream], draft(at)).unwrap();
    }
    match answer(
        batch
            .commit()
            .map(|done| (done.first_position, done.last_position, done.is_duplicate)),
    ) {
        Answer::Done(..) if items.is_empty() => Answer::Checked,
        other => other,
    }
}

/// Reads as asked, in one go and in pages, and holds what is found against the oracle.
fn check_read(reader: &Reader, oracle: &Oracle, way: &Way) {
    let size = match way.stream {
        None => oracle.log.len(),
        Some(stream) => oracle.streams[stream].events.len(),
    } as u64;
    let bound = |hundredths: Option<u64>| hundredths.map(|part| size * part / 100);
    let (from, to) = (bound(way.from), bound(way.to));
    let query = |from: Option<u64>, to: Option<u64>, limit: Option<u64>| {
        let mut query = way
            .stream
            .map_or_else(Query::all, |stream| Query::stream(STREAMS[stream]));
        query = from.into_iter().fold(query, Query::from);
        query = to.into_iter().fold(query, Query::before);
        query = limit.into_iter().fold(query, Query::limit);
        if way.is_backward {
            query = query.backward();
        }
        if way.has_marks {
            query.with_marks()
        } else {
            query
        }
    };
    let expected = oracle.read(way, from, to);
    let records = match (reader.read(query(from, to, way.limit)), &expected) {
        (Ok(records), Ok(_)) => records,
        (Err(error), Err(first)) => return assert_eq!(error.truncated(), *first, "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    };
    let expected = expected.unwrap();
    let mut found = Vec::new();
    for record in records {
        let record = record.unwrap();
        assert_eq!(row(&record), oracle.log[record.position() as usize]);
        found.push(record.position());
    }
    assert_eq!(found, expected);

    // Page by page, each behind the one before.
    let (mut low, mut high, mut paged) = (from, to, Vec::new());
    loop {
        let left = way
            .limit
            .map_or(u64::MAX, |limit| limit - paged.len() as u64);
        let page: Vec<_> = reader
            .read(query(low, high, Some(way.page.min(left))))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let Some(last) = page.last() else { break };
        let place = if way.stream.is_some() {
            last.version()
        } else {
            last.position()
        };
        if way.is_backward {
            high = Some(place);
        } else {
            low = Some(place + 1);
        }
        paged.extend(page.iter().map(Record::position));
        if high.zip(low).is_some_and(|(high, low)| low > high) {
            break;
        }
    }
    assert_eq!(paged, expected, "in pages of {}", way.page);
}

fn run(segment_bytes: usize, events: Option<u64>, ops: Vec<Op>) {
    let retention = events.map_or(Retention::everything(), |events| {
        Retention::default().events(events)
    });
    let store = sized(segment_bytes, retention);
    let mut oracle = Oracle::default();
    let mut past = Vec::new();
    for op in ops {
        let (found, expected) = match op {
            Op::Append(items, expects) => {
                let expected: Vec<_> = expects
                    .iter()
                    .map(|(stream, expect)| (*stream, oracle.expected(*stream, *expect)))
                    .collect();
                let found = append(&store, &items, &expected);
                let answers = (found, oracle.append(&items, &expected));
                past.push((items, expected));
                answers
            }
            Op::Again(back) => {
                let Some((items, expected)) =
                    past.len().checked_sub(back + 1).map(|at| past[at].clone())
                else {
                    continue;
                };
                (
                    append(&store, &items, &expected),
                    oracle.append(&items, &expected),
                )
            }
            Op::Delete(stream, expect) => {
                let expected = oracle.expected(stream, expect);
                let found = store.delete(STREAMS[stream], expected);
                (
                    answer(found.map(|at| (at, at, false))),
                    oracle.delete(stream, expected),
                )
            }
            Op::Truncate(stream, by) => {
                let before = (oracle.streams[stream].events.len() as i64 + by).max(0) as u64;
                let found = store.truncate(STREAMS[stream], before);
                (
                    answer(found.map(|at| (at, at, false))),
                    oracle.truncate(stream, before),
                )
            }
            Op::Read(way) => {
                check_read(&store.reader(), &oracle, &way);
                continue;
            }
        };
        assert_eq!(found, expected);
        let reader = store.reader();
        let end = oracle.log.len() as u64;
        assert_eq!(reader.end(), end);
        // Retention goes forward, keeps what it has to and whole batches, and nothing that a segment and a batch would not explain.
        let first = reader.first();
        assert!(first >= oracle.first && (end == 0 || first < end));
        match events {
            None => assert_eq!(first, 0),
            Some(events) => {
                assert!(first == 0 || end - first >= events);
                assert!(
                    first == 0 || oracle.log[first as usize - 1].left == 0,
                    "a batch was cut"
                );
                assert!(end - first <= events + 2 * (segment_bytes as u64 / 96) + 20);
            }
        }
        oracle.first = first;
        for (stream, name) in STREAMS.iter().enumerate() {
            assert_eq!(store.stream_state(name), oracle.state(stream));
            let life = &oracle.streams[stream];
            let latest = life.events.last().copied().filter(|&position| {
                position >= first && !life.is_deleted && life.first < life.events.len() as u64
            });
            assert_eq!(reader.latest(name).map(|record| record.position()), latest);
        }
    }
    let reader = store.reader();
    for position in 0..oracle.log.len() as u64 + 2 {
        match reader.get(position) {
            Ok(Some(record)) => assert_eq!(row(&record), oracle.log[position as usize]),
            Ok(None) => assert!(position >= oracle.log.len() as u64),
            Err(error) => {
                assert!(position < oracle.first);
                assert_eq!(error.truncated(), Some(oracle.first));
            }
        }
    }
    assert_eq!(store.log.held().1, 0);
}

proptest! {
    /// Whatever is asked of it, a store answers as the oracle does.
    #[test]
    fn ev1_to_ev7_the_store_does_what_its_oracle_does(
        segment_bytes in prop_oneof![Just(1_536_usize), Just(2_048), Just(4_096)],
        events in prop::option::of(0..60_u64),
        ops in ops(),
    ) {
        run(segment_bytes, events, ops);
    }
}
