//! Errors for people: a title, what to do, and the request's id. The cause goes to the log.
//!
//! Handlers return a [`Problem`]; [`render`] makes a page, a fragment or JSON of it, and of any bare error
//! status that a layer below it answered with.

use std::any::Any;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use crate::clients::a2a::AgentError;
use crate::clients::{ClientError, Meaning};
use crate::domain::context::ContextIdError;
use crate::domain::model::ModelSpec;
use crate::domain::role::Role;
use crate::domain::swap::Swap;
use crate::domain::words::sentence;
use crate::services::keys::KeyChangeError;
use crate::services::registry::ModelError;
use crate::services::switcher::{ReadError, SwapError};
use crate::store::StoreError;
use crate::web::auth::whole_seconds;
use crate::web::paths::Paths;
use crate::web::recipes::Recipe;
use crate::web::state::AppState;
use crate::web::theme::Theme;
use crate::web::ui::{RequestIdText, Wants};

/// An error as a person sees it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) advice: String,
    /// What to read about it.
    pub(super) recipe: Option<Recipe>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &str, detail: impl Into<String>, advice: &str) -> Self {
        Self {
            status,
            title: title.to_owned(),
            detail: detail.into(),
            advice: advice.to_owned(),
            recipe: None,
        }
    }

    fn see(self, recipe: Recipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    pub(super) fn not_found(what: &str) -> Self {
        let detail = format!("{what} was not found.");
        Self::new(StatusCode::NOT_FOUND, "Not found", detail, "Check the address, or go back to the list.")
    }

    /// What to tell of an answer of the proxy or an agent that did not come, or was an error.
    pub(super) fn of_client(error: &ClientError) -> Self {
        let status = match error {
            ClientError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let (title, advice, recipe) = explain(error);
        Self { recipe, ..Self::new(status, title, sentence(error), advice) }
    }

    fn of_agent(error: &AgentError) -> Self {
        match error {
            AgentError::Transport(error) => Self::of_client(error),
            other => Self::new(
                StatusCode::BAD_GATEWAY,
                "The agent failed",
                sentence(other),
                "Look at the agent's log.",
            )
            .see(Recipe::Agent),
        }
    }

    /// What the context was on before is not known, or cannot be named to the agent.
    pub(super) fn cannot_undo(swap: &Swap) -> Self {
        let detail = match &swap.before {
            None => "What the context was on before this swap is not known.".to_owned(),
            Some(before) => format!("The former model {} or its prompt cannot be sent.", before.spec_text()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "This swap cannot be undone", detail, "Switch by hand.")
            .see(Recipe::Undo)
    }

    /// An agent on which a swap is one for all conversations, or may be.
    pub(super) fn not_per_context(why: &str) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(
            status,
            "Not on this agent",
            why,
            "Choose an agent whose contexts have models of their own.",
        )
    }

    /// A text that is no context id.
    pub(super) fn bad_context(error: ContextIdError) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "No context id", error.to_string(), "Go back, and correct it.")
    }

    /// A label that is too long.
    pub(super) fn bad_label() -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "The label is too long", "A label has at most 80 characters.", "Shorten it.")
    }

    /// Too much runs already.
    pub(super) fn busy(why: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "Too much at once", sentence(&why), "Wait until some of it has ended.")
    }

    /// A route that is for people of another role.
    pub(super) fn not_for(needed: Role, has: Role) -> Self {
        let (needed, has) = (needed.with_article(), has.with_article());
        Self::new(
            StatusCode::FORBIDDEN,
            "Not for your role",
            format!("This takes {needed}, and you are logged in as {has}. Nothing was done."),
            "Ask an admin to do it, or for another role.",
        )
        .see(Recipe::Role)
    }

    /// Too many logins have failed.
    pub(super) fn too_many(left: Duration) -> Self {
        let seconds = whole_seconds(left);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many attempts",
            "Too many logins have failed, so none is looked at for now.",
            &format!("Wait {seconds} s, then send the right name and password."),
        )
    }

    /// The session store failed.
    pub(super) fn of_session() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Patchbay's database does not answer",
            "The session could not be written.",
            "Try again in a moment. The log has the cause.",
        )
        .see(Recipe::Database)
    }

    /// Nothing was begun.
    pub(super) fn without_database() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Patchbay's database does not answer",
            "Nothing was changed: what cannot be written down is not done.",
            "Try again in a moment. The log has the cause.",
        )
        .see(Recipe::Database)
    }

    fn of_store(error: &StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Patchbay's database does not answer",
            "What you asked for may not have been written down.",
            "Try again in a moment. The log has the cause.",
        )
        .see(Recipe::Database)
    }
}

const LATER: &str = "Try again in a moment: large answers are read one at a time.";

