//! What the proxy's error answers to admin requests mean.

use patchbay::clients::litellm::LiteLlm;
use patchbay::clients::{ClientError, Meaning};
use patchbay::domain::key::KeyHash;

use super::recording::recording;
use super::replay::{Exchange, play};
use super::{MASTER, proxy, proxy_with};

/// An admin request of the client.
#[derive(Clone, Copy, Debug)]
enum Call {
    Models,
    Keys,
    Key,
    Update,
    Spend,
}

impl Call {
    fn target(self) -> (&'static str, String) {
        match self {
            Self::Models => ("GET", "/v2/model/info?page=1&size=250".to_owned()),
            Self::Keys => ("GET", "/key/list?return_full_object=true&size=100&page=1".to_owned()),
            Self::Key => ("GET", format!("/key/info?key={}", any_key())),
            Self::Update => ("POST", "/key/update".to_owned()),
            Self::Spend => ("GET", "/global/spend".to_owned()),
        }
    }

    async fn fails(self, client: &LiteLlm) -> ClientError {
        match self {
            Self::Models => client.deployments().await.unwrap_err(),
            Self::Keys => client.keys(1).await.unwrap_err(),
            Self::Key => client.key(&any_key()).await.unwrap_err(),
            Self::Update => client.relax_key(&any_key(), "ann").await.unwrap_err(),
            Self::Spend => client.global_spend().await.unwrap_err(),
        }
    }
}

fn any_key() -> KeyHash {
    KeyHash::of(&"sk-any".into())
}

/// What holds for every error text that people get to see.
pub(super) fn assert_presentable(text: &str, case: &str) {
    for bad in ["Traceback", "File \"", "site-packages", "{'error'", "\n", "not-a-key", "sk-bed", "bad-key"] {
        assert!(!text.contains(bad), "{case}: {bad:?} in {text:?}");
    }
    for (at, _) in text.match_indices("sk-") {
        let rest = &text[at + 3..];
        let is_mask = rest.starts_with("[redacted]") || rest.starts_with("...") || rest.starts_with('\'');
        assert!(is_mask, "{case}: a key in {text:?}");
    }
    assert!(text.len() < 500, "{case}: {text:?}");
}

const DOWN: &str = "Can't reach database server at `127.0.0.1`:`5433` Please make sure your database server is \
                    running at `127.0.0.1`:`5433`.";
const RETRY: &str =
    "Service Unavailable, the authentication database is temporarily unreachable. Please retry shortly.";
const ADMIN: &str = "Authentication Error, Only proxy admin can be used to generate, delete, update info for new \
                     keys/users/teams.";
const NO_ID: &str =
    "You are not authorized to access this endpoint. No 'user_id' is associated with your API key.";
const PREFIX: &str = "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.";

/// Recording, request, status, meaning, and how the message begins.
type Case = (&'static str, Call, u16, Meaning, &'static str);

