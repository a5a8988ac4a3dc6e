//! Who may use which route: the whole table, as everybody, in every form.

use std::fs;
use std::path::Path;

use axum::http::{Method, StatusCode, header};
use patchbay::config::users::{self, Editor, Hash, NamedUser};
use patchbay::config::{Access as Settings, UsersFile};
use patchbay::domain::role::Role;
use patchbay::web::{Access, Route, table};
use reqwest::RequestBuilder;
use secrecy::SecretString;

use crate::support::{PASSWORD, Page, Setup, TestApp};
use crate::web::login::{Bare, location};

/// An address of the route, with something in the place of each parameter.
pub(super) fn address(app: &TestApp, route: &Route) -> String {
    [
        ("{hash}", app.agent_key_hash.as_str()),
        ("{agent}", "task-agent"),
        ("{name}", "task-agent"),
        ("{context}", "c1"),
        ("{id}", "0"),
        ("{request_id}", "0"),
        ("{job}", "0"),
    ]
    .iter()
    .fold(route.path.to_owned(), |path, (parameter, value)| path.replace(parameter, value))
}

/// The forms of an answer, by the header that asks for each.
const FORMS: [(&str, &str); 5] = [
    ("accept", "text/html"),
    ("accept", "application/json"),
    ("accept", "text/event-stream"),
    ("accept", "text/csv"),
    ("hx-request", "true"),
];

/// Sends a request. Of a stream, which need not end, the beginning is enough.
async fn look(request: RequestBuilder) -> Page {
    let answer = request.send().await.unwrap();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == "text/event-stream") {
        let (status, url, headers) = (answer.status(), answer.url().clone(), answer.headers().clone());
        return Page { status, url, headers, body: String::new() };
    }
    Page::of(answer).await
}

pub(super) fn method(route: &Route) -> Method {
    route.method.parse().unwrap()
}

#[tokio::test]
async fn without_a_login_the_open_routes_alone_answer() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let open: Vec<_> =
        table().into_iter().filter(|route| route.access == Access::Open).map(|route| route.path).collect();
    assert_eq!(open, ["/theme", "/login", "/login", "/logout"]);
    for route in table().iter().filter(|route| route.access != Access::Open) {
        let address = address(&app, route);
        assert!(!address.contains('{'), "{address}: say what stands for its parameter");
        for (name, value) in FORMS {
            let request = bare.request(method(route), &address).header(name, value);
            let page = look(request).await;
            let is_page = ["text/html", "text/csv"].contains(&value);
            let wanted = if is_page { StatusCode::SEE_OTHER } else { StatusCode::UNAUTHORIZED };
            assert_eq!(page.status, wanted, "{} {address} as {value}", route.method);
            assert!(!page.headers.contains_key(header::SET_COOKIE));
        }
        for other in ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let page = look(bare.request(other.parse().unwrap(), &address)).await;
            let led = page.status.is_redirection() && location(&page).starts_with("/login");
            assert!(led || page.status.is_client_error(), "{other} {address}: {}", page.status);
        }
    }
}

/// What has an address and stands in no table has no role: those that know of no login, and nothing else.
#[test]
fn every_address_is_in_the_table() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/paths/route.rs")).unwrap();
    let paths = text.lines().filter_map(|line| line.split_once(" = \"")?.1.strip_suffix("\";"));
    let table = table();
    let (within, without): (Vec<&str>, Vec<&str>) =
        paths.partition(|path| table.iter().any(|route| route.path == *path));
    assert!(within.len() > 60, "{}", within.len());
    assert_eq!(without, ["/healthz", "/readyz", "/metrics", "/static"]);
}

/// What is added to a bare router has no role.
#[test]
fn routes_are_added_through_the_table_alone() {
    fn look(dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path);
            } else if !path.ends_with("web/router.rs") && !path.ends_with("web/routes.rs") {
                let text = fs::read_to_string(&path).unwrap();
                assert!(!text.contains(".route("), "{} adds a route past the table", path.display());
            }
        }
    }
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web"));
}

/// A user of each role in a file, with the password of the tests.
pub(crate) fn team() -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let hash = Hash::of(&SecretString::from(PASSWORD)).unwrap();
    let mut file = Editor::open(&path).unwrap();
    for &role in Role::ALL {
        file.set(&NamedUser { name: role.as_str().to_owned(), hash: hash.clone(), role });
    }
    file.save_if_changed().unwrap();
    let users = UsersFile { users: users::read(&path).unwrap(), path: Some(path) };
    (dir, Settings { users: Some(users), ..Settings::default() })
}

