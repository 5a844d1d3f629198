//! The classic percentile table (`.hgrm`), as the HdrHistogram tools print and plot it.
//!
//! Callers may rely on: byte for byte what the reference implementation's
//! `outputPercentileDistribution` prints for the same histogram, its rounding and its float
//! arithmetic included (but for the last digits of numbers of 17 and more, which differ between
//! releases of its platform too). For counts beyond 2^53, where the reference gives up, the last line
//! is still the maximum at 1.0.
//!
//! Numbers are rounded as the reference's platform does it: the shortest decimal text that reads back
//! as the number, half up. Rust's `{:.12}` rounds the exact value, half to even, and is often off by
//! one in the last place, as levels are sums of powers of two and ties common.

use super::latency::{Bucket, Latency};
use std::io::{self, Write};

/// Nanoseconds per printed unit for a table in microseconds.
pub const MICROSECONDS: f64 = 1_000.0;

/// Nanoseconds per printed unit for a table in milliseconds, the reference tools' default.
pub const MILLISECONDS: f64 = 1_000_000.0;

/// Lines per halving of the distance to 100 %, the reference tools' default.
pub const TICKS_PER_HALF: u32 = 5;

/// Writes the percentile table of `latency` to `writer`. Values are divided by `unit_ratio`
/// ([`MILLISECONDS`] is usual); `ticks_per_half` ([`TICKS_PER_HALF`] is usual) is how many lines
/// there are between 0 and 50 %, between 50 and 75 %, and so on.
///
/// # Errors
///
/// Those of `writer`.
///
/// # Panics
///
/// If `unit_ratio` is not above 0, or `ticks_per_half` is 0.
pub fn write_percentiles(
    writer: &mut impl Write,
    latency: &Latency,
    unit_ratio: f64,
    ticks_per_half: u32,
) -> io::Result<()> {
    assert!(
        unit_ratio > 0.0,
        "percentile table: unit_ratio {unit_ratio} is not above 0"
    );
    assert!(
        ticks_per_half > 0,
        "percentile table: ticks_per_half is 0 (take {TICKS_PER_HALF})"
    );
    let digits = usize::from(latency.digits());
    let in_units = |ns: f64| decimal(ns / unit_ratio, digits);

    write!(
        writer,
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for line in lines(latency, ticks_per_half) {
        let value = in_units(line.value as f64);
        let quantile = decimal(line.level / 100.0, 12);
        write!(writer, "{value:>12} {quantile} {:>10}", line.count)?;
        if line.level == 100.0 {
            writeln!(writer)?;
        } else {
            let inverse = decimal(1.0 / (1.0 - line.level / 100.0), 2);
            writeln!(writer, " {inverse:>14}")?;
        }
    }
    writeln!(
        writer,
        "#[Mean    = {:>12}, StdDeviation   = {:>12}]",
        in_units(latency.mean()),
        in_units(latency.std_deviation()),
    )?;
    writeln!(
        writer,
        "#[Max     = {:>12}, Total count    = {:>12}]",
        in_units(latency.max() as f64),
        latency.count(),
    )?;
    // Twice the values that the digits can tell apart, up to a power of two.
    let sub_buckets = (2 * 10_u32.pow(u32::from(latency.digits()))).next_power_of_two();
    writeln!(
        writer,
        "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]",
        latency.histogram().buckets(),
    )
}

/// One line of the table: `count` values are at or below `value`, which are `level` in 100 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    value: u64,
    level: f64,
    count: u64,
}

/// The lines of the table: a line for the first bucket to reach each level, and one for the maximum.
fn lines(latency: &Latency, ticks_per_half: u32) -> Vec<Line> {
    let total = latency.count();
    let mut lines = Vec::new();
    let mut level = 0.0;
    let mut count = 0_u64;
    let mut buckets = latency.buckets().peekable();
    while let Some(Bucket {
        highest: value,
        count: added,
        ..
    }) = buckets.next()
    {
        count = count.saturating_add(added);
        if buckets.peek().is_none() {
            // The last bucket gets the level it was reached at, then 100 at once. It is known by
            // being the last: a comparison with the total comes out true too early where counts
            // saturate or are rounded.
            if level < 100.0 {
                lines.push(Line {
                    value,
                    level,
                    count,
                });
            }
            lines.push(Line {
                value,
                level: 100.0,
                count,
            });
            break;
        }
        while level < 100.0 && 100.0 * count as f64 / total as f64 >= level {
            lines.push(Line {
                value,
                level,
                count,
            });
            level = next_level(level, ticks_per_half);
        }
    }
    lines
}

/// The level after `level`: as many equal ticks up to half the distance to 100 as before it.
/// At least 100 when ticks have become too small for a float.
fn next_level(level: f64, ticks_per_half: u32) -> f64 {
    let halvings = ((100.0 / (100.0 - level)).ln() / 2.0_f64.ln()) as i32;
    let ticks = f64::from(ticks_per_half) * 2.0_f64.powi(halvings + 1);
    let next = level + 100.0 / ticks;
    if next > level { next } else { 100.0 }
}

/// `value` with `places` decimal places, its shortest decimal text rounded half up.
/// Finite and not negative.
fn decimal(value: f64, places: usize) -> String {
    debug_assert!(
        value.is_finite() && value >= 0.0,
        "{value} in a percentile table"
    );
    // "d.ddde±x" is the shortest text that reads back as the value; without its point the digits
    // count 10^(x + 1 - digits).
    let text = format!("{value:e}");
    let (mantissa, exponent) = text
        .split_once('e')
        .expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    let mut digits: Vec<u8> = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|b| b - b'0')
        .collect();

    // How many of the digits stand before the end of the last place.
    let kept = 1 + i64::from(exponent) + places as i64;
    if kept < 0 {
        digits.clear();
    } else {
        let kept = kept as usize;
        let round_up = digits.get(kept).is_some_and(|&digit| digit >= 5);
        digits.resize(kept, 0);
        if round_up {
            carry(&mut digits);
        }
    }
    // At least one digit before the point.
    while digits.len() < places + 1 {
        digits.insert(0, 0);
    }
    let mut out: String = digits
        .iter()
        .map(|&digit| char::from(b'0' + digit))
        .collect();
    if places > 0 {
        out.insert(out.len() - places, '.');
    }
    out
}

/// Adds one to the last of the decimal `digits`.
fn carry(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
}

#[cfg(test)]
mod tests;
