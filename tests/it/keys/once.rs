//! A key is made once for a form, shown in the answer to it, and never lost.

use patchbay_sandbox::Generation;
use reqwest::header;
use serde_json::json;

use super::{GENERATIONS, stage};
use crate::database;
use crate::support::{Page, Setup, TestApp};
use crate::web::fakes::rewriting;

fn token(page: &Page) -> String {
    page.attributes("input[name=token]", "value").remove(0)
}

fn secret(page: &Page) -> String {
    page.attributes("input#secret", "value").remove(0)
}

#[tokio::test]
async fn one_form_makes_one_key_at_all_replicas() {
    let (_dir, url) = database::lasting().await;
    let here = TestApp::with(Setup { database_url: Some(url), ..Setup::default() }).await;
    let there = here.replica().await;
    let (ada, bob) = (here.user().await, there.user().await);
    let token = token(&ada.get("/keys/new").await);
    let form = [("alias", "once"), ("access", "none"), ("token", token.as_str())];
    let page = ada.post("/keys", &form).await;
    assert_eq!((page.status.as_u16(), page.headers["cache-control"].to_str().unwrap()), (200, "no-store"));
    let secret = secret(&page);
    for browser in [&ada, &bob] {
        let again = browser.post("/keys", &form).await;
        assert!(again.text().contains("already created"), "{}", again.text());
        assert!(!again.body.contains(&secret), "the secret is shown again");
    }
    let (status, answer) = there.script().post("/keys", &form).await;
    assert_eq!(status.as_u16(), 409, "{answer}");
    let (_, keys) = here.script().get("/keys?q=once").await;
    assert_eq!(keys["total"], 1, "{keys}");
}

#[tokio::test]
async fn two_clicks_at_once_make_one_key() {
    let (_app, stage) = stage(Generation::V1_109).await;
    let token = token(&stage.browser.get("/keys/new").await);
    let form = [("access", "none"), ("token", token.as_str())];
    let (one, two) = tokio::join!(stage.browser.post("/keys", &form), stage.browser.post("/keys", &form));
    let shown = [&one, &two].iter().filter(|page| page.has("input#secret")).count();
    assert_eq!(shown, 1, "{}\n{}", one.text(), two.text());
    let (_, keys) = stage.script.get("/keys").await;
    assert_eq!(keys["total"], 2, "{keys}");
}

#[tokio::test]
async fn a_refused_form_can_be_sent_again() {
    let (_app, stage) = stage(Generation::V1_80).await;
    stage.make("taken", &[]).await;
    let first = token(&stage.browser.get("/keys/new").await);
    let page =
        stage.browser.post("/keys", &[("alias", "own-taken"), ("access", "all"), ("token", &first)]).await;
    assert_eq!(page.status.as_u16(), 422, "{}", page.text());
    assert_eq!(token(&page), first, "the form has lost its token");
    let page =
        stage.browser.post("/keys", &[("alias", "own-free"), ("access", "all"), ("token", &first)]).await;
    assert!(page.has("input#secret"), "{}", page.text());
}

#[tokio::test]
async fn reading_never_shows_or_burns_a_key() {
    let (_app, stage) = stage(Generation::V1_109).await;
    let page = stage.browser.post("/keys", &[("alias", "own-read"), ("access", "none")]).await;
    let secret = secret(&page);
    let href = page.attributes("nav.crumbs a", "href").pop().unwrap();
    for path in [href.clone(), format!("{href}/secret"), format!("{href}/replace")] {
        for kind in ["text/html", "application/json"] {
            let request = stage.browser.http.get(stage.browser.url(&path)).header(header::ACCEPT, kind);
            let text = request.send().await.unwrap().text().await.unwrap();
            assert!(!text.contains(&secret), "{path} as {kind} shows the key");
        }
    }
}

