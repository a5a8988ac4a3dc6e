//! The `keys:` section of a list: fields named as the proxy's, and `env`, the variable that holds the secret.

use serde_json::{Map, Value, json};

use crate::domain::key::{Access, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set, span};
use crate::services::registry::{YamlError, read_document};

/// Most keys of a list.
const MOST_KEYS: usize = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub struct KeyWish {
    pub alias: String,
    /// The variable of the env file that holds its secret; without one it can be changed, and not issued.
    pub target: Option<String>,
    /// Its settings. What is not said of a key that is there stays; `duration` counts when it is issued.
    pub settings: KeyChanges,
}

/// The keys of a list, none where it has no such section; an error in the place of one that makes no sense.
pub fn read_keys(text: &str) -> Result<Vec<Result<KeyWish, String>>, YamlError> {
    let Value::Object(mut document) = read_document(text)? else { return Ok(Vec::new()) };
    let keys = match document.remove("keys") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(keys)) if keys.len() <= MOST_KEYS => keys,
        Some(Value::Array(keys)) => {
            return Err(YamlError(format!("These are {} keys; at most {MOST_KEYS} are taken.", keys.len())));
        }
        Some(_) => return Err(YamlError("“keys:” is no list.".to_owned())),
    };
    Ok(keys.into_iter().map(wish).collect())
}

fn wish(entry: Value) -> Result<KeyWish, String> {
    let Value::Object(mut entry) = entry else { return Err("is no mapping".to_owned()) };
    let Some(Value::String(alias)) = entry.remove("key_alias") else {
        return Err("has no text as its key_alias".to_owned());
    };
    if alias.trim().is_empty() {
        return Err("has an empty key_alias".to_owned());
    }
    let wrong = |what: &str| format!("({alias}) has {what}");
    let target = match entry.remove("env") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(wrong("an env that is no name")),
    };
    if entry.contains_key("key") {
        return Err(wrong("a secret: name a variable of the env file, as env, and leave the secret there"));
    }
    let mut settings = KeyChanges { access: access(&mut entry).map_err(wrong)?, ..KeyChanges::default() };
    settings.max_budget = set(&mut entry, "max_budget", Value::as_f64).map_err(|what| wrong(&what))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let time = |value: &Value| value.as_str().filter(|text| span(text).is_some()).map(str::to_owned);
    settings.budget_duration = set(&mut entry, "budget_duration", time).map_err(|what| wrong(&what))?;
    settings.duration = set(&mut entry, "duration", time).map_err(|what| wrong(&what))?;
    settings.rpm_limit = set(&mut entry, "rpm_limit", Value::as_u64).map_err(|what| wrong(&what))?;
    settings.tpm_limit = set(&mut entry, "tpm_limit", Value::as_u64).map_err(|what| wrong(&what))?;
    settings.max_parallel_requests =
        set(&mut entry, "max_parallel_requests", Value::as_u64).map_err(|what| wrong(&what))?;
    settings.user_id = set(&mut entry, "user_id", text).map_err(|what| wrong(&what))?;
    settings.metadata = match entry.remove("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(metadata)) => Some(metadata),
        Some(_) => return Err(wrong("metadata that is no mapping")),
    };
    match entry.keys().next() {
        Some(other) => Err(wrong(&format!("{other}, which is not known here"))),
        None => Ok(KeyWish { alias, target, settings }),
    }
}

fn access(entry: &mut Map<String, Value>) -> Result<Option<Access>, &'static str> {
    match entry.remove("models") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(models)) => {
            let names = models.into_iter().map(|model| model.as_str().map(str::to_owned));
            let names: Option<Vec<String>> = names.collect();
            Ok(Some(Access::from_models(names.ok_or("models that are no names")?)))
        }
        Some(_) => Err("models that are no list"),
    }
}

fn set<T>(
    entry: &mut Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Set<T>, String> {
    match entry.remove(name) {
        None => Ok(Set::Keep),
        Some(Value::Null) => Ok(Set::Clear),
        Some(value) => read(&value).map(Set::To).ok_or_else(|| format!("a {name} that cannot be read")),
    }
}

/// A `keys:` section of the keys that have a name. Holds no secret.
pub fn write_keys(keys: &[VirtualKey]) -> Value {
    let named = keys.iter().filter(|key| key.alias.as_deref().is_some_and(|alias| !alias.is_empty()));
    let written = named.map(|key| {
        let mut entry = Map::from_iter([
            ("key_alias".to_owned(), json!(key.alias)),
            ("models".to_owned(), json!(key.access.to_models())),
        ]);
        let settings = [
            ("max_budget", json!(key.max_budget)),
            ("budget_duration", json!(key.budget_duration)),
            ("rpm_limit", json!(key.rpm_limit)),
            ("tpm_limit", json!(key.tpm_limit)),
            ("max_parallel_requests", json!(key.max_parallel_requests)),
            ("user_id", json!(key.user_id)),
        ];
        let set = settings.into_iter().filter(|(_, value)| !value.is_null());
        entry.extend(set.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(entry)
    });
    json!({ "keys": written.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_what_makes_no_sense_costs_itself() {
        let text = "keys:\n- {key_alias: task-agent, env: OPENAI_API_KEY, models: [], max_budget: 5, duration: null}\n\
                    - {key_alias: a, models: [openai/*], budget_duration: 30d}\n- {key_alias: b, rmp_limit: 3}\n\
                    - {key_alias: c, key: sk-1}\n- {key_alias: d, duration: soon}\n- 5\n";
        let keys = read_keys(text).unwrap();
        let first = keys[0].as_ref().unwrap();
        assert_eq!((&*first.alias, first.target.as_deref()), ("task-agent", Some("OPENAI_API_KEY")));
        assert_eq!(first.settings.access, Some(Access::All));
        assert_eq!((&first.settings.max_budget, &first.settings.duration), (&Set::To(5.0), &Set::Clear));
        assert!(keys[1].is_ok());
        assert_eq!(keys[2].as_ref().unwrap_err(), "(b) has rmp_limit, which is not known here");
        assert!(keys[3..].iter().all(Result::is_err));
        assert!(read_keys("model_list: []").unwrap().is_empty());
        assert!(read_keys("keys: 5").is_err());
    }
}
