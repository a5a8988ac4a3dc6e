#![expect(clippy::format_collect, reason = "short texts")]

use std::time::{Duration, Instant};

use super::*;

#[test]
fn replaces_secrets() {
    let google = format!("AIza{}", "x".repeat(35));
    for (text, clean) in [
        ("User Key=sk-unknown-000000000.", "User Key=sk-[redacted]"),
        ("I am gpt-5 (bearer sk-bed-task-agent)", "I am gpt-5 (bearer sk-[redacted])"),
        ("Authorization: Bearer abcdefghij, next", "Authorization: Bearer [redacted], next"),
        ("a `Bearer ` prefix, not Bearer aGVsbG8/d29y+A==", "a `Bearer ` prefix, not Bearer [redacted]"),
        ("Incorrect API key provided: bad-key.. See", "Incorrect API key provided: [redacted].. See"),
        (&format!("GET /v1?key={google}&a=b"), "GET /v1?key=[redacted]&a=b"),
        (&google, "[redacted]"),
        ("http://u:p@host/x http://a:b@c", "http://[redacted]@host/x http://[redacted]@c"),
        ("http://@host and sk-abcdefgh", "http://@host and sk-[redacted]"),
        ("://@://@a:b@", "://@://[redacted]@"),
        // The question mark ends the authority until it is removed with the key.
        ("u://me&key=a?b,sk-@host", "u://[redacted]@host"),
        (
            "http://u:p@h sk-aaaaaaa Bearer bbbbbbbb sk-ccccccc ?key=d http://sk-eeeeeee@h sk-fffffff",
            "http://[redacted]@h sk-[redacted] Bearer [redacted] sk-[redacted] ?key=[redacted] \
             http://[redacted]@h sk-[redacted]",
        ),
        ("postgres://ada:p/w#x@db:5432/x", "postgres://[redacted]@db:5432/x"),
        ("cannot reach ada:hunter2@db.local", "cannot reach [redacted]@db.local"),
        ("Authorization: Basic YWRhOmh1bnRlcjI=", "Authorization: Basic [redacted]"),
        ("sent Basic YWRhOmh1bnRlcjI and failed", "sent Basic [redacted] and failed"),
        ("body c2stYWJjZGVmZ2hpamts, see", "body [redacted], see"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1 is expired", "[redacted] is expired"),
        ("user AKIAIOSFODNN7EXAMPLE may not", "user [redacted] may not"),
        ("key hf_abcdefghijklmnopqrstuv", "key [redacted]"),
        (
            "password=hunter2, secret='two words' token=abc",
            "password=[redacted], secret='[redacted]' token=[redacted]",
        ),
        (
            r#"{"client_secret": "a b", "n": 1, "x-api-key":"c"}"#,
            r#"{"client_secret": "[redacted]", "n": 1, "x-api-key":"[redacted]"}"#,
        ),
        (r#"body: {\"password\": \"hunter2\"}"#, r#"body: {\"password\": \"[redacted]\"}"#),
        (
            "/v1?subscription-key=a&sig=b&code=c&x=d",
            "/v1?subscription-key=[redacted]&sig=[redacted]&code=[redacted]&x=d",
        ),
        ("sk%2Dabcdefgh and \\u0073k-abcdefgh", "sk-[redacted] and sk-[redacted]"),
        ("next=http%3A%2F%2Fada%3Apw%40host%2F", "next=http%3A%2F%2F[redacted]%40host%2F"),
        ("api_key%3Dabc%26a%3Db", "api_key%3D[redacted]%26a%3Db"),
        ("sk%252Dabcdefgh", "sk-[redacted]"),
        ("token&#61;abc", "token&#61;[redacted]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----, next", "[redacted], next"),
        ("x -----BEGIN PRIVATE KEY----- MIIE", "x [redacted]"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/[redacted]"),
        ("https://discord.com/api/webhooks/1/abc-d", "https://discord.com/api/webhooks/[redacted]"),
    ] {
        assert_eq!(secrets(text), clean);
        assert_eq!(secrets(clean), clean, "nothing is left to redact");
    }
}

#[test]
fn keeps_other_text() {
    for text in [
        "sk-...ab12",
        "Authorization: Bearer [redacted]",
        "key provided: sk-[redacted]",
        "AIza",
        "task-agent-x1",
        "risk-averse words",
        "https://host/@me",
        "http://[::1]:80/a@b",
        "http://h:80/x@y",
        "sk-",
        "Bearer of news",
        "Basic authentication is required",
        "Unexpected token: <",
        "status code=401, key=value and max_tokens=5",
        "api_key: os.environ/OPENAI_API_KEY",
        "{\"api_key\": null, \"token\": \"os.environ/T\"}",
        "https://host/v1?api-version=2024-10-01#top",
        "models/openai/gpt-5-mini and anthropic/claude-sonnet-4-5@20250929",
        "100% sure, %zz \\u00e4 &amp; done",
        "-----BEGIN CERTIFICATE-----",
        "Rate limit exceeded for api_key: 44d8e98f0ba1f7c0c3f6d8e4a0b9f7e644d8e98f0ba1f7c0c3f6d8e4a0b9f7e6",
    ] {
        assert_eq!(secrets(text), text);
    }
}

#[test]
fn shows_scheme_host_and_path_of_addresses() {
    for (text, clean) in [
        ("https://h/v1?a=b#c", "https://h/v1"),
        ("https://u:p@h:8/v1#c?d", "https://[redacted]@h:8/v1"),
        ("see https://h/v1?a=b, and 'http://x#y'.", "see https://h/v1 and 'http://x'."),
        ("{\"url\":\"https://h/v1?foo=bar\",\"n\":1}", "{\"url\":\"https://h/v1\",\"n\":1}"),
        ("is it? #1", "is it? #1"),
    ] {
        assert_eq!(addresses(text), clean);
        assert_eq!(addresses(clean), clean);
    }
    assert!(is_private_address("https://h/?a") && !is_private_address("https://h/v1"));
    assert!(!is_private_address("see https://h/?a"));
}

#[test]
fn replaces_known_secret_of_any_form() {
    assert_eq!(known("Received=not-a-key, expected", "not-a-key"), "Received=[redacted], expected");
    assert_eq!(known("a text", "a"), "a text");
    assert_eq!(known("not%2Da%2dkey not\\u002da-key", "not-a-key"), "[redacted] [redacted]");
    for before in ["", "a", "ab", "abc", "ada:"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}not-a-key!?"));
        assert!(known(&text, "not-a-key").contains(REDACTED), "{text}");
    }
}

#[test]
fn error_text_has_no_control_characters_and_stack_traces() {
    assert_eq!(error_text("a\u{1b}[31mb\0c\r\nd"), "a\u{fffd}[31mb\u{fffd}c d");
    let text = "Can't reach it\nTraceback (most recent call last):\n File \"/srv/x.py\"";
    assert_eq!(error_text(text), "Can't reach it");
    assert_eq!(error_text(&"x".repeat(500)).chars().count(), MAX_ERROR_CHARS + 1);
}

/// A secret is found in any surroundings and in any encoding listed here.
#[test]
fn finds_secrets_in_any_surroundings() {
    const SECRET: &str = "Zq9-Wx7Kp3-Lm5Tr8";
    let key = format!("sk-{SECRET}");
    let forms = [
        key.clone(),
        format!("password={SECRET}"),
        format!("https://ada:{SECRET}@host/v1"),
        format!("Bearer {SECRET}"),
        format!("\"api_key\": \"{SECRET}\""),
        format!("/v1?subscription-key={SECRET}"),
    ];
    let around = [
        "",
        " ",
        "é",
        "%",
        "\\",
        "&",
        "?",
        "://",
        "@",
        "\"",
        "'",
        "=",
        ":",
        "%2",
        "\\u00",
        "sk-",
        "x ",
        "{",
        "-----BEGIN ",
    ];
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let unicode = |text: &str| text.bytes().map(|byte| format!("\\u{byte:04X}")).collect::<String>();
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for form in &forms {
        for before in around {
            for after in around {
                let text = format!("{before} {form} {after}");
                let clean = secrets(&text);
                assert!(!clean.contains(SECRET), "{text} became {clean}");
                assert_eq!(secrets(&clean), clean);
            }
            for written in [percent(form), unicode(form), percent(&unicode(form)), base64(form)] {
                let text = format!("{before} {written}");
                assert_ne!(secrets(&text), text);
                assert!(!secrets(&text).contains(&written), "{text}");
            }
        }
    }
}

/// Twice the text takes about twice the time, also when it repeats itself.
#[test]
fn takes_linear_time() {
    let time = |text: &str| {
        let begun = Instant::now();
        addresses(text);
        begun.elapsed()
    };
    for part in [
        "a",
        "://",
        "://a:b/",
        "sk-abcdefgh ",
        "?key=",
        "password=",
        "token: ",
        "@",
        "a:b@",
        "%25",
        "\\u0073",
        "eyJ.",
        "Basic ",
        "Bearer ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "\"",
        "'token'='",
        "c2stYWJjZGVmZ2g ",
        "AIza",
        "&#45;",
        "://hooks.",
        "https://h/v1 ",
        "eyJ",
        "ask-",
        "aAIza",
        "password=sk-",
        "/webhook/sk-",
        "://hooks.a/sk-",
        "token=env:",
        "é",
    ] {
        let text = part.repeat(5_000 / part.len());
        let small = (0..3).map(|_| time(&text)).min().unwrap_or_default();
        let large = time(&text.repeat(8));
        assert!(large < small * 40 + Duration::from_millis(200), "{part:?}: {small:?}, then {large:?}");
    }
}
