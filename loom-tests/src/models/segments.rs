//! The store's segments under appenders, walking readers and retention (S1 to S5, S9).

use super::{bounded, every};
use crate::store::header::{HEADER_BYTES, Header};
use crate::store::location::{Location, Watermark};
use crate::store::segment::ENTRY_BYTES;
use crate::store::segments::{Segments, Tail};
use crate::store::walk::{Cursor, Held, Step};
use crate::sync::{Arc, Arena, Mutex, Weakness, thread, weakened};
use bytemuck::Zeroable;

/// The row and its end, as the log has them.
struct Log {
    segments: Segments,
    tail: Mutex<Tail>,
    /// Records of a segment.
    room: usize,
}

impl Log {
    fn new(room: usize) -> Self {
        Self {
            segments: Segments::new(),
            tail: Mutex::default(),
            room,
        }
    }

    /// Appends so many records together, as `Log::append` does.
    fn append(&self, records: u32) {
        // Lock [append]: the model's own name, for the twin without it.
        let tail = &mut *self.tail.lock();
        let first = tail.position;
        let mut last = None;
        for left in (0..records).rev() {
            last = Some(self.put(tail, left, first));
        }
        self.segments.begin(tail);
        self.segments.commit(last.expect("there is a record"));
    }

    fn put(&self, tail: &mut Tail, left: u32, first: u64) -> Location {
        if !tail.has_room(HEADER_BYTES) {
            let is_continued = tail.position > first;
            self.segments.roll(tail, self.arena(), is_continued);
        }
        let header = header(tail.position, left);
        self.segments.put(tail, HEADER_BYTES, |segment, at| {
            segment.write(at, bytemuck::bytes_of(&header));
        })
    }

    fn arena(&self) -> Arena {
        let bytes = self.room * (HEADER_BYTES + ENTRY_BYTES);
        Arena::new(bytes.next_multiple_of(16), false).expect("there is memory")
    }

    /// Retires the first segment, as `Log::retain` does.
    fn retire(&self) {
        let tail = &mut *self.tail.lock();
        assert!(tail.first < tail.segment, "the open segment stays");
        self.segments.retire_before(tail, tail.first + 1);
    }

    /// A log with so many records.
    fn with(room: usize, records: u32) -> Arc<Self> {
        let log = Self::new(room);
        for _ in 0..records {
            log.append(1);
        }
        Arc::new(log)
    }
}

fn header(position: u64, left: u32) -> Header {
    Header {
        size: HEADER_BYTES as u32,
        position,
        batch: left,
        ..Zeroable::zeroed()
    }
}

/// What a walk from the cursor finds below the watermark of now: positions, and how many are to follow the last.
fn walk(log: &Log, held: &Held, cursor: &mut Cursor) -> (Vec<u64>, u32) {
    let watermark = log.segments.watermark();
    let (mut positions, mut left) = (Vec::new(), 0);
    loop {
        match held.step(&log.segments, cursor, watermark) {
            Step::Record(found) => {
                positions.push(found.header.position);
                left = found.header.batch;
            }
            Step::End => return (positions, left),
            Step::Gone => panic!("nothing was retired"),
        }
    }
}

/// Two looks by a reader while another thread appends; what was read is 0, 1, 2, … and no batch is cut.
fn read_beside(log: Arc<Log>, append: impl Fn(&Log) + Send + 'static, records: u64) {
    let appender = thread::spawn({
        let log = Arc::clone(&log);
        move || append(&log)
    });
    let (mut held, mut cursor) = (Held::default(), Cursor::default());
    let mut positions = Vec::new();
    for _ in 0..2 {
        let (more, left) = walk(&log, &held, &mut cursor);
        assert_eq!(left, 0, "a batch is read whole");
        positions.extend(more);
    }
    appender.join().unwrap();
    positions.extend(walk(&log, &held, &mut cursor).0);
    let expected: Vec<u64> = (0..records).collect();
    assert_eq!(positions, expected, "each record once and in order");
    held.release(&log.segments);
}

