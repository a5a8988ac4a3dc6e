//! What the proxy has is shown as it was a moment ago, at once, and renewed behind the page.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::support::{Browser, Page, Setup, TestApp};
use crate::web::faults::movable;

const PAGE: &str = "/models?q=late";

/// Registers a model behind Patchbay's back.
async fn register(app: &TestApp, name: &str) {
    let params = json!({ "model": "late", "custom_llm_provider": "openai", "api_key": "os.environ/X" });
    app.admin("/model/new", &json!({ "model_name": name, "litellm_params": params })).await;
}

fn names(page: &Page) -> Vec<String> {
    page.attributes("#models tbody tr", "data-name")
}

/// As the page's script does where a newer copy is on its way.
async fn renewed(browser: &Browser) -> Page {
    for _ in 0..200 {
        let page = browser.fragment(PAGE).await;
        if !page.has("[data-renews]") {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the copy is never renewed");
}

#[tokio::test]
async fn a_page_shows_the_copy_of_a_moment_ago_and_a_script_what_is_there() {
    let (clock, ahead) = movable();
    let app = TestApp::with(Setup { clock, ..Setup::default() }).await;
    let browser = app.user().await;
    assert!(names(&browser.get(PAGE).await).is_empty());

    register(&app, "late/one").await;
    ahead.fetch_add(20, Ordering::SeqCst);
    let page = browser.get(PAGE).await;
    assert!(names(&page).is_empty() && page.has("[data-renews]"), "{}", page.text());
    assert_eq!(page.one(".as-of"), "as of 20 s ago");
    assert_eq!(names(&renewed(&browser).await), ["late/one"]);

    register(&app, "late/two").await;
    ahead.fetch_add(20, Ordering::SeqCst);
    assert_eq!(app.script().get(PAGE).await.1["total"], 2);

    register(&app, "late/three").await;
    ahead.fetch_add(20, Ordering::SeqCst);
    let refresh = page.attributes(".bar a.button", "href");
    assert_eq!(refresh, ["/models?fresh=yes&q=late"]);
    let page = browser.get(&refresh[0]).await;
    assert_eq!(names(&page), ["late/one", "late/three", "late/two"]);
    assert!(!page.has("[data-renews]"));
    let onward = page.attributes("#models thead a", "href");
    assert!(!onward.is_empty() && onward.iter().all(|link| !link.contains("fresh")), "{onward:?}");

    ahead.fetch_add(70, Ordering::SeqCst);
    register(&app, "late/four").await;
    assert_eq!(names(&browser.get(PAGE).await).len(), 4, "one of a minute ago is not shown");
}
