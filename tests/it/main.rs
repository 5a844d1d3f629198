//! The contract's promises, a file per chapter; every test is named after the promise it keeps.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads and read clocks of their own"
)]

mod breakers;
mod common;
mod dispatch;
mod edges;
mod errors;
mod letters;
mod projection;
mod publish;
mod retry;
mod stopping;
mod stored;
