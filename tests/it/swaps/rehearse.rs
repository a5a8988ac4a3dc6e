//! A swap and a question in a throw-away context first.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{audited, relax};
use crate::cli::{patchbay, run};
use crate::support::{PASSWORD, Setup, TestApp, USER};
use crate::web::fakes::{FakeAgent, Manner};

const FORM: [(&str, &str); 4] =
    [("agent", "task-agent"), ("context", "one"), ("model", "openai/gpt-5"), ("rehearse", "1")];

#[tokio::test]
async fn nothing_is_sent_to_the_context_itself() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    let script = app.script();
    let (_, scope) = script.post("/agents/task-agent/scope", &[]).await;
    assert_eq!(scope["scope"], "context", "{scope}");
    agent.take();
    let (status, rehearsal) = script.post("/switch", &FORM).await;
    assert_eq!((status, &rehearsal["problem"]), (StatusCode::OK, &Value::Null), "{rehearsal}");
    assert_eq!(
        agent.take(),
        ["[HOTSWAP:MODEL:openai/gpt-5]", "[HOTSWAP:GET_CONFIG]", "Which model am I using?"]
    );
    assert_eq!(agent.model_of("one"), "openai/gpt-5-mini");
    assert!(!app.user().await.get("/contexts").await.has("table#contexts tbody tr"));
    assert!(audited(&app, "swap").await.is_empty());
    let entry = audited(&app, "rehearse").await.remove(0);
    assert_eq!(
        (&entry["object"], &entry["after"], &entry["outcome"]),
        (&json!("task-agent/one"), &json!("openai/gpt-5"), &json!("ok"))
    );
}

#[tokio::test]
async fn the_page_shows_the_answer_and_keeps_the_form() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    let page = browser.get("/switch?agent=task-agent&context=one").await;
    assert!(page.has("button[name=rehearse]"), "{}", page.text());
    let mut form = FORM.to_vec();
    form.extend([("message", "Who are you?"), ("prompt", "Be brief.")]);
    let page = browser.post("/switch", &form).await;
    assert_eq!(page.attributes("#rehearsal", "data-answered"), ["true"], "{}", page.text());
    assert_eq!(page.one("#rehearsal .answer"), "I am gpt-5");
    assert!(page.one("#rehearsal").contains("Nothing was sent to one."), "{}", page.text());
    let kept = ["#model", "#context", "#message"].map(|field| page.attributes(field, "value").remove(0));
    assert_eq!(kept, ["openai/gpt-5", "one", "Who are you?"]);
    assert_eq!(page.one("#prompt"), "Be brief.");
    // A failure is shown, with the form as it was.
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": ["openai/gpt-5-mini"] })).await;
    let page = browser.post("/switch", &FORM).await;
    assert_eq!(page.attributes("#rehearsal", "data-answered"), ["false"], "{}", page.text());
    assert!(page.one("#rehearsal").contains("may not call openai/gpt-5"), "{}", page.text());
}

#[tokio::test]
async fn on_an_agent_wide_agent_there_is_none() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    app.script().post("/agents/task-agent/scope", &[]).await;
    agent.take();
    let page = app.user().await.get("/switch?agent=task-agent").await;
    assert!(!page.has("button[name=rehearse]"));
    let (status, refused) = app.script().post("/switch", &FORM).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(agent.take().is_empty());
}

#[tokio::test]
async fn the_command_line_rehearses_through_the_dashboard() {
    let app = TestApp::start().await;
    relax(&app).await;
    let rehearse = async |more: &[&str]| {
        let base = ["swap", "--model", "openai/gpt-5", "--context", "one", "--rehearse"];
        let mut command = patchbay(&[&base, more].concat());
        command.env("UI_PASSWORD", PASSWORD);
        run(command).await
    };
    let dashboard = ["--dashboard", &app.base, "--username", USER];
    let shown = rehearse(&dashboard).await.good();
    assert_eq!(shown, "Message response: I am gpt-5\nRehearsed: openai/gpt-5\nContext ID: one\n");
    let shown = rehearse(&[&dashboard[..], &["--json"]].concat()).await.good();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["rehearsal"]["proof"]["answer"], "I am gpt-5", "{shown}");
    let direct = rehearse(&["--url", &app.agent]).await;
    assert_eq!(direct.code, Some(2), "{}", direct.err);
    assert!(direct.err.contains("--rehearse: this needs a dashboard"), "{}", direct.err);
}
