//! The registry's pages against a genuine proxy. Each test makes deployments below a name of its own and
//! deletes them, those of a run that was broken off as well.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use super::{dashboard, setting};
use crate::support::{PASSWORD, USER};

const REFERENCE: &str = "os.environ/BED_OPENAI_API_KEY";

/// A dashboard, and the names that a test may use.
struct Bench {
    http: Client,
    base: String,
    prefix: String,
    _guard: DropGuard,
}

impl Bench {
    async fn start(test: &str) -> Self {
        let (base, guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
        let http = crate::support::client(reqwest::redirect::Policy::none());
        let bench = Self { http, base, prefix: format!("live-models/{test}/"), _guard: guard };
        bench.clean().await;
        bench
    }

    /// Deletes what is below the test's name.
    async fn clean(&self) {
        let all = self.admin("/model/info", &Value::Null).await;
        for row in all["data"].as_array().unwrap() {
            if row["model_name"].as_str().unwrap().starts_with(&self.prefix) {
                self.admin("/model/delete", &json!({ "id": row["model_info"]["id"] })).await;
            }
        }
    }

    /// Asks the proxy itself.
    async fn admin(&self, path: &str, body: &Value) -> Value {
        let address = format!("{}{path}", setting("LIVE_PROXY"));
        let request = match body {
            Value::Null => self.http.get(address),
            body => self.http.post(address).json(body),
        };
        let answer = request.bearer_auth(setting("LIVE_MASTER_KEY")).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        self.send(self.http.post(format!("{}{path}", self.base)).form(form)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let request = request.basic_auth(USER, Some(PASSWORD)).header("accept", "application/json");
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The form of a deployment that the fake upstream answers, with changes.
    async fn register(&self, name: &str, more: &[(&str, &str)]) -> String {
        let (status, body) = self.try_register(name, more).await;
        assert_eq!((status, &body["live"]), (StatusCode::CREATED, &json!(true)), "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    async fn try_register(&self, name: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        let (name, upstream) = (format!("{}{name}", self.prefix), upstream());
        let good = [
            ("name", name.as_str()),
            ("provider", "openai"),
            ("model", "gpt-5"),
            ("secret", REFERENCE),
            ("api_base", &upstream),
            ("mode", "chat"),
        ];
        let is_other = |(field, _): &&(&str, &str)| !more.iter().any(|(other, _)| other == field);
        let form: Vec<_> = good.iter().filter(is_other).chain(more).copied().collect();
        self.post("/models", &form).await
    }

    /// What the proxy says of a deployment; none if it is not live.
    async fn live(&self, id: &str) -> Option<Value> {
        let answer = self.admin(&format!("/model/info?litellm_model_id={id}"), &Value::Null).await;
        answer["data"].as_array().map(|rows| rows[0].clone())
    }

    async fn delete(&self, id: &str, name: &str) {
        let (status, body) = self.post(&format!("/models/{id}/delete"), &[("confirm", name)]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(self.live(id).await.is_none(), "{id} is still live");
    }
}

fn upstream() -> String {
    std::env::var("LIVE_UPSTREAM").unwrap_or_else(|_| "http://127.0.0.1:18080/v1".to_owned())
}

#[tokio::test]
async fn odd_names_are_registered_edited_called_and_deleted() {
    let bench = Bench::start("odd").await;
    let long = "x".repeat(4000);
    for name in ["<script>alert(1)</script>", "\"q\"'r'&amp;", "a/b/../c?d#e%2f", "müß/世界🔌", &long] {
        let id =
            bench.register(name, &[("rpm", "50"), ("input_price", "1.25"), ("extra", "timeout: 30")]).await;
        let whole = format!("{}{name}", bench.prefix);
        let live = bench.live(&id).await.unwrap();
        assert_eq!(live["model_name"], whole.as_str());
        let (_, body) = bench.get(&format!("/models/{id}")).await;
        assert_eq!(body["deployment"]["name"], whole.as_str(), "{body}");
        assert_eq!(body["deployment"]["input_cost_per_token"], 1.25e-6, "{body}");
        assert_eq!(body["secret"], REFERENCE);

        let form = [("rpm", "60"), ("description", "edited"), ("extra", "timeout: 31")];
        let (status, body) = bench.post(&format!("/models/{id}"), &form).await;
        assert_eq!((status, &body["not_taken"]), (StatusCode::OK, &json!([])), "{body}");
        let live = bench.live(&id).await.unwrap();
        assert_eq!(
            (&live["litellm_params"]["rpm"], &live["model_info"]["description"]),
            (&json!(60), &json!("edited"))
        );

        let (_, body) = bench.post(&format!("/models/{id}/test"), &[]).await;
        assert_eq!((&body["ok"], &body["text"]), (&json!(true), &json!("I am gpt-5")), "{body}");
        assert_eq!(body["model"], "gpt-5", "{body}");
        bench.delete(&id, &whole).await;
    }
}

#[tokio::test]
async fn a_saved_and_dead_deployment_is_seen_and_brought_to_life() {
    let bench = Bench::start("ghost").await;
    let (status, body) = bench.try_register("a", &[("provider", ""), ("model", "nonsense/foo")]).await;
    assert_eq!((status, &body["live"]), (StatusCode::CREATED, &json!(false)), "{body}");
    let id = body["id"].as_str().unwrap();
    let (_, list) = bench.get("/models").await;
    assert!(list["ghosts"].as_array().unwrap().iter().any(|ghost| ghost["id"] == id), "{list}");
    let (_, body) = bench.post(&format!("/models/{id}"), &[("model", "openai/gpt-5-mini")]).await;
    assert_eq!(body["live"], true, "{body}");
    let (_, body) = bench.post(&format!("/models/{id}/test"), &[]).await;
    assert_eq!(body["text"], "I am gpt-5-mini", "{body}");
    bench.delete(id, &format!("{}a", bench.prefix)).await;

    let (_, body) = bench.try_register("b", &[("provider", "nonsense")]).await;
    assert_eq!(body["live"], false, "{body}");
    let id = body["id"].as_str().unwrap();
    let (status, _) = bench.post(&format!("/models/{id}/delete"), &[]).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = bench.get(&format!("/models/{id}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
}

#[tokio::test]
async fn what_cannot_be_cleared_is_replaced() {
    let bench = Bench::start("clear").await;
    let id = bench.register("a", &[("rpm", "50")]).await;
    let (status, body) = bench.post(&format!("/models/{id}"), &[("rpm", "")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body["cannot_clear"], json!(["Requests per minute"]));
    let (name, upstream) = (format!("{}a", bench.prefix), upstream());
    let form = [
        ("name", name.as_str()),
        ("provider", "openai"),
        ("model", "gpt-5"),
        ("secret", REFERENCE),
        ("api_base", &upstream),
        ("rpm", ""),
        ("replace", "yes"),
    ];
    let (status, body) = bench.post(&format!("/models/{id}"), &form).await;
    assert_eq!((status, &body["live"]), (StatusCode::OK, &json!(true)), "{body}");
    assert!(bench.live(&id).await.is_none());
    let new = body["id"].as_str().unwrap();
    assert!(bench.live(new).await.unwrap()["litellm_params"].get("rpm").is_none());
    bench.delete(new, &name).await;
}

#[tokio::test]
async fn blocking_works_where_the_release_has_it() {
    let bench = Bench::start("block").await;
    let id = bench.register("a", &[]).await;
    let (status, body) = bench.post(&format!("/models/{id}/block"), &[]).await;
    if setting("LIVE_VERSION") == "1.80" {
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(body["error"]["detail"].as_str().unwrap().contains("1.106"), "{body}");
    } else {
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(bench.get(&format!("/models/{id}")).await.1["deployment"]["blocked"], true);
        assert_eq!(bench.post(&format!("/models/{id}/test"), &[]).await.1["ok"], false);
        assert_eq!(bench.post(&format!("/models/{id}/unblock"), &[]).await.0, StatusCode::OK);
        assert_eq!(bench.post(&format!("/models/{id}/test"), &[]).await.1["ok"], true);
    }
    bench.delete(&id, &format!("{}a", bench.prefix)).await;
}

#[tokio::test]
async fn an_upstreams_refusal_and_a_twin_are_told_apart() {
    let bench = Bench::start("test").await;
    let bad = [("secret", "bad-key"), ("raw_secret", "yes")];
    let bad = bench.register("a", &bad).await;
    let good = bench.register("a", &[("model", "gpt-5-mini"), ("duplicate", "yes")]).await;
    for _ in 0..2 {
        let (_, body) = bench.post(&format!("/models/{bad}/test"), &[]).await;
        assert_eq!(body["ok"], false, "{body}");
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("401") && !text.contains("Traceback") && !text.contains("bad-key"), "{text}");
        let (_, body) = bench.post(&format!("/models/{good}/test"), &[]).await;
        assert_eq!(body["text"], "I am gpt-5-mini", "{body}");
    }
    let (_, audit) = bench.get("/audit").await;
    assert!(!audit.to_string().contains("bad-key"), "{audit}");
    for id in [bad, good] {
        bench.delete(&id, &format!("{}a", bench.prefix)).await;
    }
}

#[tokio::test]
async fn the_configuration_files_model_is_read_only() {
    let bench = Bench::start("config").await;
    let name = std::env::var("LIVE_CONFIG_MODEL").unwrap_or_else(|_| "config-mock".to_owned());
    let (_, list) = bench.get(&format!("/models?source=config&q={name}")).await;
    let rows = list["deployments"].as_array().unwrap();
    let id = rows.iter().find(|row| row["name"] == *name).unwrap()["id"].as_str().unwrap();
    for (path, form) in [("", &[("rpm", "3")][..]), ("/delete", &[]), ("/block", &[])] {
        let (status, body) = bench.post(&format!("/models/{id}{path}"), form).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {body}");
    }
    let (_, body) = bench.post(&format!("/models/{id}/test"), &[]).await;
    assert_eq!(body["text"], format!("I am {name}"), "{body}");
}

#[tokio::test]
async fn a_list_is_imported_exported_and_then_the_same() {
    let bench = Bench::start("import").await;
    let id = bench.register("a", &[("rpm", "50")]).await;
    let (prefix, upstream) = (&bench.prefix, upstream());
    let entry = |name: &str, rest: &str| {
        format!(
            "- model_name: {prefix}{name}\n  litellm_params: {{api_base: \"{upstream}\", api_key: {REFERENCE}, {rest}}}\n"
        )
    };
    let list = [
        entry("a", "model: gpt-5, custom_llm_provider: openai, rpm: 70"),
        entry("b", "model: openai/gpt-5-mini, input_cost_per_token: 1.0e-6"),
    ];
    let list = format!("model_list:\n{}", list.concat());
    let (_, plan) = bench.post("/models/import", &[("yaml", &list)]).await;
    let steps = |plan: &Value| -> Vec<String> {
        plan["plan"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["step"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(steps(&plan), ["change", "add"], "{plan}");
    let job = format!("/models/import/{}", plan["id"].as_str().unwrap());
    bench.post(&format!("{job}/apply"), &[]).await;
    let mut now = json!({});
    for _ in 0..100 {
        now = bench.get(&job).await.1;
        if now["state"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        (&now["results"][0]["result"], &now["results"][1]["result"]),
        (&json!("done"), &json!("done")),
        "{now}"
    );
    assert_eq!(bench.live(&id).await.unwrap()["litellm_params"]["rpm"], 70);

    let (_, plan) = bench.post("/models/import", &[("yaml", &list)]).await;
    assert_eq!(steps(&plan), ["same", "same"], "{plan}");
    let (_, export) = bench.get("/models/export").await;
    let export = export.as_str().unwrap();
    assert!(export.contains(REFERENCE) && export.contains(&format!("{prefix}b")), "{export}");
    let (_, plan) = bench.post("/models/import", &[("yaml", export)]).await;
    assert!(steps(&plan).iter().all(|step| step == "same"), "{plan}");
    bench.clean().await;
}
