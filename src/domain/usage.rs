//! Usage of the proxy.

pub mod report;

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

/// What some calls came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sums {
    /// US dollars.
    pub spend: f64,
    pub calls: u64,
    pub failed: u64,
    /// Of prompts and answers.
    pub tokens: u64,
}

impl Sums {
    pub fn add(&mut self, more: &Self) {
        self.spend += more.spend;
        self.calls += more.calls;
        self.failed += more.failed;
        self.tokens += more.tokens;
    }
}

/// What a bar is split by: the model that served, or the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Series {
    /// The model's name or the key's alias; empty where the log names none.
    pub label: String,
    /// None for a model, for the master key, and for a call whose key is not known.
    pub key: Option<KeyHash>,
}

/// The proxy's own sums of a day of UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct DayParts {
    pub date: Date,
    pub models: Vec<(Series, Sums)>,
    pub keys: Vec<(Series, Sums)>,
}

/// One row of the proxy's spend log.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Call {
    /// The proxy's `request_id`.
    pub id: String,
    pub at: Timestamp,
    pub took_ms: Option<i128>,
    /// Until the first token, for a streamed answer.
    pub first_token_ms: Option<i128>,
    /// The name that answered, by the proxy's word.
    pub model: Option<String>,
    /// The name that was asked for. After a fallback another than `model`, where the log says so: 1.109 does, earlier
    /// releases only where they store requests.
    pub asked: Option<String>,
    /// The provider's model that served it.
    pub served: Option<String>,
    /// None for a route that is not known here.
    pub endpoint: Option<Endpoint>,
    /// The conversation, where the caller named one.
    pub session: Option<String>,
    pub key: Option<KeyHash>,
    pub key_alias: Option<String>,
    /// Which deployment answered; none for a pass-through.
    pub deployment: Option<String>,
    /// Of the prompt's tokens, those that the provider had in its cache.
    pub cached_tokens: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// US dollars.
    pub spend: f64,
    /// Fallbacks and retries; none where the release does not log them.
    pub fallbacks: Option<u64>,
    pub retries: Option<u64>,
    pub has_failed: bool,
    pub error: Option<String>,
    /// The error in the provider's words, without secrets.
    #[serde(skip)]
    pub message: Option<String>,
}

impl Call {
    /// Whether it is a message that the proxy's A2A gateway passed on, and no call of a model. Seen on 1.109.1, which
    /// estimates tokens for it.
    pub fn is_message(&self) -> bool {
        self.served.as_deref().is_some_and(|served| served.starts_with("a2a_agent/"))
    }

    pub fn sums(&self) -> Sums {
        Sums {
            spend: self.spend,
            calls: 1,
            failed: u64::from(self.has_failed),
            tokens: self.prompt_tokens.saturating_add(self.completion_tokens),
        }
    }

    /// Whether another model than the one asked for answered.
    pub fn fell_back(&self) -> bool {
        self.fallbacks.is_some_and(|count| count > 0) || (self.asked.is_some() && self.asked != self.model)
    }
}

/// What a call was asked and what it answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bodies {
    /// None where the proxy did not store it.
    pub request: Option<Body>,
    pub answer: Option<Body>,
}

/// JSON without secrets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Body {
    pub text: String,
    /// Whether it goes on.
    pub is_cut: bool,
}
