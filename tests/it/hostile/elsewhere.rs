//! Nothing but the addresses of the settings is ever asked, wherever answers point.

use reqwest::header;
use serde_json::json;

use super::everything::{Places, all, check};
use super::liar::{Liar, Lie};
use crate::support::{MASTER_KEY, PASSWORD, Setup, TestApp};

/// Answers of every kind in one, each with an address of the trap's.
fn pointing_to(trap: &str) -> Vec<Lie> {
    let interface = json!({ "url": trap, "protocolBinding": "JSONRPC", "protocolVersion": "1.0" });
    let part = json!({ "kind": "text", "text": format!("See {trap}/x and ![]({trap}/y.png)"), "url": trap,
                       "file": { "uri": trap } });
    let answer = json!({
        "name": "elsewhere", "url": trap, "preferredTransport": "JSONRPC", "protocolVersion": "0.3.0",
        "supportedInterfaces": [interface.clone()], "additionalInterfaces": [interface], "iconUrl": trap,
        "documentationUrl": trap, "provider": { "organization": "o", "url": trap }, "next": trap,
        "result": { "kind": "task", "id": "t", "status": { "state": "completed" }, "artifacts": [{ "parts": [part] }] },
        "data": [{ "model_name": "a/b", "model_info": { "id": "1", "api_base": trap },
                   "litellm_params": { "model": "x", "api_base": trap } }],
        "keys": [], "info": { "models": [trap], "metadata": { "url": trap } }, "choices": [{ "message": { "content": trap } }],
    });
    let redirect = |status: u16, to: &str| {
        Lie::Header(status, format!("location: {to}\r\nrefresh: 0; url={to}\r\nlink: <{to}>; rel=next"))
    };
    let mut lies =
        vec![Lie::Says(200, "application/json", answer.to_string().into_bytes()), redirect(200, trap)];
    lies.extend([301, 302, 303, 307, 308].map(|status| redirect(status, trap)));
    lies.extend([redirect(302, "/"), redirect(307, "//127.0.0.1:1/"), redirect(308, "file:///etc/passwd")]);
    lies
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_leads_elsewhere() {
    let (proxy, agent, trap) =
        (Liar::start(Lie::Close).await, Liar::start(Lie::Close).await, Liar::start(Lie::Close).await);
    let agent_url = format!("{}/a2a", agent.url());
    for lie in pointing_to(&trap.url()) {
        let told = format!("{lie:?}");
        proxy.tell(lie.clone());
        agent.tell(lie);
        let setup = Setup { proxy: Some(proxy.url()), agent: Some(agent_url.clone()), ..Setup::default() };
        let app = TestApp::with(setup).await;
        let browser = app.user().await;
        let places = Places { id: "1".to_owned(), hash: app.agent_key_hash.clone() };
        for met in all(&browser, &places).await {
            check(&met, &told, &[MASTER_KEY, PASSWORD]);
            let to = met.page.headers.get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
            assert!(to.is_none_or(|to| to.starts_with('/')), "{told}: {} leads elsewhere", met.what);
        }
    }
    assert!(proxy.asked() > 100 && agent.asked() > 20, "{} {}", proxy.asked(), agent.asked());
    assert_eq!(trap.asked(), 0, "something was asked that is in no setting");
}

/// A server that speaks no TLS where it should, and one whose certificate nobody vouches for.
#[tokio::test]
async fn tls_is_not_given_up() {
    let plain = Liar::start(Lie::Says(200, "application/json", b"{}".to_vec())).await;
    let url = plain.url().replace("http://", "https://");
    let setup = Setup { proxy: Some(url.clone()), agent: Some(format!("{url}/a2a")), ..Setup::default() };
    let app = TestApp::with(setup).await;
    let browser = app.user().await;
    for path in ["/models", "/keys"] {
        let page = browser.get(path).await;
        assert!(matches!(page.status.as_u16(), 502 | 504), "{}", page.text());
    }
    let page = browser.get("/agents/task-agent").await;
    assert!(page.has("[role=alert]"), "{}", page.text());
    assert_eq!(plain.asked(), 0, "nothing is said in the clear");
}
