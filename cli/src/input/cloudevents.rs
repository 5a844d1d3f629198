//! CloudEvents 1.0 in JSON format, by the grammar that the store's import goes by as well.

use super::{Record, time};
use ringbolt::store::cloudevents::{REQUIRED, check};
use serde_json::{Map, Value};
use std::sync::Arc;

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
    check(event).map_err(|reason| {
        if reason.starts_with("has no ") {
            // It may not want to be one.
            return format!(
                "{reason} (to read it as plain JSON, name a field with --type, --key or --time)"
            );
        }
        reason
    })?;
    let text = |name| event.get(name).and_then(Value::as_str);
    let time_ns = text("time").map(time::rfc3339).transpose()?;
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
