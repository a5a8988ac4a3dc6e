//! The steps of a run.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::domain::model_detail::Change;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Part {
    Proxy,
    Secrets,
    Model,
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Outcome {
    Waiting,
    Same,
    Planned,
    #[strum(serialize = "done")]
    Changed,
    Refused,
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub part: Part,
    pub name: String,
    pub outcome: Outcome,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub steps: Vec<Step>,
    pub changed: usize,
    pub failed: usize,
}

impl Part {
    pub fn word(self) -> &'static str {
        self.into()
    }
}

impl Outcome {
    pub fn word(self) -> &'static str {
        self.into()
    }

    fn is_change(self) -> bool {
        matches!(self, Self::Planned | Self::Changed)
    }

    pub fn is_bad(self) -> bool {
        matches!(self, Self::Refused | Self::Failed)
    }
}

impl Step {
    pub(super) fn new(part: Part, name: &str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { part, name: name.to_owned(), outcome, detail: detail.into(), changes: Vec::new() }
    }
}

impl Report {
    pub fn and(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self.changed += other.changed;
        self.failed += other.failed;
        self
    }
}

pub(super) struct Log<'a> {
    steps: Vec<Step>,
    on_step: Box<dyn FnMut(&Step) + Send + 'a>,
}

impl<'a> Log<'a> {
    pub(super) fn new(on_step: impl FnMut(&Step) + Send + 'a) -> Self {
        Self { steps: Vec::new(), on_step: Box::new(on_step) }
    }

    pub(super) fn add(&mut self, part: Part, name: &str, outcome: Outcome, detail: impl Into<String>) {
        self.record(Step::new(part, name, outcome, detail));
    }

    pub(super) fn add_with(
        &mut self,
        part: Part,
        name: &str,
        outcome: Outcome,
        detail: impl Into<String>,
        changes: Vec<Change>,
    ) {
        self.record(Step { changes, ..Step::new(part, name, outcome, detail) });
    }

    pub(super) fn record(&mut self, step: Step) {
        (self.on_step)(&step);
        self.steps.push(step);
    }

    /// Reports progress that is not part of the result.
    pub(super) fn progress(&mut self, part: Part, name: &str, outcome: Outcome, detail: impl Into<String>) {
        (self.on_step)(&Step::new(part, name, outcome, detail));
    }

    pub(super) fn report(self) -> Report {
        let changed = self.steps.iter().filter(|step| step.outcome.is_change()).count();
        let failed = self.steps.iter().filter(|step| step.outcome.is_bad()).count();
        Report { steps: self.steps, changed, failed }
    }
}
