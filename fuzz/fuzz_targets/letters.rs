//! A line of a letters file: whatever comes, a letter that comes back the same, or a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    ringbolt_fuzz::letter(line);
});
