//! Agent cards of both generations.

use serde::Deserialize;
use serde_json::Value;

use crate::clients::http;
use crate::clients::lenient::{object, objects, scalar, text};
use crate::domain::agent::{AgentCard, Dialect, Scope};
use crate::domain::redact;

/// The extension by which Patchbay's own agent announces how it takes control messages.
const HOTSWAP_EXTENSION: &str = "urn:patchbay:hotswap:1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    version: Option<String>,
    #[serde(default, deserialize_with = "text")]
    url: Option<String>,
    #[serde(default, deserialize_with = "text")]
    protocol_version: Option<String>,
    #[serde(default, deserialize_with = "objects")]
    supported_interfaces: Vec<Interface>,
    #[serde(default, deserialize_with = "object")]
    capabilities: Option<Capabilities>,
    #[serde(default, deserialize_with = "objects")]
    skills: Vec<Skill>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    #[serde(default, deserialize_with = "text")]
    url: Option<String>,
    #[serde(default, deserialize_with = "text")]
    protocol_binding: Option<String>,
    #[serde(default, deserialize_with = "text")]
    protocol_version: Option<String>,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    #[serde(default, deserialize_with = "scalar")]
    streaming: Option<bool>,
    #[serde(default, deserialize_with = "objects")]
    extensions: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default, deserialize_with = "text")]
    uri: Option<String>,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct Skill {
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
}

pub(super) fn parse(body: &[u8]) -> Option<AgentCard> {
    let mut card: Card = http::tree(body).ok()?;
    let capabilities = card.capabilities.take().unwrap_or_default();
    let hotswap = capabilities.extensions.iter().find(|e| e.uri.as_deref() == Some(HOTSWAP_EXTENSION));
    let param = |name: &str| hotswap.and_then(|extension| extension.params.get(name));
    let claimed = card.url.clone().or_else(|| card.supported_interfaces.first()?.url.clone());
    Some(AgentCard {
        dialect: dialect(&card),
        claimed_url: claimed.map(|url| redact::secrets(&url)),
        streaming: capabilities.streaming.unwrap_or(false),
        multiline_prompt: param("multilinePrompt").and_then(Value::as_bool).unwrap_or(false),
        scope: param("scope").and_then(Value::as_str).and_then(|scope| scope.parse::<Scope>().ok()),
        skills: card.skills.into_iter().filter_map(|skill| skill.name).take(50).collect(),
        name: card.name?,
        description: card.description.unwrap_or_default(),
        version: card.version.unwrap_or_default(),
    })
}

/// A JSON-RPC interface at 1.x is preferred, then one at 0.3; a card without interfaces is a 0.3 card.
fn dialect(card: &Card) -> Dialect {
    let json_rpc =
        |i: &&Interface| i.protocol_binding.as_deref().is_none_or(|b| b.eq_ignore_ascii_case("JSONRPC"));
    let speaks_1 = card
        .supported_interfaces
        .iter()
        .filter(json_rpc)
        .filter_map(|interface| interface.protocol_version.as_deref())
        .chain(card.protocol_version.as_deref())
        .any(|version| version == "1" || version.starts_with("1."));
    if speaks_1 { Dialect::V10 } else { Dialect::V03 }
}
