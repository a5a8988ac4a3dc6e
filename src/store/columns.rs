//! Column types of both databases: domain types in text columns, JSON in text columns, times in milliseconds.
//!
//! `FromRow` is written by hand beside each query: sqlx's derive needs its macro crate, which builds both database
//! drivers a second time.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyTypeInfo, AnyValueRef};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Any, Database, Decode, Encode, Type};

use crate::domain::agent::{AgentName, Scope};
use crate::domain::calls::Endpoint;
use crate::domain::context::ContextId;
use crate::domain::job::{ItemState, JobState};
use crate::domain::key::KeyHash;
use crate::domain::model::ModelSpec;
use crate::domain::people::Source;
use crate::domain::role::Role;
use crate::domain::swap::Outcome;

/// Domain types that are read from text columns by their `FromStr`.
macro_rules! text_columns {
    ($($name:ty: $what:literal),+ $(,)?) => {$(
        impl Type<Any> for $name {
            fn type_info() -> AnyTypeInfo {
                <str as Type<Any>>::type_info()
            }
        }

        impl<'r> Decode<'r, Any> for $name {
            fn decode(value: AnyValueRef<'r>) -> Result<Self, BoxDynError> {
                let text = <&str as Decode<Any>>::decode(value)?;
                text.parse().map_err(|_| concat!("it is not ", $what).into())
            }
        }
    )+};
}

text_columns! {
    AgentName: "an agent name",
    ContextId: "a context id",
    Endpoint: "a route",
    ItemState: "the state of an item",
    JobState: "the state of a job",
    KeyHash: "a key hash",
    ModelSpec: "a model",
    Outcome: "an outcome",
    Role: "a role",
    Scope: "a scope",
    Source: "a source",
}

/// JSON in a text column.
pub(super) struct Json<T>(pub(super) T);

impl<T> Json<T> {
    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Type<Any> for Json<T> {
    fn type_info() -> AnyTypeInfo {
        <str as Type<Any>>::type_info()
    }
}

impl<T: Serialize> Encode<'_, Any> for Json<T> {
    fn encode_by_ref(&self, buffer: &mut <Any as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Any>::encode(serde_json::to_string(&self.0)?, buffer)
    }
}

impl<'r, T: DeserializeOwned> Decode<'r, Any> for Json<T> {
    fn decode(value: AnyValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(serde_json::from_str(<&str as Decode<Any>>::decode(value)?)?))
    }
}

/// A time in an integer column, in milliseconds since 1970 UTC.
pub(super) struct Millis(pub(super) Timestamp);

impl Type<Any> for Millis {
    fn type_info() -> AnyTypeInfo {
        <i64 as Type<Any>>::type_info()
    }

    fn compatible(found: &AnyTypeInfo) -> bool {
        <i64 as Type<Any>>::compatible(found)
    }
}

impl Encode<'_, Any> for Millis {
    fn encode_by_ref(&self, buffer: &mut <Any as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Any>::encode(self.0.as_millisecond(), buffer)
    }
}

impl<'r> Decode<'r, Any> for Millis {
    fn decode(value: AnyValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Timestamp::from_millisecond(<i64 as Decode<Any>>::decode(value)?)?))
    }
}

impl From<Millis> for Timestamp {
    fn from(Millis(at): Millis) -> Self {
        at
    }
}
