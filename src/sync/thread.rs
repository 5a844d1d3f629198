//! Threads: starting them, giving way, naming the current one, pinning.

use std::io;
pub(crate) use std::thread::{JoinHandle, ThreadId, yield_now};

/// Starts a named thread.
pub(crate) fn start(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body)
}

/// The identity of the calling thread.
pub(crate) fn current() -> ThreadId {
    std::thread::current().id()
}

/// How many threads can run at the same time here; 1 where nobody can tell.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Pins the calling thread to one processor.
#[cfg(target_os = "linux")]
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: an all-zero processor set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the processor's number lies inside the set, as checked above.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is initialised and its size is given; 0 names the calling thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Pins the calling thread to one processor.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_processor: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
