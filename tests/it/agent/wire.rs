//! What goes over the wire, in both versions of A2A.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{bench, bench_with, said, said_v1};

#[tokio::test]
async fn an_answer_in_0_3() {
    let bench = bench().await;
    bench.reply("c", "[HOTSWAP:PROMPT:Be kind]").await;
    let mut task = bench.say("c", "who?").await;
    assert!(task["metadata"]["patchbay"]["elapsed_ms"].is_u64());
    task["metadata"]["patchbay"]["elapsed_ms"] = json!(0);
    let id = task["id"].clone();
    let words = json!([{"kind": "text", "text": "I am openai/gpt-5"}]);
    assert_eq!(
        task,
        json!({
            "kind": "task", "id": id, "contextId": "c",
            "status": {"state": "completed", "timestamp": "2026-01-02T03:04:05.678Z"},
            "artifacts": [{"artifactId": task["artifacts"][0]["artifactId"], "parts": words}],
            "history": [
                {"kind": "message", "messageId": "m1", "role": "user", "contextId": "c", "taskId": id,
                 "parts": [{"kind": "text", "text": "who?"}]},
                {"kind": "message", "messageId": task["history"][1]["messageId"], "role": "agent",
                 "contextId": "c", "taskId": id, "parts": words},
            ],
            "metadata": {
                "adk_actions": {"stateDelta": {
                    "litellm_agent/model": "gpt-5", "litellm_agent/provider": "openai",
                    "litellm_agent/prompt": "Be kind",
                }},
                "adk_usage_metadata":
                    {"promptTokenCount": 11, "candidatesTokenCount": 4, "totalTokenCount": 15},
                "patchbay": {"model": "openai/gpt-5", "served": "openai/gpt-5-2026", "elapsed_ms": 0},
            },
        })
    );
    let mut again = bench.rpc(None, "tasks/get", json!({"id": id})).await["result"].clone();
    again["metadata"]["patchbay"]["elapsed_ms"] = json!(0);
    assert_eq!(again, task);
    let short = bench.rpc(None, "tasks/get", json!({"id": id, "historyLength": 1})).await;
    assert_eq!(short["result"]["history"], json!([task["history"][1]]));
    let none = bench.rpc(None, "tasks/get", json!({"id": id, "historyLength": 0})).await;
    assert_eq!(none["result"].get("history"), None);
}

#[tokio::test]
async fn an_answer_in_1_0() {
    let bench = bench().await;
    let answer = bench.rpc(Some("1.0"), "SendMessage", said_v1("c", "who?")).await;
    let task = answer["result"]["task"].clone();
    let id = task["id"].clone();
    let words = json!([{"text": "I am openai/gpt-5"}]);
    assert_eq!(
        task["status"],
        json!({"state": "TASK_STATE_COMPLETED", "timestamp": "2026-01-02T03:04:05.678Z"})
    );
    assert_eq!(task["artifacts"][0]["parts"], words);
    assert_eq!(task["history"][0]["role"], "ROLE_USER");
    assert_eq!(task["history"][1]["role"], "ROLE_AGENT");
    assert_eq!(task["history"][1]["parts"], words);
    assert_eq!(task["metadata"]["adk_usage_metadata"]["totalTokenCount"], 15);
    assert!(!answer.to_string().contains("\"kind\""), "{answer}");
    let got = bench.rpc(Some("1.0"), "GetTask", json!({"id": id})).await;
    assert_eq!(got["result"], task);
    let mut short = said_v1("c", "who?");
    short["configuration"] = json!({"historyLength": 0});
    let short = bench.rpc(Some("1.0"), "SendMessage", short).await;
    assert_eq!(short["result"]["task"].get("history"), None);
    let control =
        bench.rpc(Some("1.0.3"), "SendMessage", said_v1("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]")).await;
    let control = &control["result"]["task"];
    assert_eq!(control["artifacts"][0]["parts"][0]["text"], "✅ Model switched to: openai/gpt-5-mini");
    assert_eq!(
        control["metadata"],
        json!({"adk_actions": {"stateDelta": {
            "litellm_agent/model": "gpt-5-mini", "litellm_agent/provider": "openai", "litellm_agent/prompt": null,
        }}})
    );
    assert_eq!(bench.reply("c", "who?").await, "I am openai/gpt-5-mini");
}

