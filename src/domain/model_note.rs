//! What Patchbay keeps of a deployment because the proxy does not tell it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::model_detail::Draft;

/// What is known of one deployment beside the proxy's own word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// `model_info.id`.
    pub id: String,
    /// Its name when the note was made.
    pub name: String,
    /// Parameters given by reference (`os.environ/NAME`): the proxy hides or resolves them.
    pub references: Map<String, Value>,
    /// It is saved, and was not live when last seen.
    pub ghost: Option<Ghost>,
    /// How its last test ended.
    pub test: Option<TestResult>,
}

/// A deployment that is saved and not live.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ghost {
    /// What was sent, without secrets by value.
    #[serde(skip)]
    pub draft: Draft,
    /// What the proxy said of it.
    pub why: String,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Whether the model answered.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// The model that the proxy says has answered.
    pub model: Option<String>,
    /// The answer's beginning, or the error.
    pub text: String,
}
