//! Agents with addresses, keys and credentials of their own, from `PATCHBAY_AGENTS_FILE`.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use patchbay::config::agents::{AgentsArgs, AgentsFile};
use patchbay::domain::agent::AgentSettings;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio_util::sync::DropGuard;

use crate::support::{MASTER_KEY, TestApp, agent_options, spawn};

fn read(dir: &Path, yaml: &str) -> Result<(Vec<AgentSettings>, AgentsFile), String> {
    let path = dir.join("agents.yaml");
    std::fs::write(&path, yaml).unwrap();
    let args = AgentsArgs { agents: None, agents_file: Some(path) };
    let read = args.validate(None).map_err(|error| error.to_string())?;
    Ok((read.0, read.1.unwrap()))
}

#[test]
fn reads_each_form_of_credentials_and_shows_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hunter22-token\n").unwrap();
    std::fs::write(dir.path().join("basic"), "ada:hunter22").unwrap();
    let (agents, _) = read(
        dir.path(),
        "agents:\n- {name: a, url: 'http://h/a/', auth: {bearer: 'file:secret'}, key: file:secret, calls: mixed}\n\
         - {name: b, url: 'http://h/b', auth: {header: X-API-Key, value: file:secret}}\n\
         - {name: c, url: 'http://h', auth: {basic: file:basic}, key: null}\n",
    )
    .unwrap();
    let header = |at: usize| {
        let auth = agents[at].auth.as_ref().unwrap();
        (auth.header.as_str(), auth.value.expose_secret())
    };
    assert_eq!(header(0), ("authorization", "Bearer hunter22-token"));
    assert_eq!(header(1), ("X-API-Key", "hunter22-token"));
    assert_eq!(header(2), ("authorization", "Basic YWRhOmh1bnRlcjIy"));
    assert_eq!(agents[0].url.as_str(), "http://h/a/", "as written");
    assert_eq!(agents[0].key.as_ref().unwrap().expose_secret(), "hunter22-token");
    assert_eq!(agents[0].calls.as_str(), "mixed");
    assert!(agents[2].key.is_none());
    assert!(!format!("{agents:?}").contains("hunter22"));
}

