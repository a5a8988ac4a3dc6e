//! Who may use which route: the whole table, as everybody, in every form.

use std::fs;
use std::path::Path;

use axum::http::{Method, StatusCode, header};
use patchbay::web::{Access, Route, table};

use crate::support::{Page, TestApp};
use crate::web::login::Bare;

/// An address of the route, with something in the place of each parameter.
pub(super) fn address(app: &TestApp, route: &Route) -> String {
    [
        ("{hash}", app.agent_key_hash.as_str()),
        ("{agent}", "task-agent"),
        ("{name}", "task-agent"),
        ("{context}", "c1"),
        ("{id}", "0"),
        ("{job}", "0"),
    ]
    .iter()
    .fold(route.path.to_owned(), |path, (parameter, value)| path.replace(parameter, value))
}

/// The three forms of an answer, by the header that asks for each.
pub(super) const FORMS: [(&str, &str); 3] =
    [("accept", "text/html"), ("accept", "application/json"), ("hx-request", "true")];

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
            let page: Page = Bare::send(request).await;
            let wanted = if value == "text/html" { StatusCode::SEE_OTHER } else { StatusCode::UNAUTHORIZED };
            assert_eq!(page.status, wanted, "{} {address} as {value}", route.method);
            assert!(!page.headers.contains_key(header::SET_COOKIE));
        }
    }
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