#[tokio::test]
async fn names_of_the_proto_file_are_accepted_in_1_0() {
    let bench = bench().await;
    let v1 = Some("1.0");
    let said = json!({
        "message": {
            "message_id": "m1", "role": "ROLE_USER", "context_id": "c", "parts": [{"text": "who?"}],
            "metadata": {"own_name": 1},
        },
        "configuration": {"history_length": 0, "return_immediately": false},
    });
    let task = bench.rpc(v1, "SendMessage", said).await["result"]["task"].clone();
    assert_eq!((&task["contextId"], task.get("history")), (&json!("c"), None), "{task}");
    let one = bench.rpc(v1, "GetTask", json!({"id": task["id"], "history_length": 1})).await;
    assert_eq!(one["result"]["history"].as_array().map(Vec::len), Some(1));
    let elsewhere = bench.rpc(v1, "ListTasks", json!({"context_id": "other"})).await;
    assert_eq!(elsewhere["result"]["totalSize"], 0);
    let both = bench.rpc(v1, "ListTasks", json!({"contextId": "c", "context_id": "other"})).await;
    assert_eq!(both["result"]["totalSize"], 1);
    let error = bench.rpc(None, "tasks/get", json!({"id": task["id"], "history_length": -1})).await;
    assert_eq!(error.get("error"), None, "0.3 ignores it");
}

#[tokio::test]
async fn the_wrong_version_is_refused_before_anything_is_done() {
    let bench = bench().await;
    let table = [
        (None, "SendMessage", "0.3", "1.0"),
        (Some("0.3"), "GetTask", "0.3", "1.0"),
        (Some(""), "SendMessage", "0.3", "1.0"),
        (Some("2.0"), "SendMessage", "2.0", "1.0"),
        (Some("banana"), "SendMessage", "banana", "1.0"),
        (Some("1.0"), "message/send", "1.0", "0.3"),
        (Some("1.0"), "tasks/get", "1.0", "0.3"),
        (Some("0.5"), "message/send", "0.5", "0.3"),
        (Some("2.0"), "foo", "2.0", "1.0"),
    ];
    for (header, method, got, expected) in table {
        let answer = bench.rpc(header, method, said("c", "who?")).await;
        assert_eq!(
            answer["error"],
            json!({
                "code": -32009,
                "message": format!("A2A version '{got}' is not supported by this handler. Expected version '{expected}'."),
                "data": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "VERSION_NOT_SUPPORTED",
                    "domain": "a2a-protocol.org", "metadata": {},
                }],
            }),
            "{header:?} {method}"
        );
    }
    for header in ["0.3", "0.3.0"] {
        let answer = bench.rpc(Some(header), "message/send", said("c", "who?")).await;
        assert_eq!(answer["result"]["status"]["state"], "completed");
    }
    assert_eq!(bench.fake.calls().len(), 2);
}