/// Title, advice, and what to read about it.
fn explain(error: &ClientError) -> (&'static str, &'static str, Option<Recipe>) {
    let is_proxy = match error {
        ClientError::Unreachable { server, .. }
        | ClientError::Timeout { server, .. }
        | ClientError::TooLarge { server, .. }
        | ClientError::Crowded { server }
        | ClientError::NotUnderstood { server, .. }
        | ClientError::Status { server, .. } => *server == "the proxy",
    };
    let (title, advice, recipe) = match (error, is_proxy) {
        (ClientError::Unreachable { .. }, true) => {
            ("The proxy is down", "Start the LiteLLM proxy, or correct LITELLM_PROXY_URL.", Recipe::Proxy)
        }
        (ClientError::Unreachable { .. }, false) => (
            "The agent is down",
            "Start the agent, or correct its address in PATCHBAY_AGENTS.",
            Recipe::Agent,
        ),
        (ClientError::Timeout { .. }, true) => {
            ("The proxy is too slow", "Try again, or look at the proxy's log.", Recipe::Proxy)
        }
        (ClientError::Timeout { .. }, false) => {
            ("The agent is too slow", "Try again, or look at the agent's log.", Recipe::Agent)
        }
        (ClientError::Status { meaning: Meaning::Credentials, .. }, true) => (
            "The proxy refuses the master key",
            "Set LITELLM_MASTER_KEY to the proxy's own, and restart Patchbay.",
            Recipe::MasterKey,
        ),
        (ClientError::Status { meaning: Meaning::DatabaseDown, .. }, _) => (
            "The proxy's database is down",
            "Start the proxy's Postgres. Models that are loaded go on answering.",
            Recipe::ProxyDatabase,
        ),
        (ClientError::Status { meaning: Meaning::NoDatabase, .. }, _) => (
            "The proxy has no database",
            "Virtual keys need one: start the proxy with DATABASE_URL. If it has one, check LITELLM_MASTER_KEY.",
            Recipe::ProxyDatabase,
        ),
        (ClientError::NotUnderstood { .. } | ClientError::TooLarge { .. }, true) => (
            "The proxy's answer is not understood",
            "Is LITELLM_PROXY_URL the address of a LiteLLM proxy?",
            Recipe::Proxy,
        ),
        (ClientError::NotUnderstood { .. } | ClientError::TooLarge { .. }, false) => (
            "The agent's answer is not understood",
            "Is the address in PATCHBAY_AGENTS an A2A endpoint?",
            Recipe::Agent,
        ),
        (ClientError::Crowded { .. }, true) => return ("The proxy sends too much at once", LATER, None),
        (ClientError::Crowded { .. }, false) => return ("The agents send too much at once", LATER, None),
        // It says itself what it did not like.
        (_, true) => return ("The proxy failed", "Look at the proxy's log.", None),
        (_, false) => ("The agent failed", "Look at the agent's log.", Recipe::Agent),
    };
    (title, advice, Some(recipe))
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<KeyChangeError> for Problem {
    fn from(error: KeyChangeError) -> Self {
        match error {
            KeyChangeError::Unknown => Self::not_found("The key"),
            KeyChangeError::Proxy(error) => Self::of_client(&error),
            KeyChangeError::Store(error) => error.into(),
            KeyChangeError::Changed => Self::new(
                StatusCode::CONFLICT,
                "The key has changed",
                "Its settings were changed by someone else since you loaded the form. Nothing was sent.",
                "Look at what has changed, then try again.",
            ),
            KeyChangeError::AliasTaken(_) | KeyChangeError::NotConfirmed | KeyChangeError::Expired => {
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "Not done",
                    sentence(&error),
                    "Go back, and try again.",
                )
            }
            KeyChangeError::NotDone(_) => Self::new(
                StatusCode::BAD_GATEWAY,
                "The proxy did not do it",
                sentence(&error),
                "Look at the key, and at the proxy's log.",
            ),
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        let detail = sentence(&error);
        let refused = |status, title, advice| Self::new(status, title, detail.clone(), advice);
        match error {
            ModelError::Unknown => Self::not_found("The deployment"),
            ModelError::ReadOnly => refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This deployment is read-only",
                "Ask whoever owns the proxy's configuration file, or register a deployment of the same name.",
            )
            .see(Recipe::Register),
            ModelError::Changed => refused(
                StatusCode::CONFLICT,
                "The deployment has changed",
                "Load the form again, look at what has changed, and try again.",
            ),
            ModelError::Unconfirmed => refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Something depends on it",
                "Look at what a deletion would hit, and type the name to confirm.",
            ),
            ModelError::Unsupported(_) => {
                refused(StatusCode::UNPROCESSABLE_ENTITY, "Not possible here", "Go back to the deployment.")
            }
            ModelError::NotTaken(_) => refused(
                StatusCode::BAD_GATEWAY,
                "The proxy did not do it",
                "Load the deployment again in half a minute: replicas of a proxy may lag. Then try again.",
            ),
            ModelError::Proxy(error) => Self::of_client(&error),
            ModelError::Store(error) => error.into(),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            ReadError::Agent(error) => Self::of_agent(&error),
            ReadError::Swap(error) => error.into(),
            ReadError::Asked { .. } => Self::new(
                StatusCode::CONFLICT,
                "A question is being answered",
                sentence(&error),
                "Wait for the answer: reading an agent's state in the middle of a turn can make the turn fail.",
            ),
            ReadError::NotSwitchable => Self::new(
                StatusCode::BAD_GATEWAY,
                "The agent cannot be switched",
                sentence(&error),
                "Use an agent that understands [HOTSWAP:…] control messages.",
            )
            .see(Recipe::Agent),
            ReadError::NotPutBack => Self::new(
                StatusCode::BAD_GATEWAY,
                "Not put back",
                sentence(&error),
                "Look at the agent's contexts.",
            ),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<SwapError> for Problem {
    fn from(error: SwapError) -> Self {
        let detail = sentence(&error);
        match error {
            SwapError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            SwapError::Busy { .. } => Self::new(
                StatusCode::CONFLICT,
                "A swap is running",
                detail,
                "Wait until it has ended, then look at the context and try again.",
            ),
            SwapError::Changed { last } => Self::new(
                StatusCode::CONFLICT,
                "The context has changed",
                format!("{detail} {}", told(&last)),
                "Look at what has changed, then try again.",
            ),
            SwapError::Store(error) => error.into(),
            SwapError::NotWritten(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The swap was not written down",
                detail,
                "Look at the context, and at the log: the database failed.",
            )
            .see(Recipe::Database),
        }
    }
}

/// Who asked for a swap, of what, and how it ended.
fn told(swap: &Swap) -> String {
    let what = swap.model.as_ref().map_or("another prompt", ModelSpec::as_str);
    format!("{} asked for {what} in {} ({}).", swap.actor, swap.context, swap.outcome.as_str())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// For the layer that catches panics.
#[expect(clippy::needless_pass_by_value, reason = "the layer's own signature")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("of unknown kind"), "a request's handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

#[derive(Template)]
#[template(path = "error.html", blocks = ["content"])]
struct ErrorPage<'a> {
    theme: Theme,
    paths: &'a Paths,
    problem: &'a Problem,
    request_id: &'a str,
}

/// Turns an error answer into a page, a fragment or JSON.
pub(super) async fn render(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (wants, theme) = (Wants::of(request.headers()), Theme::of(request.headers()));
    let request_id = RequestIdText::of(request.extensions());
    let response = next.run(request).await;
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if is_bare_error(&response) => bare(status),
        None => return response,
    };
    let body = answer(
        wants,
        &ErrorPage { theme, paths: &state.paths, problem: &problem, request_id: &request_id.0 },
    );
    let (mut parts, _) = response.into_parts();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let (content, body) = body.into_parts();
    parts.headers.extend(content.headers);
    Response::from_parts(parts, body)
}

fn is_bare_error(response: &Response) -> bool {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_ours = kind.starts_with(b"text/html") || kind.starts_with(b"application/json");
    (status.is_client_error() || status.is_server_error()) && !is_ours
}

/// What to say where a layer answered with a status alone.
fn bare(status: StatusCode) -> Problem {
    let (title, detail, advice) = match status {
        StatusCode::NOT_FOUND => (
            "Not found",
            "There is no page at this address.",
            "Check the address, or go back to the overview.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => (
            "Not possible here",
            "This address does not take that kind of request.",
            "Go back to the overview.",
        ),
        StatusCode::FORBIDDEN => (
            "Refused",
            "The request came from another site, or through a proxy that hides where it came from.",
            "Use the dashboard's own pages. A reverse proxy must keep the Host and Origin headers.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "The form holds more than is taken.", "Send less."),
        status if status.is_client_error() => {
            ("Not understood", "The request is not complete or not well-formed.", "Go back, and try again.")
        }
        _ => (
            "Something broke",
            "Patchbay made a mistake.",
            "Try again. The log has the cause, under the request id.",
        ),
    };
    let recipe = (status == StatusCode::FORBIDDEN).then_some(Recipe::ReverseProxy);
    Problem { recipe, ..Problem::new(status, title, detail, advice) }
}

fn answer(wants: Wants, page: &ErrorPage<'_>) -> Response {
    let ErrorPage { problem, request_id, paths, .. } = page;
    let html = match wants {
        Wants::Json => {
            let Problem { title, detail, advice, recipe, .. } = problem;
            let help = recipe.map(|recipe| paths.help_on(recipe.anchor()));
            let error = json!({
                "title": title, "detail": detail, "advice": advice, "help": help, "request_id": request_id
            });
            return Json(json!({ "error": error })).into_response();
        }
        Wants::Fragment => page.as_content().render(),
        Wants::Page => page.render(),
    };
    // The last resort of the error page itself.
    Html(html.unwrap_or_else(|_| problem.title.clone())).into_response()
}
