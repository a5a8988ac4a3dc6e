//! What came of a step.

use super::super::control::SendError;
use crate::clients::a2a::AgentError;
use crate::clients::{ClientError, Meaning};
use crate::domain::swap::{Fault, StepResult};
use crate::domain::words::sentence;
use crate::store::StoreError;

/// Why a swap stops at a step.
pub(in crate::services::switcher) struct StepError {
    pub(super) fault: Fault,
    pub(in crate::services::switcher) detail: String,
}

impl StepError {
    pub(in crate::services::switcher) fn request(detail: impl Into<String>) -> Self {
        Self { fault: Fault::Request, detail: detail.into() }
    }

    pub(in crate::services::switcher) fn upstream(detail: impl Into<String>) -> Self {
        Self { fault: Fault::Upstream, detail: detail.into() }
    }
}

impl From<ClientError> for StepError {
    fn from(error: ClientError) -> Self {
        let fault = match error.meaning() {
            _ if error.is_timeout() => Fault::Timeout,
            Some(
                Meaning::KeyBlocked
                | Meaning::KeyExpired
                | Meaning::OverBudget
                | Meaning::ModelDenied
                | Meaning::NotFound,
            ) => Fault::Request,
            _ => Fault::Upstream,
        };
        Self { fault, detail: sentence(&error) }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::upstream(sentence(&error))
    }
}

impl From<SendError> for StepError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Fenced(_) => Self::upstream(sentence(&error)),
            SendError::Agent(error) => error.into(),
        }
    }
}

impl From<AgentError> for StepError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Transport(error) => error.into(),
            other => Self::upstream(sentence(&other)),
        }
    }
}

/// The text of a step for the receipt, and whether it could check everything.
pub(in crate::services::switcher) struct StepReport {
    pub(in crate::services::switcher) detail: String,
    pub(super) result: StepResult,
}

impl StepReport {
    pub(super) fn done(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), result: StepResult::Done }
    }

    pub(super) fn warning(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), result: StepResult::Warning }
    }
}
