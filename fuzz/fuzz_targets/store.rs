//! Lines of events: whatever comes, a log that comes back the same, or reasons.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    ringbolt_fuzz::store(text);
});
