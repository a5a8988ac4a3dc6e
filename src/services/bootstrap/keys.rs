//! Issues keys. The secret is written to the env file before the proxy gets the key, so that none is lost. The next run
//! continues an interrupted one from the state of env file and proxy.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Map;
use uuid::Uuid;

use super::key_list::{KeySpec, read_keys};
use super::report::{Outcome, Part};
use super::{Bootstrap, EnvError, Run};
use crate::clients::ClientError;
use crate::domain::key::{Access, KeyHash, KeyState, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::domain::model_detail::Change;
use crate::services::keys::{Issue, KeyChangeError, Keys};

#[derive(Debug, Clone)]
pub enum StoredKey {
    Placeholder,
    Secret(SecretString),
    Other(&'static str),
}

pub fn classify_key(value: Option<&str>) -> StoredKey {
    let value = value.unwrap_or_default().trim();
    // Providers' own keys must not become keys of the proxy.
    let foreign = ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-", "sk-or-"];
    if value.is_empty() || value.starts_with("sk-proxy-") || value.starts_with('<') {
        StoredKey::Placeholder
    } else if foreign.iter().any(|prefix| value.starts_with(prefix)) || value.contains("T3BlbkFJ") {
        StoredKey::Other("a provider's own key: move it to LITELLM_…_API_KEY, and leave this one empty")
    } else if !value.starts_with("sk-") {
        StoredKey::Other("no key of the proxy's, which begin with sk-")
    } else if value.len() < 16 {
        StoredKey::Other("too short for a key: LiteLLM wants 16 characters")
    } else {
        StoredKey::Secret(SecretString::from(value))
    }
}

fn new_secret() -> SecretString {
    let bytes = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    SecretString::from(format!("sk-{}", URL_SAFE_NO_PAD.encode(bytes)))
}

enum Todo {
    Nothing(String),
    Issue { old: Option<SecretString>, why: &'static str },
    Update { hash: KeyHash, settings: Box<KeyChanges>, changes: Vec<Change> },
    Refuse(String),
}

#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Change(#[from] KeyChangeError),
    #[error(transparent)]
    Proxy(#[from] ClientError),
}

impl Bootstrap {
    pub(super) async fn issue(&self, run: &mut Run<'_>) {
        let mut listed = Vec::new();
        match run.desired.list.as_deref().map(read_keys).transpose() {
            Ok(keys) => listed = keys.unwrap_or_default(),
            Err(error) => run.log.add(Part::Key, "keys", Outcome::Failed, error.to_string()),
        }
        // The list takes precedence over the settings.
        let is_listed = |alias: &str| listed.iter().flatten().any(|spec| spec.alias == alias);
        for spec in run.desired.keys.iter().filter(|spec| !is_listed(&spec.alias)) {
            self.issue_one(spec, run).await;
        }
        for spec in &listed {
            match spec {
                Ok(spec) => self.issue_one(spec, run).await,
                Err(why) => run.log.add(Part::Key, "entry", Outcome::Refused, format!("the entry {why}")),
            }
        }
        run.share_key();
    }

    async fn issue_one(&self, spec: &KeySpec, run: &mut Run<'_>) {
        let (outcome, detail, changes) = match self.ensure(spec, run).await {
            Ok(result) => result,
            Err(error) => (Outcome::Failed, error.to_string(), Vec::new()),
        };
        run.log.add_with(Part::Key, &spec.alias, outcome, detail, changes);
    }

    /// Issues or changes a key if needed. Idempotent: can be interrupted and repeated at any point.
    async fn ensure(
        &self,
        spec: &KeySpec,
        run: &mut Run<'_>,
    ) -> Result<(Outcome, String, Vec<Change>), KeyError> {
        let (options, env) = (run.options, &run.desired.env);
        let mut spec = spec.clone();
        let served = if options.sync_keys { Some(self.models_to_allow().await?) } else { None };
        let step = self.todo(&spec, &env.variables()?, options.new_secrets, served.as_ref()).await?;
        match step {
            Todo::Nothing(detail) => Ok((Outcome::Same, detail, Vec::new())),
            Todo::Refuse(why) => Ok((Outcome::Refused, why, Vec::new())),
            Todo::Update { changes, .. } if options.dry_run => {
                Ok((Outcome::Planned, "change".to_owned(), changes))
            }
            Todo::Update { hash, settings, changes } => {
                self.keys.update(&hash, *settings, None, run.actor).await?;
                Ok((Outcome::Changed, "changed".to_owned(), changes))
            }
            Todo::Issue { why, .. } if options.dry_run => Ok((Outcome::Planned, why.to_owned(), Vec::new())),
            Todo::Issue { old, why } => {
                let Some(target) = &spec.target else {
                    return Ok((Outcome::Refused, NO_TARGET.to_owned(), Vec::new()));
                };
                if let (Some(served), None) = (served, &spec.settings.access) {
                    spec.settings.access = Some(Access::List(served.into_iter().collect()));
                }
                let place = if old.is_none() { "written to" } else { "with the secret in" };
                let secret = old.unwrap_or_else(new_secret);
                env.set(&[(target, secret.expose_secret())])?;
                let issue = Issue { secret: &secret, alias: &spec.alias, settings: &spec.settings };
                let key = self.keys.issue(issue, run.actor).await?;
                let access = key.access.describe();
                Ok((Outcome::Changed, format!("{why}: {place} {target}, may call {access}"), Vec::new()))
            }
        }
    }

    async fn todo(
        &self,
        spec: &KeySpec,
        env: &HashMap<String, String>,
        new_secrets: bool,
        served: Option<&BTreeSet<String>>,
    ) -> Result<Todo, KeyError> {
        let Some(target) = &spec.target else { return self.todo_by_alias(spec).await };
        let secret = match classify_key(env.get(target).map(String::as_str)) {
            StoredKey::Other(what) => return Ok(Todo::Refuse(format!("{target} holds {what}"))),
            StoredKey::Secret(secret) if secret.expose_secret() == self.master_key.expose_secret() => {
                return Ok(Todo::Refuse(format!("{target} holds the proxy's admin key: empty it")));
            }
            StoredKey::Placeholder => None,
            StoredKey::Secret(secret) => Some(secret),
        };
        let Some(secret) = secret else {
            return Ok(Todo::Issue { old: None, why: "issued" });
        };
        let hash = KeyHash::of(&secret);
        let key = self.keys.key(&hash).await?;
        // It has a new secret already. Replacing that in the file would orphan the key.
        if key.as_ref().is_some_and(|key| Keys::is_waiting_for(key, &spec.alias)) {
            return Ok(Todo::Issue { old: Some(secret), why: "issued: an earlier run was cut short" });
        }
        if new_secrets {
            return Ok(Todo::Issue { old: None, why: "issued" });
        }
        let Some(key) = key else {
            let why = if self.keys.others(&spec.alias, &hash).await?.is_empty() {
                "issued again, since the proxy does not know it"
            } else {
                "issued in the place of another of its name, whose secret is not here"
            };
            return Ok(Todo::Issue { old: Some(secret), why });
        };
        self.todo_with(spec, key, served).await
    }

    async fn todo_by_alias(&self, spec: &KeySpec) -> Result<Todo, KeyError> {
        let nobody = "0".repeat(64).parse().map_err(|_| KeyChangeError::Unknown)?;
        let mut all = self.keys.others(&spec.alias, &nobody).await?;
        match (all.pop(), all.len()) {
            (None, _) => Ok(Todo::Refuse(NO_TARGET.to_owned())),
            (Some(key), 0) => self.todo_with(spec, key, None).await,
            (Some(_), others) => Ok(Todo::Refuse(format!("{} keys have this name", others + 1))),
        }
    }

    async fn todo_with(
        &self,
        spec: &KeySpec,
        key: VirtualKey,
        served: Option<&BTreeSet<String>>,
    ) -> Result<Todo, KeyError> {
        let now = self.keys.now();
        let state = key.state(now);
        if state == KeyState::Blocked {
            return Ok(Todo::Refuse("an admin has blocked it: unblock it on its page".to_owned()));
        }
        let mut settings = spec.settings.clone();
        // The time to live counts from the issue, and again once the key has expired.
        settings.duration = match (state, settings.duration) {
            (KeyState::Expired, Set::Keep) => Set::Clear,
            (KeyState::Expired, duration) => duration,
            _ => Set::Keep,
        };
        if let (Some(served), Access::List(now_allowed), None) = (served, &key.access, &settings.access)
            && !now_allowed.iter().collect::<BTreeSet<_>>().iter().copied().eq(served.iter())
        {
            settings.access = Some(Access::List(served.iter().cloned().collect()));
        }
        let hash = key.hash.clone();
        let metadata = match &settings.metadata {
            Some(_) => self.keys.record(&hash).await?.map(|record| record.metadata),
            None => None,
        };
        let mut left = settings.clone();
        let differences = left.against(&key, &metadata.unwrap_or_else(Map::new), now);
        if differences.is_empty() {
            let mut detail = format!("known to the proxy, may call {}", key.access.describe());
            if let Some(alias) = key.alias.as_deref().filter(|alias| *alias != spec.alias) {
                detail = format!("{detail}; it is called {alias}");
            }
            let twins = self.keys.others(&spec.alias, &hash).await?;
            if !twins.is_empty() && key.alias.as_deref() == Some(&*spec.alias) {
                return Ok(Todo::Refuse(format!(
                    "{} other keys have its name: delete those that nobody uses",
                    twins.len()
                )));
            }
            return Ok(Todo::Nothing(detail));
        }
        let changes = differences.into_iter().map(|difference| Change {
            field: difference.what.to_lowercase(),
            before: Some(difference.before),
            after: difference.after,
        });
        Ok(Todo::Update { hash, settings: Box::new(settings), changes: changes.collect() })
    }

    /// The registered models. An empty list would allow all models, so it is replaced by the marker for none.
    async fn models_to_allow(&self) -> Result<BTreeSet<String>, ClientError> {
        let served: BTreeSet<String> = self.served().await?.into_iter().collect();
        Ok(if served.is_empty() { BTreeSet::from(["no-default-models".to_owned()]) } else { served })
    }
}

const NO_TARGET: &str = "it is not there, and there is no env, a variable to write its secret to";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_keys_and_others_are_told_apart() {
        for text in [None, Some(""), Some(" "), Some("sk-proxy-default"), Some("<your key>")] {
            assert!(matches!(classify_key(text), StoredKey::Placeholder), "{text:?}");
        }
        for text in
            ["sk-proj-abcdefghijkl", "sk-ant-api03-abcdefgh", "abc", "sk-short", "sk-aT3BlbkFJb-long-one"]
        {
            assert!(matches!(classify_key(Some(text)), StoredKey::Other(_)), "{text}");
        }
        assert!(matches!(classify_key(Some("sk-KhTBcBQ1pXoQJq0lX3JlKw")), StoredKey::Secret(_)));
    }

    #[test]
    fn a_new_secret_is_like_the_proxys_own() {
        let (one, two) = (new_secret(), new_secret());
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert!(matches!(classify_key(Some(one.expose_secret())), StoredKey::Secret(_)));
        assert_eq!(one.expose_secret().len(), 46);
    }
}
