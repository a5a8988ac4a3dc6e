//! One swap of many contexts. Every item goes the way of any other swap, with a receipt and an audit entry. What a
//! replica that is gone had begun is read back before anything is sent again.

use std::collections::HashSet;

use tokio::sync::OwnedSemaphorePermit;

use uuid::Uuid;

use super::{Inner, Jobs, PANICKED, entry};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::assessment::Accepted;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::job::{
    BulkSwap, Counts, Item, ItemEnd, ItemRef, ItemState, Job, JobKind, JobState, Limits,
};
use crate::domain::lease::Lease;
use crate::domain::swap::{Outcome, PromptChange, SwapRequest};
use crate::domain::words::{counted, sentence};
use crate::services::agents::AgentView;
use crate::services::switcher::{OneOfMany, SwapError};
use crate::store::{StoreError, TimedEnds};

/// A bulk swap as it is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    pub swap: BulkSwap,
    pub limits: Limits,
    /// Contexts that are on a model for a time are left alone.
    pub keeps_timers: bool,
    /// The id of the form, which becomes the job's: sent twice, it is one job.
    pub request: Option<Uuid>,
}

/// What a bulk swap would do, counted before anything is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub contexts: Vec<ContextId>,
    pub pinned: Vec<ContextId>,
    /// Those of `contexts` that go back by themselves at a set time.
    pub timed: Vec<ContextId>,
    /// How many of `contexts` were never switched or read here.
    pub unknown: usize,
    pub repeated: usize,
    pub malformed: Vec<String>,
}

impl Jobs {
    /// Sorts what was chosen: ids, one a line or with commas or blanks between.
    pub async fn sort(&self, agent: &AgentName, ids: &str) -> Result<Chosen, StoreError> {
        let known = self.inner.store.pins(agent).await?;
        let timed = self.inner.store.timed_contexts(agent).await?;
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
                    chosen.timed.extend(timed.get(&context).cloned());
                    chosen.contexts.push(context);
                }
            }
        }
        Ok(chosen)
    }

    /// Begins a bulk swap. Contexts that are left alone are among its items.
    pub async fn begin_swaps(
        &self,
        plan: Plan,
        mut chosen: Chosen,
        actor: &Actor,
    ) -> Result<String, StoreError> {
        let timed = if plan.keeps_timers { std::mem::take(&mut chosen.timed) } else { Vec::new() };
        chosen.contexts.retain(|context| !timed.contains(context));
        let skipped = |contexts: Vec<ContextId>, why: &'static str| {
            contexts.into_iter().map(move |context| Item {
                state: ItemState::Skipped,
                why: Some(why.to_owned()),
                ..Item::waiting(context, None)
            })
        };
        let swapped = chosen.contexts.into_iter().map(|context| Item::waiting(context, None));
        let items = swapped
            .chain(skipped(chosen.pinned, "pinned"))
            .chain(skipped(timed, "on a model for a time, which was to be kept"));
        self.add_swaps(plan, &items.collect::<Vec<_>>(), actor).await
    }

    /// Begins a job that undoes the swaps of another. None where there are none to undo.
    pub async fn undo(
        &self,
        job: &Job,
        swap: &BulkSwap,
        actor: &Actor,
    ) -> Result<Option<String>, StoreError> {
        let done = self.inner.all_items(&job.id, Some(ItemState::Done)).await?;
        let items: Vec<Item> = done
            .into_iter()
            .filter_map(|item| Some(Item::waiting(item.subject, Some(item.reference?))))
            .collect();
        if items.is_empty() {
            return Ok(None);
        }
        let swap = BulkSwap {
            agent: swap.agent.clone(),
            model: None,
            prompt: PromptChange::Keep,
            undoes: Some(job.id.clone()),
            minutes: None,
            message: None,
        };
        let limits = Limits { upto: u32::MAX, ..job.limits };
        self.add_swaps(Plan { swap, limits, keeps_timers: false, request: None }, &items, actor)
            .await
            .map(Some)
    }

    async fn add_swaps(&self, plan: Plan, items: &[Item], actor: &Actor) -> Result<String, StoreError> {
        let Plan { swap, limits, request, .. } = plan;
        let detail = format!("{}: {}", counted(items.len(), "context"), swap.describe());
        let kind = JobKind::Swap(swap);
        let job = match self.inner.add(request, kind, limits, None, items, actor).await {
            // The form was sent twice.
            Err(error) if error.is_taken() && request.is_some() => {
                return Ok(request.unwrap_or_default().to_string());
            }
            job => job?,
        };
        self.inner.store.audit(&entry(&job, actor, "begun", Some(detail))).await?;
        Ok(job.id)
    }

    /// What became of the contexts of a job that switched them for a time; none where it did not.
    pub async fn timed_ends(&self, id: &str, swap: &BulkSwap) -> Result<Option<TimedEnds>, StoreError> {
        match swap.minutes {
            Some(_) => self.inner.store.timed_ends(id, &swap.agent).await.map(Some),
            None => Ok(None),
        }
    }

    /// A page of items, as people see them: an item that has no receipt has no reference.
    pub async fn swap_items(
        &self,
        id: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        self.inner.store.job_items_shown(id, state, after, limit).await
    }
}

