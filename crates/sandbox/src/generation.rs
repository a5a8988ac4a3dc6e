//! The imitated release of LiteLLM.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Generation {
    /// As 1.80.17 behaves.
    V1_80,
    /// As 1.109.1 behaves.
    #[default]
    V1_109,
}

#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown LiteLLM generation {0:?}: choose 1.80 or 1.109")]
pub struct UnknownGeneration(String);

impl Generation {
    /// The `param` of an error without one: the older proxy prints Python's `None` as a string.
    pub(super) fn no_param(self) -> Value {
        match self {
            Self::V1_80 => Value::from("None"),
            Self::V1_109 => Value::Null,
        }
    }

    pub(super) fn version(self) -> &'static str {
        match self {
            Self::V1_80 => "1.80.17",
            Self::V1_109 => "1.109.1",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_80 => "1.80",
            Self::V1_109 => "1.109",
        })
    }
}

impl FromStr for Generation {
    type Err = UnknownGeneration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.80" => Ok(Self::V1_80),
            "1.109" => Ok(Self::V1_109),
            other => Err(UnknownGeneration(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for generation in [Generation::V1_80, Generation::V1_109] {
            assert_eq!(generation.to_string().parse(), Ok(generation));
        }
        assert_eq!(Generation::default(), Generation::V1_109);
        assert!("1.8".parse::<Generation>().is_err());
    }
}
