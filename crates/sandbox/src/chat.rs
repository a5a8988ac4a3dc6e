//! `POST /v1/chat/completions` and `POST /v1/responses`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::{self, Caller};
use super::body::Body;
use super::calls::ChatCall;
use super::errors::{Answer, Refusal};
use super::generation::Generation;
use super::key_table::Exceeded;
use super::spend::{self, Entry, Usage};
use super::stream;
use super::teams;
use super::text;
use super::upstream::{self, Outcome, Reply};
use super::world::{State as Held, World};

/// The log's word for a call of `/v1/responses`.
const RESPONSES: &str = "aresponses";

struct Request {
    model: Option<String>,
    messages: Vec<Value>,
    stream: bool,
    include_usage: bool,
    session: Option<String>,
    call_type: &'static str,
    size: usize,
}

struct Call {
    reply: Reply,
    upstream_model: String,
    entry: Entry,
}

pub(super) struct Completion {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) text: String,
    pub(super) mock: bool,
    pub(super) usage: Usage,
    pub(super) include_usage: bool,
}

pub(super) async fn complete(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    answer(&world, &caller, &Request::read(body)).await
}

/// Answers a question in one piece.
pub(super) async fn respond(State(world): State<World>, caller: Caller, mut body: Body) -> Answer {
    let messages = match body.map.remove("input") {
        Some(Value::String(text)) => json!([{ "role": "user", "content": text }]),
        other => other.unwrap_or_default(),
    };
    body.map.insert("messages".to_owned(), messages);
    body.map.remove("stream");
    answer(&world, &caller, &Request { call_type: RESPONSES, ..Request::read(body) }).await
}

async fn answer(world: &World, caller: &Caller, request: &Request) -> Answer {
    let asked = request.model.clone().unwrap_or_else(|| "None".to_owned());
    admit(world.generation(), &mut world.lock(), caller, request.model.as_deref(), world.now())?;
    let fallbacks = world.lock().router.fallbacks(&asked);
    // A failure that a fallback makes up for is not logged (`spend_logs`).
    let mut refusal: Option<(Refusal, Option<Entry>)> = None;
    for (attempted, group) in std::iter::once(asked).chain(fallbacks).enumerate() {
        let call = match prepare(world, caller, request, &group) {
            Ok(call) => call,
            Err(refused) => {
                refusal = refusal.or(Some((refused, None)));
                break;
            }
        };
        if !call.reply.wait.is_zero() {
            tokio::time::sleep(call.reply.wait).await;
        }
        match settle(world, caller, request, call, attempted) {
            Ok(answer) => return Ok(answer),
            Err(failed) => refusal = refusal.or(Some((failed.0, Some(failed.1)))),
        }
    }
    let Some((refusal, entry)) = refusal else { return Err(Refusal::crash()) };
    if let Some(entry) = entry {
        world.lock().ledger.book(entry);
    }
    Err(refusal)
}

impl Request {
    fn read(mut body: Body) -> Self {
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let options = body.map.get("stream_options");
        let include_usage = flag(options.and_then(|options| options.get("include_usage")));
        let stream = flag(body.map.get("stream"));
        let model = body.map.get("model").and_then(Value::as_str).map(str::to_owned);
        let messages = match body.map.remove("messages") {
            Some(Value::Array(messages)) => messages,
            _ => Vec::new(),
        };
        let session = body.map.get("litellm_session_id").and_then(Value::as_str).map(str::to_owned);
        Self { model, messages, stream, include_usage, session, call_type: "acompletion", size: body.size }
    }
}

