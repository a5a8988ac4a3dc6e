//! Clients that send too much, too slowly, too often, or what is no request at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::multipart::{Form, Part};
use reqwest::{StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use patchbay::app::{Limits, serve_within};
use tokio_util::sync::CancellationToken;

use super::dashboard::Dashboard;
use super::liar::{Liar, Lie};
use crate::support::{PASSWORD, Setup, TestApp, USER};

/// Sends bytes and takes what comes until the end, at most for `patience`.
async fn raw(base: &str, bytes: &[u8], patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    // A server that refuses need not take the rest.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await;
    read.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_is_too_large_or_no_request_is_refused_at_once() {
    let app = TestApp::start().await;
    let many = "x-many: y\r\n".repeat(200);
    let head = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n")
    };
    let long = "a".repeat(200_000);
    for (what, bytes, expected) in [
        ("a long address", head(&format!("GET /{long}"), ""), vec![414, 431]),
        ("a long header", head("GET /login", &format!("cookie: {long}\r\n")), vec![431]),
        ("many headers", head("GET /login", &many), vec![431]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(), vec![0, 400, 505]),
        ("two lengths", head("POST /login", "content-length: 5\r\ncontent-length: 6\r\n"), vec![400]),
        ("a bad length", head("POST /login", "content-length: -1\r\n"), vec![400]),
        ("a folded header", head("GET /login", "x: y\r\n z\r\n"), vec![400]),
        ("a blank in a name", head("GET /login", "content-length : 5\r\n"), vec![400]),
        ("a NUL", head("GET /login", "x: \0\r\n"), vec![400]),
        ("two hosts", head("GET /login", "host: other\r\n"), vec![400]),
        ("no host", "GET /login HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), vec![400]),
        ("no host, of old", "GET /login HTTP/1.0\r\n\r\n".to_owned(), vec![200]),
        ("no HTTP", "hello\r\n\r\n".to_owned(), vec![400]),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(), vec![400]),
    ] {
        let answer = raw(&app.base, bytes.as_bytes(), Duration::from_secs(10))
            .await
            .unwrap_or_else(|| panic!("{what}"));
        assert!(expected.contains(&status(&answer)), "{what}: {answer}");
    }
    // Whoever is not logged in cannot have more than a form's size read, whatever it announces.
    let bomb = head(
        "POST /login",
        "content-type: application/x-www-form-urlencoded\r\ncontent-length: 4000000000\r\n",
    );
    let answer = raw(&app.base, bomb.as_bytes(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(status(&answer), 413, "{answer}");
}

/// Chunks count where there is a length as well (RFC 9112, 6.3), and what follows never passes for a request.
#[tokio::test]
async fn a_request_of_two_lengths_has_no_second_one_in_it() {
    let database = crate::database::file();
    let nowhere = "http://127.0.0.1:9";
    let dashboard = Dashboard::start(nowhere, nowhere, &database.1, &[]).await.unwrap();
    let both = "POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(&dashboard.base, both.as_bytes(), Duration::from_secs(10)).await.unwrap();
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (415, 1), "{answer}");
}

#[tokio::test]
async fn forms_of_many_fields_and_parts_are_refused_or_cut() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let many = "a=b&".repeat(100_000);
    let twice = format!(
        "agent=task-agent&agent=other&context=c1&context=c2&model=openai/gpt-5&{}",
        "prompt=x&".repeat(1000)
    );
    let key = format!("/keys/{}", app.agent_key_hash);
    for path in [
        "/login",
        "/switch",
        "/keys",
        "/keys/bulk",
        "/models",
        "/models/import",
        &key,
        "/contexts/task-agent/c1/describe",
    ] {
        for body in
            [&many, &twice, &"x".repeat(600_000), &"%00%ff=%fe&".repeat(1000), &"[a][b]=c&".repeat(1000)]
        {
            let request = browser.http.post(browser.url(path)).body(body.clone());
            let page =
                browser.send(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")).await;
            assert_ne!(page.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {}", page.text());
        }
    }
    for form in [
        (0..5_000).fold(Form::new(), |form, n| form.text(format!("f{n}"), "v")),
        (0..500)
            .fold(Form::new(), |form, _| form.part("file", Part::text("model_list: []").file_name("x.yaml"))),
        Form::new().part("file", Part::bytes(vec![b'a'; 9_000_000]).file_name("../../etc/passwd")),
        // Ten references to ten references to …: a gigabyte, if it were written out.
        Form::new().text("yaml", billion_laughs()),
        Form::new().text("yaml", "[".repeat(200_000)),
        Form::new().text("yaml", format!("model_list:\n{}", "- model_name: a\n".repeat(100_000))),
    ] {
        let request = browser.http.post(browser.url("/models/import")).multipart(form);
        let page = browser.send(request).await;
        assert!(page.status.is_client_error(), "{}: {}", page.status, page.text());
    }
}

fn billion_laughs() -> String {
    let mut yaml = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        let name = format!("a{n}");
        yaml += &[&name, ": &", &name, " [", &before, "]\n"].concat();
    }
    yaml + "model_list: *a11\n"
}

/// A server that answers with the size of what is posted.
async fn counting_server(limits: Limits) -> (SocketAddr, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .route("/", axum::routing::post(|body: axum::body::Bytes| async move { body.len().to_string() }));
    let stop = CancellationToken::new();
    tokio::spawn(serve_within(listener, router, stop.clone(), limits));
    (address, stop)
}

/// Clients that never finish what they begin, against a server with short limits.
#[tokio::test]
async fn whoever_is_slow_is_cut_off() {
    let limits =
        Limits { head: Duration::from_millis(400), body: Duration::from_millis(800), connections: 8 };
    let (address, stop) = counting_server(limits).await;
    let patience = Duration::from_secs(20);
    for begun in
        ["", "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc"]
    {
        assert!(
            raw(&address.to_string(), begun.as_bytes(), patience).await.is_some(),
            "{begun:?} is not cut off"
        );
    }
    // One byte at a time is no better.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"x").await.is_ok() && begun.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < patience, "a body of single bytes goes on");
    // More than there is room for: who waits is served once the others are cut off.
    let idle: Vec<TcpStream> = {
        let mut idle = Vec::new();
        for _ in 0..8 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        idle
    };
    let request = b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    let answer = raw(&address.to_string(), request, patience).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n3"), "{answer}");
    drop(idle);
    stop.cancel();
}

/// All that there is room for, from one address, again and again, long before any of them is too slow.
#[tokio::test]
async fn connections_without_a_whole_request_give_way_where_the_server_is_full() {
    let minute = Duration::from_mins(1);
    let (address, stop) = counting_server(Limits { head: minute, body: minute, connections: 8 }).await;
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\n";
    let whole = format!("{head}abc");
    for begun in ["", "POST / HTTP/1.1\r\n", head, whole.as_str()] {
        let mut open = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            open.push(stream);
        }
        let request =
            b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
        let answer = raw(&address.to_string(), request, Duration::from_secs(5)).await;
        assert!(answer.is_some_and(|answer| answer.ends_with("\r\n\r\n3")), "behind {begun:?}");
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures memory: tests/nightly"]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    const IDLE: usize = 10_000;
    // Whatever the shell allows: the dashboard does the same for itself.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: most.maximum, maximum: most.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    if most.maximum.is_some_and(|most| most < IDLE as u64 + 1_000) {
        eprintln!("skipped: only {:?} files may be open here", most.maximum);
        return;
    }
    let liar = Liar::start(Lie::Close).await;
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("test.db").display());
    let mut dashboard = Dashboard::start(&liar.url(), &liar.url(), &database, &[]).await.unwrap();
    let script = dashboard.script();
    assert_eq!(script.get("/audit").await.0, 200);
    let (before, _) = dashboard.memory();
    let address = dashboard.base.trim_start_matches("http://").to_owned();
    let mut idle = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /login HTTP/1.1\r\nhost: localhost\r\nx: ").await.unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(script.get("/audit").await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    let (now, _) = dashboard.memory();
    eprintln!("{IDLE} connections: {before} MiB, then {now} MiB");
    assert!(now - before < 400, "{IDLE} connections cost {} MiB", now - before);
    // And they do not keep it from stopping.
    let status = dashboard.stop(Duration::from_secs(30)).await;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_at_once_are_answered() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let asked = futures_util::future::join_all((0..200).map(|n| {
        let browser = &browser;
        async move { browser.get(["/models", "/keys", "/audit", "/contexts"][n % 4]).await.status }
    }));
    let statuses = asked.await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

/// Closed before the answer: what was begun is done, and stands in the audit.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_sender_goes_away_is_carried_to_its_end() {
    let liar = Liar::start(Lie::None).await;
    let app = TestApp::with(Setup { proxy: Some(liar.url()), ..Setup::default() }).await;
    liar.lead_to(&app.sandbox);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for n in 0..10 {
        let form = format!("alias=gone-{n}&access=all");
        let request = format!(
            "POST /keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {login}\r\naccept: application/json\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // As soon as the proxy is asked for this one, nobody waits for the answer any more.
        let alias = format!("gone-{n}");
        while !liar.was_asked(&alias) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
    }
    let script = app.script();
    let begun = Instant::now();
    loop {
        let (_, audit) = script.get("/audit").await;
        let entries = audit["entries"].as_array().unwrap();
        let made = entries.iter().filter(|entry| entry["action"] == "key.create").count();
        if made == 10 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{made} of 10 are in the audit: {audit}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ids are in the audit: a sender's would be a forgery there.
#[tokio::test]
async fn an_id_is_never_the_senders() {
    let app = TestApp::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let long = "x".repeat(50_000);
    let other = "3f2c1b7e-0a55-4d0e-9d0c-1f7a3f0b9f11";
    for id in [other, &*long, "<b>", ""] {
        let login = http.post(format!("{}/login", app.base)).header("x-request-id", id);
        let login = login.form(&[("username", USER), ("password", "not it")]);
        let answer = login.header("x-request-id", "second").send().await.unwrap();
        let told = answer.headers()["x-request-id"].to_str().unwrap();
        assert!(told != id && told.len() == 36, "{told:.50}");
        assert_eq!(answer.headers().get_all("x-request-id").iter().count(), 1);
        let page = answer.text().await.unwrap();
        assert!(id.is_empty() || id == "<b>" || !page.contains(id), "{id:.20}");
    }
    let (_, audit) = app.script().get("/audit").await;
    let ids: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["request_id"].as_str())
        .collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| id.len() == 36 && *id != other), "{ids:?}");
}

