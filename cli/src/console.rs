//! What is said on stderr, around a progress line if there is one.

use indicatif::ProgressBar;
use std::io::Write as _;

/// The way to stderr. Clones share the progress line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    progress: Option<ProgressBar>,
}

impl Console {
    /// A console whose messages step around this line.
    pub(crate) fn with_progress(progress: ProgressBar) -> Self {
        Self {
            progress: Some(progress),
        }
    }

    /// A failure, in red where colours are welcome.
    pub(crate) fn complain(&self, message: &str) {
        self.say(&format!("\x1b[1;31merror:\x1b[0m {message}"));
    }

    /// Something that did not stop the run but should be known.
    pub(crate) fn warn(&self, message: &str) {
        self.say(&format!("\x1b[1;33mwarning:\x1b[0m {message}"));
    }

    fn say(&self, line: &str) {
        // Where stderr is closed or full nobody is listening; the run and its exit code go on as they are.
        let print = || {
            let _ = writeln!(anstream::stderr(), "{line}");
        };
        match &self.progress {
            Some(progress) => progress.suspend(print),
            None => print(),
        }
    }
}
