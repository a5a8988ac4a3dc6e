//! The env file. It is replaced as a whole, so that no reader sees a part.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::config::dotenv;
use crate::domain::env_file::{self, EditError};

/// Permissions of a new file.
const PRIVATE: u32 = 0o600;

/// May not exist yet.
#[derive(Debug, Clone)]
pub struct EnvFile {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("{}: {what}: {error}{}", path.display(), hint(error))]
    Io { path: PathBuf, what: &'static str, error: io::Error },
    #[error("{} exists and was not changed", .0.display())]
    Exists(PathBuf),
    #[error("{} belongs to user {owner}, who would lose it: run this as that user", .path.display())]
    Owner { path: PathBuf, owner: u32 },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            ". Where the file alone is mounted it cannot be replaced: mount its folder"
        }
        io::ErrorKind::PermissionDenied => ". Run this as a user who may write in its folder",
        _ => "",
    }
}

/// Excludes other runs on the same folder.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding it open is its use")] Option<File>);

impl EnvFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_there(&self) -> bool {
        self.path.is_file()
    }

    pub fn variables(&self) -> Result<HashMap<String, String>, EnvError> {
        Ok(env_file::parse(&self.read()?))
    }

    pub fn pairs(&self) -> Result<Vec<(String, String)>, EnvError> {
        Ok(env_file::pairs(&self.read()?))
    }

    fn read(&self) -> Result<Vec<u8>, EnvError> {
        dotenv::read_bytes(&self.path).map_err(|error| self.failed("it cannot be read", error))
    }

    /// The content with these values; none if they are set already.
    pub fn edited(&self, values: &[(&str, &str)]) -> Result<Option<Vec<u8>>, EnvError> {
        let before = self.read()?;
        let mut after = before.clone();
        for (name, value) in values {
            after = env_file::set(&after, name, value)?;
        }
        Ok((after != before).then_some(after))
    }

    pub fn set(&self, values: &[(&str, &str)]) -> Result<bool, EnvError> {
        let Some(after) = self.edited(values)? else { return Ok(false) };
        self.write(&after)?;
        Ok(true)
    }

    /// Writes the whole file, readable by its owner only. Fails if there is one, unless it may be replaced.
    pub fn create(&self, bytes: &[u8], may_replace: bool) -> Result<(), EnvError> {
        if may_replace {
            self.write(bytes)?;
            self.make_private()?;
            return Ok(());
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => EnvError::Exists(self.path.clone()),
            _ => self.failed("it cannot be written", error),
        };
        fs::create_dir_all(beside(&self.path).0)
            .map_err(|error| self.failed("its folder cannot be made", error))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&self.path);
        let file = file.as_mut().map_err(|error| failed(io::Error::from(error.kind())))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Keeps permissions, owner and symbolic links.
    fn write(&self, bytes: &[u8]) -> Result<(), EnvError> {
        let target = self.target();
        let (folder, partial) = beside(&target);
        let failed = |what| move |error| self.failed(what, error);
        fs::create_dir_all(folder).map_err(failed("its folder cannot be made"))?;
        // Left by a run that was killed.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("it cannot be written", error));
            }
            _ => {}
        }
        let written = self
            .write_partial(&partial, &target, bytes)
            .and_then(|()| fs::rename(&partial, &target).map_err(failed("it cannot be replaced")));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        // Syncing the folder makes the rename durable.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("its folder cannot be written"))
    }

    fn write_partial(&self, partial: &Path, target: &Path, bytes: &[u8]) -> Result<(), EnvError> {
        let failed = |error| self.failed("it cannot be written", error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(partial).map_err(failed)?;
        if let Ok(old) = fs::metadata(target) {
            let own = file.metadata().map_err(failed)?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid())
                && fchown(&file, Some(old.uid()), Some(old.gid())).is_err()
                && own.uid() != old.uid()
            {
                return Err(EnvError::Owner { path: self.path.clone(), owner: old.uid() });
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777)).map_err(failed)?;
        }
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Restricts an existing file to its owner; true if that changed anything.
    pub fn make_private(&self) -> Result<bool, EnvError> {
        let failed = |error| self.failed("its permissions cannot be changed", error);
        let Ok(found) = fs::metadata(&self.path) else { return Ok(false) };
        if found.mode() & 0o7777 == PRIVATE {
            return Ok(false);
        }
        fs::set_permissions(&self.path, Permissions::from_mode(PRIVATE)).map_err(failed)?;
        Ok(true)
    }

    fn target(&self) -> PathBuf {
        if let Ok(target) = fs::canonicalize(&self.path) {
            return target;
        }
        match fs::read_link(&self.path) {
            Ok(link) => self.path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => self.path.clone(),
        }
    }

    /// Waits for other runs on the same folder. No lock if the file system has none.
    pub fn lock(&self) -> Lock {
        let target = self.target();
        let (folder, partial) = beside(&target);
        let file = File::open(folder).ok().filter(|folder| folder.lock().is_ok());
        if file.is_some() {
            // May hold a secret of a run that was killed.
            let _ = fs::remove_file(partial);
        }
        Lock(file)
    }

    fn failed(&self, what: &'static str, error: io::Error) -> EnvError {
        EnvError::Io { path: self.path.clone(), what, error }
    }
}

/// The folder, and the temporary file that replaces `target`.
fn beside(target: &Path) -> (&Path, PathBuf) {
    let folder = target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    (folder, folder.join(format!(".{name}.partial")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn keeps_link_and_permissions_and_replaces_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.env"), dir.path().join("link"));
        fs::write(&real, "A=1\n").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.env", &link).unwrap();
        fs::write(dir.path().join(".real.env.partial"), "A=half").unwrap();
        let file = EnvFile::new(&link);
        assert!(file.set(&[("A", "2"), ("B", "3")]).unwrap());
        assert_eq!(fs::read_to_string(&real).unwrap(), "A=2\nB=3\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(mode(&real), 0o640);
        assert!(!file.set(&[("B", "3")]).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn creates_private_file_and_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = EnvFile::new(dir.path().join("volumes/env/.env.litellm"));
        assert!(file.set(&[("A", "a b")]).unwrap());
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "A='a b'\n");
        fs::set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
        assert!(file.make_private().unwrap());
        assert!(!file.make_private().unwrap());
        assert_eq!(mode(file.path()), 0o600);
    }

    #[test]
    fn creates_target_of_dangling_link() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("later.env", &link).unwrap();
        assert!(EnvFile::new(&link).set(&[("A", "1")]).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("later.env")).unwrap(), "A=1\n");
    }

    #[test]
    fn locks_folder_and_removes_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let file = EnvFile::new(dir.path().join(".env"));
        // Left by a run that was killed.
        fs::write(dir.path().join("..env.partial"), "A=half").unwrap();
        let classify_key = file.lock();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let folder = File::open(dir.path()).unwrap();
        assert!(folder.try_lock().is_err());
        drop(classify_key);
        assert!(folder.try_lock().is_ok());
    }
}
