//! JSON lines and batches: whatever comes, records or reasons; outside arrays, one for each line.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (names, text) = data;
    // What is packed is another target's.
    if text.starts_with(&[0x1F, 0x8B]) {
        return;
    }
    let results = ringbolt_fuzz::read(text, ".jsonl", names);
    if !text.contains(&b'[') {
        let text = text.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(text);
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace));
        assert_eq!(results.len(), lines.count(), "one result for each line");
    }
});
