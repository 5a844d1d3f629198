//! The order book of the example, kept as a projection from the log: on its sample, and on a real capture where there is one.
//!
//! The live book takes in the capture as it comes. The projected one must be the same at every update that the exchange's
//! ticker tells of as well, rebuilt while appends go on, and killed and resumed wherever it is.

#![cfg(feature = "macros")]

#[path = "../examples/order_book/mod.rs"]
#[allow(dead_code, reason = "the example has more than is used here")]
mod order_book;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use order_book::book::{Book, Summary};
use order_book::capture::{self, Message, Record};
use order_book::events::{BookSnapshot, BookTicker, Decimal, DepthDiff, Level, Symbol, Trade};
use order_book::{Result, replay};
use ringbolt::projection::{MemoryCheckpoints, Projection, ProjectionHandle, Rebuilt, SaveEvery};
use ringbolt::store::{EventStore, ExpectedVersion};
use ringbolt::{AsKey, Codec, Event, Key};

const SAMPLE: &str = include_str!("../examples/data/made_up.txt");
/// A recording of an exchange's feed; it lies beside the project's folder, if anywhere.
const REAL: &str = "../shared/data/binance/spot_btcusdt_20240808.gz";
/// Long enough for any machine; nobody waits for it where all is well.
const LONG: Duration = Duration::from_secs(60);

/// A message as it is stored: the example's events exist in memory only.
#[derive(Debug, Clone)]
struct Stored<T>(Arc<T>);

/// How the parts of a message become bytes and come back.
trait Wire: Sized {
    fn put(&self, bytes: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

impl Wire for u64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self::from_le_bytes(*number))
    }
}

impl Wire for Decimal {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.0.cast_unsigned().put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        u64::take(bytes).map(|number| Self(number.cast_signed()))
    }
}

impl Wire for Symbol {
    fn put(&self, bytes: &mut Vec<u8>) {
        let name = self.to_string();
        (name.len() as u64).put(bytes);
        bytes.extend_from_slice(name.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = u64::take(bytes)?;
        let (name, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
        *bytes = rest;
        Self::try_from(std::str::from_utf8(name).ok()?).ok()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        (self.len() as u64).put(bytes);
        self.iter().for_each(|part| part.put(bytes));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = u64::take(bytes)?;
        (0..length).map(|_| T::take(bytes)).collect()
    }
}

macro_rules! wire {
    ($type:ident { $($field:ident),* }) => {
        impl Wire for $type {
            fn put(&self, bytes: &mut Vec<u8>) {
                $(self.$field.put(bytes);)*
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Wire::take(bytes)?),* })
            }
        }
    };
    ($type:ident as $name:literal { $($field:ident),* }) => {
        wire!($type { $($field),* });

        impl Event for Stored<$type> {
            const NAME: &'static str = $name;

            fn key(&self) -> Key<'_> {
                self.0.symbol.as_key()
            }

            fn codec() -> Option<Codec<Self>> {
                Some(Codec::bytes(
                    |stored, bytes| {
                        stored.0.put(bytes);
                        Ok(())
                    },
                    |mut bytes| match Wire::take(&mut bytes) {
                        Some(message) if bytes.is_empty() => Ok(Self(Arc::new(message))),
                        _ => Err("not the bytes of a message".to_owned()),
                    },
                ))
            }
        }
    };
}

wire!(Level { price, quantity });
wire!(BookSnapshot as "stored.snapshot" { symbol, update_id, bids, asks });
wire!(DepthDiff as "stored.diff" { symbol, first_update_id, last_update_id, bids, asks });
wire!(BookTicker as "stored.ticker" {
    symbol, update_id, bid_price, bid_quantity, ask_price, ask_quantity
});
wire!(Trade as "stored.trade" { symbol, id, price, quantity });

/// What the log gets.
enum Entry {
    Snapshot(Stored<BookSnapshot>),
    Diff(Stored<DepthDiff>),
    Ticker(Stored<BookTicker>),
    Trade(Stored<Trade>),
}

