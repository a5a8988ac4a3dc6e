//! Reads and edits files of `NAME=value` lines. An edit changes the values of one name and no other byte.
//!
//! dotenvy rejects unquoted values with blanks, which `docker compose` accepts, and cannot edit.

use std::collections::HashMap;
use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0:?} is no name of a variable")]
    Name(String),
    #[error("the value of {0} holds control characters")]
    Value(String),
    #[error("{0} cannot be written without changing how other lines are read")]
    Ambiguous(String),
}

struct Assignment {
    name: String,
    range: Range<usize>,
    value: Vec<u8>,
}

/// The variables of a file; later lines win, and lines that are no assignment are ignored.
pub fn parse(file: &[u8]) -> HashMap<String, String> {
    pairs(file).into_iter().collect()
}

/// All assignments in their order.
pub fn pairs(file: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assignments(file).into_iter().map(|found| (found.name, text(found.value))).collect()
}

/// The variables whose values refer to others, as `${OTHER}` or `$OTHER`: nothing expands them. Single quotes say that
/// the text is meant.
pub fn unexpanded(file: &[u8]) -> Vec<String> {
    let is_quoted =
        |found: &Assignment| file.get(found.range.start) == Some(&b'\'') && !found.range.is_empty();
    let refers = |value: &[u8]| {
        let braced = value.windows(2).enumerate().filter(|(_, pair)| pair == b"${").any(|(at, _)| {
            let rest = &value[at + 2..];
            let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
            end.is_some_and(|end| is_name(&rest[..end]) && b"}:-?+=".contains(&rest[end]))
        });
        braced || value.strip_prefix(b"$").is_some_and(is_name)
    };
    let mut names: Vec<String> = Vec::new();
    for found in assignments(file).into_iter().filter(|found| !is_quoted(found) && refers(&found.value)) {
        if !names.contains(&found.name) {
            names.push(found.name);
        }
    }
    names
}

/// Sets `name` to `value` in all its assignments, since readers differ on which one counts, or on a new line at the
/// end. Fails if the value would be read differently, or another variable would.
pub fn set(file: &[u8], name: &str, value: &str) -> Result<Vec<u8>, EditError> {
    if !is_name(name.as_bytes()) {
        return Err(EditError::Name(name.to_owned()));
    }
    if value.chars().any(char::is_control) {
        return Err(EditError::Value(name.to_owned()));
    }
    let before = assignments(file);
    let is_there = before.iter().any(|found| found.name == name);
    let mut expected: Vec<(&str, &[u8])> = before
        .iter()
        .map(|found| (&*found.name, if found.name == name { value.as_bytes() } else { &*found.value }))
        .collect();
    if !is_there {
        expected.push((name, value.as_bytes()));
    }
    let is_right = |edited: &[u8]| {
        let after = assignments(edited);
        after.len() == expected.len()
            && after
                .iter()
                .zip(&expected)
                .all(|(found, (name, value))| found.name == *name && found.value == *value)
    };
    let styles = [Style::Kept, Style::Plain, Style::Single, Style::Double];
    let tries = styles.into_iter().flat_map(|style| [(style, ""), (style, " ")]);
    tries
        .filter_map(|(style, after)| {
            if is_there {
                replaced(file, &before, name, value, style, after)
            } else {
                appended(file, name, value, style)
            }
        })
        .find(|edited| is_right(edited))
        .ok_or_else(|| EditError::Ambiguous(name.to_owned()))
}

#[derive(Clone, Copy)]
enum Style {
    Kept,
    Plain,
    Single,
    Double,
}

fn replaced(
    file: &[u8],
    all: &[Assignment],
    name: &str,
    value: &str,
    style: Style,
    after: &str,
) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(file.len() + value.len());
    let mut done = 0;
    for found in all.iter().filter(|found| found.name == name) {
        edited.extend_from_slice(&file[done..found.range.start]);
        done = found.range.end;
        if found.value == value.as_bytes() {
            edited.extend_from_slice(&file[found.range.clone()]);
            continue;
        }
        let style = match (style, file.get(found.range.start)) {
            (Style::Kept, Some(b'\'')) if !found.range.is_empty() => Style::Single,
            (Style::Kept, Some(b'"')) if !found.range.is_empty() => Style::Double,
            (Style::Kept, _) => Style::Plain,
            (style, _) => style,
        };
        edited.extend_from_slice(written(value, style)?.as_bytes());
        edited.extend_from_slice(after.as_bytes());
    }
    edited.extend_from_slice(&file[done..]);
    Some(edited)
}

fn appended(file: &[u8], name: &str, value: &str, style: Style) -> Option<Vec<u8>> {
    let style = if matches!(style, Style::Kept) { Style::Plain } else { style };
    let end: &[u8] = if file.windows(2).any(|pair| pair == b"\r\n") { b"\r\n" } else { b"\n" };
    let mut edited = file.to_vec();
    if !file.is_empty() && !file.ends_with(b"\n") {
        edited.extend_from_slice(end);
    }
    edited.extend_from_slice(format!("{name}={}", written(value, style)?).as_bytes());
    edited.extend_from_slice(end);
    Some(edited)
}

