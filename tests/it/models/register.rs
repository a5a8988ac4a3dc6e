//! Registering.

use reqwest::StatusCode;
use serde_json::json;

use super::{BOTH, GOOD, Stand, error_at, odd_names, with};
use crate::support::TestApp;

#[tokio::test]
async fn a_model_is_registered_seen_and_written_down() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let user = stand.user().await;
        let form = with(
            &GOOD,
            &[
                ("description", "for tests"),
                ("rpm", "60"),
                ("input_price", "1.25"),
                ("output_price", "10"),
                ("extra", "timeout: 30\ntags: [a, b]"),
            ],
        );
        let page = user.post("/models", &form).await;
        assert_eq!((page.status, page.one("h1")), (StatusCode::OK, "openai/gpt-5".to_owned()));
        assert!(page.one("#flash").contains("live"), "{}", page.one("#flash"));
        assert!(page.text().contains("os.environ/LITELLM_OPENAI_API_KEY"));
        let id = page.url.path().rsplit('/').next().unwrap().to_owned();
        let live = stand.live(&id).await;
        let (params, info) = (&live["litellm_params"], &live["model_info"]);
        assert_eq!((&params["model"], &params["custom_llm_provider"]), (&json!("gpt-5"), &json!("openai")));
        assert_eq!((&params["rpm"], &params["tags"]), (&json!(60), &json!(["a", "b"])));
        assert_eq!((&info["description"], &info["mode"]), (&json!("for tests"), &json!("chat")));
        let price = info["input_cost_per_token"].to_string();
        assert!(price.contains("1.25e-"), "{price}");
        let audit = stand.audit().await;
        assert!(audit[0].contains("model.register") && audit[0].contains("ada"), "{audit:?}");
    }
}

#[tokio::test]
async fn a_preset_fills_the_form_in() {
    let app = TestApp::start().await;
    let user = app.user().await;
    let page = user.get("/models/new?preset=azure").await;
    assert_eq!(page.attributes("#provider", "value"), ["azure"]);
    assert_eq!(page.attributes("#secret", "value"), ["os.environ/LITELLM_AZURE_API_KEY"]);
    assert!(!page.attributes("#api_version", "value")[0].is_empty());
    for preset in ["openai", "anthropic", "gemini", "mistral", "openrouter", "ollama", "azure"] {
        assert_eq!(page.all(&format!(".chip[href$='preset={preset}']")).len(), 1, "{preset}");
    }
    let page = user.get("/models/new?preset=nonsense").await;
    assert_eq!((page.status, page.attributes("#provider", "value")), (StatusCode::OK, vec![String::new()]));
}

#[tokio::test]
async fn bad_input_comes_back_with_the_error_at_its_field() {
    let stand = Stand::start(BOTH[1]).await;
    let user = stand.user().await;
    for (field, bad) in [
        ("name", ""),
        ("name", "a\u{7}b"),
        ("model", " "),
        ("rpm", "0"),
        ("tpm", "1.5"),
        ("input_price", "-3"),
        ("output_price", "much"),
        ("api_base", "not an address"),
        ("secret", "os.environ/"),
        ("secret", "os.environ/A B"),
        ("extra", "timeout: [1"),
        ("extra", "just words"),
        ("extra", "api_key: os.environ/A"),
    ] {
        let page = user.post("/models", &with(&GOOD, &[("description", "keep <me>"), (field, bad)])).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}={bad:?}");
        assert!(!error_at(&page, field).is_empty());
        assert_eq!(page.attributes(&format!("#{field}[aria-invalid]"), "name"), [field], "{field}={bad:?}");
        assert_eq!(page.attributes("#description", "value"), ["keep <me>"]);
    }
    let (_, body) = stand.script().get("/models").await;
    assert_eq!(body["registered"], 1, "only the configuration file's: {body}");
    let (status, body) = stand.script().post("/models", &[("name", "x")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["errors"]["model"].is_string(), "{body}");
}

#[tokio::test]
async fn a_secret_by_value_needs_a_word_and_is_never_shown() {
    const RAW: &str = "raw-provider-secret-77";
    let stand = Stand::start(BOTH[1]).await;
    let user = stand.user().await;
    let sent: [&[(&str, &str)]; 3] = [
        &[("secret", RAW)],
        &[("api_base", "https://user:raw-provider-secret-77@host/v1")],
        &[("extra", "timeout: 3\naws_secret_access_key: raw-provider-secret-77")],
    ];
    for more in sent {
        let field = more[0].0;
        let page = user.post("/models", &with(&GOOD, more)).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert!(error_at(&page, field).contains("secret"), "{field}");
        assert!(!page.body.contains(RAW), "{field} shows it again");
        let page =
            user.post("/models", &with(&with(&GOOD, more), &[("name", field), ("raw_secret", "yes")])).await;
        assert_eq!((page.status, page.one("h1")), (StatusCode::OK, field.to_owned()));
        assert!(!page.body.contains(RAW), "{field} shows it");
    }
    for path in ["/audit", "/models", "/models/export"] {
        let page = user.get(path).await;
        assert!(page.status.is_success() && !page.body.contains(RAW), "{path}");
    }
}

