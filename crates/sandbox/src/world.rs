//! The state of the sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::calls::{Calls, ChatCall};
use super::deployment::{Deployments, hash};
use super::errors::{self, Refusal, Touch};
use super::generation::Generation;
use super::key_table::Keys;
use super::router::Router;
use super::spend::Ledger;
use patchbay_clock::Clock;

/// Most deployments, and most virtual keys.
pub(super) const MOST_ROWS: usize = 100_000;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Database {
    #[default]
    Up,
    Down,
    /// The proxy has none.
    None,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub master_key: SecretString,
    pub generation: Generation,
    pub database: Database,
    pub clock: Clock,
    /// Deployments from the configuration file, read-only: the public name and `litellm_params.model`.
    pub config_models: Vec<(String, String)>,
}

#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    master_key: SecretString,
    generation: Generation,
    clock: Clock,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) database: Database,
    pub(super) lost: Option<Timestamp>,
    pub(super) models: Deployments,
    pub(super) router: Router,
    pub(super) keys: Keys,
    pub(super) teams: BTreeMap<String, Map<String, Value>>,
    pub(super) ledger: Ledger,
    pub(super) calls: Calls,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("generation", &self.0.generation).finish_non_exhaustive()
    }
}

impl World {
    pub fn new(options: Options) -> Self {
        let now = options.clock.now();
        let state = State {
            database: options.database,
            lost: None,
            models: Deployments::from_config(&options.config_models, now),
            router: Router::default(),
            keys: Keys::default(),
            teams: BTreeMap::new(),
            ledger: Ledger::default(),
            calls: Calls::default(),
        };
        Self(Arc::new(Inner {
            master_key: options.master_key,
            generation: options.generation,
            clock: options.clock,
            state: Mutex::new(state),
        }))
    }

    pub fn set_database(&self, database: Database) {
        let now = self.now();
        let mut state = self.lock();
        if state.database == database {
            return;
        }
        state.lost = (state.database == Database::Up && database == Database::Down).then_some(now);
        state.database = database;
    }

    /// The chat calls that reached an upstream, oldest first; only the last 10,000 are kept.
    pub fn chat_calls(&self) -> Vec<ChatCall> {
        self.lock().calls.all()
    }

    pub(super) fn generation(&self) -> Generation {
        self.0.generation
    }

    pub(super) fn master_key(&self) -> &SecretString {
        &self.0.master_key
    }

    /// The master key in the log: 1.109 writes a word for it (`spend_logs`).
    pub(super) fn master_token(&self) -> String {
        match self.generation() {
            Generation::V1_80 => hash(self.0.master_key.expose_secret()),
            Generation::V1_109 => "litellm_proxy_master_key".to_owned(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The state. A handler that panicked leaves it usable: no invariant spans two statements.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if the database can serve `touch`.
    pub(super) fn with_database(&self, touch: Touch) -> Result<MutexGuard<'_, State>, Refusal> {
        let state = self.lock();
        errors::require(state.database, self.generation(), touch)?;
        Ok(state)
    }
}
