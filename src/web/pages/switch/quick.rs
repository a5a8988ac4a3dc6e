//! What was done before, to be done again quickly: the last pairs of context and model, and the models that are used
//! most. Both come from the swaps themselves, so that nobody has to keep a list.

use std::collections::{BTreeMap, HashSet};

use crate::domain::agent::AgentName;
use crate::domain::context::{ContextId, KnownContext};
use crate::domain::control::AgentConfig;
use crate::domain::swap::Swap;
use crate::services::registry::Catalog;
use crate::web::errors::Problem;
use crate::web::pages::agents::AgentRow;
use crate::web::pages::switch::{Services, last_seen};

const SWAPS: u32 = 100;

/// How many pairs are offered: each has a digit.
const PAIRS: usize = 6;

const CHIPS: usize = 12;

/// A context and a model that it was on before, and is not on now.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) agent: AgentName,
    pub(super) context: ContextId,
    pub(super) label: Option<String>,
    pub(super) now: Option<String>,
    pub(super) model: String,
    pub(super) seen: String,
}

#[derive(Debug, Default)]
pub(super) struct Quick {
    pub(super) pairs: Vec<Pair>,
    pub(super) chips: Vec<String>,
}

/// For a form about `context`, if it is about one already. `user`'s own swaps come first.
pub(super) async fn find(
    state: &Services,
    user: &str,
    agents: &[AgentRow],
    context: &str,
    catalog: &Catalog,
) -> Result<Quick, Problem> {
    let mut swaps = state.switcher.recent(SWAPS).await?;
    swaps.retain(|swap| swap.outcome.is_success());
    let chips = chips(&swaps, &catalog.callable);
    swaps.sort_by_key(|swap| swap.actor != user);
    let mut pairs = Vec::new();
    for (agent, id, model) in candidates(&swaps) {
        let Some(row) = agents.iter().find(|row| row.name == agent) else { continue };
        if !(context.is_empty() || context == id.as_str()) || !catalog.can_call(&model) {
            continue;
        }
        let known = state.contexts.get(&agent, &id).await?;
        let now = known.as_ref().and_then(now_on);
        if now.as_deref() == Some(model.as_str()) {
            continue;
        }
        let seen = last_seen(&state.switcher, row.scope, &agent, &id).await?;
        let label = known.and_then(|known| known.label);
        pairs.push(Pair { agent, context: id, label, now, model, seen });
        if pairs.len() == PAIRS {
            break;
        }
    }
    Ok(Quick { pairs, chips })
}

fn now_on(known: &KnownContext) -> Option<String> {
    known.config.as_ref().map(AgentConfig::spec_text)
}

/// Each context with the models it was switched to, and those it was on before; the last first.
fn candidates(swaps: &[Swap]) -> Vec<(AgentName, ContextId, String)> {
    let mut known = HashSet::new();
    let both = swaps.iter().flat_map(|swap| {
        let to = swap.model.as_ref().map(ToString::to_string);
        let from = swap.before.as_ref().map(AgentConfig::spec_text);
        to.into_iter().chain(from).map(|model| (swap.agent.clone(), swap.context.clone(), model))
    });
    both.filter(|pair| known.insert(pair.clone())).collect()
}

fn chips(swaps: &[Swap], models: &[String]) -> Vec<String> {
    let mut uses = BTreeMap::<String, usize>::new();
    for model in swaps.iter().filter_map(|swap| swap.model.as_ref()) {
        *uses.entry(model.to_string()).or_default() += 1;
    }
    let mut chips = models.to_vec();
    // The order of names stays among those that are used alike.
    chips.sort_by_key(|model| std::cmp::Reverse(uses.get(model).copied().unwrap_or_default()));
    if chips.len() > CHIPS {
        chips.retain(|model| uses.contains_key(model));
    }
    chips.truncate(CHIPS);
    chips
}