#[tokio::test]
async fn a_broken_envelope_is_refused() {
    let bench = bench().await;
    let table = [
        ("", -32700, Value::Null),
        ("{\"jsonrpc\": \"2.0\", ", -32700, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\ud800\"}", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tasks/get\"}]", -32600, Value::Null),
        ("7", -32600, Value::Null),
        ("{\"id\":1,\"method\":\"tasks/get\"}", -32600, json!(1)),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"tasks/get\"}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"tasks/get\"}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"tasks/get\",\"params\":{\"id\":\"x\"}}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"a\"}", -32600, json!("a")),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"foo/bar\"}", -32601, json!("a")),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"message/send\"}", -32602, json!(1.5)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"message/send\",\"params\":[]}", -32602, json!(1)),
    ];
    for (body, code, id) in table {
        let answer = bench.raw(None, body).await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{body}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    let not_utf8 = bench.raw(None, b"{\"id\":\"\xff\"}".to_vec()).await;
    assert_eq!(not_utf8["error"]["code"], -32700);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let bench = bench().await;
    let long = "x".repeat(129);
    let table: [(&str, Value, &str); 16] = [
        ("/message/messageId", Value::Null, "message.messageId"),
        ("/message/messageId", json!(""), "message.messageId"),
        ("/message/messageId", json!(7), "message.messageId"),
        ("/message/role", json!("root"), "message.role"),
        ("/message/parts", json!([]), "message.parts"),
        ("/message/parts", json!("hi"), "message.parts"),
        ("/message/parts/0", json!("hi"), "message.parts[0]"),
        ("/message/parts/0/text", Value::Null, "message.parts[0].text"),
        ("/message/parts/0/text", json!(" \n"), "message.parts"),
        ("/message/contextId", json!("a b"), "message.contextId"),
        ("/message/contextId", json!("../etc"), "message.contextId"),
        ("/message/contextId", json!(long), "message.contextId"),
        ("/message", json!([]), "message"),
        ("/configuration", json!(true), "configuration"),
        ("/configuration", json!({"blocking": "no"}), "configuration.blocking"),
        ("/configuration", json!({"historyLength": -1}), "configuration.historyLength"),
    ];
    for (path, value, field) in table {
        let mut params = said("c", "hi");
        params["configuration"] = json!({});
        *params.pointer_mut(path).unwrap() = value;
        let error = &bench.rpc(None, "message/send", params).await["error"];
        assert_eq!(error["code"], -32602, "{path}: {error}");
        let path: Vec<&str> = ["params"].into_iter().chain(field.split('.')).collect();
        assert_eq!(error["data"][0]["loc"], json!(path));
        assert!(error["message"].as_str().unwrap().contains(field), "{error}");
    }
    let v1 = json!({"message": {"role": "ROLE_USER", "parts": [{"text": "hi"}]}});
    let error = &bench.rpc(Some("1.0"), "SendMessage", v1).await["error"];
    assert_eq!(error["code"], -32602);
    assert_eq!(error["data"][0]["reason"], "INVALID_PARAMS");
    assert_eq!(
        error["data"][1]["fieldViolations"],
        json!([{"field": "message.messageId", "description": "is required"}])
    );
    assert!(bench.fake.calls().is_empty());
}

