//! Texts are in plain English: the words of `tests/words.txt` are in no template and in no sentence of the program.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The string literals of Rust code that are sentences: addresses and names of commands have no blanks. Comments and
/// tests are left out.
fn sentences(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find('"') {
        let is_char = rest[..start].ends_with('\'');
        rest = &rest[start + 1..];
        if is_char {
            continue;
        }
        let mut end = 0;
        let bytes = rest.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let literal = rest.get(..end).unwrap_or_default();
        if literal.contains(' ') {
            found.push(literal.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

/// Whether a phrase stands in a text as words of its own.
fn has(text: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(phrase).any(|(at, _)| {
        !is_word(text[..at].chars().next_back()) && !is_word(text[at + phrase.len()..].chars().next())
    })
}

#[test]
fn no_text_uses_a_word_of_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/words.txt")).unwrap();
    let phrases: Vec<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(" => ").next().unwrap().trim())
        .collect();
    assert!(phrases.len() > 10, "the list is there");
    let mut found = Vec::new();
    let mut check = |path: &Path, text: &str| {
        let text = text.to_lowercase();
        for phrase in phrases.iter().filter(|phrase| has(&text, phrase)) {
            found.push(format!("{}: {phrase}", path.strip_prefix(root).unwrap().display()));
        }
    };
    for path in files(&root.join("templates"), ".html") {
        let text = fs::read_to_string(&path).unwrap();
        check(&path, &text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    for path in files(&root.join("src"), ".rs") {
        for sentence in sentences(&fs::read_to_string(&path).unwrap()) {
            check(&path, &sentence);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_check_finds_words_in_sentences_alone() {
    let code = "// whoever\nlet a = \"whoever\"; let b = \"Ask whoever \\\"owns\\\" it\"; let c = '\"';\n#[cfg(test)] \"x nobody\"";
    assert_eq!(sentences(code), ["Ask whoever \\\"owns\\\" it"]);
    assert!(has("ask whoever owns it", "whoever"));
    assert!(!has("keyrelaxed", "relaxed"));
}
