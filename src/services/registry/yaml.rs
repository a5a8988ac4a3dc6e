//! LiteLLM's `model_list`, read and written.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::model_detail::Draft;
use crate::domain::redact;

/// Most entries of a list that are taken.
const MOST_ENTRIES: usize = 5_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(pub String);

/// One entry of a list; an error where it is no deployment.
pub(super) type Entry = Result<Draft, String>;

/// Most values in a form's field, with those that aliases repeat. It is read where requests are served.
const FIELD_NODES: usize = 5_000;

fn read(text: &str) -> Result<Value, YamlError> {
    read_with(text, serde_saphyr::Options::default())
}

fn read_with(text: &str, options: serde_saphyr::Options) -> Result<Value, YamlError> {
    // Another form of the same error repeats the lines around it, in which secrets may stand.
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        YamlError(format!("This is not YAML that can be read: {}.", redact::error_text(first)))
    })
}

/// Reads a whole document, such as a configuration file.
pub fn read_document(text: &str) -> Result<Value, YamlError> {
    read(text)
}

/// Whether a text is, or holds, a `model_list`: a list of keys alone has none, and neither has one beside an empty
/// `model_list`. What cannot be read counts as one, so that its reading says why.
pub fn has_model_list(text: &str) -> bool {
    match read(text) {
        Ok(Value::Object(map)) => {
            let is_empty = |list: &Value| list.is_null() || list.as_array().is_some_and(Vec::is_empty);
            map.get("model_list").is_some_and(|list| !is_empty(list)) || !map.contains_key("keys")
        }
        _ => true,
    }
}

pub fn write_document(document: &impl Serialize) -> Result<String, YamlError> {
    serde_saphyr::to_string(document).map_err(|error| YamlError(error.to_string()))
}

/// Reads a mapping written as YAML or JSON; nothing is an empty one.
pub fn read_mapping(text: &str) -> Result<Map<String, Value>, YamlError> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let budget = serde_saphyr::budget! { max_nodes: FIELD_NODES };
    match read_with(text, serde_saphyr::options! { budget: budget })? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(YamlError("Write names and values, such as “timeout: 30”, one a line.".to_owned())),
    }
}

/// Reads a `model_list`, alone or in a whole configuration file, or a bare list of entries.
pub(super) fn read_model_list(text: &str) -> Result<Vec<Entry>, YamlError> {
    let no_list = || YamlError("There is no “model_list:” with entries in it.".to_owned());
    let keys_alone = || {
        let text = "These are keys alone. Their secrets belong into an env file: apply the list where that is, by \
                    patchbay apply -f FILE.";
        YamlError(text.to_owned())
    };
    let list = match read(text)? {
        Value::Array(list) => list,
        // What another file holds would count as missing, and be deleted by a prune.
        Value::Object(map) if map.get("include").is_some_and(|include| !include.is_null()) => {
            let text = "The list includes other files (“include:”), which are not read. Put their entries into this \
                        list, and take “include:” out.";
            return Err(YamlError(text.to_owned()));
        }
        Value::Object(mut map) => match map.remove("model_list") {
            Some(Value::Array(list)) => list,
            None if map.contains_key("keys") => return Err(keys_alone()),
            _ => return Err(no_list()),
        },
        _ => return Err(no_list()),
    };
    if list.is_empty() {
        return Err(no_list());
    }
    if list.len() > MOST_ENTRIES {
        return Err(YamlError(format!(
            "These are {} entries; at most {MOST_ENTRIES} are taken.",
            list.len()
        )));
    }
    Ok(list.into_iter().map(entry).collect())
}

/// How many virtual keys stand beside a `model_list`.
pub(super) fn count_keys(text: &str) -> usize {
    match read(text) {
        Ok(Value::Object(map)) => map.get("keys").and_then(Value::as_array).map_or(0, Vec::len),
        _ => 0,
    }
}

fn entry(entry: Value) -> Entry {
    let Value::Object(mut entry) = entry else { return Err("is not a mapping".to_owned()) };
    let Some(Value::String(name)) = entry.remove("model_name") else {
        return Err("has no text as its model_name".to_owned());
    };
    let part = |part: Option<Value>, what: &str| match part {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(format!("has a {what} that is not a mapping")),
    };
    let mut params = part(entry.remove("litellm_params"), "litellm_params")?;
    let mut info = part(entry.remove("model_info"), "model_info")?;
    params.retain(|_, value| !value.is_null());
    info.retain(|_, value| !value.is_null());
    if name.trim().is_empty() {
        return Err("has an empty model_name".to_owned());
    }
    if !params.get("model").is_some_and(Value::is_string) {
        return Err("has no litellm_params.model".to_owned());
    }
    Ok(Draft { name, params, info })
}

#[derive(Serialize)]
pub(super) struct ModelList {
    pub(super) model_list: Vec<Written>,
}

#[derive(Serialize)]
pub(super) struct Written {
    pub(super) model_name: String,
    pub(super) litellm_params: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) model_info: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let odd = [
            "<script>",
            "a\"b'c",
            "x/y z",
            "müß 世界",
            "yes",
            "1.0",
            "~",
            " lead",
            "a: b",
            "#c",
            "- d",
            "*e",
            "line\nbreak",
        ];
        let model_list = odd
            .iter()
            .map(|name| Written {
                model_name: (*name).to_owned(),
                litellm_params: json!({ "model": *name, "rpm": 5, "input_cost_per_token": 1.25e-6, "on": true, "tags": ["a", "1"] })
                    .as_object()
                    .unwrap()
                    .clone(),
                model_info: Map::new(),
            })
            .collect();
        let list = ModelList { model_list };
        let text = write_document(&list).unwrap();
        let read: Vec<Draft> = read_model_list(&text).unwrap().into_iter().map(Result::unwrap).collect();
        for (read, written) in read.iter().zip(&list.model_list) {
            assert_eq!((&read.name, &read.params), (&written.model_name, &written.litellm_params), "{text}");
        }
        assert_eq!(read.len(), odd.len());
    }

    #[test]
    fn an_odd_entry_costs_itself_and_bad_yaml_is_told_with_its_line() {
        let list = "model_list:\n- model_name: a\n  litellm_params: {model: x}\n- 5\n- {model_name: b}\n";
        let read = read_model_list(list).unwrap();
        assert!(read[0].is_ok() && read[1].is_err() && read[2].is_err());
        let error = read_model_list("model_list:\n - a: [1\n").unwrap_err().0;
        assert!(error.contains("line"), "{error}");
        assert!(read_model_list("a: 1\na: 2\n").unwrap_err().0.contains("uplicate"));
        for none in ["", "model_list: []", "5", "other: 1"] {
            assert!(read_model_list(none).is_err(), "{none}");
        }
        assert_eq!(read_mapping("{\"timeout\": 3}").unwrap(), *json!({ "timeout": 3 }).as_object().unwrap());
        assert!(read_mapping("just a text").is_err());
    }
}
