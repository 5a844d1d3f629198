//! The grammar of CloudEvents 1.0 in JSON format, checked as strictly as the specification reads.
//!
//! An event is looked at attribute by attribute; what its data are is the reader's business. Every reader of
//! CloudEvents around here, the store's import and the command's, goes by this one grammar.

use serde_json::{Map, Value};

/// Attributes that every event has.
pub const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

const NS_PER_S: i128 = 1_000_000_000;

/// Checks an event: the attributes that it must have, and of each one that it has the name, the type and the form. `data` may
/// be anything and is not looked at.
///
/// ```
/// let event = serde_json::json!({"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.placed"});
/// ringbolt::store::cloudevents::check(event.as_object().unwrap())?;
/// let event = serde_json::json!({"specversion": "1.0", "id": "1", "source": "no uri", "type": "order.placed"});
/// let refused = ringbolt::store::cloudevents::check(event.as_object().unwrap());
/// assert_eq!(refused.unwrap_err(), "source \"no uri\" is not a URI reference");
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(event: &Map<String, Value>) -> Result<(), String> {
    for name in REQUIRED {
        required(event, name)?;
    }
    match &event["specversion"] {
        Value::String(version) if version == "1.0" => {}
        other => return Err(format!("specversion is {other}, only \"1.0\" is known")),
    }
    let data_count = ["data", "data_base64"]
        .iter()
        .filter(|name| present(event, name).is_some())
        .count();
    if data_count == 2 {
        return Err("has both data and data_base64, which exclude each other".to_owned());
    }
    for (name, value) in event {
        match name.as_str() {
            "data" => continue,
            "data_base64" => {
                if !value.is_null() {
                    let Value::String(text) = value else {
                        return Err(format!("data_base64 is {value}, which is not a string"));
                    };
                    decode_base64(text)?;
                }
                continue;
            }
            _ => attribute_name(name)?,
        }
        // Null stands for an attribute that is not there.
        if !value.is_null() {
            attribute(name, value)?;
        }
    }
    Ok(())
}

/// Checks the value of one attribute.
pub(super) fn attribute(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "specversion" | "id" | "type" | "subject" | "partitionkey" => {
            string(name, value).map(|_| ())
        }
        "source" => uri_reference(name, string(name, value)?),
        "dataschema" => absolute_uri(name, string(name, value)?),
        "datacontenttype" => media_type(string(name, value)?),
        "time" => time_ns(string(name, value)?).map(|_| ()),
        _ => extension(name, value),
    }
}

fn present<'a>(event: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    event.get(name).filter(|value| !value.is_null())
}

fn required(event: &Map<String, Value>, name: &str) -> Result<(), String> {
    match present(event, name) {
        None => Err(format!("has no {name}, which a CloudEvent must have")),
        Some(value) => string(name, value).map(|_| ()),
    }
}

/// A string that is not empty and has no control characters.
fn string<'a>(name: &str, value: &'a Value) -> Result<&'a str, String> {
    let Value::String(text) = value else {
        return Err(format!("{name} is {value}, which is not a string"));
    };
    if text.is_empty() {
        return Err(format!("{name} is empty"));
    }
    no_controls(name, text)?;
    Ok(text)
}

fn no_controls(name: &str, text: &str) -> Result<(), String> {
    match text.chars().find(|char| char.is_control()) {
        Some(char) => Err(format!("{name} has the control character {char:?}")),
        None => Ok(()),
    }
}

pub(super) fn attribute_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(());
    }
    Err(format!(
        "attribute name {name:?} has something else than a-z and 0-9"
    ))
}

/// Extension attributes are booleans, strings or integers of 32 bits.
fn extension(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Bool(_) | Value::Null => Ok(()),
        Value::String(text) => no_controls(name, text),
        Value::Number(number) => match number.as_i64().map(i32::try_from) {
            Some(Ok(_)) => Ok(()),
            _ => Err(format!(
                "extension {name} is {number}, which is no integer of 32 bits"
            )),
        },
        Value::Array(_) | Value::Object(_) => Err(format!(
            "extension {name} is neither boolean, integer nor string"
        )),
    }
}

