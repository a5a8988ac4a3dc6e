//! Metadata in forms. It is free-form, and people put credentials of other services there (LiteLLM's own logging
//! callbacks do): values that look secret are masked, and a mask that comes back stands for what was there.

use serde_json::{Map, Value};

use crate::domain::redact;

const MASK: &str = "(secret, kept)";

/// The metadata as a form shows it; empty where there is none.
pub(super) fn to_text(metadata: &Map<String, Value>) -> String {
    if metadata.is_empty() {
        return String::new();
    }
    serde_json::to_string_pretty(&masked(&Value::Object(metadata.clone()), false)).unwrap_or_default()
}

fn masked(value: &Value, is_secret: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                (name.clone(), masked(value, is_secret || redact::is_secret_name(name)))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(item, is_secret)).collect()),
        Value::String(text) if is_secret && !text.is_empty() || redact::addresses(text) != *text => {
            Value::String(MASK.to_owned())
        }
        other => other.clone(),
    }
}

pub(super) fn from_text(text: &str, old: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let typed: Value = serde_json::from_str(text)
        .map_err(|error| format!("This is not JSON: line {}, column {}.", error.line(), error.column()))?;
    let Value::Object(typed) = typed else {
        return Err("Metadata is a JSON object: {\"name\": \"value\"}.".to_owned());
    };
    match unmasked(Value::Object(typed), Some(&Value::Object(old.clone()))) {
        Some(Value::Object(whole)) => Ok(whole),
        _ => Err(format!("“{MASK}” stands where there was no secret. Write the value itself.")),
    }
}

fn unmasked(value: Value, old: Option<&Value>) -> Option<Value> {
    Some(match value {
        Value::String(text) if text == MASK => old.filter(|old| old.is_string())?.clone(),
        Value::Object(fields) => {
            let mut whole = Map::new();
            for (name, value) in fields {
                let old = old.and_then(|old| old.get(&name));
                whole.insert(name, unmasked(value, old)?);
            }
            Value::Object(whole)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            let whole = items.map(|(at, item)| unmasked(item, old.and_then(|old| old.get(at))));
            Value::Array(whole.collect::<Option<_>>()?)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_and_come_back() {
        let Value::Object(old) = json!({
            "team": "core",
            "langfuse_secret_key": "hush-1",
            "nested": [{ "password": "hush-2" }, "sk-1234567890"],
        }) else {
            panic!("no object");
        };
        let text = to_text(&old);
        assert!(!text.contains("hush") && !text.contains("sk-1") && text.contains("core"), "{text}");
        assert_eq!(from_text(&text, &old), Ok(old.clone()));
        let changed = from_text(&text.replace("core", "edge"), &old).unwrap();
        assert_eq!((&changed["team"], &changed["langfuse_secret_key"]), (&json!("edge"), &json!("hush-1")));
        assert!(from_text(&text, &Map::new()).is_err(), "a mask over nothing");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["[1]", "{", "\"x\"", "{\"a\": nope}"] {
            assert!(from_text(bad, &Map::new()).is_err(), "{bad}");
        }
        assert_eq!(from_text("  ", &Map::new()), Ok(Map::new()));
    }
}
