//! The composition root: settings become clients, store, services and a router, and are served.

mod server;

pub use server::{Limits, guard, serve, serve_within};

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use reqwest::Client;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clients;
use crate::clients::litellm::{self, LiteLlm};
use crate::clients::webhook::WebhookClient;
use crate::config::{Access, CONFIRM_COST, Config};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::services::agents::Agents;
use crate::services::alerts::Alerts;
use crate::services::audit::Audit;
use crate::services::bootstrap::Bootstrap;
use crate::services::calls::Calls;
use crate::services::contexts::Contexts;
use crate::services::conversation::Asks;
use crate::services::gateway::{Gateway, GatewaySettings};
use crate::services::health::Health;
use crate::services::jobs::{self, Jobs};
use crate::services::keys::Keys;
use crate::services::live::Live;
use crate::services::people::People;
use crate::services::proxy::Proxy;
use crate::services::registry::{self, Deployments, Models, Registry};
use crate::services::switcher::{self, Switcher};
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::web::paths::Paths;
use crate::web::{self, AppState};
use patchbay_clock::Clock;

/// How often expired sessions are deleted.
const CLEANING: Duration = Duration::from_mins(10);

/// Grace period for running swaps at shutdown.
const DRAIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    pub proxy: litellm::Timeouts,
    pub agents: switcher::Timeouts,
}

pub struct App {
    pub router: Router,
    store: Store,
    switcher: Switcher,
    asks: Asks,
    jobs: Jobs,
    alerts: Alerts,
    health: Health,
    keys: Keys,
    live: Live,
    writes: TaskTracker,
    clock: Clock,
    access: Arc<Access>,
}

/// Services of the proxy, used by the dashboard and by commands.
pub struct Tools {
    pub proxy: LiteLlm,
    pub registry: Registry,
    pub health: Proxy,
    pub models: Models,
    pub keys: Keys,
    pub bootstrap: Bootstrap,
    pub store: Store,
}

pub struct ProxyAccess {
    pub url: Url,
    pub master_key: SecretString,
    /// Whose keys are not deleted by mistake.
    pub agents: Option<Agents>,
    pub timeouts: litellm::Timeouts,
}

