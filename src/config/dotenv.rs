//! Reads files of settings: `.env` files, and files that hold one secret or a list.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::domain::env_file;

const MAX_BYTES: u64 = 1024 * 1024;

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
