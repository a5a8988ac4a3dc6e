//! Alerts: what the audit says of outages, drift, swaps and jobs, sent to a webhook.
//!
//! One replica reads the audit and writes the outbox, in one transaction with how far it has read; it sends from there until
//! the receiver takes it. A process that is killed at any moment loses nothing, and may send an alert twice, with the same
//! id.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clients::webhook::WebhookClient;
use crate::domain::alert::{Alert, AlertKind};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::store::{Outgoing, Result, Store};

/// How often the outbox is looked at although nothing was written down.
const TICK: Duration = Duration::from_secs(5);

/// Without a webhook the audit is read past only.
const TICK_WHEN_OFF: Duration = Duration::from_mins(1);

/// What happens within this time after a round is read together: a job makes hundreds of entries a second.
const REST: Duration = Duration::from_millis(200);

/// Most audit entries that are read at a time.
const BATCH: u32 = 256;

/// Most alerts of a round.
const ROUND: u32 = 100;

const MAX_CONCURRENT: usize = 4;

/// Longest wait between two attempts.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// An alert that was not taken for so long is given up.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    client: Option<WebhookClient>,
}

impl Alerts {
    pub fn new(store: Store, clock: Clock, client: Option<WebhookClient>) -> Self {
        Self(Arc::new(Inner { store, clock, client }))
    }

    /// Where they go, without what may be secret; none where there is no webhook.
    pub fn receiver(&self) -> Option<(String, bool)> {
        let webhook = &self.0.client.as_ref()?.webhook;
        Some((webhook.url.shown(), webhook.secret.is_some()))
    }

    /// The kinds that are sent: those that an admin has chosen, else those of the settings.
    pub async fn kinds(&self) -> Result<Vec<AlertKind>> {
        let Some(client) = &self.0.client else { return Ok(Vec::new()) };
        Ok(self.0.store.alert_kinds().await?.unwrap_or_else(|| client.webhook.kinds.clone()))
    }

    pub async fn choose(&self, mut kinds: Vec<AlertKind>, actor: &Actor) -> Result<()> {
        kinds.retain(|kind| *kind != AlertKind::Test);
        let words =
            |kinds: &[AlertKind]| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
        let mut entry = NewEntry::new(actor, Action::AlertsChoose, "alerts", "ok");
        entry.before = Some(words(&self.kinds().await?));
        entry.after = Some(words(&kinds));
        self.0.store.choose_alert_kinds(&kinds, &entry).await
    }

    /// The last that were sent or are to be sent.
    pub async fn last(&self, limit: u32) -> Result<Vec<Outgoing>> {
        self.0.store.last_alerts(limit).await
    }

    /// Puts a test into the outbox.
    pub async fn test(&self, actor: &Actor) -> Result<()> {
        let alert = Alert::test(Uuid::now_v7().to_string(), self.0.clock.now(), &actor.name);
        self.0.store.add_alert(&alert, &NewEntry::new(actor, Action::AlertsTest, "alerts", "ok")).await
    }

    /// Sends alerts until `stop`. One replica does it for all.
    pub async fn work(&self, stop: CancellationToken) {
        let is_on = self.0.client.is_some();
        let mut audited = self.0.store.audited();
        let mut ticks = tokio::time::interval(if is_on { TICK } else { TICK_WHEN_OFF });
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = audited.changed(), if is_on => if changed.is_err() { return },
                _ = ticks.tick() => {}
            }
            if self.0.store.lead("alerts").await.is_none() {
                continue;
            }
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "alerts could not be read or written");
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Reads what is new in the audit, and sends what is due.
    pub async fn round(&self) -> Result<()> {
        self.collect().await?;
        let Some(client) = &self.0.client else { return Ok(()) };
        let due = self.0.store.due_alerts(ROUND).await?;
        stream::iter(due).for_each_concurrent(MAX_CONCURRENT, |outgoing| self.0.send(client, outgoing)).await;
        self.0.store.delete_old_alerts().await
    }

    async fn collect(&self) -> Result<()> {
        let (store, kinds) = (&self.0.store, self.kinds().await?);
        loop {
            let from = store.alert_progress().await?;
            let entries = store.audit_after(from, BATCH).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            let alerts: Vec<Alert> = entries
                .iter()
                .filter_map(|entry| {
                    let kind = AlertKind::of(entry).filter(|kind| kinds.contains(kind))?;
                    Some(Alert::of(entry, kind, Uuid::now_v7().to_string()))
                })
                .collect();
            let is_taken = store.add_alerts(&alerts, from, last.id).await?;
            if !is_taken || entries.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}

impl Inner {
    async fn send(&self, client: &WebhookClient, outgoing: Outgoing) {
        let Outgoing { alert, attempts, .. } = outgoing;
        let (id, now) = (&alert.id, self.clock.now());
        let ended = match client.send(&alert, now).await {
            Ok(()) => self.store.end_attempt(id, None, None).await,
            Err(error) => {
                let is_over = now.duration_since(alert.at) > GIVE_UP;
                if is_over {
                    tracing::error!(%error, id, "an alert was given up after a day");
                } else {
                    tracing::warn!(%error, id, attempts, "an alert was not taken; it is sent again");
                }
                let next = (!is_over).then(|| next_attempt(attempts, now));
                self.store.end_attempt(id, Some(&error.to_string()), next).await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(%error, id, "it was not written down how the sending of an alert ended");
        }
    }
}

/// After 1, 2, 4 s and so on.
fn next_attempt(attempts: i64, now: Timestamp) -> Timestamp {
    let exponent = u32::try_from(attempts).unwrap_or(0).min(10);
    now + SignedDuration::from_secs(1 << exponent).min(LONGEST_WAIT)
}
