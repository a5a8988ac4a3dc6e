//! The stand-in for LiteLLM, asked over HTTP, beside recordings of the genuine proxy.
//!
//! A recorded request is sent unchanged: the virtual keys and deployments it names are first made with the
//! recorded secrets and ids.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use patchbay::domain::clock::Clock;
use patchbay::sandbox::{Database, Generation, Options, World, router};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MASTER: &str = "sk-bed-master";
const BOTH: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

/// A running stand-in.
struct Stand {
    base: String,
    client: reqwest::Client,
    world: World,
    time: Arc<Mutex<Timestamp>>,
    generation: Generation,
}

/// An answer, its body as JSON or else as a string.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Value,
}

impl Stand {
    async fn start(generation: Generation) -> Self {
        Self::start_with(generation, Database::Up).await
    }

    async fn start_with(generation: Generation, database: Database) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = "2026-11-22T08:14:11.954Z".parse().unwrap();
        let time = Arc::new(Mutex::new(start));
        let source = Arc::clone(&time);
        let world = World::new(Options {
            master_key: MASTER.into(),
            generation,
            database,
            clock: Clock::from_fn(move || *source.lock().unwrap()),
            config_models: vec![("config-mock".to_owned(), "openai/config-mock".to_owned())],
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = router(world.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, client: reqwest::Client::new(), world, time, generation }
    }

    fn pass(&self, seconds: i64) {
        *self.time.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, kind: kind.unwrap_or_default(), body }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, Some(MASTER), None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// A POST with the master key that must succeed.
    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.send("POST", path, Some(MASTER), Some(&body)).await;
        assert_eq!(answer.status, 200, "POST {path} {body}: {}", answer.body);
        answer.body
    }

    async fn model(&self, name: &str, model: &str) -> String {
        let params = json!({ "model": model, "custom_llm_provider": "openai", "api_key": "sk-x" });
        let row = self.post("/model/new", json!({ "model_name": name, "litellm_params": params })).await;
        row["model_id"].as_str().unwrap().to_owned()
    }

    async fn chat(&self, key: &str, model: &str, text: &str) -> Answer {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
        self.send("POST", "/v1/chat/completions", Some(key), Some(&body)).await
    }

    /// Sends what was recorded as `name` and compares the answers.
    async fn replay(&self, name: &str) -> Value {
        let recording = self.recording(name);
        let request = &recording["request"];
        let key = bearer(&recording);
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let body = Some(&request["body"]).filter(|body| !body.is_null());
        let answer = self.send(method, path, key.as_deref(), body).await;
        let expected = &recording["response"];
        let case = format!("{} {name}", self.generation);
        assert_eq!(json!(answer.status.as_u16()), expected["status"], "{case}: {}", answer.body);
        let kind = expected["headers"]["content-type"].as_str().unwrap();
        assert!(answer.kind.starts_with(kind.split(';').next().unwrap()), "{case}: {}", answer.kind);
        if kind.starts_with("application/json") {
            let mut found = Vec::new();
            differences("", &expected["body"], &answer.body, &mut found);
            assert!(found.is_empty(), "{case} differs:\n{}", found.join("\n"));
        }
        answer.body
    }

    fn recording(&self, name: &str) -> Value {
        recording(self.generation, name)
    }
}

