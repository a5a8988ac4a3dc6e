//! The audit: filters, one entry, the spreadsheet, who sees what, and what the database refuses.

use axum::http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use patchbay::domain::audit::{Action, Actor, Filter, NewEntry};
use patchbay::store::Store;
use patchbay_clock::Clock;
use serde_json::json;
use sqlx::Connection as _;

use crate::database;
use crate::support::{PASSWORD, Page, Setup, TestApp, USER};
use crate::web::login::Bare;
use crate::web::roles::team;

#[tokio::test]
async fn entries_are_found_by_who_what_object_outcome_and_time() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let operator = app.user_named("operator").await;
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
    assert_eq!(operator.post("/switch", &form).await.outcome(), "verified");
    let script = app.script();
    let relax = format!("/keys/{}/relax", app.agent_key_hash);
    assert!(
        script.post(&relax, &[]).await.0.is_redirection() || script.post(&relax, &[]).await.0.is_success()
    );
    let found = async |query: &str| {
        let (status, found) = script.get(&format!("/audit?{query}")).await;
        assert_eq!(status, StatusCode::OK);
        let entries = found["entries"].as_array().unwrap().clone();
        entries.into_iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("who=operator").await, ["swap", "login"]);
    assert_eq!(found("what=swap").await, ["swap"]);
    assert!(found("what=key").await.iter().all(|action| action == "key.relax"));
    assert_eq!(found("object=agent%2Fc1").await, ["swap"]);
    assert_eq!(found("object=%25").await, [""; 0]);
    assert_eq!(found("outcome=verified").await, ["swap"]);
    assert_eq!(found("who=operator&what=login&from=2020-01-01&to=2999-01-01").await, ["login"]);
    assert_eq!(found("to=2020-01-01").await, [""; 0]);
    assert_eq!(found("from=2999-01-01").await, [""; 0]);
    assert_eq!(found("who='%20or%201=1%20--").await, [""; 0]);
    let page = operator.get("/audit?from=yesterday").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.one("[role=alert]").contains("yesterday"), "{}", page.text());

    // From the list to the entry, and to others like it.
    let page = operator.get("/audit?what=swap").await;
    let href = page.attributes("#audit tbody th a", "href").remove(0);
    let page = operator.get(&href).await;
    assert_eq!(page.one("h1"), "swap by operator");
    assert!(page.text().contains("task-agent/c1") && page.text().contains("127.0.0.1"), "{}", page.text());
    assert_eq!(page.attributes(".facts dd a", "href")[1], "/audit?what=swap");
    for missing in ["/audit/0", "/audit/x", "/audit/99999999999999999999"] {
        assert_eq!(operator.get(missing).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
}

#[tokio::test]
async fn the_list_says_how_many_there_are_and_where_in_them_a_page_is() {
    let (_dir, url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(url.clone()), ..Setup::default() }).await;
    let store = Store::open(&url, Clock::system()).await.unwrap();
    let fill = async |who: &str, count: u32| {
        for n in 0..count {
            let entry = NewEntry::new(&Actor::local(who), Action::Ask, format!("a/{n}"), "ok");
            store.audit(&entry).await.unwrap();
        }
    };
    fill("many", 130).await;
    let browser = app.user().await;
    let place = async |path: &str| {
        let page = browser.get(path).await;
        (page.one("nav.pager span"), page.attributes("nav.pager a[rel=next]", "href").pop())
    };
    let (first, older) = place("/audit?who=many").await;
    assert_eq!(first, "1–50 of 130");
    let (second, older) = place(&older.unwrap()).await;
    assert_eq!(second, "51–100 of 130");
    // Whatever comes meanwhile.
    fill("many", 2).await;
    assert_eq!(place(&older.unwrap()).await, ("103–132 of 132".to_owned(), None));
    assert!(!browser.get("/audit?who=nobody").await.has("nav.pager"));
    assert_eq!(app.script().get("/audit?who=many").await.1["total"], 132);

    // A million are not counted each time.
    let statement = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10500) \
                     insert into audit (at, actor, action, object, outcome) select 0, 'crowd', 'ask', 'a/b', 'ok' from n";
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut database).await.unwrap();
    let (crowd, older) = place("/audit?who=crowd&size=200").await;
    assert_eq!(crowd, "1–200 of more than 10,000");
    let (crowd, _) = place(&older.unwrap()).await;
    assert_eq!(crowd, "201–400 of more than 10,000");
    let (last, _) = place("/audit?who=many").await;
    assert_eq!(last, "1–50 of 132");
}

