//! Every lie, told by the proxy and by the agent, at every page and every action.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;

use super::everything::{Places, all, check};
use super::liar::{Change, Liar, Lie};
use crate::support::{MASTER_KEY, PASSWORD, Setup, TestApp, agent_options, spawn};
use crate::swaps::Ahead;

/// The longest limits of the tests' dashboard, one after the other, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn gzip_bomb() -> Vec<u8> {
    // 64 KiB of zeros in a stored block each: what claims to be packed and is not asked for is not unpacked.
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    for _ in 0..64 {
        bytes.write_all(&[0, 0xff, 0xff, 0, 0]).unwrap();
        bytes.extend(vec![0; 0xffff]);
    }
    bytes
}

fn connection() -> Vec<(&'static str, Lie)> {
    vec![
        ("reset", Lie::Reset),
        ("closed", Lie::Close),
        ("slow head", Lie::SlowHead),
        ("slow body", Lie::SlowBody),
        ("endless body", Lie::Endless),
        ("1 GB announced", Lie::Announced(1 << 30)),
        ("endless head", Lie::EndlessHead),
        ("shorter than announced", Lie::Short),
        ("SSH", Lie::Raw(b"SSH-2.0-OpenSSH_9.6\r\n")),
        ("TLS", Lie::Raw(b"\x15\x03\x01\x00\x02\x02\x16")),
        ("HTTP/2", Lie::Raw(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d\0\x04@\0\0\0\0\x02\0\0\0\0")),
        ("bad length", Lie::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}")),
        ("two lengths", Lie::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}")),
        (
            "bad chunk",
            Lie::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        ),
        ("cookies", Lie::Header(200, "set-cookie: a=b; path=/\r\nset-cookie: patchbay_session=x".to_owned())),
        ("gzip", Lie::Header(200, "content-encoding: gzip".to_owned())),
        ("10,000 bytes of header", Lie::Header(200, format!("x-more: {}", "y".repeat(10_000)))),
    ]
}

fn says(kind: &'static str, body: impl Into<Vec<u8>>) -> Lie {
    Lie::Says(200, kind, body.into())
}

fn bodies() -> Vec<(&'static str, Lie)> {
    const JSON: &str = "application/json";
    let deep = |n: usize| format!("{{\"data\":{}", "[".repeat(n));
    let rows = |row: &str, n: usize| {
        let rows = vec![row; n].join(",");
        format!("{{\"data\":[{rows}],\"keys\":[{rows}],\"info\":{{\"models\":[{rows}]}},\"tasks\":[{rows}]}}")
    };
    vec![
        ("empty", says(JSON, "")),
        ("null", says(JSON, "null")),
        ("a number", says(JSON, "17")),
        ("a list", says(JSON, "[]")),
        ("an object", says(JSON, "{}")),
        ("HTML", says("text/html", "<html><title>Hi</title><script>alert(1)</script></html>")),
        ("another type", says("image/png", "{\"data\":[]}")),
        ("gzip bomb", says(JSON, gzip_bomb())),
        ("NaN", says(JSON, "NaN")),
        ("invalid UTF-8", says(JSON, b"{\"data\":[\"\xff\xfe\"],\"result\":\"\xc0\"}".to_vec())),
        (
            "half a surrogate",
            says(JSON, "{\"data\":[{\"model_name\":\"\\ud800\"}],\"result\":{\"id\":\"\\udfff\"}}"),
        ),
        ("deep", says(JSON, deep(200_000))),
        ("deep objects", says(JSON, "{\"result\":".repeat(100_000))),
        ("300,000 nulls", says(JSON, rows("null", 300_000))),
        ("300,000 objects", says(JSON, rows("{}", 300_000))),
        ("300,000 numbers", says(JSON, rows("0", 300_000))),
        (
            "a long text",
            says(JSON, format!("{{\"result\":{{\"id\":\"{0}\"}},\"name\":\"{0}\"}}", "x".repeat(2_000_000))),
        ),
        (
            "a list in another place",
            says(JSON, "{\"data\":{\"data\":[]},\"keys\":{},\"info\":[],\"result\":[]}"),
        ),
    ]
}

fn statuses() -> Vec<(&'static str, Lie)> {
    // Those below 200 are followed by an answer that does not come.
    [100, 101, 102, 103, 199]
        .into_iter()
        .chain(200..600)
        .map(|status| {
            ("a status", Lie::Says(status, "application/json", b"{\"error\":{\"message\":\"no\"}}".to_vec()))
        })
        .collect()
}

const CHANGES: [Change; 12] = [
    Change::Truncated,
    Change::Nulls,
    Change::WrongTypes,
    Change::Missing,
    Change::Extra,
    Change::Huge,
    Change::Negative,
    Change::Nan,
    Change::Twice,
    Change::BadUtf8,
    Change::Long,
    Change::Pages,
];

fn changes() -> Vec<(&'static str, Lie)> {
    CHANGES.into_iter().map(|change| ("changed", Lie::Changes(change))).collect()
}

fn streams() -> Vec<(&'static str, Lie)> {
    let event = |text: &str| Lie::Events(Arc::from(text));
    let artifact = |id: &str, text: &str| {
        format!(
            "{{\"result\":{{\"kind\":\"artifact-update\",\"taskId\":\"t\",\"append\":true,\"artifact\":{{\"artifactId\":\"{id}\",\"parts\":[{{\"kind\":\"text\",\"text\":\"{text}\"}}]}}}}}}"
        )
    };
    vec![
        ("events of blanks", event(" ")),
        (
            "events without news",
            event(
                "{\"result\":{\"kind\":\"status-update\",\"taskId\":\"t\",\"status\":{\"state\":\"working\"}}}",
            ),
        ),
        ("an answer without end", event(&artifact("a", "word "))),
        ("a line of 10 MB", event(&artifact("a", &"x".repeat(10_000_000)))),
        ("an event of 10 MB in lines", event(&"x\ndata: ".repeat(1_200_000))),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Proxy,
    Agent,
}

fn told(name: &str, lie: &Lie) -> String {
    match lie {
        Lie::Says(status, ..) => format!("{name} {status}"),
        Lie::Changes(change) => format!("{name} {change:?}"),
        _ => name.to_owned(),
    }
}

/// Panics of our own code, wherever they were caught.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|place| place.file().starts_with("src/")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
}

/// Tells every lie to two dashboards: one that has never seen the server well, and one that has copies of what
/// it said ten minutes ago.
async fn walk(who: Who, lies: Vec<(&'static str, Lie)>) {
    count_panics();
    for (name, lie) in lies {
        let told = told(name, &lie);
        tokio::join!(meet(who, &told, &lie, false), meet(who, &told, &lie, true));
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{told}: something panicked");
    }
}

async fn meet(who: Who, told: &str, lie: &Lie, was_well: bool) {
    let liar = Liar::start(Lie::None).await;
    let (proxy, agent) = match who {
        Who::Proxy => (Some(liar.url()), None),
        Who::Agent => (None, Some(format!("{}/a2a/litellm_agent", liar.url()))),
    };
    let ahead = Ahead::default();
    let app = TestApp::with(Setup { proxy, agent, clock: ahead.clock(), ..Setup::default() }).await;
    let genuine = patchbay_agent::router(agent_options(&app.sandbox, &app.agent_key)).unwrap();
    let (beside, _guard) = spawn(genuine).await;
    liar.lead_to(&if who == Who::Proxy { app.sandbox.clone() } else { format!("http://{beside}") });
    let browser = app.user().await;
    let places = Places { id: app.first_model().await, hash: app.agent_key_hash.clone() };
    if was_well {
        for path in ["/models", "/keys", "/agents", "/"] {
            assert_eq!(browser.get(path).await.status, 200);
        }
        ahead.by(600);
    }
    liar.tell(lie.clone());
    let secrets = [MASTER_KEY, PASSWORD, app.agent_key.expose_secret()];
    let asked = liar.asked();
    for met in all(&browser, &places).await {
        met.took_less_than(PATIENCE, told);
        check(&met, told, &secrets);
    }
    assert!(liar.asked() > asked, "{told}: the liar was not asked");
    assert_eq!(liar.cookies(), 0, "{told}: a cookie went back");
    // It comes back, and nothing has to be started again. What was asked before may fail after that.
    liar.tell(Lie::None);
    for path in ["/models", "/agents/task-agent"] {
        let begun = Instant::now();
        loop {
            ahead.by(600);
            let page = browser.get(path).await;
            if page.status == 200 && !page.text().contains("the last copy") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{told}: {path}: {}", page.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_proxy_whose_connections_lie() {
    Box::pin(walk(Who::Proxy, connection())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_proxy_whose_bodies_lie() {
    Box::pin(walk(Who::Proxy, bodies())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_proxy_whose_fields_lie() {
    Box::pin(walk(Who::Proxy, changes())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_proxy_of_all_statuses() {
    Box::pin(walk(Who::Proxy, statuses())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn an_agent_whose_connections_lie() {
    Box::pin(walk(Who::Agent, connection())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn an_agent_whose_bodies_lie() {
    Box::pin(walk(Who::Agent, bodies())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn an_agent_whose_fields_lie() {
    Box::pin(walk(Who::Agent, changes())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn an_agent_of_all_statuses() {
    Box::pin(walk(Who::Agent, statuses())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn an_agent_whose_streams_lie() {
    Box::pin(walk(Who::Agent, streams())).await;
}