/// The same with the appender as the model's first thread, and one look.
fn append_beside(log: Arc<Log>, append: impl Fn(&Log), before: u64, records: u64) {
    let reader = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let mut held = Held::default();
            let (positions, left) = walk(&log, &held, &mut Cursor::default());
            assert_eq!(left, 0, "a batch is read whole");
            let count = positions.len() as u64;
            assert!((before..=records).contains(&count));
            assert!(
                positions.into_iter().eq(0..count),
                "each record once and in order"
            );
            held.release(&log.segments);
        }
    });
    append(&log);
    reader.join().unwrap();
}

/// Two appenders at once.
fn append_together() {
    let log = Arc::new(Log::new(2));
    let other = thread::spawn({
        let log = Arc::clone(&log);
        move || log.append(1)
    });
    log.append(1);
    other.join().unwrap();
    let mut held = Held::default();
    assert_eq!(walk(&log, &held, &mut Cursor::default()).0, [0, 1]);
    held.release(&log.segments);
}

#[test]
fn s1_appenders_take_turns() {
    every(append_together);
}

#[test]
#[should_panic(expected = "Concurrent write accesses")]
fn s1_twin_without_the_lock() {
    weakened(Weakness::NoLock("append"), || every(append_together));
}

fn append_two_beside_a_reader() {
    read_beside(
        Log::with(3, 1),
        |log| {
            log.append(1);
            log.append(1);
        },
        3,
    );
}

