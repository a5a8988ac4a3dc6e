//! What `/model/info` shows of `litellm_params`, and how a stored row hides them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::generation::Generation;
use super::text;

/// Removed altogether: a key given by value and one given by reference look the same.
const REMOVED: &[&str] = &[
    "api_key",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "client_secret",
    "vertex_credentials",
];

/// The readable parameters (`x_model_info_many_secrets`). `api_base` is shown whole, password included.
pub(super) fn public(params: &Map<String, Value>, generation: Generation) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, value) in params.iter().filter(|(name, _)| !REMOVED.contains(&name.as_str())) {
        shown.insert(name.clone(), public_value(name, value, generation));
    }
    add_switches(&mut shown, generation);
    shown
}

fn public_value(name: &str, value: &Value, generation: Generation) -> Value {
    match value {
        Value::String(secret) if name == "azure_ad_token" => json!(text::masked(secret)),
        Value::Object(headers) => headers
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(secret) if name.eq_ignore_ascii_case("authorization") => {
                    (name.clone(), json!(text::masked(secret)))
                }
                _ => (name.clone(), value.clone()),
            })
            .collect(),
        Value::String(_) if generation == Generation::V1_109 && looks_secret(name) => json!("***"),
        Value::String(text) if generation == Generation::V1_109 => match text.strip_prefix("os.environ/") {
            // The real proxy resolves the reference and shows the value; no environment is read here.
            Some(variable) => json!(format!("http://{}.invalid/v1", variable.to_ascii_lowercase())),
            None => value.clone(),
        },
        // The older proxy prints prices given as parameters as strings (`1.80/model_info`, "priced").
        Value::Number(price) if generation == Generation::V1_80 && name.ends_with("_cost_per_token") => {
            json!(text::float(price.as_f64().unwrap_or_default()))
        }
        _ => value.clone(),
    }
}

fn looks_secret(name: &str) -> bool {
    // Names of credentials are shown (`lived_in_v2_model_info`).
    !name.ends_with("_name")
        && name.split('_').any(|part| {
            matches!(part, "secret" | "password" | "token" | "key" | "credential" | "credentials")
        })
}

fn add_switches(params: &mut Map<String, Value>, generation: Generation) {
    let mut switches = vec!["use_in_pass_through", "use_litellm_proxy", "merge_reasoning_content_in_choices"];
    if generation == Generation::V1_109 {
        switches.extend(["allow_client_keepalive_override", "use_xai_oauth"]);
    }
    for switch in switches {
        params.entry(switch).or_insert(Value::Bool(false));
    }
}

/// The parameters of a stored row: strings are encrypted, numbers and objects are not
/// (`x_model_new_many_secrets`). Nobody can decrypt these.
pub(super) fn encrypted(params: &Map<String, Value>, generation: Generation) -> Map<String, Value> {
    let mut stored: Map<String, Value> = params
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => json!(cipher(text)),
                other => other.clone(),
            };
            (name.clone(), value)
        })
        .collect();
    add_switches(&mut stored, generation);
    stored
}

fn cipher(text: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(Uuid::new_v4().as_bytes());
    digest.update(text.as_bytes());
    URL_SAFE.encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        let params = json!({
            "model": "openai/gpt-5", "api_key": "sk-1", "my_custom_secret": "mcs", "rpm": 3,
            "extra_headers": { "Authorization": "Bearer hdr-secret", "X-Other": "plain" },
        });
        let params = params.as_object().unwrap();
        let new = public(params, Generation::V1_109);
        assert_eq!(new["my_custom_secret"], "***");
        assert_eq!(new["extra_headers"], json!({ "Authorization": "Bear*********cret", "X-Other": "plain" }));
        assert_eq!((new.get("api_key"), &new["rpm"]), (None, &json!(3)));
        assert_eq!(public(params, Generation::V1_80)["my_custom_secret"], "mcs");
        let stored = encrypted(params, Generation::V1_109);
        assert_eq!(stored["rpm"], 3);
        assert_ne!(stored["model"], "openai/gpt-5");
    }
}
