//! Fields whose type a proxy may change from one release to the next. A value of another type counts as missing, so
//! that one odd row does not cost the whole registry.
//!
//! `serde_with::DefaultOnError` copies each value into memory before it tries it, here 8 MB of a registry at every
//! level, and takes a list for a struct.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Most rows of a list: ten times what is normal for a registry.
const MAX_ROWS: usize = 10_000;

/// Longest [`Text`], in bytes: a longer one is no name, address or description.
const MAX_TEXT: usize = 16 * 1024;

/// A number (or one in a string), flag, string or list of strings; none if it is missing, null or something else.
#[derive(Default)]
pub(super) struct Lenient<T>(pub(super) Option<T>);

/// A string that is short enough for a page.
#[derive(Default)]
pub(super) struct Text(pub(super) Option<String>);

/// An object.
#[derive(Default)]
pub(super) struct Object<T>(pub(super) Option<T>);

/// A list of objects, with none in the place of anything else.
pub(super) struct Rows<T>(pub(super) Option<Vec<Option<T>>>);

/// The objects in a list.
#[derive(Default)]
pub(super) struct Objects<T>(pub(super) Vec<T>);

/// How a value is read; each form of JSON that is not overridden counts as missing.
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
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 2^53")]
    fn number(number: f64) -> Option<Self> {
        (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
    }
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Take<'_> for i64 {
    #[expect(clippy::cast_possible_truncation, reason = "within 32 bits")]
    fn number(number: f64) -> Option<Self> {
        (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number).then_some(number as i64)
    }
}

impl Take<'_> for bool {
    fn flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

/// Entries that are not strings are left out.
impl<'de> Take<'de> for Vec<String> {
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut texts = Self::new();
        while let Some(Lenient(text)) = seq.next_element()? {
            texts.extend::<Option<String>>(text);
        }
        Ok(Some(texts))
    }
}

struct Fields<T>(T);

impl<'de, T: Deserialize<'de>> Take<'de> for Fields<T> {
    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Some(Self(object)))
    }
}

struct Items<T>(Vec<Option<T>>);

impl<'de, T: Deserialize<'de>> Take<'de> for Items<T> {
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut rows = Vec::new();
        while let Some(Object(row)) = seq.next_element()? {
            if rows.len() == MAX_ROWS {
                return Err(A::Error::custom(format_args!("a list of more than {MAX_ROWS}")));
            }
            rows.push(row);
        }
        Ok(Some(Self(rows)))
    }
}

impl<'de, T: Take<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // As an option, since a missing field is read as one that is null.
        from.deserialize_option(Self(None))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Lenient(text) = Lenient::<String>::deserialize(from)?;
        Ok(Self(text.filter(|text| text.len() <= MAX_TEXT)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Lenient::deserialize(from)?.0.map(|Fields(object)| object)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Lenient::deserialize(from)?.0.map(|Items(rows)| rows)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Objects<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Rows::deserialize(from)?.0.into_iter().flatten().flatten().collect()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers beyond 2^53 mean nothing in the fields read here")]
impl<'de, T: Take<'de>> Visitor<'de> for Lenient<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_none<E>(self) -> Result<Self, E> {
        Ok(Self(None))
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self(None))
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(self)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self, E> {
        Ok(Self(T::flag(flag)))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self, E> {
        Ok(Self(T::number(number as f64)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self, E> {
        Ok(Self(T::number(number as f64)))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self, E> {
        Ok(Self(T::number(number)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        Ok(Self(T::text(text)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self, A::Error> {
        T::list(seq).map(Self)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self, A::Error> {
        T::object(map).map(Self)
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
        price: Lenient<f64>,
        tokens: Lenient<u64>,
        name: Text,
        groups: Lenient<Vec<String>>,
    }

    #[test]
    fn an_odd_value_costs_one_field_and_not_the_row() {
        let odd = r#"{"price":{"a":[1]},"tokens":-3,"name":7,"groups":["a",1,null,["b"],"c"]}"#;
        let row: Row = serde_json::from_str(odd).unwrap();
        assert_eq!((row.price.0, row.tokens.0, row.name.0), (None, None, None));
        assert_eq!(row.groups.0.unwrap(), ["a", "c"]);
        let near = r#"{"price":"1e-6","tokens":272000.0,"name":"n","groups":null}"#;
        let row: Row = serde_json::from_str(near).unwrap();
        assert_eq!(
            (row.price.0, row.tokens.0, row.name.0.as_deref()),
            (Some(1e-6), Some(272_000), Some("n"))
        );
        assert!(row.groups.0.is_none());
        let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(MAX_TEXT + 1));
        let row: Row = serde_json::from_str(&long).unwrap();
        assert!(row.name.0.is_none() && row.price.0.is_none(), "too long, and missing");
    }

    #[derive(Deserialize)]
    struct List {
        list: Rows<Row>,
        row: Object<Row>,
    }

    #[test]
    fn an_odd_row_costs_itself_and_not_the_list() {
        let odd = r#"{"list":[{"name":"a"},null,"b",[{"name":"c"}],{"name":"d"}],"row":[1,{"x":2}]}"#;
        let list: List = serde_json::from_str(odd).unwrap();
        let names: Vec<_> =
            list.list.0.unwrap().into_iter().map(|row| row.and_then(|row| row.name.0)).collect();
        assert_eq!(names, [Some("a".to_owned()), None, None, None, Some("d".to_owned())]);
        assert!(list.row.0.is_none());
        let none: List = serde_json::from_str(r#"{"list":{"a":[1]},"row":null}"#).unwrap();
        assert!(none.list.0.is_none() && none.row.0.is_none());
    }
}
