//! Agents of the proxy's own A2A gateway, as LiteLLM 1.109.1 serves them.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::database::lasting;
use crate::support::{MASTER_KEY, Setup, TestApp, client, spawn};

const ID: &str = "01b2a906-6a77-4ae8-a3ca-4019e026f0ea";

/// A proxy with a gateway: the sandbox, and the built-in agent behind `/a2a/{ID}`.
struct Fake {
    http: reqwest::Client,
    sandbox: String,
    agent: Mutex<String>,
    /// Other than the agent's own, so that both could be used.
    own: String,
    key: String,
    has_gateway: Mutex<bool>,
}

async fn forward(fake: &Fake, method: Method, url: String, headers: HeaderMap, body: Bytes) -> Response {
    let mut request = fake.http.request(method, url).body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::HeaderName::from_static("a2a-version")]
    {
        request = match headers.get(&name) {
            Some(value) => request.header(name, value),
            None => request,
        };
    }
    let Ok(answer) = request.send().await else {
        let error = json!({ "code": -32603, "message": "Internal error: Cannot connect to host helper:1" });
        let body = json!({ "jsonrpc": "2.0", "id": "1", "error": error });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    };
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    (answer.status(), kind.map(|kind| [(header::CONTENT_TYPE, kind)]), answer.bytes().await.unwrap())
        .into_response()
}

async fn list(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {MASTER_KEY}"));
    if !*fake.has_gateway.lock().unwrap() {
        return (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response();
    }
    let row = json!({
        "agent_id": ID, "agent_name": "helper (one)", "enabled": true, "litellm_params": { "is_public": false },
        "agent_card_params": { "name": "helper", "description": "Helps <b>", "url": fake.own },
    });
    Json(json!([row, { "agent_name": "without an id" }])).into_response()
}

/// The gateway's own refusals are JSON-RPC errors with a status of HTTP.
fn refused(fake: &Fake, id: &str, headers: &HeaderMap) -> Option<Response> {
    let error = |status: StatusCode, code: i64, message: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": "1", "error": { "code": code, "message": message } });
        Some((status, Json(body)).into_response())
    };
    if headers.get(header::AUTHORIZATION).is_none_or(|given| *given != format!("Bearer {}", fake.key)) {
        return error(StatusCode::UNAUTHORIZED, -32000, "Authentication Error, Invalid API key provided.");
    }
    if id != ID {
        return error(StatusCode::NOT_FOUND, -32000, "Agent not found");
    }
    None
}

async fn message(
    State(fake): State<Arc<Fake>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refused(&fake, &id, &headers) {
        return refusal;
    }
    let agent = fake.agent.lock().unwrap().clone();
    forward(&fake, Method::POST, agent, headers, body).await
}

/// The gateway's card has neither extensions nor version 1.0.
async fn card(State(fake): State<Arc<Fake>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let card = json!({
        "name": "helper", "description": "Helps", "version": "1", "protocolVersion": "0.3", "skills": [],
        "capabilities": { "streaming": true }, "preferredTransport": "JSONRPC",
        "url": format!("http://proxy.example/a2a/{id}"),
    });
    refused(&fake, &id, &headers).unwrap_or_else(|| Json(card).into_response())
}

async fn rest(
    State(fake): State<Arc<Fake>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    forward(&fake, method, format!("{}{uri}", fake.sandbox), headers, body).await
}

/// What the dashboard needs for as long as it runs.
type Rest = (TestApp, Option<tempfile::TempDir>, DropGuard);

/// A dashboard beside a proxy with a gateway.
async fn started() -> (TestApp, Arc<Fake>, Rest) {
    let (dir, url) = lasting().await;
    let app = TestApp::with(Setup { database_url: Some(url), ..Setup::default() }).await;
    let fake = Arc::new(Fake {
        http: client(Policy::none()),
        sandbox: app.sandbox.clone(),
        agent: Mutex::new(app.agent.clone()),
        own: "http://helper.example:1/a2a".to_owned(),
        key: app.agent_key.expose_secret().to_owned(),
        has_gateway: Mutex::new(true),
    });
    let router = Router::new()
        .route("/v1/agents", get(list))
        .route("/a2a/{id}", post(message))
        .route("/a2a/{id}/.well-known/agent-card.json", get(card))
        .fallback(rest)
        .with_state(Arc::clone(&fake));
    let (address, guard) = spawn(router).await;
    let beside = app.replica_on(&format!("http://{address}")).await;
    (beside, fake, (app, dir, guard))
}

fn adopt() -> String {
    format!("/gateway/{ID}/adopt")
}