fn recording(generation: Generation, name: &str) -> Value {
    let path = format!("{}/tests/wire/litellm/{generation}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The key a recorded request was made with.
fn bearer(recording: &Value) -> Option<String> {
    let value = recording["request"]["headers"]["Authorization"].as_str()?;
    Some(value.strip_prefix("Bearer ").unwrap().to_owned())
}

/// The key a recorded request is about.
fn subject(recording: &Value) -> String {
    let request = &recording["request"];
    let path = request["path"].as_str().unwrap();
    let named = path.split_once("?key=").map(|(_, key)| key).or_else(|| request["body"]["key"].as_str());
    named.unwrap().to_owned()
}

/// Values that differ from run to run; only their kind is compared.
const VOLATILE: &[&str] = &[
    "id",
    "created",
    "created_at",
    "updated_at",
    "settings_updated_at",
    "deleted_at",
    "last_active",
    "expires",
    "key",
    "key_name",
    "token",
    "token_id",
    "model_id",
];

/// Objects of which the stand-in has only a handful of fields.
const PARTIAL: &[&str] = &["model_info", "router_settings"];

/// What a client could notice: missing and unknown fields, other kinds, other values.
fn differences(path: &str, recorded: &Value, answered: &Value, found: &mut Vec<String>) {
    let field = path.rsplit('.').next().unwrap_or_default();
    match (recorded, answered) {
        (Value::Object(recorded), Value::Object(answered)) => {
            let names: BTreeSet<&String> = recorded.keys().chain(answered.keys()).collect();
            for name in names {
                let inner = format!("{path}.{name}");
                match (recorded.get(name), answered.get(name)) {
                    (Some(recorded), Some(answered)) => differences(&inner, recorded, answered, found),
                    (Some(_), None) if PARTIAL.contains(&field) => {}
                    (Some(_), None) => found.push(format!("{inner}: missing")),
                    _ => found.push(format!("{inner}: not in the recording")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(answered)) => {
            if recorded.len() != answered.len() {
                found.push(format!("{path}: {} items, recorded {}", answered.len(), recorded.len()));
            }
            for (index, (recorded, answered)) in recorded.iter().zip(answered).enumerate() {
                differences(&format!("{path}.{index}"), recorded, answered, found);
            }
        }
        // A row's strings are encrypted.
        (Value::String(_), Value::String(_)) if path.contains(".litellm_params.") => {}
        (Value::String(recorded), Value::String(answered)) if matches!(field, "message" | "detail") => {
            if without_marks(recorded) != without_marks(answered) {
                found.push(format!("{path}: {answered:?}, recorded {recorded:?}"));
            }
        }
        _ if VOLATILE.contains(&field) => {
            if std::mem::discriminant(recorded) != std::mem::discriminant(answered) {
                found.push(format!("{path}: {answered}, recorded {recorded}"));
            }
        }
        (Value::Number(recorded), Value::Number(answered)) if recorded.as_f64() == answered.as_f64() => {}
        _ if recorded == answered => {}
        _ => found.push(format!("{path}: {answered}, recorded {recorded}")),
    }
}

/// A message with its times and ids left out.
fn without_marks(message: &str) -> String {
    let is_mark = |word: &&str| word.len() >= 8 && word.chars().filter(char::is_ascii_digit).count() >= 4;
    let words = message.split([' ', '\'', '`', '=']);
    words.map(|word| if is_mark(&word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn keys_are_made_and_shown_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.replay("key_generate_full").await;
        stand.replay("key_generate_duplicate_alias").await;
        stand.replay("key_generate_string_budget").await;
        stand.replay("key_list_alias").await;

        let stand = Stand::start(generation).await;
        let mut body = stand.recording("key_generate_full")["request"]["body"].clone();
        body["key"] = json!(subject(&stand.recording("key_info_by_sk")));
        stand.post("/key/generate", body).await;
        stand.replay("key_info_by_sk").await;
    }
}

#[tokio::test]
async fn keys_are_changed_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let mut body = stand.recording("key_generate_full")["request"]["body"].clone();
        body["key"] = json!(subject(&stand.recording("key_update_models")));
        stand.post("/key/generate", body).await;
        let recorded = stand.recording("key_update_models")["response"]["body"].clone();
        // The recorded key had been used by then.
        let used = json!({ "key": recorded["key"], "spend": recorded["spend"] });
        let answer = stand.post("/key/update", used).await;
        assert_eq!(answer["spend"].as_f64(), recorded["spend"].as_f64());
        stand.pass(1);
        let changed = json!({ "key": recorded["key"], "models": ["gpt-5-mini"] });
        let answer = stand.post("/key/update", changed).await;
        let mut found = Vec::new();
        differences("", &recorded, &answer, &mut found);
        // No call was made here, so that two fields stay empty.
        found.retain(|line| !line.starts_with(".total_spend") && !line.starts_with(".last_active"));
        assert!(found.is_empty(), "{generation}: {found:#?}");
        assert_eq!(answer["updated_at"], "2026-11-22T08:14:12.954000+00:00");

        let block = stand.recording("key_block");
        stand.post("/key/generate", json!({ "key": subject(&block), "key_alias": "to-block" })).await;
        stand.replay("key_block").await;
        stand.replay("key_update_unknown").await;
        stand.replay("key_delete_unknown").await;
        stand.replay("key_list_size_101").await;
        stand.replay("key_list_sort_bad").await;
    }
}

#[tokio::test]
async fn an_update_clears_with_null_and_replaces_metadata() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let made = stand
            .post(
                "/key/generate",
                json!({ "key_alias": "a", "duration": "1d", "max_budget": 1, "metadata": { "a": 1, "b": 2 } }),
            )
            .await;
        let key = &made["key"];
        let answer = stand
            .post(
                "/key/update",
                json!({ "key": key, "key_alias": null, "max_budget": null, "duration": null, "metadata": { "b": 3 } }),
            )
            .await;
        assert_eq!(answer["metadata"], json!({ "b": 3 }));
        assert_eq!((&answer["key_alias"], &answer["max_budget"]), (&Value::Null, &Value::Null));
        assert_eq!(answer["expires"].is_null(), generation == Generation::V1_109);
        let answer = stand.post("/key/update", json!({ "key": key, "duration": "-1" })).await;
        assert_eq!(answer["expires"], Value::Null);
        stand.post("/key/generate", json!({ "key_alias": "a" })).await;
    }
}

#[tokio::test]
async fn a_deleted_key_is_remembered_by_the_newer_proxy_only() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let recorded = recording(Generation::V1_109, "key_info_deleted");
        let key = subject(&recorded);
        stand.post("/key/generate", json!({ "key": key, "key_alias": "custom" })).await;
        // One that exists is enough for both to be called deleted.
        let gone = json!([key, "sk-unknown-000000000"]);
        assert_eq!(stand.post("/key/delete", json!({ "keys": gone })).await["deleted_keys"], gone);
        if generation == Generation::V1_109 {
            stand.replay("key_info_deleted").await;
            assert_eq!(stand.get("/key/list?status=deleted").await["total_count"], 1);
        } else {
            let path = format!("/key/info?key={key}");
            let answer = stand.send("GET", &path, Some(MASTER), None).await;
            assert_eq!(answer.status, 404);
        }
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages_and_searched() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        for number in 0..25 {
            stand.post("/key/generate", json!({ "key_alias": format!("Agent {number:02}") })).await;
            stand.pass(1);
        }
        let page = stand.get("/key/list?page=2&size=10&return_full_object=true").await;
        assert_eq!(page["keys"][0]["key_alias"], "Agent 14", "the newest come first");
        assert_eq!((&page["total_count"], &page["total_pages"]), (&json!(25), &json!(3)));
        let beyond = stand.get("/key/list?page=9&size=10").await;
        assert_eq!((&beyond["keys"], &beyond["current_page"]), (&json!([]), &json!(9)));
        let sorted = "/key/list?sort_by=key_alias&sort_order=asc&size=1&return_full_object=true";
        assert_eq!(stand.get(sorted).await["keys"][0]["key_alias"], "Agent 00");
        assert_eq!(stand.get("/key/list?key_alias=Agent%2001").await["total_count"], 1);
        assert_eq!(stand.get("/key/list?key_alias=Agent").await["total_count"], 0);
        // What it does not know the older proxy ignores.
        let all_or = |modern: u32| if generation == Generation::V1_80 { 25 } else { modern };
        assert_eq!(stand.get("/key/list?search=agent%201").await["total_count"], all_or(10));
        assert_eq!(stand.get("/key/list?status=revoked").await["total_count"], all_or(0));
        let partial = stand.get("/key/list?key_alias=agent%202&substring_matching=true").await;
        let expected = if generation == Generation::V1_80 { 0 } else { 5 };
        assert_eq!(partial["total_count"], expected);
    }
}