/// A proxy that makes the key and then fails at everything: the key is shown all the same.
#[tokio::test]
async fn a_made_key_is_shown_whatever_fails_after_it() {
    for generation in GENERATIONS {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_broken = std::sync::Arc::clone(&broken);
        let (proxy, _guard) = rewriting(&app.sandbox, move |path, body| {
            use std::sync::atomic::Ordering;
            if path == "/key/generate" {
                is_broken.store(true, Ordering::SeqCst);
                return Some((200, body));
            }
            (!is_broken.load(Ordering::SeqCst)).then_some((200, body)).or(Some((500, json!({}))))
        })
        .await;
        let front = app.replica_on(&proxy).await;
        let page = front.user().await.post("/keys", &[("alias", "kept"), ("access", "none")]).await;
        assert!(page.one("[role=alert]").contains("could not be read back"), "{}", page.text());
        assert!(secret(&page).starts_with("sk-"));
    }
}

#[tokio::test]
async fn an_old_key_works_until_the_new_one_was_saved() {
    for generation in GENERATIONS {
        let (_app, stage) = stage(generation).await;
        let (_, old) = stage.make("rolled", &[("access", "none")]).await;
        let path = format!("/keys/{old}/replace");
        let token = token(&stage.browser.get(&path).await);
        let form = [("old", "delete"), ("grace", ""), ("token", token.as_str())];
        let page = stage.browser.post(&path, &form).await;
        let secret = secret(&page);
        // The answer is lost, and sent again: no third key, and the old one still works.
        let again = stage.browser.post(&path, &form).await;
        assert!(
            again.text().contains("already created") && !again.body.contains(&secret),
            "{}",
            again.text()
        );
        assert_ne!(stage.info(&old).await["status"], "deleted");
        let (_, keys) = stage.script.get("/keys?q=rolled").await;
        assert_eq!(keys["total"], 2, "{keys}");
        let page = stage.browser.get(&format!("/keys/{old}")).await;
        assert!(page.text().contains("when you confirm"), "{}", page.text());
        let (status, ended) = stage.script.post(&format!("/keys/{old}/retire"), &[]).await;
        assert_eq!((status.as_u16(), &ended["ended"]), (200, &json!(true)));
        let info = stage.info(&old).await;
        assert!(info.is_null() || info["status"] == "deleted", "{info}");
        let (_, ended) = stage.script.post(&format!("/keys/{old}/retire"), &[]).await;
        assert_eq!(ended["ended"], false);
    }
}

#[tokio::test]
async fn of_two_edits_from_one_state_one_is_refused() {
    let (_app, stage) = stage(Generation::V1_109).await;
    let (_, hash) = stage.make("shared", &[("access", "none")]).await;
    let path = format!("/keys/{hash}");
    for round in 0..10 {
        let page = stage.browser.get(&format!("{path}/edit")).await;
        let seen = page.attributes("input[name=seen]", "value").remove(0);
        let (rpm, tpm) = (format!("{}", 100 + round), format!("{}", 1_000 + round));
        let one = [("seen", seen.as_str()), ("rpm_limit", &rpm)];
        let two = [("seen", seen.as_str()), ("tpm_limit", &tpm)];
        let ((one, _), (two, _)) =
            tokio::join!(stage.script.post(&path, &one), stage.script.post(&path, &two));
        let mut both = [one.as_u16(), two.as_u16()];
        both.sort_unstable();
        assert_eq!(both, [200, 409], "round {round}");
    }
}

