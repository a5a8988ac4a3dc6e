//! The overview: is the proxy fine, which agent runs on which model, who changed what last, what needs attention.

mod changes;

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use self::changes::Change;
use crate::clients::litellm::{Database, Health};
use crate::clients::{ClientError, Meaning};
use crate::domain::agent::Scope;
use crate::domain::context::KnownContext;
use crate::domain::key::{KeyHash, KeyState, VirtualKey};
use crate::domain::swap::{Outcome, Swap};
use crate::services::agents::Agents;
use crate::services::audit::Audit;
use crate::services::contexts::Contexts;
use crate::services::keys::Keys;
use crate::services::proxy::Proxy;
use crate::services::registry::Registry;
use crate::services::snapshot::View;
use crate::services::switcher::Switcher;
use crate::web::auth::Users;
use crate::web::errors::Problem;
use crate::web::pages::Trouble;
use crate::web::pages::agents::AgentRow;
use crate::web::paths::route;
use crate::web::recipes::Recipe;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::Ui;

const RECENT: u32 = 6;

/// Most contexts that are looked at.
const CONTEXTS: u32 = 5_000;

/// Most contexts of which it is said that they drifted.
const DRIFTED: usize = 5;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Home::PATH, show)
}

services! {
    struct Services {
        agents: Agents,
        audit: Audit,
        contexts: Contexts,
        keys: Keys,
        proxy: Proxy,
        registry: Registry,
        switcher: Switcher,
        users: Users,
    }
}

#[derive(Template)]
#[template(path = "overview.html", blocks = ["content"])]
struct OverviewPage {
    ui: Ui,
    data: Overview,
}

#[derive(Serialize)]
struct Overview {
    proxy: ProxyCard,
    deployments: Option<u64>,
    model_names: Option<u64>,
    keys: Option<u64>,
    spend: Option<f64>,
    agents: Vec<AgentOn>,
    swaps: Vec<Swap>,
    changes: Vec<Change>,
    attention: Vec<Attention>,
}

#[derive(Serialize)]
struct AgentOn {
    #[serde(flatten)]
    agent: AgentRow,
    on: Vec<(String, usize)>,
}

#[derive(Serialize)]
struct ProxyCard {
    address: String,
    health: Option<Health>,
    trouble: Option<Trouble>,
}

impl ProxyCard {
    fn state(&self) -> (&'static str, &'static str) {
        match (&self.trouble, self.health.as_ref().map(|health| health.database)) {
            (Some(_), _) | (None, None) => ("down", "bad"),
            (None, Some(Database::Connected)) => ("healthy", "good"),
            (None, Some(Database::Down)) => ("database down", "bad"),
            (None, Some(Database::None)) => ("no database", "warn"),
        }
    }
}

#[derive(Serialize)]
struct Attention {
    title: String,
    detail: String,
    href: Option<String>,
    /// Nothing fails because of it.
    is_mild: bool,
    #[serde(skip)]
    recipe: Option<Recipe>,
}

impl Attention {
    fn of(trouble: &Trouble) -> Self {
        let detail = format!("{} {}", trouble.detail, trouble.advice);
        Self { title: trouble.title.clone(), detail, href: None, is_mild: false, recipe: trouble.recipe }
    }
}

page!(OverviewPage, Overview, as_content);

async fn show(State(state): State<Services>, ui: Ui) -> Result<Response, Problem> {
    // All at once: each may have to wait for a server of its own.
    let (health, registry, keys, spend, agents, agent_keys, contexts) = tokio::join!(
        state.proxy.health(),
        state.registry.get(),
        state.keys.get(),
        state.proxy.spend(),
        state.agents.views(),
        state.switcher.agent_keys(),
        state.contexts.list(CONTEXTS),
    );
    let contexts = contexts?;
    let agents: Vec<AgentRow> = agents?.into_iter().map(AgentRow::of).collect();
    let mut told = health.value.as_deref().cloned();
    // 1.80 calls itself healthy for 40 s after its database went away; the list of keys knows better.
    if let (Some(told), Some(Some(Meaning::DatabaseDown))) =
        (&mut told, keys.problem.as_ref().map(ClientError::meaning))
    {
        told.database = Database::Down;
    }
    let proxy = ProxyCard {
        address: state.proxy.address().to_owned(),
        health: told,
        trouble: health.problem.as_ref().map(Trouble::of),
    };
    let mut attention = attention(&ui, &proxy, &agents);
    for problem in [registry.problem, keys.problem.clone()].into_iter().flatten() {
        let trouble = of_trouble(&problem);
        if attention.iter().all(|known| known.title != trouble.title) {
            attention.push(trouble);
        }
    }
    attention.extend(drifted(&contexts, &ui));
    attention.extend(state.users.problem().map(|problem| Attention {
        is_mild: false,
        title: "The users' file is not taken".to_owned(),
        detail: format!("{problem}. The users are those of before."),
        href: None,
        recipe: None,
    }));
    attention.extend(state.agents.problem().map(|detail| Attention {
        is_mild: false,
        title: "The agents file is not used as it is now".to_owned(),
        detail: format!("{detail}. The agents are those of before."),
        href: Some(ui.paths.to(route::Agents)),
        recipe: None,
    }));
    attention.extend(agent_keys.iter().filter_map(|(hash, view)| of_key(hash, view, &ui)));
    let names = registry
        .value
        .as_ref()
        .map(|all| all.iter().map(|d| &d.name).collect::<std::collections::HashSet<_>>());
    let data = Overview {
        deployments: registry.value.as_ref().map(|deployments| deployments.len() as u64),
        model_names: names.map(|names| names.len() as u64),
        keys: keys.has_data().then_some(keys.total),
        spend: spend.value.as_deref().copied(),
        swaps: state.switcher.recent(RECENT).await?,
        changes: changes::last(&state, &ui.paths, registry.value.as_deref().map_or(&[][..], |all| all))
            .await?,
        agents: agents.into_iter().map(|agent| AgentOn { on: models_of(&agent, &contexts), agent }).collect(),
        proxy,
        attention,
    };
    Ok(OverviewPage { ui, data }.respond(StatusCode::OK))
}