#[tokio::test]
async fn chat_answers_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let key = bearer(&stand.recording("chat_key_ok")).unwrap();
        stand.post("/key/generate", json!({ "key": key, "key_alias": "full", "models": ["gpt-5"] })).await;
        stand.replay("chat_key_ok").await;
        stand.replay("chat_unknown_key").await;
        stand.replay("chat_unknown_model_master").await;
        let params = json!({ "model": "openai/gpt-5", "api_key": "bad-key" });
        stand.post("/model/new", json!({ "model_name": "bad-key", "litellm_params": params })).await;
        stand.replay("chat_upstream_401").await;

        let calls = stand.world.chat_calls();
        assert_eq!(calls.len(), 2, "refused callers reach no upstream");
        assert_eq!((calls[0].model.as_str(), calls[0].key_alias.as_deref()), ("gpt-5", Some("full")));
        assert_eq!(calls[0].messages, [json!({ "role": "user", "content": "hi" })]);
        assert_eq!((calls[1].model.as_str(), calls[1].key_alias.as_deref()), ("bad-key", None));
    }
}

#[tokio::test]
async fn chat_refuses_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let keys = [
            ("chat_key_not_allowed_model", json!({ "models": ["gpt-5-mini"] })),
            ("chat_expired", json!({ "duration": "1s" })),
            ("chat_blocked", json!({ "blocked": true })),
            ("chat_rpm_exceeded", json!({ "rpm_limit": 1 })),
            ("chat_budget_exceeded", json!({ "key_alias": "small-budget", "max_budget": 1e-6 })),
        ];
        for (name, mut body) in keys {
            body["key"] = json!(bearer(&stand.recording(name)));
            stand.post("/key/generate", body).await;
        }
        stand.pass(2);
        let key = bearer(&stand.recording("chat_rpm_exceeded")).unwrap();
        assert_eq!(stand.chat(&key, "gpt-5", "hi").await.status, 200);
        let key = bearer(&stand.recording("chat_budget_exceeded")).unwrap();
        stand.post("/key/update", json!({ "key": key, "spend": 1000.018 })).await;
        for name in [
            "chat_key_not_allowed_model",
            "chat_expired",
            "chat_blocked",
            "chat_rpm_exceeded",
            "chat_budget_exceeded",
        ] {
            stand.replay(name).await;
        }
        stand.pass(60);
        let key = bearer(&stand.recording("chat_rpm_exceeded")).unwrap();
        assert_eq!(stand.chat(&key, "gpt-5", "hi").await.status, 200, "a minute later");
    }
}

