//! The virtual keys of the proxy.

use jiff::Timestamp;
use patchbay::clients::{ClientError, Meaning};
use patchbay::domain::key::{Access, KeyHash, KeyState, VirtualKey};
use serde_json::{Value, json};

use super::recording::{Recording, recording};
use super::replay::{Exchange, play};
use super::{GENERATIONS, MASTER, proxy};

const LIST: &str = "/key/list?return_full_object=true&size=100&page=1";

fn of(generation: &str, name: &str) -> Recording {
    recording(&format!("litellm/{generation}/{name}"))
}

/// The hash in a recorded `?key=…`; the client never puts a key into an address, so one there is hashed.
fn hash_of(recorded: &Recording) -> KeyHash {
    let target = recorded.target();
    let key = target.split_once("key=").unwrap().1;
    key.parse().unwrap_or_else(|_| KeyHash::of(&key.into()))
}

fn info(hash: &KeyHash) -> String {
    format!("/key/info?key={hash}")
}

fn named<'a>(keys: &'a [VirtualKey], alias: &str) -> &'a VirtualKey {
    keys.iter().find(|key| key.alias.as_deref() == Some(alias)).unwrap_or_else(|| panic!("no key {alias}"))
}

#[tokio::test]
async fn a_page_of_keys_is_read() {
    for (generation, count, expires) in [
        ("1.80", 17, "2027-02-20T07:53:27.843Z"),
        // Trimmed.
        ("1.109", 12, "2027-02-20T08:14:11.951Z"),
    ] {
        let replay = play([of(generation, "key_list_full").played().target(LIST)]).await;
        let page = proxy(&replay).keys(1).await.unwrap();
        assert_eq!((page.keys.len(), page.total, page.pages), (count, 17, 1), "{generation}");
        let full = named(&page.keys, "full");
        assert_eq!(full.access, Access::List(vec!["gpt-5".into(), "gpt-5-mini".into()]));
        assert_eq!((full.max_budget, full.budget_duration.as_deref()), (Some(10.5), Some("30d")));
        assert_eq!((full.rpm_limit, full.tpm_limit), (Some(100), Some(100_000)));
        assert_eq!((full.max_parallel_requests, full.user_id.as_deref()), (Some(5), Some("u-1")));
        assert_eq!(full.expires, Some(expires.parse().unwrap()));
        assert!(full.created_at.is_some() && full.last_active.is_none() && !full.blocked, "{generation}");
        assert_eq!(named(&page.keys, "models-empty").access, Access::All);
        assert_eq!(named(&page.keys, "apm").access, Access::All);
        assert_eq!(named(&page.keys, "nd").access, Access::None);
        assert_eq!(named(&page.keys, "grp").access, Access::List(vec!["beta".into()]));
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        assert_eq!(named(&page.keys, "expires-1s").state(now), KeyState::Expired);
        assert_eq!(named(&page.keys, "zero-budget").state(now), KeyState::OverBudget);
        assert_eq!(full.state(now), KeyState::Active);
        let unnamed = page.keys.last().unwrap();
        assert!(unnamed.alias.is_none() && unnamed.masked.starts_with("sk-..."), "{unnamed:?}");
    }
}

#[tokio::test]
async fn beyond_the_last_page_there_is_nothing() {
    for generation in GENERATIONS {
        let target = "/key/list?return_full_object=true&size=100&page=999";
        let replay = play([of(generation, "key_list_page_beyond").played().target(target)]).await;
        let page = proxy(&replay).keys(999).await.unwrap();
        assert_eq!((page.keys.len(), page.total, page.pages), (0, 17, 2), "{generation}");
    }
}

#[tokio::test]
async fn an_odd_row_does_not_cost_the_page() {
    let mut recorded = of("1.80", "key_list_full");
    let rows = recorded.body()["keys"].as_array_mut().unwrap();
    rows.truncate(4);
    rows[0]["models"] = json!("gpt-5");
    rows[0]["spend"] = json!([]);
    rows[1]["models"] = json!([1, { "a": 2 }]);
    rows[1]["expires"] = json!("2026-11-22T07:53:29.213000");
    rows[2]["models"] = json!(null);
    rows[2]["token"] = json!("no hash");
    rows[3]["models"] = json!(["gpt-5", null]);
    rows.push(json!(null));
    rows.push(json!("a94770ace83c677eaaae9719ac930778727397b70f8570371dcf36ffc3a12a8a"));
    let replay = play([recorded.played().target(LIST)]).await;
    let keys = proxy(&replay).keys(1).await.unwrap().keys;
    // A list of models that cannot be read is not one of all models.
    let access: Vec<_> = keys.into_iter().map(|key| (key.access, key.expires)).collect();
    let expires = "2026-11-22T07:53:29.213Z".parse().unwrap();
    assert_eq!(
        access,
        [
            (Access::List(vec![]), None),
            (Access::List(vec![]), Some(expires)),
            (Access::List(vec!["gpt-5".into()]), None)
        ]
    );
}

