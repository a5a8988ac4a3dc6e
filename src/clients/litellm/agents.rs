//! Agents that the proxy's own A2A gateway serves, at `/a2a/{id}`. 1.80 and 1.109 have it, 1.74 does not.

use serde::Deserialize;

use super::{LiteLlm, is_not_found, none_if};
use crate::clients::Result;
use crate::clients::lenient::{Object, Objects, Text};
use crate::domain::agent::GatewayAgent;
use crate::domain::redact;

/// Most agents that are taken of the list, and most characters of each text.
const MAX_AGENTS: usize = 200;
const MAX_TEXT: usize = 300;

/// One entry of `GET /v1/agents`.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "agent_id")]
    id: Text,
    #[serde(rename = "agent_name")]
    name: Text,
    #[serde(rename = "agent_card_params")]
    card: Object<Card>,
}

#[derive(Deserialize, Default)]
struct Card {
    description: Text,
    url: Text,
}

impl Row {
    fn into_agent(self) -> Option<GatewayAgent> {
        let card = self.card.0.unwrap_or_default();
        let short = |text: String| redact::secrets(&text.chars().take(MAX_TEXT).collect::<String>());
        let id = self.id.0.filter(|id| (1..=128).contains(&id.len()))?;
        Some(GatewayAgent {
            name: self.name.0.filter(|name| !name.is_empty()).map_or_else(|| id.clone(), short),
            description: card.description.0.map(short).unwrap_or_default(),
            url: card.url.0.map(|url| redact::addresses(&short(url))),
            id,
        })
    }
}

impl LiteLlm {
    /// `GET /v1/agents`; none on releases without a gateway.
    pub async fn gateway_agents(&self) -> Result<Option<Vec<GatewayAgent>>> {
        let agents = self.get("v1/agents").expecting(is_not_found).json(|rows: Objects<Row>| {
            Ok(Some(rows.0.into_iter().filter_map(Row::into_agent).take(MAX_AGENTS).collect()))
        });
        none_if(is_not_found, agents.await)
    }
}
