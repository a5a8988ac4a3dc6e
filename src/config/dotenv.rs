//! Reads files of settings: `.env` files, and files that hold one secret or a list.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

use crate::domain::env_file;
use crate::domain::setup::DEFAULT_ENV_FILE;

const MAX_BYTES: u64 = 1024 * 1024;

/// Files with settings, the highest precedence first: `.env` in the working directory or beside the binary, then the
/// env file of the bootstrap.
pub fn files() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(".env")));
    let own = [Some(PathBuf::from(".env")), beside].into_iter().flatten().find(|path| path.is_file());
    let mut flags = std::env::args().skip_while(|arg| arg != "--env-file" && !arg.starts_with("--env-file="));
    let flag = flags.next().and_then(|flag| match flag.strip_prefix("--env-file=") {
        Some(path) => Some(path.to_owned()),
        None => flags.next(),
    });
    let in_own = || read(own.as_ref()?).ok()?.remove("PATCHBAY_ENV_FILE");
    let filled = |path: &String| !path.trim().is_empty();
    let named = flag.filter(filled).or_else(|| std::env::var("PATCHBAY_ENV_FILE").ok().filter(filled));
    let shared = named.or_else(|| in_own().filter(filled)).unwrap_or_else(|| DEFAULT_ENV_FILE.to_owned());
    own.into_iter().chain([PathBuf::from(shared)]).collect()
}

/// A variable's value, and where it comes from: the environment, else the first of [`files`] that has it.
pub fn find(name: &str) -> Option<(String, String)> {
    let filled = |value: &String| !value.trim().is_empty();
    if let Some(value) = std::env::var(name).ok().filter(filled) {
        return Some(("environment".to_owned(), value));
    }
    let in_file =
        |path: PathBuf| Some((path.display().to_string(), read(&path).ok()?.remove(name).filter(filled)?));
    files().into_iter().find_map(in_file)
}

/// The file's variables; none if there is no such file. Later lines win.
pub fn read(path: &Path) -> Result<HashMap<String, String>> {
    Ok(env_file::parse(&read_bytes(path)?))
}

/// Empty if there is no such file.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    match File::open(path) {
        Ok(file) => bytes(file, MAX_BYTES),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A text of at most `max` bytes, without a byte order mark.
pub fn text(from: impl Read, max: u64) -> Result<String> {
    let text = String::from_utf8(bytes(from, max)?);
    let text = text.map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8: convert it"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn bytes(from: impl Read, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {} MiB", max / 1024 / 1024)));
    }
    // Nothing that is written in UTF-8 has a NUL; an edit of anything else would destroy it.
    let is_wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0);
    if is_wide {
        let why = "it is UTF-16, as PowerShell writes it, and not UTF-8: convert it, for example with \
                   `iconv -f UTF-16 -t UTF-8`, or write it again with `Out-File -Encoding utf8`";
        return Err(Error::new(ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_has_no_variables() {
        assert!(read(Path::new("/nonexistent/.env")).unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_not_utf8_and_drops_the_mark() {
        let wide = |mark: &str, big: bool| -> Vec<u8> {
            let order = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            format!("{mark}A=1\n").encode_utf16().flat_map(order).collect()
        };
        for bytes in [wide("\u{feff}", false), wide("\u{feff}", true), wide("", false), wide("", true)] {
            assert!(text(&*bytes, 100).unwrap_err().to_string().contains("iconv -f UTF-16"), "{bytes:?}");
        }
        assert_eq!(text(&b"\xef\xbb\xbfsecret"[..], 100).unwrap(), "secret");
        assert!(text(&b"caf\xe9"[..], 100).unwrap_err().to_string().contains("not UTF-8"));
        assert_eq!(text(&b"12345"[..], 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