#[tokio::test]
async fn files_are_refused_and_unknown_tasks_are_not_found() {
    let bench = bench().await;
    for part in [
        json!({"kind": "file", "file": {"uri": "http://127.0.0.1:1/x"}}),
        json!({"kind": "data", "data": {"a": 1}}),
        json!({"url": "http://127.0.0.1:1/x"}),
    ] {
        let mut params = said("c", "hi");
        params["message"]["parts"][0] = part;
        let error = bench.rpc(None, "message/send", params).await["error"].clone();
        assert_eq!(error["code"], -32005);
        let text = error["message"].as_str().unwrap();
        assert!(
            text.starts_with("Incompatible content types: ") && text.contains("message.parts[0]"),
            "{text}"
        );
    }
    let unknown = bench.rpc(None, "tasks/get", json!({"id": "nope"})).await;
    assert_eq!(unknown["error"], json!({"code": -32001, "message": "Task not found"}));
    let unknown = bench.rpc(Some("1.0"), "GetTask", json!({"id": "nope"})).await;
    assert_eq!(unknown["error"]["data"][0]["reason"], "TASK_NOT_FOUND");
    assert_eq!(
        bench.rpc(None, "tasks/get", json!({})).await["error"]["data"][0]["loc"],
        json!(["params", "id"])
    );
    let known = bench.say("c", "hi").await["id"].clone();
    for (id, code) in [(json!("nope"), -32001), (known, -32602)] {
        let mut params = said("c", "hi");
        params["message"]["taskId"] = id;
        assert_eq!(bench.rpc(None, "message/send", params).await["error"]["code"], code);
    }
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn without_a_context_a_new_one_is_made() {
    let bench = bench().await;
    let mut contexts = HashSet::new();
    for context in [Value::Null, json!(""), Value::Null] {
        let mut params = said("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]");
        params["message"]["contextId"] = context;
        let task = bench.rpc(None, "message/send", params).await;
        contexts.insert(task["result"]["contextId"].as_str().unwrap().to_owned());
    }
    assert_eq!(contexts.len(), 3);
    for context in contexts {
        assert_eq!(bench.reply(&context, "who?").await, "I am openai/gpt-5-mini");
    }
}

#[tokio::test]
async fn the_card_serves_both_generations() {
    let bench = bench().await;
    let get = async |path: &str| {
        let response = bench.http.get(format!("{}{path}", bench.root)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json::<Value>().await.unwrap()
    };
    let card = get("/a2a/litellm_agent/.well-known/agent-card.json").await;
    assert_eq!(card, get("/.well-known/agent-card.json").await);
    let url = format!("{}/a2a/litellm_agent", bench.root);
    assert_eq!(card["url"], url);
    assert_eq!((&card["protocolVersion"], &card["preferredTransport"]), (&json!("0.3.0"), &json!("JSONRPC")));
    assert_eq!(
        card["supportedInterfaces"],
        json!([
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ])
    );
    assert_eq!(card["capabilities"]["streaming"], true);
    let extension = &card["capabilities"]["extensions"][0];
    assert_eq!(extension["uri"], "urn:patchbay:hotswap:1");
    let params = json!({"scope": "context", "multilinePrompt": true, "calls": "chat"});
    assert_eq!(extension["params"], params);
    for list in ["defaultInputModes", "defaultOutputModes", "skills"] {
        assert!(card[list].as_array().is_some_and(|list| !list.is_empty()), "{list}");
    }
    for text in ["name", "description", "version"] {
        assert!(card[text].as_str().is_some_and(|text| !text.is_empty()), "{text}");
    }
    assert_eq!(get("/health").await, json!({"status": "ok"}));
    let public = "https://agents.example/a2a/litellm_agent";
    let bench = bench_with(|options| options.public_url = Some(public.to_owned())).await;
    let card: Value = bench
        .http
        .get(format!("{}/.well-known/agent-card.json", bench.root))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&card["url"], &card["supportedInterfaces"][0]["url"]), (&json!(public), &json!(public)));
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let bench = bench().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "who?")});
    for (name, value, status) in [
        ("origin", "http://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", bench.root.as_str(), 200),
    ] {
        let response = bench.post(None).header(name, value).body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), status, "{name}: {value}");
    }
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused() {
    let bench = bench().await;
    let fits = bench.say("c", &"x".repeat(1024 * 1024 - 300)).await;
    assert_eq!(fits["status"]["state"], "completed");
    let body = said("c", &"x".repeat(1024 * 1024)).to_string();
    let response = bench.post(None).body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &Value::Null));
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn a_request_without_an_id_is_told_what_is_wrong_and_does_nothing() {
    let bench = bench().await;
    let send = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
    };
    for (body, code) in [
        (send("no/such", json!({})), -32601),
        (send("message/send", json!({})), -32602),
        (send("message/send", json!({"message": {"parts": []}})), -32602),
        (send("message/stream", json!([])), -32602),
        (send("tasks/get", json!({})), -32602),
        (send("tasks/cancel", json!({"id": 5})), -32602),
        (send("message/send", said("c", "who?")), -32600),
        (send("tasks/get", json!({"id": "none"})), -32600),
    ] {
        let answer = bench.raw(None, body.clone()).await;
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &Value::Null),
            "{body}: {answer}"
        );
    }
    assert!(bench.fake.calls().is_empty());
}

#[tokio::test]
async fn the_address_may_end_with_a_slash() {
    let bench = bench().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "who?")});
    let url = format!("{}/a2a/litellm_agent/", bench.root);
    let answer: Value = bench.http.post(url).json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["status"]["state"], "completed", "{answer}");
}

#[tokio::test]
async fn the_card_can_be_cached_and_asked_for_again() {
    let bench = bench().await;
    let url = format!("{}/.well-known/agent-card.json", bench.root);
    let card = bench.http.get(&url).send().await.unwrap();
    let header = |answer: &reqwest::Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let tag = header(&card, "etag");
    assert_eq!(
        (header(&card, "cache-control").as_str(), header(&card, "vary").as_str()),
        ("max-age=60", "host")
    );
    assert!(card.json::<Value>().await.unwrap()["name"].is_string());
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = bench.http.get(&url).header("if-none-match", &known).send().await.unwrap();
        assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.clone()), "{known}");
        assert!(again.bytes().await.unwrap().is_empty());
    }
    for other in ["\"x\"", "", "x"] {
        let again = bench.http.get(&url).header("if-none-match", other).send().await.unwrap();
        assert_eq!(again.status(), 200, "{other}");
    }
    // By another name of the host it has another address, so another tag.
    let renamed = bench.http.get(&url).header("host", "other.example").send().await.unwrap();
    assert!(renamed.status() != 200 || header(&renamed, "etag") != tag);
}
