//! The agents of the settings: their clients, their cards, and what was found out about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Url};

use crate::clients::ClientError;
use crate::clients::a2a::{self, AgentError};
use crate::domain::agent::{AgentCard, AgentName, Dialect, Scope};
use crate::domain::context::ContextId;
use crate::services::snapshot::{PATIENCE, Snapshot, Source, View};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// Age at which a card is fetched again when someone looks.
const CARD_TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(15);

#[derive(Clone)]
pub struct Agents {
    by_name: Arc<BTreeMap<AgentName, KnownAgent>>,
    store: Store,
}

pub struct KnownAgent {
    pub name: AgentName,
    pub client: a2a::Agent,
    card: Snapshot<CardSource>,
    contexts: Snapshot<ContextsSource>,
    noted_scope: Mutex<Option<Scope>>,
}

struct CardSource {
    client: a2a::Agent,
    limit: Duration,
}

impl Source for CardSource {
    type Fetched = AgentCard;
    type Copy = AgentCard;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = CARD_TIME_TO_LIVE;

    async fn fetch(&self) -> Result<AgentCard, ClientError> {
        self.client.card_within(self.limit).await
    }
}

/// The contexts that an agent lists; `None` where it cannot list them.
struct ContextsSource(a2a::Agent);

impl Source for ContextsSource {
    type Fetched = Option<BTreeSet<ContextId>>;
    type Copy = Option<BTreeSet<ContextId>>;
    type Error = AgentError;

    const TIME_TO_LIVE: SignedDuration = CARD_TIME_TO_LIVE;
    /// Pages can do without them.
    const FIRST: Duration = PATIENCE;

    async fn fetch(&self) -> Result<Self::Fetched, AgentError> {
        self.0.list_contexts().await
    }
}

#[derive(Debug, Clone)]
pub struct AgentView {
    pub name: AgentName,
    pub address: String,
    pub card: View<AgentCard, ClientError>,
    pub dialect: Option<Dialect>,
    pub scope: Option<Scope>,
    /// When that was seen; none where the card alone says so.
    pub scope_seen: Option<Timestamp>,
}

impl KnownAgent {
    /// The contexts that the agent lists, from a copy; none where it cannot list them, or not now.
    pub async fn contexts(&self) -> Option<BTreeSet<ContextId>> {
        let mut listed = self.contexts.refresh().await.value.as_deref().cloned().flatten()?;
        listed.retain(|context| !context.is_throw_away());
        Some(listed)
    }

    pub(super) fn noted_scope(&self) -> MutexGuard<'_, Option<Scope>> {
        self.noted_scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an answer has shown the scope since Patchbay was started.
    pub(super) fn has_shown_scope(&self) -> bool {
        self.noted_scope().is_some()
    }
}

impl Agents {
    /// The agents at these addresses. A card is waited for at most `limit`.
    pub fn new(
        http: &Client,
        agents: &[(AgentName, Url)],
        store: Store,
        clock: &Clock,
        limit: Duration,
    ) -> Self {
        let known = |(name, url): &(AgentName, Url)| {
            let client = a2a::Agent::new(http.clone(), url.clone());
            let card = Snapshot::new(CardSource { client: client.clone(), limit }, clock.clone());
            let contexts = Snapshot::new(ContextsSource(client.clone()), clock.clone());
            let name = name.clone();
            (name.clone(), KnownAgent { name, client, card, contexts, noted_scope: Mutex::default() })
        };
        Self { by_name: Arc::new(agents.iter().map(known).collect()), store }
    }

    pub fn get(&self, name: &AgentName) -> Option<&KnownAgent> {
        self.by_name.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &AgentName> {
        self.by_name.keys()
    }

    /// Whether each agent answered when its card was last fetched. Agents that were not asked yet are left out.
    pub fn last_seen_up(&self) -> impl Iterator<Item = (&AgentName, bool)> {
        self.by_name.iter().filter_map(|(name, agent)| {
            let card = agent.card.cached();
            let is_silent = |error: &ClientError| {
                matches!(error, ClientError::Unreachable { .. } | ClientError::Timeout { .. })
            };
            match (&card.value, &card.problem) {
                (_, Some(problem)) => Some((name, !is_silent(problem))),
                (Some(_), None) => Some((name, true)),
                (None, None) => None,
            }
        })
    }

    /// What is known of all agents; their cards are fetched at once.
    pub async fn views(&self) -> Result<Vec<AgentView>, StoreError> {
        futures_util::future::try_join_all(self.by_name.values().map(|agent| self.view(agent))).await
    }

    pub async fn view(&self, agent: &KnownAgent) -> Result<AgentView, StoreError> {
        let card = agent.card.refresh().await;
        let announced = card.value.as_ref().and_then(|card| card.scope);
        let (seen, scope_seen) = self.store.scope(&agent.name).await?.unzip();
        Ok(AgentView {
            name: agent.name.clone(),
            address: agent.client.address(),
            dialect: agent.client.dialect(),
            // What was seen counts more than what was announced.
            scope: seen.or(announced),
            scope_seen,
            card,
        })
    }

    /// Remembers what an answer showed of an agent's scope; written only where it is news.
    pub async fn note_scope(&self, agent: &KnownAgent, scope: Scope) {
        let before = agent.noted_scope().replace(scope);
        if before == Some(scope) {
            return;
        }
        // That it could not be written is no reason to fail what brought the answer.
        if let Err(error) = self.store.note_scope(&agent.name, scope).await {
            tracing::warn!(%error, agent = %agent.name, "the agent's scope was not remembered");
        }
    }
}
