//! The keys' table and page, on both generations, with few and with many keys.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use patchbay_clock::Clock;
use patchbay_sandbox::Generation;
use serde_json::{Value, json};

use crate::support::{Page, Setup, TestApp};

fn aliases(page: &Page) -> Vec<String> {
    let mut all = page.attributes("table#keys tbody tr", "data-alias");
    all.sort();
    all
}

async fn issue(app: &TestApp, alias: &str, settings: Value) -> Value {
    let mut settings = settings;
    settings["key_alias"] = json!(alias);
    app.admin("/key/generate", &settings).await
}

/// Two hours ahead of the sandbox: what expires within an hour has expired.
fn ahead() -> Clock {
    let system = Clock::system();
    Clock::from_fn(move || system.now() + SignedDuration::from_hours(2))
}

#[tokio::test]
async fn keys_are_told_by_state_and_found_by_every_part() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, clock: ahead(), ..Setup::default() }).await;
        let plain = issue(&app, "plain-ci", json!({ "models": [], "user_id": "grace-hopper" })).await;
        let blocked = issue(&app, "bl<b>cked", json!({ "models": ["no-default-models"] })).await;
        app.admin("/key/block", &json!({ "key": blocked["key"] })).await;
        issue(&app, "short", json!({ "duration": "1h", "models": ["anthropic/claude-sonnet-4-5"] })).await;
        let spent =
            issue(&app, "spent", json!({ "max_budget": 2.5, "models": ["a", "b", "c", "d", "openai/*"] }))
                .await;
        app.admin("/key/update", &json!({ "key": spent["key"], "spend": 2.5 })).await;
        let nameless = app.admin("/key/generate", &json!({ "models": ["openai/gpt-5"] })).await;

        let browser = app.user().await;
        let all = browser.get("/keys").await;
        assert_eq!(
            aliases(&all),
            ["", "bl<b>cked", "plain-ci", "short", "spent", "task-agent"],
            "{generation}"
        );
        let row = |alias: &str| all.one(&format!("table#keys tr[data-alias='{alias}']"));
        assert!(
            row("plain-ci").contains("all models") && row("plain-ci").contains("active"),
            "{}",
            row("plain-ci")
        );
        assert!(
            row("bl<b>cked").contains("no models") && row("bl<b>cked").contains("blocked"),
            "{}",
            row("bl<b>cked")
        );
        assert!(
            row("short").contains("expired") && row("short").contains("claude-sonnet"),
            "{}",
            row("short")
        );
        assert!(
            row("spent").contains("over budget") && row("spent").contains("and 3 more"),
            "{}",
            row("spent")
        );
        assert!(row("task-agent").contains("agent active"), "{}", row("task-agent"));
        // A key without an alias goes by its masked name, in the link as well.
        let secret = nameless["key"].as_str().unwrap();
        let masked = format!("sk-...{}", &secret[secret.len() - 4..]);
        assert!(row("").starts_with(&masked), "{}", row(""));

        let hash = plain["token"].as_str().unwrap();
        let masked = plain["key"].as_str().map(|key| key[key.len() - 4..].to_owned()).unwrap();
        for (query, wanted) in [
            ("q=LAIN-c", vec!["plain-ci"]),
            ("q=race-hop", vec!["plain-ci"]),
            (&format!("q={}", &hash[20..40]), vec!["plain-ci"]),
            (&format!("q={masked}"), vec!["plain-ci"]),
            ("q=claude-sonnet", vec!["short"]),
            ("q=%3Cb%3E", vec!["bl<b>cked"]),
            ("q=sk-never", vec![]),
            ("state=active", vec!["", "plain-ci", "task-agent"]),
            ("state=blocked", vec!["bl<b>cked"]),
            ("state=expired", vec!["short"]),
            ("state=over-budget", vec!["spent"]),
            ("state=blocked&q=plain", vec![]),
            ("model=openai/gpt-5", vec!["", "plain-ci"]),
            ("model=anthropic/claude-sonnet-4-5", vec!["plain-ci"]),
        ] {
            let page = browser.get(&format!("/keys?{query}")).await;
            assert_eq!(aliases(&page), wanted, "{generation}: {query}");
            assert!(!page.body.contains("bl<b>"), "an alias is not escaped");
            if wanted.is_empty() {
                assert!(page.one(".empty").contains("None of the 6 keys fits"), "{}", page.one(".empty"));
            }
        }
        let states = all.attributes("#state option", "value");
        assert_eq!(states, ["", "active", "blocked", "expired", "over-budget"]);
    }
}

