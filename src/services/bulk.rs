//! One swap of many contexts.
//!
//! A job and its items are rows. One replica at a time works on a job, the one that holds its lock; another takes
//! over where it is gone. Every item goes the way of any other swap, with a receipt and an audit entry. What a
//! replica that is gone had begun is read back before anything is sent again, and a replica that lives gives up no
//! job while one of its swaps runs.

mod work;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::bulk::{Item, ItemState, Job, JobState, Plan};
use crate::domain::context::ContextId;
use crate::domain::swap::PromptChange;
use crate::domain::words::counted;
use crate::services::agents::Agents;
use crate::services::live::Live;
use crate::services::switcher::Switcher;
use crate::store::{Store, StoreError, job_lock};
use patchbay_clock::Clock;

/// How often each replica looks for jobs that nobody works on.
const TICK: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Bulk {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    switcher: Switcher,
    agents: Agents,
    live: Live,
    clock: Clock,
    poked: Notify,
    mine: Mutex<HashSet<String>>,
    running: TaskTracker,
}

/// What a job would do, counted before anything is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub contexts: Vec<ContextId>,
    pub pinned: Vec<ContextId>,
    /// How many of those to be swapped were never switched or read here.
    pub unknown: usize,
    pub repeated: usize,
    pub malformed: Vec<String>,
}

impl Bulk {
    pub fn new(store: Store, switcher: Switcher, agents: Agents, live: Live, clock: Clock) -> Self {
        let (poked, mine, running) = (Notify::new(), Mutex::default(), TaskTracker::new());
        Self { inner: Arc::new(Inner { store, switcher, agents, live, clock, poked, mine, running }) }
    }

    /// Sorts what was chosen: ids, one a line or with commas or blanks between.
    pub async fn sort(&self, agent: &AgentName, ids: &str) -> Result<Chosen, StoreError> {
        let known = self.inner.store.pins(agent).await?;
        let (mut chosen, mut seen) = (Chosen::default(), HashSet::new());
        for text in ids.split(|c: char| c.is_whitespace() || c == ',').filter(|text| !text.is_empty()) {
            let Ok(context) = text.parse::<ContextId>() else {
                chosen.malformed.push(text.chars().take(200).collect());
                continue;
            };
            if !seen.insert(context.clone()) {
                chosen.repeated += 1;
                continue;
            }
            match known.get(&context) {
                Some(true) => chosen.pinned.push(context),
                known => {
                    chosen.unknown += usize::from(known.is_none());
                    chosen.contexts.push(context);
                }
            }
        }
        Ok(chosen)
    }

    /// Begins a job. Pinned contexts stand in it as left alone.
    pub async fn begin(&self, plan: &Plan, chosen: Chosen, actor: &Actor) -> Result<String, StoreError> {
        let swapped = chosen.contexts.into_iter().map(|context| (context, None, ItemState::Waiting));
        let pinned = chosen.pinned.into_iter().map(|context| (context, None, ItemState::Skipped));
        let job = Job {
            id: Uuid::now_v7().to_string(),
            agent: plan.agent.clone(),
            model: plan.model.clone(),
            prompt: plan.prompt.clone(),
            undoes: None,
            actor: actor.clone(),
            state: JobState::Running,
            why: None,
            upto: if plan.canary == 0 { u32::MAX } else { plan.canary },
            at_once: plan.at_once,
            pace_ms: plan.pace_ms,
            stop_after: plan.stop_after,
            forgiven: 0,
            started_at: self.inner.clock.now(),
            ended_at: None,
        };
        self.add(job, swapped.chain(pinned)).await
    }

    /// Begins a job that takes back the swaps of another. None where there are none to take back.
    pub async fn undo(&self, job: &Job, actor: &Actor) -> Result<Option<String>, StoreError> {
        let done = self.inner.store.bulk_items(&job.id, Some(ItemState::Done), 0, u32::MAX).await?;
        let items: Vec<_> = done
            .into_iter()
            .filter_map(|item| Some((item.context, Some(item.swap?), ItemState::Waiting)))
            .collect();
        if items.is_empty() {
            return Ok(None);
        }
        let undoing = Job {
            id: Uuid::now_v7().to_string(),
            undoes: Some(job.id.clone()),
            model: None,
            prompt: PromptChange::Keep,
            actor: actor.clone(),
            state: JobState::Running,
            why: None,
            upto: u32::MAX,
            forgiven: 0,
            started_at: self.inner.clock.now(),
            ended_at: None,
            ..job.clone()
        };
        self.add(undoing, items.into_iter()).await.map(Some)
    }

