//! Who did what: the list, one entry, and the list for a spreadsheet.
//!
//! Everybody may see what was done to models, keys and contexts, which they may look at as well. Who logged in,
//! from where, and who was refused is for admins; others see their own.

mod csv;
mod difference;

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::Serialize;

use self::difference::Difference;
use crate::domain::audit::{Action, Entry, Filter};
use crate::domain::key::KeyHash;
use crate::services::audit::Audit;
use crate::services::keys::Keys;
use crate::services::keys::table::{KeyFilter, Order};
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::{Paths, route};
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

/// Most keys that an alias is looked up for.
const ALIASES: usize = 50;

const FILTERS: [&str; 6] = ["who", "what", "object", "outcome", "from", "to"];

/// So many entries are counted; more are "more than" these.
const COUNTED: u32 = 10_000;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Audit::PATH, list).get(VIEWER, route::AuditCsv::PATH, csv::download).get(
        VIEWER,
        route::AuditEntry::PATH,
        show,
    )
}

#[derive(Template)]
#[template(path = "audit/list.html", blocks = ["results"])]
struct AuditPage {
    ui: Ui,
    query: Query,
    data: AuditData,
    older: Option<String>,
    /// Of the keys among the objects, by their hashes.
    aliases: HashMap<String, String>,
}

#[derive(Serialize)]
struct AuditData {
    entries: Vec<Entry>,
    /// Those that fit, or 10,000 where there are more.
    total: u64,
    is_total_exact: bool,
    /// How many of them are newer than those of this page; none where they are too many to count.
    newer: Option<u64>,
    errors: FieldErrors,
}

impl AuditPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    fn is_first(&self) -> bool {
        self.query.get("before").is_empty()
    }

    /// `51–100 of 1,234`; without the first two far down in a long list.
    fn place(&self) -> String {
        let AuditData { entries, total, is_total_exact, newer, .. } = &self.data;
        let count = |number: u64| self.ui.count(&number);
        let total = if *is_total_exact { count(*total) } else { format!("more than {}", count(*total)) };
        match newer {
            Some(newer) => format!("{}–{} of {total}", count(newer + 1), count(newer + entries.len() as u64)),
            None => format!("{} of {total}", count(entries.len() as u64)),
        }
    }

    fn newest(&self) -> String {
        self.query.link(&self.ui.paths.to(route::Audit), &[("before", "")])
    }

    /// The same entries with the logins among them, or without.
    fn logins(&self) -> String {
        let shown = if self.query.has(&["logins"]) { "" } else { "1" };
        self.query.link(&self.ui.paths.to(route::Audit), &[("logins", shown), ("before", "")])
    }

    /// What was done, as people say it; an action of another release by its word.
    fn verb(entry: &Entry) -> &str {
        match entry.action.parse::<Action>() {
            Ok(action) => action.verb(),
            Err(_) => &entry.action,
        }
    }

    /// The entries, with those of one request that follow each other and differ in their object alone as one.
    fn rows(&self) -> Vec<Row<'_>> {
        let is_folded = !self.query.has(&["unfold"]);
        let mut rows: Vec<Row<'_>> = Vec::new();
        for entry in &self.data.entries {
            match rows.last_mut().filter(|row| is_folded && row.entry.is_like(entry)) {
                Some(row) => row.more += 1,
                None => rows.push(Row { entry, more: 0 }),
            }
        }
        rows
    }

    fn unfolded(&self) -> String {
        self.query.link(&self.ui.paths.to(route::Audit), &[("unfold", "1")])
    }

    /// The name of what it was done to: a key's alias where the key is known.
    fn object(&self, entry: &Entry) -> String {
        if job_of(entry, &self.ui.paths).is_some() {
            return "the job".to_owned();
        }
        self.aliases.get(&entry.object).cloned().unwrap_or_else(|| self.ui.short(&entry.object).to_string())
    }

    /// Where what it was done to is shown.
    fn place_of(&self, entry: &Entry) -> Option<String> {
        let paths = &self.ui.paths;
        let (kind, object) = (entry.action.split('.').next().unwrap_or_default(), &entry.object);
        if let Some(job) = job_of(entry, paths) {
            return Some(job);
        }
        match kind {
            "key" => Some(paths.key(&object.parse().ok()?)),
            "model" => Some(paths.model(object)),
            "swap" | "ask" | "drift" | "context" => {
                let (agent, context) = object.split_once('/')?;
                Some(paths.context(&agent.parse().ok()?, &context.parse().ok()?))
            }
            "agent" => Some(paths.agent(&object.parse().ok()?)),
            _ => None,
        }
    }

    /// Ranges of days in the viewer's zone: label, address, whether it is the one shown.
    fn presets(&self) -> Vec<(&'static str, String, bool)> {
        let day = |back: i64| self.ui.day_begins(back).map(|at| at.strftime("%Y-%m-%dT%H:%M").to_string());
        let path = self.ui.paths.to(route::Audit);
        let preset = |label, from: Option<String>, to: Option<String>| {
            let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
            let is_shown = self.query.get("from") == from && self.query.get("to") == to;
            (label, self.query.link(&path, &[("from", &from), ("to", &to), ("before", "")]), is_shown)
        };
        let before = |back: i64| {
            let end = self.ui.day_begins(back)?.checked_sub(SignedDuration::from_mins(1)).ok()?;
            Some(end.strftime("%Y-%m-%dT%H:%M").to_string())
        };
        vec![
            preset("Today", day(0), None),
            preset("Yesterday", day(1), before(0)),
            preset("7 days", day(6), None),
            preset("All", None, None),
        ]
    }

    fn csv(&self) -> String {
        self.query.link(&self.ui.paths.to(route::AuditCsv), &[("before", ""), ("size", "")])
    }
}

