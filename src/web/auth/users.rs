//! Who may log in: the shared login of the settings, and the users of the file, which is read again when it
//! changes.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::login_queue::{LoginQueue, Turn};
use super::login_throttle::{Attempt, Lane, LoginThrottle};
use super::refusal_log::RefusalLog;
use super::sso::HeaderLogin;
use super::verified::Verified;
use super::{Credentials, CurrentUser, Denied, LoginKind};
use crate::config::users::{self, Hash, MAX_PASSWORD, NamedUser};
use crate::config::{Access, DEFAULT_PASSWORD, Login};
use crate::domain::people::{Seen, Source};
use crate::domain::role::Role;
use patchbay_clock::Clock;

/// How often the file is looked at.
const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// Under which axum-login keeps who has logged in.
const SESSION_LOGIN: &str = "axum-login.data";

/// How long to wait where too many others are waiting for a check.
const SHED: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(in crate::web) struct Users(Arc<Inner>);

struct Inner {
    login: Arc<Login>,
    is_off: bool,
    header_login: Option<HeaderLogin>,
    /// The shared login's hash: made once, and not before someone logs in, for it takes tens of milliseconds.
    shared: OnceCell<Account>,
    file: Option<PathBuf>,
    known: RwLock<Known>,
    looked: Mutex<(Timestamp, Option<Stamp>)>,
    queue: LoginQueue,
    refusals: RefusalLog,
    bad_tokens: RefusalLog,
    throttle: LoginThrottle,
    verified: Verified,
    clock: Clock,
}

#[derive(Default)]
struct Known {
    accounts: HashMap<String, Account>,
    problem: Option<String>,
}

type Stamp = (SystemTime, u64, u64);

#[derive(Clone)]
pub(in crate::web) struct Account {
    pub(in crate::web) name: String,
    pub(in crate::web) role: Role,
    hash: Hash,
    pub(in crate::web) tag: [u8; 32],
}

/// The session layer writes users to the log at level debug: without what is made of the password.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Account {
    fn new(name: String, role: Role, hash: Hash) -> Self {
        let tag = Sha256::digest(format!("patchbay session {}", hash.as_str())).into();
        Self { name, role, hash, tag }
    }

    fn of(user: NamedUser) -> (String, Self) {
        (user.name.clone(), Self::new(user.name, user.role, user.hash))
    }
}

impl Users {
    pub(in crate::web) fn new(login: Arc<Login>, access: &Access, clock: Clock) -> Self {
        let (file, users) = access.users.clone().map_or((None, Vec::new()), |file| (file.path, file.users));
        let accounts = users.into_iter().map(Account::of).collect();
        Self(Arc::new(Inner {
            login,
            is_off: access.is_password_login_off,
            header_login: access.sso.clone().map(HeaderLogin::new),
            shared: OnceCell::new(),
            file,
            known: RwLock::new(Known { accounts, problem: None }),
            // Looked at for the first time soon: it may have changed since it was read.
            looked: Mutex::new((Timestamp::UNIX_EPOCH, None)),
            queue: LoginQueue::default(),
            refusals: RefusalLog::new("logins are not looked at: too many have failed"),
            bad_tokens: RefusalLog::new("access tokens are refused: they are not valid"),
            throttle: LoginThrottle::default(),
            verified: Verified::new(),
            clock,
        }))
    }

    pub(in crate::web) fn problem(&self) -> Option<String> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    /// Whether no one may log in with a password.
    pub(in crate::web) fn are_passwords_off(&self) -> bool {
        self.0.is_off
    }

    pub(super) fn header_login(&self) -> Option<&HeaderLogin> {
        self.0.header_login.as_ref()
    }

    /// Where "Log out" leads for those who came by single sign-on.
    pub(in crate::web) fn sso_logout(&self) -> Option<&str> {
        self.header_login()?.sso.logout_url.as_deref()
    }

    /// Everyone who may log in with a password.
    pub(in crate::web) async fn accounts(&self) -> Vec<Account> {
        let Some(shared) = self.account(&self.0.login.username).await else { return Vec::new() };
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(shared).chain(known.accounts.values().cloned()).collect()
    }

    /// Where someone with a password has it from.
    pub(in crate::web) fn source(&self, name: &str) -> Source {
        if name == self.0.login.username { Source::Shared } else { Source::File }
    }

    /// The same of the user of a request.
    pub(in crate::web) fn source_of(&self, user: &CurrentUser) -> Source {
        match user.by {
            LoginKind::Header => Source::Header,
            _ => self.source(user.owner()),
        }
    }

    /// What a login with a password says of someone.
    pub(in crate::web) fn seen(&self, account: &Account) -> Seen {
        let source = self.source(&account.name);
        Seen { name: account.name.clone(), source, email: None, role: Some(account.role) }
    }

    /// Whose session this is, if it still opens anything.
    pub(in crate::web) async fn user_of_session(&self, data: &HashMap<String, Value>) -> Option<String> {
        let login = data.get(SESSION_LOGIN)?;
        let tag = Vec::<u8>::deserialize(login.get("auth_hash")?).ok()?;
        let account = self.account(login.get("user_id")?.as_str()?).await?;
        (account.tag[..] == tag).then_some(account.name)
    }

