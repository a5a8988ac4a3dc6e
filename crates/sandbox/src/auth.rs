//! Authentication and authorisation.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::deployment::hash;
use super::errors::{self, Refusal, UNREACHABLE};
use super::generation::Generation;
use super::key_table::VirtualKey;
use super::text;
use super::world::{Database, State, World};

/// An authenticated caller: the master key, or a virtual key that is neither blocked nor expired.
pub(super) struct Caller {
    pub(super) token: Option<String>,
    route: String,
}

impl FromRequestParts<World> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, world: &World) -> Result<Self, Self::Rejection> {
        let route = parts.uri.path().to_owned();
        let token = authenticate(world, &parts.headers, &route)?;
        Ok(Self { token, route })
    }
}

fn presented(generation: Generation, headers: &HeaderMap) -> Result<&str, Refusal> {
    let refuse = |message: &str| {
        Err(Refusal::proxy(
            401,
            "auth_error",
            generation.no_param(),
            format!("Authentication Error, {message}"),
        ))
    };
    // `x_x_api_key_header`, `x_x_litellm_api_key_header`
    let other = ["x-litellm-api-key", "x-api-key"].iter().find_map(|name| headers.get(*name));
    if let Some(key) = other.and_then(|value| value.to_str().ok()) {
        return Ok(key.strip_prefix("Bearer ").unwrap_or(key));
    }
    let Some(value) = headers.get(AUTHORIZATION) else { return refuse("No api key passed in.") };
    match value.to_str().unwrap_or_default().strip_prefix("Bearer ").map(str::trim) {
        Some(key) if !key.is_empty() => Ok(key),
        _ => refuse("Malformed API Key passed in. Ensure Key has `Bearer ` prefix."),
    }
}

fn authenticate(world: &World, headers: &HeaderMap, route: &str) -> Result<Option<String>, Refusal> {
    let generation = world.generation();
    let presented = presented(generation, headers)?;
    let master = world.master_key().expose_secret();
    if bool::from(presented.as_bytes().ct_eq(master.as_bytes())) {
        return Ok(None);
    }
    if !presented.starts_with("sk-") {
        let message = match generation {
            Generation::V1_80 => format!(
                "Authentication Error, LiteLLM Virtual Key expected. Received={presented}, expected to start \
                 with 'sk-'."
            ),
            Generation::V1_109 => format!(
                "LiteLLM Virtual Key expected. Received={}, expected to start with 'sk-'.",
                text::masked_key(presented)
            ),
        };
        return Err(Refusal::proxy(401, "auth_error", generation.no_param(), message));
    }
    let now = world.now();
    let mut state = world.lock();
    let database = state.database;
    let key = state.keys.get_mut(presented);
    let key = look_up(database, generation, presented, key)?;
    check(generation, key, route, now)?;
    Ok(Some(key.token.clone()))
}

/// The key's row from the cache or the database. An outage is reported as a rejected key by 1.80
/// (`1.80/dbdown_wrong_key`), and so is a missing database, with another status, by both.
fn look_up<'a>(
    database: Database,
    generation: Generation,
    presented: &str,
    key: Option<&'a mut VirtualKey>,
) -> Result<&'a mut VirtualKey, Refusal> {
    match (database, key) {
        (Database::Up, Some(key)) => {
            key.warm = true;
            Ok(key)
        }
        (Database::Up, None) => Err(unknown(generation, presented)),
        (Database::Down, Some(key)) if key.warm => Ok(key),
        (Database::Down, _) => Err(match generation {
            Generation::V1_80 => {
                Refusal::proxy(401, "auth_error", "None", format!("Authentication Error, {UNREACHABLE}"))
            }
            Generation::V1_109 => errors::database_unavailable(),
        }),
        // Not recorded; reported by people who run the proxy without a database.
        (Database::None, _) => {
            Err(Refusal::proxy(400, "no_db_connection", generation.no_param(), "No connected db."))
        }
    }
}

fn unknown(generation: Generation, presented: &str) -> Refusal {
    let message = match generation {
        Generation::V1_80 => format!(
            "Authentication Error, Invalid proxy server token passed. Received API Key = {}, Key Hash (Token) \
             ={}. Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
            text::short_key(presented),
            hash(presented),
        ),
        Generation::V1_109 => "Authentication Error, Invalid API key provided.".to_owned(),
    };
    Refusal::proxy(401, "token_not_found_in_db", "key", message)
}

