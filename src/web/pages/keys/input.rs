//! A key's form, as it was sent.

use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::metadata;
use crate::clients::litellm::KeyRecord;
use crate::domain::key::Access;
use crate::domain::key_changes::{KeyChanges, Set, is_period, span};
use crate::services::keys::Keys;
use crate::web::forms::FieldErrors;

/// Longest alias, in characters.
const MAX_ALIAS: usize = 200;

/// The form. A field that is not sent leaves the setting as it is; one that is sent empty takes it away, but for
/// `duration`, which counts from now: there, `never` does.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct KeyForm {
    #[serde(deserialize_with = "sent")]
    pub(super) alias: Option<String>,
    /// `all`, `none`, `list`
    #[serde(deserialize_with = "sent")]
    pub(super) access: Option<String>,
    pub(super) models: Vec<String>,
    /// More models, one a line: wildcards, access groups, names that are not registered yet.
    #[serde(deserialize_with = "sent")]
    pub(super) more_models: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) max_budget: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) budget_duration: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) duration: Option<String>,
    /// Not empty: it never expires.
    #[serde(deserialize_with = "sent")]
    pub(super) never: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) rpm_limit: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) tpm_limit: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) max_parallel_requests: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) user_id: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) metadata: Option<String>,
    #[serde(deserialize_with = "sent")]
    pub(super) seen: Option<String>,
    /// Sent twice, a form with the same token makes one key.
    #[serde(deserialize_with = "sent")]
    pub(super) token: Option<String>,
    /// Not empty: show the changes first.
    #[serde(deserialize_with = "sent")]
    pub(super) review: Option<String>,
}

/// A field that was sent, be it empty: by itself, the form's reader takes an empty one for one that was not sent.
fn sent<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    String::deserialize(from).map(Some)
}

impl KeyForm {
    /// The form for a key as it is. `models` are those that have a box of their own.
    pub(super) fn of(record: &KeyRecord, models: &[String]) -> Self {
        let key = &record.key;
        let (access, listed) = match &key.access {
            Access::All => ("all", Vec::new()),
            Access::None => ("none", Vec::new()),
            Access::List(listed) => ("list", listed.clone()),
        };
        let (boxed, more): (Vec<String>, Vec<String>) =
            listed.into_iter().partition(|name| models.contains(name));
        let count = |count: Option<u64>| Some(count.map_or_else(String::new, |count| count.to_string()));
        let text = |text: &Option<String>| Some(text.clone().unwrap_or_default());
        Self {
            alias: text(&key.alias),
            access: Some(access.to_owned()),
            models: boxed,
            more_models: Some(more.join("\n")),
            max_budget: Some(key.max_budget.map_or_else(String::new, |budget| budget.to_string())),
            budget_duration: text(&key.budget_duration),
            duration: Some(String::new()),
            never: None,
            rpm_limit: count(key.rpm_limit),
            tpm_limit: count(key.tpm_limit),
            max_parallel_requests: count(key.max_parallel_requests),
            user_id: text(&key.user_id),
            metadata: Some(metadata::to_text(&record.metadata)),
            seen: Some(Keys::fingerprint(record)),
            token: None,
            review: None,
        }
    }

