//! What users see, pinned: every page as HTML and JSON, and the help of every command, with an empty proxy and with
//! some of everything. Each file in `snapshots/pinned` holds one answer without what differs between two runs.
//!
//! After an intended change of a page: `INSTA_UPDATE=always cargo nextest run -E 'test(/^snapshots::/)'`, then read
//! `git diff tests/it/snapshots` (or review one by one with `cargo insta review`, from `cargo install cargo-insta`).
//! A conflict in a snapshot is resolved by writing it again in the same way, never by hand.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod data;
mod render;

use std::panic::{AssertUnwindSafe, catch_unwind};

use patchbay::web::table;
use reqwest::{Client, RequestBuilder, StatusCode, header, redirect};
use serde_json::Value;

use crate::cli::patchbay;
use crate::openapi;
use crate::support::{Browser, PASSWORD, client};
use data::Data;

/// Streams, which have tests of their own, and a file.
const LEFT_OUT: [&str; 5] = [
    "/openapi.json",
    "/events",
    "/switch/{id}/events",
    "/compare/{id}/events",
    "/contexts/{agent}/{context}/asks/{id}/events",
];

/// A page: its route, a word where the route has several, and the query.
const PAGES: &[(&str, &str, &str)] = &[
    ("/", "", ""),
    ("/theme", "", ""),
    ("/login", "", "?next=/models"),
    ("/models", "", ""),
    ("/models", "filtered", "?q=gpt&provider=openai&sort=input&dir=desc&size=10"),
    ("/models", "nothing", "?q=no-such-model"),
    ("/models/new", "", ""),
    ("/models/export", "", ""),
    ("/models/import", "", ""),
    ("/models/import/{job}", "", ""),
    ("/models/{id}", "", ""),
    ("/models/{id}/edit", "", ""),
    ("/models/{id}/delete", "", ""),
    ("/keys", "", ""),
    ("/keys", "filtered", "?q=ci-&state=blocked&sort=spend&dir=desc"),
    ("/keys.csv", "", ""),
    ("/keys/new", "", ""),
    ("/keys/find", "", ""),
    ("/keys/matrix", "", ""),
    ("/keys/bulk/{id}", "", ""),
    ("/keys/{hash}", "", ""),
    ("/keys/{hash}/edit", "", ""),
    ("/keys/{hash}/replace", "", ""),
    ("/switch", "", ""),
    ("/switch", "context", "?agent=task-agent&context=support-42"),
    ("/switch", "drifted", "?agent=task-agent&context=drifted-1"),
    ("/switch", "receipt", "?agent=task-agent&context=support-42&swap={swap}"),
    ("/swaps/{id}", "", ""),
    ("/compare", "", ""),
    ("/compare", "context", "?agent=task-agent&context=support-42"),
    ("/compare/{id}", "", ""),
    ("/contexts", "", ""),
    ("/contexts", "filtered", "?q=many"),
    ("/contexts/{agent}/{context}", "", ""),
    ("/contexts/{agent}/{context}", "rolled-back", "batch-9"),
    ("/contexts/{agent}/{context}", "timed", "night-1"),
    ("/contexts/{agent}/{context}", "kept", "kept-1"),
    ("/contexts/{agent}/{context}", "drifted", "drifted-1"),
    ("/bulk/new", "", ""),
    ("/bulk/new", "filtered", "?filter=1&q=many"),
    ("/bulk/{id}", "", ""),
    ("/agents", "", ""),
    ("/agents/{name}", "", ""),
    ("/audit", "", ""),
    ("/audit", "filtered", "?what=swap&outcome=refused"),
    ("/audit.csv", "", ""),
    ("/audit/{id}", "", ""),
    ("/usage", "", ""),
    ("/usage", "by-key", "?range=30d&measure=tokens&by=key"),
    ("/calls", "", ""),
    ("/calls", "filtered", "?range=30d&served=openai/gpt-5-mini&sort=cost"),
    ("/calls/{request_id}", "", ""),
    ("/search", "", ""),
    ("/search", "found", "?q=gpt-5"),
    ("/help", "", ""),
    ("/styleguide", "", ""),
    ("/danger", "", ""),
    ("/settings", "", ""),
    ("/users", "", ""),
    ("/tokens", "", ""),
];

