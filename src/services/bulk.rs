//! One swap of many contexts.
//!
//! A job and its items are rows. One replica at a time works on a job, the one that holds its lock; another takes
//! over where it is gone. Every item goes the way of any other swap, with a receipt and an audit entry. What a
//! replica that is gone had begun is read back before anything is sent again, and a replica that lives gives up no
//! job while one of its swaps runs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::bulk::{Counts, Item, ItemState, Job, JobState, Place, Plan, judge};
use crate::domain::clock::Clock;
use crate::domain::context::ContextId;
use crate::domain::swap::{Outcome, PromptChange, SwapRequest};
use crate::domain::words::{counted, sentence};
use crate::services::agents::{AgentView, Agents};
use crate::services::live::{Live, Message};
use crate::services::switcher::{OneOfMany, SwapError, Switcher};
use crate::store::{Store, StoreError, job_lock};

/// How often each replica looks for jobs that nobody works on.
const TICK: Duration = Duration::from_secs(1);

/// How often those who look are told how far a job is.
const TELL: Duration = Duration::from_millis(500);

/// For each swap that the agent may have at a time, so many may wait for their end to be written down, with those.
const UNWRITTEN: usize = 4;

/// Bulk swaps. Clones share them.
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
    /// Rings when a job was begun or told to go on.
    poked: Notify,
    /// The jobs that this replica works on.
    mine: Mutex<HashSet<String>>,
    running: TaskTracker,
}

/// What a job would do, counted before anything is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those that would be swapped, in the order given.
    pub contexts: Vec<ContextId>,
    /// Those that are left alone.
    pub pinned: Vec<ContextId>,
    /// How many of those to be swapped were never switched or read here.
    pub unknown: usize,
    /// How many were named more than once.
    pub repeated: usize,
    /// What is no context id.
    pub malformed: Vec<String>,
}

impl Bulk {
    /// Bulk swaps by this switcher.
    #[must_use]
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

    /// Begins nothing more. Swaps that run end as they will.
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

    /// Begins to work on jobs that nobody works on.
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

    async fn work_on(self: &Arc<Self>, id: &str, stop: &CancellationToken) -> Result<(), StoreError> {
        let Some(job) = self.store.bulk(id).await? else { return Ok(()) };
        self.switcher.forget_key();
        self.settle(&job).await?;
        let mut tasks = JoinSet::new();
        let mut worked = self.begin_items(&job, &mut tasks, stop).await;
        // Whatever went wrong, what runs comes to its end here: whoever takes the job up must find none under way.
        while let Some(ended) = tasks.join_next().await {
            worked = worked.and(ended_well(ended));
        }
        worked?;
        if !stop.is_cancelled() {
            self.end_round(&job).await?;
        }
        let counts = self.store.bulk_counts(id).await?;
        self.tell(&job, counts, false);
        Ok(())
    }

