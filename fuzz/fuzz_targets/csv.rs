//! CSV: whatever comes, records or reasons.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (names, text) = data;
    let results = ringbolt_fuzz::read(text, ".csv", names);
    if !text.starts_with(&[0x1F, 0x8B]) {
        let line_count = text
            .iter()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .count();
        assert!(results.len() <= line_count + 1, "more rows than lines");
    }
});
