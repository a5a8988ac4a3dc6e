//! The agents of the settings: their clients, their cards, and what was found out about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use secrecy::SecretString;
use url::Url;

use crate::clients::ClientError;
use crate::clients::a2a::{self, AgentError};
use crate::config::agents::{AgentsFile, AgentsFileError};
use crate::domain::agent::{AgentCard, AgentName, AgentSettings, Dialect, Scope};
use crate::domain::calls::{CallProfile, KnownCalls};
use crate::domain::context::ContextId;
use crate::domain::key::KeyHash;
use crate::services::snapshot::{PATIENCE, Snapshot, Source, View};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// Age at which a card is fetched again when someone looks.
const CARD_TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(15);

/// The same of whether it takes messages: an open page is to show an outage within 20 seconds.
const HEALTH_TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

/// How often the agents file is read.
const READ_AGAIN: Duration = Duration::from_secs(1);

type ByName = BTreeMap<AgentName, Arc<KnownAgent>>;

#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

struct Inner {
    by_name: RwLock<Arc<ByName>>,
    sources: Mutex<Sources>,
    /// Why the file is not used as it is now.
    problem: RwLock<Option<String>>,
    http: Client,
    store: Store,
    clock: Clock,
    /// Longest wait for a card.
    limit: Duration,
}

#[derive(Default)]
struct Sources {
    configured: Vec<AgentSettings>,
    adopted: Vec<AgentSettings>,
}

pub struct KnownAgent {
    pub name: AgentName,
    pub client: a2a::Agent,
    /// The virtual key with which it calls the proxy.
    pub key: Option<SecretString>,
    settings: AgentSettings,
    card: Snapshot<CardSource>,
    health: Snapshot<HealthSource>,
    contexts: Snapshot<ContextsSource>,
    noted_scope: Mutex<Option<Scope>>,
    noted_chatted: Mutex<Option<bool>>,
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

/// Whether an agent takes messages, which its card does not show.
struct HealthSource {
    client: a2a::Agent,
    limit: Duration,
}

impl Source for HealthSource {
    type Fetched = ();
    type Copy = ();
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = HEALTH_TIME_TO_LIVE;

    async fn fetch(&self) -> Result<(), ClientError> {
        self.client.check(self.limit).await
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
    /// Why it takes no messages, if it takes none.
    pub problem: Option<ClientError>,
    pub has_credentials: bool,
    /// Whether it was adopted from the proxy's gateway.
    pub is_adopted: bool,
    pub dialect: Option<Dialect>,
    pub scope: Option<Scope>,
    /// When that was seen; none where the card alone says so.
    pub scope_seen: Option<Timestamp>,
    pub calls: KnownCalls,
    /// When it last took a control message for chat, if it has obeyed none since.
    pub chatted_at: Option<Timestamp>,
}

impl KnownAgent {
    fn new(settings: AgentSettings, http: &Client, clock: &Clock, limit: Duration) -> Self {
        let client =
            a2a::Agent::new(http.clone(), settings.url.clone()).with_credentials(settings.auth.clone());
        Self {
            name: settings.name.clone(),
            key: settings.key.clone(),
            card: Snapshot::new(CardSource { client: client.clone(), limit }, clock.clone()),
            health: Snapshot::new(HealthSource { client: client.clone(), limit }, clock.clone()),
            contexts: Snapshot::new(ContextsSource(client.clone()), clock.clone()),
            noted_scope: Mutex::default(),
            noted_chatted: Mutex::default(),
            client,
            settings,
        }
    }

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
    /// A card is waited for at most `limit`.
    pub fn new(
        http: &Client,
        agents: Vec<AgentSettings>,
        store: Store,
        clock: &Clock,
        limit: Duration,
    ) -> Self {
        let inner = Inner {
            by_name: RwLock::default(),
            sources: Mutex::default(),
            problem: RwLock::default(),
            http: http.clone(),
            store,
            clock: clock.clone(),
            limit,
        };
        inner.replace(|sources| sources.configured = agents);
        Self { inner: Arc::new(inner) }
    }

