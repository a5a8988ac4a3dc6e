//! Contexts with their settings and history, limited in number and size.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::control::Settings;

const CONTEXT_LIMIT: usize = 10_000;
/// Limit of all contexts together, in bytes: the sum of their own limits would exceed any memory.
const TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// 200 pairs of question and answer.
const EXCHANGE_LIMIT: usize = 100;
const HISTORY_BYTES: usize = 1024 * 1024;

/// `[A-Za-z0-9._:-]{1,128}`: safe in URLs, logs and pages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContextId(Arc<str>);

impl ContextId {
    pub(super) const RULE: &str = "must be 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'";

    pub(super) fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        ((1..=128).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    pub(super) fn new() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) struct Context {
    pub(super) id: ContextId,
    /// Distinguishes it from an earlier, dropped context of the same name.
    pub(super) born: u64,
    used: AtomicU64,
    settings: Mutex<(Settings, Weight)>,
    /// Held by the running turn: turns of a context run in order, and swaps do not wait for them.
    pub(super) history: Arc<tokio::sync::Mutex<History>>,
    /// Held by the running control message, so that swaps end in order.
    pub(super) control: tokio::sync::Mutex<()>,
}

impl Context {
    /// Sequence number of the last use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn settings(&self) -> Settings {
        unpoisoned(&self.settings).0.clone()
    }

    pub(super) fn set(&self, new: Settings) {
        let mut guard = unpoisoned(&self.settings);
        let (settings, weight) = &mut *guard;
        weight.set(new.prompt.as_ref().map_or(0, |prompt| prompt.len()));
        *settings = new;
    }
}

/// Messages of a context, oldest first.
pub(super) struct History {
    exchanges: VecDeque<(String, Arc<str>)>,
    bytes: usize,
    weight: Weight,
}

impl History {
    pub(super) fn exchanges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.exchanges.iter().map(|(question, answer)| (question.as_str(), answer.as_ref()))
    }

    /// Adds a pair and drops the oldest pairs above the limit; returns their number. Always pairs, since some providers
    /// require the user's message first.
    pub(super) fn add(&mut self, question: String, answer: Arc<str>) -> usize {
        self.bytes += question.len() + answer.len();
        self.exchanges.push_back((question, answer));
        let before = self.exchanges.len();
        while self.exchanges.len() > EXCHANGE_LIMIT || self.bytes > HISTORY_BYTES {
            let Some((question, answer)) = self.exchanges.pop_front() else { break };
            self.bytes -= question.len() + answer.len();
        }
        self.weight.set(self.bytes);
        before - self.exchanges.len()
    }
}

/// A share of the total bytes, released on drop.
struct Weight {
    total: Arc<AtomicUsize>,
    own: usize,
}

impl Weight {
    fn new(total: &Arc<AtomicUsize>) -> Self {
        Self { total: Arc::clone(total), own: 0 }
    }

    fn set(&mut self, own: usize) {
        self.total.fetch_add(own, Ordering::Relaxed);
        self.total.fetch_sub(self.own, Ordering::Relaxed);
        self.own = own;
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) id: ContextId,
    pub(super) born: u64,
}

pub(super) struct Kept {
    pub(super) id: ContextId,
    pub(super) born: u64,
    pub(super) used: u64,
    pub(super) settings: Option<Settings>,
    pub(super) exchanges: Vec<(String, String)>,
}

/// All contexts. Above the limits, the least recently used ones are dropped and start anew when used again.
pub(super) struct Contexts {
    defaults: Settings,
    total: Arc<AtomicUsize>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    contexts: HashMap<ContextId, (Arc<Context>, u64)>,
    by_use: BTreeMap<u64, ContextId>,
    uses: u64,
}

impl Contexts {
    pub(super) fn new(defaults: Settings) -> Self {
        Self { defaults, total: Arc::default(), table: Mutex::default() }
    }

    pub(super) fn defaults(&self) -> &Settings {
        &self.defaults
    }

    /// Loads stored contexts, the oldest use first.
    pub(super) fn restore(&self, kept: Vec<Kept>) -> Vec<Gone> {
        let mut table = unpoisoned(&self.table);
        table.uses = kept.iter().map(|kept| kept.born.max(kept.used)).max().unwrap_or(0);
        for Kept { id, born, settings, exchanges, .. } in kept {
            table.uses += 1;
            let now = table.uses;
            let context = self.fresh(id.clone(), born, now);
            if let Some(settings) = settings {
                context.set(settings);
            }
            if let Ok(mut history) = context.history.try_lock() {
                for (question, answer) in exchanges {
                    history.add(question, answer.into());
                }
            }
            table.by_use.insert(now, id.clone());
            table.contexts.insert(id, (Arc::new(context), now));
        }
        self.trim(&mut table)
    }

