//! Ends a process that hangs, with a word about where.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing takes this long unless it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(180);

/// What was said last, and when.
type Last = (Instant, String);

/// A watchdog that runs until the process ends.
#[derive(Debug, Clone)]
pub struct Watchdog(Arc<Mutex<Last>>);

impl Watchdog {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let last = Arc::new(Mutex::new((Instant::now(), "started".to_owned())));
        let watched = Arc::clone(&last);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let (since, what) = &*watched.lock();
                if since.elapsed() > SILENCE_MAX {
                    eprintln!("hangs: {what}, {} s ago", since.elapsed().as_secs());
                    std::process::exit(1);
                }
            }
        });
        Self(last)
    }

    /// Says that something goes on.
    pub fn says(&self, what: impl Into<String>) {
        *self.0.lock() = (Instant::now(), what.into());
    }
}
