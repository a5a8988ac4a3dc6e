//! Which keys a table, a download or a bulk change is about: all in the address.

use jiff::{SignedDuration, Timestamp};

use crate::domain::key::KeyState;
use crate::domain::permission::{Grant, Rules};
use crate::services::keys::KeysView;
use crate::services::keys::table::{Found, KeyFilter, Order, Row};
use crate::services::registry::Catalog;
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
    (catalog, rules): (&Catalog, &Rules),
    now: Timestamp,
) -> Found<'a> {
    let (text, model) = (query.get("q"), query.get("model"));
    let asked = catalog.target(model);
    let permits = |grant: &Grant| rules.grants(grant, &asked).is_allowed();
    let has_model = !model.is_empty();
    let grant: Option<&dyn Fn(&Grant) -> bool> = if has_model { Some(&permits) } else { None };
    // A model's whole name finds the keys that may call it, be it by a wildcard or because they may call all.
    let named = catalog.iter().find(|deployment| deployment.name.eq_ignore_ascii_case(text));
    let named = named.map(|named| catalog.target(&named.name));
    let may_call_named =
        |grant: &Grant| named.as_ref().is_some_and(|named| rules.grants(grant, named).is_allowed());
    let text_grant: Option<&dyn Fn(&Grant) -> bool> =
        if named.is_some() { Some(&may_call_named) } else { None };
    let state = query.get("state").parse::<KeyState>().ok();
    let (is_soon, is_spent) = (query.get("expires") == "7d", query.get("spent") == "80");
    let fits = |row: &Row| {
        state.is_none_or(|state| row.state(now) == state)
            && (!has_model || row.is_usable(now))
            && (!is_soon || row.expires_between(now, now + SOON))
            && (!is_spent || row.has_spent(NEARLY_SPENT))
    };
    let row: Option<&dyn Fn(&Row) -> bool> =
        if state.is_none() && !is_soon && !is_spent && !has_model { None } else { Some(&fits) };
    let (column, descending) = query.sort(&SORTS, DEFAULT_SORT);
    let order = match column {
        "alias" => Order::Alias,
        "spend" => Order::Spend,
        "budget" => Order::Budget,
        "expires" => Order::Expires,
        "used" => Order::Used,
        _ => Order::Created,
    };
    view.keys.find(&KeyFilter { text, text_grant, grant, row }, order, descending)
}