#[tokio::test]
async fn chat_streams_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let answered = events(&stand.replay("chat_stream").await);
        let recorded = events(&stand.recording("chat_stream")["response"]["body"]);
        let mut found = Vec::new();
        differences("", &Value::Array(recorded), &Value::Array(answered), &mut found);
        assert!(found.is_empty(), "{generation}: {found:#?}");

        let mut body = stand.recording("chat_stream")["request"]["body"].clone();
        body["stream_options"] = json!({ "include_usage": true });
        let answer = stand.send("POST", "/chat/completions", Some(MASTER), Some(&body)).await;
        let events = events(&answer.body);
        assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 5);
    }
}

/// The data of server-sent events, the end marker as a string.
fn events(body: &Value) -> Vec<Value> {
    let lines = body.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

#[tokio::test]
async fn chat_obeys_the_magic_words() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        // The names of the guide: an alias with a provider in it, the model without.
        stand.model("openai/gpt-5", "gpt-5").await;
        let answer = stand.chat(MASTER, "openai/gpt-5", "TOKENS=9").await.body;
        assert_eq!(answer["choices"][0]["message"]["content"], "I am gpt-5");
        let model = if generation == Generation::V1_80 { "gpt-5" } else { "openai/gpt-5" };
        assert_eq!((&answer["model"], &answer["usage"]["completion_tokens"]), (&json!(model), &json!(9)));
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "FAIL=429").await.status, 429);
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "FAIL=503").await.status, 503);
        let big = stand.chat(MASTER, "openai/gpt-5", "BIG=1000").await.body;
        assert_eq!(big["choices"][0]["message"]["content"].as_str().unwrap().len(), 1011);
        let params = json!({ "timeout": 0.05 });
        let id = stand.get("/v1/model/info").await["data"][1]["model_info"]["id"].clone();
        let path = format!("/model/{}/update", id.as_str().unwrap());
        let body = json!({ "litellm_params": params });
        assert_eq!(stand.send("PATCH", &path, Some(MASTER), Some(&body)).await.status, 200);
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "SLEEP=5").await.status, 408);
        let began = std::time::Instant::now();
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "SLEEP=0.02").await.status, 200);
        assert!(began.elapsed().as_millis() >= 20);
    }
}