#[tokio::test]
async fn logins_of_others_are_for_admins() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let (viewer, operator) = (app.user_named("viewer").await, app.user_named("operator").await);
    assert_eq!(viewer.get("/models/new").await.status, StatusCode::FORBIDDEN);
    let seen = |page: &crate::support::Page| {
        let who = page.all("#audit td[data-label=Who]");
        who.into_iter().zip(page.all("#audit tbody th")).map(|(who, what)| format!("{what} {who}")).collect()
    };
    let by_viewer: Vec<String> = seen(&viewer.get("/audit?logins=1").await);
    assert_eq!(by_viewer, ["was refused viewer 127.0.0.1", "logged in viewer 127.0.0.1"]);
    let by_operator: Vec<String> = seen(&operator.get("/audit?logins=1").await);
    assert_eq!(by_operator, ["logged in operator 127.0.0.1"]);
    let admin = app.user().await;
    let page = admin.get("/audit?logins=1").await;
    assert_eq!(seen(&page).len(), 4);
    for href in page.attributes("#audit tbody th a", "href") {
        let is_own = admin.get(&href).await.one("h1").ends_with("by viewer");
        let status = viewer.get(&href).await.status;
        assert_eq!(status == StatusCode::OK, is_own, "{href}");
    }
    let csv = viewer.get("/audit.csv").await;
    assert!(csv.body.contains("viewer") && !csv.body.contains("operator"), "{}", csv.body);
}

#[tokio::test]
async fn the_spreadsheet_has_all_that_the_filter_finds() {
    let (_dir, url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(url.clone()), ..Setup::default() }).await;
    let store = Store::open(&url, Clock::system()).await.unwrap();
    for number in 0..2345 {
        let mut entry =
            NewEntry::new(&Actor::local("=cmd()"), Action::Drift, format!("a/c{number}"), "found");
        entry.detail = Some("one, \"two\"".to_owned());
        store.audit(&entry).await.unwrap();
    }
    let page = app.user().await.get("/audit.csv?what=drift").await;
    assert_eq!(page.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let lines: Vec<_> = page.body.split("\r\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2346);
    assert!(lines[0].starts_with("id,at,actor,"));
    assert!(lines[1].contains(",a/c2344,") && lines[2345].contains(",a/c0,"), "{} {}", lines[1], lines[2345]);
    assert!(lines[1].contains(",'=cmd(),") && lines[1].contains("\"one, \"\"two\"\"\""), "{}", lines[1]);
}

#[tokio::test]
async fn entries_are_not_changed_and_go_only_when_their_time_has_come() {
    let (_dir, url) = database::lasting().await;
    let store = Store::open(&url, Clock::system()).await.unwrap();
    let old = Clock::from_fn(|| Timestamp::from_second(1_600_000_000).unwrap());
    let before = Store::open(&url, old).await.unwrap();
    let entry = |object: &str| NewEntry::new(&Actor::local("ada"), Action::Swap, object, "ok");
    before.audit(&entry("old")).await.unwrap();
    store.audit(&entry("new")).await.unwrap();
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    for statement in [
        "delete from audit",
        "delete from audit where object = 'old'",
        "update audit set actor = 'eve'",
        "update audit set count = 2",
        "update audit set count = 2, actor = 'eve'",
    ] {
        let error = sqlx::query(statement).execute(&mut database).await.unwrap_err().to_string();
        assert!(error.contains("audit entries are"), "{error}");
    }
    let now = Clock::system().now();
    assert_eq!(store.end_audit_before(now - SignedDuration::from_hours(24 * 400)).await.unwrap(), 1);
    let left = store.audit_entries(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.object.as_str()).collect::<Vec<_>>(), ["new"]);
    let error = sqlx::query("delete from audit").execute(&mut database).await.unwrap_err().to_string();
    assert!(error.contains("not deleted before their time"), "{error}");
}

