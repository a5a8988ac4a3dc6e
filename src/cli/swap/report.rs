//! What a swap did, as the helper's lines or as JSON.

use patchbay::domain::context::ContextId;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, Failure, table};

/// Says each thing as it happens, or all of them at the end as JSON.
pub(super) struct Report {
    is_json: bool,
    context: ContextId,
    facts: Map<String, Value>,
}

impl Report {
    pub(super) fn new(is_json: bool, context: &ContextId) -> Self {
        Self { is_json, context: context.clone(), facts: Map::new() }
    }

    /// `Model response: …` and its like; under `name` in the JSON.
    pub(super) fn response(&mut self, name: &str, text: &str, more: Value) {
        if !self.is_json {
            let mut title: String = name.to_owned();
            title[..1].make_ascii_uppercase();
            say!("{title} response: {}", table::shown(text));
        }
        self.note(name, text, more);
    }

    /// The configuration, on lines of its own.
    pub(super) fn config(&mut self, text: &str, more: Value) {
        if !self.is_json {
            say!("Config:\n{}", table::shown(text));
        }
        self.note("config", text, more);
    }

    fn note(&mut self, name: &str, text: &str, more: Value) {
        let mut fact = json!({ "response": text });
        if let (Some(fact), Value::Object(more)) = (fact.as_object_mut(), more) {
            fact.extend(more);
        }
        self.facts.insert(name.to_owned(), fact);
    }

    /// A line that the helper does not have.
    pub(super) fn line(&mut self, name: &str, title: &str, fact: Value) {
        if !self.is_json {
            let text = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
            say!("{title}: {}", table::shown(&text));
        }
        self.facts.insert(name.to_owned(), fact);
    }

    /// A fact for the JSON alone.
    pub(super) fn fact(&mut self, name: &str, fact: Value) {
        self.facts.insert(name.to_owned(), fact);
    }

    /// The last line, and the exit code. What went wrong goes to standard error.
    pub(super) fn end(mut self, ended: Result<Exit, Failure>) -> Exit {
        let (exit, error) = match ended {
            Ok(exit) => (exit, None),
            Err(failure) => (failure.exit, Some(failure.text)),
        };
        if self.is_json {
            self.facts.insert("context".to_owned(), json!(self.context));
            self.facts.insert("exit".to_owned(), exit.code().into());
            if let Some(error) = &error {
                self.facts.insert("error".to_owned(), error.as_str().into());
            }
            say!("{:#}", Value::Object(self.facts));
        } else {
            say!("Context ID: {}", self.context);
        }
        if let Some(error) = error {
            eprintln!("patchbay: {error}");
        }
        exit
    }
}