const CASES: &[Case] = &[
    (
        "1.80/model_info_wrong_master_key",
        Call::Models,
        401,
        Meaning::Credentials,
        "Authentication Error, Invalid proxy server token passed. Received API Key = sk-...ster, Key Hash",
    ),
    (
        "1.109/model_info_wrong_master_key",
        Call::Models,
        401,
        Meaning::Credentials,
        "Authentication Error, Invalid API key provided.",
    ),
    (
        "1.80/key_list_wrong_master_key",
        Call::Keys,
        401,
        Meaning::Credentials,
        "Authentication Error, Invalid proxy",
    ),
    (
        "1.109/key_list_wrong_master_key",
        Call::Keys,
        401,
        Meaning::Credentials,
        "Authentication Error, Invalid API key provided.",
    ),
    // 1.80 repeats the key in full.
    (
        "1.80/model_info_malformed_key",
        Call::Models,
        401,
        Meaning::Credentials,
        "Authentication Error, LiteLLM Virtual Key expected. Received=[redacted], expected to start with 'sk-'.",
    ),
    (
        "1.109/model_info_malformed_key",
        Call::Models,
        401,
        Meaning::Credentials,
        "LiteLLM Virtual Key expected. Received=not-****-key, expected to start with 'sk-'.",
    ),
    ("1.80/model_info_empty_bearer", Call::Models, 401, Meaning::Credentials, PREFIX),
    ("1.109/model_info_empty_bearer", Call::Models, 401, Meaning::Credentials, PREFIX),
    ("1.80/virtual_key_key_list", Call::Keys, 403, Meaning::Credentials, NO_ID),
    ("1.109/virtual_key_key_list", Call::Keys, 403, Meaning::Credentials, NO_ID),
    ("1.80/virtual_key_key_update", Call::Update, 401, Meaning::Credentials, ADMIN),
    ("1.109/virtual_key_key_update", Call::Update, 401, Meaning::Credentials, ADMIN),
    ("1.80/virtual_key_global_spend", Call::Spend, 401, Meaning::Credentials, ADMIN),
    ("1.109/virtual_key_global_spend", Call::Spend, 401, Meaning::Credentials, ADMIN),
    // Whatever the status says, the key is not to blame for these.
    ("1.80/dbdown_wrong_key", Call::Models, 401, Meaning::DatabaseDown, DOWN),
    ("1.109/dbdown_wrong_key", Call::Models, 503, Meaning::DatabaseDown, RETRY),
    ("1.109/dbdown_model_info", Call::Models, 503, Meaning::DatabaseDown, RETRY),
    ("1.80/dbdown_key_list", Call::Keys, 500, Meaning::DatabaseDown, DOWN),
    ("1.109/dbdown_key_list", Call::Keys, 503, Meaning::DatabaseDown, RETRY),
    (
        "1.80/dbdown_key_info",
        Call::Key,
        500,
        Meaning::DatabaseDown,
        "Internal Server Error, Can't reach database",
    ),
    (
        "1.109/dbdown_key_info",
        Call::Key,
        500,
        Meaning::Other,
        "Internal server error from /key/info. Details are in the proxy server logs.",
    ),
    ("1.80/dbdown_key_update", Call::Update, 400, Meaning::DatabaseDown, DOWN),
    ("1.109/dbdown_key_update", Call::Update, 503, Meaning::DatabaseDown, RETRY),
    (
        "1.80/dbdown_global_spend",
        Call::Spend,
        500,
        Meaning::DatabaseDown,
        "/global/spend ErrorCan't reach database",
    ),
    (
        "1.109/dbdown_global_spend",
        Call::Spend,
        500,
        Meaning::DatabaseDown,
        "/global/spend ErrorCan't reach database",
    ),
    (
        "1.80/key_list_size_101",
        Call::Keys,
        422,
        Meaning::Invalid,
        "size: Input should be less than or equal to 100",
    ),
    (
        "1.109/key_list_size_101",
        Call::Keys,
        422,
        Meaning::Invalid,
        "size: Input should be less than or equal to 100",
    ),
    (
        "1.80/key_list_sort_bad",
        Call::Keys,
        400,
        Meaning::Invalid,
        "Invalid sort column. Must be one of: spend, max_budget",
    ),
    (
        "1.109/key_list_status_bad",
        Call::Keys,
        400,
        Meaning::Invalid,
        "Invalid status value. Supported: 'active', 'expired', 'revoked', 'deleted'.",
    ),
    ("1.80/dbdown_key_block", Call::Update, 500, Meaning::Other, "“Internal Server Error”"),
    (
        "1.80/model_info_one_unknown",
        Call::Models,
        400,
        Meaning::Invalid,
        "Model id = nope not found on litellm proxy",
    ),
    ("1.109/unknown_path", Call::Spend, 404, Meaning::NotFound, "Not Found"),
];

#[tokio::test]
async fn every_recorded_error_is_understood() {
    for &(name, call, status, meaning, start) in CASES {
        let recorded = recording(&format!("litellm/{name}"));
        let (method, target) = call.target();
        // This client comes with a key in any case; what is said without one is read like the rest.
        let key = recorded.key().filter(|key| !key.is_empty()).unwrap_or(MASTER);
        let replay = play([recorded.played().method(method).target(target).key(key)]).await;
        let error = call.fails(&proxy_with(&replay, key)).await;
        let ClientError::Status { status: seen, message, meaning: meant, .. } = &error else {
            panic!("{name}: {error:?}")
        };
        assert_eq!((*seen, *meant), (status, meaning), "{name}: {message}");
        assert!(message.starts_with(start), "{name}: {message:?}");
        assert_presentable(&error.to_string(), name);
    }
}