#[tokio::test]
async fn calls_are_paid_for() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        assert_eq!(stand.get("/global/spend").await["spend"], Value::Null);
        stand.model("gpt-5", "gpt-5").await;
        let made = stand.post("/key/generate", json!({ "key_alias": "payer", "max_budget": 0.5 })).await;
        let key = made["key"].as_str().unwrap();
        assert_eq!(stand.chat(key, "gpt-5", "TOKENS=100000").await.status, 200);
        let refused = stand.chat(key, "gpt-5", "hi").await;
        assert_eq!(refused.body["error"]["type"], "budget_exceeded");
        stand.chat(MASTER, "gpt-5", "FAIL=500").await;

        // 18 tokens in at 1.25e-6, 100,000 out at 1e-5.
        let cost = 18.0 * 1.25e-6 + 1.0;
        let close = |value: &Value| (value.as_f64().unwrap() - cost).abs() < 1e-9;
        let info = stand.get(&format!("/key/info?key={key}")).await;
        assert!(close(&info["info"]["spend"]), "{info}");
        assert!(close(&stand.get("/global/spend").await["spend"]));
        let dates = "start_date=2026-11-22%2000:00:00&end_date=2026-11-23%2000:00:00";
        let logs = stand.get(&format!("/spend/logs/v2?{dates}&page=1&page_size=1")).await;
        assert_eq!((&logs["total"], &logs["total_pages"]), (&json!(2), &json!(2)));
        assert_eq!(logs["data"][0]["status"], "failure", "the newest comes first");
        let token = made["token"].as_str().unwrap();
        let logs = stand.get(&format!("/spend/logs/v2?{dates}&api_key={token}")).await;
        let row = &logs["data"][0];
        assert!(close(&row["spend"]));
        assert_eq!((&row["model_group"], &row["completion_tokens"]), (&json!("gpt-5"), &json!(100_000)));
        assert_eq!(row["metadata"]["user_api_key_alias"], "payer");
        let earlier = "start_date=2026-11-20%2000:00:00&end_date=2026-11-21%2000:00:00";
        assert_eq!(stand.get(&format!("/spend/logs/v2?{earlier}")).await["total"], 0);
    }
}

#[tokio::test]
async fn deployments_are_made_and_changed_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let row = stand.replay("model_new_raw_key").await;
        assert_ne!(row["litellm_params"]["api_key"], "sk-raw-secret-ABCDEFGH");
        stand.replay("model_delete_unknown").await;

        let patch = stand.recording("model_patch_params");
        let id = patch["response"]["body"]["model_id"].clone();
        let params =
            json!({ "model": "openai/gpt-5-mini", "api_base": "http://127.0.0.1:18080/v1", "api_key": "k" });
        let body =
            json!({ "model_name": "gpt-5-mini", "litellm_params": params, "model_info": { "id": id } });
        stand.post("/model/new", body.clone()).await;
        stand.replay("model_patch_params").await;
        let again = stand.send("POST", "/model/new", Some(MASTER), Some(&body)).await;
        assert_eq!(again.status, 500, "the id is taken");

        let gone = stand.post("/model/delete", json!({ "id": id })).await;
        assert_eq!(gone["message"], format!("Model: {} deleted successfully", id.as_str().unwrap()));
        let names = stand.get("/v1/models").await;
        assert_eq!(names["data"].as_array().unwrap().len(), 2, "config-mock and gpt-5: {names}");
    }
}

