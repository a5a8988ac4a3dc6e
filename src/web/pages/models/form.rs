//! The form of a deployment: its fields, what they become at the proxy, and what is wrong with them.

mod fields;

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use self::fields::{field_of, is_address};
pub(super) use self::fields::{label, name_error};
use super::presets::PRESETS;
use crate::domain::model_detail::{
    Detail, Draft, REFERENCE, has_secrets, is_reference, is_secret_name, plain, same,
};
use crate::domain::redact;
use crate::services::registry::{Found, moved_secrets, read_mapping};
use crate::web::forms::FieldErrors;

/// Most fields that are read.
const MAX_FIELDS: usize = 60;

/// Longest text of a field, in characters.
const MAX_CHARS: usize = 8_192;

/// Parameters that have a field of their own, or are not told.
const FIELD_PARAMS: [&str; 10] = [
    "api_base",
    "api_key",
    "api_version",
    "custom_llm_provider",
    "input_cost_per_token",
    "litellm_credential_name",
    "model",
    "output_cost_per_token",
    "rpm",
    "tpm",
];

pub(super) const FIELDS: [&str; 14] = [
    "name",
    "provider",
    "model",
    "secret",
    "credential",
    "api_base",
    "api_version",
    "rpm",
    "tpm",
    "mode",
    "input_price",
    "output_price",
    "description",
    "extra",
];

/// What was typed, by field. A field that was not sent is not there, which leaves it as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelForm(BTreeMap<String, String>);

/// A form without any field need not say what kind it is.
impl<S: Send + Sync> FromRequest<S> for ModelForm {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let pairs = url::form_urlencoded::parse(&body).take(MAX_FIELDS);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()))
    }
}

