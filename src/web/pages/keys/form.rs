//! The forms of a new key and of a key's settings, and the comparison before saving.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum_extra::extract::Form;
use serde::Serialize;

use super::Services;
use super::input::KeyForm;
use super::list::names;
use super::{KeyRow, actions, made};
use crate::clients::litellm::KeyRecord;
use crate::domain::key::KeyHash;
use crate::domain::key_changes::Difference;
use crate::domain::words::sentence;
use crate::services::keys::{KeyChangeError, Keys};
use crate::web::auth::{Acting, ActorOf};
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::Query;
use crate::web::ui::Ui;

#[derive(Template)]
#[template(path = "keys/form.html", blocks = ["content"])]
struct FormPage {
    ui: Ui,
    form: KeyForm,
    data: FormData,
    models: Vec<String>,
}

#[derive(Serialize)]
struct FormData {
    /// The key that is changed; none for a new one.
    key: Option<KeyRow>,
    errors: FieldErrors,
    alias_of: Option<KeyHash>,
    /// The key was changed since the form was loaded.
    has_changed: bool,
    /// Why nothing, or not everything, was done.
    failure: Option<String>,
}

page!(FormPage, FormData, as_content);

impl FormPage {
    fn action(&self) -> String {
        match &self.data.key {
            Some(row) => self.ui.paths.key(&row.key.hash),
            None => self.ui.paths.to(route::Keys),
        }
    }

    fn access(&self) -> &str {
        self.form.access.as_deref().unwrap_or("all")
    }
}

#[derive(Template)]
#[template(path = "keys/review.html", blocks = ["content"])]
struct ReviewPage {
    ui: Ui,
    form: KeyForm,
    data: ReviewData,
}

#[derive(Serialize)]
struct ReviewData {
    key: KeyRow,
    differences: Vec<Difference>,
}

page!(ReviewPage, ReviewData, as_content);

pub(super) async fn new(State(state): State<Services>, ui: Ui, query: Query) -> Response {
    let field = |name: &str| Some(query.get(name).to_owned()).filter(|value| !value.is_empty());
    let model = query.get("model");
    let form = KeyForm {
        alias: field("alias"),
        access: Some(if model.is_empty() { "all" } else { "list" }.to_owned()),
        token: Some(made::new_token()),
        models: Some(model.to_owned()).filter(|model| !model.is_empty()).into_iter().collect(),
        ..KeyForm::default()
    };
    page(&state, ui, form, None, None).await.respond(StatusCode::OK)
}

pub(super) async fn create(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(form): Form<KeyForm>,
) -> Result<Response, Problem> {
    let changes = match form.changes(None) {
        Ok(changes) => changes,
        Err(errors) => return Ok(refused(&state, ui, form, None, errors).await),
    };
    let created = match state.keys.create(&changes, made::token(form.token.as_deref()), &actor).await {
        Ok(created) => created,
        Err(KeyChangeError::AliasTaken(other)) => return Ok(taken(&state, ui, form, None, other).await),
        Err(KeyChangeError::Sent(key)) => return made::sent_before(&state, ui, key, None).await,
        Err(error) => return Ok(failed(&state, ui, form, None, error).await),
    };
    Ok(made::show(&state, ui, created, None).await)
}

pub(super) async fn edit(
    State(state): State<Services>,
    ui: Ui,
    route::KeyEdit(hash): route::KeyEdit,
) -> Result<Response, Problem> {
    let record = record(&state, &hash).await?;
    let models = registered(&state).await;
    let form = KeyForm::of(&record, &models);
    let key = KeyRow::of(record.key, &ui, &state);
    Ok(page(&state, ui, form, Some(key), None).await.respond(StatusCode::OK))
}

