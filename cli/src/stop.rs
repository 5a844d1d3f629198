//! Stopping on a signal: the first asks for an orderly end, the second ends at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether the run should end, and why. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    signal: Arc<AtomicUsize>,
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to SIGINT and SIGTERM.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let code = exit_code(signal as usize);
            // Registered before the flag is: at the first signal the flag is still down and nothing
            // happens here; at the second it is up, and somebody who asks twice does not want to wait.
            flag::register_conditional_shutdown(signal, i32::from(code), Arc::clone(&stop.asked))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
            flag::register(signal, Arc::clone(&stop.asked))?;
        }
        Ok(stop)
    }

    /// Ends the run from inside, without a signal: somebody else has failed.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether the run should end now. Relaxed: it is looked at again and again, and nothing is read
    /// because of it.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The exit code that the signal asks for; `None` if there was no signal.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(exit_code(signal)),
        }
    }
}

/// 128 and the signal's number, as shells say it.
fn exit_code(signal: usize) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_from_inside_is_no_signal() {
        let stop = Stop::default();
        assert!(!stop.is_asked());
        stop.clone().ask();
        assert!(stop.is_asked());
        assert_eq!(stop.exit_code(), None);
        stop.signal.store(SIGINT as usize, Ordering::Relaxed);
        assert_eq!(stop.exit_code(), Some(130));
    }
}