/// The characters of RFC 3986, with `%` only before two hexadecimal digits.
fn uri_reference(name: &str, text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let fits = |(place, byte): (usize, &u8)| match byte {
        b'%' => bytes
            .get(place + 1..place + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    };
    // Beyond ASCII strictly it is an IRI; producers write them, and no reader is misled.
    if bytes
        .iter()
        .enumerate()
        .all(|(place, byte)| !byte.is_ascii() || fits((place, byte)))
    {
        return Ok(());
    }
    Err(format!("{name} {text:?} is not a URI reference"))
}

fn absolute_uri(name: &str, text: &str) -> Result<(), String> {
    uri_reference(name, text)?;
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.as_bytes());
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    match scheme {
        Some([first, rest @ ..]) if first.is_ascii_alphabetic() && rest.iter().all(fits) => Ok(()),
        _ => Err(format!("{name} {text:?} is not an absolute URI")),
    }
}

/// `type/subtype`, and `; name=value` or `; name="value"` as often as wanted (RFC 2046).
fn media_type(text: &str) -> Result<(), String> {
    let refused = || format!("datacontenttype {text:?} is not a media type (as application/json)");
    let (main, mut rest) = text
        .split_once(';')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    let (kind, subtype) = main.trim().split_once('/').ok_or_else(refused)?;
    if !is_token(kind) || !is_token(subtype) {
        return Err(refused());
    }
    while let Some(parameter) = rest {
        let (name, value) = parameter.split_once('=').ok_or_else(refused)?;
        if !is_token(name.trim()) {
            return Err(refused());
        }
        let value = value.trim_start();
        let behind = if let Some(quoted) = value.strip_prefix('"') {
            let end = end_of_quoted(quoted).ok_or_else(refused)?;
            &quoted[end + 1..]
        } else {
            let end = value.find(';').unwrap_or(value.len());
            if !is_token(value[..end].trim_end()) {
                return Err(refused());
            }
            &value[end..]
        };
        rest = match behind.trim_start() {
            "" => None,
            more => Some(more.strip_prefix(';').ok_or_else(refused)?),
        };
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Where the closing quote is.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// The bytes of base64 with padding (RFC 4648).
pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let refused = || "data_base64 is not base64 with padding".to_owned();
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 || !text.len().is_multiple_of(4) {
        return Err(refused());
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in &text[..text.len() - padding] {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(refused()),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

/// Base64 with padding (RFC 4648).
pub(super) fn encode_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let digit = bits >> (18 - 6 * place) & 63;
                text.push(char::from(DIGITS[digit as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Nanoseconds since 1970 of an RFC 3339 time; what is finer is cut off, and a leap second is the second before it.
///
/// # Errors
/// Anything that RFC 3339 does not allow, though ISO 8601 may: no seconds, an offset without minutes or out of range, no
/// offset; and days that there are not.
pub fn time_ns(text: &str) -> Result<i128, String> {
    instant(text.as_bytes())
        .ok_or_else(|| format!("time {text:?} is not RFC 3339 (as 2018-04-05T17:31:00Z)"))
}

fn instant(text: &[u8]) -> Option<i128> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let (fixed, rest) = text.split_at_checked(SHAPE.len())?;
    let fits = |part: &[u8], pattern: &[u8]| {
        part.len() == pattern.len()
            && part.iter().zip(pattern).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't' | b' '),
                _ => byte == wanted,
            })
    };
    if !fits(fixed, SHAPE) {
        return None;
    }
    let number = |digits: &[u8]| {
        let add = |sum: i64, digit: &u8| sum * 10 + i64::from(digit - b'0');
        digits.iter().fold(0, add)
    };
    let (year, month, day) = (
        number(&fixed[..4]),
        number(&fixed[5..7]),
        number(&fixed[8..10]),
    );
    let (hour, minute, second) = (
        number(&fixed[11..13]),
        number(&fixed[14..16]),
        number(&fixed[17..]),
    );
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ns, offset) = match rest {
        [b'.', digits @ ..] => {
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit());
            let (digits, offset) = digits.split_at(count.count());
            if digits.is_empty() {
                return None;
            }
            let kept = &digits[..digits.len().min(9)];
            (number(kept) * 10_i64.pow(9 - kept.len() as u32), offset)
        }
        _ => (0, rest),
    };
    let offset_s = match offset {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), offset @ ..] if fits(offset, b"00:00") => {
            let (hours, minutes) = (number(&offset[..2]), number(&offset[3..]));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds =
        day_number(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second.min(59)
            - offset_s;
    Some(i128::from(seconds) * NS_PER_S + i128::from(fraction_ns))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Howard Hinnant, `days_from_civil`): years begin in March, so that
/// a leap day is the last of its year, and eras have 400 of them.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// RFC 3339 in UTC with nine digits of a second (the day by Howard Hinnant's `civil_from_days`).
pub(super) fn time_text(ns: u64) -> String {
    let (seconds, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_and_written() {
        let at_ns = 1_522_949_460_000_000_000;
        for (text, ns) in [
            ("2018-04-05T17:31:00Z", at_ns),
            ("2018-04-05t18:31:00.5+01:00", at_ns + 500_000_000),
            ("2018-04-05 16:31:00.0000000019999-01:00", at_ns + 1),
            ("1969-12-31T23:59:59Z", -NS_PER_S),
            ("2016-12-31T23:59:60Z", 1_483_228_799 * NS_PER_S),
            ("2000-02-29T00:00:00Z", 951_782_400 * NS_PER_S),
            ("0000-01-01T00:00:00Z", -62_167_219_200 * NS_PER_S),
        ] {
            assert_eq!(time_ns(text), Ok(ns), "{text}");
        }
        for text in [
            "",
            "2018-04-05",
            "2018-04-05T18:31Z",
            "2018-02-29T18:31:00Z",
            "1900-02-29T18:31:00Z",
            "2018-04-31T18:31:00Z",
            "2018-00-01T18:31:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T18:31:61Z",
            "2018-04-05T18:31:00.Z",
            "2018-04-05T18:31:00+24:00",
            "2018-04-05T18:31:00+05:60",
            "2018-04-05T18:31:00+05",
            "2018-04-05T18:31:00ZZ",
            "2018-04-05T18:31:00",
        ] {
            assert!(time_ns(text).is_err(), "{text}");
        }
        assert_eq!(time_text(at_ns as u64), "2018-04-05T17:31:00.000000000Z");
        assert_eq!(time_text(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn every_day_comes_back() {
        // Beyond two eras of 400 years, each day once.
        for day in 0..213_503 {
            let ns = day * 86_400_000_000_000 + 1;
            assert_eq!(time_ns(&time_text(ns)), Ok(i128::from(ns)));
        }
    }

    proptest! {
        #[test]
        fn times_come_back(ns: u64) {
            prop_assert_eq!(time_ns(&time_text(ns)), Ok(i128::from(ns)));
        }

        #[test]
        fn base64_comes_back(bytes: Vec<u8>) {
            let text = encode_base64(&bytes);
            prop_assert_eq!(decode_base64(&text), Ok(bytes));
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC*") {
            let _ = (time_ns(&text), decode_base64(&text));
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode_base64(bytes.as_bytes()), text);
            assert_eq!(decode_base64(text), Ok(bytes.as_bytes().to_vec()));
        }
        for text in ["Zg=", "Z===", "Zg==Zg==", "Zm9v\n", "Zm9-", "===="] {
            assert!(decode_base64(text).is_err(), "{text}");
        }
    }
}
