//! What a key was used for.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

/// What was spent in one day (UTC).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DailySpend {
    /// The day.
    pub date: Date,
    /// US dollars.
    pub spend: f64,
    /// Tokens, both ways.
    pub tokens: u64,
    /// Calls.
    pub requests: u64,
    /// Calls that failed.
    pub failed: u64,
}

impl DailySpend {
    /// A day on which nothing was spent.
    #[must_use]
    pub fn none(date: Date) -> Self {
        Self { date, spend: 0.0, tokens: 0, requests: 0, failed: 0 }
    }

    /// Adds more of the same day.
    pub fn add(&mut self, more: &Self) {
        self.spend += more.spend;
        self.tokens += more.tokens;
        self.requests += more.requests;
        self.failed += more.failed;
    }
}

/// One call of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: Option<i128>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// Tokens sent.
    pub prompt_tokens: u64,
    /// Tokens received.
    pub completion_tokens: u64,
    /// US dollars.
    pub spend: f64,
    /// Whether it failed.
    pub has_failed: bool,
    /// The status or kind of error, where it failed.
    pub error: Option<String>,
}
