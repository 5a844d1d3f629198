//! A file without an ending: what it is, packed or not, is told by its first bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (names, text) = data;
    ringbolt_fuzz::read(text, "", names);
});
