//! Editing a deployment, or replacing it by a new one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Services;
use super::form::ModelForm;
use super::register::{Edited, FormData, FormPage, Offered, done};
use crate::domain::audit::Actor;
use crate::domain::model::Source;
use crate::domain::model_detail::Draft;
use crate::domain::redact;
use crate::services::registry::{Edit, Found, ModelError, Outcome};
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::Page as _;
use crate::web::ui::Ui;

pub(super) async fn edit(
    State(state): State<Services>,
    ui: Ui,
    route::ModelEdit(id): route::ModelEdit,
) -> Result<Response, Problem> {
    let found = editable(&state, &id).await?;
    let form = ModelForm::of_detail(&found.as_given());
    let edited = Some(edited(&state, &found).await?);
    let offered = Offered::by(&state.models).await;
    Ok(FormPage { ui, form, data: FormData::default(), edited, offered }.respond(StatusCode::OK))
}

pub(super) async fn update(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::Model(id): route::Model,
    form: ModelForm,
) -> Result<Response, Problem> {
    let found = editable(&state, &id).await?;
    let wish = Wish::read(&form, &found);
    let edited = edited(&state, &found).await?;
    let errors = wish.errors(&form, &edited);
    let is_refused = !errors.is_empty() || (!wish.cleared.is_empty() && !form.is_ticked("replace"));
    if is_refused {
        let data = FormData { errors, cannot_clear: wish.cleared, same_name: 0 };
        let offered = Offered::by(&state.models).await;
        let page = FormPage { ui, form: form.redisplayed(), data, edited: Some(edited), offered };
        return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let outcome = wish.fulfil(&state, &found, &form, &actor).await?;
    let what = if wish.is_replacement {
        "is registered again and live; the former deployment is deleted"
    } else {
        "is changed"
    };
    Ok(done(&ui, &session, StatusCode::OK, &outcome, what).await)
}

async fn editable(state: &Services, id: &str) -> Result<Found, Problem> {
    let found = state.models.find(id).await?.ok_or(ModelError::Unknown)?;
    if found.detail.source == Source::Config {
        return Err(ModelError::ReadOnly.into());
    }
    Ok(found)
}

async fn edited(state: &Services, found: &Found) -> Result<Edited, Problem> {
    let detail = found.as_given();
    let radius = state.models.radius(&detail.id, &detail.name).await?;
    Ok(Edited { fingerprint: found.detail.fingerprint(), ghost: found.ghost.clone(), radius, detail })
}

struct Wish {
    draft: Draft,
    cleared: Vec<String>,
    wrong: FieldErrors,
    is_replacement: bool,
}

impl Wish {
    fn read(form: &ModelForm, found: &Found) -> Self {
        let mut wrong = FieldErrors::default();
        let (draft, cleared) = form.read_changes(found, &mut wrong);
        if !form.is_ticked("replace") {
            return Self { draft, cleared, wrong, is_replacement: false };
        }
        let mut wrong = FieldErrors::default();
        let mut draft = form.read(&mut wrong);
        let is_named = !form.get("secret").is_empty() || !form.get("credential").is_empty();
        if !is_named && !form.is_ticked("no_secret") {
            wrong.add("secret", "The proxy never returns the stored secret: give its reference again, or tick “needs no secret”.");
        }
        let base = found.detail.param("api_base");
        if redact::addresses(&base) != base && form.get("api_base") == redact::addresses(&base) {
            wrong
                .add("api_base", "Only a part of the former address is shown: give the whole address again.");
        }
        // What the form has no field for goes along, such as access groups.
        for (name, value) in found.detail.own_info() {
            let has_field = matches!(name.as_str(), "mode" | "description" | "provider");
            if !has_field {
                draft.info.entry(name).or_insert(value);
            }
        }
        Self { draft, cleared, wrong, is_replacement: true }
    }

    fn new_name<'a>(&'a self, form: &ModelForm, now: &str) -> Option<&'a str> {
        let name = self.draft.name.as_str();
        (!form.get("name").is_empty() && name != now.trim()).then_some(name)
    }

    fn errors(&self, form: &ModelForm, edited: &Edited) -> FieldErrors {
        let mut errors = self.wrong.clone();
        let is_renamed = self.new_name(form, &edited.detail.name).is_some();
        let radius = &edited.radius;
        let is_used = radius.keys_total > 0 || radius.contexts_total > 0;
        if is_renamed && is_used && radius.siblings.is_empty() && !form.is_ticked("rename") {
            errors.add(
                "name",
                "Keys or contexts know it by its present name, and would lose it. Tick the box to rename it all the same.",
            );
        }
        errors
    }

    async fn fulfil(
        &self,
        state: &Services,
        found: &Found,
        form: &ModelForm,
        actor: &Actor,
    ) -> Result<Outcome, ModelError> {
        let detail = &found.detail;
        if self.is_replacement {
            return state.models.replace(&detail.id, &self.draft, actor).await;
        }
        let name = self.new_name(form, &detail.name).map(str::to_owned);
        let seen = Some(form.get("seen").to_owned()).filter(|seen| !seen.is_empty());
        if self.draft.is_empty() && name.is_none() {
            let (id, name) = (detail.id.clone(), detail.name.clone());
            return Ok(Outcome { id, name, ghost: found.ghost.clone(), not_taken: Vec::new() });
        }
        state.models.edit(&detail.id, &Edit { name, draft: self.draft.clone(), seen }, actor).await
    }
}
