//! A deployment with all parameters, as edited, imported and exported.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::domain::key::hex;
use crate::domain::model::Source;
pub use crate::domain::redact::is_secret_name;
use crate::domain::redact::{self, is_private_address};

pub const REFERENCE: &str = "os.environ/";

const ADDED: [&str; 5] = [
    "allow_client_keepalive_override",
    "merge_reasoning_content_in_choices",
    "use_in_pass_through",
    "use_litellm_proxy",
    "use_xai_oauth",
];

/// A live deployment as the proxy shows it, without secrets.
#[derive(Clone, PartialEq)]
pub struct Detail {
    /// `model_info.id`.
    pub id: String,
    pub name: String,
    pub source: Source,
    pub blocked: bool,
    /// `litellm_params` without nulls.
    pub params: Map<String, Value>,
    /// `model_info` without nulls, id, source and `blocked`. Includes the price map.
    pub info: Map<String, Value>,
}

/// A new deployment, or changes of one. May hold secrets, so its `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// Unused in a change.
    pub name: String,
    /// `litellm_params`.
    pub params: Map<String, Value>,
    /// `model_info`.
    pub info: Map<String, Value>,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>().join(", ");
        write!(f, "Draft({}: {}; {})", self.name, names(&self.params), names(&self.info))
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Detail({} {})", self.id, self.name)
    }
}

impl Detail {
    /// A parameter as text; empty if there is none.
    pub fn param(&self, name: &str) -> String {
        self.params.get(name).map(plain).unwrap_or_default()
    }

    /// A field of `model_info` as text; empty if there is none.
    pub fn fact(&self, name: &str) -> String {
        self.info.get(name).map(plain).unwrap_or_default()
    }

    /// Empty if the settings do not name it.
    pub fn provider(&self) -> String {
        let named = [self.param("custom_llm_provider"), self.fact("provider")];
        named.into_iter().find(|provider| !provider.is_empty()).unwrap_or_default()
    }

    /// Parameters that the proxy did not add, except those in `but`.
    pub fn own_params<'a>(&'a self, but: &'a [&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.params
            .iter()
            .filter(|(name, value)| !is_added(name, value))
            .filter(move |(name, _)| !but.contains(&name.as_str()))
    }

    /// Detects concurrent edits.
    pub fn fingerprint(&self) -> String {
        let seen = serde_json::json!([self.name, self.params, self.own_info()]);
        hex(&Sha256::digest(seen.to_string().as_bytes())[..16])
    }

    /// `model_info` without what the proxy adds from its price map.
    pub fn own_info(&self) -> Map<String, Value> {
        let mut own = self.info.clone();
        own.retain(|name, _| !is_price_map(name));
        own
    }
}

impl Draft {
    pub fn is_empty(&self) -> bool {
        self.params.is_empty() && self.info.is_empty()
    }

    pub fn raw_secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in &self.params {
            collect_secrets(name, value, &mut found);
        }
        found
    }

    pub fn raw_secret_names(&self) -> Vec<String> {
        let has_secret = |(name, value): &(&String, &Value)| has_secrets(name, value);
        self.params.iter().filter(has_secret).map(|(name, _)| name.clone()).collect()
    }

    /// Parameters given by reference, which the proxy does not show.
    pub fn references(&self) -> Map<String, Value> {
        let mut references = self.params.clone();
        references.retain(|name, value| is_reference(name, value) && !is_label(name));
        references
    }

    /// A parameter that refers to a secret of the proxy itself, and the variable.
    pub fn proxy_secret(&self) -> Option<(&str, &str)> {
        self.params.iter().find_map(|(name, value)| Some((name.as_str(), proxy_secret(value)?)))
    }

    /// What calls are authorised with and this does not give again: of `stored` parameters each that is hidden, and the
    /// key, of which the proxy does not say whether there is one. A stored credential stands for the key.
    pub fn not_given(&self, stored: &Map<String, Value>) -> Vec<String> {
        let is_given = |name: &str| self.params.contains_key(name);
        let has_key = is_given(KEY) || (stored.contains_key(CREDENTIAL) && is_given(CREDENTIAL));
        let hidden =
            stored.iter().filter(|(name, value)| *name != KEY && is_hidden(name, value) && !is_given(name));
        Some(KEY.to_owned())
            .filter(|_| !has_key)
            .into_iter()
            .chain(hidden.map(|(name, _)| name.clone()))
            .collect()
    }

    pub fn without_secrets(&self) -> Self {
        let mut draft = self.clone();
        draft.params.retain(|name, value| !has_secrets(name, value));
        draft
    }
}

pub fn is_added(name: &str, value: &Value) -> bool {
    ADDED.contains(&name) && *value == Value::Bool(false)
}

/// Whether a parameter holds a secret by value.
pub fn has_secrets(name: &str, value: &Value) -> bool {
    let mut found = Vec::new();
    collect_secrets(name, value, &mut found);
    !found.is_empty()
}

