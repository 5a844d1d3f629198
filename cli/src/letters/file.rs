//! Reading a file of letters, line by line.

use super::line::Letter;
use crate::console::Console;
use crate::input::InputError;
use crate::summary::grouped;
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a line, as an import has it.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Bad lines that are described; more are only counted.
const DESCRIBED_MAX: u64 = 100;

/// A line that is not empty.
#[derive(Debug)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// As it was read, without its end.
    pub(crate) bytes: Vec<u8>,
    /// What it is, or what is wrong with it.
    pub(crate) letter: Result<Letter, String>,
}

/// The lines of a file, as they are read.
pub(crate) struct Lines {
    name: Arc<str>,
    from: Box<dyn BufRead>,
    number: u64,
}

impl Lines {
    /// Opens a file; `-` is stdin.
    ///
    /// # Errors
    /// It is not there, or may not be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                name: "stdin".into(),
                from: Box::new(io::stdin().lock()),
                number: 0,
            });
        }
        let name = path.display().to_string();
        let cannot = || format!("{name}: cannot open the letters");
        let is_dir = fs::metadata(path).with_context(cannot)?.is_dir();
        ensure!(!is_dir, "{name}: is a directory; name a file of letters");
        let file = File::open(path).with_context(cannot)?;
        Ok(Self {
            name: name.into(),
            from: Box::new(BufReader::new(file)),
            number: 0,
        })
    }

    /// The file's name as it was given.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn read_line(&mut self) -> Result<Option<Line>> {
        loop {
            self.number += 1;
            let (name, number) = (&self.name, self.number);
            let mut bytes = Vec::new();
            let read = (&mut self.from)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("{name}:{number}: cannot be read"))?;
            ensure!(
                (read as u64) < LINE_BYTES_MAX || bytes.ends_with(b"\n"),
                "{name}:{number}: is longer than {LINE_BYTES_MAX} bytes: this is no file of letters"
            );
            if read == 0 {
                return Ok(None);
            }
            while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                bytes.pop();
            }
            if !bytes.trim_ascii().is_empty() {
                let letter = Letter::of(&bytes);
                return Ok(Some(Line {
                    number,
                    bytes,
                    letter,
                }));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    /// An error is the last item: what is behind it cannot be read.
    fn next(&mut self) -> Option<Result<Line>> {
        self.read_line().transpose()
    }
}

/// Tells and counts the lines that are no letters.
#[derive(Debug)]
pub(crate) struct Complaints {
    file: Arc<str>,
    console: Console,
    count: u64,
}

impl Complaints {
    pub(crate) fn of(file: Arc<str>) -> Self {
        Self {
            file,
            console: Console::default(),
            count: 0,
        }
    }

    pub(crate) fn note(&mut self, line: u64, reason: &str) {
        self.count += 1;
        if self.count <= DESCRIBED_MAX {
            let error = InputError {
                file: Arc::clone(&self.file),
                line,
                reason: reason.to_owned(),
                is_last: false,
            };
            self.console.complain(&error.to_string());
        }
    }

    /// Whether there were any; says how many were not described.
    pub(crate) fn end(self) -> bool {
        if self.count > DESCRIBED_MAX {
            self.console.complain(&format!(
                "{} further lines are no letters",
                grouped(self.count - DESCRIBED_MAX)
            ));
        }
        self.count > 0
    }
}
