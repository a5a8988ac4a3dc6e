//! Reads fields whose type a proxy may change from one release to the next. A value of another type counts as
//! absent, so that one odd row does not cost the whole registry; nothing is kept of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a scalar may be read as.
pub(super) trait Scalar: Sized {
    fn from_text(_: &str) -> Option<Self> {
        None
    }
    fn from_number(_: f64) -> Option<Self> {
        None
    }
    fn from_flag(_: bool) -> Option<Self> {
        None
    }
}

impl Scalar for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Scalar for f64 {
    fn from_number(number: f64) -> Option<Self> {
        Some(number)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl Scalar for u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within 0 and 2^53"
    )]
    fn from_number(number: f64) -> Option<Self> {
        (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for bool {
    fn from_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

/// For `#[serde(deserialize_with)]`, beside `#[serde(default)]`.
pub(super) fn scalar<'de, D: Deserializer<'de>, T: Scalar>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Take(PhantomData))
}

struct Take<T>(PhantomData<T>);

#[expect(clippy::cast_precision_loss, reason = "numbers beyond 2^53 mean nothing in the fields read here")]
impl<'de, T: Scalar> Visitor<'de> for Take<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::from_flag(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::from_number(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::from_number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(T::from_number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(text))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A list of texts; other entries, and anything that is no list, are left out.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    from.deserialize_any(TakeTexts)
}

struct TakeTexts;

impl<'de> Visitor<'de> for TakeTexts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element_seed(OneText)? {
            texts.extend(text);
        }
        Ok(texts)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }
}

struct OneText;

impl<'de> serde::de::DeserializeSeed<'de> for OneText {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        scalar(from)
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
}
