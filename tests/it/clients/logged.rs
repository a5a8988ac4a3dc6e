//! Failures of proxy and agents in the log: once each, with the request id that the error page shows.

use std::io::{BufRead as _, BufReader, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::replay::{Exchange, play};
use super::{context, proxy};
use crate::cli::{patchbay, run};
use crate::support::{Setup, TestApp, closed_port};
use crate::web::fakes::{FakeAgent, Manner};

/// What the test's thread logs, as the binary writes it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let filter: tracing_subscriber::filter::Targets = "patchbay=debug".parse().unwrap();
        let subscriber = tracing_subscriber::registry().with(filter).with(lines.json().flatten_event(true));
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The failed calls, expected ones included.
    fn failures(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["span"]["name"] == "upstream_call").collect()
    }

    fn failures_of(&self, span: &str, id: &str) -> Vec<Value> {
        let is_within = |line: &Value| {
            let mut spans = line["spans"].as_array().unwrap().iter();
            spans.any(|one| one["name"] == span && one["id"] == id)
        };
        self.failures().into_iter().filter(is_within).collect()
    }
}

#[tokio::test]
async fn failed_proxy_call_is_logged_once_with_request_id_and_cause() {
    let (log, _guard) = Log::capture();
    let proxy = Some(format!("http://{}", closed_port().await));
    let app = TestApp::with(Setup { proxy, ..Setup::default() }).await;
    let (status, error) = app.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let lines = log.failures_of("request", error["error"]["request_id"].as_str().unwrap());
    let [line] = lines.as_slice() else { panic!("{lines:?} for {error}") };
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"WARN".into(), &"upstream call failed".into()),
        "{line}"
    );
    let (call, cause) = (&line["span"], line["cause"].as_str().unwrap());
    assert_eq!(
        (&call["upstream"], &call["method"], &call["route"]),
        (&"proxy".into(), &"GET".into(), &"key/info".into())
    );
    assert!(cause.starts_with("error sending request: client error (Connect): tcp connect error"), "{cause}");
    assert!(cause.contains("Connection refused"), "{cause}");
    assert!(line["elapsed_ms"].is_u64() && line["status"].is_null(), "{line}");
    assert!(!call.to_string().contains(app.agent_key_hash.as_str()) && !cause.contains("http://"), "{line}");
}

#[tokio::test]
async fn failed_renewal_of_a_copy_has_the_request_id() {
    let (log, _guard) = Log::capture();
    let proxy = Some(format!("http://{}", closed_port().await));
    let app = TestApp::with(Setup { proxy, ..Setup::default() }).await;
    app.script().get("/models").await;
    let mut lines = log.failures();
    lines.retain(|line| line["span"]["route"] == "v2/model/info");
    let [line] = lines.as_slice() else { panic!("{:?}", log.failures()) };
    let request = &line["spans"][0];
    assert_eq!((&request["name"], &request["route"]), (&"request".into(), &"/models".into()), "{line}");
    assert!(request["id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    assert!(line["cause"].as_str().unwrap().contains("Connection refused"), "{line}");
}

#[tokio::test]
async fn error_status_is_logged_without_query_or_body() {
    let (log, _guard) = Log::capture();
    let body = r#"{"error":{"message":"it broke","type":"x"},"private":"left out"}"#;
    let replay = play([Exchange::new("GET", "/global/spend", 503, body)]).await;
    proxy(&replay).global_spend().await.unwrap_err();
    let lines = log.failures();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["status"]), (&"WARN".into(), &503.into()), "{line}");
    assert_eq!(line["error"], "the proxy answered 503: it broke");
    assert!(!line.to_string().contains("left out"), "{line}");
}

#[tokio::test]
async fn expected_status_is_only_debug() {
    let (log, _guard) = Log::capture();
    let hash = "0".repeat(64);
    let target = format!("/key/info?key={hash}");
    let replay = play([Exchange::new("GET", &target, 404, r#"{"detail":"no such key"}"#)]).await;
    assert!(proxy(&replay).key(&hash.parse().unwrap()).await.unwrap().is_none());
    let lines = log.failures();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["status"]), (&"DEBUG".into(), &404.into()), "{line}");
    assert!(!line.to_string().contains(&hash), "{line}");
}

#[tokio::test]
async fn agent_that_does_not_answer_is_logged_once() {
    let (log, _guard) = Log::capture();
    let url = format!("http://{}/", closed_port().await).parse().unwrap();
    let agent = patchbay::clients::a2a::Agent::new(patchbay::clients::build_http().unwrap(), url);
    agent.send(&context("c"), "private words", Duration::from_secs(5)).await.unwrap_err();
    let lines = log.failures();
    // The card is only a hint at the dialect.
    let warned: Vec<_> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    let [line] = warned.as_slice() else { panic!("{lines:?}") };
    assert_eq!(
        (&line["span"]["upstream"], &line["span"]["route"]),
        (&"agent".into(), &"message/send".into())
    );
    assert!(line["cause"].as_str().unwrap().contains("Connection refused"), "{line}");
    assert!(!line.to_string().contains("private words"), "{line}");
}

#[tokio::test]
async fn failure_within_a_swap_has_the_swap_id() {
    let (log, _guard) = Log::capture();
    let agent = FakeAgent::start(Manner::Good).await;
    let setup = Setup { agent: Some(agent.url.clone()), ..Setup::default() };
    let app = TestApp::with(setup).await;
    agent.set(Manner::Fails500);
    let form = [("agent", "task-agent"), ("context", "c1"), ("prompt", "Be brief.")];
    let (_, receipt) = app.script().post("/switch", &form).await;
    let lines = log.failures_of("swap", receipt["id"].as_str().unwrap_or_else(|| panic!("{receipt}")));
    assert!(!lines.is_empty(), "{receipt}");
    for line in lines {
        assert_eq!((&line["span"]["upstream"], &line["status"]), (&"agent".into(), &500.into()), "{line}");
    }
}

#[tokio::test]
async fn unknown_log_format_is_an_error_at_the_start() {
    let mut command = patchbay(&["sandbox", "--bind", "127.0.0.1:0"]);
    command.env("PATCHBAY_LOG_FORMAT", "xml");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.err, "patchbay: PATCHBAY_LOG_FORMAT is xml: set it to human or json\n");
}

#[tokio::test]
async fn log_format_is_json_by_default_and_human_on_request() {
    let first_line = |format: &str| {
        let mut command = patchbay(&["sandbox", "--bind", "127.0.0.1:0"]);
        command.env("PATCHBAY_LOG_FORMAT", format).stderr(Stdio::piped());
        let mut sandbox = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(sandbox.stderr.take().unwrap()).read_line(&mut line).unwrap();
        sandbox.kill().unwrap();
        sandbox.wait().unwrap();
        line
    };
    let json: Value = serde_json::from_str(&first_line("")).unwrap();
    assert_eq!(json["message"], "the sandbox listens");
    let human = first_line("human");
    assert!(human.contains("INFO the sandbox listens address=127.0.0.1:"), "{human}");
    assert!(!human.contains('\u{1b}'), "{human}");
}