/// Measured on proxies that were started without `DATABASE_URL`.
#[tokio::test]
async fn a_proxy_without_a_database_is_recognised() {
    let cases = [
        (
            Call::Keys,
            500,
            r#"{"error":{"message":"Authentication Error, Database not connected","code":"500"}}"#,
        ),
        (Call::Keys, 500, r#"{"error":{"message":"Database not connected","type":"internal_server_error"}}"#),
        (Call::Spend, 500, r#"{"error":{"message":"{'error': 'No db connected'}","type":"internal_error"}}"#),
        (
            Call::Models,
            400,
            r#"{"error":{"message":"No connected db.","type":"no_db_connection","code":"400"}}"#,
        ),
    ];
    for (call, status, body) in cases {
        let (method, target) = call.target();
        let replay = play([Exchange::new(method, &target, status, body)]).await;
        let error = call.fails(&proxy(&replay)).await;
        assert_eq!(error.meaning(), Some(Meaning::NoDatabase), "{body}");
        assert_presentable(&error.to_string(), body);
    }
}

#[tokio::test]
async fn every_form_of_an_error_gives_its_message() {
    let cases = [
        ("application/json", r#"{"error":{"message":"first","type":"t"}}"#, "first"),
        ("application/json", r#"{"detail":[{"loc":["query","size"],"msg":"second"}]}"#, "size: second"),
        (
            "application/json",
            r#"{"detail":[{"loc":["body",15],"msg":"JSON decode error"}]}"#,
            "JSON decode error",
        ),
        ("application/json", r#"{"detail":"third"}"#, "third"),
        ("application/json", r#"{"detail":{"error":"fourth"}}"#, "fourth"),
        ("text/plain", "Internal Server Error", "“Internal Server Error”"),
        ("application/json", r#"{"error":"sixth"}"#, "sixth"),
        // 1.80 names all its fallbacks where none is of use.
        (
            "application/json",
            r#"{"error":{"message":"Connection error.No fallback model group found for original model_group=a/b. Fallbacks=[]"}}"#,
            "Connection error.",
        ),
        ("application/json", r#"{"error":{"message":"{'error': \"it's\"}"}}"#, "it's"),
        ("application/json", r#"{"error":{"message":"{'error': 'it\\'s'}"}}"#, "it's"),
        ("application/json", r#"{"error":{"message":null}}"#, "“{\"error\":{\"message\":null}}”"),
        ("application/json", r#"{"error":{"message":"cut o"#, "“{\"error\":{\"message\":\"cut o”"),
        ("application/json", "", "an empty body"),
        (
            "text/html",
            "<!DOCTYPE html><html><TITLE> 502\nBad Gateway</TITLE>",
            "a web page titled “502 Bad Gateway”",
        ),
        ("text/html", "<html><body>down</body></html>", "a web page"),
        ("text/plain", "\u{1b}[31mred\u{7}", "“\u{fffd}[31mred\u{fffd}”"),
    ];
    for (content_type, body, message) in cases {
        let exchange = Exchange::new("GET", "/global/spend", 500, body).content_type(content_type);
        let replay = play([exchange]).await;
        let error = proxy(&replay).global_spend().await.unwrap_err();
        assert_eq!(error.to_string(), format!("the proxy answered 500: {message}"), "{body}");
        assert_eq!(error.meaning(), Some(Meaning::Other), "{body}");
    }
}

#[tokio::test]
async fn a_good_status_with_a_bad_body_is_not_understood() {
    let bodies =
        ["", "null", "[]x", "{\"spend\":1", "<html><title>Sign in</title></html>", "OK", "\u{0}\u{1}"];
    for body in bodies {
        let replay = play([Exchange::new("GET", "/global/spend", 200, body)]).await;
        let error = proxy(&replay).global_spend().await.unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood { .. }), "{body:?}: {error:?}");
        assert_presentable(&error.to_string(), body);
    }
    let replay =
        play([Exchange::new("GET", "/global/spend", 200, "<html><title>Sign in</title></html>")]).await;
    let error = proxy(&replay).global_spend().await.unwrap_err();
    assert!(error.to_string().ends_with("in a web page titled “Sign in”"), "{error}");
}

#[tokio::test]
async fn the_master_key_does_not_come_back_in_an_error() {
    let master = "a master key of no known shape";
    for (status, body) in [(500, format!("key {master} is odd")), (200, format!("\"{master}\""))] {
        let replay = play([Exchange::new("GET", "/global/spend", status, body)]).await;
        let error = proxy_with(&replay, master).global_spend().await.unwrap_err();
        assert!(error.to_string().contains("[redacted]"), "{error}");
        assert!(!format!("{error:?} {error}").contains(master), "{error:?}");
    }
}

#[tokio::test]
async fn the_proxy_may_stand_below_a_path() {
    for base in ["/gateway/llm", "/gateway/llm/"] {
        let replay = play([Exchange::new("GET", "/gateway/llm/global/spend", 200, r#"{"spend":1.5}"#)]).await;
        let http = patchbay::clients::build_http().unwrap();
        let client = LiteLlm::new(http, replay.url(base), MASTER.into(), super::timeouts(super::PATIENCE));
        client.global_spend().await.unwrap();
        assert_eq!(client.address(), replay.url("/gateway/llm").as_str(), "{base}");
    }
}