#[tokio::test]
async fn model_info_hides_secrets() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let mut body = stand.recording("model_new_raw_key")["request"]["body"].clone();
        body["litellm_params"]["my_custom_secret"] = json!("mcs");
        let id = recording(Generation::V1_80, "model_info_one")["response"]["body"]["data"][0]["model_info"]
            ["id"]
            .clone();
        body["model_info"]["id"] = id.clone();
        stand.post("/model/new", body).await;
        let text =
            stand.get("/model/info").await.to_string() + &stand.get("/v2/model/info").await.to_string();
        assert!(!text.contains("raw-secret") && !text.contains("api_key"), "{text}");
        assert_eq!(text.contains("mcs"), generation == Generation::V1_80);
        let data = &stand.get("/model/info").await["data"];
        assert_eq!(
            (&data[0]["model_name"], &data[0]["model_info"]["db_model"]),
            (&json!("config-mock"), &json!(false))
        );
        let info = &data[1]["model_info"];
        assert_eq!((&info["description"], &info["db_model"]), (&json!("free text"), &json!(true)));
        assert_eq!(
            (&info["input_cost_per_token"], &info["max_input_tokens"]),
            (&json!(1.25e-6), &json!(272_000))
        );
        assert_eq!(info.get("blocked"), (generation == Generation::V1_109).then_some(&json!(false)));
    }
    let stand = Stand::start(Generation::V1_80).await;
    let recorded = stand.recording("model_info_one");
    let mut body = stand.recording("model_new_raw_key")["request"]["body"].clone();
    let path = recorded["request"]["path"].as_str().unwrap();
    body["model_info"]["id"] = json!(path.split_once('=').unwrap().1);
    stand.post("/model/new", body).await;
    stand.replay("model_info_one").await;
}

#[tokio::test]
async fn a_deployment_of_an_unknown_provider_is_a_ghost() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let answer = stand.replay("model_new_unknown_provider").await;
        let names = stand.get("/v1/models").await;
        assert_eq!(names["data"].as_array().unwrap().len(), 1, "not served: {names}");
        let id = match generation {
            Generation::V1_80 => answer["model_id"].as_str().unwrap().to_owned(),
            Generation::V1_109 => {
                let message = answer["error"]["message"].as_str().unwrap();
                message.split('\'').nth(1).unwrap().to_owned()
            }
        };
        assert_eq!(stand.chat(MASTER, "bad-provider", "hi").await.status, 400);
        let path = format!("/model/{id}/update");
        let body = json!({ "litellm_params": { "model": "openai/gpt-5" } });
        assert_eq!(stand.send("PATCH", &path, Some(MASTER), Some(&body)).await.status, 200);
        assert_eq!(stand.chat(MASTER, "bad-provider", "hi").await.status, 200, "a patch brings it to life");
        stand.post("/model/delete", json!({ "id": id })).await;
    }
    let stand = Stand::start(Generation::V1_109).await;
    let recorded = stand.recording("x_ghost_v2_model_info");
    let id = recorded["request"]["path"].as_str().unwrap().split_once('=').unwrap().1;
    let params = json!({ "model": "nonsense/foo", "api_key": "x" });
    let body = json!({ "model_name": "ghost", "litellm_params": params, "model_info": { "id": id } });
    assert_eq!(stand.send("POST", "/model/new", Some(MASTER), Some(&body)).await.status, 500);
    stand.replay("x_ghost_v2_model_info").await;
}

#[tokio::test]
async fn an_update_by_post_is_served_late_by_the_older_proxy() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.model("m", "gpt-5").await;
        let update = |model: &str| json!({ "model_name": "m", "litellm_params": { "model": model }, "model_info": { "id": id } });
        let said =
            async || stand.chat(MASTER, "m", "hi").await.body["choices"][0]["message"]["content"].clone();
        stand.post("/model/update", update("gpt-5-mini")).await;
        let old = if generation == Generation::V1_80 { "I am gpt-5" } else { "I am gpt-5-mini" };
        assert_eq!(said().await, old);
        stand.pass(21);
        assert_eq!(said().await, "I am gpt-5-mini");
        let path = format!("/model/{id}/update");
        let body = json!({ "litellm_params": { "model": "claude-sonnet-4-5", "rpm": null } });
        stand.send("PATCH", &path, Some(MASTER), Some(&body)).await;
        assert_eq!(said().await, "I am claude-sonnet-4-5", "a patch is served at once");
    }
}

