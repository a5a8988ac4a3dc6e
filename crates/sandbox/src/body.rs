//! Request bodies and queries, checked as the proxy's framework checks them.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::generation::Generation;
use super::world::World;

pub(super) struct Body {
    pub(super) map: Map<String, Value>,
    generation: Generation,
    /// In bytes.
    pub(super) size: usize,
}

/// A field that may be missing, null or set: the three mean different things to an update.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field<T> {
    Missing,
    Null,
    Set(T),
}

impl<T> Field<T> {
    /// The value, if one was set.
    pub(super) fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Missing | Self::Null => None,
        }
    }

    /// Writes a set value and clears on null; a missing field changes nothing.
    pub(super) fn write(self, target: &mut Option<T>) {
        match self {
            Self::Missing => {}
            Self::Null => *target = None,
            Self::Set(value) => *target = Some(value),
        }
    }
}

impl FromRequest<World> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, world: &World) -> Result<Self, Self::Rejection> {
        let bytes = Bytes::from_request(request, world).await.map_err(IntoResponse::into_response)?;
        Self::parse(world.generation(), &bytes).map_err(IntoResponse::into_response)
    }
}

impl Body {
    fn parse(generation: Generation, bytes: &[u8]) -> Result<Self, Refusal> {
        let invalid = |kind, loc, msg, input| Refusal::validation(generation, kind, loc, msg, input);
        if bytes.is_empty() {
            return Err(invalid("missing", json!(["body"]), "Field required", Value::Null));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { map, generation, size: bytes.len() }),
            Ok(other) => Err(invalid(
                "model_attributes_type",
                json!(["body"]),
                "Input should be a valid dictionary or object to extract fields from",
                other,
            )),
            Err(error) => {
                let at = json!(["body", error.column()]);
                Err(invalid("json_invalid", at, "JSON decode error", json!({}))
                    .with_context(generation, json!({ "error": "Expecting value" })))
            }
        }
    }

    fn read<T>(
        &self,
        name: &str,
        kind: &str,
        msg: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Field<T>, Refusal> {
        match self.map.get(name) {
            None => Ok(Field::Missing),
            Some(Value::Null) => Ok(Field::Null),
            Some(value) => convert(value).map(Field::Set).ok_or_else(|| {
                Refusal::validation(self.generation, kind, json!(["body", name]), msg, value.clone())
            }),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Field<String>, Refusal> {
        self.read(name, "string_type", "Input should be a valid string", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    pub(super) fn float(&self, name: &str) -> Result<Field<f64>, Refusal> {
        self.read(
            name,
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
            |value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()),
        )
    }

    pub(super) fn integer(&self, name: &str) -> Result<Field<i64>, Refusal> {
        self.read(
            name,
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
            |value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()),
        )
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Field<bool>, Refusal> {
        self.read(
            name,
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
            Value::as_bool,
        )
    }

    pub(super) fn object(&self, name: &str) -> Result<Field<Map<String, Value>>, Refusal> {
        self.read(name, "dict_type", "Input should be a valid dictionary", |value| value.as_object().cloned())
    }

    pub(super) fn strings(&self, name: &str) -> Result<Field<Vec<String>>, Refusal> {
        self.read(name, "list_type", "Input should be a valid list", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        match self.string(name)? {
            Field::Set(value) => Ok(value),
            Field::Missing => Err(self.missing(name)),
            Field::Null => Err(Refusal::validation(
                self.generation,
                "string_type",
                json!(["body", name]),
                "Input should be a valid string",
                Value::Null,
            )),
        }
    }

    pub(super) fn missing(&self, name: &str) -> Refusal {
        let input = Value::Object(self.map.clone());
        Refusal::validation(self.generation, "missing", json!(["body", name]), "Field required", input)
    }

    /// A check on the whole body failed.
    pub(super) fn wrong(&self, message: &str) -> Refusal {
        let input = Value::Object(self.map.clone());
        let msg = format!("Value error, {message}");
        Refusal::validation(self.generation, "value_error", json!(["body"]), msg, input)
            .with_context(self.generation, json!({ "error": {} }))
    }
}

pub(super) type Query = axum::extract::Query<HashMap<String, String>>;

/// A whole number from the query, at least 1 and at most `most`.
pub(super) fn page(
    generation: Generation,
    query: &Query,
    name: &str,
    default: usize,
    most: usize,
) -> Result<usize, Refusal> {
    let Some(text) = query.get(name) else { return Ok(default) };
    let refuse =
        |kind, msg: String| Refusal::validation(generation, kind, json!(["query", name]), msg, json!(text));
    let Ok(value) = text.trim().parse::<i64>() else {
        let msg = "Input should be a valid integer, unable to parse string as an integer";
        return Err(refuse("int_parsing", msg.to_owned()));
    };
    match usize::try_from(value) {
        Ok(value) if value >= 1 && value <= most => Ok(value),
        Ok(value) if value >= 1 => {
            let msg = format!("Input should be less than or equal to {most}");
            Err(refuse("less_than_equal", msg).with_context(generation, json!({ "le": most })))
        }
        _ => {
            let msg = "Input should be greater than or equal to 1".to_owned();
            Err(refuse("greater_than_equal", msg).with_context(generation, json!({ "ge": 1 })))
        }
    }
}

/// A boolean from the query.
pub(super) fn flag(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes"))
}

/// A page of `items`: what was asked for and how many pages there are.
pub(super) fn slice<T>(items: &[T], page: usize, size: usize) -> (&[T], usize) {
    let start = page.saturating_sub(1).saturating_mul(size).min(items.len());
    let end = start.saturating_add(size).min(items.len());
    (&items[start..end], items.len().div_ceil(size))
}
