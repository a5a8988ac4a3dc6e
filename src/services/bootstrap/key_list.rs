//! The `keys:` section of a list: the proxy's fields, and `env`, the variable that holds the secret.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::domain::key::{Access, KeyHash, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set, span};
use crate::services::registry::{YamlError, read_document};

const MAX_KEYS: usize = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub struct KeySpec {
    pub alias: String,
    /// Names a key whose alias does not: it has none, or another key has it too.
    pub hash: Option<KeyHash>,
    /// The variable of the env file that holds its secret. Without one the key can be changed but not issued.
    pub target: Option<String>,
    /// `duration` counts from the issue.
    pub settings: KeyChanges,
    /// Further fields that only a new key gets.
    pub at_issue: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KeySpecError {
    #[error("is no mapping")]
    NoMapping,
    #[error("has no text as its key_alias")]
    NoAlias,
    #[error("has an empty key_alias")]
    EmptyAlias,
    #[error("({alias}) has {error}")]
    Field { alias: String, error: FieldError },
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FieldError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("a {0} that cannot be read")]
    Unreadable(&'static str),
    #[error("{0}, which is not known here")]
    Unknown(String),
}

/// Empty without a `keys:` section. An invalid entry does not affect the others.
pub fn read_keys(text: &str) -> Result<Vec<Result<KeySpec, KeySpecError>>, YamlError> {
    let Value::Object(mut document) = read_document(text)? else { return Ok(Vec::new()) };
    let keys = match document.remove("keys") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(keys)) if keys.len() <= MAX_KEYS => keys,
        Some(Value::Array(keys)) => {
            return Err(YamlError(format!("These are {} keys; at most {MAX_KEYS} are taken.", keys.len())));
        }
        Some(_) => return Err(YamlError("“keys:” is not a list.".to_owned())),
    };
    Ok(keys.into_iter().map(key_spec).collect())
}

fn key_spec(entry: Value) -> Result<KeySpec, KeySpecError> {
    let Value::Object(mut entry) = entry else { return Err(KeySpecError::NoMapping) };
    let hash = entry.remove("token").and_then(|hash| hash.as_str()?.parse::<KeyHash>().ok());
    let alias = match (entry.remove("key_alias"), &hash) {
        (Some(Value::String(alias)), _) => alias,
        (None, Some(hash)) => hash.as_str()[..12].to_owned(),
        _ => return Err(KeySpecError::NoAlias),
    };
    if alias.trim().is_empty() && hash.is_none() {
        return Err(KeySpecError::EmptyAlias);
    }
    match settings(entry) {
        Ok((target, settings)) => Ok(KeySpec { alias, hash, target, settings, at_issue: Map::new() }),
        Err(error) => Err(KeySpecError::Field { alias, error }),
    }
}

fn settings(mut entry: Map<String, Value>) -> Result<(Option<String>, KeyChanges), FieldError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let time = |value: &Value| value.as_str().filter(|text| span(text).is_some()).map(str::to_owned);
    // What an older proxy holds may be no period that this version knows.
    let period = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let invalid = FieldError::Invalid;
    let target = match entry.remove("env").unwrap_or_default() {
        Value::Null => None,
        Value::String(name) => Some(name),
        _ => return Err(invalid("an env that is not a name")),
    };
    if entry.contains_key("key") {
        return Err(invalid("a secret: name a variable of the env file, as env, and leave the secret there"));
    }
    let access = match entry.remove("models").unwrap_or_default() {
        Value::Null => None,
        Value::Array(models) => {
            let names: Option<Vec<String>> = models.iter().map(text).collect();
            Some(Access::from_models(names.ok_or(invalid("models that are not names"))?))
        }
        _ => return Err(invalid("models that are not a list")),
    };
    let settings = KeyChanges {
        alias: Set::Keep,
        access,
        max_budget: set(&mut entry, "max_budget", Value::as_f64)?,
        budget_duration: set(&mut entry, "budget_duration", period)?,
        duration: set(&mut entry, "duration", time)?,
        rpm_limit: set(&mut entry, "rpm_limit", Value::as_u64)?,
        tpm_limit: set(&mut entry, "tpm_limit", Value::as_u64)?,
        max_parallel_requests: set(&mut entry, "max_parallel_requests", Value::as_u64)?,
        user_id: set(&mut entry, "user_id", text)?,
        blocked: match entry.remove("blocked").unwrap_or_default() {
            Value::Null => None,
            Value::Bool(blocked) => Some(blocked),
            _ => return Err(invalid("a blocked that is neither true nor false")),
        },
        metadata: match entry.remove("metadata").unwrap_or_default() {
            Value::Null => None,
            Value::Object(metadata) => Some(metadata),
            _ => return Err(invalid("metadata that is not a mapping")),
        },
    };
    match entry.into_iter().next() {
        Some((other, _)) => Err(FieldError::Unknown(other)),
        None => Ok((target, settings)),
    }
}