impl Entry {
    fn append(&self, store: &EventStore) -> u64 {
        let any = ExpectedVersion::Any;
        let appended = match self {
            Self::Snapshot(snapshot) => store.append("book", any, snapshot),
            Self::Diff(diff) => store.append("book", any, diff),
            Self::Ticker(ticker) => store.append("ticker", any, ticker),
            Self::Trade(trade) => store.append("trades", any, trade),
        };
        appended.expect("there is room").last_position
    }

    fn tell(&self, book: &mut Book) {
        match self {
            Self::Snapshot(snapshot) => book.begin(&snapshot.0),
            Self::Diff(diff) => book.change(&diff.0),
            Self::Ticker(ticker) => book.check(&ticker.0),
            Self::Trade(trade) => book.trade(&trade.0),
        }
    }
}

type Books = BTreeMap<Symbol, Book>;

fn books() -> Projection<Books> {
    fn of(books: &mut Books, symbol: Symbol) -> &mut Book {
        books.entry(symbol).or_default()
    }
    Projection::new("books", Books::new())
        .on::<Stored<BookSnapshot>>(|books, event, _| of(books, event.0.symbol).begin(&event.0))
        .on::<Stored<DepthDiff>>(|books, event, _| of(books, event.0.symbol).change(&event.0))
        .on::<Stored<BookTicker>>(|books, event, _| of(books, event.0.symbol).check(&event.0))
        .on::<Stored<Trade>>(|books, event, _| of(books, event.0.symbol).trade(&event.0))
        .batch(64)
}

/// A capture with what the live book said of it.
struct Feed {
    symbol: Symbol,
    entries: Vec<Entry>,
    /// By position, the live book after a record at whose update both it and the ticker have a say.
    shared: BTreeMap<u64, Summary>,
    live: Book,
}

fn feed(records: Vec<Record>) -> Feed {
    let symbol = records[0].message.symbol();
    let mut live = Book::default();
    let mut shared = BTreeMap::new();
    let mut entries = Vec::new();
    for (position, record) in (0..).zip(records) {
        let entry = match record.message {
            Message::Snapshot(snapshot) => Entry::Snapshot(Stored(Arc::new(snapshot))),
            Message::Diff(diff) => Entry::Diff(Stored(Arc::new(diff))),
            Message::Ticker(ticker) => Entry::Ticker(Stored(Arc::new(ticker))),
            Message::Trade(trade) => Entry::Trade(Stored(Arc::new(trade))),
        };
        let before = Summary::of(symbol, &live).seen.shared;
        entry.tell(&mut live);
        entries.push(entry);
        let summary = Summary::of(symbol, &live);
        if summary.seen.shared > before {
            shared.insert(position, summary);
        }
    }
    Feed {
        symbol,
        entries,
        shared,
        live,
    }
}

fn sample() -> Vec<Record> {
    capture::read(SAMPLE.as_bytes())
        .collect::<Result<_>>()
        .expect("a capture")
}

/// The sample, and the real capture where it is.
fn feeds() -> Vec<Feed> {
    let mut feeds = vec![feed(sample())];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
    if path.exists() {
        let records = capture::open(&path).expect("the file is there");
        let real = feed(records.collect::<Result<_>>().expect("a capture"));
        assert_eq!((real.entries.len(), real.shared.len()), (41_249, 564));
        feeds.push(real);
    } else {
        // Not `eprintln!`, which the test harness keeps to itself when a test passes.
        let told = writeln!(
            std::io::stderr(),
            "NOT RUN: the real capture is not here ({REAL}); only the made-up sample was checked"
        );
        told.expect("stderr takes a line");
    }
    feeds
}

fn summary(handle: &ProjectionHandle<Books>, feed: &Feed) -> Option<Summary> {
    handle.read(|books, _| {
        let book = books.get(&feed.symbol)?;
        Some(Summary::of(feed.symbol, book))
    })
}

/// The whole book, and not only what a summary tells of it.
fn assert_live(handle: &ProjectionHandle<Books>, feed: &Feed) {
    let last = feed.entries.len() as u64 - 1;
    assert!(handle.wait_for(last, LONG), "{:?}", handle.status());
    handle.read(|books, checkpoint| {
        assert_eq!(checkpoint, Some(last));
        assert!(books.get(&feed.symbol) == Some(&feed.live), "another book");
    });
    assert!(Summary::of(feed.symbol, &feed.live).is_right());
}

