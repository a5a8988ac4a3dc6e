//! What to tell of the errors of the layers below.

use axum::http::StatusCode;

use super::Problem;
use crate::clients::a2a::AgentError;
use crate::clients::{ClientError, Meaning, Upstream};
use crate::domain::model::ModelSpec;
use crate::domain::swap::Swap;
use crate::domain::words::sentence;
use crate::services::agents::remedy;
use crate::services::gateway::AdoptError;
use crate::services::keys::KeyChangeError;
use crate::services::registry::ModelError;
use crate::services::switcher::{ReadError, SwapError};
use crate::store::{LockError, StoreError};
use crate::web::recipes::Recipe;

impl Problem {
    /// What to tell of an answer of the proxy or an agent that did not come, or was an error.
    pub(in crate::web) fn of_client(error: &ClientError) -> Self {
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
            other => Self::failed("The agent failed", sentence(other), "Look at the agent's log.")
                .see(Recipe::Agent),
        }
    }

    fn of_store(error: &StoreError) -> Self {
        if matches!(error, StoreError::Busy) {
            return Self::busy("others search the audit too");
        }
        tracing::error!(%error, "the database failed");
        Self::of_database("What you asked for may not have been written down.")
    }
}

const LATER: &str = "Try again in a moment: large answers are read one at a time.";

fn explain(error: &ClientError) -> (&'static str, &'static str, Option<Recipe>) {
    let (title, advice, recipe) = match (error, error.upstream()) {
        (ClientError::Unreachable { .. }, Upstream::Proxy) => {
            ("The proxy is down", "Start the LiteLLM proxy, or correct LITELLM_PROXY_URL.", Recipe::Proxy)
        }
        (ClientError::Unreachable { .. }, Upstream::Agent) => (
            "The agent is down",
            "Start the agent, or correct its address in PATCHBAY_AGENTS or the agents file.",
            Recipe::Agent,
        ),
        (ClientError::Timeout { .. }, Upstream::Proxy) => {
            ("The proxy is too slow", "Try again, or look at the proxy's log.", Recipe::Proxy)
        }
        (ClientError::Timeout { .. }, Upstream::Agent) => {
            ("The agent is too slow", "Try again, or look at the agent's log.", Recipe::Agent)
        }
        (ClientError::Status { meaning: Meaning::Credentials, .. }, Upstream::Proxy) => (
            "The proxy refuses the master key",
            "Set LITELLM_MASTER_KEY to the proxy's own, and restart Patchbay.",
            Recipe::MasterKey,
        ),
        (ClientError::Status { meaning: Meaning::Licence, .. }, _) => {
            let advice = "Leave this setting out, or give the proxy a license (LITELLM_LICENSE).";
            return ("This needs a LiteLLM Enterprise license", advice, None);
        }
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
        (ClientError::NotUnderstood { .. } | ClientError::TooLarge { .. }, Upstream::Proxy) => (
            "The proxy's answer is not understood",
            "Is LITELLM_PROXY_URL the address of a LiteLLM proxy?",
            Recipe::Proxy,
        ),
        (ClientError::NotUnderstood { .. } | ClientError::TooLarge { .. }, Upstream::Agent) => (
            "The agent's answer is not understood",
            "Is its address in PATCHBAY_AGENTS or the agents file that of an A2A endpoint?",
            Recipe::Agent,
        ),
        (ClientError::Overloaded { .. }, Upstream::Proxy) => {
            return ("The proxy sends too much at once", LATER, None);
        }
        (ClientError::Overloaded { .. }, Upstream::Agent) => {
            return ("The agents send too much at once", LATER, None);
        }
        (ClientError::Status { status: 300..=406 | 501, .. }, Upstream::Agent) => {
            ("The agent takes no messages", remedy(error, false), Recipe::Agent)
        }
        // It says itself what it did not like.
        (_, Upstream::Proxy) => return ("The proxy failed", "Look at the proxy's log.", None),
        (_, Upstream::Agent) => ("The agent failed", "Look at the agent's log.", Recipe::Agent),
    };
    (title, advice, Some(recipe))
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<AdoptError> for Problem {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Missing => Self::not_found("The agent"),
            AdoptError::Used => {
                Self::conflict("Used already", sentence(&error), "Look at it on the Agents page.")
            }
            AdoptError::Key(why) => Self::refused(
                "No key for this agent",
                why,
                "Set the variable where Patchbay runs, or name another one that holds a virtual key.",
            ),
            AdoptError::Proxy(error) => Self::of_client(&error),
            AdoptError::Store(error) => error.into(),
        }
    }
}