#[tokio::test]
async fn end_of_a_change_and_its_rows_are_written_together() {
    let (_dir, url) = database::file();
    let mut app = TestApp::with(Setup { database_url: Some(url.clone()), ..Setup::default() }).await;
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    let full = "create trigger full before insert on audit begin select raise(abort, 'full'); end";
    sqlx::query(full).execute(&mut database).await.unwrap();
    let (status, _) = app.script().post("/agents/task-agent/scope", &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let count = "select (select count(*) from agents), (select count(*) from writes)";
    let counts: (i64, i64) = sqlx::query_as(count).fetch_one(&mut database).await.unwrap();
    assert_eq!(counts, (0, 1), "no scope without its entry, and the intent stays");

    sqlx::query("drop trigger full").execute(&mut database).await.unwrap();
    app.restart(|_| ()).await;
    let (status, _) = app.script().post("/agents/task-agent/scope", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let (_, audit) = app.script().get("/audit?what=agent.scope").await;
    let outcomes: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(outcomes, ["ok", "unknown"]);
    let counts: (i64, i64) = sqlx::query_as(count).fetch_one(&mut database).await.unwrap();
    assert_eq!(counts, (1, 0));
}

#[tokio::test]
async fn logins_and_logouts_are_written_down_with_who_and_from_where() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    Bare::send(bare.request(Method::POST, "/logout").header(header::COOKIE, &cookie)).await;
    let wrong = [("username", USER), ("password", "not it")];
    Bare::send(bare.request(Method::POST, "/login").form(&wrong)).await;
    Bare::send(bare.request(Method::GET, "/models").basic_auth(USER, Some("not it"))).await;
    let odd = [("username", PASSWORD), ("password", USER)];
    Bare::send(bare.request(Method::POST, "/login").form(&odd)).await;
    let (_, audit) = app.script().get("/audit").await;
    let told: Vec<_> = audit["entries"].as_array().unwrap().iter().rev().collect();
    let told: Vec<_> = told
        .into_iter()
        .map(|entry| {
            assert_eq!(entry["address"], "127.0.0.1");
            assert!(entry["request_id"].as_str().is_some_and(|id| id.len() == 36), "{entry}");
            let text = ["actor", "action", "object", "outcome"].map(|name| entry[name].as_str().unwrap());
            format!("{} {}", text.join(" "), entry["count"])
        })
        .collect();
    assert_eq!(
        told,
        [
            format!("{USER} login {USER} ok 1"),
            format!("{USER} logout {USER} ok 1"),
            format!("- login {USER} refused 2"),
            "- login - refused 1".to_owned(),
        ]
    );
}

/// What a job does to many is one row, and a key is found by the alias that the table shows.
#[tokio::test]
async fn items_of_a_job_are_one_row_and_keys_are_found_by_alias() {
    let app = TestApp::start().await;
    for n in 0..3 {
        app.admin("/key/generate", &json!({ "key_alias": format!("mobile-{n}") })).await;
    }
    let script = app.script();
    let (_, found) = script.get("/keys?q=mobile").await;
    let keys: Vec<&str> =
        found["keys"].as_array().unwrap().iter().map(|key| key["hash"].as_str().unwrap()).collect();
    let mut form = vec![("scope", "selected"), ("count", "3"), ("action", "block")];
    form.extend(keys.iter().map(|hash| ("key", *hash)));
    let browser = app.user().await;
    let job = browser.post("/keys/bulk/run", &form).await.url.path().to_owned();
    while browser.get(&job).await.attributes("#progress", "data-running") == ["true"] {
        tokio::task::yield_now().await;
    }
    let rows = |page: &Page| page.all("#audit tbody tr").len();
    let folded = browser.get("/audit?what=key.block").await;
    assert_eq!(rows(&folded), 1, "{}", folded.text());
    assert!(folded.text().contains("and 2 more"), "{}", folded.text());
    assert_eq!(rows(&browser.get("/audit?what=key.block&unfold=1").await), 3);
    let one = browser.get("/audit?object=MOBILE-1").await;
    assert_eq!(rows(&one), 1, "{}", one.text());
    assert!(one.text().contains("mobile-1") && !one.text().contains("mobile-2"), "{}", one.text());
    let ended = browser.get("/audit?what=key.bulk").await;
    assert!(ended.has(&format!("#audit a[href='{job}']")), "{}", ended.body);
}
