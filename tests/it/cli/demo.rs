//! `patchbay demo`: what its first lines say can be used.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use reqwest::StatusCode;

use super::patchbay;
use crate::support::Browser;

#[tokio::test]
async fn the_demo_says_how_to_get_in_and_has_a_user_of_each_role() {
    let mut command = patchbay(&["demo", "--bind", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut after = |label: &str| {
        let line = lines.find(|line| line.contains(label)).unwrap();
        line.split_once(label).unwrap().1.trim().to_owned()
    };
    let dashboard = after("dashboard");
    let login = after("login");
    let (admin, password) = login.split_once(" / ").unwrap();
    let others = after("").replace(" (the same password, fewer rights)", "");
    let roles: Vec<&str> = others.split(", ").collect();
    assert_eq!(roles, ["viewer", "operator"]);
    for (name, models, bulk) in [(roles[0], 403, 403), (roles[1], 403, 200), (admin, 200, 200)] {
        let browser = Browser::new(&dashboard);
        let page = browser.post("/login", &[("username", name), ("password", password)]).await;
        assert_eq!((page.status, page.url.path()), (StatusCode::OK, "/"), "{name}");
        for (path, status) in [("/models", 200), ("/models/new", models), ("/bulk/new", bulk)] {
            assert_eq!(browser.get(path).await.status.as_u16(), status, "{name} {path}");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
