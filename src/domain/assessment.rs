//! What is known of a model and a conversation before a switch: whether the model answers, whether the conversation fits,
//! and what the switch costs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::domain::handover::HistoryFault;
use crate::domain::model::{Deployment, LongPrices, Prices};
use crate::domain::words::{money, tokens};

/// Part of the window from which a conversation is a tight fit.
const TIGHT: f64 = 0.8;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assessment {
    /// Whether the model answers the calls that the agent makes; none where no model was asked for.
    pub answers: Option<Answers>,
    /// None where the conversation's size is not known.
    pub estimate: Option<Estimate>,
    /// Why the swap was refused, where the form can accept it.
    pub held_back: Option<HeldBack>,
    /// Why the proof failed, where the conversation's history is at fault.
    pub history_fault: Option<HistoryFault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub state: AnswerState,
    /// What answered, or why it is not known.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum AnswerState {
    Yes,
    Fallback,
    No,
    NotKnown,
}

/// What a person accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    pub size: bool,
    pub cost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBack {
    Size,
    Cost,
}

/// Tokens of a conversation's last turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub input: u64,
    /// Of the input, those that the provider had in its cache.
    pub cached: u64,
    pub output: u64,
    pub source: SizeSource,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeSource {
    /// The agent's answer to a message from here.
    Agent,
    /// The proxy's log of the conversation.
    Log,
}

/// Limits and prices of what serves a name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelFacts {
    /// Most input tokens.
    pub window: Option<u64>,
    pub prices: Prices,
    /// Prices of long inputs, the shortest first.
    pub long_prices: Vec<LongPrices>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    Fits,
    /// Over 80 % of the window.
    Tight,
    TooLong,
    NotKnown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub size: Size,
    pub window: Option<u64>,
    pub fit: Fit,
    /// US dollars to read the conversation once, which the new model has not in its cache.
    pub reread: Option<f64>,
    /// US dollars by which each further turn of this size costs more; negative where it costs less.
    pub per_turn: Option<f64>,
}

impl Answers {
    pub fn new(state: AnswerState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into() }
    }

    pub fn describe(&self) -> String {
        match self.state {
            AnswerState::Yes if self.detail.is_empty() => "answers".to_owned(),
            AnswerState::Yes => format!("answers: {}", self.detail),
            AnswerState::Fallback => format!("answered by fallback {}", self.detail),
            AnswerState::No => format!("does not answer: {}", self.detail),
            AnswerState::NotKnown => format!("whether it answers is not known: {}", self.detail),
        }
    }
}

impl Size {
    /// What the next turn sends, without its message.
    pub fn next(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    pub fn describe(&self) -> &'static str {
        match self.source {
            SizeSource::Agent => "by the agent's last answer to a message from here",
            SizeSource::Log => "by the proxy's log of the conversation",
        }
    }
}

impl ModelFacts {
    /// Of several deployments the smallest window and the highest prices count: any of them may answer.
    pub fn of(deployments: &[&Deployment]) -> Self {
        let highest = |input: u64| {
            let prices: Vec<Prices> = deployments.iter().map(|one| one.prices(input)).collect();
            let highest = |price: fn(&Prices) -> Option<f64>| {
                let prices: Option<Vec<f64>> = prices.iter().map(price).collect();
                prices?.into_iter().reduce(f64::max)
            };
            Prices {
                input: highest(|prices| prices.input),
                cached_input: highest(|prices| prices.cached_input),
                output: highest(|prices| prices.output),
            }
        };
        let mut steps: Vec<u64> =
            deployments.iter().flat_map(|one| one.long_prices.iter().map(|long| long.above)).collect();
        steps.sort_unstable();
        steps.dedup();
        let long = |above: u64| LongPrices { above, prices: highest(above.saturating_add(1)) };
        Self {
            window: deployments.iter().filter_map(|one| one.max_input_tokens).min(),
            prices: highest(0),
            long_prices: steps.into_iter().map(long).collect(),
        }
    }

    pub fn is_complete(&self) -> bool {
        self.window.is_some() && self.prices.input.is_some() && self.prices.output.is_some()
    }

    /// The same, with what is missing from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            window: self.window.or(other.window),
            prices: self.prices.or(other.prices),
            long_prices: if self.long_prices.is_empty() { other.long_prices } else { self.long_prices },
        }
    }

    fn prices(&self, input: u64) -> Prices {
        self.prices.at(input, &self.long_prices)
    }

    #[expect(clippy::cast_precision_loss, reason = "tokens of a conversation, far below 2^52")]
    fn turn(&self, size: &Size) -> Option<f64> {
        let (input, cached) = (size.input as f64, size.cached.min(size.input) as f64);
        let prices = self.prices(size.input);
        let price = prices.input?;
        let read = (input - cached) * price + cached * prices.cached_input.unwrap_or(price);
        Some(read + size.output as f64 * prices.output?)
    }
}