/// A name, an address, and the fields that are sent.
type Form = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Forms that are refused, or answered by a page of their own: what they are called, the address, the fields.
const FORMS: &[Form] = &[
    ("model_refused", "/models", &[("name", ""), ("provider", "openai"), ("secret", "sk-raw"), ("rpm", "x")]),
    ("import_refused", "/models/import", &[("yaml", "model_list:\n - model_name: [a")]),
    ("model_delete_asks", "/models/{model}/delete", &[]),
    ("model_test", "/models/{model}/test", &[]),
    (
        "key_refused",
        "/keys",
        &[("alias", "kept alias"), ("access", "list"), ("max_budget", "-5"), ("duration", "soon")],
    ),
    (
        "key_made",
        "/keys",
        &[("alias", "made-here"), ("access", "all"), ("max_budget", "5"), ("duration", "30d")],
    ),
    ("key_relaxed", "/keys/{key}/relax", &[]),
    ("keys_chosen", "/keys/bulk", &[("key", "{key}"), ("scope", "selected")]),
    (
        "keys_count_differs",
        "/keys/bulk/run",
        &[("scope", "filter"), ("filter", "q=ci-"), ("count", "1"), ("action", "block")],
    ),
    (
        "switch_invalid",
        "/switch",
        &[("agent", "task-agent"), ("context", "a b"), ("model", "gpt"), ("minutes", "soon")],
    ),
    (
        "switch_refused",
        "/switch",
        &[("agent", "task-agent"), ("context", "fresh"), ("model", "openai/nowhere")],
    ),
    (
        "switch_verified",
        "/switch",
        &[("agent", "task-agent"), ("context", "fresh"), ("model", "mistral/large"), ("probe", "1")],
    ),
    ("message_refused", "/contexts/task-agent/{context}/message", &[("message", "[HOTSWAP:MODEL:a/b]")]),
    ("describe_refused", "/contexts/task-agent/{context}/describe", &[("label", "{long}")]),
    ("bulk_chosen", "/bulk/new", &[("context", "task-agent/many-1"), ("context", "task-agent/kept-1")]),
    (
        "bulk_refused",
        "/bulk",
        &[("agent", "task-agent"), ("ids", ""), ("model", "openai/"), ("at_once", "1000")],
    ),
    ("compare_refused", "/compare", &[("agent", "task-agent"), ("message", ""), ("model", "openai/gpt-5")]),
    ("scope_checked", "/agents/task-agent/scope", &[]),
    ("token_refused", "/tokens", &[("label", ""), ("role", "root"), ("days", "4")]),
    ("token_made", "/tokens", &[("label", "nightly"), ("role", "viewer"), ("days", "30")]),
    ("reset_refused", "/danger/reset", &[("confirm", "http://elsewhere")]),
    ("not_found", "/nowhere", &[]),
];

/// What a viewer sees of pages that offer others more, and of those that are not for viewers.
const VIEWED: &[(&str, &str)] = &[
    ("models", "/models"),
    ("model", "/models/{model}"),
    ("key", "/keys/{key}"),
    ("switch", "/switch"),
    ("context", "/contexts/task-agent/{context}"),
    ("forbidden", "/models/new"),
];

#[test]
fn every_page_has_a_snapshot() {
    for route in table().iter().filter(|route| route.method == "GET") {
        let is_pinned = PAGES.iter().any(|(path, ..)| *path == route.path);
        assert!(
            is_pinned != LEFT_OUT.contains(&route.path),
            "{}: add it to PAGES in tests/it/snapshots.rs",
            route.path
        );
    }
    for (path, ..) in PAGES {
        assert!(table().iter().any(|route| route.path == *path), "{path} is no route any more");
    }
}

#[tokio::test]
async fn pages_with_an_empty_proxy() {
    let data = data::light().await;
    let mut pinned = Pinned::default();
    walk(&data, "light", &mut pinned).await;
    pinned.check();
}

#[tokio::test]
async fn pages_with_some_of_everything() {
    let data = data::rich().await;
    let mut pinned = Pinned::default();
    walk(&data, "rich", &mut pinned).await;
    let viewer = Caller::log_in(&data, "viewer").await;
    for (name, path) in VIEWED {
        let text = viewer.html(viewer.http.get(viewer.url(&data.filled(path)))).await;
        pinned.snapshot(&format!("rich_viewer_{name}"), &text);
    }
    let admin = Caller::log_in(&data, "admin").await;
    for (name, path, form) in FORMS {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, data.filled(value))).collect();
        let text = admin.html(admin.http.post(admin.url(&data.filled(path))).form(&form)).await;
        pinned.snapshot(&format!("rich_form_{name}"), &text);
    }
    pinned.check();
}

#[test]
fn the_help_of_every_command() {
    let mut pinned = Pinned::default();
    let top = help(&[]);
    for name in commands(&top) {
        let text = help(&[&name]);
        for below in commands(&text) {
            pinned.snapshot(&format!("help_{name}_{below}"), &help(&[&name, &below]));
        }
        pinned.snapshot(&format!("help_{name}"), &text);
    }
    pinned.snapshot("help", &top);
    assert!(pinned.count > 15, "{}", pinned.count);
    pinned.check();
}

