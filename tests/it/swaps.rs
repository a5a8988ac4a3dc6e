//! Swaps as they happen, questions, contexts that someone else changes, swaps for a time.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod asks;
mod assess;

mod compare;
mod contexts;
mod drift;
pub(crate) mod fallback;
mod faults;
mod fenced;
mod killed;
mod live;
mod proxies;
mod rehearse;
mod scope;
pub(crate) mod served;
mod wide;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchbay::clients::a2a::Agent;
use patchbay::clients::build_http;
use patchbay_clock::Clock;
use reqwest::{StatusCode, header};
use serde_json::Value;

use crate::support::{Browser, Page, TestApp};

/// A clock that runs, and that a test can put forward.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicI64>);

impl Ahead {
    pub(crate) fn clock(&self) -> Clock {
        let (ahead, system) = (Arc::clone(&self.0), Clock::system());
        Clock::from_fn(move || -> Timestamp {
            system.now() + SignedDuration::from_secs(ahead.load(Ordering::SeqCst))
        })
    }

    pub(crate) fn by(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// Someone else's control message.
pub(crate) async fn from_elsewhere(app: &TestApp, context: &str, text: &str) -> String {
    let agent = Agent::new(build_http().unwrap(), app.agent_url().clone());
    agent.send(&context.parse().unwrap(), text, Duration::from_secs(5)).await.unwrap().text
}

async fn switch(browser: &Browser, context: &str, model: &str, more: &[(&str, &str)]) -> Page {
    let mut form = vec![("agent", "task-agent"), ("context", context), ("model", model)];
    form.extend_from_slice(more);
    browser.post("/switch", &form).await
}

/// Lets the agent's key call every model.
async fn relax(app: &TestApp) {
    let (status, _) = app.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    assert_eq!(status, StatusCode::OK);
}

/// The events of a stream, to its end: name and data.
async fn events(browser: &Browser, base: &str, path: &str) -> Vec<(String, String)> {
    let answer = browser.http.get(format!("{base}{path}")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/event-stream"));
    let text = answer.text().await.unwrap();
    text.split("\n\n")
        .filter(|event| event.starts_with("event:") || event.starts_with("data:"))
        .map(|event| {
            let field = |name: &str| {
                let lines = event.lines().filter_map(|line| line.strip_prefix(name));
                lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
            };
            (field("event:"), field("data:"))
        })
        .collect()
}

/// The audit's entries of one kind, the newest first.
async fn audited(app: &TestApp, action: &str) -> Vec<Value> {
    let (_, audit) = app.script().get("/audit").await;
    audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == action).cloned().collect()
}