fn check(generation: Generation, key: &VirtualKey, route: &str, now: Timestamp) -> Result<(), Refusal> {
    if key.blocked == Some(true) {
        let message = match generation {
            Generation::V1_80 => "Key is blocked. Update via `/key/unblock` if you're admin.",
            Generation::V1_109 => "Key is blocked. Update via `/key/unblock` if you're an admin.",
        };
        let message = format!("Authentication Error, {message}");
        return Err(Refusal::proxy(401, "auth_error", generation.no_param(), message));
    }
    if let Some(expires) = key.expires.filter(|_| key.expired(now)) {
        let status = match generation {
            Generation::V1_80 => 400,
            Generation::V1_109 => 401,
        };
        let message = format!(
            "Authentication Error - Expired Key. Key Expiry time {} and current time {}",
            text::spoken(expires),
            text::spoken(now),
        );
        return Err(Refusal::proxy(status, "expired_key", text::short_key(&key.token), message));
    }
    if !key.allowed_routes.is_empty() && !key.allowed_routes.iter().any(|allowed| allowed == route) {
        return Err(Refusal::detail(
            403,
            format!(
                "Virtual key is not allowed to call this route. Only allowed to call routes: {}. Tried to \
                 call route: {route}",
                text::list(&key.allowed_routes)
            ),
        ));
    }
    // The older proxy checks the budget on every route, the newer one on routes that cost money
    // (`v1_models_budget_exceeded`).
    if generation == Generation::V1_80 { budget(generation, key) } else { Ok(()) }
}

pub(super) fn budget(generation: Generation, key: &VirtualKey) -> Result<(), Refusal> {
    let Some(most) = key.max_budget.filter(|_| key.over_budget()) else { return Ok(()) };
    let cost = format!("Current cost: {}, Max budget: {}", text::float(key.spend), text::float(most));
    let (status, message) = match generation {
        Generation::V1_80 => (400, format!("Budget has been exceeded! {cost}")),
        Generation::V1_109 => {
            // Without an alias: not recorded.
            let alias = key.alias.as_deref().unwrap_or("None");
            (422, format!("Budget has been exceeded! Key={alias} ({}) {cost}", key.name))
        }
    };
    Err(Refusal::proxy(status, "budget_exceeded", Value::Null, message))
}

impl Caller {
    /// The caller's virtual key, if it is one and still exists.
    pub(super) fn key<'a>(&self, state: &'a State) -> Option<&'a VirtualKey> {
        state.keys.get(self.token.as_deref()?)
    }

    /// The models the caller may use; none named means all.
    pub(super) fn models(&self, state: &State) -> Vec<String> {
        self.key(state).map(|key| key.models.clone()).unwrap_or_default()
    }

    /// Refuses a virtual key on a route for administrators (`virtual_key_key_generate`).
    pub(super) fn administrate(&self, world: &World) -> Result<(), Refusal> {
        if self.token.is_none() {
            return Ok(());
        }
        let generation = world.generation();
        let user = self.key(&world.lock()).and_then(|key| key.user_id.clone());
        let user = user.unwrap_or_else(|| "unknown".to_owned());
        let user = match generation {
            Generation::V1_80 => user,
            Generation::V1_109 => text::masked(&user),
        };
        Err(Refusal::proxy(
            401,
            "auth_error",
            generation.no_param(),
            format!(
                "Authentication Error, Only proxy admin can be used to generate, delete, update info for new \
                 keys/users/teams. Route={}. Your role=unknown. Your user_id={user}",
                self.route
            ),
        ))
    }

    /// Refuses a virtual key that would change deployments (`virtual_key_model_new`).
    pub(super) fn edit_models(&self, world: &World) -> Result<(), Refusal> {
        if self.token.is_none() {
            return Ok(());
        }
        Err(Refusal::proxy(
            403,
            "auth_error",
            world.generation().no_param(),
            "{'error': 'User does not have permission to make this model call. Your role=internal_user. You \
             can only make model calls if you are a PROXY_ADMIN or if you are a team admin, by specifying a \
             team_id in the model_info.'}",
        ))
    }
}
