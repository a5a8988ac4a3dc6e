//! The danger zone: emptying the proxy and bootstrapping it again.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::setup::Setup;
use crate::services::bootstrap::{Outcome, Stock};
use crate::services::jobs::{Jobs, ResetJob};
use crate::services::keys::Keys;
use crate::services::proxy::Proxy;
use crate::services::registry::Registry;
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::Trouble;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{ADMIN, Routes};
use crate::web::state::services;
use crate::web::ui::{Ui, Wants};

const SHOWN: usize = 200;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(ADMIN, route::Danger::PATH, show).post(ADMIN, route::DangerReset::PATH, reset)
}

services! {
    struct Services {
        jobs: Jobs,
        keys: Keys,
        proxy: Proxy,
        registry: Registry,
        setup: Arc<Setup>,
    }
}

#[derive(Template)]
#[template(path = "danger.html", blocks = ["content"])]
struct DangerPage {
    ui: Ui,
    data: DangerData,
    typed: String,
    env_file: String,
    at: Option<jiff::Timestamp>,
}

#[derive(Serialize)]
struct DangerData {
    /// The proxy's address, which is typed to confirm.
    proxy: String,
    stock: Stock,
    trouble: Option<Trouble>,
    last: Option<ResetJob>,
    errors: FieldErrors,
}

page!(DangerPage, DangerData, as_content);

impl DangerPage {
    async fn load(state: &Services, ui: Ui, typed: String, errors: FieldErrors) -> Result<Self, Problem> {
        let (models, keys) = tokio::join!(state.registry.refresh(), state.keys.get());
        let live = models.value.as_deref().map_or(&[][..], |all| all);
        let stock = Stock::of(live, keys.total, keys.keys.iter().map(|key| key.label().to_owned()));
        let problem = models.problem.as_ref().or(keys.problem.as_ref());
        let data = DangerData {
            proxy: state.proxy.address().to_owned(),
            stock,
            trouble: problem.map(Trouble::of),
            last: state.jobs.last_reset().await?,
            errors,
        };
        let env_file = state.setup.env_file.display().to_string();
        Ok(Self { ui, data, typed, env_file, at: models.at })
    }

    fn is_running(&self) -> bool {
        self.data.last.as_ref().is_some_and(|last| last.is_running)
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn tone(&self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Changed | Outcome::Planned => "good",
            Outcome::Same | Outcome::Waiting => "plain",
            Outcome::Refused | Outcome::Failed => "bad",
        }
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn skipped(&self, last: &ResetJob) -> usize {
        last.steps.len().saturating_sub(SHOWN)
    }
}

async fn show(State(state): State<Services>, ui: Ui) -> Result<Response, Problem> {
    let page = DangerPage::load(&state, ui, String::new(), FieldErrors::default()).await?;
    Ok(page.respond(StatusCode::OK))
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ResetForm {
    confirm: String,
}

/// Begins it in the background, since many models take their time; the page follows it.
async fn reset(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(form): Form<ResetForm>,
) -> Result<Response, Problem> {
    if form.confirm.trim() != state.proxy.address() {
        let mut errors = FieldErrors::default();
        errors.add("confirm", "Type the proxy's address exactly, to confirm.");
        let page = DangerPage::load(&state, ui, form.confirm, errors).await?;
        return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
    }
    if !state.jobs.begin_reset(&actor).await? {
        return Err(Problem::busy("Another reset goes on: wait until it has ended."));
    }
    if ui.wants == Wants::Json {
        return Ok(
            (StatusCode::ACCEPTED, Json(json!({ "href": ui.paths.to(route::Danger) }))).into_response()
        );
    }
    Ok(Redirect::to(&ui.paths.to(route::Danger)).into_response())
}
