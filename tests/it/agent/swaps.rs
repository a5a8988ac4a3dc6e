//! Swaps: what the control messages do, and to whom.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{bench, config, said};

#[tokio::test]
async fn control_messages_get_their_replies() {
    let bench = bench().await;
    let table = [
        ("[HOTSWAP:GET_CONFIG]", config("gpt-5", "openai", "(default prompt)")),
        ("[HOTSWAP:MODEL:openai/gpt-5-mini]", "✅ Model switched to: openai/gpt-5-mini".into()),
        (" \n[HOTSWAP:MODEL: openai / gpt-5 ]\t", "✅ Model switched to: openai/gpt-5".into()),
        ("[HOTSWAP:MODEL:gpt-5-mini]", "✅ Model switched to: openai/gpt-5-mini".into()),
        ("[HOTSWAP:MODEL:wild/a/b:free]", "✅ Model switched to: wild/a/b:free".into()),
        ("[HOTSWAP:MODEL]", "❌ Missing model specification for hot-swap.".into()),
        ("[HOTSWAP:MODEL:]", "❌ Missing model specification for hot-swap.".into()),
        ("[HOTSWAP:MODEL:  ]", "❌ Invalid model specification: Model name cannot be empty".into()),
        (
            "[HOTSWAP:MODEL:openai/]",
            "❌ Invalid model specification: Model spec must include provider and model when using '/' format"
                .into(),
        ),
        ("[HOTSWAP:MODEL:nosuch/foo]", "❌ Model not available at the proxy: nosuch/foo".into()),
        ("[HOTSWAP:PROMPT:Be kind]", "✅ System prompt updated. This change takes effect immediately.".into()),
        ("[HOTSWAP:GET_CONFIG:whatever]", config("a/b:free", "wild", "Be kind")),
        ("[HOTSWAP:PROMPT]", "✅ System prompt cleared. Reverting to default instruction.".into()),
        ("[HOTSWAP:PROMPT:]", "✅ System prompt cleared. Reverting to default instruction.".into()),
        ("[HOTSWAP:GET_CONFIG]", config("a/b:free", "wild", "(default prompt)")),
    ];
    for (text, expected) in table {
        let task = bench.say("c", text).await;
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], expected, "{text}");
        assert_eq!(task["status"]["state"], "completed");
        assert!(task["metadata"].get("adk_usage_metadata").is_none());
        assert!(task["metadata"]["adk_actions"]["stateDelta"]["litellm_agent/model"].is_string());
    }
    assert_eq!(bench.fake.calls(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_slip_in_a_control_message_is_never_sent_to_a_model() {
    let bench = bench().await;
    for text in
        ["[HOTSWAP:FOO]", "[hotswap:model:x/y]", "[HOTSWAP:model:x/y]", "[HOTSWAP:]", "[HOTSWAP:a\nb]"]
    {
        let reply = bench.reply("c", text).await;
        assert!(reply.starts_with("❌ Unknown hot-swap command"), "{reply}");
    }
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5", "openai", "(default prompt)"));
    assert!(bench.fake.calls().is_empty());
    for chat in ["say [HOTSWAP:GET_CONFIG]", "[HOTSWAP:GET_CONFIG] now", "[HOTSWAP:GET_CONFIG"] {
        assert_eq!(bench.reply("c", chat).await, "I am openai/gpt-5");
    }
    assert_eq!(bench.fake.calls().len(), 3);
}

#[tokio::test]
async fn each_context_has_its_own_model_and_prompt() {
    let bench = bench().await;
    for (first, second) in [("a", "b"), ("d", "c")] {
        bench.reply(first, "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        bench.reply(second, "[HOTSWAP:MODEL:anthropic/claude-sonnet-4-5]").await;
        bench.reply(second, "[HOTSWAP:PROMPT:Be second]").await;
        for _ in 0..2 {
            assert_eq!(bench.reply(second, "who?").await, "I am anthropic/claude-sonnet-4-5");
            assert_eq!(bench.fake.last_messages()[0], "system: Be second");
            assert_eq!(bench.reply(first, "who?").await, "I am openai/gpt-5-mini");
            assert_eq!(bench.fake.last_messages()[0], "system: You are a helpful assistant. Answer briefly.");
        }
    }
    assert_eq!(bench.reply("never-used", "who?").await, "I am openai/gpt-5");
}

#[tokio::test]
async fn contexts_do_not_disturb_each_other_at_once() {
    let bench = bench().await;
    let rounds = |context: &'static str, models: [&'static str; 2]| {
        let bench = &bench;
        async move {
            for n in 0..20 {
                let model = models[n % 2];
                bench.reply(context, &format!("[HOTSWAP:MODEL:{model}]")).await;
                assert_eq!(bench.reply(context, "who?").await, format!("I am {model}"));
            }
        }
    };
    tokio::join!(
        rounds("a", ["openai/gpt-5", "openai/gpt-5-mini"]),
        rounds("b", ["anthropic/claude-sonnet-4-5", "openai/gpt-5"]),
        rounds("c", ["openai/gpt-5-mini", "wild/x"]),
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_had_stops_no_swap() {
    let bench = bench().await;
    for list in [(StatusCode::FORBIDDEN, "{}"), (StatusCode::OK, "no list"), (StatusCode::FOUND, "")] {
        *bench.fake.list.lock().unwrap() = Some(list);
        assert_eq!(bench.reply("c", "[HOTSWAP:MODEL:no/such]").await, "✅ Model switched to: no/such");
    }
    *bench.fake.list.lock().unwrap() = Some((StatusCode::OK, "{\"data\":[]}"));
    assert_eq!(bench.reply("c", "[HOTSWAP:MODEL:a/b]").await, "❌ Model not available at the proxy: a/b");
    assert_eq!(bench.reply("c", "who?").await, "I am no/such");
}

#[tokio::test]
async fn a_swap_during_a_turn_is_for_the_next_one_and_stays() {
    let bench = bench().await;
    let (slow, ()) = tokio::join!(bench.say("c", "WAIT"), async {
        bench.fake.called(1).await;
        bench.reply("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        bench.reply("c", "[HOTSWAP:PROMPT:New]").await;
        assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5-mini", "openai", "New"));
        bench.fake.gate.add_permits(1);
    });
    assert_eq!(slow["artifacts"][0]["parts"][0]["text"], "I am openai/gpt-5");
    let ran_with = &slow["metadata"]["adk_actions"]["stateDelta"];
    assert_eq!(
        (&ran_with["litellm_agent/model"], &ran_with["litellm_agent/prompt"]),
        (&json!("gpt-5"), &Value::Null)
    );
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5-mini", "openai", "New"));
    assert_eq!(bench.reply("c", "who?").await, "I am openai/gpt-5-mini");
    assert_eq!(
        bench.fake.last_messages(),
        ["system: New", "user: WAIT", "assistant: I am openai/gpt-5", "user: who?"]
    );
}

#[tokio::test]
async fn a_prompt_may_have_several_lines_but_not_be_endless() {
    let bench = bench().await;
    let prompt = "First line\r\n[second] {line}\n\u{2028}last";
    assert!(
        bench
            .reply("c", &format!("[HOTSWAP:PROMPT:{prompt}]"))
            .await
            .starts_with("✅ System prompt updated.")
    );
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5", "openai", prompt));
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages(), [format!("system: {prompt}"), "user: who?".to_owned()]);
    let endless = format!("[HOTSWAP:PROMPT:{}]", "x".repeat(256 * 1024 + 1));
    assert!(bench.reply("c", &endless).await.starts_with("❌ System prompt is too long"));
    let task = bench.say("c", "[HOTSWAP:GET_CONFIG]").await;
    assert_eq!(task["metadata"]["adk_actions"]["stateDelta"]["litellm_agent/prompt"], prompt);
}

#[tokio::test]
async fn the_talk_goes_along_without_control_messages() {
    let bench = bench().await;
    bench.say("c", "one").await;
    bench.say("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    let mut params = said("c", "two");
    params["message"]["parts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kind": "text", "text": "[HOTSWAP:GET_CONFIG]"}));
    bench.rpc(None, "message/send", params).await;
    bench.say("c", "three").await;
    assert_eq!(
        bench.fake.last_messages()[1..],
        [
            "user: one",
            "assistant: I am openai/gpt-5",
            "user: two\n[HOTSWAP:GET_CONFIG]",
            "assistant: I am openai/gpt-5-mini",
            "user: three"
        ]
    );
}

#[tokio::test]
async fn a_message_keeps_the_settings_it_was_sent_under() {
    let bench = bench().await;
    for n in 0..20 {
        let context = format!("c{n}");
        let mut params = said(&context, "who?");
        params["configuration"] = json!({"blocking": false});
        let task = bench.rpc(None, "message/send", params).await["result"]["id"].clone();
        bench.reply(&context, "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        let done = bench.task_until(&task, "completed").await;
        assert_eq!(done["metadata"]["patchbay"]["model"], "openai/gpt-5");
    }
}
