//! A completion sent word by word.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use super::chat::Completion;
use super::generation::Generation;

const PAUSE: Duration = Duration::from_millis(15);

/// The completion as server-sent events (`chat_stream`).
pub(super) fn events(generation: Generation, completion: &Completion) -> Response {
    let chunks = chunks(generation, completion).into_iter();
    let events = stream::unfold((chunks, true), |(mut chunks, first)| async move {
        let chunk = chunks.next()?;
        if !first {
            tokio::time::sleep(PAUSE).await;
        }
        Some((Ok::<_, Infallible>(Event::default().data(chunk)), (chunks, false)))
    });
    Sse::new(events).into_response()
}

fn chunks(generation: Generation, completion: &Completion) -> Vec<String> {
    let chunk = |choices: Value| {
        json!({
            "id": completion.id,
            "object": "chat.completion.chunk",
            "created": completion.created,
            "model": completion.model,
            "choices": choices,
        })
    };
    let delta = |delta: Value| chunk(json!([{ "index": 0, "delta": delta }])).to_string();
    let mut chunks = Vec::new();
    let mut words = completion.text.split_inclusive(' ');
    match generation {
        // The role comes with the first word, or by itself.
        Generation::V1_80 => {
            let first = words.next().unwrap_or_default();
            chunks.push(delta(json!({ "content": first, "role": "assistant" })));
        }
        Generation::V1_109 => chunks.push(delta(json!({ "role": "assistant", "content": "" }))),
    }
    chunks.extend(words.map(|word| delta(json!({ "content": word }))));
    chunks.push(chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }])).to_string());
    if completion.include_usage {
        // Not recorded; OpenAI's own form.
        let mut last = chunk(json!([]));
        last["usage"] = completion.usage.json();
        chunks.push(last.to_string());
    }
    chunks.push("[DONE]".to_owned());
    chunks
}