impl Inner {
    /// One item, by the one path that all swaps take, which notes how it ended as well.
    pub(super) async fn swap(
        &self,
        job: &Job,
        swap: &BulkSwap,
        lease: &Lease,
        item: &Item,
        view: Option<AgentView>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<ItemEnd>, StoreError> {
        let (Some(id), Some(view)) = (item.reference.clone(), view) else {
            return Ok(Some(ItemEnd::failed("The agent is no longer in the settings.")));
        };
        let Some(request) = self.request(swap, item).await? else {
            return Ok(Some(ItemEnd::failed("What it was on before cannot be sent to the agent.")));
        };
        let item = ItemRef { job: job.id.clone(), n: item.n, swap: id.clone(), lease: lease.clone() };
        match self.switcher.swap_of_many(OneOfMany { item, view, turn }, request, &job.actor).await {
            Ok(swap) if swap.finished_at.is_none() => {
                self.store.close_unfinished_swap(&id).await?;
                Ok(Some(ItemEnd::failed(PANICKED)))
            }
            // Where it could not be written down for very long, it is settled as if the replica were gone.
            Ok(_) | Err(SwapError::NotWritten(_)) => Ok(None),
            Err(SwapError::Store(error)) => Err(error),
            Err(error) => Ok(Some(ItemEnd::failed(sentence(&error)))),
        }
    }

    async fn request(&self, swap: &BulkSwap, item: &Item) -> Result<Option<SwapRequest>, StoreError> {
        let Ok(context) = item.subject.parse::<ContextId>() else { return Ok(None) };
        let Some(undone) = &item.task else {
            return Ok(Some(SwapRequest {
                agent: swap.agent.clone(),
                context,
                model: swap.model.clone(),
                prompt: swap.prompt.clone(),
                seen: None,
                probe: false,
                message: swap.message.clone(),
                minutes: swap.minutes,
                accepted: Accepted { size: false, cost: true },
            }));
        };
        let Some(undone) = self.store.swap(undone).await? else { return Ok(None) };
        let Some(before) = &undone.before else { return Ok(None) };
        let request = SwapRequest::going_to(&swap.agent, &context, undone.after.as_ref(), before);
        // A context that was switched again since is left alone.
        Ok(request.map(|request| SwapRequest { seen: Some(undone.id.clone()), ..request }))
    }

    pub(super) async fn settle_swap(
        &self,
        job: &Job,
        swap: &BulkSwap,
        item: &Item,
    ) -> Result<ItemEnd, StoreError> {
        let Some(id) = &item.reference else { return Ok(ItemEnd::again()) };
        self.switcher.wait_for(id).await;
        self.store.close_unfinished_swap(id).await?;
        match self.store.swap(id).await? {
            None => Ok(ItemEnd::again()),
            Some(swap) if swap.outcome != Outcome::Unknown => Ok(ItemEnd::of_swap(&swap)),
            Some(_) => self.read_back(job, swap, item).await,
        }
    }

    async fn read_back(&self, job: &Job, swap: &BulkSwap, item: &Item) -> Result<ItemEnd, StoreError> {
        let Some(request) = self.request(swap, item).await? else {
            return Ok(ItemEnd::failed("What it was on before is not known."));
        };
        match self.switcher.read_config(&swap.agent, &request.context).await {
            Ok(config) if request.is_met_by(&config) => {
                let object = format!("{}/{}", swap.agent, request.context);
                let mut entry = NewEntry::new(&job.actor, Action::Swap, object, Outcome::Verified.as_str());
                entry.after = Some(config.spec_text());
                entry.detail = Some(
                    "read back after the replica that ran the swap was gone; nothing was sent again".into(),
                );
                self.store.audit(&entry).await?;
                if let (Some(minutes), Some(id)) = (swap.minutes, &item.reference) {
                    self.store.add_revert(&swap.agent, &request.context, id, minutes).await?;
                }
                let why = "Read back: it was done when its replica ended.".to_owned();
                Ok(ItemEnd::new(ItemState::Done, Some(why)))
            }
            Ok(_) => Ok(ItemEnd::again()),
            Err(error) => Ok(ItemEnd::failed(sentence(&error))),
        }
    }

    /// Looks at the agent before more is begun, and stops the job where there is a reason to. None where there is no
    /// such agent any more.
    pub(super) async fn look_before(
        &self,
        job: &Job,
        swap: &BulkSwap,
        counts: Counts,
    ) -> Result<Option<AgentView>, StoreError> {
        let view = match self.agents.get(&swap.agent) {
            Some(agent) => Some(self.agents.view(&agent).await?),
            None => None,
        };
        let since = counts.failed.saturating_sub(job.forgiven.into());
        let stop_after = job.limits.stop_after;
        let why = match &view {
            None => "The agent is no longer in the settings.".to_owned(),
            Some(view) if view.scope == Some(Scope::Agent) => {
                "The agent has one model for all its contexts: one swap changes them all.".to_owned()
            }
            Some(_) if stop_after > 0 && since >= stop_after.into() => format!("{since} failed."),
            Some(_) => return Ok(view),
        };
        let entry = entry(job, &job.actor, "stopped", Some(why.clone()));
        self.store.set_job(&job.id, &[JobState::Running], JobState::Stopped, Some(&why), &entry).await?;
        Ok(view)
    }
}
