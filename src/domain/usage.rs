//! Usage of the proxy.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::domain::calls::Endpoint;
use crate::domain::key::KeyHash;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DailySpend {
    pub date: Date,
    /// US dollars.
    pub spend: f64,
    pub tokens: u64,
    pub requests: u64,
    pub failed: u64,
}

impl DailySpend {
    pub fn none(date: Date) -> Self {
        Self { date, spend: 0.0, tokens: 0, requests: 0, failed: 0 }
    }

    /// Fills in the missing days of a sorted list.
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

    pub fn add(&mut self, more: &Self) {
        self.spend += more.spend;
        self.tokens += more.tokens;
        self.requests += more.requests;
        self.failed += more.failed;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// None for a model, and for the proxy's own calls.
    pub key: Option<KeyHash>,
    /// The key's alias, or its masked name; the model's name.
    pub label: String,
    /// US dollars.
    pub spend: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    pub at: Timestamp,
    pub took_ms: Option<i128>,
    /// The name that answered, by the proxy's word.
    pub model: Option<String>,
    /// None for a route that is not known here.
    pub endpoint: Option<Endpoint>,
    /// The conversation, where the caller named one.
    pub session: Option<String>,
    #[serde(skip)]
    pub key: Option<KeyHash>,
    /// Which deployment answered; none for a pass-through.
    pub deployment: Option<String>,
    /// Of the prompt's tokens, those that the provider had in its cache.
    pub cached_tokens: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// US dollars.
    pub spend: f64,
    pub has_failed: bool,
    pub error: Option<String>,
    /// The error in the provider's words, without secrets.
    #[serde(skip)]
    pub message: Option<String>,
}
