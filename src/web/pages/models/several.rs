//! Several models of one provider in one submit, and the first test of each.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt as _;
use serde_json::json;
use tower_sessions::Session;

use super::form::{ModelForm, name_error};
use crate::domain::audit::Actor;
use crate::domain::model_detail::Draft;
use crate::domain::model_note::TestResult;
use crate::domain::words::{cut, sentence};
use crate::services::registry::{ModelError, Models, Outcome};
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::ui::{Flash, Ui, Wants};

/// Most models of one submit, beside the first.
const MAX_MORE: usize = 20;

const MAX_CONCURRENT_TESTS: usize = 4;

/// What each model has of its own: the others do not take it over.
const OWN_PARAMS: [&str; 2] = ["input_cost_per_token", "output_cost_per_token"];

/// A model that was registered, and its test if there was one.
pub(super) struct Registered {
    outcome: Outcome,
    test: Option<TestResult>,
}

/// The first model, and one for each line of the field `more`.
pub(super) fn drafts(form: &ModelForm, first: Draft, errors: &mut FieldErrors) -> Vec<Draft> {
    let lines: Vec<&str> = form.lines("more").collect();
    if lines.len() > MAX_MORE {
        errors.add("more", format!("At most {MAX_MORE} models at once."));
        return vec![first];
    }
    let param = |name: &str| first.params.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let (upstream, provider) = (param("model"), param("custom_llm_provider"));
    let (prefix, bare) =
        upstream.split_once('/').filter(|_| provider.is_empty()).unwrap_or((provider, upstream));
    // As the first model is called.
    let of_name = first.name.strip_suffix(bare).and_then(|start| start.strip_suffix('/'));
    let named = of_name.filter(|start| !start.is_empty()).unwrap_or(prefix);
    if !lines.is_empty() && prefix.is_empty() {
        errors.add("provider", "Name the provider: the other models are registered as provider/model.");
    }
    let mut all = vec![first.clone()];
    for line in lines {
        let bare = line.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(line);
        let name = format!("{named}/{bare}");
        if let Some(wrong) = name_error("name", &name) {
            errors.add("more", format!("{line}: {wrong}"));
        }
        if all.iter().any(|other| other.name == name) {
            errors.add("more", format!("{name} is named twice."));
        }
        let mut draft = Draft { name, ..first.clone() };
        let upstream = if provider.is_empty() { format!("{prefix}/{bare}") } else { bare.to_owned() };
        draft.params.insert("model".to_owned(), json!(upstream));
        draft.params.retain(|name, _| !OWN_PARAMS.contains(&name.as_str()));
        draft.info.remove("description");
        all.push(draft);
    }
    all
}

/// Registers one after the other up to the first that fails, then tests those that are live.
pub(super) async fn register(
    models: &Models,
    drafts: &[Draft],
    is_tested: bool,
    actor: &Actor,
) -> Result<(Vec<Registered>, Option<ModelError>), Problem> {
    let (mut outcomes, mut failure) = (Vec::new(), None);
    for draft in drafts {
        match models.register(draft, actor).await {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) if outcomes.is_empty() => return Err(error.into()),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let tested = futures_util::stream::iter(outcomes).map(async |outcome| {
        // What cannot be tested, such as an embedding, is registered all the same.
        let test = if is_tested && outcome.ghost.is_none() {
            models.test(&outcome.id, actor).await.ok()
        } else {
            None
        };
        Registered { outcome, test }
    });
    Ok((tested.buffered(MAX_CONCURRENT_TESTS).collect().await, failure))
}

/// To the model's page, or for several to the table; for a script the same as JSON.
pub(super) async fn respond(
    ui: &Ui,
    session: &Session,
    registered: &[Registered],
    failure: Option<(&Draft, ModelError)>,
) -> Response {
    let failure =
        failure.map(|(draft, error)| format!("{} is not registered: {}", draft.name, sentence(&error)));
    if ui.wants == Wants::Json {
        return as_json(registered, failure.as_deref());
    }
    let (text, next) = match registered {
        [one] if failure.is_none() => (one.describe(), ui.paths.model(&one.outcome.id)),
        all => {
            let each: Vec<String> = all.iter().map(Registered::describe).chain(failure).collect();
            (each.join(" "), ui.paths.to(route::Models))
        }
    };
    Flash::set(session, text).await;
    Redirect::to(&next).into_response()
}

fn as_json(registered: &[Registered], failure: Option<&str>) -> Response {
    let one = |Registered { outcome, test }: &Registered| {
        let Outcome { id, name, ghost, not_taken } = outcome;
        json!({
            "id": id, "name": name, "live": ghost.is_none(), "problem": ghost, "not_taken": not_taken, "test": test,
        })
    };
    match registered {
        [only] if failure.is_none() => (StatusCode::CREATED, Json(one(only))).into_response(),
        all => {
            let status = if failure.is_some() { StatusCode::BAD_GATEWAY } else { StatusCode::CREATED };
            let models: Vec<_> = all.iter().map(one).collect();
            (status, Json(json!({ "models": models, "problem": failure }))).into_response()
        }
    }
}

impl Registered {
    fn describe(&self) -> String {
        let name = cut(&self.outcome.name, 120);
        match (&self.outcome.ghost, &self.test) {
            (Some(_), _) => format!("{name} is saved, and not live: see below."),
            (None, None) => format!("{name} is registered, and live."),
            (None, Some(test)) if test.ok => {
                format!("{name} is registered, and live. It answered its test in {:.0} ms.", test.ms)
            }
            (None, Some(test)) => {
                format!("{name} is registered, but failed its test: {}", cut(&test.text, 200))
            }
        }
    }
}
