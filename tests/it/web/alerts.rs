//! Alerts to a webhook: what is sent, signed, until it is taken.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use patchbay::config::{Access, WebhookArgs};
use patchbay::domain::key::hex;
use patchbay_sandbox::Database;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_util::sync::DropGuard;

use crate::database;
use crate::support::{PASSWORD, Setup, TestApp, spawn};
use crate::web::fakes::{FakeAgent, Manner};
use crate::web::roles::team;
use crate::web::users::clock;

const SECRET: &str = "a secret of the tests";

type Request = (String, HeaderMap, Bytes);

/// What alerts are posted to, and the status that it answers with.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Request>>>,
    _guard: DropGuard,
}

impl Receiver {
    async fn start() -> Self {
        let (status, got) = (Arc::new(AtomicU16::new(204)), Arc::new(Mutex::new(Vec::new())));
        let answer = {
            let (status, got) = (Arc::clone(&status), Arc::clone(&got));
            move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| async move {
                got.lock().unwrap().push((uri.path().to_owned(), headers, body));
                let status = StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap();
                (status, [("location", "/elsewhere")])
            }
        };
        let (address, guard) = spawn(Router::new().fallback(answer)).await;
        Self { url: format!("http://{address}/hidden-path"), status, got, _guard: guard }
    }