    /// All fields that were sent, for a form that sends them again.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        let texts = [
            ("alias", &self.alias),
            ("access", &self.access),
            ("more_models", &self.more_models),
            ("max_budget", &self.max_budget),
            ("budget_duration", &self.budget_duration),
            ("duration", &self.duration),
            ("never", &self.never),
            ("rpm_limit", &self.rpm_limit),
            ("tpm_limit", &self.tpm_limit),
            ("max_parallel_requests", &self.max_parallel_requests),
            ("user_id", &self.user_id),
            ("metadata", &self.metadata),
            ("seen", &self.seen),
        ];
        let sent = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        sent.chain(self.models.iter().map(|model| ("models", model.as_str()))).collect()
    }

    pub(super) fn has_model(&self, name: &str) -> bool {
        self.models.iter().any(|model| model == name)
    }

    /// The changes that the form asks for, of a new key or of one that is there.
    pub(super) fn changes(&self, old: Option<&KeyRecord>) -> Result<KeyChanges, FieldErrors> {
        let no_metadata = Map::new();
        let metadata = old.map_or(&no_metadata, |old| &old.metadata);
        // What the proxy has taken may stay.
        let is_as_before = |field: &Option<String>| {
            let before = old.and_then(|old| old.key.budget_duration.as_deref());
            before.is_some() && given(field.as_deref()) == before
        };
        let mut errors = FieldErrors::default();
        let changes = KeyChanges {
            alias: self.alias(&mut errors),
            access: self.access(&mut errors),
            max_budget: budget(self.max_budget.as_deref(), &mut errors),
            budget_duration: if is_as_before(&self.budget_duration) {
                Set::Keep
            } else {
                period("budget_duration", self.budget_duration.as_deref(), &mut errors)
            },
            duration: lifetime(self.duration.as_deref(), self.never.as_deref(), &mut errors),
            rpm_limit: count("rpm_limit", self.rpm_limit.as_deref(), &mut errors),
            tpm_limit: count("tpm_limit", self.tpm_limit.as_deref(), &mut errors),
            max_parallel_requests: count(
                "max_parallel_requests",
                self.max_parallel_requests.as_deref(),
                &mut errors,
            ),
            user_id: given(self.user_id.as_deref())
                .map_or(Set::Keep, |id| if id.is_empty() { Set::Clear } else { Set::To(id.to_owned()) }),
            blocked: None,
            metadata: given(self.metadata.as_deref()).and_then(|text| {
                metadata::from_text(text, metadata).map_err(|error| errors.add("metadata", error)).ok()
            }),
        };
        if errors.is_empty() { Ok(changes) } else { Err(errors) }
    }

    fn alias(&self, errors: &mut FieldErrors) -> Set<String> {
        let Some(alias) = given(self.alias.as_deref()) else { return Set::Keep };
        if alias.chars().count() > MAX_ALIAS || alias.contains(char::is_control) {
            errors.add("alias", "An alias has at most 200 characters, and no line breaks.");
        } else if crate::domain::redact::secrets(alias) != alias {
            errors.add("alias", "This looks like a key. An alias is shown to everyone.");
        }
        if alias.is_empty() { Set::Clear } else { Set::To(alias.to_owned()) }
    }

    fn access(&self, errors: &mut FieldErrors) -> Option<Access> {
        let more = self.more_models.as_deref().unwrap_or_default();
        let typed = more.lines().flat_map(|line| line.split(',')).map(str::trim).map(str::to_owned);
        let mut models: Vec<String> = Vec::new();
        for model in self.models.iter().map(|model| model.trim().to_owned()).chain(typed) {
            if !model.is_empty() && !models.contains(&model) {
                models.push(model);
            }
        }
        match self.access.as_deref() {
            Some("all") => Some(Access::All),
            Some("none") => Some(Access::None),
            Some("list") if models.is_empty() => {
                // The proxy takes an empty list for every model.
                errors.add("models", "Choose models, or “no models”: an empty list would mean every model.");
                None
            }
            Some("list") => Some(Access::from_models(models)),
            Some(_) => {
                errors.add("access", "Choose what the key may call.");
                None
            }
            None => (!models.is_empty()).then(|| Access::from_models(models)),
        }
    }
}

fn given(field: Option<&str>) -> Option<&str> {
    field.map(str::trim)
}

/// A budget in US dollars.
pub(super) fn budget(field: Option<&str>, errors: &mut FieldErrors) -> Set<f64> {
    match given(field).map(|text| text.trim_start_matches('$')) {
        None => Set::Keep,
        Some("") => Set::Clear,
        Some(text) => match text.parse::<f64>() {
            Ok(dollars) if dollars.is_finite() && dollars >= 0.0 => Set::To(dollars),
            _ => {
                errors.add("max_budget", "A budget is a number of US dollars, such as 10 or 2.50.");
                Set::Keep
            }
        },
    }
}

pub(super) fn period(field: &'static str, text: Option<&str>, errors: &mut FieldErrors) -> Set<String> {
    // An expiry has no words.
    let (is_good, words): (fn(&str) -> bool, _) = match field {
        "duration" => (|text| span(text).is_some(), ""),
        _ => (is_period, ", or daily, weekly, monthly (LiteLLM 1.109)"),
    };
    match given(text) {
        None => Set::Keep,
        Some("") => Set::Clear,
        Some(text) if is_good(text) => Set::To(text.to_owned()),
        Some(_) => {
            errors.add(field, format!("A number and s, m, h, d, w or mo, such as 30d{words}."));
            Set::Keep
        }
    }
}

/// How long a key lives from now on; an empty field leaves that as it is.
pub(super) fn lifetime(text: Option<&str>, never: Option<&str>, errors: &mut FieldErrors) -> Set<String> {
    let wants_never = never.is_some_and(|never| !never.is_empty());
    match (given(text), wants_never) {
        (Some("-1" | "never"), _) | (None | Some(""), true) => Set::Clear,
        (Some(text), true) if !text.is_empty() => {
            errors.add("duration", "Give a duration or let it never expire, not both.");
            Set::Keep
        }
        (None | Some(""), _) => Set::Keep,
        (text, _) => period("duration", text, errors),
    }
}

fn count(field: &'static str, text: Option<&str>, errors: &mut FieldErrors) -> Set<u64> {
    match given(text) {
        None => Set::Keep,
        Some("") => Set::Clear,
        // The proxy keeps whole numbers of 64 bits.
        Some(text) => match text.replace([',', '_'], "").parse::<u64>() {
            Ok(count) if count <= i64::MAX.cast_unsigned() => Set::To(count),
            _ => {
                errors.add(field, "A whole number; empty means unlimited.");
                Set::Keep
            }
        },
    }
}
