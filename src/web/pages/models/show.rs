//! One deployment: live, or saved and dead.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Services;
use crate::clients::ClientError;
use crate::domain::audit::Entry;
use crate::domain::context::KnownContext;
use crate::domain::key::VirtualKey;
use crate::domain::model::Deployment;
use crate::domain::model_detail::{Detail, shown};
use crate::domain::model_note::TestResult;
use crate::domain::routing::Fallback;
use crate::services::registry::{Catalog, Found, ModelError, Models, cannot_test};
use crate::services::snapshot::View;
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::Ui;

/// Most keys, and most contexts, that are named on a model's page.
const SHOWN: usize = 10;

#[derive(Template)]
#[template(path = "models/show.html", blocks = ["content"])]
struct ModelPage {
    ui: Ui,
    data: ModelData,
}

#[derive(Serialize)]
struct ModelData {
    deployment: Deployment,
    settings: Vec<(String, String)>,
    secret: Option<String>,
    siblings: Vec<Deployment>,
    aliases: Vec<String>,
    /// What answers where calls of its name fail; none if the proxy does not report it.
    fallbacks: Option<Vec<Fallback>>,
    fallback_for: Vec<String>,
    /// Models of contexts that a wildcard serves.
    covers: Vec<String>,
    is_callable: bool,
    keys: Vec<VirtualKey>,
    keys_total: usize,
    keys_are_complete: bool,
    contexts: Vec<KnownContext>,
    contexts_total: usize,
    test: Option<TestResult>,
    cannot_test: Option<String>,
    cannot_block: Option<String>,
    audit: Vec<Entry>,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

page!(ModelPage, ModelData, as_content);

#[derive(Template)]
#[template(path = "models/ghost.html", blocks = ["content"])]
struct GhostPage {
    ui: Ui,
    data: GhostData,
}

/// A deployment that is saved and not live.
#[derive(Serialize)]
struct GhostData {
    id: String,
    name: String,
    why: String,
    settings: Vec<(String, String)>,
    audit: Vec<Entry>,
}

page!(GhostPage, GhostData, as_content);

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Model(id): route::Model,
) -> Result<Response, Problem> {
    let (found, mut registry) = tokio::join!(state.models.find(&id), state.registry.refresh());
    let (found, trouble) = match found {
        Ok(Some(Found { ghost: Some(why), detail, .. })) => return ghost(&state, ui, &detail, why).await,
        Ok(Some(found)) => (Some(found), None),
        Ok(None) => return Err(ModelError::Unknown.into()),
        // The proxy does not answer: what is known is shown.
        Err(ModelError::Proxy(error)) => (None, Some(error)),
        Err(error) => return Err(error.into()),
    };
    let is_listed =
        |registry: &Registered| registry.value.as_ref().is_some_and(|all| all.iter().any(|d| d.id == id));
    if found.is_some() && !is_listed(&registry) {
        // Someone else's, younger than the copy.
        state.registry.invalidate();
        registry = state.registry.refresh().await;
    }
    let data = load(&state, &id, found, registry, trouble).await?;
    Ok(ModelPage { ui, data }.respond(StatusCode::OK))
}

type Registered = View<Catalog, ClientError>;

async fn ghost(state: &Services, ui: Ui, detail: &Detail, why: String) -> Result<Response, Problem> {
    let data = GhostData {
        id: detail.id.clone(),
        name: detail.name.clone(),
        why,
        settings: detail.own_params(&[]).map(|(name, value)| (name.clone(), shown(name, value))).collect(),
        audit: state.audit.about(&detail.id).await?,
    };
    Ok(GhostPage { ui, data }.respond(StatusCode::OK))
}

async fn load(
    state: &Services,
    id: &str,
    found: Option<Found>,
    registry: Registered,
    trouble: Option<ClientError>,
) -> Result<ModelData, Problem> {
    let trouble = trouble.or_else(|| registry.problem.clone());
    let all = match (&registry.value, &trouble) {
        (Some(all), _) => Arc::clone(all),
        (None, Some(problem)) => return Err(Problem::of_client(problem)),
        (None, None) => return Err(Problem::not_found("The deployment")),
    };
    let deployment = all.iter().find(|deployment| deployment.id == id);
    let deployment = deployment.ok_or_else(|| Problem::not_found("The deployment"))?.clone();
    // Both may have to wait for a proxy that hangs.
    let (keys, radius) = tokio::join!(state.keys.get(), state.models.radius(id, &deployment.name));
    let radius = radius?;
    let rules = state.keys.rules(&keys).await;
    let callers = keys.keys.callers(&rules, &all.target(&deployment.name), state.keys.now());
    let given = found.as_ref().map(Found::as_given);
    let note = match found {
        Some(found) => found.note,
        None => state.models.note(id).await?,
    };
    Ok(ModelData {
        settings: given.as_ref().map(settings).unwrap_or_default(),
        secret: given.map(|given| given.param("api_key")).filter(|secret| !secret.is_empty()),
        siblings: radius.siblings,
        aliases: radius.aliases,
        fallbacks: all
            .routing
            .fallbacks
            .is_some()
            .then(|| all.routing.fallbacks_of(&deployment.name).into_iter().cloned().collect()),
        fallback_for: radius.fallback_for,
        covers: if deployment.is_pattern() { covered(&state.models, &all, id).await } else { Vec::new() },
        is_callable: all.callable.contains(&deployment.name),
        keys: callers.range(0..SHOWN).collect(),
        keys_total: callers.len(),
        keys_are_complete: keys.is_complete,
        contexts: radius.contexts,
        contexts_total: radius.contexts_total,
        test: note.and_then(|note| note.test),
        cannot_test: cannot_test(deployment.mode.as_deref().unwrap_or_default()),
        cannot_block: state.models.cannot_block().await,
        audit: state.audit.about(id).await?,
        as_of: AsOf::of(registry.at),
        trouble: trouble.as_ref().map(Trouble::of),
        deployment,
    })
}

/// The models of contexts that a wildcard's deployment serves.
async fn covered(models: &Models, catalog: &Catalog, id: &str) -> Vec<String> {
    let notes = models.notes().await.unwrap_or_default();
    let is_served = |model: &&String| catalog.serving(model).deployments.iter().any(|one| one.id == id);
    let mut covered: Vec<String> = notes.contexts.keys().filter(is_served).cloned().collect();
    covered.sort_unstable();
    covered
}

/// Parameters beside those that the page names, without secrets.
fn settings(detail: &Detail) -> Vec<(String, String)> {
    let named = ["api_key", "model", "custom_llm_provider", "api_base"];
    detail.own_params(&named).map(|(name, value)| (name.clone(), shown(name, value))).collect()
}