    async fn add(
        &self,
        job: Job,
        items: impl Iterator<Item = (ContextId, Option<String>, ItemState)>,
    ) -> Result<String, StoreError> {
        let item = |(n, (context, back_to, state)): (u32, (ContextId, Option<String>, ItemState))| Item {
            n,
            context,
            back_to,
            state,
            swap: None,
            why: (state == ItemState::Skipped).then(|| "pinned".to_owned()),
        };
        let items: Vec<Item> = (1..).zip(items).map(item).collect();
        self.inner.store.add_bulk(&job, &items).await?;
        let detail = format!("{}: {}", counted(items.len(), "context"), describe(&job));
        self.inner.note(&job, &job.actor, "begun", Some(detail)).await?;
        self.inner.poked.notify_one();
        Ok(job.id)
    }

    /// Goes on with what waits for a yes, was stopped or cancelled; with what failed as well where `again`.
    pub async fn go_on(&self, job: &Job, again: bool, actor: &Actor) -> Result<bool, StoreError> {
        let went_on = self.inner.store.go_on_with_bulk(&job.id, again).await?;
        if went_on {
            let how = if again { "what failed is tried again" } else { "the rest goes on" };
            self.inner.note(job, actor, "goes on", Some(how.to_owned())).await?;
            self.inner.poked.notify_one();
        }
        Ok(went_on)
    }

    pub async fn cancel(&self, job: &Job, actor: &Actor) -> Result<bool, StoreError> {
        let from = [JobState::Running, JobState::Asking, JobState::Stopped];
        let cancelled = self.inner.store.set_bulk(&job.id, &from, JobState::Cancelled, None).await?;
        if cancelled {
            self.inner.note(job, actor, "cancelled", None).await?;
        }
        Ok(cancelled)
    }

    /// Works on jobs until `stop`.
    pub async fn work(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.poked.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.take_up(&stop).await {
                tracing::warn!(%error, "jobs could not be looked up");
            }
        }
        self.inner.running.close();
        self.inner.running.wait().await;
    }

    async fn take_up(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        for id in self.inner.store.open_bulks().await? {
            if self.inner.mine().contains(&id) {
                continue;
            }
            if self.inner.store.take_lock(&job_lock(&id), "bulk").await?.is_err() {
                continue;
            }
            self.inner.mine().insert(id.clone());
            let (inner, stop) = (Arc::clone(&self.inner), stop.clone());
            self.inner.running.spawn(async move {
                if let Err(error) = inner.work_on(&id, &stop).await {
                    tracing::warn!(%error, job = id, "a job was interrupted; it is taken up again");
                }
                // The lock outlives an error here by some seconds at most: whoever holds it takes it again.
                let _ = inner.store.give_lock(&job_lock(&id)).await;
                inner.mine().remove(&id);
            });
        }
        Ok(())
    }
}

impl Inner {
    fn mine(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn note(
        &self,
        job: &Job,
        actor: &Actor,
        outcome: &str,
        detail: Option<String>,
    ) -> Result<(), StoreError> {
        let mut entry = NewEntry::new(actor, Action::Bulk, format!("bulk/{}", job.id), outcome);
        entry.detail = detail;
        self.store.audit(&entry).await
    }
}

pub fn describe(job: &Job) -> String {
    let prompt = match &job.prompt {
        PromptChange::Keep => None,
        PromptChange::Set(_) => Some("a new prompt"),
        PromptChange::Clear => Some("the agent's own prompt"),
    };
    match (&job.undoes, &job.model, prompt) {
        (Some(_), ..) => "back to what they were on".to_owned(),
        (None, Some(model), None) => format!("to {model}"),
        (None, Some(model), Some(prompt)) => format!("to {model} with {prompt}"),
        (None, None, prompt) => format!("to {}", prompt.unwrap_or("nothing")),
    }
}
