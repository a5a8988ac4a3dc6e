//! The registry as it is found in the field: wildcards, aliases, fallbacks, modes.

use reqwest::StatusCode;
use serde_json::json;

use super::BOTH;
use crate::support::{Setup, TestApp};

/// The rows of a proxy in use, and a name each; on top of those of the test's start.
pub(super) async fn lived_in(app: &TestApp) {
    for (id, name, model, info) in [
        ("wild", "openai/*", "openai/*", json!({})),
        ("mini", "openai/gpt-*-mini", "openai/gpt-*-mini", json!({})),
        ("acme", "acme/*", "nvidia_nim/*", json!({})),
        (
            "embedding",
            "openai/text-embedding-3-small",
            "openai/text-embedding-3-small",
            json!({ "mode": "embedding" }),
        ),
        ("image", "draw/me", "openai/gpt-image-1", json!({ "mode": "image_generation" })),
        ("dead", "openai/dead", "openai/dead", json!({})),
    ] {
        let base = if id == "dead" { "http://127.0.0.1:1/v1" } else { "http://127.0.0.1:2/v1" };
        let mut info = info;
        info["id"] = json!(id);
        let params = json!({ "model": model, "api_key": "os.environ/KEY", "api_base": base });
        app.admin("/model/new", &json!({ "model_name": name, "litellm_params": params, "model_info": info }))
            .await;
    }
    let settings = json!({ "router_settings": {
        "model_group_alias": {
            "team/smart": "openai/gpt-5",
            "team/hidden": { "model": "openai/gpt-5-mini", "hidden": true },
            "team/wild": "openai/gpt-77",
            "team/nowhere": "none/x",
            "team/draw": "draw/me",
        },
        "fallbacks": [{ "openai/dead": ["openai/gpt-5"] }],
    } });
    app.admin("/config/update", &settings).await;
}