    /// The context of this name, created if needed, and the ones dropped for it.
    pub(super) fn open(&self, id: &ContextId) -> (Arc<Context>, Vec<Gone>) {
        let mut table = unpoisoned(&self.table);
        table.uses += 1;
        let now = table.uses;
        let context = if let Some((context, used)) = table.contexts.get_mut(id) {
            let context = Arc::clone(context);
            let before = std::mem::replace(used, now);
            table.by_use.remove(&before);
            context.used.store(now, Ordering::Relaxed);
            context
        } else {
            let context = Arc::new(self.fresh(id.clone(), now, now));
            table.contexts.insert(id.clone(), (Arc::clone(&context), now));
            context
        };
        table.by_use.insert(now, id.clone());
        let gone = self.trim(&mut table);
        (context, gone)
    }

    fn fresh(&self, id: ContextId, born: u64, used: u64) -> Context {
        let history = History { exchanges: VecDeque::new(), bytes: 0, weight: Weight::new(&self.total) };
        Context {
            id,
            born,
            used: AtomicU64::new(used),
            settings: Mutex::new((self.defaults.clone(), Weight::new(&self.total))),
            history: Arc::new(tokio::sync::Mutex::new(history)),
            control: tokio::sync::Mutex::new(()),
        }
    }

    fn trim(&self, table: &mut Table) -> Vec<Gone> {
        let mut gone = Vec::new();
        while table.contexts.len() > CONTEXT_LIMIT || self.total.load(Ordering::Relaxed) > TOTAL_BYTES {
            // Clones are made under the table's lock only, so a count of one means that the context is idle.
            let idle = table.by_use.iter().find(|(_, id)| {
                table.contexts.get(*id).is_some_and(|(context, _)| Arc::strong_count(context) == 1)
            });
            let Some((&used, _)) = idle else { break };
            if let Some(id) = table.by_use.remove(&used)
                && let Some((context, _)) = table.contexts.remove(&id)
            {
                gone.push(Gone { id, born: context.born });
            }
        }
        gone
    }
}

/// A panic cannot leave inconsistent values: each change is a single step.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::control::ModelName;
    use super::*;

    fn contexts() -> Contexts {
        let name = ModelName::parse("openai/gpt-5", None).unwrap();
        Contexts::new(Settings { name, prompt: None })
    }

    fn id(n: usize) -> ContextId {
        ContextId::parse(&format!("c{n}")).unwrap()
    }

    #[test]
    fn the_one_unused_for_longest_is_forgotten() {
        let contexts = contexts();
        let mark = |n: usize| {
            let context = contexts.open(&id(n)).0;
            context.set(Settings { prompt: Some("kept".into()), ..context.settings() });
        };
        (0..CONTEXT_LIMIT).for_each(mark);
        contexts.open(&id(0));
        let (_, gone) = contexts.open(&id(CONTEXT_LIMIT));
        assert_eq!(gone, [Gone { id: id(1), born: 2 }]);
        assert!(contexts.open(&id(0)).0.settings().prompt.is_some());
        assert!(contexts.open(&id(2)).0.settings().prompt.is_some());
        assert!(contexts.open(&id(1)).0.settings().prompt.is_none());
        assert_eq!(unpoisoned(&contexts.table).contexts.len(), CONTEXT_LIMIT);
        assert_eq!(unpoisoned(&contexts.table).by_use.len(), CONTEXT_LIMIT);
    }

    #[test]
    fn a_context_at_work_is_not_forgotten() {
        let contexts = contexts();
        let (busy, _) = contexts.open(&id(0));
        (1..=CONTEXT_LIMIT).for_each(|n| drop(contexts.open(&id(n))));
        assert!(Arc::ptr_eq(&busy, &contexts.open(&id(0)).0));
    }

    #[test]
    fn history_is_bounded_in_number_and_size() {
        let contexts = contexts();
        let (context, _) = contexts.open(&id(0));
        let mut history = context.history.try_lock().unwrap();
        let dropped: usize = (0..150).map(|n| history.add(format!("q{n}"), "a".into())).sum();
        assert_eq!(dropped, 50);
        assert_eq!(history.exchanges().count(), EXCHANGE_LIMIT);
        assert_eq!(history.exchanges().next().unwrap().0, "q50");
        history.add("x".repeat(HISTORY_BYTES - 3), "yy".into());
        assert_eq!(history.exchanges().count(), 1);
        assert_eq!(contexts.total.load(Ordering::Relaxed), HISTORY_BYTES - 1);
        history.add("x".repeat(HISTORY_BYTES), "yy".into());
        assert_eq!(history.exchanges().count(), 0);
        assert_eq!(contexts.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_together_are_bounded_in_size() {
        let contexts = contexts();
        for n in 0..300 {
            let (context, _) = contexts.open(&id(n));
            context.history.try_lock().unwrap().add("x".repeat(HISTORY_BYTES - 1), "y".into());
        }
        contexts.open(&id(299));
        assert_eq!(contexts.total.load(Ordering::Relaxed), TOTAL_BYTES);
        assert_eq!(contexts.open(&id(0)).0.history.try_lock().unwrap().exchanges().count(), 0);
    }

    #[test]
    fn names() {
        for good in ["a", "A.b_c:d-9", &"x".repeat(128)] {
            assert!(ContextId::parse(good).is_some(), "{good}");
        }
        for bad in ["", " a", "a b", "a/b", "ä", "a\n", "<b>", &"x".repeat(129)] {
            assert!(ContextId::parse(bad).is_none(), "{bad}");
        }
    }
}
