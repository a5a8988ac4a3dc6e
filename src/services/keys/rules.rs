//! What decides beside a key whether it may call a model: teams and access groups.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{Keys, KeysView};
use crate::clients::ClientError;
use crate::clients::litellm::LiteLlm;
use crate::domain::key::VirtualKey;
use crate::domain::permission::Rules;
use crate::services::snapshot::{Snapshot, Source};

pub struct RulesSource(pub LiteLlm);

impl Source for RulesSource {
    type Fetched = Rules;
    type Copy = Rules;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(10);

    /// What cannot be read is left out: the answer is then "not known" where it matters.
    async fn fetch(&self) -> Result<Rules, ClientError> {
        let proxy = &self.0;
        let (teams, groups) = tokio::join!(proxy.teams(), proxy.access_groups());
        Ok(Rules { teams: teams.ok(), groups: groups.ok().map(Option::unwrap_or_default) })
    }
}

impl Keys {
    /// The rules for the keys of a view. Asks the proxy for nothing where keys alone decide.
    pub async fn rules(&self, view: &KeysView) -> Arc<Rules> {
        if !view.keys.needs_rules() {
            return Arc::default();
        }
        self.all_rules().await
    }

    pub async fn rules_for(&self, key: &VirtualKey) -> Arc<Rules> {
        if key.grant().needs_rules() { self.all_rules().await } else { Arc::default() }
    }

    /// The rules as they are. Asks the proxy for nothing.
    pub fn cached_rules(&self) -> Arc<Rules> {
        self.inner.rules.cached().value.unwrap_or_default()
    }

    async fn all_rules(&self) -> Arc<Rules> {
        self.inner.rules.get().await.value.unwrap_or_default()
    }
}

pub type RulesCopy = Snapshot<RulesSource>;
