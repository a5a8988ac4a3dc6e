//! One call. What it was asked and answered is for admins.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::{CallRow, Services, took};
use crate::domain::context::{ContextId, KnownContext};
use crate::domain::usage::{Bodies, Body};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::Ui;

#[derive(Template)]
#[template(path = "calls/show.html", blocks = ["content"])]
struct CallPage {
    ui: Ui,
    data: CallData,
}

#[derive(Serialize)]
struct CallData {
    #[serde(flatten)]
    row: CallRow,
    /// The context that it was made in, if it is known here.
    #[serde(skip)]
    context: Option<KnownContext>,
    /// The error in the provider's words, without secrets.
    message: Option<String>,
    /// None for those who are no admins.
    bodies: Option<Bodies>,
}

page!(CallPage, CallData, as_content);

impl CallPage {
    fn bodies(bodies: &Bodies) -> [(&'static str, &'static str, Option<&Body>); 2] {
        [("request", "Request", bodies.request.as_ref()), ("answer", "Answer", bodies.answer.as_ref())]
    }
}

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Call(id): route::Call,
) -> Result<Response, Problem> {
    let found = state.calls.call(&id, ui.may_admin()).await.map_err(|error| Problem::of_client(&error))?;
    let (call, bodies) = found.ok_or_else(|| Problem::not_found("The call"))?;
    let row = CallRow::of(call, &state.agents);
    let data = CallData {
        context: context(&state, &ui, &row).await?,
        message: row.call.message.clone(),
        row,
        bodies: ui.may_admin().then_some(bodies),
    };
    Ok(CallPage { ui, data }.respond(StatusCode::OK))
}

async fn context(state: &Services, ui: &Ui, row: &CallRow) -> Result<Option<KnownContext>, Problem> {
    let session = row.call.session.as_ref().and_then(|session| session.parse::<ContextId>().ok());
    match (&row.agent, session) {
        (Some(agent), Some(context)) if !ui.has_no_database => {
            Ok(state.contexts.get(agent, &context).await?)
        }
        _ => Ok(None),
    }
}