fn set<T>(
    entry: &mut Map<String, Value>,
    name: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Set<T>, FieldError> {
    match entry.remove(name) {
        None => Ok(Set::Keep),
        Some(Value::Null) => Ok(Set::Clear),
        Some(value) => read(&value).map(Set::To).ok_or(FieldError::Unreadable(name)),
    }
}

/// A `keys:` section, without secrets. Keys that an alias does not name have their hash (`token`).
pub fn write_keys(keys: &[VirtualKey]) -> Value {
    let mut aliases: HashMap<&str, usize> = HashMap::new();
    for alias in keys.iter().filter_map(|key| key.alias.as_deref()) {
        *aliases.entry(alias).or_default() += 1;
    }
    let is_named = |alias: &str| !alias.trim().is_empty() && aliases.get(alias) == Some(&1);
    let written = keys.iter().map(|key| {
        let mut entry = Map::new();
        if let Some(alias) = &key.alias {
            entry.insert("key_alias".to_owned(), json!(alias));
        }
        if !key.alias.as_deref().is_some_and(is_named) {
            entry.insert("token".to_owned(), json!(key.hash));
        }
        entry.insert("models".to_owned(), json!(key.access.to_models()));
        let settings = [
            ("max_budget", json!(key.max_budget)),
            ("budget_duration", json!(key.budget_duration)),
            ("rpm_limit", json!(key.rpm_limit)),
            ("tpm_limit", json!(key.tpm_limit)),
            ("max_parallel_requests", json!(key.max_parallel_requests)),
            ("user_id", json!(key.user_id)),
            ("blocked", if key.blocked { json!(true) } else { Value::Null }),
        ];
        let set = settings.into_iter().filter(|(_, value)| !value.is_null());
        entry.extend(set.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(entry)
    });
    json!({ "keys": written.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::services::registry::write_document;

    fn any_key() -> impl Strategy<Value = VirtualKey> {
        let text = || {
            proptest::option::of(
                "\\PC{0,12}|[0-9]{1,4}|yes|null|~|1e3|0x1f|- a|# b|: c|a: b|2026-01-01|'\"|daily",
            )
        };
        let count = || proptest::option::of(0..u64::from(u32::MAX));
        let models = proptest::collection::vec(
            "[a-z/*.-]{1,8}|all-team-models|no-default-models|all-proxy-models|yes|1",
            0..4,
        );
        let money = proptest::option::of(prop_oneof![0.0..1e9_f64, Just(1e300), Just(1e-7), Just(0.0)]);
        (text(), models, (money, text()), [count(), count(), count()], text(), any::<bool>()).prop_map(
            |(
                alias,
                models,
                (max_budget, budget_duration),
                [rpm_limit, tpm_limit, most],
                user_id,
                blocked,
            )| VirtualKey {
                hash: "a".repeat(64).parse().unwrap(),
                alias,
                masked: String::new(),
                access: Access::from_models(models),
                spend: 0.0,
                max_budget,
                budget_duration: budget_duration.filter(|period| !period.trim().is_empty()),
                expires: None,
                rpm_limit,
                tpm_limit,
                max_parallel_requests: most,
                blocked,
                user_id,
                team_id: None,
                budget_limits: Vec::new(),
                access_group_ids: Vec::new(),
                aliases: BTreeMap::new(),
                is_custom: false,
                created_at: None,
                last_active: None,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What is exported changes nothing when it is applied to the same keys.
        #[test]
        fn exported_keys_change_nothing(keys in proptest::collection::vec(any_key(), 1..4)) {
            let keys: Vec<_> = keys.into_iter().enumerate().map(|(n, key)| VirtualKey {
                hash: format!("{n:064x}").parse().unwrap(), ..key
            }).collect();
            let text = write_document(&write_keys(&keys)).unwrap();
            let specs = read_keys(&text).unwrap();
            prop_assert_eq!(specs.len(), keys.len());
            for (spec, key) in specs.into_iter().zip(&keys) {
                let mut spec = spec.map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
                let is_it = match &spec.hash {
                    Some(hash) => *hash == key.hash,
                    None => keys.iter().filter(|other| other.alias.as_deref() == Some(&spec.alias)).count() == 1,
                };
                prop_assert!(is_it, "{}", text);
                let differences = spec.settings.against(key, &Map::new(), Timestamp::UNIX_EPOCH);
                prop_assert!(differences.is_empty(), "{:?}: {}", differences, text);
            }
        }
    }

    #[test]
    fn reads_section_and_reports_each_invalid_entry() {
        let text = "keys:\n- {key_alias: task-agent, env: OPENAI_API_KEY, models: [], max_budget: 5, duration: null}\n\
                    - {key_alias: a, models: [openai/*], budget_duration: 30d}\n- {key_alias: b, rmp_limit: 3}\n\
                    - {key_alias: c, key: sk-1}\n- {key_alias: d, duration: soon}\n- 5\n";
        let keys = read_keys(text).unwrap();
        let first = keys[0].as_ref().unwrap();
        assert_eq!((&*first.alias, first.target.as_deref()), ("task-agent", Some("OPENAI_API_KEY")));
        assert_eq!(first.settings.access, Some(Access::All));
        assert_eq!((&first.settings.max_budget, &first.settings.duration), (&Set::To(5.0), &Set::Clear));
        assert!(keys[1].is_ok());
        assert_eq!(keys[2].as_ref().unwrap_err().to_string(), "(b) has rmp_limit, which is not known here");
        assert!(keys[3..].iter().all(Result::is_err));
        assert!(read_keys("model_list: []").unwrap().is_empty());
        assert!(read_keys("keys: 5").is_err());
    }
}
