//! Minutes of work by many while proxy and agent come and go: memory stays flat, nothing fails that is not
//! theirs, no audit entry is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash::{below, check, servers};
use super::dashboard::Dashboard;
use super::liar::{Liar, Lie};
use crate::support::{Browser, Script};

const CLIENTS: usize = 32;

/// Looks at pages, swaps and makes keys until told to stop; counts what was answered how.
async fn client(
    (browser, script): (Browser, Script),
    n: usize,
    keys: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    let pages = ["/", "/models", "/keys", "/switch", "/contexts", "/agents", "/agents/task-agent", "/audit"];
    let context = format!("soak-{n}");
    let mut round = n;
    while !stop.is_cancelled() {
        round += 1;
        let status = match round % 12 {
            0 => {
                let model = ["openai/gpt-5", "openai/gpt-5-mini"][round % 2];
                let message = if round.is_multiple_of(24) { "Who are you?" } else { "" };
                let form =
                    [("agent", "task-agent"), ("context", &*context), ("model", model), ("message", message)];
                script.post("/switch", &form).await.0
            }
            1 => {
                keys.fetch_add(1, Ordering::SeqCst);
                let alias = format!("soak-{n}-{round}");
                script.post("/keys", &[("alias", &*alias), ("access", "all")]).await.0
            }
            other => browser.get(pages[other % pages.len()]).await.status,
        };
        *answers.entry(status.as_u16()).or_default() += 1;
    }
    answers
}

/// Lets `server` misbehave every now and then.
async fn flap(server: Arc<Liar>, stop: CancellationToken) {
    let lies = [
        Lie::Close,
        Lie::Reset,
        Lie::Says(500, "text/plain", b"Internal Server Error".to_vec()),
        Lie::Says(200, "text/html", b"<html><title>nginx</title>".to_vec()),
        Lie::Short,
    ];
    loop {
        for lie in &lies {
            for (told, most) in [(Lie::None, 3000), (lie.clone(), 800)] {
                server.tell(told);
                let pause = tokio::time::sleep(Duration::from_millis(200 + below(most)));
                if stop.run_until_cancelled(pause).await.is_none() {
                    server.tell(Lie::None);
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and measures memory: tests/nightly"]
async fn many_who_work_while_servers_come_and_go() {
    let seconds: u64 = std::env::var("SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let servers = servers().await;
    let (proxy, agent) = (Arc::new(Liar::start(Lie::None).await), Arc::new(Liar::start(Lie::None).await));
    proxy.lead_to(&servers.proxy);
    let (address, path) = servers.agent.split_once("/a2a").unwrap();
    agent.lead_to(address);
    let (_dir, database) = crate::database::file();
    let own = format!("{}/a2a{path}", agent.url());
    let dashboard = Dashboard::start(&proxy.url(), &own, &database, &[]).await.unwrap();

    let (stop, keys) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        // One after the other: of many logins at once some have to wait.
        let user = (dashboard.user().await, dashboard.script());
        clients.spawn(client(user, n, Arc::clone(&keys), stop.clone()));
    }
    let flaps = [proxy, agent].map(|server| tokio::spawn(flap(server, stop.clone())));
    let (begun, mut memory) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        memory.push(dashboard.memory().0);
    }
    stop.cancel();
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for counted in clients.join_all().await {
        for (status, count) in counted {
            *answers.entry(status).or_default() += count;
        }
    }
    for flap in flaps {
        flap.await.unwrap();
    }
    // The first part is for warming up: pools, copies, the allocator.
    let median = |part: &[usize]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let third = memory.len() / 3;
    let (middle, last) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
    eprintln!("{seconds} s: answers by status {answers:?}; memory {middle} MiB, then {last} MiB");
    let own: Vec<_> =
        answers.iter().filter(|(status, _)| matches!(status, 500 | 501 | 503 | 505..)).collect();
    assert!(own.is_empty(), "failures of our own: {own:?}\n{}", dashboard.log());
    assert!(last * 10 <= middle * 11 + 20, "memory grows: {memory:?}");
    assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
    let (swaps, unknown) = check(&database).await;
    assert!(swaps > 0 && unknown == 0, "{swaps} swaps, {unknown} of them unknown");
    let made = super::crash::audited(&database).await.len();
    assert_eq!(made, keys.load(Ordering::SeqCst), "each key that was asked for is in the audit");
}