pub(super) async fn update(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::Key(hash): route::Key,
    Form(form): Form<KeyForm>,
) -> Result<Response, Problem> {
    let record = record(&state, &hash).await?;
    let changes = match form.changes(Some(&record)) {
        Ok(changes) => changes,
        Err(errors) => return Ok(refused(&state, ui, form, Some(record), errors).await),
    };
    if form.review.as_deref().is_some_and(|review| !review.is_empty()) {
        return Ok(review(&state, ui, form, record).await);
    }
    let seen = form.seen.clone().filter(|seen| !seen.is_empty());
    match state.keys.update(&hash, changes, seen.as_deref(), &actor).await {
        Ok((key, differences)) => {
            let text = match differences.len() {
                0 => format!("Nothing of {} was changed.", key.label()),
                1 => format!("One setting of {} was changed.", key.label()),
                count => format!("{count} settings of {} were changed.", key.label()),
            };
            Ok(actions::done(&state, &ui, &session, key, text).await)
        }
        Err(KeyChangeError::AliasTaken(other)) => Ok(taken(&state, ui, form, Some(record), other).await),
        Err(KeyChangeError::Changed) => Ok(changed(&state, ui, record).await),
        Err(KeyChangeError::Unknown) => Err(Problem::not_found("The key")),
        Err(error) => Ok(failed(&state, ui, form, Some(record), error).await),
    }
}

/// The form with what was typed, and why it failed.
async fn failed(
    state: &Services,
    ui: Ui,
    form: KeyForm,
    record: Option<KeyRecord>,
    error: KeyChangeError,
) -> Response {
    let mut errors = FieldErrors::default();
    if let KeyChangeError::CannotClear { settings, .. } = &error {
        for setting in settings {
            let field = if *setting == "expiry" { "duration" } else { "budget_duration" };
            errors.add(field, sentence(&error));
        }
    }
    let key = record.map(|record| KeyRow::of(record.key, &ui, state));
    let problem = Problem::from(error);
    let mut page = page(state, ui, form, key, Some(errors)).await;
    page.data.failure = Some(format!("{}: {} {}", problem.title, problem.detail, problem.advice));
    page.respond(problem.status)
}

async fn record(state: &Services, hash: &KeyHash) -> Result<KeyRecord, Problem> {
    let record = state.keys.record(hash).await.map_err(|error| Problem::of_client(&error))?;
    record.ok_or_else(|| Problem::not_found("The key"))
}

/// What would change, before it does.
async fn review(state: &Services, ui: Ui, form: KeyForm, record: KeyRecord) -> Response {
    let seen = form.seen.as_deref().unwrap_or_default();
    if !seen.is_empty() && seen != Keys::fingerprint(&record) {
        return changed(state, ui, record).await;
    }
    let mut changes = form.changes(Some(&record)).unwrap_or_default();
    let differences = changes.against(&record.key, &record.metadata, ui.now);
    let data = ReviewData { key: KeyRow::of(record.key, &ui, state), differences };
    ReviewPage { ui, form, data }.respond(StatusCode::OK)
}

/// The form as it is now: what was typed was about another state.
async fn changed(state: &Services, ui: Ui, record: KeyRecord) -> Response {
    let form = KeyForm::of(&record, &registered(state).await);
    let key = KeyRow::of(record.key, &ui, state);
    let mut page = page(state, ui, form, Some(key), None).await;
    page.data.has_changed = true;
    page.respond(StatusCode::CONFLICT)
}

async fn refused(
    state: &Services,
    ui: Ui,
    form: KeyForm,
    record: Option<KeyRecord>,
    errors: FieldErrors,
) -> Response {
    let key = record.map(|record| KeyRow::of(record.key, &ui, state));
    page(state, ui, form, key, Some(errors)).await.respond(StatusCode::UNPROCESSABLE_ENTITY)
}

async fn taken(
    state: &Services,
    ui: Ui,
    form: KeyForm,
    record: Option<KeyRecord>,
    other: KeyHash,
) -> Response {
    let mut errors = FieldErrors::default();
    errors.add("alias", "Another key has this alias already.");
    let key = record.map(|record| KeyRow::of(record.key, &ui, state));
    let mut page = page(state, ui, form, key, Some(errors)).await;
    page.data.alias_of = Some(other);
    page.respond(StatusCode::UNPROCESSABLE_ENTITY)
}

async fn registered(state: &Services) -> Vec<String> {
    let registry = state.registry.refresh().await;
    names(registry.value.as_deref().map_or(&[][..], |all| all))
}

async fn page(
    state: &Services,
    ui: Ui,
    form: KeyForm,
    key: Option<KeyRow>,
    errors: Option<FieldErrors>,
) -> FormPage {
    let models = registered(state).await;
    let errors = errors.unwrap_or_default();
    FormPage {
        ui,
        form,
        data: FormData { key, errors, alias_of: None, has_changed: false, failure: None },
        models,
    }
}
