//! How the router resolves names beyond the rows: aliases, patterns, fallbacks and stored credentials
//! (`router_settings`, `get_config_callbacks`, `credentials`).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::body::Body;
use super::errors::{Answer, Touch};
use super::text;
use super::world::World;

/// Most aliases, fallbacks or credentials of one request that are kept.
const MOST: usize = 1_000;

/// Aliases of aliases are followed this far: once when the request is checked, once when deployments are looked up.
const MOST_ALIASES: usize = 2;

#[derive(Default)]
pub(super) struct Router {
    /// `{alias: target}` or `{alias: {model, hidden}}`.
    aliases: Map<String, Value>,
    fallbacks: Vec<Value>,
    credentials: BTreeMap<String, Value>,
}

impl Router {
    /// The name that is looked up where `asked` is called.
    pub(super) fn resolve<'a>(&'a self, asked: &'a str) -> &'a str {
        let mut name = asked;
        for _ in 0..MOST_ALIASES {
            match self.aliases.get(name).and_then(target) {
                Some(target) => name = target,
                None => break,
            }
        }
        name
    }

    /// The aliases that lists show, with what they lead to.
    pub(super) fn shown_aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_hidden = |alias: &Value| alias["hidden"] == true;
        let shown = self.aliases.iter().filter(move |(_, alias)| !is_hidden(alias));
        shown.filter_map(|(name, alias)| Some((name.as_str(), target(alias)?)))
    }

    /// The groups that are tried after `asked`. An alias does not inherit those of its target.
    pub(super) fn fallbacks(&self, asked: &str) -> Vec<String> {
        let of = |key: &str| self.fallbacks.iter().find_map(|entry| entry.get(key)?.as_array());
        let names = of(asked).or_else(|| of("*")).into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The group that answers a name which nothing serves.
    pub(super) fn default_fallback(&self) -> Option<&str> {
        self.fallbacks.iter().find_map(|entry| entry.get("*")?.get(0)?.as_str())
    }

    fn settings(&self) -> Value {
        json!({
            "routing_strategy": "simple-shuffle",
            "num_retries": 0,
            "fallbacks": self.fallbacks,
            "context_window_fallbacks": null,
            "model_group_alias": self.aliases,
        })
    }
}

fn target(alias: &Value) -> Option<&str> {
    alias.as_str().or_else(|| alias["model"].as_str()).filter(|target| !target.is_empty())
}

/// The parts of `name` in the places of the stars of `pattern`, if it matches. The end is not anchored, as with the
/// genuine router's `re.match`.
pub(super) fn stars<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let (first, rest) = pattern.split_once('*')?;
    let name = name.strip_prefix(first)?;
    if !rest.contains('*') {
        return name.rfind(rest).map(|at| vec![&name[..at]]);
    }
    // The first star takes as much as leaves room for the others.
    let places: Vec<usize> = name.char_indices().map(|(at, _)| at).chain([name.len()]).collect();
    places.into_iter().rev().find_map(|at| {
        let more = stars(rest, &name[at..])?;
        Some([vec![&name[..at]], more].concat())
    })
}

/// Longer patterns come first.
pub(super) fn specificity(pattern: &str) -> (usize, usize) {
    let special = |c: char| "()[]{}?+-|^$\\.&~# \t".contains(c);
    let length = pattern.chars().map(|c| if c == '*' { 4 } else { 1 + usize::from(special(c)) }).sum();
    let complex = |c: char| match c {
        '*' => 3,
        '+' | '?' | '\\' | '^' | '$' | '|' | '(' | ')' => 2,
        c => usize::from(special(c)),
    };
    (length, pattern.chars().map(complex).sum())
}

/// `GET /router/settings` (1.80 and later)
pub(super) async fn settings(State(world): State<World>, caller: Caller) -> Answer {
    caller.administrate(&world)?;
    let state = world.lock();
    Ok(Json(json!({ "fields": [], "current_values": state.router.settings() })).into_response())
}

/// `GET /get/config/callbacks`
pub(super) async fn callbacks(State(world): State<World>, caller: Caller) -> Answer {
    caller.administrate(&world)?;
    let state = world.lock();
    let answer = json!({
        "status": "success",
        "callbacks": [],
        "alerts": [{ "name": "email", "variables": { "SMTP_PASSWORD": "smtp-secret" } }],
        "router_settings": state.router.settings(),
    });
    Ok(Json(answer).into_response())
}

/// `POST /config/update`: `router_settings` alone; aliases are merged, fallbacks replaced.
pub(super) async fn update(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let settings = body.object("router_settings")?.set().unwrap_or_default();
    let mut state = world.with_database(Touch::ModelEdit)?;
    if let Some(aliases) = settings.get("model_group_alias").and_then(Value::as_object) {
        state
            .router
            .aliases
            .extend(aliases.iter().take(MOST).map(|(name, alias)| (name.clone(), alias.clone())));
    }
    if let Some(fallbacks) = settings.get("fallbacks").and_then(Value::as_array) {
        state.router.fallbacks = fallbacks.iter().take(MOST).cloned().collect();
    }
    Ok(Json(json!({ "message": "Config updated successfully" })).into_response())
}

/// `GET /credentials`: values are masked.
pub(super) async fn credentials(State(world): State<World>, caller: Caller) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::ModelInfo)?;
    let credentials: Vec<&Value> = state.router.credentials.values().collect();
    Ok(Json(json!({ "success": true, "credentials": credentials })).into_response())
}

/// `POST /credentials`
pub(super) async fn create_credential(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let name = body.required("credential_name")?;
    let values = body.object("credential_values")?.set().unwrap_or_default();
    let mask = |(name, value): (String, Value)| {
        let shown =
            if name == "api_base" { value } else { json!(text::masked(value.as_str().unwrap_or(""))) };
        (name, shown)
    };
    let credential = json!({
        "credential_name": name,
        "credential_values": values.into_iter().map(mask).collect::<Map<_, _>>(),
        "credential_info": body.object("credential_info")?.set().unwrap_or_default(),
    });
    let mut state = world.with_database(Touch::ModelEdit)?;
    if state.router.credentials.len() < MOST {
        state.router.credentials.insert(name, credential);
    }
    Ok(Json(json!({ "success": true, "message": "Credential created successfully" })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_pythons_re_match_does() {
        assert_eq!(stars("openai/*", "openai/a/b"), Some(vec!["a/b"]));
        assert_eq!(stars("openai/*", "openai/"), Some(vec![""]));
        assert_eq!(stars("openai/*", "xopenai/a"), None);
        assert_eq!(stars("a*b", "aXbYbZ"), Some(vec!["XbY"]), "greedy, the end is open");
        assert_eq!(stars("a*b", "aX"), None);
        assert_eq!(stars("l/fo::*::s::*", "l/fo::bar::s::baz"), Some(vec!["bar", "baz"]));
        assert_eq!(stars("plain", "plain"), None);
        assert!(specificity("openai/gpt-*") > specificity("openai/*"));
    }
}
