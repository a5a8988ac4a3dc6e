//! Agent cards of both generations.

use serde::Deserialize;
use serde_json::Value;

use crate::clients::http;
use crate::clients::lenient::{Lenient, Object, Objects, Text};
use crate::domain::agent::{AgentCard, Dialect, Scope};
use crate::domain::redact;

/// The extension by which Patchbay's own agent announces how it takes control messages.
const HOTSWAP_EXTENSION: &str = "urn:patchbay:hotswap:1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    name: Text,
    description: Text,
    version: Text,
    url: Text,
    protocol_version: Text,
    supported_interfaces: Objects<Interface>,
    capabilities: Object<Capabilities>,
    skills: Objects<Skill>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    url: Text,
    protocol_binding: Text,
    protocol_version: Text,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    streaming: Lenient<bool>,
    extensions: Objects<Extension>,
}

#[derive(Deserialize, Default)]
struct Extension {
    uri: Text,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct Skill {
    name: Text,
}

pub(super) fn parse(body: &[u8]) -> Option<AgentCard> {
    let mut card: Card = http::tree(body).ok()?;
    let capabilities = card.capabilities.0.take().unwrap_or_default();
    let hotswap = capabilities.extensions.0.iter().find(|e| e.uri.0.as_deref() == Some(HOTSWAP_EXTENSION));
    let param = |name: &str| hotswap.and_then(|extension| extension.params.get(name));
    let claimed = card.url.0.clone().or_else(|| card.supported_interfaces.0.first()?.url.0.clone());
    Some(AgentCard {
        dialect: dialect(&card),
        claimed_url: claimed.map(|url| redact::addresses(&url)),
        streaming: capabilities.streaming.0,
        multiline_prompt: param("multilinePrompt").and_then(Value::as_bool).unwrap_or(false),
        scope: param("scope").and_then(Value::as_str).and_then(|scope| scope.parse::<Scope>().ok()),
        calls: param("calls").and_then(Value::as_str).and_then(|calls| calls.parse().ok()),
        skills: card.skills.0.into_iter().filter_map(|skill| skill.name.0).take(50).collect(),
        name: card.name.0?,
        description: card.description.0.unwrap_or_default(),
        version: card.version.0.unwrap_or_default(),
    })
}

/// A JSON-RPC interface at 1.x is preferred, then one at 0.3; a card without interfaces is a 0.3 card.
fn dialect(card: &Card) -> Dialect {
    let json_rpc =
        |i: &&Interface| i.protocol_binding.0.as_deref().is_none_or(|b| b.eq_ignore_ascii_case("JSONRPC"));
    let speaks_1 = card
        .supported_interfaces
        .0
        .iter()
        .filter(json_rpc)
        .filter_map(|interface| interface.protocol_version.0.as_deref())
        .chain(card.protocol_version.0.as_deref())
        .any(|version| version == "1" || version.starts_with("1."));
    if speaks_1 { Dialect::V10 } else { Dialect::V03 }
}