#[tokio::test]
async fn one_key_tells_its_settings_and_is_relaxed() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let settings = json!({
            "models": ["openai/gpt-5"], "user_id": "grace", "max_budget": 20, "budget_duration": "30d",
            "rpm_limit": 1200, "tpm_limit": 1_000_000, "max_parallel_requests": 3, "duration": "90d",
        });
        let key = issue(&app, "nightly <i>", settings).await;
        let hash = key["token"].as_str().unwrap();
        let browser = app.user().await;
        let page = browser.get(&format!("/keys/{hash}")).await;
        assert_eq!((page.status, page.one("h1")), (StatusCode::OK, "nightly <i>".to_owned()));
        for text in [
            hash,
            "grace",
            "$20.00",
            "30d",
            "1,200",
            "1,000,000",
            "in 89 days",
            "May call only: openai/gpt-5",
            "No access to: anthropic/claude-sonnet-4-5",
        ] {
            assert!(page.text().contains(text), "{generation}: {text} in {}", page.text());
        }
        assert!(!page.body.contains(key["key"].as_str().unwrap()) && !page.body.contains("<i>"));

        let action = page.attributes("form[action$=relax]", "action").remove(0);
        let page = browser.post(&action, &[]).await;
        assert_eq!(page.url.path(), format!("/keys/{hash}"));
        assert!(
            page.one("#flash[role=status]").contains("nightly <i> may now call every model"),
            "{}",
            page.text()
        );
        assert!(page.text().contains("key.relax ok by ada"), "{}", page.text());
        assert!(page.text().contains("openai/gpt-5 → all models"), "{}", page.text());
        // Budget and limits stay; the message is shown once; there is nothing left to relax.
        assert!(page.text().contains("$20.00") && page.text().contains("1,200"));
        let page = browser.get(&format!("/keys/{hash}")).await;
        assert!(!page.has("#flash .notice") && !page.has("form[action$=relax]"));
        assert!(browser.get("/keys?q=nightly").await.one("table#keys tbody tr").contains("all models"));

        let unknown = "0".repeat(64);
        for path in [unknown.as_str(), "x", "%00", &hash[1..], &hash.to_uppercase()] {
            let page = browser.get(&format!("/keys/{path}")).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
            let page = browser.post(&format!("/keys/{path}/relax"), &[]).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
            assert!(page.one("[role=alert]").contains("key was not found"), "{}", page.text());
        }
        // The attempt on a key that is not there is written down as well.
        let (_, audit) = app.script().get("/audit").await;
        assert_eq!(audit["entries"][0]["object"], unknown);
        assert_eq!(audit["entries"][0]["outcome"], "failed");
    }
}

#[tokio::test]
async fn a_key_without_any_model_is_told_as_such() {
    let app = TestApp::start().await;
    let none = issue(&app, "none", json!({ "models": ["no-default-models"] })).await;
    let page = app.user().await.get(&format!("/keys/{}", none["token"].as_str().unwrap())).await;
    assert!(page.text().contains("May call no model ("), "{}", page.text());
    let (_, json) = app.script().get("/keys?q=none").await;
    assert_eq!(json["keys"][0]["access"], "none");
}

/// Asks until all keys have been read.
async fn whole(app: &TestApp) -> Value {
    for _ in 0..200 {
        let (status, json) = app.script().get("/keys?size=200").await;
        assert_eq!(status, StatusCode::OK, "{json}");
        assert!(json["read"].as_u64().unwrap() <= 251 && json["issued"] == 251, "{json}");
        if json["is_complete"] == true {
            return json;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the keys are never read to the end");
}

#[tokio::test]
async fn many_keys_are_searched_sorted_and_paged() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        for number in 0..250 {
            let mut settings =
                json!({ "models": ["openai/gpt-5"], "user_id": format!("user-{}", number % 5) });
            if number % 2 == 0 {
                settings["max_budget"] = json!(number);
            }
            if number % 3 == 0 {
                settings["duration"] = json!(format!("{}h", 500 - number));
            }
            issue(&app, &format!("key-{number:03}"), settings).await;
        }
        let json = whole(&app).await;
        assert_eq!((&json["total"], &json["pages"], &json["read"]), (&json!(251), &json!(2), &json!(251)));
        let browser = app.user().await;
        let mut seen = Vec::new();
        for number in 1..=6 {
            seen.extend(aliases(&browser.get(&format!("/keys?page={number}")).await));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 251, "{generation}: a key is missing between the pages");
        assert_eq!(aliases(&browser.get("/keys?page=7").await), aliases(&browser.get("/keys?page=6").await));
        // Also what only the last page of the proxy holds is found.
        assert_eq!(aliases(&browser.get("/keys?q=ey-000").await), ["key-000"]);
        assert_eq!(app.script().get("/keys?q=user-3").await.1["total"], 50);

        for (sort, field) in [
            ("alias", "alias"),
            ("spend", "spend"),
            ("budget", "max_budget"),
            ("expires", "expires"),
            ("created", "created_at"),
        ] {
            for dir in ["asc", "desc"] {
                let (_, json) = app.script().get(&format!("/keys?size=200&sort={sort}&dir={dir}")).await;
                let values: Vec<&Value> =
                    json["keys"].as_array().unwrap().iter().map(|key| &key[field]).collect();
                check_order(&values, dir == "asc", &format!("{generation}: {sort} {dir}"));
            }
        }
    }
}

fn check_order(values: &[&Value], rises: bool, what: &str) {
    assert_eq!(values.len(), 200);
    let known = values.iter().take_while(|value| !value.is_null()).count();
    assert!(
        known > 0 && values[known..].iter().all(|value| value.is_null()),
        "{what}: missing ones are not last"
    );
    for pair in values[..known].windows(2) {
        let order = match (pair[0], pair[1]) {
            (Value::String(a), Value::String(b)) => match (a.parse::<Timestamp>(), b.parse::<Timestamp>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(b),
            },
            (a, b) => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
        };
        assert!(order.is_eq() || order.is_lt() == rises, "{what}: {} before {}", pair[0], pair[1]);
    }
}

/// A time that is no longer ago than the test began is told as now, and dates are whole in the tooltip.
#[tokio::test]
async fn times_are_told_for_people_and_for_machines() {
    let app = TestApp::start().await;
    let page = app.user().await.get(&format!("/keys/{}", app.agent_key_hash)).await;
    assert!(page.all(".facts time").contains(&"just now".to_owned()), "{}", page.text());
    let stamp = page.attributes(".facts time", "datetime").remove(0);
    let at: Timestamp = stamp.parse().unwrap();
    let now = Clock::system().now();
    assert!(at <= now && at > now - 1.minute(), "{stamp}");
}
