//! Reading a capture: one message a line, `<nanoseconds when it was received> <the exchange's JSON>`, gzipped or plain.
//!
//! A capture is of one symbol. Every message names it but the snapshot, which is of the symbol named before it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use super::Result;
use super::events::{BookSnapshot, BookTicker, DepthDiff, Symbol, Trade};

/// One line of a capture.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) received_ns: u64,
    pub(crate) message: Message,
}

/// What the exchange sent.
#[derive(Debug)]
pub(crate) enum Message {
    Snapshot(BookSnapshot),
    Diff(DepthDiff),
    Ticker(BookTicker),
    Trade(Trade),
}

/// The records of a file, in its order. Faults do not name it: who names the file knows it.
pub(crate) fn open(path: &Path) -> Result<impl Iterator<Item = Result<Record>>> {
    let lines = unzipped(BufReader::new(File::open(path)?))?;
    Ok(read(lines))
}

/// The text of `input`, which is gzipped if it begins like that.
pub(crate) fn unzipped(mut input: impl BufRead + 'static) -> Result<Box<dyn BufRead>> {
    Ok(if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(MultiGzDecoder::new(input)))
    } else {
        Box::new(input)
    })
}

/// The records of a text, in its order. What cannot be read is an error that names its line.
pub(crate) fn read(input: impl BufRead) -> impl Iterator<Item = Result<Record>> {
    let mut symbol = None;
    input.lines().zip(1..).map(move |(line, number)| {
        line.map_err(Into::into)
            .and_then(|line| parse(&line, &mut symbol))
            .map_err(|fault| format!("line {number}: {fault}").into())
    })
}

/// Reads one line; `symbol` is the one named by the lines before.
fn parse(line: &str, symbol: &mut Option<Symbol>) -> Result<Record> {
    /// The frame around a message: which stream it is of. A snapshot has none.
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(borrow)]
        stream: Option<&'a str>,
    }

    let (received, json) = line
        .split_once(' ')
        .ok_or("is not a receive time, a space and a message")?;
    let received_ns = received
        .parse()
        .map_err(|_| format!("{received:?} is no receive time in nanoseconds"))?;
    let stream = serde_json::from_str::<Frame<'_>>(json)?.stream;
    let message = match stream.map(kind) {
        None => {
            let mut snapshot: BookSnapshot = serde_json::from_str(json)?;
            snapshot.symbol = symbol.ok_or("a snapshot before any message that names a symbol")?;
            return Ok(Record {
                received_ns,
                message: Message::Snapshot(snapshot),
            });
        }
        Some("depth") => Message::Diff(data(json)?),
        Some("bookTicker") => Message::Ticker(data(json)?),
        Some("trade") => Message::Trade(data(json)?),
        Some(other) => {
            return Err(format!("stream {other:?} is none of depth, bookTicker, trade").into());
        }
    };
    let named = message.symbol();
    if *symbol.get_or_insert(named) != named {
        return Err(format!(
            "{named} in a capture of another symbol (capture each to a file of its own)"
        )
        .into());
    }
    Ok(Record {
        received_ns,
        message,
    })
}

/// `depth` of `btcusdt@depth@100ms`.
fn kind(stream: &str) -> &str {
    stream.split('@').nth(1).unwrap_or(stream)
}

/// The message in its frame, straight into the event's type.
fn data<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    #[derive(Deserialize)]
    struct Frame<T> {
        data: T,
    }

    Ok(serde_json::from_str::<Frame<T>>(json)?.data)
}

impl Message {
    pub(crate) fn symbol(&self) -> Symbol {
        match self {
            Self::Snapshot(snapshot) => snapshot.symbol,
            Self::Diff(diff) => diff.symbol,
            Self::Ticker(ticker) => ticker.symbol,
            Self::Trade(trade) => trade.symbol,
        }
    }
}