    /// Someone who may log in with a password.
    pub(in crate::web) async fn account(&self, name: &str) -> Option<Account> {
        if self.0.is_off {
            return None;
        }
        self.look().await;
        if name == self.0.login.username {
            return Some(self.shared().await);
        }
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).accounts.get(name).cloned()
    }

    pub(in crate::web) async fn log_in(
        &self,
        credentials: &Credentials,
        address: Option<IpAddr>,
    ) -> Result<Account, Denied> {
        if self.0.is_off {
            return Err(Denied::Off);
        }
        let Credentials { username: name, password } = credentials;
        let (attempt, turn) = self.turn(name, address).await?;
        let account = self.verify(name, password, turn).await.ok_or(Denied::Wrong)?;
        attempt.succeeded();
        Ok(account)
    }

    /// The same for scripts, which send both with each request: what was right is so for a while.
    pub(in crate::web) async fn by_basic(
        &self,
        credentials: &Credentials,
        address: Option<IpAddr>,
    ) -> Result<Account, Denied> {
        if let Some(account) = self.verified(credentials).await {
            return Ok(account);
        }
        let turn = self.0.verified.turn(credentials);
        let _turn = turn.lock.lock().await;
        if let Some(account) = self.verified(credentials).await {
            return Ok(account);
        }
        let account = self.log_in(credentials, address).await?;
        self.0.verified.note(credentials, account.tag, self.0.clock.now());
        Ok(account)
    }

    /// Writes a log line about logins that are not looked at, unless there is one of this second.
    pub(super) fn log_refusal(&self, address: Option<IpAddr>) {
        self.0.refusals.note(address);
    }

    /// The same about access tokens that are not valid.
    pub(super) fn log_bad_token(&self, address: Option<IpAddr>) {
        self.0.bad_tokens.note(address);
    }

    async fn verified(&self, credentials: &Credentials) -> Option<Account> {
        let tag = self.0.verified.tag(credentials, self.0.clock.now())?;
        self.account(&credentials.username).await.filter(|account| account.tag == tag)
    }

    async fn turn(&self, name: &str, address: Option<IpAddr>) -> Result<(Attempt<'_>, Turn), Denied> {
        let Inner { throttle, clock, .. } = &*self.0;
        let check = || throttle.check(name, address, clock.now()).map_err(Denied::TooMany);
        check()?;
        let delay = {
            let queued = throttle.enqueue(name, address, clock.now());
            let delay = queued.delay(clock.now());
            tokio::time::sleep(delay).await;
            delay
        };
        // Refused attempts do not join the queue, and delayed ones have no place in it while they are.
        if !delay.is_zero() {
            check()?;
        }
        let lane = throttle.lane(name, address, clock.now());
        let turn = self.0.queue.turn(lane).await.ok_or(Denied::TooMany(SHED))?;
        // An attempt that is waited for here has a turn as well.
        let attempt = throttle.admit(name, address, clock).await.map_err(Denied::TooMany)?;
        Ok((attempt, turn))
    }

    /// A turn outside the queue's order, for an attempt that is not throttled.
    pub(super) async fn turn_to_check(&self) -> Option<Turn> {
        self.0.queue.turn(Lane { id: 0, failures: None }).await
    }

    /// Takes as long for a name that nobody has as for a wrong password.
    pub(super) async fn verify(&self, name: &str, password: &SecretString, turn: Turn) -> Option<Account> {
        let account = self.account(name).await;
        let hash = match &account {
            Some(account) => account.hash.clone(),
            None => self.shared().await.hash,
        };
        if password.expose_secret().len() > MAX_PASSWORD {
            return None;
        }
        // Also a named user's: where it is good at all, only loopback names are answered to.
        let is_known = password.expose_secret() == DEFAULT_PASSWORD && !self.0.login.is_default;
        let password = password.clone();
        let check = tokio::task::spawn_blocking(move || {
            // Given back when it is done, also where the client has gone.
            let _turn = turn;
            hash.verify(&password)
        });
        let is_right = check.await.unwrap_or_default();
        account.filter(|_| is_right && !is_known)
    }

    async fn shared(&self) -> Account {
        let account = self.0.shared.get_or_init(|| async {
            let login = self.0.login.clone();
            let hashed = tokio::task::spawn_blocking(move || {
                // The same at each start, so that sessions outlive it. It is slow to make, so that whoever
                // reads the database cannot try passwords against its tag at speed.
                let salt = Sha256::digest(format!("patchbay session of {}", login.username));
                Hash::salted(&login.password, &salt)
            });
            let hash = hashed.await.map_err(anyhow::Error::from).and_then(|hash| Ok(hash?));
            let hash = hash.unwrap_or_else(|error| {
                tracing::error!(%error, "the shared login is out of use");
                Hash::unusable()
            });
            Account::new(self.0.login.username.clone(), Role::Admin, hash)
        });
        account.await.clone()
    }

    /// Reads the file if it has changed. One that is bad leaves the former users in force.
    async fn look(&self) {
        let Some(path) = &self.0.file else { return };
        let Ok(mut looked) = self.0.looked.try_lock() else { return };
        let now = self.0.clock.now();
        if now.duration_since(looked.0).abs() < LOOK {
            return;
        }
        let stamp = stamp(path).await;
        let is_same = stamp.is_some() && stamp == looked.1;
        *looked = (now, stamp);
        if is_same {
            return;
        }
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || users::read(&path)).await
        };
        self.take(read.map_err(anyhow::Error::from).and_then(|users| Ok(users?)));
    }

    fn take(&self, read: anyhow::Result<Vec<NamedUser>>) {
        let username = &self.0.login.username;
        let read =
            read.and_then(|users| Ok(users::apart_from(username, users)?)).map_err(|error| error.to_string());
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(users) => {
                let accounts = users.into_iter().map(Account::of).collect();
                known.problem = None;
                known.accounts = accounts;
            }
            Err(problem) if known.problem.as_ref() == Some(&problem) => {}
            Err(problem) => {
                tracing::error!(problem, "the users' file is not taken; the users are those of before");
                known.problem = Some(problem);
            }
        }
    }
}

async fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let about = tokio::time::timeout(Duration::from_secs(1), tokio::fs::metadata(path)).await.ok()?.ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}
