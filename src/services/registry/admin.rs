//! Deployments as an admin sees and changes them. Each change is journaled and followed by a look at what became of it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::litellm::{Credential, LiteLlm, is_segment};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::model::Source;
use crate::domain::model_detail::{Detail, Draft, shown};
use crate::domain::model_note::{Ghost, Note};
use crate::services::journal::{Failure, Record, journaled};
use crate::services::keys::Keys;
use crate::services::locks::Locks;
use crate::services::proxy::Proxy;
use crate::services::registry::Registry;
use crate::services::registry::change::check_proxy_secrets;
use crate::services::registry::notes::NotesSource;
use crate::services::snapshot::Snapshot;
use crate::store::{Fenced, LockError, OwnRow, Store, StoreError};
use patchbay_clock::Clock;

/// Pauses before each further look at what became of a write: a new deployment is live within 0.1 s, and a
/// busy proxy may take longer.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(800)];

/// Further pauses after an edit, which 1.68 shows after 4 s.
const EDIT_LOOKS: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_secs(3)];

/// How often a proxy takes up what its database holds, and a little more (30 s were measured).
const SYNC: u32 = 35;

#[derive(Clone)]
pub struct Models {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// A deployment is read, compared and written by one at a time.
    pub(super) locks: Locks,
    pub(super) proxy: LiteLlm,
    pub(super) registry: Registry,
    pub(super) keys: Keys,
    pub(super) health: Proxy,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) notes: Snapshot<NotesSource>,
}

/// What [`Models`] works with.
pub struct Parts {
    pub proxy: LiteLlm,
    pub registry: Registry,
    pub keys: Keys,
    /// Its health, which knows its release.
    pub health: Proxy,
    pub store: Store,
    pub clock: Clock,
}

pub(super) type Result<T, E = ModelError> = std::result::Result<T, E>;

