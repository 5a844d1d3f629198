//! What the check programs share: an engine's life with everything going on at once, and the books that are kept of it.
//!
//! Each program in `bin` looks at such lives in another way: `stress` under ThreadSanitizer, `history` with a record of
//! every publish and every call, `perf soak` for long; `stress` looks at logs of stored events too. `realtime` and `faults` need no life: the one looks at single calls,
//! the other only shows that AddressSanitizer is at work.

pub mod arguments;
pub mod book;
pub mod history;
pub mod item;
pub mod life;
pub mod log;
pub mod random;
pub mod settings;
pub mod watch;
pub mod watchdog;