/// As a browser with a session, as a script with HTTP Basic: every route, in every form.
#[tokio::test]
async fn every_role_may_do_what_the_table_says_and_no_more() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let (mut admitted, mut refused, mut streams) = (0, 0, 0);
    let is_stream = |kind: &header::HeaderValue| kind == "text/event-stream";
    for &role in Role::ALL {
        let cookie = bare.log_in_as(role.as_str(), PASSWORD).await;
        for route in table() {
            let Access::From(needed) = route.access else { continue };
            let address = address(&app, &route);
            for (name, value) in FORMS {
                let request = || bare.request(method(&route), &address).header(name, value);
                let by_session = request().header(header::COOKIE, &cookie);
                let by_basic = request().basic_auth(role.as_str(), Some(PASSWORD));
                for request in [by_session, by_basic] {
                    let page = look(request).await;
                    let what = format!("{} {address} as {} wanting {value}", route.method, role.as_str());
                    if role >= needed {
                        admitted += 1;
                        assert_ne!(page.status, StatusCode::FORBIDDEN, "{what}: {}", page.text());
                        assert_ne!(page.status, StatusCode::UNAUTHORIZED, "{what}");
                        let is_led = page.status.is_redirection() && location(&page).starts_with("/login");
                        assert!(!is_led || route.path == "/logout", "{what}");
                        streams += usize::from(page.headers.get(header::CONTENT_TYPE).is_some_and(is_stream));
                        continue;
                    }
                    refused += 1;
                    assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}");
                    let told = match value {
                        _ if route.method == "HEAD" => continue,
                        "application/json" => {
                            let json: serde_json::Value = serde_json::from_str(&page.body).unwrap();
                            json["error"]["detail"].as_str().unwrap().to_owned()
                        }
                        _ => page.one("[role=alert]"),
                    };
                    assert!(told.contains(needed.as_str()) && told.contains(role.as_str()), "{what}: {told}");
                }
            }
        }
    }
    assert!(admitted > 500 && refused > 200, "{admitted} admitted, {refused} refused");
    assert!(streams >= 2 * Role::ALL.len(), "{streams} streams were opened");
    // Each refusal is written down, with who and what.
    let (_, audit) = app.script().get("/audit?what=access&who=viewer&size=200").await;
    let entries = audit["entries"].as_array().unwrap();
    let count: i64 = entries.iter().map(|entry| entry["count"].as_i64().unwrap()).sum();
    assert!(entries.len() > 20 && count > 200, "{count} in {} entries", entries.len());
    assert!(entries.iter().all(|entry| entry["outcome"] == "refused" && !entry["request_id"].is_null()));
}

/// What a page offers is what its reader may do: no form or link leads to a refusal.
#[tokio::test]
async fn pages_offer_what_the_role_may_do() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let admin = app.user().await;
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
    assert_eq!(admin.post("/switch", &form).await.outcome(), "verified");
    let id = admin.get("/models").await.attributes("#models tbody tr", "data-id").remove(0);
    let pages = [
        "/".to_owned(),
        "/models".to_owned(),
        format!("/models/{id}"),
        "/keys".to_owned(),
        "/keys/matrix".to_owned(),
        format!("/keys/{}", app.agent_key_hash),
        "/switch?agent=task-agent&context=c1".to_owned(),
        "/contexts".to_owned(),
        "/contexts/task-agent/c1".to_owned(),
        "/agents".to_owned(),
        "/agents/task-agent".to_owned(),
        "/audit".to_owned(),
        "/compare".to_owned(),
        "/usage".to_owned(),
        "/calls".to_owned(),
    ];
    for &role in Role::ALL {
        let browser = app.user_named(role.as_str()).await;
        let mut offered = 0;
        for path in &pages {
            let page = browser.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}");
            let mut posts = page.attributes("form[method=post]", "action");
            if page.has("fieldset[disabled]") {
                posts.retain(|action| action != "/switch");
            }
            let posts = posts.iter().map(|action| ("POST", action.as_str()));
            let links = page.attributes("main a[href^='/']", "href");
            let gets = links.iter().map(|href| ("GET", href.as_str()));
            for (method, target) in posts.chain(gets) {
                let route = routed(method, target);
                let Access::From(needed) = route.access else { continue };
                assert!(role >= needed, "{path} offers {method} {target} to {}", role.as_str());
                offered += usize::from(method == "POST");
            }
        }
        let told = [
            ("/models", Role::Admin),
            ("/keys", Role::Admin),
            ("/switch", Role::Operator),
            ("/contexts/task-agent/c1", Role::Operator),
        ];
        for (path, needed) in told {
            assert_eq!(browser.get(path).await.has(".takes"), role < needed, "{path} as {}", role.as_str());
        }
        assert_eq!(offered > 0, role > Role::Viewer, "{}", role.as_str());
        let switch = browser.get("/switch").await;
        assert_eq!(switch.has("fieldset[disabled] button[type=submit]"), role == Role::Viewer);
    }
}

/// The route that an address belongs to.
fn routed(method: &str, target: &str) -> Route {
    let path = target.split(['?', '#']).next().unwrap();
    let fits = |route: &&Route| {
        let (mut parts, mut pattern) = (path.split('/'), route.path.split('/'));
        route.method == method
            && parts.clone().count() == pattern.clone().count()
            && parts.all(|part| pattern.next().is_some_and(|name| name == part || name.starts_with('{')))
    };
    let table = table();
    let mut found: Vec<&Route> = table.iter().filter(fits).collect();
    // What is named wins over what is a parameter.
    found.sort_by_key(|route| route.path.matches('{').count());
    **found.first().unwrap_or_else(|| panic!("{method} {target} is no route"))
}
