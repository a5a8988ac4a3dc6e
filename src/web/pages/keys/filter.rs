//! Which keys a table, a download or a bulk change is about: all in the address.

use jiff::{SignedDuration, Timestamp};

use crate::domain::key::{Access, KeyState, Permission};
use crate::domain::model::Deployment;
use crate::services::keys::KeysView;
use crate::services::keys::index::{Found, Glance, Order, Wanted};
use crate::services::registry::serving;
use crate::web::table::Query;

pub(super) const FILTERS: [&str; 5] = ["q", "model", "state", "expires", "spent"];

pub(super) const SORTS: [&str; 6] = ["alias", "spend", "budget", "expires", "created", "used"];

/// The newest first.
pub(super) const DEFAULT_SORT: (&str, bool) = ("created", true);

/// What `expires=7d` means.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What `spent=80` means.
const NEARLY_SPENT: f64 = 0.8;

/// The keys that the query asks for, in its order.
pub(super) fn find<'a>(
    query: &Query,
    view: &'a KeysView,
    deployments: &[Deployment],
    now: Timestamp,
) -> Found<'a> {
    let (text, model) = (query.get("q"), query.get("model"));
    let by_model = serving(deployments, model);
    let permits = |access: &Access| access.permits(model, &by_model) == Permission::Allowed;
    let access: Option<&dyn Fn(&Access) -> bool> = if model.is_empty() { None } else { Some(&permits) };
    // A model's whole name finds the keys that may call it, be it by a wildcard or because they may call all.
    let named = deployments.iter().find(|deployment| deployment.name.eq_ignore_ascii_case(text));
    let of_named = named.map(|named| serving(deployments, &named.name)).unwrap_or_default();
    let may_call_named = |access: &Access| {
        named.is_some_and(|named| access.permits(&named.name, &of_named) == Permission::Allowed)
    };
    let reaches: Option<&dyn Fn(&Access) -> bool> =
        if named.is_some() { Some(&may_call_named) } else { None };
    let wanted = query.get("state").parse::<KeyState>().ok();
    let (soon, spent) = (query.get("expires") == "7d", query.get("spent") == "80");
    let (now_ms, soon_ms) = (now.as_millisecond(), (now + SOON).as_millisecond());
    let glance = |key: &Glance| {
        let ends = key.expires_ms();
        wanted.is_none_or(|wanted| state(key, now_ms) == wanted)
            && (!soon || ends.is_some_and(|at| at > now_ms && at <= soon_ms))
            && (!spent || key.max_budget().is_some_and(|budget| key.spend >= budget * NEARLY_SPENT))
    };
    let (column, downwards) = query.sort(&SORTS, DEFAULT_SORT);
    let order = match column {
        "alias" => Order::Alias,
        "spend" => Order::Spend,
        "budget" => Order::Budget,
        "expires" => Order::Expires,
        "used" => Order::Used,
        _ => Order::Created,
    };
    let glance: Option<&dyn Fn(&Glance) -> bool> =
        if wanted.is_none() && !soon && !spent { None } else { Some(&glance) };
    let wanted = Wanted { text, reaches, access, glance };
    view.keys.find(&wanted, order, downwards)
}

/// As [`crate::domain::key::VirtualKey::state`] tells it.
fn state(key: &Glance, now_ms: i64) -> KeyState {
    if key.blocked {
        KeyState::Blocked
    } else if key.expires_ms().is_some_and(|at| at <= now_ms) {
        KeyState::Expired
    } else if key.max_budget().is_some_and(|budget| key.spend >= budget) {
        KeyState::OverBudget
    } else {
        KeyState::Active
    }
}