#[tokio::test]
async fn an_agent_of_the_gateway_is_found_adopted_switched_and_removed() {
    let (app, _fake, _rest) = started().await;
    let user = app.user().await;
    let page = user.get("/agents").await;
    assert_eq!(page.attributes("#found-agents tbody tr", "data-gateway"), [ID], "{}", page.text());
    assert!(page.text().contains("In the proxy's gateway, not used here yet"), "{}", page.text());
    assert_eq!(page.one("#found-agents tbody td[data-label=Description]"), "Helps <b>");

    // One click: the form as it is.
    let key = page.attributes("#found-agents form input[name=key]", "value").remove(0);
    let page = user.post(&adopt(), &[("key", key.as_str())]).await;
    assert_eq!((page.one("h1").as_str(), page.url.path()), ("helper-one", "/agents/helper-one"));
    assert!(!page.has("[role=alert]"), "{}", page.text());
    assert!(!page.body.contains(app.agent_key.expose_secret()));

    let script = app.script();
    let (_, agents) = script.get("/agents").await;
    assert_eq!(agents["found"], json!([]), "{agents}");
    let adopted = agents["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "helper-one");
    let adopted = adopted.unwrap_or_else(|| panic!("{agents}"));
    assert_eq!((&adopted["is_adopted"], &adopted["trouble"]), (&json!(true), &Value::Null), "{agents}");

    let form =
        [("agent", "helper-one"), ("context", "c1"), ("model", "openai/gpt-5-mini"), ("message", "Hi")];
    let (_, swap) = script.post("/switch", &form).await;
    assert_eq!(swap["outcome"], "proven", "{swap}");
    let (_, config) = script.post("/contexts/helper-one/c1/refresh", &[]).await;
    assert_eq!((&config["provider"], &config["model"]), (&json!("openai"), &json!("gpt-5-mini")));

    let (status, again) = script.post(&adopt(), &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{again}");
    let page = user.post("/agents/helper-one/remove", &[]).await;
    assert_eq!(page.url.path(), "/agents");
    assert_eq!(page.attributes("#found-agents tbody tr", "data-gateway"), [ID], "{}", page.text());
    assert_eq!(user.get("/agents/helper-one").await.status, StatusCode::NOT_FOUND);
    let (_, audit) = script.get("/audit?what=agent").await;
    let actions: Vec<&Value> =
        audit["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["agent.remove", "agent.adopt"], "{audit}");
}

#[tokio::test]
async fn adopted_agents_are_there_after_a_restart_and_on_other_replicas() {
    let (mut app, _fake, _rest) = started().await;
    let (status, adopted) = app.script().post(&adopt(), &[]).await;
    assert_eq!((status, &adopted["name"]), (StatusCode::OK, &json!("helper-one")), "{adopted}");
    let replica = app.replica().await;
    assert_eq!(replica.script().get("/agents/helper-one").await.0, StatusCode::OK);
    app.restart(|_| ()).await;
    assert_eq!(app.script().get("/agents/helper-one").await.0, StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_shown_where_the_proxy_has_no_gateway() {
    let (app, fake, _rest) = started().await;
    *fake.has_gateway.lock().unwrap() = false;
    let page = app.user().await.get("/agents").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.has("#found-agents") && !page.has("#found-trouble"), "{}", page.text());
}

#[tokio::test]
async fn an_agent_that_is_used_at_its_own_address_is_not_offered() {
    let (mut app, fake, _rest) = started().await;
    app.restart(|config| config.agents[0].url = fake.own.parse().unwrap()).await;
    let (_, agents) = app.script().get("/agents").await;
    assert_eq!(agents["found"], json!([]), "{agents}");
}

#[tokio::test]
async fn a_variable_that_holds_no_virtual_key_is_refused() {
    let (mut app, _fake, _rest) = started().await;
    let script = app.script();
    for variable in ["PATH", "NOT_SET_ANYWHERE", "sk-12345678", "../x"] {
        let (status, answer) = script.post(&adopt(), &[("key", variable)]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{variable}: {answer}");
        assert!(!answer.to_string().contains("sk-12345678"), "{answer}");
    }
    app.restart(|config| config.agent_key = Some(config.master_key.clone())).await;
    let (status, answer) = app.script().post(&adopt(), &[]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
}

#[tokio::test]
async fn an_agent_that_the_gateway_does_not_reach_is_down() {
    let (app, fake, _rest) = started().await;
    let script = app.script();
    let (_, adopted) = script.post(&adopt(), &[]).await;
    assert_eq!(adopted["name"], "helper-one", "{adopted}");
    *fake.agent.lock().unwrap() = format!("http://{}", crate::support::closed_port().await);
    let replica = app.replica().await;
    let (_, agent) = replica.script().get("/agents/helper-one").await;
    let trouble = agent["agent"]["trouble"].to_string();
    assert!(trouble.contains("Cannot connect to host") && trouble.contains("does not reach"), "{agent}");
}

#[tokio::test]
async fn a_key_that_the_gateway_refuses_is_called_that() {
    let (mut app, _fake, _rest) = started().await;
    let (_, adopted) = app.script().post(&adopt(), &[]).await;
    assert_eq!(adopted["name"], "helper-one", "{adopted}");
    app.restart(|config| config.agent_key = Some("sk-another-0001".to_owned().into())).await;
    let (_, agent) = app.script().get("/agents/helper-one").await;
    let trouble = agent["agent"]["trouble"].to_string();
    assert!(trouble.contains("refuses the agent's virtual key"), "{agent}");
    assert!(!trouble.contains("sk-another"), "{agent}");
}
