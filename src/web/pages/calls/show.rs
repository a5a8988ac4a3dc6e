//! One call. What it was asked and answered is for admins.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::{CallRow, Services};
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

    fn ms(&self, milliseconds: &i128) -> String {
        #[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
        self.ui.ms(&(*milliseconds as f64))
    }
}

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Call(id): route::Call,
) -> Result<Response, Problem> {
    let found = state.calls.call(&id, ui.may_admin()).await.map_err(|error| Problem::of_client(&error))?;
    let (call, bodies) = found.ok_or_else(|| Problem::not_found("The call"))?;
    let data = CallData {
        message: call.message.clone(),
        row: CallRow::of(call, &state.agents),
        bodies: ui.may_admin().then_some(bodies),
    };
    Ok(CallPage { ui, data }.respond(StatusCode::OK))
}