impl ModelForm {
    /// A field's text; empty where it was not sent.
    pub(super) fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", |text| if field == "extra" { text } else { text.trim() })
    }

    /// A field's lines that are not empty.
    pub(super) fn lines(&self, field: &str) -> impl Iterator<Item = &str> {
        self.get(field).lines().map(str::trim).filter(|line| !line.is_empty())
    }

    pub(super) fn is_ticked(&self, field: &str) -> bool {
        !self.get(field).is_empty()
    }

    pub(super) fn set(&mut self, field: &str, text: impl Into<String>) {
        self.0.insert(field.to_owned(), text.into());
    }

    pub(super) fn of_preset(id: &str) -> Self {
        let mut form = Self::default();
        form.set("mode", "chat");
        form.set("test", "yes");
        if let Some(preset) = PRESETS.iter().find(|preset| preset.id == id) {
            form.set("provider", preset.id);
            if !preset.secret.is_empty() {
                form.set("secret", format!("{REFERENCE}{}", preset.secret));
            }
            form.set("api_base", preset.api_base);
            form.set("api_version", preset.api_version);
        }
        form
    }

    pub(super) fn of_detail(detail: &Detail) -> Self {
        let mut form = Self::default();
        form.set("name", &detail.name);
        form.set("provider", detail.provider());
        for param in ["model", "api_version", "rpm", "tpm"] {
            form.set(param, detail.param(param));
        }
        form.set("api_base", redact::addresses(&detail.param("api_base")));
        form.set("secret", detail.param("api_key"));
        form.set("credential", detail.param("litellm_credential_name"));
        for fact in ["mode", "description"] {
            form.set(fact, detail.fact(fact));
        }
        for (field, param) in
            [("input_price", "input_cost_per_token"), ("output_price", "output_cost_per_token")]
        {
            form.set(field, per_million(detail.params.get(param)));
        }
        form.set("extra", yaml(&extra_of(detail)));
        form
    }

    /// The same without secrets, to be shown again.
    pub(super) fn redisplayed(mut self) -> Self {
        if !is_reference("api_key", &json!(self.get("secret"))) {
            self.0.remove("secret");
        }
        self.0.remove("raw_secret");
        if redact::addresses(self.get("api_base")) != self.get("api_base") {
            self.0.remove("api_base");
        }
        let extra: Vec<&str> = self.get("extra").lines().filter(|line| !holds_secret(line)).collect();
        let extra = extra.join("\n");
        self.set("extra", extra);
        self
    }

    /// All fields as a new deployment; what is wrong goes to `errors`.
    pub(super) fn read(&self, errors: &mut FieldErrors) -> Draft {
        let mut draft = Draft { name: self.get("name").to_owned(), ..Draft::default() };
        if self.get("model").is_empty() {
            errors.add("model", "Name the model as its provider does, such as gpt-5.");
        }
        for field in FIELDS {
            self.read_field(field, &mut draft, errors);
        }
        self.check_secrets(&draft, errors);
        draft
    }

    /// The fields that differ from `now`, as a change; and what the proxy could not clear, in words.
    pub(super) fn read_changes(&self, found: &Found, errors: &mut FieldErrors) -> (Draft, Vec<String>) {
        let now = &found.as_given();
        let before = Self::of_detail(now);
        let mut draft = Draft { name: self.get("name").to_owned(), ..Draft::default() };
        let mut cleared = Vec::new();
        for field in FIELDS.into_iter().filter(|field| self.0.contains_key(*field)) {
            let (old, new) = (before.get(field), self.get(field));
            match field {
                "extra" => self.read_extra_changes(now, &mut draft, &mut cleared, errors),
                _ if old == new => {}
                "model" if new.is_empty() => errors.add("model", "The upstream model cannot be empty."),
                // An empty description is one; other fields would keep their value.
                "description" if new.is_empty() => {
                    draft.info.insert("description".to_owned(), json!(""));
                }
                _ if new.is_empty() => cleared.push(label(field).to_owned()),
                _ => self.read_field(field, &mut draft, errors),
            }
        }
        if !moved_secrets(found, &draft).is_empty() {
            // What is in the form is given again, though it is what it was.
            for field in ["secret", "credential"] {
                self.read_field(field, &mut draft, errors);
            }
            let moved = moved_secrets(found, &draft);
            if !moved.is_empty() {
                let text = format!(
                    "The address or provider is another one, to which the stored secret would be sent. Give again: {}.",
                    moved.join(", ")
                );
                errors.add("secret", text);
                cleared.push("the stored secret".to_owned());
            }
        }
        self.check_secrets(&draft, errors);
        (draft, cleared)
    }

    fn read_extra_changes(
        &self,
        now: &Detail,
        draft: &mut Draft,
        cleared: &mut Vec<String>,
        errors: &mut FieldErrors,
    ) {
        let Some(wished) = self.read_extra(errors) else { return };
        let was = extra_of(now);
        cleared.extend(was.keys().filter(|name| !wished.contains_key(*name)).cloned());
        let is_new = |(name, value): &(String, Value)| !was.get(name).is_some_and(|was| same(was, value));
        draft.params.extend(wished.into_iter().filter(is_new));
    }

    fn read_field(&self, field: &'static str, draft: &mut Draft, errors: &mut FieldErrors) {
        let text = self.get(field);
        if text.chars().count() > MAX_CHARS && field != "extra" {
            errors.add(field, format!("At most {MAX_CHARS} characters."));
            return;
        }
        let has_control = text.chars().any(char::is_control);
        if has_control && !matches!(field, "extra" | "description") {
            errors.add(field, "Line breaks and control characters cannot be in here.");
            return;
        }
        if text.is_empty() {
            if field == "name" {
                errors.add(field, "Give it the name that clients ask for, such as openai/gpt-5.");
            }
            return;
        }
        if matches!(field, "name" | "model")
            && let Some(wrong) = name_error(field, text)
        {
            errors.add(field, wrong);
            return;
        }
        let (params, info) = (&mut draft.params, &mut draft.info);
        let mut param = |name: &str, value: Value| params.insert(name.to_owned(), value);
        match field {
            "api_base" if !is_address(text) => {
                errors.add(field, "Write a whole address, such as https://host/v1.");
            }
            "model" | "api_base" | "api_version" => drop(param(field, json!(text))),
            "provider" => {
                param("custom_llm_provider", json!(text));
                info.insert("provider".to_owned(), json!(text));
            }
            "secret" => drop(param("api_key", json!(text))),
            "credential" => drop(param("litellm_credential_name", json!(text))),
            "rpm" | "tpm" => match text.parse::<u32>() {
                Ok(number) if number > 0 => drop(param(field, json!(number))),
                _ => errors.add(field, "Write a whole number, at least 1."),
            },
            "input_price" => price(text, "input_cost_per_token", field, params, errors),
            "output_price" => price(text, "output_cost_per_token", field, params, errors),
            "mode" | "description" => drop(info.insert(field.to_owned(), json!(text))),
            "extra" => params.extend(self.read_extra(errors).unwrap_or_default()),
            _ => {}
        }
    }

    fn read_extra(&self, errors: &mut FieldErrors) -> Option<Map<String, Value>> {
        let extra = match read_mapping(self.get("extra")) {
            Ok(extra) => extra,
            Err(error) => {
                errors.add("extra", error.0);
                return None;
            }
        };
        if let Some(taken) = extra.keys().find(|name| FIELD_PARAMS.contains(&name.as_str())) {
            errors.add("extra", format!("“{taken}” has a field of its own."));
            return None;
        }
        Some(extra)
    }

    /// A secret is a reference, unless the box is ticked.
    fn check_secrets(&self, draft: &Draft, errors: &mut FieldErrors) {
        if let Some((name, variable)) = draft.proxy_secret() {
            let text = format!(
                "{variable} is, or may hide, a secret of the proxy itself. Refer to a variable of the provider's."
            );
            errors.add(field_of(name), text);
        }
        for (name, value) in draft.references() {
            let value = plain(&value);
            let Some(variable) = value.strip_prefix(REFERENCE) else { continue };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if variable.is_empty() || !variable.chars().all(is_word) {
                errors.add(
                    field_of(&name),
                    "Write os.environ/ and the name of one variable: letters, digits, _.",
                );
            }
        }
        if self.is_ticked("raw_secret") {
            return;
        }
        for name in draft.raw_secret_names() {
            errors.add(
                field_of(&name),
                "This is a secret itself. Write a reference, os.environ/NAME, to a variable of the proxy's \
                 environment; or tick the box to store the secret at the proxy.",
            );
        }
    }
}