/// LiteLLM 1.74: `/key/unblock` knows no hash, and neither expiry nor period can be cleared. 1.68: a change shows after
/// a while.
#[tokio::test]
async fn older_releases_are_known_for_what_they_cannot_do() {
    let app = TestApp::with(Setup { generation: Generation::V1_80, ..Setup::default() }).await;
    let old = json!({ "key_alias": "old", "duration": "9d", "budget_duration": "7d", "max_budget": 3 });
    let old = app.admin("/key/generate", &old).await;
    let hash = old["token"].as_str().unwrap().to_owned();
    let stale = std::sync::Arc::new(std::sync::Mutex::new((0, serde_json::Value::Null)));
    let (proxy, _guard) = rewriting(&app.sandbox, move |path, mut body| {
        let mut stale = stale.lock().unwrap();
        match path {
            "/key/unblock" | "/key/block" => return Some((401, json!({ "detail": "token not found" }))),
            "/health/readiness" => body["litellm_version"] = json!("1.74.15"),
            // The first two looks after a change show what was there before.
            "/key/update" => stale.0 = 2,
            "/key/info" if stale.0 > 0 => {
                stale.0 -= 1;
                return Some((200, stale.1.clone()));
            }
            "/key/info" => stale.1 = body.clone(),
            _ => {}
        }
        Some((200, body))
    })
    .await;
    let front = app.replica_on(&proxy).await;
    let browser = front.user().await;
    let page = browser.post(&format!("/keys/{hash}/block"), &[]).await;
    assert!(page.one("#flash").contains("is blocked"), "{}", page.text());
    let page = browser.post(&format!("/keys/{hash}/unblock"), &[]).await;
    assert!(page.one("#flash").contains("no longer blocked"), "{}", page.text());

    for (field, value) in [("never", "1"), ("budget_duration", "")] {
        let form = [(field, value), ("rpm_limit", "77")];
        let page = browser.post(&format!("/keys/{hash}"), &form).await;
        assert_eq!(page.status.as_u16(), 422, "{}", page.text());
        assert!(page.one("[role=alert]").contains("1.74.15 cannot clear"), "{}", page.text());
        assert_eq!(page.attributes("input#rpm_limit", "value"), ["77"], "the form is lost");
    }
    let page = browser.post(&format!("/keys/{hash}"), &[("rpm_limit", "77")]).await;
    assert!(page.one("#flash").contains("One setting"), "{}", page.text());
}

#[tokio::test]
async fn settings_that_did_not_take_are_named_and_the_form_is_kept() {
    let app = TestApp::with(Setup { generation: Generation::V1_109, ..Setup::default() }).await;
    let key =
        app.admin("/key/generate", &json!({ "key_alias": "stubborn", "rpm_limit": 1, "tpm_limit": 2 })).await;
    let hash = key["token"].as_str().unwrap().to_owned();
    let (proxy, _guard) = rewriting(&app.sandbox, |path, mut body| {
        if path == "/key/info" {
            body["info"]["rpm_limit"] = json!(1);
        }
        Some((200, body))
    })
    .await;
    let front = app.replica_on(&proxy).await;
    let form = [("rpm_limit", "5"), ("tpm_limit", "6"), ("alias", "stubborn")];
    let page = front.user().await.post(&format!("/keys/{hash}"), &form).await;
    assert_eq!(page.status.as_u16(), 502, "{}", page.text());
    let alert = page.one("[role=alert]");
    assert!(alert.contains("Requests per minute") && !alert.contains("Tokens"), "{alert}");
    assert_eq!(page.attributes("input#rpm_limit", "value"), ["5"]);
}

#[tokio::test]
async fn enterprise_features_are_called_that() {
    for (status, text) in [
        (403, "{'error': \"You must be a LiteLLM Enterprise user to use this feature.\"}"),
        (500, "Regenerating Virtual Keys is an Enterprise feature, set LITELLM_LICENSE"),
        (400, "This feature is only available for premium users"),
    ] {
        let app = TestApp::with(Setup::default()).await;
        let (proxy, _guard) = rewriting(&app.sandbox, move |path, body| {
            let error = json!({ "error": { "message": text, "type": "auth_error", "code": "403" } });
            Some(if path == "/key/update" { (status, error) } else { (200, body) })
        })
        .await;
        let front = app.replica_on(&proxy).await;
        let (code, answer) = front.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
        assert_eq!(code.as_u16(), 502, "{answer}");
        assert!(answer["error"]["title"].as_str().unwrap().contains("Enterprise license"), "{answer}");
        assert!(!answer.to_string().contains("LITELLM_MASTER_KEY"), "{answer}");
    }
}
