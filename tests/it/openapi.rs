//! `src/web/openapi.json` against the route table. The snapshot tests pass every JSON answer to [`check`].
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::LazyLock;

use patchbay::web::{Access, table};
use serde_json::Value;

use crate::support::{PASSWORD, TestApp, USER};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../src/web/openapi.json")).unwrap());

/// Outside of the route table, since they know of no login.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn operation(method: &str, path: &str) -> &'static Value {
    &DOCUMENT["paths"][path][method.to_lowercase()]
}

/// Panics unless `value` is an answer to `method` at the route `path` as the document has it.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, status: u16, value: &Value) {
    let responses = &operation(method, path)["responses"];
    let names = [status.to_string(), format!("{}XX", status / 100), "default".to_owned()];
    let mut response = names.iter().find_map(|name| responses.get(name)).unwrap_or(&Value::Null);
    if let Some(at) = response["$ref"].as_str() {
        response = DOCUMENT.pointer(at.trim_start_matches('#')).unwrap();
    }
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path}: src/web/openapi.json has no JSON answer with {status}");
    let mut wrong = Vec::new();
    compare(schema, value, "", &mut wrong);
    assert!(
        wrong.is_empty(),
        "{method} {path}, {status}: src/web/openapi.json differs:\n{}",
        wrong.join("\n")
    );
}

/// Notes where `value` differs from `schema`, by the keywords that the document uses. The crate jsonschema turns on a
/// feature of `serde_json` that changes how the dashboard under test reads numbers.
fn compare(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{at}: {schema} is no schema"));
    let list = |given: &'_ Value| given.as_array().cloned().unwrap_or_else(|| vec![given.clone()]);
    for (keyword, given) in keywords {
        let is_good = match keyword.as_str() {
            "description" | "format" => true,
            "$ref" => {
                let target = DOCUMENT.pointer(given.as_str().unwrap().trim_start_matches('#'));
                compare(target.unwrap(), value, at, wrong);
                true
            }
            "type" => list(given).iter().any(|name| is_type(name.as_str().unwrap(), value)),
            "enum" => list(given).contains(value),
            "anyOf" => list(given).iter().any(|schema| {
                let mut differences = Vec::new();
                compare(schema, value, at, &mut differences);
                differences.is_empty()
            }),
            "required" => list(given).iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(n, item)| compare(given, item, &format!("{at}/{n}"), wrong));
                true
            }
            "properties" | "additionalProperties" => {
                let is_further = keyword == "additionalProperties";
                for (name, field) in value.as_object().into_iter().flatten() {
                    let known = keywords.get("properties").and_then(|all| all.get(name));
                    let at = format!("{at}/{name}");
                    match (known, is_further) {
                        (Some(schema), false) => compare(schema, field, &at, wrong),
                        (None, true) if *given == false => wrong.push(format!("{at} is not described")),
                        (None, true) => compare(given, field, &at, wrong),
                        _ => {}
                    }
                }
                true
            }
            other => panic!("{at}: the keyword {other} is not checked here"),
        };
        if !is_good {
            wrong.push(format!("{at}: not by {keyword} {given}: {value:.200}"));
        }
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn describes_every_route_and_no_other() {
    for route in table() {
        let operation = operation(route.method, route.path);
        let name = format!("{} {}", route.method, route.path);
        assert!(operation.is_object(), "{name}: add it to src/web/openapi.json");
        let role = match route.access {
            Access::Open => Value::Null,
            Access::From(role) => role.as_str().into(),
        };
        assert_eq!(operation["x-role"], role, "{name}: x-role");
        let named = operation["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let is_named = named.iter().any(|named| named["name"] == parameter && named["in"] == "path");
            assert!(is_named, "{name}: the parameter {parameter}");
        }
    }
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let is_route =
                table().iter().any(|route| route.path == path && route.method.to_lowercase() == *method);
            assert!(is_route || OPEN.contains(&path.as_str()), "{method} {path} is no route any more");
        }
    }
}

#[test]
fn has_the_version_of_the_release() {
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// The comparison itself.
#[test]
fn finds_what_differs() {
    let schema = &DOCUMENT["components"]["schemas"]["Error"];
    let good = r#"{"error":{"title":"a","detail":"b","advice":"c","help":null,"request_id":"1"}}"#;
    let count = |text: &str| {
        let mut wrong = Vec::new();
        compare(schema, &serde_json::from_str(text).unwrap(), "", &mut wrong);
        wrong.len()
    };
    assert_eq!(count(good), 0);
    for (part, other) in [(r#""a""#, "5"), (r#""title":"a","#, ""), ("null", "[]"), ("title", "titles")] {
        assert!(count(&good.replace(part, other)) > 0, "{part}");
    }
}

#[tokio::test]
async fn is_served_to_users_alone() {
    let app = TestApp::start().await;
    let (status, document) = app.script().get("/openapi.json").await;
    assert_eq!((status.as_u16(), &document), (200, &*DOCUMENT));
    let stranger = crate::support::Script::with(&app.base, USER, "wrong");
    assert_eq!(stranger.get("/openapi.json").await.0.as_u16(), 401);
}

/// The block of a language in `docs/json-api.md` that contains `part`.
fn example(language: &str, part: &str) -> String {
    let page = include_str!("../../docs/json-api.md");
    let start = format!("```{language}\n");
    let mut blocks = page.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(part)).unwrap().to_owned()
}

#[tokio::test]
async fn examples_work_as_written() {
    let app = TestApp::start().await;
    for (interpreter, flag, script, expected) in [
        ("sh", "-ec", example("sh", "curl"), &["openai/gpt-5-mini", "\"outcome\":\"proven\""][..]),
        ("python3", "-c", example("python", "import"), &["verified", "gpt-5-mini"]),
    ] {
        let needed = if interpreter == "sh" { "curl" } else { interpreter };
        if std::process::Command::new(needed).arg("--version").output().is_err() {
            eprintln!("{needed} is missing: its example is SKIPPED");
            continue;
        }
        let mut command = std::process::Command::new(interpreter);
        command.args([flag, &script]).env("PATCHBAY_DASHBOARD", &app.base);
        command.env("UI_USERNAME", USER).env("UI_PASSWORD", PASSWORD).env("no_proxy", "127.0.0.1");
        let ended = crate::cli::run(command).await;
        assert_eq!(ended.code, Some(0), "{interpreter}: {} {}", ended.out, ended.err);
        for part in expected {
            assert!(ended.out.contains(part), "{interpreter}, {part}: {}", ended.out);
        }
    }
}
