//! Turns an answer into text that is the same on every run and reads well in a diff.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;
use scraper::{ElementRef, Html, Node};
use serde_json::Value;

/// Longest line that one element with its attributes may take.
const MAX_LINE: usize = 110;

/// What differs between two runs, and what is written instead.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\bpatchbay\.[0-9a-f]{32}\b", "patchbay.<id>"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
        (r"\b(127\.0\.0\.1|localhost):\d{4,5}\b", "$1:<port>"),
        (r"127\.0\.0\.1%3A\d{4,5}\b", "127.0.0.1%3A<port>"),
        (r"\bsk-[A-Za-z0-9_-]{20,}", "sk-<secret>"),
        (r"\bpb_[0-9a-f]{64}\b", "pb_<secret>"),
        (r"\bsk-\.\.\.[A-Za-z0-9_-]{4}", "sk-...<end>"),
        (r"(/static/[^?]+)\?v=[^\x22]+", "$1?v=<version>"),
        (r"(/static/)[0-9a-f]{8,}/", "$1<version>/"),
        (r"\b[0-9a-f]{64}\b", "<hash>"),
        (r"\b\d+(\.\d+)? ms\b", "<n> ms"),
        (r"(\x22(elapsed_)?ms\x22: )[0-9.e-]+", "$1<n>"),
        (r"data-seen=\x22\d+\x22", "data-seen=\"<n>\""),
        // Which of several answers came first.
        (r"\n *<span class=\x22badge accent\x22> first\b", ""),
    ]
    .map(|(pattern, instead)| (Regex::new(pattern).unwrap(), instead))
    .into()
});

pub(super) fn without_varying(text: &str) -> String {
    VARYING
        .iter()
        .fold(text.to_owned(), |text, (pattern, instead)| pattern.replace_all(&text, *instead).into_owned())
}

/// A page in two parts: the title and `main`, and all that stands around it.
pub(super) struct Parts {
    pub(super) shell: String,
    pub(super) main: String,
}

pub(super) fn page(html: &str) -> Parts {
    let (mut shell, mut main) = (String::new(), String::new());
    element(Html::parse_document(html).root_element(), 0, &mut shell, &mut Some(&mut main));
    Parts { shell: without_varying(&shell), main: without_varying(&main) }
}

pub(super) fn fragment(html: &str) -> String {
    let mut text = String::new();
    element(Html::parse_fragment(html).root_element(), 0, &mut text, &mut None);
    without_varying(&text)
}

pub(super) fn json(value: &Value) -> String {
    without_varying(&format!("{value:#}\n"))
}

/// Lines that one text has and the other has not; where most differ, those of the second alone.
pub(super) fn difference(before: &str, after: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
    let is_another = old.intersection(&new).count() * 2 < old.len();
    let gone =
        before.lines().filter(|line| !is_another && !new.contains(line)).map(|line| format!("-{line}\n"));
    let come = after.lines().filter(|line| !old.contains(line)).map(|line| format!("+{line}\n"));
    gone.chain(come).collect()
}

/// Writes an element, one in a line, with what is in it below. `main` takes what is in the page's main part.
fn element(found: ElementRef<'_>, depth: usize, out: &mut String, main: &mut Option<&mut String>) {
    let name = found.value().name();
    if name == "main"
        && let Some(main) = main.take()
    {
        let _ = writeln!(out, "{}<main> ...", " ".repeat(depth));
        return element(found, 0, main, &mut None);
    }
    let indent = " ".repeat(depth);
    if name == "svg" && found.value().classes().any(|class| class == "icon") {
        let shapes = found.children().filter_map(ElementRef::wrap).filter_map(|shape| shape.attr("d"));
        let _ = writeln!(out, "{indent}<svg.icon> {:.24}", shapes.collect::<String>());
        return;
    }
    let mut attributes: Vec<_> = found.value().attrs().collect();
    attributes.sort_unstable();
    let shown: Vec<String> = attributes
        .iter()
        .map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value:?}") })
        .collect();
    let width: usize = shown.iter().map(|shown| shown.len() + 1).sum();
    let between =
        if depth + name.len() + width < MAX_LINE { " ".to_owned() } else { format!("\n{indent}  ") };
    let shown: String = shown.iter().flat_map(|shown| [between.as_str(), shown.as_str()]).collect();
    let children: Vec<_> = found.children().filter(|child| !is_blank(child.value())).collect();
    let _ = write!(out, "{indent}<{name}{shown}>");
    if let [only] = &*children
        && let Node::Text(text) = only.value()
    {
        let text = folded(text);
        let is_short = depth + name.len() + shown.len() + text.len() < MAX_LINE;
        let before = if is_short { String::new() } else { format!("\n{indent}") };
        let _ = writeln!(out, "{before} {text}");
        return;
    }
    out.push('\n');
    for child in children {
        match (ElementRef::wrap(child), child.value()) {
            (Some(found), _) => element(found, depth + 1, out, main),
            (None, Node::Text(text)) => {
                let _ = writeln!(out, "{indent} {}", folded(text));
            }
            _ => {}
        }
    }
}

fn is_blank(node: &Node) -> bool {
    match node {
        Node::Text(text) => text.trim().is_empty(),
        Node::Element(_) => false,
        _ => true,
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
