//! What both clients take: so many bytes, for so long, from nowhere else.

use std::sync::Arc;
use std::time::Duration;

use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::clients::litellm::LiteLlm;
use patchbay::clients::{ClientError, Meaning, build_http};
use patchbay::domain::calls::ModelCall;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::replay::{Body, Exchange, Replay, play};
use super::{MASTER, PATIENCE, agent, context, proxy, timeouts};

const SPEND: &str = "/global/spend";
const CARD: &str = "/a2a/litellm_agent/.well-known/agent-card.json";
const MIB: usize = 1024 * 1024;

/// Short, for what never comes; long enough for a busy machine to ask for it.
const BRIEF: Duration = Duration::from_millis(500);

fn impatient(replay: &Replay) -> LiteLlm {
    LiteLlm::new(build_http().unwrap(), replay.url("/"), MASTER.into(), timeouts(BRIEF))
}

fn spend() -> Exchange {
    Exchange::new("GET", SPEND, 200, r#"{"spend":1.5}"#)
}

fn no_card() -> Exchange {
    Exchange::new("GET", CARD, 404, r#"{"detail":"Not Found"}"#)
}

fn no_card_at_root() -> Exchange {
    Exchange::new("GET", "/.well-known/agent-card.json", 404, "")
}

fn said() -> Exchange {
    Exchange::new("POST", "/a2a/litellm_agent", 200, "")
}

fn transport(error: AgentError) -> ClientError {
    match error {
        AgentError::Transport(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn more_than_the_limit_is_not_taken() {
    let replay = play([spend().with(Body::Mebibytes(33))]).await;
    let error = proxy(&replay).global_spend().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit, .. } if limit == 32 * MIB), "{error:?}");
    assert_eq!(error.to_string(), "the proxy answered with more than 32 MiB");

    let replay = play([no_card(), no_card_at_root(), said().with(Body::Mebibytes(9))]).await;
    let error = transport(agent(&replay).send(&context("c"), "hi", PATIENCE).await.unwrap_err());
    assert!(matches!(error, ClientError::TooLarge { limit, .. } if limit == 8 * MIB), "{error:?}");

    let card = Exchange::new("GET", CARD, 200, "");
    let replay = play([card.with(Body::Mebibytes(2))]).await;
    let error = agent(&replay).card().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit, .. } if limit == MIB), "{error:?}");

    // Of an error as much is taken as a message has, and the rest is left.
    let replay = play([no_card().with(Body::Mebibytes(2)), no_card_at_root()]).await;
    let error = agent(&replay).card().await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn within_the_limit_all_is_taken() {
    let replay = play([spend().with(Body::Mebibytes(9))]).await;
    let error = proxy(&replay).global_spend().await.unwrap_err();
    // Nothing but blanks: read to its end, and only then not understood.
    assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error:?}");
}

/// Answers one request with `bytes`, whatever they announce, and closes.
async fn raw(bytes: &'static str) -> reqwest::Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
    });
    url
}

