//! Times in the input: RFC 3339, or integers since 1970.

use ringbolt::store::cloudevents::time_ns;

/// Integers below this are seconds (until the year 5138); each step of a thousand is the next unit.
const SECONDS_BELOW: u128 = 100_000_000_000;
const NS_PER_S: i128 = 1_000_000_000;

/// Nanoseconds since 1970 of a time in either form.
///
/// # Errors
/// Says what was expected.
pub(crate) fn parse(text: &str) -> Result<i128, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let value = text
            .parse()
            .map_err(|_| format!("time {text:?} is too large"))?;
        return Ok(epoch(value));
    }
    rfc3339(text)
}

/// Nanoseconds since 1970 of an integer in seconds, milliseconds, microseconds or nanoseconds, which
/// of them is told by its magnitude.
pub(crate) fn epoch(value: i64) -> i128 {
    let magnitude = u128::from(value.unsigned_abs());
    let unit = if magnitude < SECONDS_BELOW {
        NS_PER_S
    } else if magnitude < SECONDS_BELOW * 1_000 {
        1_000_000
    } else if magnitude < SECONDS_BELOW * 1_000_000 {
        1_000
    } else {
        1
    };
    i128::from(value) * unit
}

/// Nanoseconds since 1970 of an RFC 3339 time.
///
/// # Errors
/// Anything that RFC 3339 does not allow, though ISO 8601 may: no seconds, an offset without minutes or
/// out of range, no offset.
pub(crate) fn rfc3339(text: &str) -> Result<i128, String> {
    time_ns(text).map_err(|reason| format!("{reason} nor an epoch integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected_ns: Option<i128>) {
        assert_eq!(parse(text).ok(), expected_ns, "{text}");
    }

    #[test]
    fn rfc_3339_is_read() {
        let at_ns = 1_522_949_460_000_000_000;
        check("2018-04-05T17:31:00Z", Some(at_ns));
        check("2018-04-05t17:31:00z", Some(at_ns));
        check("2018-04-05 18:31:00+01:00", Some(at_ns));
        check("2018-04-05T16:31:00-01:00", Some(at_ns));
        check("2018-04-05T17:31:00.000000001Z", Some(at_ns + 1));
        check("2018-04-05T17:31:00.0000000019999Z", Some(at_ns + 1));
        check("1969-12-31T23:59:59Z", Some(-NS_PER_S));
    }

    #[test]
    fn what_only_looks_like_it_is_refused() {
        for text in [
            "",
            "-",
            "lunchtime",
            "2018-04-05",
            "2018-04-05T18:31Z",
            "2018-04-05T18:31:00",
            "2018-04-05T18:31:00X",
            "2018-04-05T18:31:00+25:00",
            "2018-04-05T18:31:00+05",
            "2018-04-05T18:31:00+xx:00",
            "2018-04-05T18:31:00+05:60",
            "2018-04-05T18:31:00.Z",
            "2018-02-30T18:31:00Z",
            "2018-04-05T24:31:00Z",
            "2018-04-05T18:31:00Z[UTC]",
            "1.5",
            "99999999999999999999",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn integers_tell_their_unit_by_their_magnitude() {
        let at_ns = 1_723_075_200_000_000_000;
        for unit in [1, 1_000, 1_000_000, 1_000_000_000] {
            check(&(at_ns / unit).to_string(), Some(at_ns));
        }
        check("0", Some(0));
        check("-1", Some(-NS_PER_S));
    }
}