pub(super) async fn names(app: &TestApp, query: &str) -> Vec<String> {
    let (status, body) = app.script().get(&format!("/models?size=200{query}")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let rows = body["deployments"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_deployment_is_one_row_named_as_configured() {
    for generation in BOTH {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        lived_in(&app).await;
        let mut expected =
            ["openai/gpt-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5"].map(str::to_owned).to_vec();
        expected.extend(
            [
                "openai/*",
                "openai/gpt-*-mini",
                "acme/*",
                "openai/text-embedding-3-small",
                "draw/me",
                "openai/dead",
            ]
            .map(str::to_owned),
        );
        expected.sort();
        let (_, body) = app.script().get("/models?size=200").await;
        let mut found: Vec<&str> =
            body["deployments"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{generation}");
    }
}

#[tokio::test]
async fn names_are_switchable_exactly_where_the_proxy_answers_a_chat() {
    for generation in BOTH {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        lived_in(&app).await;
        app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
        for (name, expected) in [
            ("openai/gpt-5", Ok("is registered")),
            ("openai/gpt-99", Ok("is served by the wildcard openai/*.")),
            ("openai/gpt-9-mini", Ok("is served by the wildcard openai/gpt-*-mini.")),
            ("openai/a/b", Ok("is served by the wildcard openai/*.")),
            ("acme/any", Ok("is served by the wildcard acme/*.")),
            ("team/smart", Ok("team/smart is an alias of openai/gpt-5.")),
            (
                "team/wild",
                Ok(
                    "team/wild is an alias of openai/gpt-77. openai/gpt-77 is served by the wildcard openai/*.",
                ),
            ),
            ("team/nowhere", Err("team/nowhere is an alias of none/x, which the proxy does not have.")),
            ("team/draw", Err("team/draw cannot chat: its mode is image_generation.")),
            ("openai/*", Err("openai/* is a wildcard.")),
            ("xopenai/a", Err("The proxy has no model called xopenai/a.")),
            ("OPENAI/gpt-5", Err("The proxy has no model called OPENAI/gpt-5.")),
            ("openai/text-embedding-3-small", Err("cannot chat: its mode is embedding.")),
            ("draw/me", Err("draw/me cannot chat: its mode is image_generation.")),
        ] {
            let form =
                [("agent", "task-agent"), ("context", "ctx-lived-in"), ("model", name), ("probe", "1")];
            let (status, body) = app.script().post("/switch", &form).await;
            let steps = body["steps"].to_string();
            match expected {
                Ok(text) => {
                    assert_eq!(
                        (status, &body["outcome"]),
                        (StatusCode::OK, &json!("verified")),
                        "{name}: {body}"
                    );
                    assert!(steps.contains(text), "{name}: {steps}");
                }
                Err(text) => {
                    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {body}");
                    assert_eq!(body["outcome"], "refused", "{name}: {body}");
                    assert!(steps.contains(text), "{name}: {steps}");
                }
            }
        }
    }
}

#[tokio::test]
async fn forms_offer_names_that_can_be_called() {
    for generation in BOTH {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        lived_in(&app).await;
        let user = app.user().await;
        for path in ["/switch", "/compare"] {
            let page = user.get(path).await;
            let offered = page.attributes("datalist#models option", "value");
            for name in ["openai/gpt-5", "openai/dead", "team/smart", "team/wild"] {
                assert!(offered.iter().any(|one| one == name), "{path} lacks {name}: {offered:?}");
            }
            for name in [
                "openai/*",
                "acme/*",
                "draw/me",
                "team/draw",
                "openai/text-embedding-3-small",
                "team/hidden",
                "team/nowhere",
            ] {
                assert!(!offered.iter().any(|one| one == name), "{path} offers {name}");
            }
        }
        let page = user.get("/switch").await;
        assert!(page.one("#model-help").contains("openai/*"), "{}", page.one("#model-help"));
        let chips = page.attributes("[data-fills=model] a", "href").join(" ");
        assert!(!chips.contains("embedding") && !chips.contains("draw"), "{chips}");
    }
}

#[tokio::test]
async fn references_of_all_kinds_are_taken_without_leave_and_kept() {
    for generation in BOTH {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let list = "model_list:
- {model_name: ref/a, litellm_params: {model: openai/gpt-5, litellm_credential_name: prod-openai}, model_info: {id: ref-a}}
- {model_name: ref/b, litellm_params: {model: openai/gpt-5, vertex_credentials: /etc/creds.json}, model_info: {id: ref-b}}
- {model_name: ref/c, litellm_params: {model: openai/gpt-5, azure_ad_token: oidc/github/aud}, model_info: {id: ref-c}}
- {model_name: raw/d, litellm_params: {model: openai/gpt-5, vertex_credentials: '{\"private_key\": \"x\"}'}, model_info: {id: raw-d}}
";
        let script = app.script();
        let (status, plan) = script.post("/models/import", &[("yaml", list)]).await;
        assert_eq!(status, StatusCode::CREATED, "{plan}");
        let secrets: Vec<_> = plan["plan"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["raw_secrets"].to_string())
            .collect();
        assert_eq!(secrets, ["[]", "[]", "[]", "[\"vertex_credentials\"]"], "{plan}");
        let more = "litellm_credential_name: prod-openai";
        let form = [("name", "ref/form"), ("model", "openai/gpt-5"), ("credential", "prod-openai")];
        let (status, body) = script.post("/models", &form).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let list = app.user().await.get("/models/export").await.body;
        assert!(list.contains(more), "{list}");
    }
}

#[tokio::test]
async fn stored_credentials_can_be_chosen() {
    let app = TestApp::start().await;
    let credential = json!({ "credential_name": "prod-openai", "credential_values": { "api_key": "sk-secret-1" },
                             "credential_info": { "custom_llm_provider": "openai" } });
    app.admin("/credentials", &credential).await;
    let page = app.user().await.get("/models/new").await;
    assert_eq!(page.all("select#credential option"), ["None", "prod-openai"]);
    assert!(!page.body.contains("sk-secret-1"));
}

#[tokio::test]
async fn names_that_nobody_can_call_are_refused() {
    let app = TestApp::start().await;
    for name in [
        "",
        "gemini/",
        "/x",
        "/",
        "a b",
        "a\tb",
        "a//b",
        "openai/ gpt",
        "a\u{a0}b",
        "a\u{200b}b",
        "openai/\u{202e}x",
    ] {
        let form = [("name", name), ("model", "openai/gpt-5"), ("secret", "os.environ/KEY")];
        let page = app.user().await.post("/models", &form).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}");
        assert!(page.has("#name-error"), "{name:?}: {}", page.text());
    }
    for model in ["openai/", "/gpt-5", "gpt 5"] {
        let form = [("name", "openai/gpt-9"), ("model", model), ("secret", "os.environ/KEY")];
        let page = app.user().await.post("/models", &form).await;
        assert_eq!(
            (page.status, page.has("#model-error")),
            (StatusCode::UNPROCESSABLE_ENTITY, true),
            "{model:?}"
        );
    }
    let user = app.user().await;
    for preset in ["", "openai", "anthropic", "gemini", "mistral", "openrouter", "ollama", "azure"] {
        let page = user.get(&format!("/models/new?preset={preset}")).await;
        assert_eq!(page.attributes("input#name", "value"), [""], "{preset}");
        assert!(!page.attributes("input#api_base", "value").join("").contains("my-resource"), "{preset}");
    }
    let page = user.get("/models/new?preset=azure").await;
    assert_eq!(page.attributes("input#api_base", "placeholder"), ["https://my-resource.openai.azure.com"]);
}

#[tokio::test]
async fn ids_with_reserved_characters_are_changed_tested_and_deleted() {
    for id in ["a/b", "a?b#c d%2f", "a/../b", "müß 🔌"] {
        let app = TestApp::start().await;
        let body = json!({ "model_name": "odd/id", "litellm_params": { "model": "openai/gpt-5" }, "model_info": { "id": id } });
        app.admin("/model/new", &body).await;
        let script = app.script();
        let (_, found) = script.get("/models?q=odd/id").await;
        assert_eq!(found["deployments"][0]["id"], id);
        let page = app.user().await.get("/models?q=odd/id").await;
        let href = page.attributes("#models tbody a.name", "href").remove(0);
        let (status, body) = script.post(&href, &[("rpm", "7")]).await;
        assert_eq!(status, StatusCode::OK, "{id}: {body}");
        let (_, shown) = script.get(&href).await;
        assert_eq!(shown["settings"], json!([["rpm", "7"]]), "{id}: {shown}");
        for action in ["test", "block", "unblock"] {
            let (status, body) = script.post(&format!("{href}/{action}"), &[]).await;
            assert_eq!(status, StatusCode::OK, "{id} {action}: {body}");
        }
        let (status, body) = script.post(&format!("{href}/delete"), &[("confirm", "odd/id")]).await;
        assert_eq!((status, &body["deleted"]), (StatusCode::OK, &json!(true)), "{id}: {body}");
    }
}

#[tokio::test]
async fn secrets_of_the_proxy_are_not_sent_to_a_provider() {
    let app = TestApp::start().await;
    let script = app.script();
    for secret in [
        "os.environ/LITELLM_MASTER_KEY",
        "os.environ/LITELLM_SALT_KEY",
        "os.environ/DATABASE_URL",
        "oidc/env/LITELLM_MASTER_KEY",
        "oidc/file//proc/self/environ",
        "oidc/file//app/.env",
        "oidc/file//var/run/secrets/../../../proc/1/environ",
        "oidc/file//run/secrets/master_key",
        "oidc/env_path/KUBECONFIG",
        // The proxy takes the beginnings out wherever they stand.
        "os.environ/LITELLM_MASTos.environ/ER_KEY",
        "os.environ/oidc/file//proc/self/environ",
        "oidc/env/LITELLM_MASoidc/TER_KEY",
        "oidc/fioidc/le//proc/self/environ",
        "oidc/file//var/run/secrets/azure/.oidc/./../x",
    ] {
        let form = [
            ("name", "evil/one"),
            ("model", "openai/x"),
            ("api_base", "https://evil.example/v1"),
            ("secret", secret),
        ];
        let (status, body) = script.post("/models", &form).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{secret}: {body}");
        let extra = format!("extra_headers: {{X-Key: {secret}}}");
        let form =
            [("name", "evil/one"), ("model", "openai/x"), ("secret", "os.environ/KEY"), ("extra", &extra)];
        let (status, body) = script.post("/models", &form).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{extra}: {body}");
        let list = format!(
            "model_list:\n- {{model_name: evil/one, litellm_params: {{model: openai/x, api_key: {secret}}}}}\n"
        );
        let (_, plan) = script.post("/models/import", &[("yaml", &list)]).await;
        assert_eq!(plan["plan"]["items"][0]["step"], "refused", "{plan}");
    }
    let (_, found) = script.get("/models?q=evil").await;
    assert_eq!(found["total"], 0);
    for (name, token) in [
        ("azure/a", "oidc/file//var/run/secrets/azure/tokens/azure-identity-token"),
        ("azure/b", "oidc/env_path/AZURE_FEDERATED_TOKEN_FILE"),
    ] {
        let extra = format!("azure_ad_token: {token}");
        let form = [("name", name), ("model", "azure/x"), ("extra", extra.as_str())];
        let (status, body) = script.post("/models", &form).await;
        assert_eq!(status, StatusCode::CREATED, "{token}: {body}");
    }
}

#[tokio::test]
async fn a_stored_secret_is_not_sent_to_another_host() {
    for generation in BOTH {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let params = json!({ "model": "openai/gpt-5", "api_base": "https://good.example/v1", "api_key": "raw-secret" });
        app.admin(
            "/model/new",
            &json!({ "model_name": "move/me", "litellm_params": params, "model_info": { "id": "move" } }),
        )
        .await;
        let script = app.script();
        for change in [
            ("api_base", "https://evil.example/v1"),
            ("api_base", "http://good.example/v1"),
            ("provider", "hosted_vllm"),
            ("model", "groq/x"),
        ] {
            let (status, body) = script.post("/models/move", &[change]).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{change:?}: {body}");
            assert!(body["errors"].to_string().contains("secret"), "{change:?}: {body}");
        }
        // Another secret than the one that is stored does not stand for it.
        let form = [("api_base", "https://evil.example/v1"), ("extra", "dummy_token: os.environ/FOO")];
        assert_eq!(script.post("/models/move", &form).await.0, StatusCode::UNPROCESSABLE_ENTITY);
        for address in ["vertex_api_base", "azure_endpoint", "aws_sts_endpoint"] {
            let extra = format!("{address}: https://evil.example");
            let (status, body) = script.post("/models/move", &[("extra", extra.as_str())]).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{address}: {body}");
        }
        let (status, body) = script.post("/models/move", &[("api_base", "https://good.example/v2")]).await;
        assert_eq!(status, StatusCode::OK, "another path of the host: {body}");
        let form = [("api_base", "https://other.example/v1"), ("secret", "os.environ/OTHER")];
        let (status, body) = script.post("/models/move", &form).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        // The reference that is known from then on is given again by the form, and so is another one.
        let form = [("api_base", "https://third.example/v1"), ("secret", "os.environ/OTHER")];
        assert_eq!(script.post("/models/move", &form).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_list_that_includes_others_is_refused() {
    let app = TestApp::start().await;
    let list = "include: [other.yaml]\nmodel_list:\n- {model_name: a/b, litellm_params: {model: openai/x}}\n";
    let page = app.user().await.post("/models/import", &[("yaml", list)]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.one("#yaml-error").contains("include:"), "{}", page.one("#yaml-error"));
}

#[tokio::test]
async fn a_deletion_names_aliases_fallbacks_and_what_a_wildcard_serves() {
    let app = TestApp::start().await;
    lived_in(&app).await;
    app.admin("/key/generate", &json!({ "key_alias": "by-wildcard", "models": ["openai/gpt-99"] })).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
    let form = [("agent", "task-agent"), ("context", "ctx-wild"), ("model", "openai/gpt-99"), ("probe", "")];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    let user = app.user().await;
    let page = user.get("/models/wild/delete").await;
    assert_eq!(page.attributes("#radius [data-keys]", "data-keys"), ["1"], "{}", page.text());
    assert_eq!(page.attributes("#radius [data-contexts]", "data-contexts"), ["1"], "{}", page.text());
    assert!(page.has("#confirm"));
    let page = user.get("/models/wild").await;
    assert!(page.one("#covers").contains("openai/gpt-99"), "{}", page.one("#covers"));
    let (_, found) = app.script().get("/models?q=openai/gpt-5").await;
    let rows = found["deployments"].as_array().unwrap();
    let id = rows.iter().find(|row| row["name"] == "openai/gpt-5").unwrap()["id"].as_str().unwrap();
    let page = user.get(&format!("/models/{id}/delete")).await;
    assert!(page.one("#aliases").contains("team/smart"), "{}", page.text());
    assert!(page.one("#fallback-for").contains("openai/dead"), "{}", page.text());
    assert!(user.get("/models/dead").await.one("#fallbacks").contains("openai/gpt-5"));
    let page = user.get("/models").await;
    assert!(page.attributes("[data-alias]", "data-alias").contains(&"team/smart".to_owned()));
}