#[test]
fn the_projected_book_is_the_live_one_at_every_shared_update() {
    for feed in feeds() {
        let store = EventStore::new();
        let inline = store.project_inline(books()).expect("it starts");
        let threaded = store.project(books()).expect("it starts");
        let mut compared = 0;
        for entry in &feed.entries {
            let position = entry.append(&store);
            if let Some(live) = feed.shared.get(&position) {
                assert!(threaded.wait_for(position, LONG));
                for handle in [&inline, &threaded] {
                    assert_eq!(summary(handle, &feed).as_ref(), Some(live));
                }
                compared += 1;
            }
        }
        assert!(compared > 0 && compared == feed.shared.len());
        assert_live(&inline, &feed);
        assert_live(&threaded, &feed);
        // And by key, on two threads.
        let partitioned = store.project_partitioned(books(), 2).expect("it starts");
        assert!(partitioned.wait_for(feed.entries.len() as u64 - 1, LONG));
        partitioned.read_key(&feed.symbol, |books, _| {
            assert!(books.get(&feed.symbol) == Some(&feed.live), "another book");
        });
    }
}

#[test]
fn the_projected_book_is_the_one_that_the_engine_kept() {
    let kept = replay(sample().into_iter().map(Ok), 2, None).expect("a replay");
    let feed = feed(sample());
    assert_eq!(kept.summaries, [Summary::of(feed.symbol, &feed.live)]);
}

#[test]
fn pc6_rebuilt_while_appends_go_on_the_book_is_the_live_one() {
    for feed in feeds() {
        let store = EventStore::new();
        let handle = store.project(books()).expect("it starts");
        let end = feed.entries.len() as u64;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for entry in &feed.entries {
                    entry.append(&store);
                }
            });
            while store.reader().end() < end {
                let rebuilt = handle.rebuild().expect("none runs").wait();
                assert_eq!(rebuilt, Rebuilt::Swapped);
                // Wherever the view is, it is the live one of then.
                let (found, checkpoint) = handle.read(|books, checkpoint| {
                    let book = books.get(&feed.symbol);
                    (book.map(|book| Summary::of(feed.symbol, book)), checkpoint)
                });
                if let Some(live) = checkpoint.and_then(|position| feed.shared.get(&position)) {
                    assert_eq!(found.as_ref(), Some(live));
                }
            }
        });
        assert_live(&handle, &feed);
        assert_eq!(
            handle.rebuild().expect("none runs").wait(),
            Rebuilt::Swapped
        );
        assert_live(&handle, &feed);
    }
}

#[test]
fn pc1_killed_at_random_points_and_resumed_the_book_is_the_live_one() {
    for feed in feeds() {
        let store = EventStore::new();
        let saved = Arc::new(MemoryCheckpoints::<Books>::new());
        let every = SaveEvery::events(500);
        let start = || {
            let projection = books().checkpoints(Arc::clone(&saved) as Arc<_>, every);
            store.project(projection).expect("it starts")
        };
        // One goes on with what was saved last, the other with what it had when it was killed.
        let mut saving = start();
        let mut exporting = store.project(books()).expect("it starts");
        let mut seed = 11_u64;
        let mut kills = 0;
        for entry in &feed.entries {
            let position = entry.append(&store);
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if (seed >> 33).is_multiple_of(feed.entries.len() as u64 / 20) {
                kills += 1;
                drop(saving);
                saving = start();
                let kept = exporting.export().remove(0);
                drop(exporting);
                let resumed = books().resume_from(kept.0, kept.1);
                exporting = store.project(resumed).expect("it starts");
            }
            if let Some(live) = feed.shared.get(&position) {
                for handle in [&saving, &exporting] {
                    assert!(handle.wait_for(position, LONG));
                    assert_eq!(summary(handle, &feed).as_ref(), Some(live));
                }
            }
        }
        assert!(kills > 3, "{kills} kills");
        assert_live(&saving, &feed);
        assert_live(&exporting, &feed);
    }
}