struct Row<'a> {
    entry: &'a Entry,
    /// Others like it.
    more: usize,
}

/// The page of the job whose end an entry notes, if it notes one.
pub(super) fn job_of(entry: &Entry, paths: &Paths) -> Option<String> {
    let id = || entry.object.split_once('/').map(|(_, id)| id.to_owned());
    match entry.action.parse().ok()? {
        Action::Bulk => Some(paths.to(route::BulkJob(id()?))),
        Action::KeyBulk => Some(paths.to(route::KeysJob(id()?))),
        Action::ModelImport => Some(paths.to(route::Import(id()?))),
        Action::ResetEnd => Some(paths.to(route::Danger)),
        _ => None,
    }
}

page!(AuditPage, AuditData, as_results);

/// Newest first; `before` goes on where a page ended, however many entries have come since.
async fn list(
    State(audit): State<Audit>,
    State(keys): State<Keys>,
    ui: Ui,
    query: Query,
) -> Result<Response, Problem> {
    let (mut filter, errors) = filter(&query, &ui);
    filter.objects = named_so(&keys, filter.object.as_deref());
    let before = query.get("before").parse().ok();
    let entries = audit.entries(&filter, before, query.size()).await?;
    let total = audit.count(&filter, None, COUNTED + 1).await?;
    let newer = match before {
        Some(before) => audit.count(&filter, Some(before), COUNTED + 1).await?,
        None => 0,
    };
    let counted = u64::from(COUNTED);
    let last = entries.last().filter(|_| entries.len() == query.size()).map(|entry| entry.id.to_string());
    let older = last.map(|id| query.link(&ui.paths.to(route::Audit), &[("before", &id)]));
    let hashes = entries.iter().filter_map(|entry| entry.object.parse::<KeyHash>().ok());
    let aliases = hashes.filter_map(|hash| {
        let (key, _) = keys.copy_of(&hash)?;
        Some((hash.as_str().to_owned(), key.label().to_owned()))
    });
    let aliases = aliases.collect();
    let data = AuditData {
        entries,
        total: total.min(counted),
        is_total_exact: total <= counted,
        newer: Some(newer).filter(|newer| *newer <= counted),
        errors,
    };
    let page = AuditPage { ui, query, data, older, aliases };
    Ok(page.respond(StatusCode::OK))
}