/// Whether a parameter says where a secret is instead of what it is: a variable, a source of tokens, the name of a stored
/// credential, a file of the proxy's.
pub fn is_reference(name: &str, value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    let name = name.to_ascii_lowercase();
    let takes_file =
        name.contains("credentials") || name.ends_with("_file") || name == "aws_web_identity_token";
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || std::path::Path::new(text).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let is_path = is_path && !text.contains(|c: char| c.is_whitespace() || c == '{');
    text.starts_with(REFERENCE)
        || text.starts_with("oidc/")
        || (redact::secrets(text) == *text && (is_label(&name) || (takes_file && is_path)))
}

/// Whether a parameter is a name that the proxy shows, such as `litellm_credential_name`.
fn is_label(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("_name")
}

/// Whether the proxy does not show the parameter as it was given: it leaves secrets out, and resolves references.
pub fn is_hidden(name: &str, value: &Value) -> bool {
    (is_secret_name(name) || is_reference(name, value)) && !is_label(name)
}

/// The variable or file that a parameter refers to, if it may hold a secret of the proxy itself. LiteLLM reads a variable
/// for `oidc/env/NAME`, any file for `oidc/file/PATH`, and the file that a variable names for `oidc/env_path/NAME`
/// (`litellm/secret_managers/main.py`). It takes these beginnings out wherever they stand, so that one in the middle of a
/// name would hide another name.
fn proxy_secret(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) if text.starts_with(REFERENCE) => hidden_variable(&text[REFERENCE.len()..]),
        Value::String(text) => hidden_source(text.strip_prefix(OIDC)?),
        Value::Array(list) => list.iter().find_map(proxy_secret),
        Value::Object(map) => map.values().find_map(proxy_secret),
        _ => None,
    }
}

const OIDC: &str = "oidc/";

fn hidden_variable(name: &str) -> Option<&str> {
    const VARIABLES: &str = "DATABASE_PASSWORD DATABASE_URL DIRECT_URL GENERIC_CLIENT_SECRET GOOGLE_CLIENT_SECRET \
        LITELLM_DB_PASSWORD LITELLM_LICENSE LITELLM_MASTER_KEY LITELLM_SALT_KEY MICROSOFT_CLIENT_SECRET \
        POSTGRES_PASSWORD PROXY_MASTER_KEY REDIS_PASSWORD REDIS_URL SMTP_PASSWORD TASK_AGENT_API_KEY UI_PASSWORD";
    let is_name = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let is_proxys = VARIABLES.split(' ').any(|variable| name.eq_ignore_ascii_case(variable));
    Some(name).filter(|_| !is_name || is_proxys)
}

/// `source` is what follows `oidc/`.
fn hidden_source(source: &str) -> Option<&str> {
    if source.contains(OIDC) || source.contains(REFERENCE) {
        return Some(source);
    }
    match source.split_once('/') {
        Some(("env", name)) => hidden_variable(name),
        Some(("env_path", name)) => Some(name).filter(|name| !TOKEN_FILES.contains(name)),
        Some(("file", path)) => Some(path).filter(|path| !is_of_workload(path)),
        // A cloud's own: the rest is whom the token is for.
        _ => None,
    }
}

/// Variables in which clouds name the file with a workload's identity token.
const TOKEN_FILES: [&str; 2] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"];

/// Whether a file is one that Kubernetes, EKS or Azure put there for the workload.
fn is_of_workload(path: &str) -> bool {
    const FOLDERS: [&str; 3] = ["kubernetes.io/", "eks.amazonaws.com/", "azure/"];
    let file = path.trim_start_matches('/').strip_prefix("var/run/secrets/");
    let is_below = file.is_some_and(|file| FOLDERS.iter().any(|folder| file.starts_with(folder)));
    is_below && !path.split('/').any(|part| part == "..")
}

/// The parameter that most providers take a secret by.
const KEY: &str = "api_key";

/// The parameter that names a stored credential.
const CREDENTIAL: &str = "litellm_credential_name";

/// Where calls of a deployment, and its secret with them, are sent: its provider and each parameter that is an address by its
/// name, such as `api_base`, `vertex_api_base`, `azure_endpoint`, `aws_sts_endpoint`, `base_url`.
pub fn destination(params: &Map<String, Value>) -> Vec<String> {
    const ADDRESSES: [&str; 5] = ["base", "endpoint", "host", "proxy", "url"];
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let provider = match text("custom_llm_provider") {
        "" => text("model").split_once('/').map_or("", |(provider, _)| provider),
        named => named,
    };
    let is_address = |name: &str| ADDRESSES.iter().any(|word| name.to_ascii_lowercase().contains(word));
    // As it stands, where it is no address.
    let origin = |value: &Value| match value.as_str().map(url::Url::parse) {
        Some(Ok(url)) if url.has_host() => url.origin().ascii_serialization(),
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    };
    let mut places: Vec<String> = params
        .iter()
        .filter(|(name, value)| is_address(name) && !value.is_null() && *value != "")
        .map(|(name, value)| format!("{name} {}", origin(value)))
        .collect();
    places.sort_unstable();
    places.insert(0, provider.to_owned());
    places
}