#[tokio::test]
async fn the_newer_proxy_pages_searches_and_blocks_deployments() {
    let stand = Stand::start(Generation::V1_109).await;
    for number in 0..5 {
        stand.model(&format!("Model {number}"), "gpt-5").await;
        stand.pass(1);
    }
    let page = stand.get("/v2/model/info?page=2&size=4&sortBy=model_name&sortOrder=desc").await;
    assert_eq!(
        (&page["total_count"], &page["total_pages"], &page["size"]),
        (&json!(6), &json!(2), &json!(4))
    );
    assert_eq!(page["data"][0]["model_name"], "Model 1");
    assert_eq!(stand.get("/v2/model/info?search=model%203").await["total_count"], 1);
    assert_eq!(stand.get("/v2/model/info?search=GPT").await["total_count"], 5, "the upstream's name counts");
    let refused = stand.send("GET", "/v2/model/info?size=0", Some(MASTER), None).await;
    assert_eq!(refused.status, 422);
    let id = &stand.get("/v2/model/info?search=model%203").await["data"][0]["model_info"]["id"];
    stand.post("/model/block", json!({ "model_id": id })).await;
    assert_eq!(stand.chat(MASTER, "Model 3", "hi").await.body["error"]["type"], "permission_error");
    stand.post("/model/unblock", json!({ "model_id": id })).await;
    assert_eq!(stand.chat(MASTER, "Model 3", "hi").await.status, 200);

    let stand = Stand::start(Generation::V1_80).await;
    for _ in 0..3 {
        stand.model("same", "gpt-5").await;
    }
    let all = stand.get("/v2/model/info?page=2&size=1&search=nope").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 4);
    assert_eq!(all.get("total_count"), None);
    let blocked = stand.send("POST", "/model/block", Some(MASTER), Some(&json!({ "model_id": "x" }))).await;
    assert_eq!((blocked.status.as_u16(), blocked.body), (404, json!({ "detail": "Not Found" })));
}

#[tokio::test]
async fn a_virtual_key_is_no_administrator() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        stand.model("gpt-5-mini", "gpt-5-mini").await;
        let key = bearer(&stand.recording("virtual_key_key_generate")).unwrap();
        stand.post("/key/generate", json!({ "key": key, "models": ["gpt-5-mini"] })).await;
        stand.replay("virtual_key_key_generate").await;
        stand.replay("virtual_key_model_new").await;
        let list = stand.send("GET", "/key/list", Some(&key), None).await;
        assert_eq!((list.status.as_u16(), &list.body["error"]["param"]), (403, &json!("user_id")));
        let own = stand.send("GET", "/key/info", Some(&key), None).await;
        assert_eq!(own.body["info"]["models"], json!(["gpt-5-mini"]));
        let models = stand.send("GET", "/v1/models", Some(&key), None).await;
        assert_eq!(models.body["data"].as_array().unwrap().len(), 1);
        let info = stand.send("GET", "/model/info", Some(&key), None).await;
        assert_eq!(info.body["data"].as_array().unwrap().len(), 1);
        let all = stand.send("GET", "/v2/model/info", Some(&key), None).await;
        assert_eq!(all.body["data"].as_array().unwrap().len(), 3, "every key sees every model there");
        for route in ["/global/spend", "/spend/logs/v2"] {
            assert_eq!(stand.send("GET", route, Some(&key), None).await.status, 401);
        }
    }
}

