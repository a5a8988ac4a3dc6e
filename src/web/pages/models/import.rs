//! Import and export of LiteLLM's `model_list`.

use std::convert::Infallible;

use askama::Template;
use axum::Json;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::stream;
use serde::Serialize;

use super::form::ModelForm;
use crate::domain::job::JobState;
use crate::services::jobs::{ImportJob, ImportResult, Jobs};
use crate::services::registry::{Item, Models, PlanError, Step};
use crate::web::auth::ActorOf;
use crate::web::csv::Reader;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

#[derive(Template)]
#[template(path = "models/import.html", blocks = ["content"])]
struct ImportPage {
    ui: Ui,
    data: ImportFormData,
}

#[derive(Serialize)]
struct ImportFormData {
    errors: FieldErrors,
}

page!(ImportPage, ImportFormData, as_content);

pub(super) struct Upload(String);

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_multipart = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
        if !is_multipart {
            let form = ModelForm::from_request(request, state).await?;
            return Ok(Self(form.get("yaml").to_owned()));
        }
        let mut parts = Multipart::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let (mut pasted, mut file) = (String::new(), String::new());
        while let Some(part) = parts.next_field().await.map_err(IntoResponse::into_response)? {
            let slot = match part.name() {
                Some("yaml") => &mut pasted,
                Some("file") => &mut file,
                _ => continue,
            };
            let bytes = part.bytes().await.map_err(IntoResponse::into_response)?;
            *slot = String::from_utf8_lossy(&bytes).into_owned();
        }
        // A chosen file counts before what stands in the box.
        Ok(Self(if file.trim().is_empty() { pasted } else { file }))
    }
}

pub(super) async fn form(ui: Ui) -> Response {
    ImportPage { ui, data: ImportFormData { errors: FieldErrors::default() } }.respond(StatusCode::OK)
}

/// Plans; nothing is sent to the proxy yet. The list is not shown again, since it may hold secrets.
pub(super) async fn plan(
    State(jobs): State<Jobs>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Upload(yaml): Upload,
) -> Result<Response, Problem> {
    let import = match jobs.plan_import(&yaml, &actor).await {
        Ok(import) => import,
        Err(PlanError::Model(error)) => return Err(error.into()),
        Err(PlanError::Yaml(error)) => {
            let mut errors = FieldErrors::default();
            errors.add("yaml", error.0);
            let page = ImportPage { ui, data: ImportFormData { errors } };
            return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
        }
    };
    if ui.wants == Wants::Json {
        return Ok((StatusCode::CREATED, Json(import)).into_response());
    }
    Ok(Redirect::to(&ui.paths.to(route::Import(import.id.clone()))).into_response())
}

#[derive(Template)]
#[template(path = "models/job.html", blocks = ["content"])]
struct JobPage {
    ui: Ui,
    data: ImportJob,
}

page!(JobPage, ImportJob, as_content);

impl JobPage {
    fn is_planned(&self) -> bool {
        self.data.state == JobState::Planned
    }

    fn is_running(&self) -> bool {
        self.data.state == JobState::Running
    }

    fn can_apply(&self) -> bool {
        match self.data.state {
            JobState::Running | JobState::Failed => false,
            JobState::Done => self.data.failed() > 0,
            _ => true,
        }
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn tone(&self, step: &Step) -> &'static str {
        match step {
            Step::Add { .. } => "good",
            Step::Change { .. } => "accent",
            Step::Same => "plain",
            Step::Refused { .. } => "bad",
        }
    }

    fn count(&self, step: &str) -> usize {
        self.data.plan.items.iter().filter(|item| item.step.word() == step).count()
    }

    fn rows(&self) -> impl Iterator<Item = (&Item, &ImportResult)> {
        self.data.plan.items.iter().zip(&self.data.results)
    }
}

pub(super) async fn show(
    State(jobs): State<Jobs>,
    ui: Ui,
    route::Import(job): route::Import,
) -> Result<Response, Problem> {
    let import = jobs.import(&job).await?.ok_or_else(|| Problem::not_found("The import"))?;
    Ok(JobPage { ui, data: import }.respond(StatusCode::OK))
}

pub(super) async fn apply(
    State(jobs): State<Jobs>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ImportApply(job): route::ImportApply,
    form: ModelForm,
) -> Result<Response, Problem> {
    let import = jobs.apply_import(&job, form.is_ticked("raw_secrets"), &actor).await?;
    let import = import.ok_or_else(|| Problem::not_found("The import"))?;
    if ui.wants == Wants::Json {
        return Ok((StatusCode::ACCEPTED, Json(import)).into_response());
    }
    Ok(Redirect::to(&ui.paths.to(route::Import(job.clone()))).into_response())
}

/// The registry as YAML, without secrets.
pub(super) async fn export(State(models): State<Models>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let reader = Reader::join(&ui)?;
    let yaml = models.export(query.get("source") == "all").await?;
    let yaml = yaml.map_err(|error| {
        tracing::error!(%error, "the registry could not be written as YAML");
        Problem::not_found("A way to write the registry as YAML")
    })?;
    let yaml = stream::once(async { Ok::<_, Infallible>(yaml) });
    Ok(reader.send("application/yaml; charset=utf-8", "model_list.yaml", yaml))
}
