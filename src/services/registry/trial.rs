//! Having one deployment answer.

use super::admin::{Inner, ModelError, Models, Result};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::model::chats;
use crate::domain::model_note::TestResult;
use crate::services::journal::journaled;
use crate::store::OwnRow;

/// Why a deployment of this mode is not tested, if it is not: only chat can be asked for a word.
pub fn cannot_test(mode: &str) -> Option<String> {
    (!chats(Some(mode))).then(|| {
        format!("The test is a tiny chat completion, which a model of the mode {mode} does not take.")
    })
}

impl Models {
    pub async fn test(&self, id: &str, actor: &Actor) -> Result<TestResult> {
        let found = self.find(id).await?.ok_or(ModelError::Unknown)?;
        if let Some(why) = &found.ghost {
            return Err(ModelError::Unsupported(format!("It is not live: {why}.")));
        }
        if let Some(why) = cannot_test(&found.detail.fact("mode")) {
            return Err(ModelError::Unsupported(why));
        }
        let name = found.detail.name;
        let mut entry = NewEntry::new(actor, Action::ModelTest, id, "ok");
        entry.detail = Some(name.clone());
        journaled(&self.inner.store, entry, async |record| {
            let result = self.inner.test(id, actor).await;
            if !result.ok {
                "failed".clone_into(&mut record.entry.outcome);
            }
            record.entry.add_detail(&result.text);
            record.rows.push(OwnRow::Test { id: id.to_owned(), name, result: result.clone() });
            Ok(result)
        })
        .await
    }
}

impl Inner {
    async fn test(&self, id: &str, actor: &Actor) -> TestResult {
        let begun = std::time::Instant::now();
        let tried = self.proxy.try_deployment(id).await;
        let milliseconds = |took: std::time::Duration| took.as_secs_f64() * 1e3;
        let (ok, ms, model, text) = match tried {
            Ok(tried) => match tried.deployment.as_deref().filter(|answered| *answered != id) {
                None => (true, milliseconds(tried.took), tried.model, tried.said),
                Some(other) => (
                    false,
                    milliseconds(tried.took),
                    tried.model,
                    format!("another deployment answered: {other}"),
                ),
            },
            Err(error) => (false, milliseconds(begun.elapsed()), None, error.to_string()),
        };
        TestResult { at: self.clock.now(), by: actor.name.clone(), ok, ms, model, text }
    }
}
