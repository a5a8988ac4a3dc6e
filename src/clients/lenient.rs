//! Reads fields whose type a proxy may change from one release to the next. A value of another type counts as
//! absent, so that one odd row does not cost the whole registry; nothing is kept of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

/// Most rows of a list: ten times what is normal for a registry.
const MAX_ROWS: usize = 10_000;

/// Longest text of a field that is kept, in bytes: a longer one is no name, address or description.
const MAX_TEXT: usize = 16 * 1024;

/// What a field is read as; each form of JSON that is not overridden counts as absent.
pub(super) trait Take<'de>: Sized {
    fn text(_: &str) -> Option<Self> {
        None
    }
    fn number(_: f64) -> Option<Self> {
        None
    }
    fn flag(_: bool) -> Option<Self> {
        None
    }
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Take<'_> for String {
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Take<'_> for f64 {
    fn number(number: f64) -> Option<Self> {
        Some(number)
    }
    fn text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl Take<'_> for u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within 0 and 2^53"
    )]
    fn number(number: f64) -> Option<Self> {
        (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
    }
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Take<'_> for i64 {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within 32 bits")]
    fn number(number: f64) -> Option<Self> {
        (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number).then_some(number as i64)
    }
}

impl Take<'_> for bool {
    fn flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

/// The texts of a list; other entries are left out.
impl<'de> Take<'de> for Vec<String> {
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut texts = Self::new();
        while let Some(text) = seq.next_element_seed(Taking(PhantomData))? {
            texts.extend(text);
        }
        Ok(Some(texts))
    }
}

/// A text of a length that a page can show.
struct Short(String);

impl Take<'_> for Short {
    fn text(text: &str) -> Option<Self> {
        (text.len() <= MAX_TEXT).then(|| Self(text.to_owned()))
    }
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Take<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Some(Self(object)))
    }
}

struct Rows<T>(Vec<Option<T>>);

impl<'de, T: Deserialize<'de>> Take<'de> for Rows<T> {
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = seq.next_element_seed(Taking::<Object<T>>(PhantomData))? {
            if rows.len() == MAX_ROWS {
                return Err(A::Error::custom(format_args!("a list of more than {MAX_ROWS}")));
            }
            rows.push(row.map(|Object(row)| row));
        }
        Ok(Some(Self(rows)))
    }
}

/// A text, number, truth value or list of texts; none if it is something else. Like the functions below, for
/// `#[serde(deserialize_with)]` beside `#[serde(default)]`.
pub(super) fn scalar<'de, D: Deserializer<'de>, T: Take<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Taking(PhantomData).deserialize(from)
}

/// A text of a length that a page can show; none if it is something else.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(scalar(from)?.map(|Short(text)| text))
}

/// The texts of a list; none if it is no list.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(scalar(from)?.unwrap_or_default())
}

/// An object; none if it is something else.
pub(super) fn object<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(scalar(from)?.map(|Object(object)| object))
}

/// A list of objects, with none in the place of whatever else is in it; none if it is no list.
pub(super) fn rows<'de, D, T>(from: D) -> Result<Option<Vec<Option<T>>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(scalar(from)?.map(|Rows(rows)| rows))
}

/// The objects of a list; none if it is no list.
pub(super) fn objects<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(rows(from)?.into_iter().flatten().flatten().collect())
}

struct Taking<T>(PhantomData<T>);

impl<'de, T: Take<'de>> DeserializeSeed<'de> for Taking<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers beyond 2^53 mean nothing in the fields read here")]
impl<'de, T: Take<'de>> Visitor<'de> for Taking<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::flag(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::number(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(T::number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::text(text))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::list(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::object(map)
    }
}

/// About how many bytes a value takes in memory: the first field of an object takes 640.
pub(super) fn memory_of(value: &Value) -> usize {
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(memory_of).sum(),
        Value::Object(fields) => {
            640 + fields.iter().map(|(name, value)| name.len() + 24 + memory_of(value)).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Row {
        #[serde(default, deserialize_with = "scalar")]
        price: Option<f64>,
        #[serde(default, deserialize_with = "scalar")]
        tokens: Option<u64>,
        #[serde(default, deserialize_with = "scalar")]
        name: Option<String>,
        #[serde(default, deserialize_with = "texts")]
        groups: Vec<String>,
    }

    #[test]
    fn an_odd_value_costs_one_field_and_not_the_row() {
        let odd = r#"{"price":{"a":[1]},"tokens":-3,"name":7,"groups":["a",1,null,["b"],"c"]}"#;
        let row: Row = serde_json::from_str(odd).unwrap();
        assert_eq!((row.price, row.tokens, row.name), (None, None, None));
        assert_eq!(row.groups, ["a", "c"]);
        let near = r#"{"price":"1e-6","tokens":272000.0,"name":"n","groups":null}"#;
        let row: Row = serde_json::from_str(near).unwrap();
        assert_eq!((row.price, row.tokens, row.name.as_deref()), (Some(1e-6), Some(272_000), Some("n")));
        assert!(row.groups.is_empty());
    }

    #[derive(Deserialize)]
    struct List {
        #[serde(default, deserialize_with = "rows")]
        list: Option<Vec<Option<Row>>>,
        #[serde(default, deserialize_with = "object")]
        row: Option<Row>,
    }

    #[test]
    fn an_odd_row_costs_itself_and_not_the_list() {
        let odd = r#"{"list":[{"name":"a"},null,"b",[{"name":"c"}],{"name":"d"}],"row":[1,{"x":2}]}"#;
        let list: List = serde_json::from_str(odd).unwrap();
        let names: Vec<_> = list.list.unwrap().into_iter().map(|row| row.and_then(|row| row.name)).collect();
        assert_eq!(names, [Some("a".to_owned()), None, None, None, Some("d".to_owned())]);
        assert!(list.row.is_none());
        let none: List = serde_json::from_str(r#"{"list":{"a":[1]},"row":null}"#).unwrap();
        assert!(none.list.is_none() && none.row.is_none());
    }
}
