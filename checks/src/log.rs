//! A store's life: threads that append in every way, readers that follow and readers that look about, retention behind them.

use crate::random::Random;
use crate::watchdog::Watchdog;
use parking_lot::Mutex;
use ringbolt::store::{
    AppendError, Draft, EventStore, ExpectedVersion, Query, ReadError, Reader, Retention,
    StreamState,
};
use ringbolt::{Codec, Event, EventId};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const APPENDERS: usize = 4;
const FOLLOWERS: usize = 2;
const VISITORS: usize = 2;
/// Streams of an appender: enough for the table of names to grow a few times.
const STREAMS: u64 = 100;

/// An event that knows who appended it, and as which of its own.
#[derive(Debug, PartialEq)]
struct Mark {
    appender: usize,
    number: u64,
    filler: String,
}

impl Event for Mark {
    const NAME: &'static str = "checks.mark";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(
            |mark| Ok(format!("{} {} {}", mark.appender, mark.number, mark.filler)),
            |text| {
                let mut words = text.split(' ');
                let mut number = || {
                    words
                        .next()
                        .and_then(|word| word.parse().ok())
                        .ok_or("no number")
                };
                let (appender, number) = (number()? as usize, number()?);
                let filler = words.next().ok_or("no filler")?.to_owned();
                Ok(Self {
                    appender,
                    number,
                    filler,
                })
            },
        ))
    }
}

/// What has come of it.
#[derive(Debug, Default)]
pub struct Account {
    /// Records of the log at its end.
    pub records: u64,
    /// Records that followers have read.
    pub read: u64,
    /// How often retention has overtaken one.
    pub overtaken: u64,
    /// What was not as promised.
    pub wrong: Vec<String>,
}

/// One log under way.
struct Life {
    store: EventStore,
    is_over: AtomicBool,
    appending: AtomicUsize,
    account: Mutex<Account>,
}

/// Lives for so long and tells what has come of it.
pub fn live(random: &mut Random, length: Duration, watchdog: &Watchdog) -> Account {
    let retention = match random.below(3) {
        0 => Retention::everything(),
        1 => Retention::default().events(random.below(300)),
        _ => Retention::default().bytes(50_000),
    };
    let life = Life {
        store: EventStore::builder()
            .segment_bytes(random.pick(&[4_096, 8_192, 65_536]))
            .retention(retention)
            .populate(random.percent(50))
            .build()
            .expect("the settings are good"),
        is_over: AtomicBool::new(false),
        appending: AtomicUsize::new(APPENDERS),
        account: Mutex::default(),
    };
    watchdog.says("a log begins");
    // The first hash of a key makes the seeds behind a lock of the standard library's, which ThreadSanitizer does not see
    // into: so it is made before there are threads.
    let first = Mark {
        appender: 0,
        number: 0,
        filler: String::new(),
    };
    let _ = Draft::new(&first).key("a name");
    std::thread::scope(|scope| {
        let life = &life;
        let mut threads = Vec::new();
        for appender in 0..APPENDERS {
            let random = random.fork();
            threads.push(scope.spawn(move || life.append(appender, random)));
        }
        for _ in 0..FOLLOWERS {
            let random = random.fork();
            threads.push(scope.spawn(move || life.follow(random)));
        }
        for _ in 0..VISITORS {
            let random = random.fork();
            threads.push(scope.spawn(move || life.visit(random)));
        }
        let end = Instant::now() + length;
        while Instant::now() < end {
            // A position that is never reached: it waits its time, among those whom appends wake.
            let _ = life.store.wait(u64::MAX, Duration::from_millis(20));
            life.store.retain();
        }
        life.is_over.store(true, Ordering::Relaxed);
        // One by one: ThreadSanitizer sees a join, and not how a scope waits.
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    });
    watchdog.says("a log has ended");
    let mut account = life.account.into_inner();
    account.records = life.store.reader().end();
    account
}