/// Hashes of keys with a text in their alias, which the table shows in their place.
fn named_so(keys: &Keys, text: Option<&str>) -> Vec<String> {
    let Some(text) = text else { return Vec::new() };
    let view = keys.cached();
    let text = text.to_lowercase();
    let filter = KeyFilter { text: &text, ..KeyFilter::default() };
    let found = view.keys.find(&filter, Order::Created, true);
    let named = found.iter().filter(|key| key.label().to_lowercase().contains(&text));
    named.take(ALIASES).map(|key| key.hash.as_str().to_owned()).collect()
}

/// What the address asks for, as far as whoever asks may see it.
fn filter(query: &Query, ui: &Ui) -> (Filter, FieldErrors) {
    let text = |name| Some(query.get(name).trim().to_owned()).filter(|text| !text.is_empty());
    let mut errors = FieldErrors::default();
    let mut time = |name, is_end| {
        let text = text(name)?;
        let time = time_of(&text, is_end);
        if time.is_none() {
            errors.add(name, "Use YYYY-MM-DD or YYYY-MM-DDThh:mm, in UTC.");
        }
        time
    };
    let (from, to) = (time("from", false), time("to", true));
    let filter = Filter {
        who: text("who"),
        what: text("what"),
        object: text("object"),
        objects: Vec::new(),
        outcome: text("outcome"),
        from,
        to,
        logins_of: ui.own_name().filter(|_| !ui.may_admin()),
        // A script gets all of what it may see, and so does who asks for one kind.
        without_logins: ui.wants != Wants::Json && !query.has(&["logins", "what"]),
    };
    (filter, errors)
}

/// A day or a minute of UTC; as an end, the whole of it counts.
pub(super) fn time_of(text: &str, is_end: bool) -> Option<Timestamp> {
    let (at, length) = match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => (date.at(0, 0, 0, 0), Span::new().days(1)),
        _ => (text.trim_end_matches('Z').replace(' ', "T").parse::<DateTime>().ok()?, Span::new().minutes(1)),
    };
    let at = if is_end { at.checked_add(length).ok()? } else { at };
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[derive(Template)]
#[template(path = "audit/show.html", blocks = ["content"])]
struct EntryPage {
    ui: Ui,
    data: EntryData,
    difference: Difference,
}

#[derive(Serialize)]
struct EntryData {
    entry: Entry,
}

page!(EntryPage, EntryData, as_content);

async fn show(
    State(audit): State<Audit>,
    ui: Ui,
    route::AuditEntry(id): route::AuditEntry,
) -> Result<Response, Problem> {
    let entry = audit.entry(id).await?;
    let is_for = |entry: &Entry| {
        ui.may_admin() || !Action::is_of_logins(&entry.action) || Some(&entry.actor) == ui.own_name().as_ref()
    };
    // What is not for them might as well not be there.
    let entry = entry.filter(is_for).ok_or_else(|| Problem::not_found("The entry"))?;
    let text = |side: &Option<String>| side.clone().unwrap_or_default();
    let difference = Difference::of(&text(&entry.before), &text(&entry.after));
    Ok(EntryPage { ui, data: EntryData { entry }, difference }.respond(StatusCode::OK))
}

pub(crate) fn tone(outcome: &str) -> &'static str {
    match outcome {
        "ok" | "proven" | "verified" => "good",
        "accepted" | "rolled-back" | "unknown" => "warn",
        "refused" | "failed" => "bad",
        _ => "plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_taken_whole_and_a_minute_too() {
        let time = |text, is_end| time_of(text, is_end).map(|time| time.to_string());
        assert_eq!(time("2026-11-22", false).unwrap(), "2026-11-22T00:00:00Z");
        assert_eq!(time("2026-11-22", true).unwrap(), "2026-11-23T00:00:00Z");
        assert_eq!(time("2026-11-22T10:30", false).unwrap(), "2026-11-22T10:30:00Z");
        assert_eq!(time("2026-11-22 10:30", true).unwrap(), "2026-11-22T10:31:00Z");
        assert_eq!(time("2026-11-22T10:30:05Z", false).unwrap(), "2026-11-22T10:30:05Z");
        for wrong in ["yesterday", "2026-13-01", "", "2026-11-22T25:00", "9999-12-31"] {
            assert_eq!(time(wrong, true), None, "{wrong}");
        }
    }
}
