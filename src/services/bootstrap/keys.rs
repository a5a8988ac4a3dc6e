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
use super::reserved::refusal;
use super::{ApplyOptions, Bootstrap, EnvError, Run};
use crate::clients::ClientError;
use crate::domain::audit::{Action, NewEntry};
use crate::domain::key::{Access, KeyHash, KeyState, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::domain::model_detail::Change;
use crate::domain::setup::is_placeholder;
use crate::services::keys::{Issue, KeyChangeError, Keys};
use crate::store::StoreError;

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
    if is_placeholder(value) {
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
    /// `replaces` is another key of the alias, which ends.
    Issue {
        old: Option<SecretString>,
        why: &'static str,
        replaces: Option<KeyHash>,
    },
    Update {
        hash: KeyHash,
        settings: Box<KeyChanges>,
        changes: Vec<Change>,
    },
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
    #[error(transparent)]
    Store(#[from] StoreError),
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
        let refusal =
            |target| Ok::<_, EnvError>(refusal(target, &env.variables()?, run.desired.list.as_deref()));
        if let Some(why) = spec.target.as_deref().map(refusal).transpose()?.flatten() {
            return Ok((Outcome::Refused, why, Vec::new()));
        }
        let mut spec = spec.clone();
        let served = if options.sync_keys { Some(self.models_to_allow().await?) } else { None };
        let step = self.todo(&spec, &env.variables()?, options, served.as_ref()).await?;
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
            Todo::Issue { old, why, replaces } => {
                let Some(target) = &spec.target else {
                    return Ok((Outcome::Refused, NO_TARGET.to_owned(), Vec::new()));
                };
                if let (Some(served), None) = (served, &spec.settings.access) {
                    spec.settings.access = Some(Access::List(served.into_iter().collect()));
                }
                let place = if old.is_none() { "written to" } else { "with the secret in" };
                let secret = old.unwrap_or_else(new_secret);
                if replaces.is_some() {
                    // A run that is interrupted from here on is continued without being asked again.
                    let hash = KeyHash::of(&secret);
                    let mut entry = NewEntry::new(run.actor, Action::KeyReplace, hash.as_str(), "ok");
                    entry.detail =
                        Some(format!("key {}: the key that has this alias is about to end", spec.alias));
                    self.store.audit(&entry).await?;
                }
                env.set(&[(target, secret.expose_secret())])?;
                let issue = Issue {
                    secret: &secret,
                    alias: &spec.alias,
                    settings: &spec.settings,
                    at_issue: &spec.at_issue,
                };
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
        options: ApplyOptions,
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
        let may_replace = options.new_secrets || options.replace;
        let Some(secret) = secret else {
            let other = self.keys.others(&spec.alias, &nobody()?).await?.pop();
            if other.is_some() && !may_replace {
                return Ok(Todo::Refuse(format!(
                    "another key has this alias, and {target} does not hold its secret: write the secret there, or use \
                     --replace, which ends that key and breaks all that uses it"
                )));
            }
            return Ok(Todo::Issue { old: None, why: "issued", replaces: other.map(|key| key.hash) });
        };
        let hash = KeyHash::of(&secret);
        let key = self.keys.key(&hash).await?;
        // It has a new secret already. Replacing that in the file would orphan the key.
        if key.as_ref().is_some_and(|key| Keys::is_waiting_for(key, &spec.alias)) {
            let why = "issued: an earlier run was interrupted";
            return Ok(Todo::Issue { old: Some(secret), why, replaces: None });
        }
        if options.new_secrets {
            let other = self.keys.others(&spec.alias, &nobody()?).await?.pop();
            return Ok(Todo::Issue { old: None, why: "issued", replaces: other.map(|key| key.hash) });
        }
        let Some(key) = key else {
            let other = self.keys.others(&spec.alias, &hash).await?.pop();
            let was_begun = !self.store.audit_of(hash.as_str(), 1).await?.is_empty();
            let why = if other.is_none() {
                "issued again, since the proxy does not know it"
            } else if may_replace || was_begun {
                "issued in the place of the key that had its alias, which was ended"
            } else {
                return Ok(Todo::Refuse(format!(
                    "another key has this alias, and {target} holds a different secret: --replace ends that key and \
                     all that uses it"
                )));
            };
            return Ok(Todo::Issue { old: Some(secret), why, replaces: other.map(|key| key.hash) });
        };
        self.todo_with(spec, key, served).await
    }

    async fn todo_by_alias(&self, spec: &KeySpec) -> Result<Todo, KeyError> {
        if let Some(hash) = &spec.hash {
            return match self.keys.key(hash).await? {
                Some(key) => self.todo_with(spec, key, None).await,
                None => Ok(Todo::Refuse("the proxy knows no key with this token".to_owned())),
            };
        }
        let mut all = self.keys.others(&spec.alias, &nobody()?).await?;
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
        // Without a variable nobody waits for it to work.
        let is_used_here = spec.target.is_some();
        if state == KeyState::Blocked && is_used_here && spec.settings.blocked.is_none() {
            return Ok(Todo::Refuse("an admin has blocked it: unblock it on its page".to_owned()));
        }
        let mut settings = spec.settings.clone();
        // The time to live counts from the issue, and again once the key has expired.
        settings.duration = match (state, settings.duration) {
            (KeyState::Expired, Set::Keep) if is_used_here => Set::Clear,
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
            if let Some(alias) =
                key.alias.as_deref().filter(|alias| *alias != spec.alias && spec.hash.is_none())
            {
                detail = format!("{detail}; it is called {alias}");
            }
            let twins = self.keys.others(&spec.alias, &hash).await?;
            if !twins.is_empty() && spec.hash.is_none() && key.alias.as_deref() == Some(&*spec.alias) {
                return Ok(Todo::Refuse(format!(
                    "{} other keys have its name: delete the unused ones",
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
        let catalog = self.catalog().await?;
        let named = catalog.iter().map(|deployment| deployment.name.clone());
        let served: BTreeSet<String> = named.filter(|name| !name.is_empty()).collect();
        Ok(if served.is_empty() { BTreeSet::from(["no-default-models".to_owned()]) } else { served })
    }
}

/// A hash that no key has.
fn nobody() -> Result<KeyHash, KeyChangeError> {
    "0".repeat(64).parse().map_err(|_| KeyChangeError::Unknown)
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
