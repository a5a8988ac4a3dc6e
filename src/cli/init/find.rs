//! Looks for a proxy and agents on the ports where they usually listen.

use std::time::Duration;

use futures_util::future::join_all;
use patchbay::clients::a2a::Agent;
use patchbay::clients::litellm::{Database, LiteLlm, Timeouts};
use patchbay::domain::agent::AgentName;
use reqwest::Client;
use secrecy::SecretString;
use url::Url;

/// Of Patchbay's compose file, and of LiteLLM.
pub(super) const PROXY_PORTS: [u16; 2] = [10999, 4000];

/// Of Patchbay's agent, and of the examples and templates of A2A frameworks.
const AGENT_PORTS: [u16; 8] = [10900, 8000, 8001, 9000, 9999, 10000, 10001, 41241];

/// Where ADK serves the agent `litellm_agent`. Its card names neither this path nor the port.
const ADK_PATH: &str = "/a2a/litellm_agent";

/// The name that commands use where none is given.
const DEFAULT_NAME: &str = "task-agent";

/// Longest wait for a proxy, and for each of an agent's two cards.
const LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Proxy {
    pub(super) url: Url,
    pub(super) version: Option<String>,
}

fn at(host: &str, port: u16, path: &str) -> Option<Url> {
    format!("http://{host}:{port}{path}").parse().ok()
}

/// The first proxy that answers on `host`.
pub(super) async fn proxy(http: &Client, host: &str) -> Option<Proxy> {
    let urls = PROXY_PORTS.into_iter().filter_map(|port| at(host, port, ""));
    join_all(urls.map(|url| ask_proxy(http, url))).await.into_iter().flatten().next()
}

/// Asked without the master key: any program of this machine may listen there.
async fn ask_proxy(http: &Client, url: Url) -> Option<Proxy> {
    let timeouts = Timeouts { admin: LIMIT, chat: LIMIT };
    let proxy = LiteLlm::new(http.clone(), url.clone(), SecretString::default(), timeouts);
    let health = async {
        proxy.live().await?;
        proxy.health().await
    };
    let health = tokio::time::timeout(LIMIT, health).await.ok()?.ok()?;
    // Any server may answer these addresses with JSON.
    let is_proxy = health.version.is_some() || health.database == Database::Connected;
    is_proxy.then_some(Proxy { url, version: health.version })
}

/// The agents on `host`, as `name=url`.
pub(super) async fn agents(http: &Client, host: &str) -> Vec<String> {
    let found = join_all(AGENT_PORTS.map(|port| ask_agent(http, host, port))).await;
    let found: Vec<(String, Url)> = found.into_iter().flatten().collect();
    let mut named: Vec<(String, Url)> = Vec::new();
    for (card_name, url) in &found {
        let is_default = found.len() == 1 || url.port() == Some(AGENT_PORTS[0]);
        let mut name = if is_default { DEFAULT_NAME.to_owned() } else { agent_name(card_name) };
        if named.iter().any(|(known, _)| *known == name) {
            name = format!("{name}-{}", url.port().unwrap_or_default());
        }
        named.push((name, url.clone()));
    }
    // A comma ends an agent in the settings.
    named.retain(|(_, url)| !url.as_str().contains(','));
    named.into_iter().map(|(name, url)| format!("{name}={url}")).collect()
}

/// The name on the agent's card, and its address: this host with the path that the card names.
async fn ask_agent(http: &Client, host: &str, port: u16) -> Option<(String, Url)> {
    let mut url = at(host, port, "")?;
    if let Ok(card) = Agent::new(http.clone(), url.clone()).card_within(LIMIT).await {
        let claimed = card.claimed_url.and_then(|claimed| claimed.parse::<Url>().ok());
        let path = claimed.map(|claimed| claimed.path().to_owned()).unwrap_or_default();
        url.set_path(path.strip_suffix("/.well-known/agent-card.json").unwrap_or(&path));
        return Some((card.name, url));
    }
    url.set_path(ADK_PATH);
    let card = Agent::new(http.clone(), url.clone()).card_within(LIMIT).await.ok()?;
    Some((card.name, url))
}

/// A name for settings, made of the one on a card.
fn agent_name(card_name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = card_name.chars().map(plain).take(50).collect();
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    if name.parse::<AgentName>().is_ok() { name } else { "agent".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_names_for_settings() {
        for (card, expected) in
            [("Currency Agent", "currency-agent"), ("  Überagent (v2)", "beragent-v2"), ("??", "agent")]
        {
            assert_eq!(agent_name(card), expected);
        }
    }
}
