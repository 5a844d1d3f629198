//! Values of a record as text: what may be a type, a key or a time.

use super::time;
use serde_json::{Number, Value};

/// The text of a value that can be a name or a key; nothing for null.
///
/// # Errors
/// Objects and arrays are neither, nor are whole numbers that are not kept exactly: two keys could become one.
pub(super) fn of(value: &Value, what: &str) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(value) => Ok(Some(value.to_string())),
        Value::Number(value) if is_inexact(value) => Err(format!(
            "{what} is about {value}, a whole number too large to be kept exactly; quote it"
        )),
        Value::Number(value) => Ok(Some(value.to_string())),
        Value::Array(_) => Err(format!(
            "{what} is an array; name a field with a single value"
        )),
        Value::Object(_) => Err(format!(
            "{what} is an object; name a field with a single value"
        )),
    }
}

/// Whether a number may stand for several: integers beyond 64 bits are read as floats.
fn is_inexact(number: &Number) -> bool {
    const EXACT_BELOW: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    number.is_f64()
        && number
            .as_f64()
            .is_some_and(|value| value.abs() >= EXACT_BELOW)
}

/// The time that a value tells, in nanoseconds since 1970; nothing for null.
///
/// # Errors
/// It is neither RFC 3339 nor an epoch integer.
pub(super) fn time_ns_of(value: &Value) -> Result<Option<i128>, String> {
    match of(value, "the time")? {
        None => Ok(None),
        Some(text) => time::parse(&text).map(Some),
    }
}