#[tokio::test]
async fn a_list_of_bare_hashes_is_not_an_empty_one() {
    let body = json!({ "keys": ["a".repeat(64)], "total_count": 1 }).to_string();
    let replay = play([Exchange::new("GET", LIST, 200, body)]).await;
    let error = proxy(&replay).keys(1).await.unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error:?}");
}

#[tokio::test]
async fn a_single_key_is_read() {
    for generation in GENERATIONS {
        let recorded = of(generation, "key_info_by_hash");
        let hash = hash_of(&recorded);
        let replay = play([recorded.played()]).await;
        let key = proxy(&replay).key(&hash).await.unwrap().unwrap();
        assert_eq!((&key.hash, key.alias.as_deref()), (&hash, Some("full")), "{generation}");
        assert_eq!(key.access, Access::List(vec!["gpt-5".into(), "gpt-5-mini".into()]));
        assert!(key.expires.is_some() && key.created_at.is_some(), "{generation}");
    }
}

#[tokio::test]
async fn a_blocked_and_an_expired_key_are_told_apart() {
    let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    for generation in GENERATIONS {
        let states = [("key_info_blocked", KeyState::Blocked), ("key_info_expired", KeyState::Expired)];
        for (name, state) in states {
            let recorded = of(generation, name);
            let hash = hash_of(&recorded);
            let replay = play([recorded.played().target(info(&hash))]).await;
            let key = proxy(&replay).key(&hash).await.unwrap().unwrap();
            assert_eq!(key.state(now), state, "{generation}/{name}");
        }
    }
}

#[tokio::test]
async fn an_unknown_and_a_deleted_key_are_none() {
    for generation in GENERATIONS {
        // 1.80 answers 404 for a deleted key, 1.109 tells it with 200 and a status.
        for name in ["key_info_unknown_hash", "key_info_deleted", "x_master_in_query"] {
            let recorded = of(generation, name);
            let hash = hash_of(&recorded);
            let replay = play([recorded.played().target(info(&hash))]).await;
            assert_eq!(proxy(&replay).key(&hash).await.unwrap(), None, "{generation}/{name}");
        }
    }
}

#[tokio::test]
async fn a_key_without_its_fields_is_not_one_that_may_do_everything() {
    let hash = KeyHash::of(&"sk-any".into());
    for body in ["{}", r#"{"info":null}"#, r#"{"info":"x"}"#] {
        let replay = play([Exchange::new("GET", &info(&hash), 200, body)]).await;
        let error = proxy(&replay).key(&hash).await.unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood { .. }), "{body}: {error:?}");
    }
}

fn update(recorded: &Recording, hash: &KeyHash) -> Exchange {
    let body: Value = json!({ "key": hash, "models": [] });
    recorded.played().body(body).key(MASTER)
}

#[tokio::test]
async fn a_key_is_relaxed_by_its_hash() {
    let hash = KeyHash::of(&"sk-any".into());
    for generation in GENERATIONS {
        let exchange = update(&of(generation, "key_update_models_empty"), &hash);
        let replay = play([exchange.header("litellm-changed-by", Some("ann"))]).await;
        proxy(&replay).relax_key(&hash, "ann").await.unwrap();
    }
    // A name that no header can carry does not keep the key from being relaxed.
    let exchange = update(&of("1.80", "key_update_models_empty"), &hash);
    let replay = play([exchange.header("litellm-changed-by", None)]).await;
    proxy(&replay).relax_key(&hash, "Jörg\r\nX-Evil: 1").await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_there_cannot_be_relaxed() {
    let hash = KeyHash::of(&"sk-unknown-000000000".into());
    let texts = [
        (
            "1.80",
            "the proxy answered 401: invalid user key - user key does not exist in db. User Key=sk-[redacted]",
        ),
        ("1.109", "the proxy answered 404: Key not found."),
    ];
    for (generation, text) in texts {
        let replay = play([update(&of(generation, "key_update_unknown"), &hash)]).await;
        let error = proxy(&replay).relax_key(&hash, "ann").await.unwrap_err();
        assert_eq!(error.meaning(), Some(Meaning::NotFound), "{generation}");
        assert_eq!(error.to_string(), text);
    }
}
