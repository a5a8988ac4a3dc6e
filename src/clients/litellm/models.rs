//! Deployments: read whole, registered, changed, deleted, blocked, tried.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{LiteLlm, Request, none_if, not_understood, usable};
use crate::clients::http;
use crate::clients::lenient::{Lenient, Object, Rows as Listed, Text, memory_of};
use crate::clients::{ClientError, Meaning, Result};
use crate::domain::model::Source;
use crate::domain::model_detail::{Detail, Draft};
use crate::domain::redact;

/// Which deployment answered (`x-litellm-model-id`).
const MODEL_ID: &str = "x-litellm-model-id";

/// What it asked its provider for, where the proxy tells (`x-litellm-model-name`, 1.109).
const MODEL_NAME: &str = "x-litellm-model-name";

/// Longest part of a model's answer that is kept, in characters.
const MAX_SAID: usize = 200;

/// Most memory that what is set in one deployment takes, in bytes: 20,000 is normal.
const MAX_DETAIL: usize = 256 * 1024;

/// The answer to a tiny chat completion by one deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The model that the proxy says has answered.
    pub model: Option<String>,
    /// The id of the deployment that the proxy says has answered.
    pub deployment: Option<String>,
    /// How the answer begins.
    pub said: String,
    /// From the first byte sent to the last one read.
    pub took: Duration,
}

#[derive(Deserialize)]
struct Rows {
    data: Listed<Row>,
}

/// A row with all that is set in it; the proxy adds some two hundred nulls.
#[derive(Deserialize)]
pub(super) struct Row {
    model_name: Text,
    litellm_params: Object<Map<String, Value>>,
    model_info: Object<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Spoken {
    model: Lenient<String>,
    choices: Listed<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Object<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Lenient<String>,
}

impl Row {
    pub(super) fn into_detail(self) -> Option<Detail> {
        let mut info = self.model_info.0?;
        let id = info.remove("id")?.as_str()?.to_owned();
        let source = match info.remove("db_model") {
            Some(Value::Bool(false)) => Source::Config,
            _ => Source::Database,
        };
        let blocked = info.remove("blocked") == Some(Value::Bool(true));
        info.retain(|_, value| !value.is_null());
        let mut params = self.litellm_params.0.unwrap_or_default();
        params.retain(|_, value| !value.is_null());
        let memory: usize = params.values().chain(info.values()).map(memory_of).sum();
        if memory > MAX_DETAIL {
            return None;
        }
        let name = self.model_name.0.unwrap_or_default();
        Some(Detail { id, name, source, blocked, params, info })
    }
}

impl LiteLlm {
    /// `GET /model/info?litellm_model_id=`: one live deployment, whole; none if the proxy serves no such one.
    pub async fn deployment(&self, id: &str) -> Result<Option<Detail>> {
        let request = self.get("model/info").query(&[("litellm_model_id", id)]).expecting(is_unknown);
        // `model_info_one_unknown`: 400 on both releases.
        none_if(
            is_unknown,
            request.tree(|answer: Rows| Ok(with_id(usable(answer.data.0, Row::into_detail)?, id))).await,
        )
    }

    /// `GET /v2/model/info?modelId=`: the one place where 1.106 and later show a deployment that is saved
    /// and not live. 1.80 ignores the parameter and lists what is live.
    pub async fn stored_deployment(&self, id: &str) -> Result<Option<Detail>> {
        let request = self.get("v2/model/info").query(&[("modelId", id), ("size", "1")]);
        let read = |rows: Vec<Option<Row>>| rows.into_iter().flatten().filter_map(Row::into_detail).collect();
        request.tree(|answer: Rows| Ok(with_id(answer.data.0.map(read).unwrap_or_default(), id))).await
    }

    /// `POST /model/new`, under an id of ours: so it is known even where the answer is lost, or is 1.109's
    /// 500 for a row that it has saved and cannot serve.
    pub async fn register(&self, id: &str, draft: &Draft, actor: &str) -> Result<()> {
        let mut info = draft.info.clone();
        info.insert("id".to_owned(), json!(id));
        let body = json!({ "model_name": draft.name, "litellm_params": draft.params, "model_info": info });
        self.post("model/new", &body, actor).done(draft.raw_secrets()).await
    }