    /// Reads the file every second for as long as the agents are in use. While it is wrong, the former ones stay.
    pub fn follow(&self, file: AgentsFile) {
        let agents = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(READ_AGAIN).await;
                let again = file.clone();
                let read = tokio::task::spawn_blocking(move || again.read()).await;
                let (Some(agents), Ok(read)) = (agents.upgrade(), read) else { return };
                agents.take(read);
            }
        });
    }

    /// Why the agents file is not used as it is now.
    pub fn problem(&self) -> Option<String> {
        self.inner.problem.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn by_name(&self) -> Arc<ByName> {
        Arc::clone(&self.inner.by_name.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn get(&self, name: &AgentName) -> Option<Arc<KnownAgent>> {
        self.by_name().get(name).cloned()
    }

    pub fn names(&self) -> Vec<AgentName> {
        self.by_name().keys().cloned().collect()
    }

    /// Their addresses as the settings have them.
    pub(super) fn urls(&self) -> Vec<Url> {
        self.by_name().values().map(|agent| agent.settings.url.clone()).collect()
    }

    /// Uses these agents beside those of the settings.
    pub(super) fn set_adopted(&self, adopted: Vec<AgentSettings>) {
        self.inner.replace(|sources| sources.adopted = adopted);
    }

    /// An agent stopped answering, or answers again: what is known of that is out of date.
    pub(super) fn forget_health(&self, name: &AgentName) {
        if let Some(agent) = self.get(name) {
            agent.health.invalidate();
        }
    }

    /// The hashes of the agents' virtual keys, by the agents' names.
    pub fn key_hashes(&self) -> Vec<(AgentName, KeyHash)> {
        let hash = |agent: &Arc<KnownAgent>| Some((agent.name.clone(), KeyHash::of(agent.key.as_ref()?)));
        self.by_name().values().filter_map(hash).collect()
    }

    /// Whether an agent calls the proxy with this virtual key.
    pub fn uses(&self, key: &KeyHash) -> bool {
        self.key_hashes().iter().any(|(_, hash)| hash == key)
    }

    /// What is known of all agents; their cards are fetched at once.
    pub async fn views(&self) -> Result<Vec<AgentView>, StoreError> {
        futures_util::future::try_join_all(self.by_name().values().map(|agent| self.view(agent))).await
    }

    pub async fn view(&self, agent: &KnownAgent) -> Result<AgentView, StoreError> {
        let (card, health) = tokio::join!(agent.card.refresh(), agent.health.refresh());
        let announced = card.value.as_ref().and_then(|card| card.scope);
        let noted = self.inner.store.noted(&agent.name).await?;
        let (seen, scope_seen) = noted.scope.unzip();
        let stated = match agent.settings.calls {
            CallProfile::Auto => card.value.as_ref().and_then(|card| card.calls).unwrap_or_default(),
            stated => stated,
        };
        Ok(AgentView {
            name: agent.name.clone(),
            address: agent.client.address(),
            dialect: agent.client.dialect(),
            // What was seen counts more than what was announced.
            scope: seen.or(announced),
            scope_seen,
            calls: KnownCalls { stated, observed: self.inner.store.agent_calls(&agent.name).await? },
            chatted_at: noted.chatted_at,
            problem: health.problem,
            has_credentials: agent.settings.auth.is_some(),
            is_adopted: agent.settings.is_adopted,
            card,
        })
    }

    /// Remembers whether an agent took a control message for chat: each time that it did, and that it obeyed one only
    /// where that is news.
    pub async fn note_chatted(&self, agent: &KnownAgent, chatted: bool) {
        let before = agent.noted_chatted.lock().unwrap_or_else(PoisonError::into_inner).replace(chatted);
        if before == Some(chatted) && !chatted {
            return;
        }
        if let Err(error) = self.inner.store.note_chatted(&agent.name, chatted).await {
            tracing::warn!(%error, agent = %agent.name, "whether the agent can be switched was not remembered");
        }
    }

    /// Remembers what an answer showed of an agent's scope; written only where it is news.
    pub async fn note_scope(&self, agent: &KnownAgent, scope: Scope) {
        let before = agent.noted_scope().replace(scope);
        if before == Some(scope) {
            return;
        }
        // That it could not be written is no reason to fail what brought the answer.
        if let Err(error) = self.inner.store.note_scope(&agent.name, scope).await {
            tracing::warn!(%error, agent = %agent.name, "the agent's scope was not remembered");
        }
    }
}

impl Inner {
    /// An agent whose settings are the same keeps what was found out about it. Of two with one name or one address that of
    /// the settings counts.
    fn replace(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        let configured = &sources.configured;
        let is_other = |agent: &&AgentSettings| {
            configured.iter().all(|known| known.name != agent.name && known.url != agent.url)
        };
        let agents = configured.iter().chain(sources.adopted.iter().filter(is_other)).cloned();
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let known = |settings: AgentSettings| {
            let same = by_name.get(&settings.name).filter(|known| known.settings.is_same(&settings)).cloned();
            let name = settings.name.clone();
            let new = || Arc::new(KnownAgent::new(settings, &self.http, &self.clock, self.limit));
            (name, same.unwrap_or_else(new))
        };
        *by_name = Arc::new(agents.map(known).collect());
    }

    fn take(&self, read: Result<Vec<AgentSettings>, AgentsFileError>) {
        let read = read.map(|agents| self.replace(|sources| sources.configured = agents));
        let problem = read.err().map(|error| error.to_string());
        let mut noted = self.problem.write().unwrap_or_else(PoisonError::into_inner);
        if *noted != problem {
            if let Some(problem) = &problem {
                tracing::warn!(problem, "the agents file is not used as it is now");
            } else {
                tracing::info!("the agents file is used again");
            }
            *noted = problem;
        }
    }
}

/// The same for one behind the proxy's gateway; none where it is as for any other.
pub fn gateway_remedy(problem: &ClientError) -> Option<&'static str> {
    match problem {
        ClientError::Status { status: 401 | 403, .. } => Some(
            "The proxy's gateway refuses the agent's virtual key: correct the variable that holds it, or let the key call              this agent.",
        ),
        ClientError::Status { status: 404, .. } => {
            Some("The proxy's gateway has this agent no more. Remove it here, or register it there again.")
        }
        ClientError::Status { status: 500..=599, .. } => Some(
            "The proxy's gateway does not reach the agent: start it, or correct its address at the proxy.",
        ),
        _ => None,
    }
}

/// What to do about an agent that takes no messages.
pub fn remedy(problem: &ClientError, has_credentials: bool) -> &'static str {
    let ClientError::Status { status, .. } = problem else {
        return match problem {
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } => {
                "Start the agent, or correct its address: url in the agents file, or PATCHBAY_AGENTS."
            }
            _ => {
                "Something else answers at this address: correct url in the agents file, or PATCHBAY_AGENTS."
            }
        };
    };
    match status {
        401 | 403 if has_credentials => {
            "The agent refuses the credentials: correct what auth names in the agents file."
        }
        401 | 403 => {
            "The agent asks for credentials: name them under auth in the agents file (PATCHBAY_AGENTS_FILE)."
        }
        300..=399 => {
            "The agent redirects, which is not followed. Write its address as it names it: with or without a slash at \
             the end matters."
        }
        404..=406 | 501 => {
            "No A2A endpoint takes messages at this address. Use that of its JSON-RPC endpoint; its card may name it."
        }
        429 => "The agent takes no more requests for now: try again later.",
        _ => "Look at the agent's log.",
    }
}