#[test]
fn s2_edge_commit_what_the_watermark_covers_is_complete() {
    every(append_two_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s2_edge_commit_twin_without_release() {
    weakened(Weakness::NoRelease("commit"), || {
        every(append_two_beside_a_reader)
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s2_edge_commit_twin_without_acquire() {
    weakened(Weakness::NoAcquire("commit"), || {
        every(append_two_beside_a_reader)
    });
}

#[test]
fn s2_edge_commit_the_other_way_round() {
    let append = |log: &Log| {
        log.append(1);
        log.append(1);
    };
    every(move || append_beside(Log::with(3, 1), append, 1, 3));
    every(move || append_beside(Log::with(1, 1), append, 1, 3));
    every(|| append_beside(Log::with(2, 1), |log| log.append(2), 1, 3));
}

/// A record found by its position and by its location, while others are appended.
#[test]
fn s2_a_position_below_the_watermark_is_found() {
    every(|| {
        let log = Log::with(2, 1);
        let appender = thread::spawn({
            let log = Arc::clone(&log);
            move || log.append(2)
        });
        let mut held = Held::default();
        let mut watermark = log.segments.watermark();
        let end = held.end(&log.segments, &mut watermark);
        assert!(end == 1 || end == 3, "a batch is read whole");
        for position in 0..end {
            let location = held.locate(&log.segments, position, watermark).unwrap();
            let found = held.at(&log.segments, location).unwrap();
            assert_eq!(found.header.position, position);
        }
        held.release(&log.segments);
        appender.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "a byte is written once")]
fn s2_twin_that_writes_a_record_again() {
    every(|| {
        let log = Arc::new(Log::new(2));
        read_beside(
            log,
            |log| {
                log.append(1);
                log.tail.lock().offset = 0;
                log.append(1);
            },
            2,
        );
    });
}

#[test]
#[should_panic(expected = "what is read was written")]
fn s2_twin_that_reads_above_the_watermark() {
    every(|| {
        let log = Log::with(2, 1);
        let appender = thread::spawn({
            let log = Arc::clone(&log);
            move || log.append(1)
        });
        let held = Held::default();
        let above = Watermark::after(Location::new(0, HEADER_BYTES));
        let mut cursor = Cursor::default();
        while let Step::Record(_) = held.step(&log.segments, &mut cursor, above) {}
        appender.join().unwrap();
    });
}

/// A batch in one segment, and one that goes on in the next.
#[test]
fn s3_a_batch_is_seen_whole_or_not_at_all() {
    every(|| read_beside(Arc::new(Log::new(2)), |log| log.append(2), 2));
    every(|| read_beside(Arc::new(Log::new(1)), |log| log.append(2), 2));
}

#[test]
#[should_panic(expected = "a batch is read whole")]
fn s3_twin_that_commits_each_record() {
    every(|| {
        read_beside(
            Arc::new(Log::new(2)),
            |log| {
                let tail = &mut *log.tail.lock();
                for left in [1, 0] {
                    log.segments.commit(log.put(tail, left, 0));
                }
            },
            2,
        );
    });
}

/// A reader goes over segments' ends while they come to be.
#[test]
fn s4_no_record_is_missed_or_read_twice_across_segments() {
    every(|| read_beside(Log::with(1, 1), |log| log.append(1), 2));
    bounded(|| {
        read_beside(
            Arc::new(Log::new(1)),
            |log| {
                log.append(1);
                log.append(2);
            },
            3,
        );
    });
}

#[test]
#[should_panic(expected = "what is read was written")]
fn s4_twin_that_seals_behind_the_commit() {
    every(|| {
        read_beside(
            Log::with(2, 1),
            |log| {
                let tail = &mut *log.tail.lock();
                // As `Segments::roll`, but for the seal.
                let end = tail.offset;
                tail.bytes = 0;
                tail.segment += 1;
                let last = log.put(tail, 0, 1);
                log.segments.commit(last);
                log.segments.get(0).unwrap().seal(end, 0);
            },
            2,
        );
    });
}

/// A reader has looked into a segment, and still does, while it is retired; `reads` is how.
fn retire_beside(reads: fn(&Log)) {
    let log = Log::with(1, 2);
    let retirer = thread::spawn({
        let log = Arc::clone(&log);
        move || log.retire()
    });
    reads(&log);
    retirer.join().unwrap();
    let segment = log.segments.get(0).unwrap();
    assert_eq!(segment.bytes(), 0, "whoever is last frees the bytes");
    assert!(!segment.pin(), "and nobody looks into it any more");
}

fn read_pinned(log: &Log) {
    let mut held = Held::default();
    let first = Location::new(0, 0);
    if held.at(&log.segments, first).is_some() {
        let again = held.at(&log.segments, first).expect("what is pinned stays");
        assert_eq!(again.header.position, 0);
    }
    held.release(&log.segments);
}

#[test]
fn s5_edge_unpin_bytes_are_freed_behind_the_last_read() {
    every(|| retire_beside(read_pinned));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s5_edge_unpin_twin_without_release() {
    weakened(Weakness::NoRelease("unpin"), || {
        every(|| retire_beside(read_pinned));
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s5_edge_unpin_twin_without_acquire() {
    weakened(Weakness::NoAcquire("unpin"), || {
        every(|| retire_beside(read_pinned));
    });
}

/// Two readers, of whom the last to leave frees what the other has read too.
#[test]
fn s5_bytes_are_freed_once_whoever_is_last() {
    bounded(|| {
        retire_beside(|log| {
            let (mut one, mut two) = (Held::default(), Held::default());
            let first = Location::new(0, 0);
            let _ = one.at(&log.segments, first);
            let _ = two.at(&log.segments, first);
            one.release(&log.segments);
            two.release(&log.segments);
        });
    });
    bounded(|| {
        let log = Log::with(1, 2);
        let readers = [(); 2].map(|()| {
            let log = Arc::clone(&log);
            thread::spawn(move || read_pinned(&log))
        });
        log.retire();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(log.segments.get(0).unwrap().bytes(), 0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s5_twin_that_reads_without_a_pin() {
    every(|| {
        retire_beside(|log| {
            let segment = log.segments.get(0).unwrap();
            if !segment.is_retired() {
                let _ = segment.header(0);
            }
        });
    });
}

/// A thread goes on to the next segment and retires the first, while a reader asks what is kept.
fn ask_what_is_kept() {
    let log = Log::with(1, 1);
    let appender = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            log.append(1);
            log.retire();
        }
    });
    let kept = log.segments.kept();
    let first = log.segments.first();
    assert!(first >= kept, "what is kept knows its first position");
    appender.join().unwrap();
    assert_eq!(log.segments.first(), 1);
}

/// A batch goes over a segment's end and is let go: what is kept begins behind it, within the next segment.
#[test]
fn s9_what_is_kept_begins_with_a_batch() {
    every(|| {
        let log = Log::with(2, 1);
        let appender = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                log.append(2);
                log.append(1);
                log.retire();
            }
        });
        let first = log.segments.first();
        assert!(first == 0 || first == 3, "{first} is within a batch");
        appender.join().unwrap();
        assert_eq!(log.segments.first(), 3);
        assert_eq!(
            log.segments.first_location(),
            Location::new(1, HEADER_BYTES)
        );
    });
}

#[test]
fn s9_edge_kept_what_is_kept_knows_its_first_position() {
    every(ask_what_is_kept);
}

#[test]
#[should_panic(expected = "what is kept knows its first position")]
fn s9_edge_kept_twin_without_release() {
    weakened(Weakness::NoRelease("kept"), || every(ask_what_is_kept));
}

#[test]
#[should_panic(expected = "what is kept knows its first position")]
fn s9_edge_kept_twin_without_acquire() {
    weakened(Weakness::NoAcquire("kept"), || every(ask_what_is_kept));
}

/// A reader is overtaken by retention, and asks where it can go on.
fn overtake(retire: fn(&Log)) {
    let log = Log::with(1, 2);
    let retirer = thread::spawn({
        let log = Arc::clone(&log);
        move || retire(&log)
    });
    let segment = log.segments.get(0).unwrap();
    if segment.pin() {
        segment.unpin();
    } else {
        assert!(log.segments.first() > 0, "what is gone is below the first");
    }
    retirer.join().unwrap();
}

/// The same in a walk.
#[test]
fn s9_a_walk_is_overtaken_and_goes_on() {
    every(|| {
        let log = Log::with(1, 2);
        let retirer = thread::spawn({
            let log = Arc::clone(&log);
            move || log.retire()
        });
        let (mut held, mut cursor) = (Held::default(), Cursor::default());
        let mut watermark = log.segments.watermark();
        match held.step(&log.segments, &mut cursor, watermark) {
            Step::Gone => {
                let first = log.segments.first();
                assert_eq!(first, 1, "what is gone is below the first");
                assert_eq!(held.end(&log.segments, &mut watermark), 2);
                let location = held.locate(&log.segments, first, watermark).unwrap();
                assert_eq!(held.at(&log.segments, location).unwrap().header.position, 1);
            }
            Step::Record(found) => assert_eq!(found.header.position, 0),
            Step::End => panic!("two are committed"),
        }
        held.release(&log.segments);
        retirer.join().unwrap();
    });
}

#[test]
fn s9_edge_retire_who_is_overtaken_learns_where_to_go_on() {
    every(|| overtake(Log::retire));
}

#[test]
#[should_panic(expected = "what is gone is below the first")]
fn s9_edge_retire_twin_without_release() {
    weakened(Weakness::NoRelease("retire"), || {
        every(|| overtake(Log::retire));
    });
}

#[test]
#[should_panic(expected = "what is gone is below the first")]
fn s9_edge_retire_twin_without_acquire() {
    weakened(Weakness::NoAcquire("retire"), || {
        every(|| overtake(Log::retire));
    });
}

#[test]
#[should_panic(expected = "what is gone is below the first")]
fn s9_twin_that_retires_before_it_says_what_is_kept() {
    every(|| overtake(|log| log.segments.get(0).unwrap().retire()));
}
