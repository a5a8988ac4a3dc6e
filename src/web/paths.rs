//! Every address, once: routes, links, redirects and tests take them from here.

pub mod route;

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::key::KeyHash;

/// All but the characters that may stand in a path's segment unescaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

#[derive(Debug, Clone)]
pub struct Paths {
    base: Arc<str>,
    assets_version: Arc<str>,
}

impl Paths {
    /// Addresses below `base`: empty, or `/a/b`. Asset addresses carry `assets_version`.
    pub fn new(base: &str, assets_version: &str) -> Self {
        Self { base: base.into(), assets_version: assets_version.into() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// An address without parameters.
    pub fn at(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }

    fn fill(&self, route: &str, parameters: &[(&str, &str)]) -> String {
        let mut path = String::with_capacity(self.base.len() + route.len() + 64);
        path.push_str(&self.base);
        for part in route.split_inclusive(['{', '}']) {
            let value =
                part.strip_suffix('}').and_then(|name| parameters.iter().find(|(known, _)| *known == name));
            match value {
                Some((_, value)) => path.extend(utf8_percent_encode(value, SEGMENT)),
                None => path.push_str(part.trim_end_matches('{')),
            }
        }
        path
    }

    pub fn home(&self) -> String {
        self.at(route::HOME)
    }

    /// The login form, which leads on to `next`.
    pub fn login(&self, next: Option<&str>) -> String {
        with_query(self.at(route::LOGIN), next.map(|next| ("next", next)))
    }

    pub fn logout(&self) -> String {
        self.at(route::LOGOUT)
    }

    pub fn models(&self) -> String {
        self.at(route::MODELS)
    }

    pub fn model(&self, id: &str) -> String {
        self.fill(route::MODEL, &[("id", id)])
    }

    pub fn model_new(&self, preset: Option<&str>) -> String {
        with_query(self.at(route::MODEL_NEW), preset.map(|preset| ("preset", preset)))
    }

    pub fn model_edit(&self, id: &str) -> String {
        self.fill(route::MODEL_EDIT, &[("id", id)])
    }

    pub fn model_test(&self, id: &str) -> String {
        self.fill(route::MODEL_TEST, &[("id", id)])
    }

    pub fn model_block(&self, id: &str) -> String {
        self.fill(route::MODEL_BLOCK, &[("id", id)])
    }

    pub fn model_unblock(&self, id: &str) -> String {
        self.fill(route::MODEL_UNBLOCK, &[("id", id)])
    }

    pub fn model_delete(&self, id: &str) -> String {
        self.fill(route::MODEL_DELETE, &[("id", id)])
    }

    pub fn models_export(&self) -> String {
        self.at(route::MODELS_EXPORT)
    }

    pub fn models_import(&self) -> String {
        self.at(route::MODELS_IMPORT)
    }

    pub fn import(&self, job: &str) -> String {
        self.fill(route::IMPORT, &[("job", job)])
    }

    pub fn import_apply(&self, job: &str) -> String {
        self.fill(route::IMPORT_APPLY, &[("job", job)])
    }

    pub fn keys(&self) -> String {
        self.at(route::KEYS)
    }

    pub fn keys_for(&self, model: &str) -> String {
        with_query(self.keys(), [("model", model)])
    }

    pub fn key(&self, hash: &KeyHash) -> String {
        self.fill(route::KEY, &[("hash", hash.as_str())])
    }

    pub fn keys_new(&self) -> String {
        self.at(route::KEYS_NEW)
    }

    pub fn keys_csv(&self) -> String {
        self.at(route::KEYS_CSV)
    }

    pub fn keys_matrix(&self) -> String {
        self.at(route::KEYS_MATRIX)
    }

    pub fn keys_bulk(&self) -> String {
        self.at(route::KEYS_BULK)
    }

    pub fn keys_bulk_run(&self) -> String {
        self.at(route::KEYS_BULK_RUN)
    }

    pub fn keys_job(&self, id: &str) -> String {
        self.fill(route::KEYS_JOB, &[("id", id)])
    }

    /// Tries again what failed of a change of many keys.
    pub fn keys_job_retry(&self, id: &str) -> String {
        self.fill(route::KEYS_JOB_RETRY, &[("id", id)])
    }

    pub fn keys_job_cancel(&self, id: &str) -> String {
        self.fill(route::KEYS_JOB_CANCEL, &[("id", id)])
    }

    /// An address below a key's: one of the patterns that have its hash alone.
    pub fn of_key(&self, route: &str, hash: &KeyHash) -> String {
        self.fill(route, &[("hash", hash.as_str())])
    }

    pub fn key_relax(&self, hash: &KeyHash) -> String {
        self.fill(route::KEY_RELAX, &[("hash", hash.as_str())])
    }

    pub fn switch(&self) -> String {
        self.at(route::SWITCH)
    }

    pub fn switch_to(
        &self,
        agent: Option<&AgentName>,
        context: Option<&ContextId>,
        model: Option<&str>,
    ) -> String {
        let agent = agent.map(|agent| ("agent", agent.as_str()));
        let context = context.map(|context| ("context", context.as_str()));
        with_query(self.switch(), agent.into_iter().chain(context).chain(model.map(|model| ("model", model))))
    }

    pub fn receipt(&self, agent: &AgentName, context: &ContextId, swap: &str) -> String {
        let query = [("agent", agent.as_str()), ("context", context.as_str()), ("swap", swap)];
        format!("{}#receipt", with_query(self.switch(), query))
    }

    pub fn compare(&self) -> String {
        self.at(route::COMPARE)
    }

    /// The same, to find the model for a conversation.
    pub fn compare_for(&self, agent: &AgentName, context: &ContextId) -> String {
        with_query(self.compare(), [("agent", agent.as_str()), ("context", context.as_str())])
    }

    pub fn comparison(&self, id: &str) -> String {
        self.fill(route::COMPARISON, &[("id", id)])
    }

    pub fn comparison_events(&self, id: &str) -> String {
        self.fill(route::COMPARE_EVENTS, &[("id", id)])
    }

    pub fn contexts(&self) -> String {
        self.at(route::CONTEXTS)
    }

    pub fn contexts_with(&self, text: &str) -> String {
        with_query(self.contexts(), [("q", text)])
    }

    pub fn context(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT, agent, context)
    }

    pub fn context_refresh(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT_REFRESH, agent, context)
    }