#[tokio::test]
async fn a_second_deployment_of_a_name_is_warned_of() {
    let stand = Stand::start(BOTH[0]).await;
    stand.register(&GOOD).await;
    let user = stand.user().await;
    let page = user.post("/models", &with(&GOOD, &[("model", "gpt-5-mini")])).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(error_at(&page, "name").contains("share its calls"));
    assert_eq!(page.attributes("#secret", "value"), ["os.environ/LITELLM_OPENAI_API_KEY"], "references stay");
    let page = user.post("/models", &with(&GOOD, &[("model", "gpt-5-mini"), ("duplicate", "yes")])).await;
    assert_eq!(page.status, StatusCode::OK);
    let list = user.get("/models?q=gpt-5").await;
    assert_eq!(list.all("table#models .badge.plain"), ["×2", "×2"]);
}

#[tokio::test]
async fn a_saved_and_dead_deployment_is_reported_fixed_and_deleted() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let user = stand.user().await;
        let dead = with(&GOOD, &[("name", "ghost/a"), ("provider", ""), ("model", "nonsense/foo")]);
        let page = user.post("/models", &dead).await;
        assert!(page.one("#ghost").contains("does not serve it"), "{}", page.text());
        let id = page.attributes("#ghost", "data-ghost").remove(0);
        assert!(!stand.is_live(&id).await);
        let list = user.get("/models").await;
        assert_eq!(list.attributes(".ghosts li", "data-ghost"), [id.as_str()]);
        assert!(stand.audit().await[0].contains("not-live"));

        let form = user.get(&format!("/models/{id}/edit")).await;
        assert_eq!(form.attributes("#model", "value"), ["nonsense/foo"]);
        assert_eq!(form.attributes("#secret", "value"), ["os.environ/LITELLM_OPENAI_API_KEY"]);
        let still = user.post(&format!("/models/{id}"), &[("model", "nonsense/bar")]).await;
        assert!(still.one("#ghost").contains("does not serve it"), "{generation}: {}", still.text());
        let page = user.post(&format!("/models/{id}"), &[("model", "openai/gpt-5")]).await;
        assert!(!page.has("#ghost"), "{}", page.text());
        assert_eq!(stand.live(&id).await["litellm_params"]["model"], "openai/gpt-5");
        assert!(!user.get("/models").await.has(".ghosts li"));

        let (_, body) = stand.script().post("/models", &with(&dead, &[("name", "ghost/b")])).await;
        assert_eq!(body["live"], false, "{body}");
        let id = body["id"].as_str().unwrap();
        let page = user.post(&format!("/models/{id}/delete"), &[]).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.has(".ghosts li"), "{}", page.text());
        assert_eq!(user.get(&format!("/models/{id}")).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn odd_names_are_shown_linked_edited_and_deleted() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let user = stand.user().await;
        for name in odd_names() {
            let page = user.post("/models", &with(&GOOD, &[("name", &name)])).await;
            assert_eq!(page.status, StatusCode::OK, "{name}");
            let id = page.url.path().rsplit('/').next().unwrap().to_owned();
            assert_eq!(stand.live(&id).await["model_name"], name.as_str());
            let list = user.get("/models").await;
            let names = list.attributes("table#models tbody tr", "data-name");
            assert!(names.contains(&name), "{name} in {names:?}");
            assert!(!list.body.contains("<script>alert"));
            let link = list.attributes(&format!("tr[data-id='{id}'] th a"), "href").remove(0);
            assert_eq!(user.get(&link).await.status, StatusCode::OK);
            let form = user.get(&format!("/models/{id}/edit")).await;
            assert_eq!(form.attributes("#name", "value"), [name.as_str()]);
            let page = user.post(&format!("/models/{id}"), &[("name", &name), ("rpm", "7")]).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            let live = stand.live(&id).await;
            assert_eq!((&live["model_name"], &live["litellm_params"]["rpm"]), (&json!(name), &json!(7)));
            let key = json!({ "key_alias": name, "models": [name] });
            assert_eq!(stand.admin("/key/generate", &key).await.0, 200);
            let (status, _) =
                stand.script().post(&format!("/models/{id}/delete"), &[("confirm", &name)]).await;
            assert_eq!(status, StatusCode::OK, "{name}");
            assert!(!stand.is_live(&id).await);
        }
    }
}

/// The form as a browser sends it, which has the box for the test ticked.
fn sent(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&with(&GOOD, more)[..], &[("test", "yes")]].concat()
}

