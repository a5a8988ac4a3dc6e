//! Reads a `.env` file: `NAME=value` lines.

use std::collections::HashMap;
use std::path::Path;

use crate::domain::env_file;

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
        Ok(_) => Ok(env_file::parse(&std::fs::read(path)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_holds_nothing() {
        assert!(read(Path::new("/nonexistent/.env")).unwrap().is_empty());
    }
}
