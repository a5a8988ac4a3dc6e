//! A reset in the background, for a page to look at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::report::Step;
use super::{ApplyOptions, Bootstrap, DesiredState};
use crate::domain::audit::Actor;
use crate::domain::setup::Setup;

/// How long a reset waits for the proxy.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub(super) struct Last(Arc<Mutex<Option<ResetJob>>>);

#[derive(Debug, Clone, Serialize)]
pub struct ResetJob {
    pub at: Timestamp,
    pub by: String,
    pub is_running: bool,
    pub steps: Vec<Step>,
    pub error: Option<String>,
}

impl Last {
    fn job(&self) -> MutexGuard<'_, Option<ResetJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResetJob {
    /// How many steps failed, or could not be done.
    pub fn failed(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome.is_bad()).count()
    }
}

impl Bootstrap {
    pub fn last_reset(&self) -> Option<ResetJob> {
        self.last.job().clone()
    }

    pub fn begin_reset(&self, setup: &Setup, actor: &Actor) -> bool {
        let mut job = self.last.job();
        if job.as_ref().is_some_and(|job| job.is_running) {
            return false;
        }
        let (at, by) = (self.keys.now(), actor.name.clone());
        *job = Some(ResetJob { at, by, is_running: true, steps: Vec::new(), error: None });
        drop(job);
        let (this, setup, actor) = (self.clone(), setup.clone(), actor.clone());
        tokio::spawn(async move { this.reset_and_keep(&setup, &actor).await });
        true
    }

    async fn reset_and_keep(&self, setup: &Setup, actor: &Actor) {
        let options = ApplyOptions { patience: PATIENCE, ..ApplyOptions::default() };
        let say = |step: &Step| {
            if let Some(job) = self.last.job().as_mut() {
                job.steps.push(step.clone());
            }
        };
        let ended = match DesiredState::from_settings(setup) {
            Ok(desired) => self.reset(&desired, options, actor, say).await.map(drop),
            Err(error) => Err(error),
        };
        if let Some(job) = self.last.job().as_mut() {
            job.is_running = false;
            job.error = ended.err().map(|error| error.to_string());
        }
    }
}
