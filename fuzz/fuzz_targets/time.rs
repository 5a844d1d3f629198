//! Times: what is read is what a strict reader reads.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some((ns, number_ns)) = ringbolt_fuzz::time(text) else {
        return;
    };
    if let Some(number_ns) = number_ns {
        assert_eq!(ns, number_ns, "{text}");
    } else if let Ok(strict) = text.parse::<jiff::Timestamp>() {
        // A stricter reader may refuse what is read here, and then there is nothing to compare.
        assert_eq!(ns, strict.as_nanosecond(), "{text}");
    }
});
