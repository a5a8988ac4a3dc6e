//! Errors for people: a title, what to do, and the request's id. The cause goes to the log.
//!
//! Handlers return a [`Problem`]; [`render`] makes a page, a fragment or JSON of it, and of any bare error
//! status that a layer below it answered with.

mod of;

use std::any::Any;
use std::marker::PhantomData;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::Request;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use crate::domain::context::ContextIdError;
use crate::domain::role::Role;
use crate::domain::swap::Swap;
use crate::domain::words::sentence;
use crate::web::auth::{CurrentUser, whole_seconds};
use crate::web::paths::{Paths, route};
use crate::web::recipes::Recipe;
use crate::web::state::AppState;
use crate::web::theme::{Rows, Theme};
use crate::web::ui::{RequestIdText, Ui, Wants};
use crate::web::zone;

#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) advice: String,
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

    fn conflict(title: &str, detail: impl Into<String>, advice: &str) -> Self {
        Self::new(StatusCode::CONFLICT, title, detail, advice)
    }

    fn failed(title: &str, detail: impl Into<String>, advice: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, title, detail, advice)
    }

    fn refused(title: &str, detail: impl Into<String>, advice: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, title, detail, advice)
    }

    /// What the context was on before is not known, or cannot be named to the agent.
    pub(super) fn cannot_undo(swap: &Swap) -> Self {
        let detail = match &swap.before {
            None => "What the context was on before this swap is not known.".to_owned(),
            Some(before) => format!("The former model {} or its prompt cannot be sent.", before.spec_text()),
        };
        Self::refused("This swap cannot be undone", detail, "Switch by hand.").see(Recipe::Undo)
    }

    pub(super) fn not_per_context(why: &str) -> Self {
        Self::refused("Not on this agent", why, "Choose an agent whose contexts have models of their own.")
    }

    pub(super) fn no_model(why: &str) -> Self {
        Self::refused("No model", why, "Name a model, or read the context from the agent first.")
    }

    pub(super) fn bad_context(error: ContextIdError) -> Self {
        Self::refused("No context id", error.to_string(), "Go back, and correct it.")
    }

    pub(super) fn context_changed() -> Self {
        Self::conflict(
            "Changed in the meantime",
            "Someone else changed this context's settings after you loaded the page. Nothing was saved.",
            "Go back, reload the page and change what you still want to change.",
        )
    }

    pub(super) fn bad_label() -> Self {
        Self::refused("The label is too long", "A label has at most 80 characters.", "Shorten it.")
    }

    pub(super) fn busy(why: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "Too much at once", sentence(&why), "Wait until some of it has ended.")
    }

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

    pub(super) fn too_many(left: Duration) -> Self {
        let seconds = whole_seconds(left);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many attempts",
            "Too many logins have failed, so none is looked at for now.",
            &format!("Wait {seconds} s, then send the right name and password."),
        )
    }

    pub(super) fn of_session() -> Self {
        Self::of_database("The session could not be written.")
    }

    pub(super) fn without_database() -> Self {
        Self::of_database("Nothing was changed: what cannot be written down is not done.")
    }

    fn of_database(detail: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Patchbay's database does not answer",
            detail,
            "Try again in a moment. The log has the cause.",
        )
        .see(Recipe::Database)
    }
}

/// What the parameters of an address name.
pub(super) trait Named {
    const NAME: &'static str;
}

/// A parameter of the address that cannot name anything: 404 with the name of its kind, 400 if it is not UTF-8.
pub(super) struct Unfound<T>(Problem, PhantomData<T>);

impl<T: Named> From<PathRejection> for Unfound<T> {
    fn from(rejection: PathRejection) -> Self {
        let is_text = match &rejection {
            PathRejection::FailedToDeserializePathParams(error) => {
                !matches!(error.kind(), ErrorKind::InvalidUtf8InPathParam { .. })
            }
            _ => true,
        };
        let problem = if is_text { Problem::not_found(T::NAME) } else { bare(StatusCode::BAD_REQUEST) };
        Self(problem, PhantomData)
    }
}

impl<T> IntoResponse for Unfound<T> {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's own signature")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("of unknown kind"), "a request's handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// For those who are not logged in, or where that is not known.
#[derive(Template)]
#[template(path = "error.html", blocks = ["content"])]
struct ErrorPage<'a> {
    theme: Theme,
    paths: &'a Paths,
    problem: &'a Problem,
    request_id: &'a str,
}

/// With the navigation, for those who are.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    ui: Ui,
    problem: &'a Problem,
    request_id: &'a str,
}

/// What a request says of how an error is to be shown.
pub(super) struct Asked {
    pub(super) wants: Wants,
    pub(super) theme: Theme,
    pub(super) rows: Rows,
    pub(super) offset: i32,
    pub(super) section: String,
    request_id: RequestIdText,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            wants: Wants::of(request.headers()),
            theme: Theme::of(request.headers()),
            rows: Rows::of(request.headers()),
            offset: zone::offset(request.headers()),
            section: Ui::section_of(request.uri()),
            request_id: RequestIdText::of(request.extensions()),
        }
    }
}

pub(super) fn render(response: Response, asked: Asked, state: &AppState) -> Response {
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if is_bare_error(&response) => bare(status),
        None => return response,
    };
    let (theme, wants, request_id) = (asked.theme, asked.wants, asked.request_id.0.clone());
    let user = response.extensions().get::<CurrentUser>().cloned();
    let body = match user {
        Some(user) if wants == Wants::Page => {
            let page = ProblemPage {
                ui: Ui::of_error(state, asked, user),
                problem: &problem,
                request_id: &request_id,
            };
            Html(page.render().unwrap_or_else(|_| problem.title.clone())).into_response()
        }
        _ => {
            let paths = &state.part::<Paths>();
            answer(wants, &ErrorPage { theme, paths, problem: &problem, request_id: &request_id })
        }
    };
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
