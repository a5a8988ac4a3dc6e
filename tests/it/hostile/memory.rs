//! What a proxy and an agent can make the dashboard hold in memory: measured at the real process.

use std::sync::Arc;
use std::time::Duration;

use super::dashboard::{AGENT_KEY, Dashboard};
use super::everything::{Places, all, check, some};
use super::liar::{Liar, Lie};
use crate::support::{MASTER_KEY, PASSWORD};

/// Most that anything may cost, in MiB.
const MOST: usize = 100;

/// So many agents send at the same time: one more than may be read at once.
const AGENTS: usize = 5;

/// The longest of the limits, a probe's, and more for a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

fn heavy() -> Vec<(&'static str, Lie)> {
    const MIB: usize = 1024 * 1024;
    let says = |body: String| Lie::Says(200, "application/json", body.into_bytes());
    let fill = |row: &str| {
        let rows = vec![row; 30 * MIB / (row.len() + 1)].join(",");
        says(format!("{{\"data\":[{rows}]}}"))
    };
    let result = |inner: &str| {
        let rows = vec![inner; 15 * MIB / (inner.len() + 1)].join(",");
        says(format!("{{\"name\":[{rows}],\"result\":{{\"id\":\"t\",\"metadata\":[{rows}]}}}}"))
    };
    let long = "x".repeat(30 * MIB);
    let row = |field: &str| {
        format!(
            "{{\"data\":[{{\"model_name\":{field},\"litellm_params\":{{\"model\":{field}}},\"model_info\":{{\"id\":\"1\"}}}}]}}"
        )
    };
    let artifact = |id: &str, text: &str| {
        let part =
            format!("{{\"artifactId\":\"{id}\",\"parts\":[{{\"kind\":\"text\",\"text\":\"{text}\"}}]}}");
        let update =
            format!("{{\"kind\":\"artifact-update\",\"taskId\":\"t\",\"append\":true,\"artifact\":{part}}}");
        Lie::Events(Arc::from(format!("{{\"result\":{update}}}")))
    };
    vec![
        ("an endless body", Lie::Endless),
        ("1 GB announced", Lie::Announced(1 << 30)),
        ("1 GB in a header", Lie::EndlessHead),
        ("30 MB of nulls", fill("null")),
        ("30 MB of objects", fill("{}")),
        ("30 MB of lists", fill("[]")),
        ("30 MB of numbers", fill("0")),
        ("30 MB of texts", fill("\"\"")),
        ("one text of 30 MB", says(format!("{{\"data\":[{{\"model_name\":\"{long}\"}}]}}"))),
        ("a name of 10 MB", says(row(&format!("\"{}\"", "y".repeat(10 * MIB))))),
        (
            "an error of 30 MB",
            Lie::Says(
                400,
                "application/json",
                format!("{{\"error\":{{\"message\":\"{long}\"}}}}").into_bytes(),
            ),
        ),
        ("a result of numbers", result("0")),
        ("a result of objects", result("{\"a\":0}")),
        ("an answer without end", artifact("a", &"word ".repeat(1000))),
        ("a line of 10 MB", artifact("a", &"x".repeat(10 * MIB))),
        ("keys without end", Lie::Keys),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and measures memory: tests/nightly"]
async fn nothing_that_is_sent_costs_a_hundred_megabytes() {
    let (proxy, agent) = (Liar::start(Lie::Close).await, Liar::start(Lie::Close).await);
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("test.db").display());
    let agents: Vec<String> = (2..=AGENTS).map(|n| format!("agent-{n}={}/a2a", agent.url())).collect();
    let agents = format!("{}/a2a,{}", agent.url(), agents.join(","));
    let dashboard = Dashboard::start(&proxy.url(), &agents, &database, &[]).await.unwrap();
    let browser = dashboard.user().await;
    let other_agents: Vec<String> = (2..=AGENTS).map(|n| format!("/contexts/agent-{n}/c1/message")).collect();
    let places = Places { id: "some-id".to_owned(), hash: "ab".repeat(32) };
    for met in all(&browser, &places).await {
        check(&met, "closed", &[]);
    }
    let (before, _) = dashboard.memory();
    let mut most = 0;
    for (told, lie) in heavy() {
        proxy.tell(lie.clone());
        // Whole answers wait for each other, which streams do not.
        let is_whole = matches!(lie, Lie::Says(200, ..) | Lie::Endless);
        agent.tell(lie);
        dashboard.forget_peak();
        let others: &[String] = if is_whole { &other_agents } else { &[] };
        let (met, of_others) = tokio::join!(all(&browser, &places), some(&browser, &places, others));
        for met in met.iter().chain(&of_others) {
            met.took_less_than(PATIENCE, told);
            check(met, told, &[MASTER_KEY, PASSWORD, AGENT_KEY]);
        }
        let (now, peak) = dashboard.memory();
        most = most.max(peak - before);
        eprintln!("{told}: {now} MiB, at most {peak}, before all {before}");
    }
    assert!(most < MOST, "{most} MiB more");
    assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
}
