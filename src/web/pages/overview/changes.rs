//! Who changed what last, in words, beside the swaps.

use serde::Serialize;

use super::Services;
use crate::domain::audit::{Action, Entry, Filter};
use crate::domain::key::KeyHash;
use crate::domain::model::Deployment;
use crate::web::errors::Problem;
use crate::web::pages::audit::job_of;
use crate::web::paths::Paths;

const SHOWN: usize = 6;
const ENTRIES: usize = 60;

/// A change, as a sentence: who did what to what.
#[derive(Serialize)]
pub(super) struct Change {
    #[serde(flatten)]
    pub(super) entry: Entry,
    pub(super) done: &'static str,
    pub(super) name: String,
    /// Where that is, unless it is gone.
    pub(super) href: Option<String>,
}

/// The last changes of models, keys and contexts. Swaps have a list of their own.
pub(super) async fn last(
    state: &Services,
    paths: &Paths,
    deployments: &[Deployment],
) -> Result<Vec<Change>, Problem> {
    let mut entries = state.audit.entries(&Filter::default(), None, ENTRIES).await?;
    entries.dedup_by(|next, kept| kept.is_like(next));
    let changes = entries.into_iter().filter_map(|entry| {
        let done = done(&entry.action)?;
        let (name, href) = named(&entry, state, paths, deployments);
        Some(Change { entry, done, name, href })
    });
    Ok(changes.take(SHOWN).collect())
}

/// What was done, in words; none for what is no change, or has a list of its own.
fn done(action: &str) -> Option<&'static str> {
    match action.parse().ok()? {
        Action::Login
        | Action::Logout
        | Action::Access
        | Action::SessionEnd
        | Action::Swap
        | Action::Ask
        | Action::ModelTest
        | Action::Health
        | Action::AlertsTest
        | Action::AuditEnd => None,
        action => Some(action.verb()),
    }
}

fn named(
    entry: &Entry,
    state: &Services,
    paths: &Paths,
    deployments: &[Deployment],
) -> (String, Option<String>) {
    let object = entry.object.as_str();
    if let Some(href) = job_of(entry, paths) {
        // The end of a job of keys tells in its `after` what was changed.
        let told = entry.after.as_ref().or(entry.detail.as_ref());
        return (told.cloned().unwrap_or_else(|| "the job".to_owned()), Some(href));
    }
    if matches!(entry.action.as_str(), "compare" | "agent.scope") {
        return (object.to_owned(), object.parse().ok().map(|agent| paths.agent(&agent)));
    }
    if let Ok(hash) = object.parse::<KeyHash>() {
        let href = Some(paths.key(&hash)).filter(|_| entry.action != "key.delete");
        let name = state.keys.copy_of(&hash).map(|(key, _)| key.label().to_owned());
        return (name.unwrap_or_else(|| format!("{}…", &object[..8])), href);
    }
    if entry.action.starts_with("model.") {
        let known = deployments.iter().find(|deployment| deployment.id == object);
        return match known {
            Some(deployment) => (deployment.label().to_owned(), Some(paths.model(object))),
            None => (object.to_owned(), None),
        };
    }
    let context =
        object.split_once('/').and_then(|(agent, id)| Some((agent.parse().ok()?, id.parse().ok()?)));
    match context {
        Some((agent, context)) => (object.to_owned(), Some(paths.context(&agent, &context))),
        None => (object.to_owned(), None),
    }
}
