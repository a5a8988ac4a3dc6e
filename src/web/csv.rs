//! Tables for spreadsheets, and other downloads. They are made while they are sent, and their number is bounded, since each
//! keeps a copy of what it is made from.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use tower::BoxError;

use crate::web::errors::Problem;
use crate::web::ui::Ui;

/// Most downloads at once, and of one user.
const MAX: usize = 8;
const MAX_PER_USER: usize = 4;

/// A download that takes longer is cut off.
const MAX_TIME: Duration = Duration::from_mins(10);

/// Who is downloading.
static READERS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn readers() -> MutexGuard<'static, Vec<String>> {
    READERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one download.
pub(super) struct Reader(String);

impl Reader {
    pub(super) fn join(ui: &Ui) -> Result<Self, Problem> {
        let name = ui.owner().unwrap_or_default();
        let mut readers = readers();
        let own = readers.iter().filter(|reader| **reader == name).count();
        if readers.len() >= MAX || own >= MAX_PER_USER {
            return Err(Problem::busy("too many downloads are running already"));
        }
        readers.push(name.clone());
        Ok(Self(name))
    }

    /// Sends a file as it is made.
    pub(super) fn send<E: Into<BoxError>>(
        self,
        kind: &'static str,
        name: &str,
        parts: impl Stream<Item = Result<String, E>> + Send + 'static,
    ) -> Response {
        let until = Instant::now() + MAX_TIME;
        let parts = parts.map(move |part| {
            // Held until the last part is sent, or the client has gone.
            let Self(name) = &self;
            if Instant::now() > until {
                return Err(BoxError::from(format!("a download of {name} took too long")));
            }
            part.map_err(Into::into)
        });
        let headers = [
            (header::CONTENT_TYPE, kind.to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ];
        (headers, Body::from_stream(parts)).into_response()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = readers();
        if let Some(at) = readers.iter().position(|reader| *reader == self.0) {
            readers.swap_remove(at);
        }
    }
}

pub(super) const CSV: &str = "text/csv; charset=utf-8";

pub(super) fn line(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| escaped(&field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// What begins a formula, also in the wide forms that some spreadsheets take for the same.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A field that a spreadsheet would take for a formula gets an apostrophe in front. In some countries fields end at a
/// semicolon or a tab as well: what stands behind one must not become a field of its own.
fn escaped(field: &str) -> String {
    // A terminal takes some of these for commands.
    let is_shown = |c: &char| !c.is_control() || ['\t', '\n', '\r'].contains(c);
    let field: String = field.chars().filter(is_shown).collect();
    let is_formula = field.trim_start().starts_with(SIGNS) || field.starts_with(['\t', '\r']);
    let field = if is_formula { format!("'{field}") } else { field };
    let needs_quotes = field.contains([',', ';', '\t', '"', '\n', '\r']);
    if needs_quotes { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_separators_are_harmless() {
        for (field, written) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            (" @SUM(A1)", "' @SUM(A1)"),
            ("\t=x", "\"'\t=x\""),
            ("＝1+1", "'＝1+1"),
            ("a;=1+1", "\"a;=1+1\""),
            ("a,b", "\"a,b\""),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("-\"x\"\n", "\"'-\"\"x\"\"\n\""),
        ] {
            assert_eq!(escaped(field), written);
        }
    }
}
