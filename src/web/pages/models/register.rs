//! Registering a deployment.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use serde_json::json;
use tower_sessions::Session;

use super::form::{FIELDS, ModelForm, label};
use super::presets::{MODES, PRESETS, Preset};
use super::{Services, several};
use crate::clients::litellm::Credential;
use crate::domain::model_detail::{Detail, Draft};
use crate::services::registry::{Models, Outcome, Radius};
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::Query;
use crate::web::ui::{Flash, Ui, Wants};

#[derive(Template)]
#[template(path = "models/form.html", blocks = ["content"])]
pub(super) struct FormPage {
    pub(super) ui: Ui,
    pub(super) form: ModelForm,
    pub(super) data: FormData,
    pub(super) edited: Option<Edited>,
    pub(super) offered: Offered,
}

/// What the proxy has to choose from; empty where it does not list them.
pub(super) struct Offered {
    credentials: Vec<Credential>,
    providers: Vec<String>,
}

impl Offered {
    pub(super) async fn by(models: &Models) -> Self {
        let (credentials, providers) = tokio::join!(models.credentials(), models.providers());
        Self { credentials, providers }
    }
}

pub(super) struct Edited {
    pub(super) detail: Detail,
    pub(super) fingerprint: String,
    pub(super) ghost: Option<String>,
    pub(super) radius: Radius,
}

#[derive(Default, Serialize)]
pub(super) struct FormData {
    pub(super) errors: FieldErrors,
    pub(super) cannot_clear: Vec<String>,
    pub(super) same_name: usize,
}

page!(FormPage, FormData, as_content);

impl FormPage {
    /// A mode that the list does not know stays choosable.
    fn has_other_mode(&self) -> bool {
        let mode = self.form.get("mode");
        !mode.is_empty() && !MODES.contains(&mode)
    }

    fn preset(&self) -> &'static Preset {
        PRESETS.iter().find(|preset| preset.id == self.form.get("provider")).unwrap_or(&PRESETS[0])
    }

    /// What the credentials are called that can be chosen; the one that is chosen stays so.
    fn credentials(&self) -> Vec<&str> {
        let chosen = Some(self.form.get("credential")).filter(|name| !name.is_empty());
        let is_other = |name: &&str| Some(*name) != chosen;
        let stored = self.offered.credentials.iter().map(|one| one.name.as_str()).filter(is_other);
        chosen.into_iter().chain(stored).collect()
    }

    /// The proxy's own list, without those that have a preset.
    fn other_providers(&self) -> impl Iterator<Item = &String> {
        let has_preset = |id: &String| PRESETS.iter().any(|preset| preset.id == id);
        self.offered.providers.iter().filter(move |id| !has_preset(id))
    }

    /// Whether the rarer fields are shown at once.
    fn is_open(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| !self.form.get(field).is_empty() || self.data.errors.at(field).is_some())
    }

    fn wrong(&self) -> Vec<&'static str> {
        FIELDS
            .into_iter()
            .chain(["more"])
            .filter(|field| self.data.errors.at(field).is_some())
            .map(label)
            .collect()
    }
}

pub(super) async fn new(State(state): State<Services>, ui: Ui, query: Query) -> Response {
    let form = ModelForm::of_preset(query.get("preset"));
    let offered = Offered::by(&state.models).await;
    FormPage { ui, form, data: FormData::default(), edited: None, offered }.respond(StatusCode::OK)
}

pub(super) async fn create(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    form: ModelForm,
) -> Result<Response, Problem> {
    let mut errors = FieldErrors::default();
    let first = form.read(&mut errors);
    let drafts = several::drafts(&form, first, &mut errors);
    let same_name = check_names(&state, &form, &drafts, &mut errors).await;
    if !errors.is_empty() {
        let data = FormData { errors, same_name, ..FormData::default() };
        let offered = Offered::by(&state.models).await;
        let page = FormPage { ui, form: form.redisplayed(), data, edited: None, offered };
        return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let is_tested = form.is_ticked("test");
    let (registered, failure) = several::register(&state.models, &drafts, is_tested, &actor).await?;
    let failure = failure.map(|error| (&drafts[registered.len()], error));
    Ok(several::respond(&ui, &session, &registered, failure).await)
}

/// How many deployments of the first name there are. Names that are taken are errors, unless the box is ticked.
async fn check_names(
    state: &Services,
    form: &ModelForm,
    drafts: &[Draft],
    errors: &mut FieldErrors,
) -> usize {
    let all = state.registry.refresh().await.value.unwrap_or_default();
    let same_name = all.named(&drafts[0].name).len();
    if form.is_ticked("duplicate") {
        return same_name;
    }
    if same_name > 0 {
        errors.add(
            "name",
            "There is a deployment of this name: the proxy would share its calls among them. Tick the box if you want that.",
        );
    }
    if let Some(taken) = drafts[1..].iter().find(|draft| !all.named(&draft.name).is_empty()) {
        errors.add("more", format!("There is a deployment called {} already.", taken.name));
    }
    same_name
}

/// To the deployment's page, which says what became of it; for a script the same as JSON.
pub(super) async fn done(
    ui: &Ui,
    session: &Session,
    status: StatusCode,
    outcome: &Outcome,
    what: &str,
) -> Response {
    let Outcome { id, name, ghost, not_taken } = outcome;
    if ui.wants == Wants::Json {
        let body = json!({
            "id": id, "name": name, "live": ghost.is_none(), "problem": ghost, "not_taken": not_taken,
        });
        return (status, Json(body)).into_response();
    }
    let name: String = name.chars().take(120).collect();
    let text = match (ghost, not_taken.is_empty()) {
        (Some(_), _) => format!("{name} is saved, and not live: see below."),
        (None, true) => format!("{name} {what}."),
        (None, false) => format!("{name} is changed, but the proxy did not take: {}.", not_taken.join(", ")),
    };
    Flash::set(session, text).await;
    Redirect::to(&ui.paths.model(id)).into_response()
}