impl Estimate {
    #[expect(clippy::cast_precision_loss, reason = "tokens of a conversation, far below 2^52")]
    pub fn new(size: Size, from: Option<&ModelFacts>, to: &ModelFacts) -> Self {
        let next = size.next();
        let fit = match to.window {
            None => Fit::NotKnown,
            Some(window) if next > window => Fit::TooLong,
            Some(window) if next as f64 > TIGHT * window as f64 => Fit::Tight,
            Some(_) => Fit::Fits,
        };
        Self {
            window: to.window,
            fit,
            reread: to.prices(next).input.map(|price| next as f64 * price),
            per_turn: from.and_then(|from| Some(to.turn(&size)? - from.turn(&size)?)),
            size,
        }
    }

    /// In parts, such as “41k of 200k tokens”, “re-read $0.12”, “then +$0.03 per turn”.
    pub fn parts(&self) -> Vec<String> {
        let size = tokens(self.size.next());
        let fit = match (self.window, self.fit) {
            (Some(window), Fit::TooLong) => {
                format!("does not fit: {size} of {} tokens", tokens(window))
            }
            (Some(window), Fit::Tight) => format!("a tight fit: {size} of {} tokens", tokens(window)),
            (Some(window), _) => format!("{size} of {} tokens", tokens(window)),
            (None, _) => format!("{size} tokens, window not known"),
        };
        let reread = match self.reread {
            Some(cost) => format!("re-read {}", money(cost)),
            None => "cost not known: no registered price".to_owned(),
        };
        let per_turn = self.per_turn.map(|cost| {
            let sign = if cost < 0.0 { "−" } else { "+" };
            format!("then {sign}{} per turn", money(cost.abs()))
        });
        [fit, reread].into_iter().chain(per_turn).collect()
    }
}

impl Assessment {
    /// In one line; empty where nothing is known.
    pub fn line(&self) -> String {
        let mut parts = self.estimate.as_ref().map(Estimate::parts).unwrap_or_default();
        parts.extend(self.answers.as_ref().map(Answers::describe));
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(input: u64, cached: u64, output: u64) -> Size {
        Size { input, cached, output, source: SizeSource::Log, at: Timestamp::UNIX_EPOCH }
    }

    /// Prices in US dollars per million tokens.
    fn model(window: u64, input: f64, cached: f64, output: f64) -> ModelFacts {
        let price = |price: f64| Some(price / 1e6);
        let prices = Prices { input: price(input), cached_input: price(cached), output: price(output) };
        ModelFacts { window: Some(window), prices, long_prices: Vec::new() }
    }

    #[test]
    fn long_conversations_have_prices_of_their_own() {
        // As LiteLLM has it of gpt-5.5: all tokens of a call with more than 272,000 cost more.
        let mut model = model(1_050_000, 5.0, 0.5, 30.0);
        let prices = Prices { input: Some(10.0 / 1e6), cached_input: None, output: Some(45.0 / 1e6) };
        model.long_prices = vec![LongPrices { above: 272_000, prices }];
        let cost = |input, cached| {
            let estimate = Estimate::new(size(input, cached, 0), Some(&ModelFacts::default()), &model);
            format!("{:.0}", estimate.reread.unwrap() * 1e6)
        };
        assert_eq!([cost(272_000, 0), cost(272_001, 0)], ["1360000", "2720010"]);
        let turn = |input, cached| format!("{:.0}", model.turn(&size(input, cached, 1_000)).unwrap() * 1e6);
        assert_eq!(turn(272_000, 272_000), "166000");
        // Without a price of its own for long inputs, what is cached costs as before.
        assert_eq!(turn(300_000, 200_000), "1145000");
    }

    #[test]
    fn says_whether_it_fits_and_what_it_costs() {
        let (cheap, dear) = (model(272_000, 0.25, 0.025, 2.0), model(200_000, 3.0, 0.3, 15.0));
        let estimate = Estimate::new(size(40_000, 0, 1_000), Some(&cheap), &dear);
        assert_eq!(estimate.fit, Fit::Fits);
        assert_eq!(estimate.parts(), ["41k of 200k tokens", "re-read $0.12", "then +$0.12 per turn"]);
        // Of what was cached the next turns pay the cached price; the first does not.
        let cached = Estimate::new(size(40_000, 40_000, 1_000), Some(&cheap), &dear);
        assert_eq!(cached.parts()[1..], ["re-read $0.12", "then +$0.024 per turn"]);
        let back = Estimate::new(size(40_000, 0, 1_000), Some(&dear), &cheap);
        assert_eq!(back.parts()[2], "then −$0.12 per turn");

        let fit = |input| Estimate::new(size(input, 0, 0), None, &dear).fit;
        assert_eq!([fit(160_000), fit(160_001), fit(200_000)], [Fit::Fits, Fit::Tight, Fit::Tight]);
        assert_eq!(fit(200_001), Fit::TooLong);
        let unknown = Estimate::new(size(40_000, 0, 1_000), Some(&cheap), &ModelFacts::default());
        assert_eq!(unknown.fit, Fit::NotKnown);
        assert_eq!(unknown.parts(), ["41k tokens, window not known", "cost not known: no registered price"]);
    }
}
