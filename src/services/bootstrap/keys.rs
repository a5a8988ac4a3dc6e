//! Issuing keys. The secret is in the env file before the proxy has the key, so that none is ever lost; what the
//! env file and the proxy hold says where a run that was killed goes on.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Map;
use uuid::Uuid;

use super::key_list::{KeyWish, read_keys};
use super::report::{Log, Outcome, Part};
use super::{Bootstrap, EnvError, How, Wishes};
use crate::clients::ClientError;
use crate::domain::audit::Actor;
use crate::domain::key::{Access, KeyHash, KeyState, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::domain::model_detail::Change;
use crate::services::keys::{Issue, KeyChangeError, Keys};

#[derive(Debug, Clone)]
pub enum Held {
    Placeholder,
    Secret(SecretString),
    Other(&'static str),
}

/// What a value is, as far as it can be told without the proxy.
pub fn held(value: Option<&str>) -> Held {
    let value = value.unwrap_or_default().trim();
    // Providers' own keys: the proxy must not take them for its own.
    let foreign = ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-", "sk-or-"];
    if value.is_empty() || value.starts_with("sk-proxy-") || value.starts_with('<') {
        Held::Placeholder
    } else if foreign.iter().any(|prefix| value.starts_with(prefix)) || value.contains("T3BlbkFJ") {
        Held::Other("a provider's own key: move it to LITELLM_…_API_KEY, and leave this one empty")
    } else if !value.starts_with("sk-") {
        Held::Other("no key of the proxy's, which begin with sk-")
    } else if value.len() < 16 {
        Held::Other("too short for a key: LiteLLM wants 16 characters")
    } else {
        Held::Secret(SecretString::from(value))
    }
}

/// A new secret, in the form of the proxy's own.
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
    pub(super) async fn issue(&self, wishes: &Wishes, how: How, actor: &Actor, log: &mut Log<'_>) {
        let mut all: Vec<Result<KeyWish, String>> = wishes.keys.iter().cloned().map(Ok).collect();
        match wishes.list.as_deref().map(read_keys).transpose() {
            Ok(listed) => {
                let listed = listed.unwrap_or_default();
                // What a list says of a key counts more than what every run asks for.
                let is_listed = |alias: &str| listed.iter().flatten().any(|wish| wish.alias == alias);
                all.retain(|wish| !wish.as_ref().is_ok_and(|wish| is_listed(&wish.alias)));
                all.extend(listed);
            }
            Err(error) => log.add(Part::Key, "keys", Outcome::Failed, error.to_string()),
        }
        for wish in all {
            match wish {
                Ok(wish) => self.issue_one(wishes, &wish, how, actor, log).await,
                Err(why) => log.add(Part::Key, "entry", Outcome::Refused, format!("the entry {why}")),
            }
        }
    }

    async fn issue_one(&self, wishes: &Wishes, wish: &KeyWish, how: How, actor: &Actor, log: &mut Log<'_>) {
        let (outcome, detail, changes) = match self.ensure(wishes, wish, how, actor).await {
            Ok(ended) => ended,
            Err(error) => (Outcome::Failed, error.to_string(), Vec::new()),
        };
        log.add_with(Part::Key, &wish.alias, outcome, detail, changes);
    }

    /// Sees to it that a key is there and as it should be. Safe to be killed, and called again, at any point.
    async fn ensure(
        &self,
        wishes: &Wishes,
        wish: &KeyWish,
        how: How,
        actor: &Actor,
    ) -> Result<(Outcome, String, Vec<Change>), KeyError> {
        let mut wish = wish.clone();
        let served = if how.sync_keys { Some(self.models_to_allow().await?) } else { None };
        let now = self.keys.now();
        match self.todo(&wish, &wishes.env.variables()?, how, served.as_ref(), now).await? {
            Todo::Nothing(detail) => Ok((Outcome::Same, detail, Vec::new())),
            Todo::Refuse(why) => Ok((Outcome::Refused, why, Vec::new())),
            Todo::Update { changes, .. } if how.dry_run => {
                Ok((Outcome::Planned, "change".to_owned(), changes))
            }
            Todo::Update { hash, settings, changes } => {
                self.keys.update(&hash, *settings, None, actor).await?;
                Ok((Outcome::Changed, "changed".to_owned(), changes))
            }
            Todo::Issue { why, .. } if how.dry_run => Ok((Outcome::Planned, why.to_owned(), Vec::new())),
            Todo::Issue { old, why } => {
                let Some(target) = wish.target.clone() else {
                    return Ok((Outcome::Refused, NO_TARGET.to_owned(), Vec::new()));
                };
                if let (Some(served), None) = (served, &wish.settings.access) {
                    wish.settings.access = Some(Access::List(served.into_iter().collect()));
                }
                let is_new = old.is_none();
                let secret = old.unwrap_or_else(new_secret);
                // First where it is kept, then at the proxy: a secret that nobody wrote down would be lost.
                wishes.env.set(&[(&target, secret.expose_secret())])?;
                let issue = Issue { secret: &secret, alias: &wish.alias, settings: &wish.settings };
                let key = self.keys.issue(issue, actor).await?;
                let place = if is_new { "written to" } else { "with the secret in" };
                let access = key.access.describe();
                Ok((Outcome::Changed, format!("{why}: {place} {target}, may call {access}"), Vec::new()))
            }
        }
    }

    async fn todo(
        &self,
        wish: &KeyWish,
        env: &HashMap<String, String>,
        how: How,
        served: Option<&BTreeSet<String>>,
        now: Timestamp,
    ) -> Result<Todo, KeyError> {
        let Some(target) = &wish.target else { return self.todo_by_alias(wish, now).await };
        let secret = match held(env.get(target).map(String::as_str)) {
            Held::Other(what) => return Ok(Todo::Refuse(format!("{target} holds {what}"))),
            Held::Secret(secret) if secret.expose_secret() == self.master_key.expose_secret() => {
                return Ok(Todo::Refuse(format!("{target} holds the proxy's admin key: empty it")));
            }
            Held::Placeholder => None,
            Held::Secret(secret) => Some(secret),
        };
        let Some(secret) = secret else {
            return Ok(Todo::Issue { old: None, why: "issued" });
        };
        let hash = KeyHash::of(&secret);
        let key = self.keys.key(&hash).await?;
        // Its secret is a new one already. With another in the file nobody would know of this key any more.
        if key.as_ref().is_some_and(|key| Keys::is_waiting_for(key, &wish.alias)) {
            return Ok(Todo::Issue { old: Some(secret), why: "issued: an earlier run was cut short" });
        }
        if how.new_secrets {
            return Ok(Todo::Issue { old: None, why: "issued" });
        }
        let Some(key) = key else {
            let why = if self.keys.others(&wish.alias, &hash).await?.is_empty() {
                "issued again, since the proxy does not know it"
            } else {
                "issued in the place of another of its name, whose secret is not here"
            };
            return Ok(Todo::Issue { old: Some(secret), why });
        };
        self.todo_with(wish, key, served, now).await
    }

    async fn todo_by_alias(&self, wish: &KeyWish, now: Timestamp) -> Result<Todo, KeyError> {
        let nobody = "0".repeat(64).parse().map_err(|_| KeyChangeError::Unknown)?;
        let mut all = self.keys.others(&wish.alias, &nobody).await?;
        match (all.pop(), all.len()) {
            (None, _) => Ok(Todo::Refuse(NO_TARGET.to_owned())),
            (Some(key), 0) => self.todo_with(wish, key, None, now).await,
            (Some(_), others) => Ok(Todo::Refuse(format!("{} keys have this name", others + 1))),
        }
    }

    async fn todo_with(
        &self,
        wish: &KeyWish,
        key: VirtualKey,
        served: Option<&BTreeSet<String>>,
        now: Timestamp,
    ) -> Result<Todo, KeyError> {
        let state = key.state(now);
        if state == KeyState::Blocked {
            return Ok(Todo::Refuse("an admin has blocked it: unblock it on its page".to_owned()));
        }
        let mut settings = wish.settings.clone();
        // How long a key lives counts from its issue, and again when it has expired.
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
            if let Some(alias) = key.alias.as_deref().filter(|alias| *alias != wish.alias) {
                detail = format!("{detail}; it is called {alias}");
            }
            let twins = self.keys.others(&wish.alias, &hash).await?;
            if !twins.is_empty() && key.alias.as_deref() == Some(&*wish.alias) {
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

    /// The models that a key in step may call. With none registered, none: an empty list would allow all.
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
            assert!(matches!(held(text), Held::Placeholder), "{text:?}");
        }
        for text in
            ["sk-proj-abcdefghijkl", "sk-ant-api03-abcdefgh", "abc", "sk-short", "sk-aT3BlbkFJb-long-one"]
        {
            assert!(matches!(held(Some(text)), Held::Other(_)), "{text}");
        }
        assert!(matches!(held(Some("sk-KhTBcBQ1pXoQJq0lX3JlKw")), Held::Secret(_)));
    }

    #[test]
    fn a_new_secret_is_like_the_proxys_own() {
        let (one, two) = (new_secret(), new_secret());
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert!(matches!(held(Some(one.expose_secret())), Held::Secret(_)));
        assert_eq!(one.expose_secret().len(), 46);
    }
}