    /// Puts back what a context was on before a swap.
    pub fn context_undo(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT_UNDO, agent, context)
    }

    pub fn context_message(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT_MESSAGE, agent, context)
    }

    pub fn context_describe(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT_DESCRIBE, agent, context)
    }

    pub fn context_forget(&self, agent: &AgentName, context: &ContextId) -> String {
        self.of_context(route::CONTEXT_FORGET, agent, context)
    }

    pub fn bulks(&self) -> String {
        self.at(route::BULK)
    }

    pub fn bulk_new(&self) -> String {
        self.at(route::BULK_NEW)
    }

    /// The same, for all contexts that a search finds.
    pub fn bulk_of_search(&self, text: &str) -> String {
        with_query(self.bulk_new(), [("filter", "1"), ("q", text)])
    }

    pub fn bulk(&self, id: &str) -> String {
        self.of_bulk(route::BULK_JOB, id)
    }

    /// An address of a swap of many contexts: one of the patterns that have its id alone.
    pub fn of_bulk(&self, route: &str, id: &str) -> String {
        self.fill(route, &[("id", id)])
    }

    pub fn ask_events(&self, agent: &AgentName, context: &ContextId, id: &str) -> String {
        self.fill(route::ASK_EVENTS, &[("agent", agent.as_str()), ("context", context.as_str()), ("id", id)])
    }

    pub fn swap_events(&self, id: &str) -> String {
        self.fill(route::SWAP_EVENTS, &[("id", id)])
    }

    /// The switcher for a context that does not exist yet.
    pub fn switch_new(&self, agent: &str) -> String {
        with_query(self.switch(), [("agent", agent), ("new", "1")])
    }

    fn of_context(&self, route: &str, agent: &AgentName, context: &ContextId) -> String {
        self.fill(route, &[("agent", agent.as_str()), ("context", context.as_str())])
    }

    pub fn agents(&self) -> String {
        self.at(route::AGENTS)
    }

    pub fn agent(&self, name: &AgentName) -> String {
        self.fill(route::AGENT, &[("name", name.as_str())])
    }

    /// Looks whether an agent's model is per context or agent-wide.
    pub fn agent_scope(&self, name: &AgentName) -> String {
        self.fill(route::AGENT_SCOPE, &[("name", name.as_str())])
    }

    pub fn agent_adopt(&self, name: &AgentName) -> String {
        self.fill(route::AGENT_ADOPT, &[("name", name.as_str())])
    }

    pub fn audit(&self) -> String {
        self.at(route::AUDIT)
    }

    pub fn events(&self) -> String {
        self.at(route::EVENTS)
    }

    pub fn usage(&self) -> String {
        self.at(route::USAGE)
    }

    pub fn search(&self, text: &str) -> String {
        with_query(self.at(route::SEARCH), Some(("q", text)).filter(|_| !text.is_empty()))
    }

    pub fn help(&self) -> String {
        self.at(route::HELP)
    }

    pub fn help_on(&self, anchor: &str) -> String {
        format!("{}#{anchor}", self.help())
    }

    pub fn theme(&self) -> String {
        self.at(route::THEME)
    }

    pub fn danger(&self) -> String {
        self.at(route::DANGER)
    }

    /// Empties the proxy, and bootstraps it again.
    pub fn danger_reset(&self) -> String {
        self.at(route::DANGER_RESET)
    }

    pub fn audit_with(&self, name: &str, value: &str) -> String {
        with_query(self.audit(), [(name, value)])
    }

    pub fn audit_csv(&self) -> String {
        self.at(route::AUDIT_CSV)
    }

    pub fn audit_entry(&self, id: i64) -> String {
        self.fill(route::AUDIT_ENTRY, &[("id", &id.to_string())])
    }

    /// A file below `static`, which a browser may keep for a year: its address changes with its content.
    pub fn asset(&self, name: &str) -> String {
        format!("{}{}/{name}?v={}", self.base, route::STATIC, self.assets_version)
    }
}

/// `path` with a query, unless it would be empty.
pub fn with_query<N, V>(path: impl fmt::Display, pairs: impl IntoIterator<Item = (N, V)>) -> String
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let query = query.finish();
    if query.is_empty() { path.to_string() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_holds_stays_one_segment() {
        let paths = Paths::new("/a/b", "1");
        assert_eq!(paths.model("x/../y?z#%é"), "/a/b/models/x%2F..%2Fy%3Fz%23%25%C3%A9");
        assert_eq!(paths.login(Some("/models?q=a b")), "/a/b/login?next=%2Fmodels%3Fq%3Da+b");
        assert_eq!(paths.asset("app.css"), "/a/b/static/app.css?v=1");
    }
}