/// A price per million tokens as one per token, without the noise of a division.
fn price(
    text: &str,
    param: &str,
    field: &'static str,
    params: &mut Map<String, Value>,
    errors: &mut FieldErrors,
) {
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || c == '.') && text.len() <= 20;
    match format!("{text}e-6").parse::<f64>() {
        Ok(price) if is_plain && price.is_finite() => drop(params.insert(param.to_owned(), json!(price))),
        _ => errors.add(field, "Write US dollars per million tokens, such as 1.25."),
    }
}

fn per_million(per_token: Option<&Value>) -> String {
    let price = per_token.and_then(|price| price.as_f64().or_else(|| price.as_str()?.parse().ok()));
    let Some(price) = price else { return String::new() };
    let text = format!("{:.9}", price * 1e6);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Parameters without a field of their own, and without what the proxy shows in a secret's place.
fn extra_of(detail: &Detail) -> Map<String, Value> {
    let is_mask = |value: &Value| plain(value).contains("**");
    let shown = |(name, value): &(&String, &Value)| {
        is_reference(name, value) || (!is_secret_name(name) && !is_mask(value) && !has_secrets(name, value))
    };
    let own = detail.own_params(&FIELD_PARAMS).filter(shown);
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn yaml(map: &Map<String, Value>) -> String {
    // Each value in JSON's notation, which YAML understands.
    map.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

fn holds_secret(line: &str) -> bool {
    if redact::addresses(line) != line {
        return true;
    }
    let pairs = line.split([',', '{']).filter_map(|part| part.split_once(':'));
    pairs.into_iter().any(|(name, value)| {
        let bare = |text: &str| text.trim().trim_matches(['"', '\'', '}', ' ']).to_owned();
        let (name, value) = (bare(name), bare(value));
        is_secret_name(&name) && !value.is_empty() && !is_reference(&name, &json!(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> ModelForm {
        ModelForm(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_price_goes_there_and_back_without_noise() {
        for text in ["1.25", "0.1", "0.000001", "15", "0"] {
            let mut errors = FieldErrors::default();
            let draft = form(&[("name", "n"), ("model", "m"), ("input_price", text)]).read(&mut errors);
            assert!(errors.is_empty());
            assert_eq!(per_million(draft.params.get("input_cost_per_token")), text);
        }
        for bad in ["-1", "1e9", "a", "1,5", "NaN", "inf"] {
            let mut errors = FieldErrors::default();
            form(&[("name", "n"), ("model", "m"), ("input_price", bad)]).read(&mut errors);
            assert!(errors.at("input_price").is_some(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_shown_again() {
        let form = form(&[
            ("secret", "my-raw-secret"),
            ("api_base", "https://u:p@host/v1"),
            ("extra", "timeout: 3\naws_secret_access_key: abc\n{\"x\": 1, \"client_secret\": \"q\"}\nok: os.environ/A"),
        ])
        .redisplayed();
        assert_eq!((form.get("secret"), form.get("api_base")), ("", ""));
        assert_eq!(form.get("extra"), "timeout: 3\nok: os.environ/A");
    }
}
