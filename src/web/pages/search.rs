//! One field that finds pages, contexts, models, keys and agents. The command palette shows its fragment.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::context::KnownContext;
use crate::domain::control::AgentConfig;
use crate::domain::role::Role;
use crate::services::agents::Agents;
use crate::services::contexts::Contexts;
use crate::services::keys::Keys;
use crate::services::keys::table::{KeyFilter, Order};
use crate::services::registry::Registry;
use crate::web::errors::Problem;
use crate::web::paths::{Paths, route, with_query};
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::table::Query;
use crate::web::ui::Ui;

/// Most that is shown of each kind.
const OF_EACH: usize = 8;

/// Most contexts, and most models for each, that a switch is offered for.
const PAIRS: usize = 3;

/// Most contexts that are looked through.
const CONTEXTS: u32 = 5_000;

const PAGES: [(&str, &str, Role, &str); 23] = [
    ("Overview", route::Home::PATH, Role::Viewer, "home start health status attention"),
    ("Switch a model", route::Switch::PATH, Role::Viewer, "swap hot-swap change prompt"),
    ("Compare models", route::Compare::PATH, Role::Viewer, "side by side winner test"),
    ("Contexts", route::Contexts::PATH, Role::Viewer, "conversations sessions"),
    ("Switch many contexts", route::BulkNew::PATH, Role::Operator, "bulk swap mass jobs"),
    ("Models", route::Models::PATH, Role::Viewer, "registry deployments"),
    ("Register a model", route::ModelNew::PATH, Role::Admin, "add new deployment"),
    ("Import models", route::ModelsImport::PATH, Role::Admin, "yaml model_list upload"),
    ("Export models", route::ModelsExport::PATH, Role::Viewer, "yaml model_list download"),
    ("Virtual keys", route::Keys::PATH, Role::Viewer, "tokens api"),
    ("New key", route::KeysNew::PATH, Role::Admin, "make create generate issue"),
    ("Find a key by its value", route::KeysFind::PATH, Role::Viewer, "leaked secret sk hash lookup"),
    ("Access matrix", route::KeysMatrix::PATH, Role::Viewer, "models by key allow revoke permissions"),
    ("Usage", route::Usage::PATH, Role::Viewer, "spend cost charts money tokens"),
    ("Calls", route::Calls::PATH, Role::Viewer, "requests failed errors log spend"),
    ("Agents", route::Agents::PATH, Role::Viewer, "a2a servers cards"),
    ("Audit", route::Audit::PATH, Role::Viewer, "log history who changed"),
    ("Settings", route::Settings::PATH, Role::Viewer, "versions release"),
    ("Access tokens", route::Tokens::PATH, Role::Viewer, "api scripts bearer"),
    ("Users", route::Users::PATH, Role::Admin, "people sessions roles logins"),
    ("Danger zone", route::Danger::PATH, Role::Admin, "reset proxy delete everything wipe bootstrap"),
    ("Help", route::Help::PATH, Role::Viewer, "how do i recipes shortcuts keyboard documentation"),
    ("Search", route::Search::PATH, Role::Viewer, "find"),
];

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Search::PATH, search)
}

services! {
    struct Services {
        agents: Agents,
        contexts: Contexts,
        keys: Keys,
        registry: Registry,
    }
}

#[derive(Template)]
#[template(path = "search.html", blocks = ["results"])]
struct SearchPage {
    ui: Ui,
    data: SearchData,
}

#[derive(Serialize)]
struct SearchData {
    query: String,
    found: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    kind: &'static str,
    #[serde(skip)]
    icon: &'static str,
    items: Vec<Item>,
    more: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Item {
    label: String,
    detail: String,
    href: String,
}

page!(SearchPage, SearchData, as_results);

async fn search(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let text = query.get("q").trim().to_owned();
    let known = state.contexts.list(CONTEXTS).await?;
    let mut found = Vec::new();
    if !text.is_empty() {
        found.push(switches(&state, &ui, &text, &known).await);
        found.push(models(&state, &ui, &text).await);
    }
    found.push(pages(&ui.paths, &text, |role| ui.has_role(role)));
    found.push(contexts(&known, &ui, &text));
    if !text.is_empty() {
        found.push(keys(&state, &ui, &text).await);
        found.push(agents(&state, &ui, &text).await?);
    }
    found.retain(|group| !group.items.is_empty());
    Ok(SearchPage { ui, data: SearchData { query: text, found } }.respond(StatusCode::OK))
}

/// Whether every word of `text` stands in one of `places`.
fn fits(text: &str, places: &[&str]) -> bool {
    text.split_whitespace().all(|word| {
        let word = word.to_lowercase();
        places.iter().any(|place| place.to_lowercase().contains(&word))
    })
}

/// The group of all `items`, of which the first are shown; `all` leads to the rest.
fn group(kind: &'static str, icon: &'static str, items: impl Iterator<Item = Item>, all: String) -> Group {
    let mut items = items.take(OF_EACH + 1).collect::<Vec<_>>();
    let more = (items.len() > OF_EACH).then_some(all);
    items.truncate(OF_EACH);
    Group { kind, icon, items, more }
}

fn pages(paths: &Paths, text: &str, has: impl Fn(Role) -> bool) -> Group {
    let fitting = PAGES.iter().filter(|(label, _, role, words)| has(*role) && fits(text, &[label, words]));
    let items = fitting.map(|(label, route, ..)| Item {
        label: (*label).to_owned(),
        detail: String::new(),
        href: paths.to(route),
    });
    Group { kind: "Pages", icon: "page", items: items.collect(), more: None }
}

/// A context and a model lead to the form with both: `switch-demo gpt-5`.
async fn switches(state: &Services, ui: &Ui, text: &str, known: &[KnownContext]) -> Group {
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| !matches!(*word, "switch" | "swap" | "to")).collect();
    let registry = state.registry.get().await;
    let (items, catalog) = (Vec::new(), registry.value.unwrap_or_default());
    let group = |items| Group { kind: "Switch", icon: "cable", items, more: None };
    let [context, model] = words.as_slice() else { return group(items) };
    if !ui.may_operate() {
        return group(items);
    }
    let named = |known: &&KnownContext| {
        fits(context, &[known.context.as_str(), known.label.as_deref().unwrap_or_default()])
    };
    let mut models: Vec<&String> = catalog.callable.iter().filter(|name| fits(model, &[name])).collect();
    models.sort_by_key(|name| name.len());
    let pairs = known.iter().filter(named).take(PAIRS).flat_map(|known| {
        models.iter().take(PAIRS).map(move |model| Item {
            label: format!("{} to {model}", known.context),
            detail: format!("on {}", known.agent),
            href: ui.paths.switch_to(Some(&known.agent), Some(&known.context), Some(model)),
        })
    });
    group(pairs.take(OF_EACH).collect())
}