#[tokio::test]
async fn model_is_tested_after_registering_and_the_result_is_on_its_page() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let user = stand.user().await;
        let form = user.get("/models/new").await;
        assert!(form.has("#test[checked]"));
        let page = user.post("/models", &sent(&[])).await;
        assert_eq!(
            (page.status, page.attributes(".test", "data-ok")),
            (StatusCode::OK, vec!["true".to_owned()])
        );
        assert!(page.one("#flash").contains("It answered its test in"), "{}", page.one("#flash"));
        let page = user.post("/models", &sent(&[("name", "openai/off"), ("model", "missing-model")])).await;
        assert_eq!(page.attributes(".test", "data-ok"), ["false"]);
        assert!(
            page.one("#flash").contains("failed its test") && page.one("#flash").contains("does not exist")
        );
        // Not asked for, and what does not chat.
        for more in [
            &[("name", "openai/still")][..],
            &[("name", "openai/vector"), ("mode", "embedding"), ("test", "yes")],
        ] {
            let page = user.post("/models", &with(&GOOD, more)).await;
            assert!(
                !page.has(".test") && page.one("#flash").ends_with("is registered, and live."),
                "{}",
                page.text()
            );
        }
    }
}

#[tokio::test]
async fn several_models_of_one_provider_are_registered_in_one_submit() {
    let stand = Stand::start(BOTH[1]).await;
    let user = stand.user().await;
    let more = [
        ("more", " gpt-5-mini \n\nopenai/missing-one\n"),
        ("rpm", "7"),
        ("input_price", "1"),
        ("description", "the first"),
    ];
    let page = user.post("/models", &sent(&more)).await;
    assert_eq!((page.status, page.url.path()), (StatusCode::OK, "/models"), "{}", page.text());
    let flash = page.one("#flash");
    for said in [
        "openai/gpt-5 is registered, and live. It answered",
        "openai/gpt-5-mini is registered, and live. It answered",
        "openai/missing-one is registered, but failed its test",
    ] {
        assert!(flash.contains(said), "{flash}");
    }
    for (name, upstream, is_first) in [
        ("openai/gpt-5", "gpt-5", true),
        ("openai/gpt-5-mini", "gpt-5-mini", false),
        ("openai/missing-one", "missing-one", false),
    ] {
        let row = format!("tr[data-name='{name}']");
        let id = page.attributes(&row, "data-id").remove(0);
        let live = stand.live(&id).await;
        let params = &live["litellm_params"];
        assert_eq!(
            (&params["model"], &params["custom_llm_provider"], &params["rpm"]),
            (&json!(upstream), &json!("openai"), &json!(7)),
            "{live}"
        );
        // Prices and the description are one model's.
        assert_eq!(params["input_cost_per_token"].is_number(), is_first, "{live}");
        assert_eq!(live["model_info"]["description"] == "the first", is_first, "{live}");
    }
    let (status, told) =
        stand.script().post("/models", &with(&GOOD, &[("name", "a/b"), ("more", "c")])).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    let names: Vec<_> = told["models"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["a/b", "openai/c"], "{told}");
}

#[tokio::test]
async fn further_models_are_checked_before_anything_is_sent() {
    let stand = Stand::start(BOTH[1]).await;
    let user = stand.user().await;
    stand.register(&with(&GOOD, &[("name", "openai/taken")])).await;
    let many: Vec<String> = (0..21).map(|number| format!("m{number}")).collect();
    let many = many.join("\n");
    for (field, more) in [
        ("more", &[("more", "a b")][..]),
        ("more", &[("more", "x\nx")]),
        ("more", &[("more", "gpt-5")]),
        ("more", &[("more", "taken")]),
        ("more", &[("more", many.as_str())]),
        ("provider", &[("provider", ""), ("more", "x")]),
    ] {
        let page = user.post("/models", &with(&GOOD, more)).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{more:?}");
        assert!(page.has(&format!("#{field}-error")), "{more:?}: {}", page.text());
        let kept = more.iter().find(|(name, _)| *name == "more").unwrap().1;
        let kept = kept.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(page.one("#more"), kept, "{more:?}");
        let (_, list) = stand.admin("/v2/model/info?size=100", &json!(null)).await;
        assert_eq!(list["data"].as_array().unwrap().len(), 2, "{more:?}");
    }
}

#[tokio::test]
async fn proxys_own_providers_can_be_chosen() {
    let page = TestApp::start().await.user().await.get("/models/new").await;
    let offered = page.attributes("#providers option", "value");
    assert_eq!(offered[0], "openai", "the presets come first");
    assert!(offered.iter().any(|id| id == "hosted_vllm"), "{offered:?}");
    assert_eq!(offered.iter().filter(|id| *id == "openai").count(), 1);
}
