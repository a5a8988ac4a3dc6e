//! The message box of a context. With JavaScript the answer streams in; without, the page waits for it.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;
use tokio::sync::watch;

use super::Services;
use super::page;
use crate::domain::swap::check_message;
use crate::services::conversation::Asks;
use crate::services::conversation::{AskError, AskProgress};
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::Page as _;
use crate::web::routes::{OPERATOR, Routes, VIEWER};
use crate::web::stream::html_events;
use crate::web::ui::{Ui, Wants};

pub(super) fn routes() -> Routes {
    Routes::new().post(OPERATOR, route::ContextMessage::PATH, ask).get(VIEWER, route::AskEvents::PATH, events)
}

#[derive(Template)]
#[template(path = "contexts/ask.html")]
struct AskFragment {
    ui: Ui,
    progress: AskProgress,
}

#[derive(Deserialize)]
struct AskForm {
    #[serde(default)]
    message: String,
}

async fn ask(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ContextMessage(agent, context): route::ContextMessage,
    Form(form): Form<AskForm>,
) -> Result<Response, Problem> {
    let message = match check_message(&form.message) {
        Ok(Some(message)) => message,
        refused => {
            let why = refused.err().map_or_else(|| "Write a message.".to_owned(), |error| error.to_string());
            let page = page(&state, ui, &agent, &context, Some((why, form.message))).await?;
            return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
        }
    };
    if ui.wants == Wants::Fragment {
        state.asks.start(&agent, &context, &message, &actor)?;
        return Ok(page(&state, ui, &agent, &context, None).await?.respond(StatusCode::OK));
    }
    let ask = state.asks.ask(&agent, &context, &message, &actor).await?;
    let status = if ask.problem.is_some() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    match ui.wants {
        Wants::Json => Ok((status, Json(ask)).into_response()),
        _ if status.is_success() => {
            Ok(Redirect::to(&format!("{}#asks", ui.paths.context(&agent, &context))).into_response())
        }
        _ => Ok(page(&state, ui, &agent, &context, None).await?.respond(status)),
    }
}

/// An answer as it comes: the whole fragment each time, then an end. It may be whole before the page came to listen.
async fn events(
    State(asks): State<Asks>,
    ui: Ui,
    route::AskEvents(agent, context, id): route::AskEvents,
) -> Result<Response, Problem> {
    let progress = if let Some(progress) = asks.progress(&id) {
        progress
    } else {
        let asks = asks.of(&agent, &context).await?;
        let ended = asks.into_iter().find(|progress| progress.ask.id == id);
        watch::channel(ended.ok_or_else(|| Problem::not_found("The question"))?).1
    };
    let render =
        move |progress: &AskProgress| AskFragment { ui: ui.clone(), progress: progress.clone() }.render();
    Ok(html_events(progress, render, |progress| progress.is_done))
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            AskError::Busy => Self::busy(&error.to_string()),
            AskError::Store(error) => error.into(),
        }
    }
}
