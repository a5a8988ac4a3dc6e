//! Query strings of the pages that have filters. No page fails by itself.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use patchbay::app::{App, Timeouts};
use patchbay::clients::build_http;
use patchbay::config::{Access, Config, Login};
use patchbay::domain::agent::AgentSettings;
use patchbay_clock::Clock;
use patchbay_fuzz::{Echo, runtime};
use reqwest::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

const PAGES: [&str; 8] =
    ["/models", "/keys", "/audit", "/contexts", "/switch", "/keys/matrix", "/keys.csv", "/search"];

async fn dashboard(proxy: Url) -> Url {
    let config = Config {
        agent_key: None,
        bind: "127.0.0.1:0".parse().unwrap(),
        base_path: String::new(),
        database_url: "sqlite::memory:".to_owned(),
        login: Login { username: "ada".to_owned(), password: "correct horse".into(), is_default: false },
        proxy_url: proxy.clone(),
        master_key: "sk-master-1".into(),
        agents: vec![AgentSettings::new("task-agent".parse().unwrap(), proxy)],
        agents_file: None,
        setup: patchbay::domain::setup::Setup::default(),
        access: Access::default(),
    };
    let app = App::build(config, Clock::system(), Timeouts::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(app.serve(listener, CancellationToken::new()));
    url
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(Url, Client)> = OnceLock::new();
    let (base, http) = WORLD.get_or_init(|| {
        let proxy = Echo::new("application/json");
        proxy.say(br#"{"data":[],"keys":[],"total_count":0,"total_pages":0}"#);
        (runtime().block_on(dashboard(proxy.url)), build_http().unwrap())
    });
    let Some((page, query)) = input.split_first() else { return };
    // What a client can send at all: the rest is refused before it gets here.
    let query: String =
        String::from_utf8_lossy(query).chars().filter(|c| !c.is_control() && *c != '#').take(6_000).collect();
    let mut url = base.clone();
    url.set_path(PAGES[usize::from(*page) % PAGES.len()]);
    url.set_query(Some(&query));
    runtime().block_on(async {
        let request = http.get(url).basic_auth("ada", Some("correct horse"));
        let answer = request.header("accept", "text/html").timeout(Duration::from_secs(10)).send().await;
        let status = answer.unwrap().status().as_u16();
        assert!(status < 500, "{status}");
    });
});
