//! Access tokens of one's own scripts.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::domain::people::{AccessToken, TokenSecret};
use crate::domain::role::Role;
use crate::domain::words::sentence;
use crate::services::people::{People, TokenError, TokenRequest};
use crate::web::auth::{Acting, ActorOf, CurrentUser, Users};
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::{Flash, Ui, Wants};

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Tokens::PATH, list).post(VIEWER, route::Tokens::PATH, create).post(
        VIEWER,
        route::TokenRevoke::PATH,
        revoke,
    )
}

services! {
    struct Services {
        people: People,
        users: Users,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TokenRow {
    #[serde(flatten)]
    pub(super) token: AccessToken,
    pub(super) is_expired: bool,
}

impl TokenRow {
    pub(super) fn of(token: AccessToken, now: Timestamp) -> Self {
        Self { is_expired: token.expires_at <= now, token }
    }
}

#[derive(Template)]
#[template(path = "tokens.html", blocks = ["content"])]
struct TokensPage {
    ui: Ui,
    data: TokensData,
    form: TokenForm,
    owner: String,
    /// Of the token that was just made.
    secret: Option<TokenSecret>,
}

#[derive(Serialize)]
struct TokensData {
    tokens: Vec<TokenRow>,
    /// The roles that a token of this user may have.
    roles: Vec<Role>,
    #[serde(skip_serializing_if = "FieldErrors::is_empty")]
    errors: FieldErrors,
}

page!(TokensPage, TokensData, as_content);

#[derive(Deserialize)]
#[serde(default)]
struct TokenForm {
    label: String,
    role: String,
    days: String,
    /// So that a form makes one token however often it is sent.
    request: String,
}

impl Default for TokenForm {
    fn default() -> Self {
        Self {
            label: String::new(),
            role: Role::Viewer.as_str().to_owned(),
            days: "90".to_owned(),
            request: Uuid::new_v4().to_string(),
        }
    }
}

impl TokenForm {
    fn read(&self, user: &CurrentUser, users: &Users) -> Result<TokenRequest, FieldErrors> {
        let mut errors = FieldErrors::default();
        let role = self.role.parse().ok().filter(|role| *role <= user.role);
        if role.is_none() {
            errors.add("role", format!("Choose a role that you have: you are {}.", user.role.with_article()));
        }
        match role {
            Some(role) => Ok(TokenRequest {
                id: self.request.parse().ok(),
                label: self.label.clone(),
                owner: user.owner().to_owned(),
                source: users.source_of(user),
                role,
                days: self.days.trim().parse().unwrap_or_default(),
            }),
            None => Err(errors),
        }
    }
}

impl TokensPage {
    async fn load(
        state: &Services,
        ui: Ui,
        user: &CurrentUser,
        form: TokenForm,
        errors: FieldErrors,
    ) -> Result<Self, Problem> {
        let mut tokens = state.people.tokens(Some(user.owner())).await?;
        // A script sees those of its owner, whose source it does not know.
        let source = user.check_is_person().is_ok().then(|| state.users.source_of(user));
        tokens.retain(|token| source.is_none_or(|source| token.source == source));
        let tokens = tokens.into_iter().map(|token| TokenRow::of(token, ui.now)).collect();
        let roles = Role::ALL.iter().copied().filter(|role| *role <= user.role).collect();
        let owner = user.owner().to_owned();
        Ok(Self { ui, data: TokensData { tokens, roles, errors }, form, owner, secret: None })
    }

    fn exposed(&self) -> Option<&str> {
        self.secret.as_ref().map(TokenSecret::expose)
    }
}

async fn list(
    State(state): State<Services>,
    ui: Ui,
    Extension(user): Extension<CurrentUser>,
) -> Result<Response, Problem> {
    let page = TokensPage::load(&state, ui, &user, TokenForm::default(), FieldErrors::default()).await?;
    Ok(page.respond(StatusCode::OK))
}

/// Why no token was made.
enum Refused {
    /// Correct the form.
    Form(FieldErrors),
    Whole(Problem),
}

fn of_form(error: TokenError) -> Refused {
    let text = sentence(&error);
    let field = match error {
        TokenError::Label | TokenError::TooMany => "label",
        TokenError::Days => "days",
        TokenError::Sent => {
            let advice = "Revoke the token if you did not save it, and create another one.";
            let problem = Problem::new(StatusCode::CONFLICT, "Already created", text, advice);
            return Refused::Whole(problem);
        }
        TokenError::Store(error) => return Refused::Whole(error.into()),
    };
    let mut errors = FieldErrors::default();
    errors.add(field, text);
    Refused::Form(errors)
}

/// The answer shows the token, once.
async fn create(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Extension(user): Extension<CurrentUser>,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    user.check_is_person()?;
    let made = match form.read(&user, &state.users) {
        Ok(request) => state.people.issue(request, &actor).await.map_err(of_form),
        Err(errors) => Err(Refused::Form(errors)),
    };
    match made {
        Ok((token, secret)) if ui.wants == Wants::Json => {
            let body = json!({ "token": secret.expose(), "info": token });
            Ok((StatusCode::CREATED, Json(body)).into_response())
        }
        Ok((_, secret)) => {
            let form = TokenForm::default();
            let page = TokensPage::load(&state, ui, &user, form, FieldErrors::default()).await?;
            Ok(TokensPage { secret: Some(secret), ..page }.respond(StatusCode::OK))
        }
        Err(Refused::Whole(problem)) => Err(problem),
        Err(Refused::Form(errors)) => {
            let page = TokensPage::load(&state, ui, &user, form, errors).await?;
            Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

/// One's own, and for admins any.
async fn revoke(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    Extension(user): Extension<CurrentUser>,
    route::TokenRevoke(id): route::TokenRevoke,
) -> Result<Response, Problem> {
    user.check_is_person()?;
    // Someone else may have had this name, of another source.
    let is_own =
        |token: &AccessToken| token.owner == user.owner() && token.source == state.users.source_of(&user);
    let people = &state.people;
    let token = people.token(&id).await?.filter(|token| is_own(token) || ui.may_admin());
    let token = token.ok_or_else(|| Problem::not_found("The token"))?;
    if !people.revoke(&token, &actor).await? {
        return Err(Problem::not_found("The token"));
    }
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "revoked": id })).into_response());
    }
    Flash::set(&session, format!("The token {} is revoked.", token.label)).await;
    let back = if is_own(&token) { route::Tokens::PATH } else { route::Users::PATH };
    Ok(Redirect::to(&ui.paths.to(back)).into_response())
}
