//! Watching a run: the progress line, and the intervals of the log.
//!
//! A thread of its own reads the engine's report now and then; where stderr is no terminal and no report
//! directory is wanted there is no such thread.

use crate::console::Console;
use crate::report::Directory;
use crate::summary::grouped;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use ringbolt::Handle;
use ringbolt::metrics::readable_ns;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two progress lines.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Length of an interval of the log.
const INTERVAL: Duration = Duration::from_secs(1);

/// The progress line, where there is somebody to look at it.
pub(crate) fn progress_line() -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{spinner} {msg}").ok()?;
    Some(ProgressBar::new_spinner().with_style(style))
}

/// The console around a progress line, if there is one.
pub(crate) fn console_of(progress: Option<&ProgressBar>) -> Console {
    progress
        .cloned()
        .map_or_else(Console::default, Console::with_progress)
}

/// A watching thread.
pub(crate) struct Monitor {
    /// Dropped to end it.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<Option<Directory>>>>,
}

impl Monitor {
    /// Starts watching, if there is anything to do.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(
        system: Handle,
        progress: Option<ProgressBar>,
        directory: Option<Directory>,
    ) -> io::Result<Self> {
        if progress.is_none() && directory.is_none() {
            return Ok(Self {
                end: None,
                thread: None,
            });
        }
        let (end, ended) = channel::<()>();
        let thread = thread::Builder::new().spawn(move || {
            let mut watch = Watch {
                system,
                progress,
                directory,
                handled: 0,
                at: Instant::now(),
            };
            let tick = if watch.progress.is_some() {
                PROGRESS_EVERY
            } else {
                INTERVAL
            };
            let mut next_interval = Instant::now() + INTERVAL;
            while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                let is_due = Instant::now() >= next_interval;
                watch.look(is_due)?;
                if is_due {
                    next_interval += INTERVAL;
                }
            }
            if let Some(progress) = watch.progress {
                progress.finish_and_clear();
            }
            Ok(watch.directory)
        })?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Ends the thread and gives the directory back.
    ///
    /// # Errors
    /// The interval log could not be written.
    pub(crate) fn finish(self) -> Result<Option<Directory>> {
        let Self { end, thread } = self;
        drop(end);
        match thread.map(JoinHandle::join) {
            None => Ok(None),
            Some(Ok(directory)) => directory,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

struct Watch {
    system: Handle,
    progress: Option<ProgressBar>,
    directory: Option<Directory>,
    /// Handled when it was last looked at, and when that was.
    handled: u64,
    at: Instant,
}

impl Watch {
    fn look(&mut self, is_interval_due: bool) -> Result<()> {
        let report = self.system.report();
        if let Some(progress) = &self.progress {
            let handled = report.totals.handled;
            let per_second =
                handled.saturating_sub(self.handled) as f64 / self.at.elapsed().as_secs_f64();
            progress.set_message(format!(
                "{} handled, {} a second, p99 {}",
                grouped(handled),
                grouped(per_second as u64),
                readable_ns(report.end_to_end.percentile(99.0))
            ));
            progress.tick();
            self.handled = handled;
            self.at = Instant::now();
        }
        match &mut self.directory {
            Some(directory) if is_interval_due => directory.interval(&report),
            _ => Ok(()),
        }
    }
}