    fn access(&self, change: impl FnOnce(&mut WebhookArgs)) -> Access {
        let mut args = WebhookArgs {
            webhook_url: Some(self.url.as_str().into()),
            webhook_secret: Some(SECRET.into()),
            ..WebhookArgs::default()
        };
        change(&mut args);
        Access { webhook: args.validate().unwrap(), ..team().1 }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What came since the last look, after a look at the signatures.
    fn take(&self) -> Vec<Value> {
        let got = std::mem::take(&mut *self.got.lock().unwrap());
        let read = |(path, headers, body): &Request| {
            assert_eq!(path, "/hidden-path");
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(headers["patchbay-timestamp"].as_bytes());
            mac.update(b".");
            mac.update(body);
            let signature = format!("sha256={}", hex(&mac.finalize().into_bytes()));
            assert_eq!(headers["patchbay-signature"], signature);
            let alert: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(headers["patchbay-id"], alert["id"].as_str().unwrap());
            alert
        };
        let mut alerts: Vec<_> = got.iter().map(read).collect();
        alerts.sort_by_key(|alert| alert["object"].as_str().unwrap().to_owned());
        alerts
    }
}

fn words(alerts: &[Value]) -> Vec<String> {
    let word = |alert: &Value| format!("{} {}", alert["kind"], alert["object"]).replace('"', "");
    alerts.iter().map(word).collect()
}

#[tokio::test]
async fn outage_is_sent_until_it_is_taken_with_one_id() {
    let (clock, forward) = clock();
    let receiver = Receiver::start().await;
    let (_dir, database_url) = database::lasting().await;
    let setup = Setup {
        clock,
        access: receiver.access(|_| ()),
        database_url: Some(database_url),
        ..Setup::default()
    };
    let mut app = TestApp::with(setup).await;
    // What happened before the first look is no news, and neither is what is up.
    app.alerts().round().await.unwrap();
    app.health().look().await.unwrap();
    app.alerts().round().await.unwrap();
    assert!(receiver.take().is_empty());

    app.stop_first(2);
    app.health().look().await.unwrap();
    app.health().look().await.unwrap();
    receiver.answer(500);
    app.alerts().round().await.unwrap();
    let first = receiver.take();
    assert_eq!(words(&first), ["down agent/task-agent", "down proxy"]);
    app.alerts().round().await.unwrap();
    assert!(receiver.take().is_empty(), "it waits before the next attempt");
    // Ten minutes, with another process at the end.
    for _ in 0..10 {
        forward(SignedDuration::from_secs(61));
        app.alerts().round().await.unwrap();
        assert_eq!(receiver.take(), first, "not the same alerts");
    }
    let page = app.user().await.get("/settings").await;
    assert_eq!(page.all("#sent .badge"), ["waiting", "waiting"]);
    assert!(page.text().contains("it answered 500"), "{}", page.text());
    app.restart(|_| ()).await;
    forward(SignedDuration::from_secs(61));
    receiver.answer(200);
    app.alerts().round().await.unwrap();
    assert_eq!(receiver.take(), first);
    forward(SignedDuration::from_secs(61));
    app.alerts().round().await.unwrap();
    assert!(receiver.take().is_empty(), "it was taken");
}

#[tokio::test]
async fn admin_chooses_what_is_sent_and_sees_no_secret() {
    let receiver = Receiver::start().await;
    let app = TestApp::with(Setup { access: receiver.access(|_| ()), ..Setup::default() }).await;
    app.alerts().round().await.unwrap();
    let admin = app.user().await;
    let swap = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
    assert_eq!(admin.post("/switch", &swap).await.outcome(), "verified");
    app.alerts().round().await.unwrap();
    assert!(receiver.take().is_empty(), "finished swaps are not sent by default");
    let page = admin.get("/settings").await;
    assert_eq!(page.all("#alerts input[checked]").len(), 7);
    assert!(!page.body.contains("hidden-path") && !page.body.contains(SECRET));
    let page = admin.post("/settings/alerts", &[("kind", "swap-finished"), ("kind", "down")]).await;
    assert!(page.one("#flash").contains("saved"), "{}", page.text());
    assert_eq!(page.all("#alerts input[checked]").len(), 2);
    assert_eq!(admin.post("/switch", &swap).await.outcome(), "verified");
    admin.post("/settings/alerts/test", &[]).await;
    app.alerts().round().await.unwrap();
    let alerts = receiver.take();
    assert_eq!(words(&alerts), ["test alerts", "swap-finished task-agent/c1"]);
    assert!(alerts[1]["text"].as_str().unwrap().contains("gpt-5-mini"), "{}", alerts[1]);
    assert_eq!(admin.get("/settings").await.all("#sent .badge"), ["sent", "sent"]);
    let viewer = crate::support::Script::with(&app.base, "viewer", PASSWORD);
    assert!(viewer.get("/settings").await.1["alerts"].is_null());
    assert_eq!(viewer.post("/settings/alerts/test", &[]).await.0, StatusCode::FORBIDDEN);
    let (_, audit) = app.script().get("/audit?what=alerts").await;
    assert_eq!(audit["entries"][1]["after"], "swap-finished, down", "{audit}");
}

#[tokio::test]
async fn redirect_is_no_success_and_is_not_followed() {
    let (clock, _) = clock();
    let receiver = Receiver::start().await;
    let access = receiver.access(|args| args.webhook_format = "slack".to_owned());
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    app.alerts().round().await.unwrap();
    let admin = app.user().await;
    receiver.answer(302);
    admin.post("/settings/alerts/test", &[]).await;
    app.alerts().round().await.unwrap();
    let got = std::mem::take(&mut *receiver.got.lock().unwrap());
    let [(path, _, body)] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!(path, "/hidden-path");
    let body: Value = serde_json::from_slice(body).unwrap();
    assert!(body["text"].as_str().unwrap().starts_with("Test") && body.as_object().unwrap().len() == 1);
    let page = admin.get("/settings").await;
    assert!(page.one("#sent tbody").contains("it answered 302"), "{}", page.text());
}

/// Two replicas look at the same audit.
#[tokio::test]
async fn each_entry_becomes_one_alert_on_several_replicas() {
    let receiver = Receiver::start().await;
    let (_dir, database_url) = database::lasting().await;
    let setup =
        Setup { access: receiver.access(|_| ()), database_url: Some(database_url), ..Setup::default() };
    let mut app = TestApp::with(setup).await;
    let replica = app.replica().await;
    app.alerts().round().await.unwrap();
    app.stop_first(2);
    let (one, other) = tokio::join!(app.health().look(), replica.health().look());
    one.and(other).unwrap();
    let (one, other) = tokio::join!(app.alerts().round(), replica.alerts().round());
    one.and(other).unwrap();
    let page = app.user().await.get("/settings").await;
    let kinds = page.attributes("#sent tbody tr", "data-kind");
    assert_eq!(kinds, ["down", "down"]);
}

/// Pages that are open say so by the stream, pages that are loaded by themselves, and so do the metrics.
#[tokio::test]
async fn outage_of_an_agent_is_in_title_navigation_and_metrics() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    let browser = app.user().await;
    app.health().look().await.unwrap();
    let page = browser.get("/contexts").await;
    assert!(page.has("nav .alarm[hidden]:not(.warn)") && page.one("title").starts_with("Contexts"));
    agent.stop();
    app.health().look().await.unwrap();
    let mut page = browser.get("/contexts").await;
    for _ in 0..200 {
        if page.has("nav .alarm:not([hidden]):not(.warn)") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        page = browser.get("/contexts").await;
    }
    assert!(page.one("title").starts_with("(1) Contexts"), "{}", page.one("title"));
    assert_eq!(page.attributes("nav .alarm:not(.warn)", "title"), ["Does not answer: agent/task-agent"]);
    let metrics = browser.get("/metrics").await.body;
    assert!(metrics.contains("patchbay_up{of=\"proxy\"} 1"), "{metrics}");
    let line = metrics.lines().find(|line| line.starts_with("patchbay_agent_up")).unwrap();
    assert!(line.ends_with(" 0"), "{line}");
}

#[tokio::test]
async fn outage_of_the_proxys_database_is_told_apart_from_its_own() {
    let app = TestApp::start().await;
    app.health().look().await.unwrap();
    app.world.set_database(Database::Down);
    app.health().look().await.unwrap();
    let (_, audit) = app.script().get("/audit?what=health").await;
    let entries: Vec<(&Value, &Value)> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["object"], &entry["outcome"]))
        .collect();
    assert_eq!(entries, [(&json!("proxy-database"), &json!("failed"))], "{audit}");
    app.world.set_database(Database::Up);
    app.health().look().await.unwrap();
    let (_, audit) = app.script().get("/audit?what=health&outcome=ok").await;
    assert_eq!(audit["entries"][0]["object"], "proxy-database", "{audit}");
}
