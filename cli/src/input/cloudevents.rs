//! CloudEvents 1.0 in JSON format, checked as strictly as the specification reads.

use super::{Record, time};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Whether an object means to be a CloudEvent: it says so, or it has the other three attributes that
/// every one must have, as the strings that they must be.
pub(super) fn claims_to_be(object: &Map<String, Value>) -> bool {
    object.contains_key("specversion")
        || REQUIRED[1..]
            .iter()
            .all(|name| object.get(*name).is_some_and(Value::is_string))
}

/// The record of an event, or the reason why it is none. The key is `partitionkey`, else `subject`.
pub(super) fn record(
    value: Value,
    intern: &mut impl FnMut(&str) -> Arc<str>,
) -> Result<Record, String> {
    let Value::Object(event) = &value else {
        return Err("is not an object, as a CloudEvent must be".to_owned());
    };
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
    let mut time_ns = None;
    for (name, value) in event {
        match name.as_str() {
            "data" => continue,
            "data_base64" => {
                base64(value)?;
                continue;
            }
            _ => attribute_name(name)?,
        }
        // Null stands for an attribute that is not there.
        if value.is_null() {
            continue;
        }
        match name.as_str() {
            "specversion" | "id" | "type" => {}
            "source" => uri_reference(name, string(name, value)?)?,
            "dataschema" => absolute_uri(name, string(name, value)?)?,
            "subject" | "partitionkey" => {
                string(name, value)?;
            }
            "datacontenttype" => media_type(string(name, value)?)?,
            "time" => time_ns = Some(time::rfc3339(string(name, value)?)?),
            _ => extension(name, value)?,
        }
    }
    let text = |name| present(event, name).and_then(Value::as_str);
    let event_type = intern(text("type").unwrap_or_default());
    let key = text("partitionkey")
        .or_else(|| text("subject"))
        .map(Into::into);
    Ok(Record {
        event_type,
        key,
        time_ns,
        data: value,
    })
}

fn present<'a>(event: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    event.get(name).filter(|value| !value.is_null())
}

fn required(event: &Map<String, Value>, name: &str) -> Result<(), String> {
    match present(event, name) {
        None => Err(format!(
            "has no {name}, which a CloudEvent must have (to read it as plain JSON, name a field with --type, --key or --time)"
        )),
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

fn attribute_name(name: &str) -> Result<(), String> {
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

/// Base64 with padding (RFC 4648).
fn base64(value: &Value) -> Result<(), String> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::String(text) => text.as_bytes(),
        other => return Err(format!("data_base64 is {other}, which is not a string")),
    };
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if padding <= 2 && text.len() % 4 == 0 && digits.iter().all(fits) {
        return Ok(());
    }
    Err("data_base64 is not base64 with padding".to_owned())
}