fn help(command: &[&str]) -> String {
    let output = patchbay(&[command, &["--help"]].concat()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

/// Compares all before it fails, so that one run shows every difference.
#[derive(Default)]
struct Pinned {
    count: usize,
    differing: Vec<String>,
}

impl Pinned {
    fn snapshot(&mut self, name: &str, text: &str) {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path("snapshots/pinned");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        self.count += 1;
        if catch_unwind(AssertUnwindSafe(|| settings.bind(|| insta::assert_snapshot!(name, text)))).is_err() {
            self.differing.push(name.to_owned());
        }
    }

    fn check(self) {
        assert!(self.differing.is_empty(), "these differ: {}", self.differing.join(", "));
    }
}

impl Data {
    fn filled(&self, text: &str) -> String {
        [
            ("{model}", &self.model),
            ("{key}", &self.key),
            ("{context}", &self.context),
            ("{swap}", &self.swap),
            ("{long}", &"x".repeat(81)),
        ]
        .iter()
        .fold(text.to_owned(), |text, (parameter, value)| text.replace(parameter, value))
    }

    /// The address of a page of `PAGES`.
    fn address(&self, route: &str, query: &str) -> String {
        let id = match route {
            _ if route.starts_with("/models") => &self.model,
            _ if route.starts_with("/keys") => &self.key_job,
            _ if route.starts_with("/bulk") => &self.bulk,
            _ if route.starts_with("/compare") => &self.comparison,
            _ if route.starts_with("/calls") => &self.call,
            _ if route.starts_with("/swaps") => &self.swap,
            _ => "1",
        };
        // Of a context's page the query is the context.
        let (context, query) = if route.contains("{context}") && !query.is_empty() {
            (query, "")
        } else {
            (&*self.context, query)
        };
        let path = route
            .replace("{id}", id)
            .replace("{request_id}", id)
            .replace("{job}", &self.import)
            .replace("{hash}", &self.key)
            .replace("{agent}", "task-agent")
            .replace("{name}", "task-agent")
            .replace("{context}", context);
        self.filled(&format!("{path}{query}"))
    }
}

/// Someone with a session, who looks at each answer as it comes, without following it.
struct Caller {
    http: Client,
    base: String,
    /// What stands around the home page.
    shell: String,
}

impl Caller {
    async fn log_in(data: &Data, name: &str) -> Self {
        let browser: Browser = data.app.user_named(name).await;
        let mut caller =
            Self { http: browser.http.clone(), base: data.app.base.clone(), shell: String::new() };
        let home = browser.get("/").await;
        caller.shell = render::page(&home.body).shell;
        caller
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What a browser gets: of a page its main part, and what around it is unlike the home page.
    async fn html(&self, request: RequestBuilder) -> String {
        let answer = request.header(header::ACCEPT, "text/html").send().await.unwrap();
        let head = format!("{} {}", answer.status(), answer.url().path());
        let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
        let kind = kind.unwrap_or_default();
        let body = answer.text().await.unwrap();
        let shown = if !kind.starts_with("text/html") {
            render::without_varying(&body)
        } else if body.contains("<html") {
            let parts = render::page(&body);
            format!("{}\n{}", render::difference(&self.shell, &parts.shell), parts.main)
        } else {
            render::fragment(&body)
        };
        format!("{} {kind}\n\n{shown}", render::without_varying(&head))
    }
}

async fn walk(data: &Data, name: &str, pinned: &mut Pinned) {
    let admin = Caller::log_in(data, "admin").await;
    pinned.snapshot(&format!("{name}_shell"), &admin.shell);
    let script = client(redirect::Policy::none());
    // Twice, and only the second time counts: what the first look has fetched in the background is there by then.
    for is_counted in [false, true] {
        for (route, word, query) in PAGES {
            let address = data.address(route, query);
            let request = script.get(admin.url(&address)).basic_auth("admin", Some(PASSWORD));
            let answer = request.header(header::ACCEPT, "application/json").send().await.unwrap();
            let status = answer.status();
            let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
            let body = answer.text().await.unwrap();
            let html = admin.html(admin.http.get(admin.url(&address))).await;
            if !is_counted {
                continue;
            }
            let mut file = route.trim_matches('/').replace(['/', '.'], "_").replace(['{', '}'], "");
            if !word.is_empty() {
                file = format!("{file}_{word}");
            }
            let file = format!("{name}_{}", if *route == "/" { "home" } else { &file });
            pinned.snapshot(&file, &html);
            if kind.as_ref().is_some_and(|kind| kind == "application/json") {
                let value: Value = serde_json::from_str(&body).unwrap();
                // An address that takes forms only is not described.
                if status != StatusCode::METHOD_NOT_ALLOWED {
                    openapi::check("GET", route, status.as_u16(), &value);
                }
                pinned.snapshot(&format!("{file}_json"), &format!("{status}\n\n{}", render::json(&value)));
            }
        }
    }
}