/// Each password that is checked takes 19 MB, also where whoever sent it is gone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures memory: tests/nightly"]
async fn passwords_of_clients_that_went_away_take_no_more_room_than_others() {
    let (_dir, database) = crate::database::file();
    let dashboard =
        Dashboard::start("http://127.0.0.1:9", "http://127.0.0.1:9/a2a", &database, &[]).await.unwrap();
    // What is made once is made.
    assert_eq!(dashboard.script().get("/audit").await.0, 200);
    let (before, _) = dashboard.memory();
    dashboard.forget_peak();
    let address = dashboard.base.trim_start_matches("http://").to_owned();
    for n in 0..19 {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("name-{n}:password"));
        let request =
            format!("GET /models HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {login}\r\n\r\n");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // The check begins.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whoever comes now stands behind those that are still looked at.
    drop(dashboard.user().await);
    let (_, peak) = dashboard.memory();
    eprintln!("{before} MiB before, at most {peak}");
    assert!(peak - before < 75, "{} MiB more", peak - before);
}

/// The database holds prompts and answers, and other users of the machine are none of the dashboard's.
#[tokio::test]
async fn the_database_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, database) = crate::database::file();
    let dashboard =
        Dashboard::start("http://127.0.0.1:9", "http://127.0.0.1:9/a2a", &database, &[]).await.unwrap();
    drop(dashboard.user().await);
    let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap());
    let modes: Vec<_> =
        files.map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777)).collect();
    assert!(modes.len() > 1 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}
