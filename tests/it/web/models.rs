//! The models' table and page, with many models and with odd ones.

use axum::http::StatusCode;
use patchbay_sandbox::Generation;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::{Browser, Page, Setup, TestApp};

const MANY: usize = 130;

async fn register(app: &TestApp, name: &str, params: Value, info: Value) {
    let mut params = params;
    params["api_key"] = json!("os.environ/X");
    let body = json!({ "model_name": name, "litellm_params": params, "model_info": info });
    app.admin("/model/new", &body).await;
}

/// 130 models of three providers; some know neither context nor prices.
async fn many() -> TestApp {
    let app = TestApp::with(Setup { is_furnished: false, ..Setup::default() }).await;
    for number in 0..MANY {
        let provider = ["anthropic", "azure", "openai"][number % 3];
        let mode = if number % 4 == 0 { "embedding" } else { "chat" };
        let mut info = json!({ "id": format!("id-{number:03}"), "mode": mode });
        if number % 10 != 0 {
            info["max_input_tokens"] = json!((number * 37 % MANY) * 1000 + 1);
            info["input_cost_per_token"] =
                json!(f64::from(u8::try_from(number * 53 % MANY).unwrap()) * 1e-7 + 1e-8);
            info["output_cost_per_token"] =
                json!(f64::from(u8::try_from(number * 71 % MANY).unwrap()) * 1e-7 + 1e-8);
        }
        let upstream = format!("up-{:03}", MANY - number);
        let params = json!({ "model": upstream, "custom_llm_provider": provider });
        register(&app, &format!("{provider}/Model-{number:03}"), params, info).await;
    }
    app
}

