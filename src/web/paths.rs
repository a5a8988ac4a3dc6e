//! Links to the addresses of [`route`], below the base path.

pub mod route;

use std::fmt;
use std::sync::Arc;

use url::form_urlencoded;

use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::key::KeyHash;

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

    /// The path of cookies.
    pub fn cookie_path(&self) -> &str {
        if self.base.is_empty() { "/" } else { &self.base }
    }

    pub fn to(&self, address: impl fmt::Display) -> String {
        // axum-extra does not escape a backslash, which browsers read as a slash.
        let path = format!("{}{address}", self.base);
        if path.contains('\\') { path.replace('\\', "%5C") } else { path }
    }

    /// The login form, which leads on to `next`.
    pub fn login(&self, next: Option<&str>) -> String {
        self.to(with_query(route::Login, next.map(|next| ("next", next))))
    }

    pub fn model(&self, id: &str) -> String {
        self.to(route::Model(id.to_owned()))
    }

    pub fn model_new(&self, preset: Option<&str>) -> String {
        self.to(with_query(route::ModelNew, preset.map(|preset| ("preset", preset))))
    }

    pub fn key(&self, hash: &KeyHash) -> String {
        self.to(route::Key(hash.clone()))
    }

    pub fn agent(&self, name: &AgentName) -> String {
        self.to(route::Agent(name.clone()))
    }

    pub fn context(&self, agent: &AgentName, context: &ContextId) -> String {
        self.to(route::Context(agent.clone(), context.clone()))
    }

    pub fn switch_to(
        &self,
        agent: Option<&AgentName>,
        context: Option<&ContextId>,
        model: Option<&str>,
    ) -> String {
        let agent = agent.map(|agent| ("agent", agent.as_str()));
        let context = context.map(|context| ("context", context.as_str()));
        let query = agent.into_iter().chain(context).chain(model.map(|model| ("model", model)));
        self.to(with_query(route::Switch, query))
    }

    /// The switcher for a context that does not exist yet.
    pub fn switch_new(&self, agent: &str) -> String {
        self.to(with_query(route::Switch, [("agent", agent), ("new", "1")]))
    }

    pub fn receipt(&self, swap: &str) -> String {
        self.to(route::Swap(swap.to_owned()))
    }

    pub fn compare_for(&self, agent: &AgentName, context: &ContextId) -> String {
        self.to(with_query(route::Compare, [("agent", agent.as_str()), ("context", context.as_str())]))
    }

    pub fn keys_for(&self, model: &str) -> String {
        self.to(with_query(route::Keys, [("model", model)]))
    }

    /// The log of calls, of 30 days, filtered by one column.
    pub fn calls_of(&self, column: &str, value: impl fmt::Display) -> String {
        self.to(with_query(route::Calls, [(column, &*value.to_string()), ("range", "30d")]))
    }

    pub fn contexts_with(&self, text: &str) -> String {
        self.to(with_query(route::Contexts, [("q", text)]))
    }

    /// A switch of all contexts of an agent.
    pub fn bulk_of(&self, agent: &AgentName) -> String {
        self.to(with_query(route::BulkNew, [("filter", "1"), ("agent", agent.as_str())]))
    }

    /// A switch of all contexts that are on a model.
    pub fn bulk_on(&self, model: &str) -> String {
        self.to(with_query(route::BulkNew, [("on", model)]))
    }

    pub fn audit_with(&self, name: &str, value: &str) -> String {
        self.to(with_query(route::Audit, [(name, value)]))
    }

    pub fn search(&self, text: &str) -> String {
        self.to(with_query(route::Search, Some(("q", text)).filter(|_| !text.is_empty())))
    }

    pub fn help_on(&self, anchor: &str) -> String {
        format!("{}#{anchor}", self.to(route::Help))
    }

    /// A file below `static`, which a browser may keep for a year: its address changes with its content.
    pub fn asset(&self, name: &str) -> String {
        self.to(format_args!("{}/{name}?v={}", route::Static, self.assets_version))
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
        assert_eq!(paths.model("x/../y?z#%é\\"), "/a/b/models/x%2F..%2Fy%3Fz%23%25%C3%A9%5C");
        assert_eq!(paths.login(Some("/models?q=a b")), "/a/b/login?next=%2Fmodels%3Fq%3Da+b");
        assert_eq!(paths.asset("app.css"), "/a/b/static/app.css?v=1");
    }
}