    /// Begins items, and waits for them, until there are none to begin.
    async fn begin_items(
        self: &Arc<Self>,
        job: &Job,
        tasks: &mut JoinSet<Result<(), StoreError>>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let turns = Arc::new(Semaphore::new(job.at_once as usize));
        let mut claimed = Vec::<Item>::new().into_iter();
        let (mut begin_at, mut tell_at) = (Instant::now(), Instant::now());
        let mut view = None;
        while !stop.is_cancelled() {
            let turn = tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => {
                    ended_well(ended)?;
                    continue;
                }
                turn = Arc::clone(&turns).acquire_owned(), if tasks.len() < UNWRITTEN * job.at_once as usize => turn,
            };
            let Ok(turn) = turn else { break };
            let (Some(item), Some(seen)) = (claimed.next(), &view) else {
                let counts = self.store.bulk_counts(&job.id).await?;
                if Instant::now() >= tell_at {
                    tell_at = Instant::now() + TELL;
                    self.tell(job, counts, true);
                }
                view = self.look_before(job, counts).await?;
                // With a pause between them few are begun ahead, so that a stop is heeded soon.
                let ahead = if job.pace_ms > 0 { 1 } else { job.at_once };
                claimed = self.store.claim_bulk_items(job, ahead).await?.into_iter();
                if claimed.len() == 0 {
                    match tasks.join_next().await {
                        Some(ended) => ended_well(ended)?,
                        None => break,
                    }
                }
                continue;
            };
            tokio::time::sleep_until(begin_at).await;
            begin_at = Instant::now() + Duration::from_millis(job.pace_ms.into());
            let (inner, job, view) = (Arc::clone(self), job.clone(), seen.clone());
            tasks.spawn(async move { inner.do_item(&job, &item, view, turn).await });
        }
        Ok(())
    }

    /// Tells those who look how far a job is.
    fn tell(&self, job: &Job, counts: Counts, runs: bool) {
        self.live.tell(Message::Progress {
            job: job.id.clone(),
            agent: job.agent.to_string(),
            who: job.actor.name.clone(),
            runs,
            done: counts.done,
            failed: counts.failed,
            total: counts.total(),
        });
    }

    /// One item, by the one path that all swaps take, which notes how it ended as well.
    async fn do_item(
        &self,
        job: &Job,
        item: &Item,
        view: AgentView,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        match self.swap(job, item, view, turn).await? {
            Ok(()) => Ok(()),
            Err(why) => self.store.set_bulk_item(&job.id, item.n, ItemState::Failed, Some(&why)).await,
        }
    }

    async fn swap(
        &self,
        job: &Job,
        item: &Item,
        view: AgentView,
        turn: OwnedSemaphorePermit,
    ) -> Result<Result<(), String>, StoreError> {
        let Some(swap) = item.swap.clone() else { return Ok(Err("It has no id.".to_owned())) };
        let Some(request) = self.request(job, item).await? else {
            return Ok(Err("What it was on before cannot be sent to the agent.".to_owned()));
        };
        let place = Place { job: job.id.clone(), n: item.n, swap };
        match self.switcher.swap_of_many(OneOfMany { place, view, turn }, request, &job.actor).await {
            // Where it could not be written down for very long, it is looked at as if the replica were gone.
            Ok(_) | Err(SwapError::NotWritten(_)) => Ok(Ok(())),
            Err(SwapError::Store(error)) => Err(error),
            Err(error) => Ok(Err(sentence(&error))),
        }
    }

    async fn request(&self, job: &Job, item: &Item) -> Result<Option<SwapRequest>, StoreError> {
        let Some(undone) = &item.back_to else {
            return Ok(Some(SwapRequest {
                agent: job.agent.clone(),
                context: item.context.clone(),
                model: job.model.clone(),
                prompt: job.prompt.clone(),
                seen: None,
                probe: false,
                message: None,
                minutes: None,
            }));
        };
        let Some(undone) = self.store.swap(undone).await? else { return Ok(None) };
        let Some(before) = &undone.before else { return Ok(None) };
        let request = SwapRequest::going_to(&job.agent, &item.context, undone.after.as_ref(), before);
        // Whoever switched the context since meant to.
        Ok(request.map(|request| SwapRequest { seen: Some(undone.id.clone()), ..request }))
    }

    /// What was begun and is not known to have ended: looked up, read back, and where it was not done, done again.
    async fn settle(&self, job: &Job) -> Result<(), StoreError> {
        let begun = self.store.bulk_items(&job.id, Some(ItemState::Running), 0, u32::MAX).await?;
        if begun.is_empty() {
            return Ok(());
        }
        self.store.close_unfinished_swaps().await?;
        for item in begun {
            let swap = match &item.swap {
                Some(id) => {
                    self.switcher.wait_for(id).await;
                    self.store.close_unfinished_swap(id).await?;
                    self.store.swap(id).await?
                }
                None => None,
            };
            let (state, why) = match &swap {
                None => (ItemState::Waiting, None),
                Some(swap) if swap.outcome != Outcome::Unknown => {
                    let (state, why) = judge(swap);
                    (state, why.map(str::to_owned))
                }
                Some(_) => self.look(job, &item).await?,
            };
            self.store.set_bulk_item(&job.id, item.n, state, why.as_deref()).await?;
        }
        Ok(())
    }

    async fn look(&self, job: &Job, item: &Item) -> Result<(ItemState, Option<String>), StoreError> {
        let Some(request) = self.request(job, item).await? else {
            return Ok((ItemState::Failed, Some("What it was on before is not known.".to_owned())));
        };
        match self.switcher.read_config(&job.agent, &item.context).await {
            Ok(config) if request.is_met_by(&config) => {
                let object = format!("{}/{}", job.agent, item.context);
                let mut entry = NewEntry::new(&job.actor, Action::Swap, object, Outcome::Verified.as_str());
                entry.after = Some(config.spec_text());
                entry.detail = Some(
                    "read back after the replica that ran the swap was gone; nothing was sent again".into(),
                );
                self.store.audit(&entry).await?;
                Ok((ItemState::Done, Some("Read back: it was done when its replica ended.".to_owned())))
            }
            Ok(_) => Ok((ItemState::Waiting, None)),
            Err(error) => Ok((ItemState::Failed, Some(sentence(&error)))),
        }
    }

    /// Looks at the agent before more is begun, and stops the job where there is a reason to. None where there is no
    /// such agent any more.
    async fn look_before(&self, job: &Job, counts: Counts) -> Result<Option<AgentView>, StoreError> {
        let view = match self.agents.get(&job.agent) {
            Some(agent) => Some(self.agents.view(agent).await?),
            None => None,
        };
        let since = counts.failed.saturating_sub(job.forgiven.into());
        let why = match &view {
            None => Some("The agent is no longer in the settings.".to_owned()),
            Some(view) if view.scope == Some(Scope::Agent) => {
                Some("The agent has one model for all its contexts: one swap changes them all.".to_owned())
            }
            Some(_) if job.stop_after > 0 && since >= job.stop_after.into() => {
                Some(format!("{since} failed."))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            self.store.set_bulk(&job.id, &[JobState::Running], JobState::Stopped, Some(&why)).await?;
        }
        Ok(view)
    }

    /// Nothing is left that could be begun.
    async fn end_round(&self, job: &Job) -> Result<(), StoreError> {
        let counts = self.store.bulk_counts(&job.id).await?;
        if counts.running > 0 {
            // They are settled when the job is taken up again, in a moment.
            return Ok(());
        }
        let to = if counts.waiting == 0 { JobState::Done } else { JobState::Asking };
        let from: &[JobState] = match to {
            JobState::Done => &[JobState::Running, JobState::Stopped, JobState::Cancelled],
            _ => &[JobState::Running],
        };
        if self.store.set_bulk(&job.id, from, to, None).await? {
            let Counts { done, failed, skipped, waiting, .. } = counts;
            let detail =
                format!("{done} swapped, {failed} failed, {skipped} left alone, {waiting} not begun");
            let outcome = if to == JobState::Done { "ok" } else { "asks" };
            self.note(job, &job.actor, outcome, Some(detail)).await?;
        }
        Ok(())
    }
}

/// An item that fell over is looked at again with those of a replica that is gone.
fn ended_well(ended: Result<Result<(), StoreError>, JoinError>) -> Result<(), StoreError> {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "an item of a job fell over");
        Ok(())
    })
}

/// What a job does, in a few words.
#[must_use]
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
