//! What Patchbay stores about a deployment because the proxy does not show it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::model_detail::Draft;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// `model_info.id`.
    pub id: String,
    pub name: String,
    /// Parameters given by reference (`os.environ/NAME`): the proxy hides or resolves them.
    pub references: Map<String, Value>,
    pub ghost: Option<Ghost>,
    pub test: Option<TestResult>,
}

/// Saved in the database but not loaded by the proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ghost {
    #[serde(skip)]
    pub draft: Draft,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    pub at: Timestamp,
    pub by: String,
    pub ok: bool,
    pub ms: f64,
    pub model: Option<String>,
    pub text: String,
}