fn prepare(world: &World, caller: &Caller, request: &Request, group: &str) -> Result<Call, Refusal> {
    let generation = world.generation();
    let now = world.now();
    let mut state = world.lock();
    let turn = state.models.take_turn();
    let mut name = state.router.resolve(group).to_owned();
    if state.models.serving(&name, now).is_empty()
        && let Some(fallback) = state.router.default_fallback()
    {
        state.router.resolve(fallback).clone_into(&mut name);
    }
    let serving = state.models.serving(&name, now);
    if serving.is_empty() {
        let refusal = invalid_model(generation, group);
        let entry = entry(world, caller, &state, request, group, now);
        state.ledger.book(Entry { error: Some((refusal.status(), refusal.message())), ..entry });
        return Err(refusal);
    }
    let open: Vec<_> = serving.into_iter().filter(|(deployment, _)| !deployment.row.blocked).collect();
    let Some((deployment, row)) = open.get(turn % open.len().max(1)) else {
        let message = "litellm.PermissionDeniedError: Model is blocked";
        return Err(Refusal::proxy(403, "permission_error", Value::Null, message));
    };
    let upstream_model = row.upstream_model(&name).unwrap_or_default();
    let reply = upstream::ask(generation, row, &upstream_model, &request.messages);
    let usage = match &reply.outcome {
        Outcome::Mock(_) => Usage { prompt: 10, completion: 20 },
        Outcome::Text(_, completion) => {
            let prompt = upstream::prompt_tokens(&upstream_model, &request.messages);
            Usage { prompt, completion: *completion }
        }
        _ => Usage::default(),
    };
    let provider = row.upstream().map(|(provider, _)| provider.to_owned()).unwrap_or_default();
    let entry = Entry {
        model: format!("{provider}/{upstream_model}"),
        model_id: deployment.id.clone(),
        provider,
        api_base: row.text("api_base").to_owned(),
        usage,
        cost: upstream::cost(row, &upstream_model, usage),
        ..entry(world, caller, &state, request, group, now)
    };
    let asked = ChatCall {
        model: group.to_owned(),
        key_alias: entry.alias.clone(),
        messages: request.messages.clone(),
    };
    state.calls.push(request.size, asked);
    Ok(Call { reply, upstream_model, entry })
}

/// The ledger's entry of a call that did not come far.
fn entry(
    world: &World,
    caller: &Caller,
    state: &Held,
    request: &Request,
    group: &str,
    now: Timestamp,
) -> Entry {
    let key = caller.key(state);
    Entry {
        request_id: Uuid::new_v4().to_string(),
        token: caller.token.clone().unwrap_or_else(|| world.master_token()),
        alias: key.and_then(|key| key.alias.clone()),
        user: key.and_then(|key| key.user_id.clone()),
        group: group.to_owned(),
        call_type: request.call_type,
        session: request.session.clone(),
        model: group.to_owned(),
        model_id: String::new(),
        provider: String::new(),
        api_base: String::new(),
        usage: Usage::default(),
        cost: 0.0,
        start: now,
        end: now,
        error: None,
        asked: request.model.clone().unwrap_or_else(|| group.to_owned()),
        fallbacks: 0,
        bodies: Some((
            spend::stored(request.model.as_deref(), &request.messages, request.session.as_deref()),
            json!({}),
        )),
    }
}

/// Budget, models and rate of a virtual key, in this order.
fn admit(
    generation: Generation,
    state: &mut Held,
    caller: &Caller,
    model: Option<&str>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(key) = caller.key(state) else { return Ok(()) };
    auth::budget(generation, key)?;
    if let Some(model) = model {
        let is_left_to_team = key.models.iter().any(|entry| entry == "all-team-models");
        if !is_left_to_team && !state.models.allows(&key.models, model, now) {
            return Err(denied(generation, &key.models, model));
        }
        teams::admit(generation, state, key, |models| state.models.allows(models, model, now))?;
    }
    let Some(key) = caller.token.as_deref().and_then(|token| state.keys.get_mut(token)) else {
        return Ok(());
    };
    key.admit(now).map_err(|exceeded| throttled(generation, &key.token, &exceeded, now))
}

fn denied(generation: Generation, models: &[String], model: &str) -> Refusal {
    let (status, message) = match generation {
        Generation::V1_80 => (
            401,
            format!(
                "key not allowed to access model. This key can only access models={}. Tried to access {model}",
                text::list(models)
            ),
        ),
        Generation::V1_109 => (
            403,
            format!(
                "The requested model '{model}' is not available for this API key, or the model name is invalid. \
                 Check the models available to you and try again."
            ),
        ),
    };
    Refusal::proxy(status, "key_model_access_denied", "model", message)
}

fn throttled(generation: Generation, token: &str, exceeded: &Exceeded, now: Timestamp) -> Refusal {
    let message = format!(
        "Rate limit exceeded for api_key: {token}. Limit type: {}. Current limit: {}, Remaining: 0. Limit resets \
         at: {} UTC",
        exceeded.kind,
        exceeded.limit,
        exceeded.resets.strftime("%Y-%m-%d %H:%M:%S"),
    );
    Refusal::admin(generation, 429, "None", "throttling_error", message)
        .retry_after(exceeded.resets.duration_since(now).as_secs())
}