impl From<KeyChangeError> for Problem {
    fn from(error: KeyChangeError) -> Self {
        match error {
            KeyChangeError::Unknown => Self::not_found("The key"),
            KeyChangeError::Proxy(error) => Self::of_client(&error),
            KeyChangeError::Store(error) | KeyChangeError::Busy(LockError::Store(error)) => error.into(),
            KeyChangeError::Changed => Self::conflict(
                "The key has changed",
                "Its settings were changed by someone else since you loaded the form. Nothing was sent.",
                "Look at what has changed, then try again.",
            ),
            KeyChangeError::AliasTaken(_)
            | KeyChangeError::NotConfirmed
            | KeyChangeError::Expired
            | KeyChangeError::Sent(_) => {
                Self::refused("Not done", sentence(&error), "Go back, and try again.")
            }
            KeyChangeError::Busy(LockError::HeldBy(_)) | KeyChangeError::Fenced(_) => Self::conflict(
                "Someone else is changing this key",
                sentence(&error),
                "Try again in a moment.",
            ),
            KeyChangeError::CannotClear { .. } => Self::refused(
                "This release cannot clear it",
                sentence(&error),
                "Set another value, or upgrade the proxy.",
            ),
            KeyChangeError::NotDone(_) | KeyChangeError::NotTaken(_) | KeyChangeError::Lost(_) => {
                Self::failed(
                    "The proxy did not do it",
                    sentence(&error),
                    "Look at the key, and at the proxy's log.",
                )
            }
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        let detail = sentence(&error);
        match error {
            ModelError::Unknown => Self::not_found("The deployment"),
            ModelError::ReadOnly => Self::refused(
                "This deployment is read-only",
                detail,
                "Edit the proxy's configuration file, or register a deployment of the same name.",
            )
            .see(Recipe::Register),
            ModelError::Changed => Self::conflict(
                "The deployment has changed",
                detail,
                "Load the form again, look at what has changed, and try again.",
            ),
            ModelError::Busy(LockError::HeldBy(_)) | ModelError::Fenced(_) => {
                Self::conflict("Someone else is changing this deployment", detail, "Try again in a moment.")
            }
            ModelError::Unconfirmed => Self::refused(
                "Something depends on it",
                detail,
                "Look at what a deletion would hit, and type the name to confirm.",
            ),
            ModelError::MovesSecret => Self::refused(
                "The secret is missing",
                detail,
                "Load the form again, and give the secret's reference with the new address.",
            ),
            ModelError::Unsupported(_) => {
                Self::refused("Not possible here", detail, "Go back to the deployment.")
            }
            ModelError::NotTaken(_) => Self::failed(
                "The proxy did not do it",
                detail,
                "Load the deployment again in half a minute: replicas of a proxy may lag. Then try again.",
            ),
            ModelError::Proxy(error) => Self::of_client(&error),
            ModelError::Store(error) | ModelError::Busy(LockError::Store(error)) => error.into(),
            ModelError::Notes(error) => Self::of_store(&error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            ReadError::Agent(error) => Self::of_agent(&error),
            ReadError::Swap(error) => error.into(),
            ReadError::Asked { .. } => Self::conflict(
                "A question is being answered",
                sentence(&error),
                "Wait for the answer: reading an agent's state in the middle of a turn can make the turn fail.",
            ),
            ReadError::Fenced(_) => Self::conflict(
                "Nothing was sent",
                sentence(&error),
                "Load the context again, then try again.",
            ),
            ReadError::NotSwitchable => Self::failed(
                "The agent cannot be switched",
                sentence(&error),
                "Use an agent that understands [HOTSWAP:…] control messages.",
            )
            .see(Recipe::Agent),
            ReadError::NotPutBack => {
                Self::failed("Not put back", sentence(&error), "Look at the agent's contexts.")
            }
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<SwapError> for Problem {
    fn from(error: SwapError) -> Self {
        let detail = sentence(&error);
        match error {
            SwapError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            SwapError::Busy { .. } => Self::conflict(
                "A swap is running",
                detail,
                "Wait until it has ended, then look at the context and try again.",
            ),
            SwapError::Changed { last } => Self::conflict(
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

fn told(swap: &Swap) -> String {
    let what = swap.model.as_ref().map_or("another prompt", ModelSpec::as_str);
    format!("{} asked for {what} in {} ({}).", swap.actor, swap.context, swap.outcome.as_str())
}
