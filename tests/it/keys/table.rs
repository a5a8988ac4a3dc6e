//! The table, one key's page, the download.

use patchbay_sandbox::Generation;
use serde_json::json;

use super::{GENERATIONS, stage};

#[tokio::test]
async fn a_page_of_a_key_shows_its_spend_and_its_calls() {
    for generation in GENERATIONS {
        let (app, stage) = stage(generation).await;
        let (secret, hash) = stage.make("used", &[("access", "list"), ("models", "openai/gpt-5")]).await;
        let http = crate::support::client(reqwest::redirect::Policy::none());
        for model in ["openai/gpt-5", "openai/gpt-5", "anthropic/claude-sonnet-4-5"] {
            let body = json!({ "model": model, "messages": [{ "role": "user", "content": "TOKENS=2000" }] });
            let request = http.post(format!("{}/v1/chat/completions", app.sandbox)).bearer_auth(&secret);
            request.json(&body).send().await.unwrap();
        }
        let page = stage.browser.get(&format!("/keys/{hash}")).await;
        assert_eq!(page.status.as_u16(), 200, "{}", page.text());
        // A bar for the one day of thirty on which something was spent, as high as the picture lets it be.
        let days = page.attributes(".chart svg rect.bar-rect[y]", "height");
        assert_eq!(days.len(), 1, "{days:?}");
        assert!(days[0].parse::<f64>().unwrap() > 50.0, "{days:?}");
        assert_eq!(page.all("#spend-by-day tbody tr").len(), 1, "{}", page.text());
        let calls = page.all("#last-calls tbody tr");
        assert!(
            calls.len() >= 2 && calls.iter().all(|call| call.contains("gpt-5") || call.contains("failed")),
            "{calls:?}"
        );
        assert!(calls.iter().any(|call| call.contains("ok")), "{calls:?}");
        assert!(page.text().contains("anthropic/claude-sonnet-4-5"), "what it cannot reach is not told");
    }
}

#[tokio::test]
async fn a_download_holds_the_filter_and_harms_no_spreadsheet() {
    let (_app, stage) = stage(Generation::V1_80).await;
    stage.make("x", &[("user_id", "=HYPERLINK(\"http://x\")"), ("access", "none")]).await;
    let file = stage.browser.get("/keys.csv?q=own-x").await;
    let lines: Vec<_> = file.body.lines().collect();
    assert_eq!(lines.len(), 2, "{}", file.body);
    assert!(
        lines[1].contains("no models") && lines[1].contains("\"'=HYPERLINK(\"\"http://x\"\")\""),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn filters_sorts_and_states_are_in_the_address() {
    let (_app, stage) = stage(Generation::V1_80).await;
    stage.make("cheap", &[("max_budget", "0")]).await;
    let (_, set_aside) = stage.make("aside", &[("max_budget", "3")]).await;
    stage.browser.post(&format!("/keys/{set_aside}/block"), &[]).await;
    let aliases = async |query: &str| {
        stage.browser.get(&format!("/keys?{query}")).await.attributes("table#keys tbody tr", "data-alias")
    };
    assert_eq!(aliases("state=blocked").await, ["own-aside"]);
    assert_eq!(aliases("state=over-budget").await, ["own-cheap"]);
    assert_eq!(aliases("spent=80").await, ["own-cheap"]);
    assert_eq!(aliases("sort=budget&dir=desc").await, ["task-agent", "own-aside", "own-cheap"]);
    stage.make("open", &[]).await;
    // Neither the blocked one nor the one without a budget may call it.
    assert_eq!(aliases("model=openai/gpt-5&sort=alias").await, ["own-open"]);
    let page = stage.browser.get("/keys").await;
    assert!(page.one("tr[data-alias=task-agent] th").contains("agent"), "{}", page.text());
}