#[tokio::test]
async fn an_announced_length_is_believed_only_to_refuse() {
    let too_long = "HTTP/1.1 200 OK\r\nContent-Length: 68719476736\r\n\r\n{";
    let client = LiteLlm::new(build_http().unwrap(), raw(too_long).await, MASTER.into(), timeouts(PATIENCE));
    let error = client.global_spend().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");

    let broken_off = "HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n{\"spend\":1.5}";
    let client =
        LiteLlm::new(build_http().unwrap(), raw(broken_off).await, MASTER.into(), timeouts(PATIENCE));
    let error = client.global_spend().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    for bytes in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let client = LiteLlm::new(build_http().unwrap(), raw(bytes).await, MASTER.into(), timeouts(PATIENCE));
        let error = client.global_spend().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{bytes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_costs_no_more_than_the_time_limit() {
    let replay = play([spend().with(Body::Stalled("{\"spend\":"))]).await;
    let error = impatient(&replay).global_spend().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.to_string(), "the proxy did not answer within 0.5 s");

    let stalled = Exchange::new("POST", "/v1/chat/completions", 200, "").with(Body::Stalled(""));
    let replay = play([stalled]).await;
    let call = ModelCall::chat("openai/gpt-5");
    let error = impatient(&replay).probe(&MASTER.into(), &call).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");

    let replay = play([no_card(), no_card_at_root(), said().with(Body::Stalled("{\"jsonrpc\":"))]).await;
    let error = transport(agent(&replay).send(&context("c"), "hi", BRIEF).await.unwrap_err());
    assert!(error.is_timeout(), "{error:?}");
}

/// An agent whose answers are large and do not end. It rings when so much of one was taken that it has room.
async fn endless_agent() -> (reqwest::Url, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let ring = Arc::new(Notify::new());
    let taken = Arc::clone(&ring);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // What is written was taken then, but for little.
            socket2::SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let len = stream.read(&mut asked).await.unwrap();
                if asked[..len].starts_with(b"GET") {
                    stream
                        .write_all(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        .await
                        .unwrap();
                    return;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8000000\r\n\r\n").await.unwrap();
                stream.write_all(&vec![b' '; 4 * MIB]).await.unwrap();
                taken.notify_one();
                std::future::pending::<()>().await;
            });
        }
    });
    (url, ring)
}

#[tokio::test]
async fn an_agent_that_is_slow_with_a_large_answer_keeps_no_other_waiting() {
    let (url, has_room) = endless_agent().await;
    let slow = Agent::new(build_http().unwrap(), url);
    let asking = tokio::spawn(async move { slow.send(&context("c"), "hi", PATIENCE).await });
    has_room.notified().await;
    let text = "x".repeat(MIB / 2);
    let result = format!(
        r#"{{"jsonrpc":"2.0","result":{{"kind":"message","messageId":"m","role":"agent","parts":[{{"kind":"text","text":"{text}"}}]}}}}"#
    );
    let replay =
        play([no_card(), no_card_at_root(), Exchange::new("POST", "/a2a/litellm_agent", 200, result)]).await;
    let answer = agent(&replay).send(&context("c"), "hi", PATIENCE).await.unwrap();
    assert_eq!(answer.text, text);
    assert!(!asking.is_finished(), "the other waited for it");
    // The slow one is given up by itself.
    let error = transport(asking.await.unwrap().unwrap_err());
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    // What it points to would be seen, and fail the test.
    for status in [301, 302, 307, 308] {
        let exchange = Exchange::new("GET", SPEND, status, "").location("/elsewhere").key(MASTER);
        let replay = play([exchange]).await;
        let error = proxy(&replay).global_spend().await.unwrap_err();
        assert_eq!(error.meaning(), Some(Meaning::Other));
        assert_eq!(
            error.to_string(),
            format!(
                "the proxy answered {status}: a redirect to /elsewhere, which is not followed: correct the address"
            )
        );
    }
    let exchange = Exchange::new("GET", SPEND, 302, "").location("https://u:secret@host/?key=abc");
    let replay = play([exchange]).await;
    let text = proxy(&replay).global_spend().await.unwrap_err().to_string();
    assert!(text.contains("https://[redacted]@host/,"), "{text}");
    let replay = play([Exchange::new("GET", SPEND, 307, "")]).await;
    let text = proxy(&replay).global_spend().await.unwrap_err().to_string();
    assert_eq!(text, "the proxy answered 307: a redirect to nowhere");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: reqwest::Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let client = LiteLlm::new(build_http().unwrap(), url.clone(), MASTER.into(), timeouts(PATIENCE));
    let error = client.health().await.unwrap_err();
    assert!(error.to_string().starts_with("the proxy cannot be reached: Connection refused"), "{error}");
    let agent = Agent::new(build_http().unwrap(), url);
    let error = transport(agent.send(&context("c"), "hi", PATIENCE).await.unwrap_err());
    assert!(error.to_string().starts_with("the agent cannot be reached: Connection refused"), "{error}");
    assert_eq!(agent.dialect(), None);
}