/// Finds secrets by value: by the parameter's name, addresses with more than scheme, host and path, and texts that look like
/// keys.
fn collect_secrets(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.is_empty() || is_reference(name, value) => {}
        Value::String(text) if is_secret_name(name) => found.push(text.clone()),
        Value::String(text) if is_private_address(text) || redact::secrets(text) != *text => {
            found.push(text.clone());
        }
        Value::Object(map) if is_secret_name(name) => {
            found.extend(map.values().filter_map(Value::as_str).map(str::to_owned));
        }
        Value::Object(map) => map.iter().for_each(|(name, value)| collect_secrets(name, value, found)),
        Value::Array(list) => {
            // Of `tokens` each is a token.
            let one = name.strip_suffix('s').filter(|one| is_secret_name(one)).unwrap_or(name);
            for value in list {
                collect_secrets(one, value, found);
            }
        }
        _ => {}
    }
}

/// Fields of `model_info` that the proxy computes or takes from its price map.
fn is_price_map(name: &str) -> bool {
    const NAMES: &str = "access_via_team_ids annotation_cost_per_page blocked db_model deprecation_date direct_access id \
        key litellm_provider max_input_tokens max_output_tokens max_tokens member_auto_router ocr_cost_per_page \
        output_vector_size pricing_overrides rpm search_context_cost_per_query search_free_requests \
        supported_endpoints supported_modalities supported_openai_params supported_output_modalities tiered_pricing \
        tpm";
    const PREFIXES: [&str; 5] =
        ["supports_", "regional_", "reasoning_", "prompt_cache_", "provider_specific"];
    NAMES.split(' ').any(|known| known == name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.contains("_cost_per_")
        || name.contains("_token_cost")
}

pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Compares values as the proxy returns them: 1.80 returns prices as texts, and integers become floats.
pub fn same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => {
            a == b
                || number(a)
                    .zip(number(b))
                    .is_some_and(|(a, b)| (a - b).abs() <= a.abs().max(b.abs()) * 1e-12)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `model_name`, `litellm_params.rpm`, …
    pub field: String,
    /// None if it was not set or is not shown.
    pub before: Option<String>,
    pub after: String,
}

/// A value as text without secrets.
pub fn shown(name: &str, value: &Value) -> String {
    if has_secrets(name, value) && (is_secret_name(name) || !value.is_string()) {
        "[a secret]".to_owned()
    } else {
        redact::addresses(&plain(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(params: &Value) -> Draft {
        let params = params.as_object().unwrap().clone();
        Draft { name: "n".to_owned(), params, info: Map::new() }
    }

    #[test]
    fn secrets_by_value_are_found_and_references_are_none() {
        let raw = draft(&json!({
            "api_key": "abc", "aws_secret_access_key": "x", "api_base": "http://u:p@h/v1", "rpm": 3,
            "extra_headers": { "Authorization": "Bearer q", "X-Other": "plain" },
            "input_cost_per_token": "1e-6", "max_tokens": 5, "organization": "sk-abcdefgh1234",
            "base_url": "https://h/v1?x=y",
        }));
        let names = raw.raw_secret_names();
        assert_eq!(
            names,
            ["api_base", "api_key", "aws_secret_access_key", "base_url", "extra_headers", "organization"]
        );
        let without = raw.without_secrets();
        assert_eq!(without.params.keys().collect::<Vec<_>>(), ["input_cost_per_token", "max_tokens", "rpm"]);
        let good = draft(&json!({ "api_key": "os.environ/KEY", "api_base": "https://h/v1" }));
        assert!(good.raw_secret_names().is_empty());
        assert_eq!(good.references(), *json!({ "api_key": "os.environ/KEY" }).as_object().unwrap());
        assert!(!format!("{raw:?}").contains("abc"));
    }

    #[test]
    fn values_that_mean_the_same_are_the_same() {
        for (a, b) in
            [(json!(1e-6), json!("1e-06")), (json!(5), json!(5.0)), (json!({"a":1}), json!({"a":1.0}))]
        {
            assert!(same(&a, &b), "{a} {b}");
        }
        for (a, b) in [(json!("a"), json!("b")), (json!(1), json!(2)), (json!(null), json!(0))] {
            assert!(!same(&a, &b), "{a} {b}");
        }
    }

    #[test]
    fn a_value_is_shown_without_its_secret() {
        assert_eq!(shown("api_key", &json!("abc")), "[a secret]");
        assert_eq!(shown("api_key", &json!("os.environ/A")), "os.environ/A");
        assert_eq!(shown("api_base", &json!("http://u:p@h/v1?a=b#c")), "http://[redacted]@h/v1");
        assert_eq!(shown("slack_webhook", &json!("https://h/x")), "[a secret]");
        assert_eq!(shown("extra_headers", &json!({ "Authorization": "Bearer x" })), "[a secret]");
    }
}