#[tokio::test]
async fn no_models_means_all_and_a_marker_means_none() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        let denied = if generation == Generation::V1_80 { 401 } else { 403 };
        for (models, status) in [
            (json!([]), 200),
            (json!(["all-proxy-models"]), 200),
            (json!(["gpt-5"]), 200),
            (json!(["no-default-models"]), denied),
        ] {
            let made = stand.post("/key/generate", json!({ "models": models })).await;
            let answer = stand.chat(made["key"].as_str().unwrap(), "gpt-5", "hi").await;
            assert_eq!(answer.status.as_u16(), status, "{generation} {models}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_lost_database_fails_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        let warm = stand.post("/key/generate", json!({})).await["key"].as_str().unwrap().to_owned();
        assert_eq!(stand.chat(&warm, "gpt-5", "hi").await.status, 200);
        let cold = bearer(&stand.recording("dbdown_chat_cold_key")).unwrap();
        stand.post("/key/generate", json!({ "key": cold })).await;
        stand.world.set_database(Database::Down);
        stand.replay("dbdown_key_list").await;
        stand.replay("dbdown_key_update").await;
        stand.replay("dbdown_chat_cold_key").await;
        if generation == Generation::V1_109 {
            stand.replay("dbdown_model_info").await;
        } else {
            stand.get("/model/info").await;
            let v2 = stand.send("GET", "/v2/model/info", Some(MASTER), None).await;
            assert_eq!((v2.status.as_u16(), v2.body), (500, json!("Internal Server Error")));
        }
        assert_eq!(stand.chat(&warm, "gpt-5", "hi").await.status, 200, "a key in the cache");
        assert_eq!(stand.chat(MASTER, "gpt-5", "hi").await.status, 200);
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        // The older proxy believes in its database for a while.
        assert_eq!(ready.status.is_success(), generation == Generation::V1_80);
        stand.pass(60);
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        assert_eq!(ready.status, 503);
        assert_eq!(stand.send("GET", "/health/liveliness", None, None).await.body, "I'm alive!");
        stand.world.set_database(Database::Up);
        assert_eq!(stand.chat(&cold, "gpt-5", "hi").await.status, 200);
    }
}

#[tokio::test]
async fn a_proxy_without_a_database_serves_its_configuration() {
    for generation in BOTH {
        let stand = Stand::start_with(generation, Database::None).await;
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        assert_eq!((ready.status.as_u16(), &ready.body["db"]), (200, &json!("Not connected")));
        assert_eq!(stand.get("/model/info").await["data"].as_array().unwrap().len(), 1);
        let answer = stand.chat(MASTER, "config-mock", "hi").await;
        assert_eq!(answer.body["choices"][0]["message"]["content"], "I am config-mock");
        let made = stand.send("POST", "/key/generate", Some(MASTER), Some(&json!({}))).await;
        assert_eq!(made.status, 500);
        assert!(
            made.body["error"]["message"].as_str().unwrap().contains("DB not connected"),
            "{}",
            made.body
        );
        let unknown = stand.chat("sk-unknown", "config-mock", "hi").await;
        assert_eq!(
            (unknown.status.as_u16(), &unknown.body["error"]["type"]),
            (400, &json!("no_db_connection"))
        );
    }
}

#[tokio::test]
async fn odd_requests_are_refused_in_the_frameworks_words() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let unknown = stand.send("GET", "/no/such/path", Some(MASTER), None).await;
        assert_eq!((unknown.status.as_u16(), unknown.body), (404, json!({ "detail": "Not Found" })));
        let method = stand.send("GET", "/model/new", Some(MASTER), None).await;
        assert_eq!((method.status.as_u16(), method.body), (405, json!({ "detail": "Method Not Allowed" })));
        for (key, start) in [
            (None, "Authentication Error, No api key passed in."),
            (Some(""), "Authentication Error, Malformed API Key passed in."),
        ] {
            let answer = stand.send("GET", "/key/list", key, None).await;
            assert_eq!(answer.status, 401);
            assert!(answer.body["error"]["message"].as_str().unwrap().starts_with(start), "{}", answer.body);
        }
        let foreign = stand.send("GET", "/key/list", Some("not-a-key"), None).await;
        let masked = generation == Generation::V1_109;
        assert_eq!(foreign.body["error"]["message"].as_str().unwrap().contains("not-****-key"), masked);
        let large = json!({ "metadata": { "a": "x".repeat(2 * 1024 * 1024) } });
        let answer = stand.send("POST", "/key/generate", Some(MASTER), Some(&large)).await;
        assert_eq!(answer.status, 413);
    }
}

#[test]
fn the_comparison_notices_every_difference() {
    let recorded =
        json!({ "error": { "message": "key abc", "type": "auth_error", "param": "None" }, "n": 1.0 });
    let mut found = Vec::new();
    differences(
        "",
        &recorded,
        &json!({ "error": { "message": "key abc", "type": "auth_error", "param": "None" }, "n": 1 }),
        &mut found,
    );
    assert!(found.is_empty(), "{found:?}");
    let answered = json!({ "error": { "message": "key xyz", "type": null, "more": 1 }, "n": "1" });
    differences("", &recorded, &answered, &mut found);
    assert_eq!(found.len(), 5, "{found:#?}");
}
