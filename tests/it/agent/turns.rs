//! Turns: how messages are carried out, side by side, in vain, and within bounds.

use std::time::Duration;

use patchbay_agent::{Options, StartError, router};
use serde_json::json;

use super::{KEY, bench, bench_with, options, said, said_v1};

#[tokio::test]
async fn a_failed_call_is_a_failed_task_and_leaves_no_trace() {
    let bench = bench().await;
    for (text, expected) in [
        (
            "FAIL=401",
            "The proxy refused the call with status 401: bad key [redacted] [redacted] [redacted] because",
        ),
        ("FAIL=500", "The proxy refused the call with status 500:"),
        ("HUGE", "The proxy's answer is larger than 4 MiB."),
        ("HTML", "The proxy's answer is not a chat completion."),
        ("MOVED", "The proxy refused the call with status 302: it redirects, which is not followed"),
        ("EMPTY", "The model answered without text (finish reason: stop)."),
    ] {
        let task = bench.say("c", text).await;
        let message = task["status"]["message"]["parts"][0]["text"].as_str().unwrap();
        assert!(message.starts_with(expected), "{message}");
        assert!(message.chars().count() < 600);
        assert!(!task.to_string().contains(KEY));
        assert_eq!(task["status"]["state"], "failed");
        assert_eq!(task.get("artifacts"), None);
        assert_eq!(task["metadata"].get("adk_usage_metadata"), None);
        assert_eq!(task["metadata"]["patchbay"]["model"], "openai/gpt-5");
    }
    let v1 = bench.rpc(Some("1.0"), "SendMessage", said_v1("c", "FAIL=429")).await;
    let status = &v1["result"]["task"]["status"];
    assert_eq!(status["state"], "TASK_STATE_FAILED");
    assert_eq!(status["message"]["role"], "ROLE_AGENT");
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages()[1..], ["user: who?"]);
}

#[tokio::test]
async fn a_proxy_that_is_down_or_slow_is_said_so() {
    let down = bench_with(|options| options.proxy = "http://127.0.0.1:9".to_owned()).await;
    assert_eq!(down.reply("c", "[HOTSWAP:MODEL:any/thing]").await, "✅ Model switched to: any/thing");
    let task = down.say("c", "who?").await;
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "The proxy cannot be reached.");
    assert_eq!(task["metadata"]["patchbay"]["model"], "any/thing");
    let slow = bench_with(|options| options.timeout = Duration::from_millis(200)).await;
    let task = slow.say("c", "WAIT").await;
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "The proxy did not answer within 0.2 s.");
}

#[tokio::test]
async fn who_does_not_wait_asks_for_the_task_later() {
    let bench = bench().await;
    let mut params = said("c", "WAIT");
    params["configuration"] = json!({"blocking": false});
    let task = bench.rpc(None, "message/send", params).await["result"].clone();
    assert_eq!(task["status"]["state"], "submitted");
    assert_eq!(task.get("artifacts"), None);
    bench.task_until(&task["id"], "working").await;
    let mut params = said_v1("c", "second");
    params["configuration"] = json!({"returnImmediately": true});
    let second = bench.rpc(Some("1.0"), "SendMessage", params).await["result"]["task"].clone();
    assert_eq!(second["status"]["state"], "TASK_STATE_SUBMITTED");
    bench.fake.gate.add_permits(1);
    let done = bench.task_until(&task["id"], "completed").await;
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "I am openai/gpt-5");
    bench.task_until(&second["id"], "completed").await;
    assert_eq!(
        bench.fake.last_messages()[1..],
        ["user: WAIT", "assistant: I am openai/gpt-5", "user: second"]
    );
}

#[tokio::test]
async fn turns_of_one_context_wait_and_those_of_others_do_not() {
    let bench = bench().await;
    let ((), first, second) = tokio::join!(
        async {
            bench.fake.called(1).await;
            assert_eq!(bench.reply("other", "who?").await, "I am openai/gpt-5");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(bench.fake.calls().len(), 2, "the second message of the context waits");
            bench.fake.gate.add_permits(2);
        },
        bench.say("c", "WAIT 1"),
        bench.say("c", "WAIT 2"),
    );
    assert_eq!(
        (&first["status"]["state"], &second["status"]["state"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(bench.fake.last_messages().len(), 4);
}

#[tokio::test]
async fn too_many_turns_are_refused_but_a_swap_gets_through() {
    let bench = bench().await;
    for n in 0..64 {
        let mut params = said(&format!("c{n}"), "WAIT");
        params["configuration"] = json!({"blocking": false});
        assert!(bench.rpc(None, "message/send", params).await.get("result").is_some());
    }
    let refused = bench.rpc(None, "message/send", said("one-more", "who?")).await;
    assert_eq!(refused["error"]["code"], -32000);
    assert!(refused["error"]["message"].as_str().unwrap().contains("busy"));
    assert!(bench.reply("one-more", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await.starts_with('✅'));
    bench.fake.gate.add_permits(64);
    bench.fake.called(64).await;
    for _ in 0..500 {
        let answer = bench.rpc(None, "message/send", said("one-more", "who?")).await;
        if answer.get("result").is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("there is never room again");
}

#[tokio::test]
async fn hanging_up_does_not_stop_the_work() {
    let bench = bench().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "WAIT")});
    let impatient = bench.post(None).body(body.to_string()).timeout(Duration::from_millis(300)).send().await;
    assert!(impatient.unwrap_err().is_timeout());
    bench.fake.gate.add_permits(1);
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages()[1..], ["user: WAIT", "assistant: I am openai/gpt-5", "user: who?"]);
}

#[tokio::test]
async fn wrong_options_are_refused_at_the_start() {
    let start = |change: fn(&mut Options)| {
        let mut options = options("http://127.0.0.1:4000");
        change(&mut options);
        router(options).map(|_| ())
    };
    assert!(start(|_| ()).is_ok());
    assert!(matches!(start(|o| o.proxy = "nonsense".into()), Err(StartError::ProxyUrl)));
    assert!(matches!(start(|o| o.proxy = "http://user:pass@host".into()), Err(StartError::ProxyUrl)));
    assert!(matches!(start(|o| o.default_model = "openai/".into()), Err(StartError::DefaultModel(_))));
    assert!(matches!(start(|o| o.default_model = String::new()), Err(StartError::DefaultModel(_))));
    assert!(matches!(start(|o| o.api_key = Some("a\nb".into())), Err(StartError::ApiKey)));
    assert!(matches!(start(|o| o.public_url = Some("/a2a".into())), Err(StartError::PublicUrl)));
}
