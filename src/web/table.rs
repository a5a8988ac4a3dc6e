//! Search, filters, sort and page of a table, all in the address.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::response::Redirect;
use serde::Serialize;
use tower_sessions::Session;
use url::form_urlencoded;

use crate::web::paths::with_query;
use crate::web::ui::Flash;

pub(super) const SIZES: [usize; 3] = [50, 100, 200];

/// Longest value of a parameter, in bytes: names of models have been seen with 4 KB.
const MAX_VALUE: usize = 8 * 1024;

/// Shortest value of a key, in bytes; masked ones have dots.
const MIN_KEY: usize = 12;

pub(super) const FRESH: (&str, &str) = ("fresh", "yes");

/// A table's parameters; what is unknown, empty or too long is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    values: BTreeMap<String, String>,
    is_fresh: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Redirect;

    /// An address with a key's value in it leads to the same page without that.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Redirect> {
        let mut query = Self::parse(parts.uri.query().unwrap_or_default());
        let all = query.values.len();
        query.values.retain(|_, value| !has_key(value));
        if query.values.len() == all {
            return Ok(query);
        }
        if let Some(session) = parts.extensions.get::<Session>() {
            Flash::set(session, "The address had a key's value in it, which was taken out. Find a key by its value on the Keys page.")
                .await;
        }
        let path =
            parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |original| original.0.path());
        Err(Redirect::to(&query.link(path, &[])))
    }
}

/// Whether a text has the value of a virtual key in it, as LiteLLM makes them.
fn has_key(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(|c: char| !is_part(c)).any(|word| word.len() >= MIN_KEY && word.starts_with("sk-"))
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let mut is_fresh = false;
        let values = pairs
            .take(50)
            // Not among the values: where the page leads from here need not be waited for.
            .filter(|pair| {
                let is_that = pair.0 == FRESH.0 && pair.1 == FRESH.1;
                is_fresh |= is_that;
                !is_that
            })
            // What a person types is taken without the blanks around it; a name from a link may have some.
            .map(|(name, value)| {
                let value = if name == "q" { value.trim().to_owned() } else { value.into_owned() };
                (name.into_owned(), value)
            })
            .filter(|(name, value)| name.len() <= 30 && !value.is_empty() && value.len() <= MAX_VALUE)
            .collect();
        Self { values, is_fresh }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// A parameter; empty where it is not given.
    pub(super) fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| !self.get(name).is_empty())
    }

    /// The rows a page; an unknown number counts as the least.
    pub(super) fn size(&self) -> usize {
        self.get("size").parse().ok().filter(|size| SIZES.contains(size)).unwrap_or(SIZES[0])
    }

    /// The column to sort by, if it is one of `columns`, and whether downwards.
    pub(super) fn sort<'a>(&self, columns: &[&'a str], default: (&'a str, bool)) -> (&'a str, bool) {
        match columns.iter().find(|column| **column == self.get("sort")) {
            Some(column) => (column, self.get("dir") == "desc"),
            None => default,
        }
    }

    /// The address with some parameters changed; an empty value takes one out.
    pub(super) fn link(&self, path: &str, changes: &[(&str, &str)]) -> String {
        let mut values = self.values.clone();
        for (name, value) in changes {
            if value.is_empty() {
                values.remove(*name);
            } else {
                values.insert((*name).to_owned(), (*value).to_owned());
            }
        }
        with_query(path, values)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) label: &'static str,
    pub(super) class: &'static str,
    /// Where a click leads; empty where the column cannot be sorted.
    pub(super) href: String,
    /// For `aria-sort`.
    pub(super) order: &'static str,
}

/// Headings: name in the address (empty where it cannot be sorted), label, class, downwards at first.
pub(super) fn columns(
    query: &Query,
    path: &str,
    sorted: (&str, bool),
    of: &[(&str, &'static str, &'static str, bool)],
) -> Vec<Column> {
    of.iter()
        .map(|&(name, label, class, downwards_first)| {
            let is_current = !name.is_empty() && sorted.0 == name;
            let downwards = if is_current { !sorted.1 } else { downwards_first };
            let changes = [("sort", name), ("dir", if downwards { "desc" } else { "asc" }), ("page", "")];
            Column {
                label,
                class,
                href: if name.is_empty() { String::new() } else { query.link(path, &changes) },
                order: match (is_current, sorted.1) {
                    (false, _) => "none",
                    (true, false) => "ascending",
                    (true, true) => "descending",
                },
            }
        })
        .collect()
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Pager {
    /// From 1.
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) size: usize,
    pub(super) total: usize,
    #[serde(skip)]
    pub(super) previous: Option<String>,
    #[serde(skip)]
    pub(super) next: Option<String>,
}

impl Pager {
    /// Cuts `rows` to the page that is asked for; beyond the last one it is the last.
    pub(super) fn cut<T>(query: &Query, path: &str, rows: Vec<T>) -> (Self, Vec<T>) {
        let (pager, shown) = Self::of(query, path, rows.len());
        (pager, rows.into_iter().skip(shown.start).take(shown.len()).collect())
    }

    /// The page that the query asks for of `total` rows, and which of them are on it.
    pub(super) fn of(query: &Query, path: &str, total: usize) -> (Self, Range<usize>) {
        Self::of_size(query, path, total, query.size())
    }

    /// The same with pages of `size` rows.
    pub(super) fn of_size(query: &Query, path: &str, total: usize, size: usize) -> (Self, Range<usize>) {
        let pages = total.div_ceil(size).max(1);
        let page = query.get("page").parse().unwrap_or(1).clamp(1, pages);
        let start = (page - 1) * size;
        let link = |page: usize| query.link(path, &[("page", &page.to_string())]);
        let previous = (page > 1).then(|| link(page - 1));
        let next = (page < pages).then(|| link(page + 1));
        (Self { page, pages, size, total, previous, next }, start..total.min(start + size))
    }

    /// Number of the first row shown, from 1; 0 for an empty table.
    pub(super) fn first(&self) -> usize {
        if self.total == 0 { 0 } else { (self.page - 1) * self.size + 1 }
    }

    pub(super) fn last(&self) -> usize {
        (self.page * self.size).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query {
            values: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            is_fresh: false,
        }
    }

    #[test]
    fn a_page_beyond_the_end_is_the_last_one() {
        let (pager, rows) = Pager::cut(&query(&[("page", "99"), ("q", "a b")]), "/m", (0..120).collect());
        assert_eq!((pager.page, pager.first(), pager.last()), (3, 101, 120));
        assert_eq!(rows, (100..120).collect::<Vec<_>>());
        assert_eq!(pager.previous.as_deref(), Some("/m?page=2&q=a+b"));
        assert_eq!(pager.next, None);
        let (pager, rows) = Pager::cut(&query(&[("page", "-1"), ("size", "7")]), "/m", Vec::<u8>::new());
        assert_eq!((pager.page, pager.size, pager.first(), rows.len()), (1, 50, 0, 0));
    }

    #[test]
    fn a_heading_turns_the_order_around() {
        let query = query(&[("sort", "name"), ("page", "3")]);
        let sorted = query.sort(&["name", "price"], ("name", false));
        let columns =
            columns(&query, "/m", sorted, &[("name", "Name", "", false), ("price", "Price", "", true)]);
        assert_eq!((columns[0].order, columns[0].href.as_str()), ("ascending", "/m?dir=desc&sort=name"));
        assert_eq!((columns[1].order, columns[1].href.as_str()), ("none", "/m?dir=desc&sort=price"));
    }
}