    /// `PATCH /model/{id}/update`: at once on both releases; `POST /model/update` is not served for 20 s on
    /// 1.80. What the draft leaves out stays. The id goes along, or the answer would show a new one.
    pub async fn patch(&self, id: &str, name: Option<&str>, draft: &Draft, actor: &str) -> Result<()> {
        let mut body = Map::new();
        if let Some(name) = name {
            body.insert("model_name".to_owned(), json!(name));
        }
        if !draft.params.is_empty() {
            body.insert("litellm_params".to_owned(), json!(draft.params));
        }
        if !draft.info.is_empty() {
            let mut info = draft.info.clone();
            info.insert("id".to_owned(), json!(id));
            body.insert("model_info".to_owned(), json!(info));
        }
        if !is_segment(id) {
            // The proxy's server takes such an id for several segments, however it is written. What is sent this way
            // 1.80 serves after its next sync.
            body.entry("litellm_params").or_insert_with(|| json!({}));
            body.entry("model_info").or_insert_with(|| json!({ "id": id }));
            return self.post("model/update", &Value::Object(body), actor).done(draft.raw_secrets()).await;
        }
        let path = format!("model/{}/update", segment(id));
        let request = self.request_with(&self.master_key, Method::PATCH, "model/{id}/update", &path);
        request.body(&Value::Object(body)).changed_by(actor).done(draft.raw_secrets()).await
    }

    /// `POST /model/delete`. False if the proxy knows no such deployment in its database.
    pub async fn delete_deployment(&self, id: &str, actor: &str) -> Result<bool> {
        let request = self.post("model/delete", &json!({ "id": id }), actor).expecting(is_not_in_database);
        match request.done(Vec::new()).await {
            Err(error) if is_not_in_database(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// `POST /model/block` or `/model/unblock`, which 1.106 and later have.
    pub async fn set_blocked(&self, id: &str, blocked: bool, actor: &str) -> Result<()> {
        let route = if blocked { "model/block" } else { "model/unblock" };
        self.post(route, &json!({ "model_id": id }), actor).done(Vec::new()).await
    }

    /// One tiny chat completion by one deployment: the proxy takes a deployment's id for a model's name.
    pub async fn try_deployment(&self, id: &str) -> Result<Tried> {
        let mut request = self.tiny_completion(&self.master_key, id);
        request.limits.size = 1024 * 1024;
        let begun = Instant::now();
        request
            .answer(|answer| {
                let took = begun.elapsed();
                let header =
                    |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                let spoken: Spoken = http::json(&answer.body)
                    .map_err(|_| not_understood(format!("no completion: {}", http::excerpt(&answer.body))))?;
                let choice = spoken.choices.0.and_then(|choices| choices.into_iter().flatten().next());
                let choice = choice.ok_or_else(|| not_understood("a completion without choices"))?;
                let said = choice.message.0.and_then(|message| message.content.0).unwrap_or_default();
                let said = redact::secrets(&said).chars().take(MAX_SAID).collect();
                // 1.109 repeats in its answer what was asked for, which is the id here.
                let model = spoken.model.0.filter(|model| model != id).or_else(|| header(MODEL_NAME));
                Ok(Tried { model, deployment: header(MODEL_ID), said, took })
            })
            .await
    }
}

impl Request<'_> {
    /// A write whose answer says nothing that is needed: what became of it is read back. `secrets` went along.
    async fn done(mut self, secrets: Vec<String>) -> Result<()> {
        self.secrets.extend(secrets.into_iter().map(Into::into));
        self.answer(|_| Ok(())).await
    }
}

fn with_id(details: Vec<Detail>, id: &str) -> Option<Detail> {
    details.into_iter().find(|found| found.id == id)
}

fn is_not_in_database(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 400, message, .. } if message.contains("not found in db"))
}

fn is_unknown(error: &ClientError) -> bool {
    match error {
        ClientError::Status { status: 400 | 404, message, meaning, .. } => {
            message.contains("not found") || *meaning == Meaning::NotFound
        }
        _ => false,
    }
}

/// Whether an id can be a segment of a path.
pub fn is_segment(id: &str) -> bool {
    !id.contains('/') && !matches!(id, "" | "." | "..")
}

/// An id as one segment of a path, whatever it holds.
pub(super) fn segment(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}
