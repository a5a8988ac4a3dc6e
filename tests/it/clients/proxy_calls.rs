//! The log of calls, as three releases answer it.

use jiff::Timestamp;
use patchbay::clients::litellm::LogQuery;
use patchbay::domain::key::KeyHash;

use super::recording::{Recording, recording};
use super::replay::{Exchange, play};
use super::{MASTER, proxy};

const DATES: &str = "start_date=2026-11-27+00%3A00%3A00&end_date=2026-11-28+12%3A00%3A00";

fn of(release: &str, name: &str) -> Recording {
    recording(&format!("litellm/{release}/{name}"))
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Where a release has its log; 1.74 does not know the newer address.
fn log(release: &str, query: &str) -> Vec<Exchange> {
    let v2 = format!("/spend/logs/v2?{query}");
    let answer = of(release, "spend_logs").played();
    match release {
        "1.74" => vec![
            Exchange::new("GET", &v2, 404, r#"{"detail":"Not Found"}"#),
            answer.target(format!("/spend/logs/ui?{query}")),
        ],
        _ => vec![answer.target(v2)],
    }
}

#[tokio::test]
async fn the_log_of_each_release_names_models_key_and_error() {
    for release in ["1.74", "1.80", "1.109"] {
        let replay = play(log(release, &format!("{DATES}&page=1&page_size=50"))).await;
        let query = LogQuery::between(time("2026-11-27T00:00:00Z"), time("2026-11-28T12:00:00Z"));
        let page = proxy(&replay).log(&query, 1, 50).await.unwrap().unwrap();
        assert_eq!((page.calls.len(), page.total), (4, 4), "{release}");
        let asked: Vec<_> = page.calls.iter().map(|call| call.asked.as_deref().unwrap()).collect();
        assert_eq!(asked, ["acme/gone", "openai/dead", "acme/smart", "openai/gpt-5-mini"], "{release}");
        let (failed, fallback, session) = (&page.calls[0], &page.calls[1], &page.calls[3]);
        assert!(failed.has_failed && failed.error.as_deref() == Some("500"), "{release}: {failed:?}");
        assert!(failed.message.as_deref().unwrap().contains("Connection error"), "{release}");
        // 1.74 has the key of a failed call in its metadata alone.
        assert!(failed.key.is_some() && failed.key == session.key, "{release}: {failed:?}");
        assert!(fallback.fell_back() && fallback.model.as_deref() == Some("openai/gpt-5"), "{release}");
        assert_eq!(fallback.fallbacks, (release == "1.109").then_some(1), "{release}");
        assert_eq!(session.session.as_deref(), Some("ctx-one"));
        assert_eq!((session.prompt_tokens, session.completion_tokens), (38, 5_000));
        assert!(!session.fell_back() && session.key_alias.as_deref() == Some("kind-all"), "{session:?}");
    }
}

#[tokio::test]
async fn a_conversation_is_read_as_a_list_and_as_pages() {
    for release in ["1.74", "1.80", "1.109"] {
        let target = "/spend/logs/session/ui?session_id=ctx-one&page=1&page_size=100";
        let replay = play([of(release, "spend_logs_session").played().target(target)]).await;
        let log = proxy(&replay).session_log("ctx-one").await.unwrap().unwrap();
        assert_eq!((log.calls.len(), log.total), (1, 1), "{release}");
        assert_eq!(log.calls[0].completion_tokens, 5_000, "{release}");
    }
}

#[tokio::test]
async fn the_request_is_in_the_row_or_at_an_address_of_its_own_and_its_secrets_are_masked() {
    for release in ["1.80", "1.109"] {
        let id = if release == "1.80" { "chatcmpl-fake-b01qsues78" } else { "chatcmpl-fake-2jdy5owjzy" };
        let mut row = of(release, "spend_logs");
        let rows = row.body()["data"].as_array_mut().unwrap();
        rows.drain(..3);
        let window = "start_date=1970-01-01+00%3A00%3A00&end_date=2026-11-28+12%3A00%3A00";
        let target = format!("/spend/logs/v2?{window}&request_id={id}&page=1&page_size=1");
        let mut exchanges = vec![row.played().target(target)];
        if release == "1.109" {
            let path = "/spend/logs/ui/chatcmpl%2Dfake%2D2jdy5owjzy?start_date=2026-11-27+22%3A42%3A11";
            exchanges.push(of(release, "spend_logs_detail").played().target(path));
        }
        let replay = play(exchanges).await;
        let found = proxy(&replay).call(id, time("2026-11-28T12:00:00Z"), true).await.unwrap();
        let (call, bodies) = found.unwrap();
        assert_eq!(call.id, id);
        let request = bodies.request.unwrap().text;
        assert!(
            request.contains("TOKENS=5000 my key sk-[redacted]") && request.contains("ctx-one"),
            "{request}"
        );
        assert!(!request.contains("headers"), "{release}: bookkeeping of the proxy: {request}");
        assert!(bodies.answer.unwrap().text.contains("I am gpt-5-mini"), "{release}");
    }
}

#[tokio::test]
async fn daily_sums_are_split_by_model_and_key() {
    for (release, model) in
        [("1.74", "gpt-5-mini"), ("1.80", "openai/gpt-5-mini"), ("1.109", "openai/gpt-5-mini")]
    {
        let target = "/user/daily/activity?start_date=2026-11-26&end_date=2026-11-28&page_size=1000&page=1";
        let replay = play([of(release, "daily_activity").played().target(target)]).await;
        let (from, to) = ("2026-11-26".parse().unwrap(), "2026-11-28".parse().unwrap());
        let days = proxy(&replay).daily_parts(from, to).await.unwrap();
        let found = days[0].models.iter().find(|(series, _)| series.label == model);
        assert_eq!(found.map(|(_, sums)| (sums.calls, sums.tokens)), Some((1, 5_038)), "{release}");
        let key = days[0].keys.iter().find(|(series, _)| series.label == "kind-all").unwrap();
        assert!(key.0.key.is_some() && key.1.calls >= 8, "{release}: {key:?}");
    }
}

#[tokio::test]
async fn filters_are_passed_on() {
    let key = KeyHash::of(&MASTER.into());
    let query = format!(
        "{DATES}&api_key={key}&model=gpt-5&status_filter=failure&min_spend=0.5&sort_by=spend&sort_order=desc&page=2&page_size=100"
    );
    let replay = play(log("1.109", &query)).await;
    let query = LogQuery {
        key: Some(key),
        served: Some("gpt-5".to_owned()),
        failed: Some(true),
        min_cost: Some(0.5),
        by_cost: true,
        ..LogQuery::between(time("2026-11-27T00:00:00Z"), time("2026-11-28T12:00:00Z"))
    };
    assert!(proxy(&replay).log(&query, 2, 100).await.unwrap().is_some());
}