/// None if the style cannot represent the value.
fn written(value: &str, style: Style) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\'' | '"' | '#' | '\\' | '$' | '`');
    match style {
        Style::Plain | Style::Kept => value.chars().all(is_plain).then(|| value.to_owned()),
        Style::Single => (!value.contains('\'')).then(|| format!("'{value}'")),
        Style::Double => Some(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

fn assignments(file: &[u8]) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut at = if file.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while at < file.len() {
        let end = end_of_line(file, at);
        match assignment(file, at..end) {
            Some(assignment) => {
                // A quoted value may span lines.
                at = end_of_line(file, assignment.range.end) + 1;
                found.push(assignment);
            }
            None => at = end + 1,
        }
    }
    found
}

fn end_of_line(file: &[u8], from: usize) -> usize {
    file[from..].iter().position(|byte| *byte == b'\n').map_or(file.len(), |at| from + at)
}

fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn assignment(file: &[u8], line: Range<usize>) -> Option<Assignment> {
    let text = &file[line.clone()];
    let rest = text.trim_ascii_start();
    let exported =
        rest.strip_prefix(b"export").filter(|rest| rest.starts_with(b" ") || rest.starts_with(b"\t"));
    let rest = exported.unwrap_or(rest);
    let equals = rest.iter().position(|byte| *byte == b'=')?;
    let name = rest[..equals].trim_ascii();
    if !is_name(name) {
        return None;
    }
    let raw = &rest[equals + 1..];
    let start = line.end - raw.trim_ascii_start().len();
    let raw = raw.trim_ascii();
    let name = String::from_utf8_lossy(name).into_owned();
    if let Some((range, value)) = quoted(file, start, line.end) {
        return Some(Assignment { name, range, value });
    }
    // Without quotes a value ends before a comment.
    let is_comment = |at: &usize| raw[*at] == b'#' && (*at == 0 || raw[at - 1].is_ascii_whitespace());
    let end = (0..raw.len()).find(is_comment).unwrap_or(raw.len());
    let value = raw[..end].trim_ascii_end();
    // The range of an empty value is right after the equals sign.
    let start = if value.is_empty() { line.end - (rest.len() - equals - 1) } else { start };
    Some(Assignment { name, range: start..start + value.len(), value: value.to_vec() })
}

/// The quoted value that begins at `start`. It may end on a later line that has nothing else but a comment; otherwise
/// the quote is a part of the value.
fn quoted(file: &[u8], start: usize, end_of_first: usize) -> Option<(Range<usize>, Vec<u8>)> {
    let quote = *file.get(start).filter(|byte| matches!(byte, b'\'' | b'"'))?;
    let mut value = Vec::new();
    let mut at = start + 1;
    loop {
        match *file.get(at)? {
            byte if byte == quote => break,
            b'\\' if quote == b'"' => {
                at += 1;
                value.push(match *file.get(at)? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => other,
                });
            }
            byte => value.push(byte),
        }
        at += 1;
    }
    let rest = file[at + 1..end_of_line(file, at + 1)].trim_ascii();
    let ends_well = at < end_of_first || rest.is_empty() || rest.starts_with(b"#");
    ends_well.then_some((start..at + 1, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_quotes_comments_and_blanks() {
        let text = "\u{feff}# comment\nA=1\nexport B = two words # note\nC='x # y'\nD=\"a\\\"b\\nc\" # z\nE=\nF=a=b\n\
                    not a line\n1X=no\nG=\"open\nA=2\nH='two\nI=lines' # one value\nJ=#none\nK= # none\nL=a#b\n";
        let read = parse(text.as_bytes());
        let expected = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "x # y"),
            ("D", "a\"b\nc"),
            ("E", ""),
            ("F", "a=b"),
            ("G", "\"open"),
            ("H", "two\nI=lines"),
            ("J", ""),
            ("K", ""),
            ("L", "a#b"),
        ];
        assert_eq!(read.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn reads_names_after_export_and_any_blank() {
        for text in ["export\tA=1", "export \t A\t=\t1", "\texport A=1", "A=1"] {
            assert_eq!(pairs(text.as_bytes()), [("A".to_owned(), "1".to_owned())], "{text:?}");
        }
        assert_eq!(pairs(b"exportA=1")[0].0, "exportA");
        assert_eq!(set(b"export\tA=1", "A", "2").unwrap(), b"export\tA=2");
    }

    #[test]
    fn finds_references_to_other_variables() {
        let text = "A=${B}\nC=x-${D:-y}\nE=\"${F}\"\nG=$H\nA=${B}\nI='${J}'\nK=pa$$word\nL=${}\nM=a$b\nN=${1}\n\
                    O=${\nP=$\n# ${Q}\nR=${S\n";
        assert_eq!(unexpanded(text.as_bytes()), ["A", "C", "E", "G"]);
    }

    #[test]
    fn replaces_value_in_place() {
        for (before, after) in [
            ("K=sk-proxy-default # by bootstrap\nL=1\n", "K=sk-new # by bootstrap\nL=1\n"),
            ("export K = \"x\"\r\nL=1", "export K = \"sk-new\"\r\nL=1"),
            ("K='x'\n", "K='sk-new'\n"),
            ("#K=1\nK=#c\n", "#K=1\nK=sk-new #c\n"),
            ("K= # c\n", "K=sk-new # c\n"),
            ("K=\nK=2\n", "K=sk-new\nK=sk-new\n"),
            ("L=1", "L=1\nK=sk-new\n"),
            ("L=1\r\n", "L=1\r\nK=sk-new\r\n"),
            ("", "K=sk-new\n"),
            ("L='a\nK=1\nb'\n", "L='a\nK=1\nb'\nK=sk-new\n"),
        ] {
            assert_eq!(String::from_utf8(set(before.as_bytes(), "K", "sk-new").unwrap()).unwrap(), after);
        }
        let kept = b"K=\"sk-new\" \xff\n";
        assert_eq!(set(kept, "K", "sk-new").unwrap(), kept);
    }

    #[test]
    fn rejects_invalid_names_and_values() {
        assert!(matches!(set(b"", "K", "a\nb"), Err(EditError::Value(_))));
        for name in ["", "1A", "A B", "A="] {
            assert!(matches!(set(b"", name, "x"), Err(EditError::Name(_))), "{name}");
        }
    }

    /// Usual and unusual lines.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![Just("K"), Just("L"), Just("OPENAI_API_KEY"), Just("export M"), Just(" N ")];
        let value = prop_oneof![
            "[ -~]{0,12}",
            "'[ -~]{0,6}'( #c)?",
            "\"[ -~]{0,6}\"( # c)?",
            Just("sk-proxy-default".to_owned()),
            "['\"][a-z]{0,3}",
            Just(String::new()),
        ];
        prop_oneof![
            4 => (name, value).prop_map(|(name, value)| format!("{name}={value}").into_bytes()),
            1 => "#[ -~]{0,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    fn file() -> impl Strategy<Value = Vec<u8>> {
        let end = prop_oneof![3 => Just("\n"), 2 => Just("\r\n"), 1 => Just("")];
        prop::collection::vec((line(), end), 0..8).prop_map(|lines| {
            lines.into_iter().flat_map(|(line, end)| [line, end.as_bytes().to_vec()].concat()).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn only_the_named_values_change(file in file(), value in "(sk-[A-Za-z0-9_-]{1,22}|[ -~é]{0,10})") {
            let Ok(edited) = set(&file, "K", &value) else { return Ok(()) };
            let (before, after) = (assignments(&file), assignments(&edited));
            let read = parse(&edited);
            prop_assert_eq!(read.get("K"), Some(&value));
            let others = |all: &[Assignment]| -> Vec<(String, Vec<u8>)> {
                all.iter().filter(|a| a.name != "K").map(|a| (a.name.clone(), a.value.clone())).collect()
            };
            prop_assert_eq!(others(&before), others(&after));
            // All other bytes are the same.
            let without = |bytes: &[u8], all: &[Assignment]| {
                let mut rest = Vec::new();
                let mut done = 0;
                for found in all.iter().filter(|found| found.name == "K") {
                    rest.push(bytes[done..found.range.start].to_vec());
                    done = found.range.end;
                }
                rest.push(bytes[done..].to_vec());
                rest
            };
            if before.iter().any(|found| found.name == "K") {
                let (before, after) = (without(&file, &before), without(&edited, &after));
                prop_assert_eq!(before.len(), after.len());
                // A blank before a comment may be added.
                let is_kept = |(before, after): (&Vec<u8>, &Vec<u8>)| {
                    before == after || after.strip_prefix(b" ") == Some(before)
                };
                // The range of an empty value is before its blanks.
                let is_same = before.concat() == after.concat();
                prop_assert!(is_same || before.iter().zip(&after).all(is_kept));
            } else {
                prop_assert!(edited.starts_with(&file));
            }
            prop_assert_eq!(set(&edited, "K", &value), Ok(edited));
        }

        #[test]
        fn a_key_fits_into_every_file(lines in prop::collection::vec("([A-Z]{1,3}=[a-z0-9 ]{0,8}|# [ -~]{0,8})", 0..8)) {
            let file = lines.join("\n");
            prop_assert!(set(file.as_bytes(), "OPENAI_API_KEY", "sk-abc_DEF-123").is_ok());
        }

        #[test]
        fn reading_never_fails(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = pairs(&bytes);
        }
    }
}