fn contexts(known: &[KnownContext], ui: &Ui, text: &str) -> Group {
    let model = |known: &KnownContext| known.config.as_ref().map(AgentConfig::spec_text).unwrap_or_default();
    let fitting = known.iter().filter(|known| {
        let label = known.label.as_deref().unwrap_or_default();
        fits(text, &[known.context.as_str(), label, known.agent.as_str(), &model(known)])
    });
    let items = fitting.map(|known| Item {
        label: known.label.clone().unwrap_or_else(|| known.context.to_string()),
        detail: format!("{} on {}", model(known), known.agent),
        href: ui.paths.context(&known.agent, &known.context),
    });
    group("Contexts", "messages", items, with_query(ui.paths.to(route::Contexts), [("q", text)]))
}

async fn models(state: &Services, ui: &Ui, text: &str) -> Group {
    let registry = state.registry.get().await;
    let all = registry.value.as_deref().map_or(&[][..], |all| all);
    let mut fitting: Vec<_> =
        all.iter().filter(|model| fits(text, &[&model.name, &model.upstream_model, &model.id])).collect();
    fitting.sort_by_key(|model| (!model.name.starts_with(text), &model.name));
    let items = fitting.into_iter().map(|model| Item {
        label: model.label().to_owned(),
        detail: model.upstream_model.clone(),
        href: ui.paths.model(&model.id),
    });
    group("Models", "boxes", items, with_query(ui.paths.to(route::Models), [("q", text)]))
}

async fn keys(state: &Services, ui: &Ui, text: &str) -> Group {
    let view = state.keys.search(text).await;
    let filter = KeyFilter { text, ..KeyFilter::default() };
    let found = view.keys.find(&filter, Order::Alias, false);
    let items = found.iter().map(|key| Item {
        label: key.label().to_owned(),
        detail: format!("{}, {}", key.masked, key.state(ui.now).label()),
        href: ui.paths.key(&key.hash),
    });
    group("Keys", "key", items, with_query(ui.paths.to(route::Keys), [("q", text)]))
}

async fn agents(state: &Services, ui: &Ui, text: &str) -> Result<Group, Problem> {
    let views = state.agents.views().await?;
    let fitting = views.iter().filter(|agent| fits(text, &[agent.name.as_str(), &agent.address]));
    let items = fitting.map(|agent| Item {
        label: agent.name.to_string(),
        detail: agent.address.clone(),
        href: ui.paths.agent(&agent.name),
    });
    Ok(group("Agents", "bot", items, ui.paths.to(route::Agents)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_to_fit_somewhere_whatever_its_case() {
        assert!(fits("", &["anything"]));
        assert!(fits("GPT openai", &["openai/gpt-5"]));
        assert!(fits("demo claude", &["switch-demo", "anthropic/claude"]));
        assert!(!fits("gpt mistral", &["openai/gpt-5"]));
    }

    #[test]
    fn pages_are_found_by_what_people_call_them() {
        let found_by = |own, text| {
            let found = pages(&Paths::new("", ""), text, |role| own >= role);
            found.items.into_iter().map(|item| item.href).collect::<Vec<_>>()
        };
        let found = |text| found_by(Role::Admin, text);
        assert_eq!(found("hot-swap"), ["/switch"]);
        assert_eq!(found("cost"), ["/usage"]);
        assert_eq!(found("").len(), PAGES.len());
        for (text, route) in [("side by side", "/compare"), ("bulk", "/bulk/new"), ("reset", "/danger")] {
            assert_eq!(found(text), [route]);
        }
        let [viewer, operator] = [Role::Viewer, Role::Operator].map(|role| found_by(role, ""));
        assert!(!viewer.contains(&"/bulk/new".to_owned()), "{viewer:?}");
        assert!(operator.contains(&"/bulk/new".to_owned()), "{operator:?}");
        assert!(!operator.contains(&"/danger".to_owned()), "{operator:?}");
    }
}
