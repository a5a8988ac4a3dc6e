//! Imports point down only. The map is in the documentation of `src/lib.rs`. The compiler keeps the crates below
//! `crates/` apart; this test does the same for the layers of the dashboard.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and what of the crate it may use.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("domain", &["domain"]),
    ("clients", &["clients", "domain", "telemetry"]),
    ("store", &["store", "domain"]),
    (
        "services",
        &["services", "clients", "store", "domain", "telemetry", "config::dotenv", "config::agents"],
    ),
    ("config", &["config", "domain"]),
    ("telemetry", &[]),
    ("web", &["web", "services", "clients", "store", "config", "domain", "telemetry"]),
    ("app", &["web", "services", "clients", "store", "config", "domain", "telemetry"]),
    ("main", &["demo", "cli"]),
    ("cli", &["cli"]),
    ("demo", &[]),
];

/// Crates that a layer may not touch.
const MAY_NOT_TOUCH: [(&str, &[&str]); 4] = [
    ("domain", &["axum", "reqwest", "sqlx", "tokio", "askama", "tower"]),
    ("clients", &["axum", "sqlx", "askama"]),
    ("store", &["axum", "reqwest", "askama"]),
    ("services", &["axum", "askama", "sqlx", "tower_sessions"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The paths after `needle` in a file's code, comments left out.
fn mentions(text: &str, needle: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    code.flat_map(|line| {
        line.match_indices(needle).map(|(at, found)| (line, at + found.len())).collect::<Vec<_>>()
    })
    .map(|(line, at)| line[at..].chars().take_while(|c| is_part(*c)).collect())
    .collect()
}

fn is_below(path: &str, allowed: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The chains of `super::` that leave the layer. `depth` is 1 for a layer's own file, 2 for one below it; a module
/// inside a file adds one.
fn escapes(text: &str, depth: usize) -> Vec<String> {
    let mut inner = 0;
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        inner += usize::from(code.trim_start().starts_with("mod ") && code.trim_end().ends_with('{'));
        let up = code.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':')));
        let escaping =
            |path: &&str| path.matches("super").count() >= depth + inner && path.starts_with("super");
        found.extend(up.filter(escaping).map(str::to_owned));
    }
    found
}

fn wrong_in(layer: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{layer} is no layer: add it to the map")];
    };
    let mut wrong: Vec<String> = mentions(text, "crate::")
        .into_iter()
        // An empty path is a group, `crate::{…}`: the check reads single paths only.
        .filter(|path| !allowed.iter().any(|allowed| is_below(path, allowed)))
        .map(|path| format!("{layer} uses crate::{path}"))
        .collect();
    for touched in MAY_NOT_TOUCH.iter().filter(|(name, _)| *name == layer).flat_map(|(_, crates)| *crates) {
        if !mentions(text, &format!("use {touched}")).is_empty()
            || !mentions(text, &format!(" {touched}::")).is_empty()
        {
            wrong.push(format!("{layer} touches {touched}"));
        }
    }
    wrong
}

#[test]
fn imports_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let wrong: Vec<String> = files
        .iter()
        .filter(|path| !path.ends_with("src/lib.rs"))
        .flat_map(|path| {
            let below = path.strip_prefix(&src).unwrap();
            let layer = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(path).unwrap();
            let mut wrong = wrong_in(&layer, &text);
            wrong.extend(
                escapes(&text, below.iter().count()).iter().map(|path| format!("{layer} uses {path}")),
            );
            wrong.into_iter().map(move |what| format!("{}: {what}", below.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_check_finds_what_it_looks_for() {
    assert_eq!(wrong_in("domain", "use crate::web::ui;"), ["domain uses crate::web::ui"]);
    assert_eq!(wrong_in("domain", "fn f(x: crate::store::Store) {}"), ["domain uses crate::store::Store"]);
    assert_eq!(wrong_in("domain", "use reqwest::Url;"), ["domain touches reqwest"]);
    assert!(wrong_in("clients", "use crate::domain::key::hex; // crate::web::x").is_empty());
    assert!(!wrong_in("clients", "use crate::{web, domain};").is_empty());
    assert_eq!(escapes("use super::super::web::ui;", 2), ["super::super::web::ui"]);
    assert_eq!(escapes("use super::web;", 1), ["super::web"]);
    assert!(escapes("use super::other;\nmod tests {\n    use super::super::other;\n}", 2).is_empty());
    assert!(!wrong_in("helpers", "").is_empty());
}
