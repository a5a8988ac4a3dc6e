//! Reads a `.env` file: `NAME=value` lines.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use crate::domain::env_file;

const MAX_BYTES: u64 = 1024 * 1024;

/// The file's variables; none if there is no such file. Later lines win.
pub fn read(path: &Path) -> Result<HashMap<String, String>> {
    Ok(env_file::parse(&read_bytes(path)?))
}

/// Empty if there is no such file.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_BYTES => Err(Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB")),
        Ok(_) => std::fs::read(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_has_no_variables() {
        assert!(read(Path::new("/nonexistent/.env")).unwrap().is_empty());
    }
}
