//! Who uses the dashboard: their logins, and the access tokens of their scripts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use uuid::Uuid;

use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::people::{AccessToken, MAX_TOKEN_LABEL, Person, Seen, Source, TOKEN_DAYS, TokenSecret};
use crate::domain::role::Role;
use crate::store::{Added, Result, Store, StoreError, StoredSession};

/// How often it is written down that someone or a token is in use.
const NOTED: SignedDuration = SignedDuration::from_mins(1);

/// Someone of single sign-on who was away for longer has logged in anew. As long as an unused session lasts.
const IDLE: SignedDuration = SignedDuration::from_hours(2);

/// Most users whose last look is kept in memory.
const MAX_RECENT: usize = 10_000;

/// How long the tokens of someone whom a reverse proxy names are valid after their last request.
const UNSEEN: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Most tokens of one owner.
const MAX_TOKENS: i64 = 50;

#[derive(Clone)]
pub struct People {
    store: Store,
    clock: Clock,
    /// When each user was written down last, and as what.
    recent: Arc<Mutex<HashMap<String, (Timestamp, Seen)>>>,
}

/// A token that is to be made.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Of the form, so that it makes one token however often it is sent.
    pub id: Option<Uuid>,
    pub label: String,
    pub owner: String,
    pub source: Source,
    pub role: Role,
    pub days: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("a name has 1 to {MAX_TOKEN_LABEL} characters, and no control characters")]
    Label,
    #[error("choose {} days", TOKEN_DAYS.map(|days| days.to_string()).join(", "))]
    Days,
    #[error("you have {MAX_TOKENS} tokens: revoke one first")]
    TooMany,
    #[error("this form was sent before: the token was shown in the first answer")]
    Sent,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl People {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, recent: Arc::default() }
    }

    pub async fn logged_in(&self, actor: &Actor, seen: &Seen) -> Result<()> {
        let entry = NewEntry::new(actor, Action::Login, &seen.name, "ok");
        self.store.note_login(seen, Some(&entry)).await
    }

    /// Notes that a script is there that sends name and password with each request.
    pub async fn script_seen(&self, seen: &Seen) -> Result<()> {
        if self.is_due(seen) && !self.store.note_seen(seen, IDLE).await? {
            self.store.note_login(seen, None).await?;
        }
        Ok(())
    }

    /// Notes someone whom a reverse proxy names. What is new about them is a login: after two hours without a request,
    /// or with another role.
    pub async fn seen_by_proxy(&self, actor: &Actor, seen: &Seen) -> Result<()> {
        if !self.is_due(seen) {
            return Ok(());
        }
        let mut entry = NewEntry::new(actor, Action::Login, &seen.name, "ok");
        let role = seen.role.map_or("no role", Role::as_str);
        entry.detail = Some(format!("by single sign-on, as {role}"));
        if seen.role.is_none() {
            "refused".clone_into(&mut entry.outcome);
            self.store.end_role(seen, &entry).await?;
        } else if !self.store.note_seen(seen, IDLE).await? {
            self.store.note_login(seen, Some(&entry)).await?;
        }
        Ok(())
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<String, (Timestamp, Seen)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether someone is to be written down; then they are not for a minute, unless something about them changes.
    fn is_due(&self, seen: &Seen) -> bool {
        let now = self.clock.now();
        let is_fresh = |at: Timestamp| now.duration_since(at).abs() < NOTED;
        let mut recent = self.recent();
        if recent.get(&seen.name).is_some_and(|(at, before)| is_fresh(*at) && before == seen) {
            return false;
        }
        if recent.len() >= MAX_RECENT {
            recent.retain(|_, (at, _)| is_fresh(*at));
        }
        if recent.len() < MAX_RECENT {
            recent.insert(seen.name.clone(), (now, seen.clone()));
        }
        true
    }

    /// Those who have logged in, the last seen first.
    pub async fn list(&self) -> Result<Vec<Person>> {
        self.store.people().await
    }

    /// What was seen of someone last.
    pub async fn sessions(&self) -> Result<Vec<StoredSession>> {
        self.store.live_sessions().await
    }

    /// Ends a session of `user`; false where it has ended already.
    pub async fn end_session(&self, id_hash: &str, user: &str, actor: &Actor) -> Result<bool> {
        self.store.end_session(id_hash, &NewEntry::new(actor, Action::SessionEnd, user, "ok")).await
    }

    /// Makes an access token. Its secret is known in this answer alone.
    pub async fn issue(
        &self,
        request: TokenRequest,
        actor: &Actor,
    ) -> Result<(AccessToken, TokenSecret), TokenError> {
        let label = request.label.trim();
        if label.is_empty() || label.chars().count() > MAX_TOKEN_LABEL || label.chars().any(char::is_control)
        {
            return Err(TokenError::Label);
        }
        if !TOKEN_DAYS.contains(&request.days) {
            return Err(TokenError::Days);
        }
        let (secret, now) = (TokenSecret::generate(), self.clock.now());
        let token = AccessToken {
            id: request.id.unwrap_or_else(Uuid::now_v7).to_string(),
            label: label.to_owned(),
            owner: request.owner,
            source: request.source,
            role: request.role,
            created_at: now,
            expires_at: now + SignedDuration::from_hours(24 * i64::from(request.days)),
            used_at: None,
        };
        let mut entry = NewEntry::new(actor, Action::TokenCreate, token.actor(), "ok");
        entry.after = Some(format!("{}, for {} days", token.role.as_str(), request.days));
        match self.store.add_token(&token, &secret.hash(), &entry, MAX_TOKENS).await? {
            Added::Yes => Ok((token, secret)),
            Added::Before => Err(TokenError::Sent),
            Added::TooMany => Err(TokenError::TooMany),
        }
    }

    /// Tokens of one owner, or all, the newest first.
    pub async fn tokens(&self, owner: Option<&str>) -> Result<Vec<AccessToken>> {
        self.store.tokens(owner).await
    }

    pub async fn token(&self, id: &str) -> Result<Option<AccessToken>> {
        self.store.token(id).await
    }

    /// The token that a script has sent; none where it has expired or was revoked.
    pub async fn by_secret(&self, secret: &TokenSecret) -> Result<Option<AccessToken>> {
        let Some(token) = self.store.token_of_hash(&secret.hash()).await? else { return Ok(None) };
        let now = self.clock.now();
        if token.used_at.is_none_or(|at| now.duration_since(at).abs() >= NOTED) {
            self.store.note_token_use(&token.id).await?;
        }
        Ok(Some(token))
    }

    /// The role of someone whom a reverse proxy names, as of their last request. None once that is 30 days ago: no one says
    /// that someone has left.
    pub async fn role_by_header(&self, name: &str) -> Result<Option<Role>> {
        let person = self.store.person(name).await?.filter(|person| person.source == Source::Header);
        let now = self.clock.now();
        Ok(person.filter(|person| now.duration_since(person.seen_at) < UNSEEN).and_then(|person| person.role))
    }

    /// Revokes a token at once, on every replica; false where it is gone already.
    pub async fn revoke(&self, token: &AccessToken, actor: &Actor) -> Result<bool> {
        let mut entry = NewEntry::new(actor, Action::TokenRevoke, token.actor(), "ok");
        entry.before = Some(token.role.as_str().to_owned());
        self.store.revoke_token(&token.id, &entry).await
    }
}
