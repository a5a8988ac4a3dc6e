//! Reads a `.env` file: `NAME=value` lines.
//!
//! Written here: dotenvy refuses unquoted values with blanks, which people write and `docker compose` takes,
//! and its successors are weeks old.

use std::collections::HashMap;
use std::path::Path;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The file's variables; none where there is no such file. Later lines win.
///
/// # Errors
/// Where the file is there and cannot be read.
pub fn read(path: &Path) -> std::io::Result<HashMap<String, String>> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_BYTES => {
            Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 1 MiB"))
        }
        Ok(_) => Ok(parse(&std::fs::read_to_string(path)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

/// The variables in the text of such a file. Lines that are no assignment are passed over.
#[must_use]
pub fn parse(text: &str) -> HashMap<String, String> {
    text.trim_start_matches('\u{feff}').lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name.to_owned(), unquote(value.trim())))
}

/// Without quotes a value ends before ` #`; in double quotes a backslash escapes.
fn unquote(value: &str) -> String {
    if let Some(rest) = value.strip_prefix('\'')
        && let Some((inside, _)) = rest.split_once('\'')
    {
        return inside.to_owned();
    }
    if let Some(rest) = value.strip_prefix('"')
        && let Some(inside) = double_quoted(rest)
    {
        return inside;
    }
    if value.starts_with('#') {
        return String::new();
    }
    value.split_once(" #").map_or(value, |(before, _)| before).trim_end().to_owned()
}

fn double_quoted(rest: &str) -> Option<String> {
    let mut inside = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(inside),
            '\\' => match chars.next()? {
                'n' => inside.push('\n'),
                't' => inside.push('\t'),
                other => inside.push(other),
            },
            plain => inside.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let text = "# comment\nA=1\nexport B = two words # note\nC='x # y'\nD=\"a\\\"b\\nc\" # z\nE=\nF=a=b\n\
                    not a line\n1X=no\nG=\"open\nA=2\n";
        let read = parse(text);
        let expected = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "x # y"),
            ("D", "a\"b\nc"),
            ("E", ""),
            ("F", "a=b"),
            ("G", "\"open"),
        ];
        assert_eq!(read.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn a_missing_file_holds_nothing() {
        assert!(read(Path::new("/nonexistent/.env")).unwrap().is_empty());
    }
}
