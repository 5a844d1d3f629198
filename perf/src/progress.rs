//! What is going on, in one line of stderr, where somebody may be looking.

use std::io::{self, IsTerminal, Write};

/// The line; it goes away with this value.
#[derive(Debug)]
pub(crate) struct Progress {
    is_watched: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            is_watched: io::stderr().is_terminal(),
        }
    }

    /// Replaces the line. Nothing is even put together where nobody looks.
    pub(crate) fn show(&self, text: impl FnOnce() -> String) {
        if self.is_watched {
            self.write(&text());
        }
    }

    fn write(&self, text: &str) {
        // A terminal that has gone is no reason to stop measuring.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_watched {
            self.write("");
        }
    }
}