impl Tools {
    pub fn new(http: &Client, access: ProxyAccess, store: Store, clock: &Clock) -> Self {
        let ProxyAccess { url, master_key, agents, timeouts } = access;
        let proxy = LiteLlm::new(http.clone(), url, master_key.clone(), timeouts);
        let registry = Registry::new(Deployments(proxy.clone()), clock.clone());
        let keys = Keys::new(proxy.clone(), store.clone(), clock.clone(), agents);
        let health = Proxy::new(&proxy, clock);
        let models = Models::new(registry::Parts {
            proxy: proxy.clone(),
            registry: registry.clone(),
            keys: keys.clone(),
            health: health.clone(),
            store: store.clone(),
            clock: clock.clone(),
        });
        let bootstrap =
            Bootstrap::new(proxy.clone(), models.clone(), keys.clone(), store.clone(), master_key);
        Self { proxy, registry, health, models, keys, bootstrap, store }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no HTTP client: {0}. Are CA certificates installed?")]
    Http(#[from] reqwest::Error),
}

impl App {
    pub async fn build(config: Config, clock: Clock, timeouts: Timeouts) -> Result<Self, BuildError> {
        Self::build_as(config, clock, timeouts, false).await
    }

    /// The demo has a style guide.
    pub async fn build_demo(config: Config, clock: Clock, timeouts: Timeouts) -> Result<Self, BuildError> {
        Self::build_as(config, clock, timeouts, true).await
    }

    async fn build_as(
        config: Config,
        clock: Clock,
        timeouts: Timeouts,
        is_demo: bool,
    ) -> Result<Self, BuildError> {
        telemetry::install_recorder();
        let store = Store::open(&config.database_url, clock.clone()).await?;
        close_unfinished(&store).await?;
        let http = clients::build_http()?;
        let agents = Agents::new(&http, config.agents, store.clone(), &clock, timeouts.agents.control);
        if let Some(file) = config.agents_file {
            agents.follow(file);
        }
        let live = Live::start(store.clone(), agents.clone()).await?;
        let for_gateway = GatewaySettings {
            proxy: config.proxy_url.clone(),
            master_key: config.master_key.clone(),
            default_key: config.agent_key,
        };
        let access = ProxyAccess {
            url: config.proxy_url,
            master_key: config.master_key,
            agents: Some(agents.clone()),
            timeouts: timeouts.proxy,
        };
        let Tools { proxy: client, registry, health: proxy, models, keys, bootstrap, .. } =
            Tools::new(&http, access, store.clone(), &clock);
        keys.keep_beside(&config.database_url);
        let calls = Calls::new(client.clone(), proxy.clone(), clock.clone());
        let gateway = Gateway::new(for_gateway, client.clone(), agents.clone(), store.clone(), &clock);
        gateway.follow().await?;
        let webhook = config.access.webhook.clone().map(|webhook| WebhookClient::new(http.clone(), webhook));
        let alerts = Alerts::new(store.clone(), clock.clone(), webhook);
        let health = Health::new(agents.clone(), client.clone(), store.clone());
        let switcher = Switcher::new(
            agents.clone(),
            registry.clone(),
            client,
            store.clone(),
            clock.clone(),
            timeouts.agents,
            config.access.confirm_cost.unwrap_or(CONFIRM_COST),
        )
        .telling(live.clone());
        let asks = Asks::new(
            agents.clone(),
            switcher.clone(),
            store.clone(),
            clock.clone(),
            timeouts.agents.message,
        );
        let jobs = Jobs::new(jobs::Parts {
            store: store.clone(),
            switcher: switcher.clone(),
            agents: agents.clone(),
            keys: keys.clone(),
            models: models.clone(),
            bootstrap,
            setup: config.setup.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let writes = TaskTracker::new();
        let (for_app, access) = (clock.clone(), Arc::new(config.access));
        let state = AppState::new(web::Parts {
            writes: writes.clone(),
            paths: Paths::new(&config.base_path, &web::assets_version()),
            login: config.login.into(),
            access: Arc::clone(&access),
            proxy,
            calls,
            keys: keys.clone(),
            models,
            is_demo: web::IsDemo(is_demo),
            audit: Audit::new(store.clone(), clock.clone()),
            people: People::new(store.clone(), clock.clone()),
            alerts: alerts.clone(),
            clock,
            contexts: Contexts::new(store.clone()),
            store: store.clone(),
            registry,
            agents,
            gateway,
            switcher: switcher.clone(),
            asks: asks.clone(),
            jobs: jobs.clone(),
            live: live.clone(),
            setup: config.setup.into(),
        });
        Ok(Self {
            router: web::router(state),
            store,
            switcher,
            asks,
            jobs,
            alerts,
            health,
            keys,
            live,
            writes,
            clock: for_app,
            access,
        })
    }

    pub fn switcher(&self) -> &Switcher {
        &self.switcher
    }

    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Serves until `stop`, then waits for running swaps and closes the database.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let cleaning = tokio::spawn(clean(self.store.clone(), self.clock.clone(), self.access));
        let watching = tokio::spawn({
            let (switcher, stop) = (self.switcher.clone(), stop.clone());
            async move { switcher.watch(stop).await }
        });
        let jobs = tokio::spawn({
            let (jobs, stop) = (self.jobs, stop.clone());
            async move { jobs.work(stop).await }
        });
        let alerting = tokio::spawn({
            let (alerts, stop) = (self.alerts, stop.clone());
            async move { alerts.work(stop).await }
        });
        let looking = tokio::spawn({
            let (health, stop) = (self.health, stop.clone());
            async move { health.watch(stop).await }
        });
        let retiring = tokio::spawn(self.keys.retire_when_due());
        let closing = tokio::spawn({
            let (live, stop) = (self.live, stop.clone());
            async move {
                stop.cancelled().await;
                live.close();
            }
        });
        let served = serve(listener, self.router, stop).await;
        self.writes.close();
        let ended = async {
            // Jobs start no more swaps.
            let _ = jobs.await;
            tokio::join!(self.writes.wait(), self.switcher.drain(), self.asks.drain())
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("a swap had not ended; it is marked as unknown at the next start");
        }
        for task in [cleaning, watching, alerting, looking, retiring, closing] {
            task.abort();
        }
        self.store.close().await;
        served
    }
}

/// Ends what an earlier run has begun.
async fn close_unfinished(store: &Store) -> Result<(), StoreError> {
    let unfinished = store.close_unfinished_swaps().await?;
    if unfinished > 0 {
        tracing::warn!(unfinished, "swaps that an earlier run left unfinished are marked as unknown");
    }
    let unfinished = store.close_unfinished_writes().await?;
    if unfinished > 0 {
        tracing::warn!(unfinished, "changes that an earlier run left unfinished are marked as unknown");
    }
    Ok(())
}

async fn clean(store: Store, clock: Clock, access: Arc<Access>) {
    let mut ticks = tokio::time::interval(CLEANING);
    loop {
        ticks.tick().await;
        if store.lead("cleaning").await.is_some()
            && let Err(error) = store.sessions().delete_expired().await
        {
            tracing::warn!(%error, "expired sessions were not deleted");
        }
        if let Err(error) = store.delete_expired_tokens().await {
            tracing::warn!(%error, "expired access tokens were not deleted");
        }
        if let Some(retention) = access.conversation_retention
            && let Err(error) = store.end_conversations_before(clock.now() - retention).await
        {
            tracing::warn!(%error, "questions and answers older than the retention were not deleted");
        }
        if let Some(retention) = access.audit_retention
            && let Err(error) = end_audit(&store, clock.now() - retention).await
        {
            tracing::warn!(%error, "audit entries older than the retention were not deleted");
        }
    }
}

async fn end_audit(store: &Store, end: Timestamp) -> Result<(), StoreError> {
    let deleted = store.end_audit_before(end).await?;
    if deleted > 0 {
        let mut entry = NewEntry::new(&Actor::local("patchbay"), Action::AuditEnd, "audit", "ok");
        entry.detail = Some(format!("{deleted} entries from before {end}, as PATCHBAY_AUDIT_RETENTION says"));
        store.audit(&entry).await?;
    }
    Ok(())
}
