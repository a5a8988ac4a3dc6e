//! What a key was used for.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::domain::key::KeyHash;

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

    /// One entry for each day, of entries that are in order and leave days out.
    #[must_use]
    pub fn every_day(known: Vec<Self>, first: Date, last: Date) -> Vec<Self> {
        let mut known = known.into_iter().peekable();
        let days = first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last);
        days.map(|day| {
            while known.peek().is_some_and(|entry| entry.date < day) {
                known.next();
            }
            known.next_if(|entry| entry.date == day).unwrap_or_else(|| Self::none(day))
        })
        .collect()
    }

    /// Adds more of the same day.
    pub fn add(&mut self, more: &Self) {
        self.spend += more.spend;
        self.tokens += more.tokens;
        self.requests += more.requests;
        self.failed += more.failed;
    }
}

/// What one key, or one model, spent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The key's hash; none for a model, and for the proxy's own calls.
    pub key: Option<KeyHash>,
    /// The key's alias, or its masked name; the model's name.
    pub label: String,
    /// US dollars.
    pub spend: f64,
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
