//! Output of a swap: the lines of the guide's helper, or JSON.

use patchbay::domain::context::ContextId;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, Failure, table};

/// Prints lines at once and JSON at the end.
pub(super) struct Report {
    is_json: bool,
    context: ContextId,
    facts: Map<String, Value>,
    /// `dashboard` or `agent`, and its address.
    way: (&'static str, String),
}

impl Report {
    pub(super) fn new(is_json: bool, context: &ContextId, way: (&'static str, String)) -> Self {
        Self { is_json, context: context.clone(), facts: Map::new(), way }
    }

    /// `Model response: …`, or `Config:` and lines; `name` in the JSON.
    pub(super) fn response(&mut self, name: &str, text: &str, more: Value) {
        let shown = table::shown(text);
        if !self.is_json && name == "config" {
            say!("Config:\n{shown}");
        } else if !self.is_json {
            let mut title: String = name.to_owned();
            title[..1].make_ascii_uppercase();
            say!("{title} response: {shown}");
        }
        let mut fact = json!({ "response": text });
        if let (Some(fact), Value::Object(more)) = (fact.as_object_mut(), more) {
            fact.extend(more);
        }
        self.fact(name, fact);
    }

    pub(super) fn line(&mut self, name: &str, title: &str, fact: Value) {
        if !self.is_json {
            let text = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
            say!("{title}: {}", table::shown(&text));
        }
        self.fact(name, fact);
    }

    /// For the JSON only.
    pub(super) fn fact(&mut self, name: &str, fact: Value) {
        self.facts.insert(name.to_owned(), fact);
    }

    pub(super) fn end(mut self, ended: Result<Exit, Failure>) -> Exit {
        let (exit, error) = match ended {
            Ok(exit) => (exit, None),
            Err(failure) => (failure.exit, Some(failure.text)),
        };
        let (way, address) = self.way;
        if self.is_json {
            self.facts.insert("via".to_owned(), json!({ "kind": way, "address": address }));
            self.facts.insert("context".to_owned(), json!(self.context));
            self.facts.insert("exit".to_owned(), (exit as u8).into());
            if let Some(error) = &error {
                self.facts.insert("error".to_owned(), error.as_str().into());
            }
            say!("{:#}", Value::Object(self.facts));
        } else {
            say!("Context ID: {}", self.context);
        }
        match error {
            Some(error) => eprintln!("patchbay: {error}"),
            None if way == "agent" => eprintln!("patchbay: sent directly to the agent at {address}"),
            None => eprintln!("patchbay: done through the dashboard at {address}"),
        }
        exit
    }
}