/// The models that an agent's contexts are on, the most used first, as they were read last. One that keeps its model
/// for all of them is on what was read last.
fn models_of(agent: &AgentRow, contexts: &[KnownContext]) -> Vec<(String, usize)> {
    let read = contexts.iter().filter(|known| known.agent == agent.name);
    let mut read: Vec<_> =
        read.filter_map(|known| Some((known.read_at, known.config.as_ref()?.spec_text()))).collect();
    if agent.scope == Some(Scope::Agent) {
        let last = read.into_iter().max();
        return last.map(|(_, model)| (model, 0)).into_iter().collect();
    }
    let mut models = BTreeMap::<String, usize>::new();
    for (_, model) in read.drain(..) {
        *models.entry(model).or_default() += 1;
    }
    let mut models: Vec<_> = models.into_iter().collect();
    models.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    models
}

fn drifted(contexts: &[KnownContext], ui: &Ui) -> Vec<Attention> {
    let drifted = contexts.iter().filter(|known| known.has_drifted()).take(DRIFTED);
    drifted
        .map(|known| Attention {
            title: format!("Drift in {}", known.context),
            detail: match (&known.config, &known.selected) {
                (Some(now), Some(selected)) if now.spec_text() != selected.spec_text() => {
                    format!("It runs {}, and {} was selected here.", now.spec_text(), selected.spec_text())
                }
                _ => "Its prompt is another one than was selected here.".to_owned(),
            },
            is_mild: true,
            href: Some(ui.paths.context(&known.agent, &known.context)),
            recipe: Some(Recipe::Drift),
        })
        .collect()
}

fn of_trouble(problem: &ClientError) -> Attention {
    Attention::of(&Trouble::of(problem))
}

fn attention(ui: &Ui, proxy: &ProxyCard, agents: &[AgentRow]) -> Vec<Attention> {
    let mut all = Vec::new();
    if let Some(trouble) = &proxy.trouble {
        all.push(Attention::of(trouble));
    }
    match proxy.health.as_ref().filter(|_| proxy.trouble.is_none()).map(|health| health.database) {
        Some(Database::Down) => all.push(Attention {
            title: "The proxy's database is down".to_owned(),
            detail: "Keys and registry cannot be changed, and new keys are refused.".to_owned(),
            href: None,
            is_mild: false,
            recipe: Some(Recipe::ProxyDatabase),
        }),
        Some(Database::None) => all.push(Attention {
            title: "The proxy has no database".to_owned(),
            detail: "It knows the models of its configuration file only, and no virtual keys.".to_owned(),
            href: None,
            is_mild: false,
            recipe: Some(Recipe::ProxyDatabase),
        }),
        _ => {}
    }
    all.extend(agents.iter().filter_map(|agent| {
        let trouble = agent.trouble.as_ref()?;
        Some(Attention {
            title: format!("{}: {}", agent.name, trouble.title),
            href: Some(ui.paths.agent(&agent.name)),
            ..Attention::of(trouble)
        })
    }));
    all
}

/// What is wrong with the agent's own key. That it could not be read is the proxy's trouble, told already.
fn of_key(hash: &KeyHash, view: &View<Option<VirtualKey>, ClientError>, ui: &Ui) -> Option<Attention> {
    let Some(key) = view.value.as_deref()? else {
        return Some(Attention {
            title: "The proxy does not know the agent's key".to_owned(),
            detail: "Issue the agent a new key, and set TASK_AGENT_API_KEY, or what its key in the agents file names, to it.".to_owned(),
            href: Some(ui.paths.to(route::Keys)),
            is_mild: false,
            recipe: Some(Recipe::AgentKey),
        });
    };
    let state = key.state(ui.now);
    (state != KeyState::Active).then(|| Attention {
        title: format!("The agent's key {} is {}", key.label(), state.label()),
        detail: "The agent's calls are refused by the proxy.".to_owned(),
        href: Some(ui.paths.key(hash)),
        is_mild: false,
        recipe: Some(Recipe::AgentKey),
    })
}

impl Overview {
    fn undecided(&self) -> usize {
        self.swaps.iter().filter(|swap| swap.outcome == Outcome::Unknown).count()
    }
}