/// A deployment was not changed, or not as was asked.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the proxy knows no such deployment")]
    Unknown,
    #[error("it is defined in the proxy's configuration file, which the proxy's API cannot change")]
    ReadOnly,
    #[error("it has been changed since the form was loaded")]
    Changed,
    #[error("it is being changed: {0}")]
    Busy(#[from] LockError),
    #[error("nothing was changed: {0}")]
    Fenced(#[from] Fenced),
    #[error("keys or contexts depend on it: confirm by its name")]
    Unconfirmed,
    #[error(
        "its stored secret would be sent to another address or provider: give the secret's reference again"
    )]
    MovesSecret,
    #[error("{0}")]
    Unsupported(String),
    #[error("the proxy answered that it was done, and then showed {0}")]
    NotTaken(String),
    #[error(transparent)]
    Proxy(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Notes(#[from] Arc<StoreError>),
}

#[derive(Debug, Clone)]
pub struct Found {
    pub detail: Detail,
    pub ghost: Option<String>,
    pub note: Option<Note>,
}

#[derive(Debug, Clone)]
pub struct Outcome {
    pub id: String,
    pub name: String,
    pub ghost: Option<String>,
    pub not_taken: Vec<String>,
}

impl Found {
    /// What was sent of a deployment that is saved and not live; none for another's note.
    pub(super) fn of_ghost(note: Note) -> Option<Self> {
        let Ghost { draft, why } = note.ghost.clone()?;
        let Draft { name, params, info } = draft;
        let id = note.id.clone();
        let detail = Detail { id, name, source: Source::Database, blocked: false, params, info };
        Some(Self { detail, ghost: Some(why), note: Some(note) })
    }

    /// The deployment with its parameters as they were given here: references instead of nothing, or of what
    /// the proxy has resolved them to.
    pub fn as_given(&self) -> Detail {
        let mut detail = self.detail.clone();
        if let Some(note) = &self.note {
            detail.params.extend(note.references.clone());
        }
        detail
    }
}

impl Models {
    pub fn new(parts: Parts) -> Self {
        let Parts { proxy, registry, keys, health, store, clock } = parts;
        let notes = Snapshot::new(NotesSource(store.clone()), clock.clone());
        Self {
            inner: Arc::new(Inner {
                locks: Locks::new(&store),
                proxy,
                registry,
                keys,
                health,
                store,
                clock,
                notes,
            }),
        }
    }

    /// One deployment as the proxy knows it now: live, or saved and dead.
    pub async fn find(&self, id: &str) -> Result<Option<Found>> {
        let note = self.inner.store.deployment_note(id).await?;
        if let Some(detail) = self.inner.proxy.deployment(id).await? {
            if note.as_ref().is_some_and(|note| note.ghost.is_some()) {
                self.inner.store.note_live(id).await?;
            }
            return Ok(Some(Found { detail, ghost: None, note }));
        }
        if let Some(ghost) = note.clone().and_then(Found::of_ghost) {
            return Ok(Some(ghost));
        }
        // Someone else's ghost: 1.106 and later show it here.
        let stored = self.inner.proxy.stored_deployment(id).await?;
        let why = || "the proxy has saved it and does not serve it".to_owned();
        Ok(stored.map(|detail| Found { detail, ghost: Some(why()), note }))
    }

    pub async fn note(&self, id: &str) -> Result<Option<Note>, StoreError> {
        self.inner.store.deployment_note(id).await
    }

    /// The credentials that the proxy stores; none where it does not list them.
    pub async fn credentials(&self) -> Vec<Credential> {
        self.inner.proxy.credentials().await.unwrap_or_default()
    }

    /// The providers that the proxy's release knows, by their ids; none where it does not list them.
    pub async fn providers(&self) -> Vec<String> {
        self.inner.proxy.providers().await.unwrap_or_default()
    }

    pub async fn register(&self, draft: &Draft, actor: &Actor) -> Result<Outcome> {
        self.register_as(&Uuid::new_v4().to_string(), false, draft, actor).await
    }

    /// The same under an id of the caller's. One that the proxy has saved already, live or dead, is left as it
    /// is: an earlier run may have been killed before it was told. A row that is saved and not taken up yet cannot
    /// be seen on 1.80; an id that is taken answers 500, and where it is derived (`is_own`) it is then waited for.
    pub(super) async fn register_as(
        &self,
        id: &str,
        is_own: bool,
        draft: &Draft,
        actor: &Actor,
    ) -> Result<Outcome> {
        if let Some(found) = self.find(id).await? {
            let (id, name) = (found.detail.id, found.detail.name);
            return Ok(Outcome { id, name, ghost: found.ghost, not_taken: Vec::new() });
        }
        check_proxy_secrets(draft)?;
        let mut entry = NewEntry::new(actor, Action::ModelRegister, id, "ok");
        entry.after = Some(describe(draft));
        entry.detail = Some(draft.name.clone());
        journaled(&self.inner.store, entry, async |record| {
            let mut sent = self.inner.proxy.register(id, draft, &actor.name).await;
            if is_own && sent.as_ref().is_err_and(is_taken) && self.inner.taken_up(id).await {
                sent = Ok(());
            }
            self.inner.registry.invalidate();
            let ghost = self.registered(id, sent).await?;
            let (id, name) = (id.to_owned(), draft.name.clone());
            let outcome = Outcome { id, name, ghost, not_taken: Vec::new() };
            record_sent(record, draft.clone(), &outcome);
            Ok(outcome)
        })
        .await
    }

    /// Why a deployment that was sent is not live, if it is not.
    async fn registered(&self, id: &str, sent: Result<(), ClientError>) -> Result<Option<String>> {
        // A refusal is final; where the answer is lost, or says that the row was saved, a look decides.
        if let Err(error) = &sent
            && !is_open(error)
        {
            return Err(error.clone().into());
        }
        let seen = match &sent {
            // The proxy has looked already.
            Err(error) if is_saved(error) => self.inner.proxy.deployment(id).await,
            _ => self.inner.see(id, |_| true).await,
        };
        match (sent, seen) {
            (_, Ok(Some(_))) => Ok(None),
            (Err(error), _) if !is_saved(&error) => Err(error.into()),
            (_, Ok(None)) => Ok(Some(NOT_LIVE.to_owned())),
            (_, Err(error)) => Ok(Some(format!("it is saved, and could not be looked at: {error}"))),
        }
    }
}

impl Failure for ModelError {}

/// Records what became of a deployment that was sent: its draft, and how far it was taken.
pub(super) fn record_sent(record: &mut Record, draft: Draft, outcome: &Outcome) {
    let Outcome { id, ghost, not_taken, .. } = outcome;
    if let Some(why) = ghost {
        "not-live".clone_into(&mut record.entry.outcome);
        record.entry.add_detail(why);
    } else if !not_taken.is_empty() {
        "partly".clone_into(&mut record.entry.outcome);
        record.entry.add_detail(&format!("not taken: {}", not_taken.join(", ")));
    }
    record.rows.push(OwnRow::Deployment { id: id.clone(), draft, ghost: ghost.clone() });
}

/// Why a deployment is dead where the proxy does not say.
pub(super) const NOT_LIVE: &str =
    "the proxy does not serve it, mostly since it cannot place the provider or the model";

impl Inner {
    /// Looks until the deployment is live and `is_so`. The last look's finding, at the latest after 1.2 s.
    pub(super) async fn see(
        &self,
        id: &str,
        is_so: impl Fn(&Detail) -> bool,
    ) -> Result<Option<Detail>, ClientError> {
        self.look(id, LOOKS.into_iter(), is_so).await
    }

    /// The same for an edit of a live deployment, for as long as a release may take to show it.
    pub(super) async fn see_edit(
        &self,
        id: &str,
        is_so: impl Fn(&Detail) -> bool,
    ) -> Result<Option<Detail>, ClientError> {
        let syncs = if is_segment(id) { 0 } else { SYNC as usize };
        let syncs = std::iter::repeat_n(Duration::from_secs(1), syncs);
        self.look(id, LOOKS.into_iter().chain(EDIT_LOOKS).chain(syncs), is_so).await
    }

    async fn look(
        &self,
        id: &str,
        pauses: impl Iterator<Item = Duration>,
        is_so: impl Fn(&Detail) -> bool,
    ) -> Result<Option<Detail>, ClientError> {
        let mut seen = Ok(None);
        for pause in pauses {
            tokio::time::sleep(pause).await;
            seen = self.proxy.deployment(id).await;
            if matches!(&seen, Ok(Some(detail)) if is_so(detail)) {
                break;
            }
        }
        seen
    }

    /// Whether the deployment is live before the proxy's next sync has passed.
    async fn taken_up(&self, id: &str) -> bool {
        for _ in 0..SYNC {
            if matches!(self.proxy.deployment(id).await, Ok(Some(_))) {
                return true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }
}

/// Whether the proxy could not save the row, as it answers where the id is taken (both releases).
fn is_taken(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 500, message, .. } if message.contains("add model to db"))
}

/// Whether 1.109 says that it has saved a row which it cannot serve (`model_new_unknown_provider`).
pub(super) fn is_saved(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { message, .. } if message.contains("was saved to the database"))
}

pub(super) fn is_open(error: &ClientError) -> bool {
    match error {
        ClientError::Status { status, .. } => *status >= 500,
        _ => true,
    }
}

/// A draft in one line, without secrets.
pub(super) fn describe(draft: &Draft) -> String {
    let part = |(name, value): (&String, &serde_json::Value)| format!("{name}={}", shown(name, value));
    let parts: Vec<String> = draft.params.iter().chain(&draft.info).map(part).collect();
    let text = parts.join(", ");
    if text.chars().count() > 1000 { text.chars().take(1000).chain(['…']).collect() } else { text }
}