fn invalid_model(generation: Generation, model: &str) -> Refusal {
    let message = format!(
        "/chat/completions: Invalid model name passed in model={model}. Call `/v1/models` to view available \
         models for your key."
    );
    match generation {
        Generation::V1_80 => Refusal::proxy(400, "None", "None", format!("{{'error': '{message}'}}")),
        Generation::V1_109 => Refusal::json(
            400,
            json!({ "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": null,
                "code": "400",
                "provider_specific_fields": { "error": message },
            } }),
        ),
    }
}

/// The answer, or why there is none, with the entry for the log.
fn settle(
    world: &World,
    caller: &Caller,
    request: &Request,
    call: Call,
    attempted: usize,
) -> Result<Response, Box<(Refusal, Entry)>> {
    let generation = world.generation();
    let now = world.now();
    let mut entry = Entry { end: now, ..call.entry };
    let refusal = upstream::failure(generation, &entry.provider, &entry.group, &call.reply.outcome);
    let mut state = world.lock();
    if let Some(refusal) = refusal {
        entry.error = Some((refusal.status(), refusal.message()));
        return Err(Box::new((refusal, entry)));
    }
    let (text, mock) = match call.reply.outcome {
        Outcome::Mock(text) => (text, true),
        Outcome::Text(text, _) => (text, false),
        _ => (String::new(), false),
    };
    let completion = Completion {
        id: format!("chatcmpl-{}", entry.request_id),
        created: now.as_second(),
        // The older proxy names the upstream model, the newer one what was asked for (`chat_mock`).
        model: match generation {
            Generation::V1_80 => call.upstream_model,
            Generation::V1_109 => entry.group.clone(),
        },
        text,
        mock,
        usage: entry.usage,
        include_usage: request.include_usage,
    };
    let mut spent = 0.0;
    if let Some(key) = caller.token.as_deref().and_then(|token| state.keys.get_mut(token)) {
        key.charge(entry.cost, entry.usage.total(), now);
        spent = key.spend;
    }
    let headers = headers(generation, &entry, spent, attempted);
    entry.request_id.clone_from(&completion.id);
    entry.fallbacks = attempted;
    if let Some((_, answer)) = &mut entry.bodies {
        *answer = spend::stored_answer(&completion);
    }
    state.ledger.book(entry);
    drop(state);
    let mut response = match request.call_type {
        RESPONSES => response(&completion),
        _ if request.stream => stream::events(generation, &completion),
        _ => whole(generation, &completion),
    };
    response.headers_mut().extend(headers);
    Ok(response)
}

/// `attempted` fallbacks before this one answered (`x_chat_fallback`).
fn headers(generation: Generation, entry: &Entry, spent: f64, attempted: usize) -> HeaderMap {
    let values = [
        ("x-litellm-model-group", entry.group.clone()),
        ("x-litellm-attempted-fallbacks", attempted.to_string()),
        ("x-litellm-call-id", entry.request_id.clone()),
        ("x-litellm-model-id", entry.model_id.clone()),
        ("x-litellm-version", generation.version().to_owned()),
        ("x-litellm-response-cost", text::float(entry.cost)),
        ("x-litellm-key-spend", text::float(spent)),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        // An id chosen by a client may not fit into a header; the real proxy drops such headers as well.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The answer of `/v1/responses`.
fn response(completion: &Completion) -> Response {
    let answer = json!({
        "id": completion.id,
        "created_at": completion.created,
        "model": completion.model,
        "object": "response",
        "status": "completed",
        "output": [{
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{ "type": "output_text", "text": completion.text, "annotations": [] }],
        }],
        "usage": {
            "input_tokens": completion.usage.prompt,
            "output_tokens": completion.usage.completion,
            "total_tokens": completion.usage.total(),
        },
    });
    Json(answer).into_response()
}

fn whole(generation: Generation, completion: &Completion) -> Response {
    let mut choice = json!({
        "finish_reason": "stop",
        "index": 0,
        "message": { "content": completion.text, "role": "assistant" },
    });
    // What the upstream sent beyond the essentials passes through 1.109, unless the proxy answered itself.
    if generation == Generation::V1_109 && !completion.mock {
        choice["message"]["refusal"] = Value::Null;
        choice["provider_specific_fields"] = json!({});
        choice["logprobs"] = Value::Null;
    }
    let answer = json!({
        "id": completion.id,
        "created": completion.created,
        "model": completion.model,
        "object": "chat.completion",
        "choices": [choice],
        "usage": completion.usage.json(),
    });
    Json(answer).into_response()
}