#[test]
fn names_the_line_of_what_is_wrong_and_never_a_value() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lines"), "hunter22\nhunter22").unwrap();
    let agent = |more: &str| format!("agents:\n- name: a\n  url: http://h/a\n  {more}\n");
    for (yaml, expected) in [
        (agent("key: hunter22"), "line 4: key: write env:NAME or file:PATH, not the secret itself"),
        (agent("key: 'env:hunter22-is-no-name'"), "line 4: key: write env:NAME"),
        (agent("key: env:PATCHBAY_TEST_UNSET"), "line 4: key: the variable PATCHBAY_TEST_UNSET is not set"),
        (agent("key: file:nowhere"), "line 4: key: "),
        (agent("key: file:."), "not a regular file"),
        (agent("auth: {bearer: file:lines}"), "line 4: auth: a secret is printable ASCII"),
        (agent("auth: {basic: file:agents.yaml}"), "line 4: auth.basic: the secret is user:password"),
        (agent("auth: {bearer: 'hunter22'}"), "line 4: auth.bearer: write env:NAME"),
        (
            agent("auth: {header: Host, value: 'file:lines'}"),
            "line 4: auth.header: Host is set by the request",
        ),
        (agent("auth: {header: 'X Y', value: 'file:lines'}"), "line 4: auth.header"),
        (agent("auth: {header: X}"), "line 4: auth: write {bearer"),
        (agent("auth: {}"), "line 4: auth: write {bearer"),
        (agent("auth: hunter22"), "line 4"),
        (agent("calls: sideways"), "line 4: calls: write auto"),
        (agent("token: hunter22"), "token"),
        (
            "agents:\n- {name: a, url: 'http://ada:hunter22@h/a'}".to_owned(),
            "line 2: url: write credentials under auth",
        ),
        ("agents:\n- {name: a, url: 'http://h/?key=hunter22'}".to_owned(), "line 2: "),
        ("agents:\n- {name: a, url: 'ftp://h'}".to_owned(), "line 2: "),
        ("agents:\n- {name: 'a b', url: 'http://h'}".to_owned(), "line 2: name: "),
        (
            "agents:\n- {name: a, url: 'http://h'}\n- {name: a, url: 'http://h'}".to_owned(),
            "line 3: the agent a is there twice",
        ),
        ("agents: []".to_owned(), "name 1 to 200 agents"),
        ("agents:\n- name: a\n  url: [".to_owned(), "line"),
        ("agents: hunter22".to_owned(), "agents"),
        ("hunter22".to_owned(), ""),
        (String::new(), ""),
        (format!("agents:\n{}", "- {name: a, url: 'http://h'}\n".repeat(20_000)), "larger than 256 KiB"),
    ] {
        let shown: String = yaml.chars().take(120).collect();
        let error = read(dir.path(), &yaml).map(|_| ()).expect_err(&shown);
        assert!(error.contains(expected), "{shown}\n{error}");
        assert!(error.contains("PATCHBAY_AGENTS_FILE") && error.contains("agents.yaml"), "{error}");
        assert!(!error.contains("hunter22") || yaml.contains("env:hunter22"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn the_short_form_stands_beside_the_file_and_no_name_is_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agents.yaml");
    std::fs::write(&path, "agents: [{name: filed, url: 'http://h/b'}]").unwrap();
    let with = |short: Option<&str>| {
        let args = AgentsArgs { agents: short.map(str::to_owned), agents_file: Some(path.clone()) };
        let key = SecretString::from("sk-short");
        args.validate(Some(&key)).map(|(agents, _)| {
            agents.into_iter().map(|agent| (agent.name.to_string(), agent.key.is_some())).collect::<Vec<_>>()
        })
    };
    assert_eq!(with(None).unwrap(), [("filed".to_owned(), false)]);
    assert_eq!(with(Some(" ")).unwrap(), [("filed".to_owned(), false)]);
    let both = [("short".to_owned(), true), ("filed".to_owned(), false)];
    assert_eq!(with(Some("short=http://h/a")).unwrap(), both);
    assert!(with(Some("filed=http://h/a")).unwrap_err().to_string().contains("filed is there twice"));
}

/// A built-in agent that asks for a header, and what it was sent.
struct Guarded {
    url: String,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    _guard: DropGuard,
}

impl Guarded {
    async fn start(app: &TestApp, key: &SecretString, name: &'static str, value: &'static str) -> Self {
        let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let check = move |request: Request, next: Next| {
            let noted = Arc::clone(&noted);
            async move {
                noted.lock().unwrap().push(request.headers().clone());
                match request.headers().get(name) {
                    Some(given) if given == value => next.run(request).await,
                    _ => StatusCode::UNAUTHORIZED.into_response(),
                }
            }
        };
        let agent: Router = patchbay_agent::router(agent_options(&app.sandbox, key)).unwrap();
        let (address, guard) = spawn(agent.layer(middleware::from_fn(check))).await;
        Self { url: format!("http://{address}/a2a/litellm_agent"), seen, _guard: guard }
    }

    /// The values of all headers that it was ever sent.
    fn values(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let text = |headers: &HeaderMap| format!("{headers:?}{:?}", headers.values().collect::<Vec<_>>());
        assert!(!seen.is_empty());
        seen.iter().map(text).collect()
    }
}

async fn names(app: &TestApp) -> Vec<String> {
    let (_, page) = app.script().get("/agents").await;
    page["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_agent_gets_its_own_credentials_and_key() {
    let mut app = TestApp::start().await;
    let key = json!({ "key_alias": "second", "models": ["openai/gpt-5"] });
    let other = app.admin("/key/generate", &key).await;
    let other_key = SecretString::from(other["key"].as_str().unwrap());
    let first = Guarded::start(&app, &app.agent_key, "authorization", "Bearer first-token").await;
    let second = Guarded::start(&app, &other_key, "x-api-key", "second-token").await;
    let dir = tempfile::tempdir().unwrap();
    let own = app.agent_key.expose_secret().to_owned();
    for (name, text) in [
        ("one", "first-token"),
        ("two", "second-token"),
        ("key-one", own.as_str()),
        ("key-two", other["key"].as_str().unwrap()),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let yaml = format!(
        "agents:\n- {{name: first, url: '{}', key: 'file:key-one', auth: {{bearer: 'file:one'}}}}\n\
         - {{name: second, url: '{}', key: 'file:key-two', auth: {{header: X-API-Key, value: 'file:two'}}}}\n",
        first.url, second.url
    );
    let (agents, file) = read(dir.path(), &yaml).unwrap();
    app.restart(|config| (config.agents, config.agents_file) = (agents, Some(file))).await;
    // The key of the first may call gpt-5-mini alone, that of the second gpt-5 alone.
    for (agent, good, bad) in
        [("first", "openai/gpt-5-mini", "openai/gpt-5"), ("second", "openai/gpt-5", "openai/gpt-5-mini")]
    {
        let form = |model| [("agent", agent), ("context", "c"), ("model", model), ("probe", "1")];
        let (status, swap) = app.script().post("/switch", &form(good)).await;
        assert_eq!((status.as_u16(), &swap["outcome"]), (200, &json!("verified")), "{swap}");
        let (_, swap) = app.script().post("/switch", &form(bad)).await;
        assert_eq!(swap["outcome"], "refused", "{swap}");
        assert!(swap.to_string().contains("may not call"), "{swap}");
    }
    assert!(!first.values().contains("second-token") && !second.values().contains("first-token"));
    for path in ["/agents", "/agents/first", "/agents/second", "/"] {
        let page = app.user().await.get(path).await;
        assert_eq!(page.status, 200);
        for secret in ["first-token", "second-token", &own, MASTER_KEY] {
            assert!(!page.body.contains(secret), "{path}");
        }
    }
    // Both keys are agents': neither is deleted by mistake.
    for hash in [app.agent_key_hash.as_str(), other["token"].as_str().unwrap()] {
        let (status, answer) = app.script().post(&format!("/keys/{hash}/delete"), &[]).await;
        assert_eq!(status.as_u16(), 422, "{answer}");
    }
}

/// Repeats what it is sent in its card, in errors and in answers.
#[tokio::test]
async fn credentials_that_an_agent_repeats_are_shown_nowhere() {
    let mut app = TestApp::start().await;
    let answer = move |request: Request| async move {
        let echoed = format!("{:?}", request.headers().values().collect::<Vec<_>>()).replace('"', "'");
        let body = axum::body::to_bytes(request.into_body(), 100_000).await.unwrap();
        let rpc: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match rpc["params"]["message"]["parts"][0]["text"].as_str() {
            Some("fail") => (StatusCode::INTERNAL_SERVER_ERROR, echoed).into_response(),
            Some(_) => axum::Json(json!({
                "jsonrpc": "2.0", "id": rpc["id"],
                "result": { "kind": "message", "messageId": "m", "role": "agent", "parts": [{ "kind": "text", "text": echoed }] },
            }))
            .into_response(),
            None => axum::Json(json!({
                "jsonrpc": "2.0", "id": rpc["id"], "error": { "code": -32603, "message": echoed },
            }))
            .into_response(),
        }
    };
    let (address, _guard) = spawn(Router::new().fallback(answer)).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pair"), "operator:open-sesame").unwrap();
    let yaml = format!("agents:\n- {{name: echo, url: 'http://{address}/', auth: {{basic: 'file:pair'}}}}\n");
    let (agents, file) = read(dir.path(), &yaml).unwrap();
    app.restart(|config| (config.agents, config.agents_file) = (agents, Some(file))).await;
    let script = app.script();
    let mut seen = String::new();
    for message in ["hello", "fail"] {
        let form = [("message", message)];
        seen += &script.post("/contexts/echo/c/message", &form).await.1.to_string();
    }
    seen += &script.post("/contexts/echo/c/refresh", &[]).await.1.to_string();
    for path in ["/agents/echo", "/contexts/echo/c", "/audit"] {
        seen += &script.get(path).await.1.to_string();
    }
    assert!(seen.contains("[redacted]"), "{seen}");
    for secret in ["open-sesame", "b3BlcmF0b3I6b3Blbi1zZXNhbWU"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
}

#[tokio::test]
async fn the_file_is_read_again_and_a_bad_edit_keeps_the_former_agents() {
    let mut app = TestApp::start().await;
    let dir = tempfile::tempdir().unwrap();
    let yaml = |name: &str| format!("agents:\n- name: {name}\n  url: {}\n", app.agent);
    let (one, two) = (yaml("one"), yaml("two"));
    let (agents, file) = read(dir.path(), &one).unwrap();
    let path = file.path().to_owned();
    app.restart(|config| (config.agents, config.agents_file) = (agents, Some(file))).await;
    assert_eq!(names(&app).await, ["one"]);
    std::fs::write(&path, format!("{two}  kee: x\n")).unwrap();
    until(async || app.script().get("/agents").await.1["problem"].is_string()).await;
    let page = app.user().await.get("/agents").await;
    assert!(page.one("[role=alert]").contains("kee"), "{}", page.text());
    assert!(app.user().await.get("/").await.text().contains("The agents file is not used"));
    assert_eq!(names(&app).await, ["one"]);
    std::fs::write(&path, two).unwrap();
    until(async || names(&app).await == ["two"]).await;
    assert!(app.script().get("/agents").await.1["problem"].is_null());
    std::fs::remove_file(&path).unwrap();
    until(async || app.script().get("/agents").await.1["problem"].is_string()).await;
    assert_eq!(names(&app).await, ["two"]);
}

/// The file is read once a second.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it did not come to be");
}

#[tokio::test]
async fn an_agent_is_judged_by_how_it_answers_a_message() {
    for (status, title) in [
        (401, "credentials"),
        (403, "credentials"),
        (307, "redirects"),
        (404, "JSON-RPC endpoint"),
        (405, "JSON-RPC endpoint"),
        (501, "JSON-RPC endpoint"),
    ] {
        let card = json!({ "name": "closed", "protocolVersion": "0.3.0", "url": "http://h" });
        let router = Router::new()
            .route("/a/.well-known/agent-card.json", axum::routing::get(async || axum::Json(card)))
            .fallback(async move || {
                (StatusCode::from_u16(status).unwrap(), [("location", "http://elsewhere.example/a/")])
            });
        let (address, _guard) = spawn(router).await;
        let app = TestApp::with(crate::support::Setup {
            agent: Some(format!("http://{address}/a")),
            ..crate::support::Setup::default()
        })
        .await;
        let (_, page) = app.script().get("/agents").await;
        let trouble = page["agents"][0]["trouble"].to_string();
        assert!(trouble.contains(title), "{status}: {trouble}");
    }
}

#[tokio::test]
async fn the_card_may_stand_at_the_root_of_the_host() {
    let mut app = TestApp::start().await;
    let agent: Router = patchbay_agent::router(agent_options(&app.sandbox, &app.agent_key)).unwrap();
    let router = Router::new().nest("/deep", agent.clone()).route(
        "/.well-known/agent-card.json",
        axum::routing::get(async || axum::Json(json!({ "name": "at the root", "protocolVersion": "0.3.0" }))),
    );
    let (address, _guard) = spawn(Router::new().merge(router).layer(middleware::from_fn(
        async |request: Request, next: Next| {
            if request.uri().path().starts_with("/deep/a2a/litellm_agent/.well-known") {
                return StatusCode::NOT_FOUND.into_response();
            }
            next.run(request).await
        },
    )))
    .await;
    let url = format!("http://{address}/deep/a2a/litellm_agent/").parse().unwrap();
    app.restart(|config| config.agents[0].url = url).await;
    let (_, page) = app.script().get("/agents").await;
    let agent = &page["agents"][0];
    assert_eq!((&agent["card"]["name"], &agent["trouble"]), (&json!("at the root"), &json!(null)), "{page}");
    assert!(agent["address"].as_str().unwrap().ends_with("/litellm_agent/"), "as written: {page}");
}