fn names(page: &Page) -> Vec<String> {
    page.attributes("table#models tbody tr", "data-name")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn many_models_are_paged() {
    let app = many().await;
    let browser = app.user().await;
    let mut seen = Vec::new();
    let mut page = browser.get("/models").await;
    // As a person does: from page to page by the link.
    for (first, last, more) in [(1, 50, true), (51, 100, true), (101, 130, false)] {
        assert!(
            page.all(".pager")[0].contains(&format!("{first}–{last} of 130")),
            "{}",
            page.all(".pager")[0]
        );
        assert_eq!(names(&page).len(), last - first + 1);
        seen.extend(names(&page));
        let next = page.attributes(".pager a[rel=next]", "href");
        assert_eq!(!next.is_empty(), more);
        if let Some(next) = next.first() {
            page = browser.get(next).await;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), MANY);
    let previous = page.attributes(".pager a[rel=prev]", "href").remove(0);
    assert!(browser.get(&previous).await.all(".pager")[0].contains("51–100"));

    for (query, rows, on_page) in [
        ("size=100", 100, 1),
        ("size=200", 130, 1),
        ("size=7", 50, 1),
        ("size=-1&page=0", 50, 1),
        ("size=99999999999999999999", 50, 1),
        ("page=99", 30, 3),
        ("page=18446744073709551615", 30, 3),
        ("page=x", 50, 1),
        ("page=2&size=100", 30, 2),
    ] {
        let (status, json) = app.script().get(&format!("/models?{query}")).await;
        let shown = json["deployments"].as_array().unwrap().len();
        assert_eq!((status, shown, json["page"].as_u64()), (StatusCode::OK, rows, Some(on_page)), "{query}");
        assert_eq!(json["total"], MANY);
    }
}

#[tokio::test]
async fn many_models_are_sorted_both_ways_by_each_column() {
    let app = many().await;
    let browser = app.user().await;
    let headings = browser.get("/models?size=200").await.attributes("table#models thead a", "href");
    assert_eq!(headings.len(), 7, "{headings:?}");
    for heading in headings {
        assert!(heading.contains("size=200"), "a heading drops the rows a page: {heading}");
        let page = browser.get(&heading).await;
        let (now, other) = match page
            .attributes("table#models th[aria-sort]", "aria-sort")
            .into_iter()
            .find(|o| o != "none")
        {
            Some(order) if order == "ascending" => (1, -1),
            Some(_) => (-1, 1),
            None => panic!("no column is marked as sorted after {heading}"),
        };
        check_order(&app, &heading, now).await;
        // A second click turns it around.
        let again = page
            .attributes("table#models th:is([aria-sort=ascending],[aria-sort=descending]) a", "href")
            .remove(0);
        check_order(&app, &again, other).await;
    }
}

async fn check_order(app: &TestApp, heading: &str, direction: i8) {
    let (_, json) = app.script().get(heading).await;
    let field = match heading.split("sort=").nth(1).unwrap().split('&').next().unwrap() {
        "name" => "name",
        "provider" => "provider",
        "source" => "source",
        "mode" => "mode",
        "context" => "max_input_tokens",
        "input" => "input_cost_per_token",
        "output" => "output_cost_per_token",
        other => panic!("{other}"),
    };
    let values: Vec<&Value> = json["deployments"].as_array().unwrap().iter().map(|row| &row[field]).collect();
    assert_eq!(values.len(), MANY);
    let known = values.iter().take_while(|value| !value.is_null()).count();
    assert!(
        values[known..].iter().all(|value| value.is_null()),
        "{field}: what is not known does not come last"
    );
    for pair in values[..known].windows(2) {
        let falls = match (pair[0], pair[1]) {
            (Value::String(a), Value::String(b)) => a.to_lowercase() > b.to_lowercase(),
            (a, b) => a.as_f64().unwrap() > b.as_f64().unwrap(),
        };
        let equal = pair[0] == pair[1];
        assert!(equal || falls == (direction < 0), "{heading}: {} before {}", pair[0], pair[1]);
    }
}

#[tokio::test]
async fn models_are_searched_and_filtered() {
    let app = many().await;
    let browser = app.user().await;
    for (query, wanted) in [
        ("q=model-007", 1),
        ("q=%20MODEL-007%20", 1),
        ("q=up-12", 10),
        ("q=id-001", 1),
        ("q=azure/", 43),
        ("provider=anthropic", 44),
        ("provider=anthrop", 0),
        ("mode=embedding", 33),
        ("mode=embedding&provider=anthropic", 11),
        ("source=config", 0),
        ("source=database&q=m", 130),
        ("q=%25", 0),
        ("q=.*", 0),
        ("q='", 0),
        ("unheard=of", 130),
    ] {
        let page = browser.get(&format!("/models?size=200&{query}")).await;
        assert_eq!((page.status, names(&page).len()), (StatusCode::OK, wanted), "{query}");
        if wanted == 0 {
            assert!(
                page.one(".empty").contains("None of the 130 deployments fits"),
                "{}",
                page.one(".empty")
            );
            assert_eq!(page.attributes(".empty a", "href"), ["/models"]);
        }
    }
    // What was asked for stays in the form, and on the way to the next page.
    let page =
        browser.get("/models?q=model&provider=anthropic&mode=chat&sort=context&dir=desc&size=100").await;
    assert_eq!(page.attributes("#q", "value"), ["model"]);
    assert_eq!(page.one("#provider option[selected]"), "anthropic");
    assert_eq!(page.one("#mode option[selected]"), "chat");
    assert_eq!(page.one("#size option[selected]"), "100 rows");
    let next = browser.get("/models?q=model&sort=context").await.attributes("a[rel=next]", "href").remove(0);
    assert!(next.contains("q=model") && next.contains("sort=context") && next.contains("page=2"), "{next}");
}

/// Follows the link of the row with this id, and returns the page.
async fn open(browser: &Browser, id: &str, list: &str) -> Page {
    let list = browser.get(list).await;
    let links = list.attributes("table#models tbody th a", "href");
    let ids = list.attributes("table#models tbody tr", "data-id");
    let at = ids.iter().position(|other| other == id).unwrap_or_else(|| panic!("{id} in {ids:?}"));
    let page = browser.get(&links[at]).await;
    assert_eq!(page.status, StatusCode::OK, "{id}: {}", page.text());
    page
}

#[tokio::test]
async fn odd_names_and_ids_are_shown_linked_and_opened() {
    let app = TestApp::with(Setup { is_furnished: false, ..Setup::default() }).await;
    let long = format!("long/{}", "n".repeat(4091));
    let odd = [
        ("<script>alert(1)</script>", "<b>id</b>"),
        ("openai/\"><img src=x onerror=alert(1)>", "\"quoted\" & 'so'"),
        ("a/b/c/d", "id/with/slashes"),
        ("with  two blanks ", "id with blanks"),
        ("日本語/模型 🦀 é", "日本語🦀"),
        ("{{ 7*7 }}{% raw %}", "?q=1#x"),
        ("percent %2F%00%zz", "100%25"),
        (long.as_str(), "long"),
        ("same", "twin-1"),
        ("same", "twin-2"),
    ];
    for (name, id) in odd {
        register(
            &app,
            name,
            json!({ "model": format!("up {name}"), "custom_llm_provider": "openai" }),
            json!({ "id": id, "description": name }),
        )
        .await;
    }
    let browser = app.user().await;
    let table = browser.get("/models").await;
    assert!(
        !table.body.contains("<script>alert") && !table.body.contains("<img src=x"),
        "a name is not escaped"
    );
    for (name, id) in odd {
        let page = open(&browser, id, "/models").await;
        let folded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(page.one("h1"), folded(name));
        assert!(
            !page.body.contains("<script>alert") && !page.body.contains("<img src=x"),
            "{name} is not escaped"
        );
        assert!(page.all("dd").contains(&folded(id)), "{id} in {:?}", page.all("dd"));
        let found = browser.get(&format!("/models?q={}", encoded(name))).await;
        assert!(names(&found).contains(&name.to_owned()), "a search for {name} finds {:?}", names(&found));
    }
    let twin = open(&browser, "twin-1", "/models").await;
    assert!(twin.text().contains("among 2 deployments") && twin.text().contains("twin-2"), "{}", twin.text());
    assert!(table.one("tr[data-id='twin-1']").contains("×2"));
}

/// A filter by a model's name, from its page, is for exactly this name.
#[tokio::test]
async fn the_keys_of_a_model_are_found_from_its_page() {
    let app = TestApp::with(Setup { is_furnished: false, ..Setup::default() }).await;
    let long = format!("long/{}", "n".repeat(4091));
    let odd = ["a  b", " blank at both ends ", "q?x=1&y=<2>", long.as_str()];
    for (number, name) in odd.into_iter().enumerate() {
        register(&app, name, json!({ "model": "gpt-5" }), json!({ "id": format!("m{number}") })).await;
        app.admin("/key/generate", &json!({ "key_alias": format!("k{number}"), "models": [name] })).await;
    }
    let browser = app.user().await;
    for (number, name) in odd.into_iter().enumerate() {
        let page = open(&browser, &format!("m{number}"), "/models").await;
        let link = page.attributes("[aria-labelledby=keys] p a", "href").remove(0);
        let keys = browser.get(&link).await;
        assert_eq!(keys.attributes("table#keys tbody tr", "data-alias"), [format!("k{number}")], "{name:?}");
        // Sent again as the form holds it, it is the same filter.
        let value = keys.attributes("#model option[selected]", "value");
        let again = browser.get(&format!("/keys?model={}", encoded(&value[0]))).await;
        assert_eq!(again.attributes("table#keys tbody tr", "data-alias"), [format!("k{number}")], "{name:?}");
    }
}

#[tokio::test]
async fn a_model_tells_what_is_known_of_it() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let info = json!({ "id": "d1", "max_input_tokens": 272_000, "input_cost_per_token": 1.25e-6, "mode": "chat", "description": "The big one" });
        let params = json!({ "model": "gpt-5", "custom_llm_provider": "azure", "api_base": "http://user:hunter2@up.example/v1" });
        register(&app, "acme/big", params, info).await;
        let browser = app.user().await;
        let page = browser.get("/models/d1").await;
        for text in [
            "The big one",
            "azure",
            "gpt-5",
            "272,000 tokens",
            "Price per million tokens$1.25 in $10.00 out",
            "chat",
            "up.example",
        ] {
            assert!(page.text().contains(text), "{generation}: {text} in {}", page.text());
        }
        assert!(!page.body.contains("hunter2") && !page.body.contains("os.environ"), "{}", page.text());
        // The way on to the switcher carries the name.
        let link = page.attributes(".actions a[href*='/switch']", "href").remove(0);
        assert_eq!(browser.get(&link).await.attributes("#model", "value"), ["acme/big"]);
        for id in ["nope", "d1x", "%00", "%F0%9F%A6%80", "..%2Fd1"] {
            assert_eq!(browser.get(&format!("/models/{id}")).await.status, StatusCode::NOT_FOUND, "{id}");
        }
    }
}
