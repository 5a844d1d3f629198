//! The files of `store` that carry its protocol: segments and the walk through them, names, indexes, types, the bell.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the engine uses all of it, the models what they are about"
)]

#[path = "../../src/store/bell.rs"]
pub(crate) mod bell;
#[path = "../../src/store/chunks.rs"]
mod chunks;
#[path = "../../src/store/error.rs"]
mod error;
#[path = "../../src/store/expected.rs"]
mod expected;
#[path = "../../src/store/header.rs"]
pub(crate) mod header;
#[path = "../../src/store/kinds.rs"]
pub(crate) mod kinds;
#[path = "../../src/store/location.rs"]
pub(crate) mod location;
#[path = "../../src/store/segment.rs"]
pub(crate) mod segment;
#[path = "../../src/store/segments.rs"]
pub(crate) mod segments;
#[path = "../../src/store/streams.rs"]
pub(crate) mod streams;
#[path = "../../src/store/walk.rs"]
pub(crate) mod walk;

pub(crate) use error::AppendError;