impl Life {
    fn wrong(&self, what: String) {
        self.account.lock().wrong.push(what);
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn append(&self, appender: usize, mut random: Random) {
        let mut number = 0;
        while self.goes_on() {
            let stream = format!("stream-{appender}-{}", random.below(STREAMS));
            let count = match random.below(100) {
                0..80 => 1,
                80..95 => 1 + random.below(5),
                95..98 => 1 + random.below(60),
                98 => {
                    self.mark(&stream, &mut random);
                    continue;
                }
                _ => 0,
            };
            let marks: Vec<Mark> = (number..number + count)
                .map(|number| Mark {
                    appender,
                    number,
                    filler: "x".repeat(random.below(40) as usize),
                })
                .collect();
            let mut batch = self.store.batch();
            for mark in &marks {
                let id = (appender as u128 + 1) << 64 | u128::from(mark.number);
                let draft = Draft::new(mark).id(EventId::from_u128(id).expect("it is not 0"));
                let stream = if random.percent(10) {
                    "shared"
                } else {
                    &stream
                };
                batch.push(stream, draft).expect("it can be encoded");
            }
            if random.percent(30) {
                let expected = match self.store.stream_state(&stream) {
                    StreamState::At(version) => ExpectedVersion::Exact(version),
                    _ => ExpectedVersion::NoStream,
                };
                batch
                    .expect(stream.as_str(), expected)
                    .expect("it is the first");
            }
            match batch.commit() {
                Ok(done) if done.is_duplicate => self.wrong(format!("{stream}: was never there")),
                Ok(_) => number += count,
                // The stream was deleted.
                Err(AppendError::Conflict(_)) => {}
                Err(other) => self.wrong(format!("{stream}: {other}")),
            }
        }
        self.appending.fetch_sub(1, Ordering::Release);
    }

    fn mark(&self, stream: &str, random: &mut Random) {
        if random.percent(30) {
            let _ = self.store.delete(stream, ExpectedVersion::Any);
        } else if let StreamState::At(version) = self.store.stream_state(stream) {
            let _ = self.store.truncate(stream, random.below(version + 2));
        }
    }

    /// Sees each position once and in order, or is told where to go on.
    fn follow(&self, mut random: Random) {
        let mut reader = self.store.reader();
        let (mut next, mut read, mut overtaken) = (0, 0, 0);
        let mut seen = [None; APPENDERS];
        loop {
            let is_last = self.appending.load(Ordering::Acquire) == 0;
            match self.read_on(&reader, &mut next, &mut seen) {
                Ok(count) => read += count,
                Err(error) => {
                    let Some(first) = error.truncated().filter(|&first| first > next) else {
                        return self.wrong(format!("at {next}: {error}"));
                    };
                    (next, seen, overtaken) = (first, [None; APPENDERS], overtaken + 1);
                    continue;
                }
            }
            reader.release();
            if is_last && next == reader.end() {
                break;
            }
            // One that dawdles, so that retention overtakes it.
            let ahead = if random.percent(20) {
                random.below(2_000)
            } else {
                0
            };
            let _ = self.store.wait(next + ahead, Duration::from_millis(10));
        }
        let mut account = self.account.lock();
        account.read += read;
        account.overtaken += overtaken;
    }

    fn read_on(
        &self,
        reader: &Reader,
        next: &mut u64,
        seen: &mut [Option<u64>; APPENDERS],
    ) -> Result<u64, ReadError> {
        let from = *next;
        let mut left = 0;
        for record in reader.read(Query::all().from(from).with_marks())? {
            let record = record?;
            if record.position() != *next {
                self.wrong(format!("{} instead of {next}", record.position()));
            }
            *next = record.position() + 1;
            left = record.batch_left();
            if record.is_mark() {
                continue;
            }
            let mark = record.decode::<Mark>()?;
            let last = &mut seen[mark.appender];
            if last.is_some_and(|last| last + 1 != mark.number) {
                self.wrong(format!("{mark:?} behind {last:?}"));
            }
            *last = Some(mark.number);
        }
        if left > 0 {
            self.wrong(format!("{left} of a batch are missing before {next}"));
        }
        Ok(*next - from)
    }

    /// Looks here and there.
    fn visit(&self, mut random: Random) {
        let mut pin = None;
        while self.goes_on() {
            let reader = self.store.reader();
            let end = reader.end();
            let stream = format!(
                "stream-{}-{}",
                random.below(APPENDERS as u64),
                random.below(STREAMS)
            );
            match random.below(6) {
                0 => {
                    if let Some(record) = reader.latest(&stream)
                        && record.stream() != stream
                    {
                        self.wrong(format!("the latest of {stream} is {record:?}"));
                    }
                }
                1 => self.look(
                    &reader,
                    Query::stream(stream.as_str()),
                    Some(stream.as_str()),
                ),
                2 => self.look(
                    &reader,
                    Query::stream(stream.as_str()).backward().limit(3),
                    Some(stream.as_str()),
                ),
                3 => {
                    pin = None;
                    self.look(&reader, Query::all().backward().limit(50), None);
                }
                4 => pin = self.store.pin(random.below(end + 1)).ok(),
                _ => {
                    let position = random.below(end + 1);
                    match reader.get(position) {
                        Ok(Some(record)) if record.position() != position => {
                            self.wrong(format!("{record:?} at {position}"));
                        }
                        Err(error) if error.truncated().is_none_or(|first| first <= position) => {
                            self.wrong(format!("at {position}: {error}"));
                        }
                        _ => {}
                    }
                }
            }
        }
        drop(pin);
    }

    fn look(&self, reader: &Reader, query: Query, stream: Option<&str>) {
        let Ok(records) = reader.read(query) else {
            return;
        };
        for record in records.map_while(Result::ok) {
            let is_foreign = stream.is_some_and(|stream| stream != record.stream());
            if is_foreign || record.decode::<Mark>().is_err() {
                self.wrong(format!("{record:?} instead of one of {stream:?}"));
            }
        }
    }
}
