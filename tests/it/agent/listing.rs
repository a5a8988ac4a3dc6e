//! `ListTasks`, and the methods that the agent has no use for.

use serde_json::{Value, json};

use super::{Bench, bench, bench_with, said};
use patchbay_clock::Clock;

async fn list(bench: &Bench, params: Value) -> Value {
    let answer = bench.rpc(Some("1.0"), "ListTasks", params).await;
    assert_eq!(answer.get("error"), None, "{answer}");
    answer["result"].clone()
}

fn ids(listed: &Value) -> Vec<&str> {
    listed["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_from_the_last_changed_on() {
    // Two tasks share each time, so that pages are cut within one.
    let ticks = std::sync::atomic::AtomicI64::new(0);
    let clock = Clock::from_fn(move || {
        let tick = ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        jiff::Timestamp::from_second(1_800_000_000 + tick / 4).unwrap()
    });
    let bench = bench_with(|options| options.clock = clock).await;
    for _ in 0..5 {
        bench.say("c", "[HOTSWAP:GET_CONFIG]").await;
    }
    let all = list(&bench, json!({})).await;
    assert_eq!(
        (&all["totalSize"], &all["pageSize"], &all["nextPageToken"]),
        (&json!(5), &json!(50), &json!(""))
    );
    let times: Vec<_> =
        all["tasks"].as_array().unwrap().iter().map(|task| task["status"]["timestamp"].to_string()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&bench, json!({"pageSize": 2, "pageToken": token})).await;
        assert_eq!(page["totalSize"], 5);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids(&all));
}

#[tokio::test]
async fn it_filters_and_shows_as_much_as_is_asked_for() {
    let bench = bench().await;
    bench.say("a", "who?").await;
    bench.say("a", "FAIL=500").await;
    bench.say("b", "who?").await;
    let in_a = list(&bench, json!({"contextId": "a", "historyLength": 0})).await;
    assert_eq!(in_a["totalSize"], 2);
    assert_eq!(in_a["tasks"][0].get("history"), None);
    assert_eq!(in_a["tasks"][0].get("artifacts"), None);
    let failed = list(&bench, json!({"status": "TASK_STATE_FAILED", "includeArtifacts": true})).await;
    assert_eq!((ids(&failed).len(), &failed["tasks"][0]["contextId"]), (1, &json!("a")));
    let done = list(&bench, json!({"status": "TASK_STATE_COMPLETED", "includeArtifacts": true})).await;
    assert_eq!(done["tasks"][1]["artifacts"][0]["parts"][0]["text"], "I am openai/gpt-5");
    assert_eq!(ids(&list(&bench, json!({"statusTimestampAfter": "2026-01-02T03:04:05Z"})).await).len(), 3);
    assert!(ids(&list(&bench, json!({"statusTimestampAfter": "2026-01-02T03:04:06Z"})).await).is_empty());
    assert!(ids(&list(&bench, json!({"contextId": "none"})).await).is_empty());
    for wrong in [
        json!({"pageSize": 0}),
        json!({"pageSize": 101}),
        json!({"pageSize": "2"}),
        json!({"pageToken": "x"}),
        json!({"status": "completed"}),
        json!({"historyLength": -1}),
        json!({"statusTimestampAfter": "noon"}),
        json!({"contextId": 7}),
        json!({"includeArtifacts": "yes"}),
    ] {
        let answer = bench.rpc(Some("1.0"), "ListTasks", wrong.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{wrong}");
    }
    assert_eq!(bench.rpc(None, "tasks/list", json!({})).await["error"]["code"], -32601, "0.3 has none");
}

/// What the specification's mandatory parts ask of an agent that can neither push nor show more of itself.
#[tokio::test]
async fn what_the_agent_cannot_do_has_the_specifications_errors() {
    let bench = bench().await;
    let v1 = Some("1.0");
    let done = bench.say("c", "who?").await["id"].clone();
    for (version, method, params, code) in [
        (None, "tasks/pushNotificationConfig/set", json!({"taskId": done}), -32003),
        (None, "tasks/pushNotificationConfig/get", json!({"id": done}), -32003),
        (v1, "CreateTaskPushNotificationConfig", json!({"taskId": done}), -32003),
        (v1, "ListTaskPushNotificationConfigs", json!({"taskId": done}), -32003),
        (None, "agent/getAuthenticatedExtendedCard", json!({}), -32007),
        (v1, "GetExtendedAgentCard", json!({}), -32004),
        (None, "tasks/cancel", json!({"id": done}), -32002),
        (v1, "CancelTask", json!({"id": done}), -32002),
        (v1, "CancelTask", json!({}), -32602),
        (None, "tasks/resurrect", json!({}), -32601),
        (v1, "message/send", said("c", "hi"), -32009),
        (None, "ListTasks", json!({}), -32009),
        (Some("2.0"), "SendMessage", json!({}), -32009),
    ] {
        let answer = bench.rpc(version, method, params).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
        if version == v1 && code != -32601 && code != -32602 {
            let info = &answer["error"]["data"][0];
            assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{method}");
            assert_eq!(info["domain"], "a2a-protocol.org");
        }
    }
    let mut more = json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "more"}]}});
    more["message"]["taskId"] = done;
    assert_eq!(bench.rpc(v1, "SendMessage", more).await["error"]["code"], -32004, "the task has ended");
}
