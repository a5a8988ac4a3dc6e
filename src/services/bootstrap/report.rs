//! What was done, step by step.

use serde::Serialize;

use crate::domain::model_detail::Change;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Proxy,
    Secrets,
    Model,
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Waiting,
    Same,
    Planned,
    Changed,
    Refused,
    Failed,
}

#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub part: Part,
    pub name: String,
    pub outcome: Outcome,
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
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
        match self {
            Self::Proxy => "proxy",
            Self::Secrets => "secrets",
            Self::Model => "model",
            Self::Key => "key",
        }
    }
}

impl Outcome {
    pub(super) fn of_change(is_dry_run: bool) -> Self {
        if is_dry_run { Self::Planned } else { Self::Changed }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Same => "same",
            Self::Planned => "planned",
            Self::Changed => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    fn is_change(self) -> bool {
        matches!(self, Self::Planned | Self::Changed)
    }

    /// Whether it is not as it should be.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Refused | Self::Failed)
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
    say: Box<dyn FnMut(&Step) + Send + 'a>,
}

impl<'a> Log<'a> {
    pub(super) fn new(say: impl FnMut(&Step) + Send + 'a) -> Self {
        Self { steps: Vec::new(), say: Box::new(say) }
    }

    pub(super) fn add(&mut self, part: Part, name: &str, outcome: Outcome, detail: impl Into<String>) {
        self.add_with(part, name, outcome, detail, Vec::new());
    }

    pub(super) fn add_with(
        &mut self,
        part: Part,
        name: &str,
        outcome: Outcome,
        detail: impl Into<String>,
        changes: Vec<Change>,
    ) {
        let step = Step { part, name: name.to_owned(), outcome, detail: detail.into(), changes };
        (self.say)(&step);
        self.steps.push(step);
    }

    /// Tells what is no step: something goes on.
    pub(super) fn say(&mut self, part: Part, name: &str, outcome: Outcome, detail: impl Into<String>) {
        let step = Step { part, name: name.to_owned(), outcome, detail: detail.into(), changes: Vec::new() };
        (self.say)(&step);
    }

    pub(super) fn report(self) -> Report {
        let changed = self.steps.iter().filter(|step| step.outcome.is_change()).count();
        let failed = self.steps.iter().filter(|step| step.outcome.is_bad()).count();
        Report { steps: self.steps, changed, failed }
    }
}
