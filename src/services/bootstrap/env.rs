//! The env file on disk. A write leaves the old file or the new one, and never a part of either.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::domain::env_file::{self, EditError};

/// Largest file that is edited, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a new file may be read by: it holds secrets.
const PRIVATE: u32 = 0o600;

/// A file of variables. It need not exist yet.
#[derive(Debug, Clone)]
pub struct EnvFile {
    path: PathBuf,
}

/// An env file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("{}: {what}: {error}{}", path.display(), hint(error))]
    Io { path: PathBuf, what: &'static str, error: io::Error },
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

/// Keeps other runs on the same folder waiting.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding it open is its use")] Option<File>);

impl EnvFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_there(&self) -> bool {
        self.path.is_file()
    }

    /// Its variables; none where it is not there.
    pub fn variables(&self) -> Result<HashMap<String, String>, EnvError> {
        Ok(env_file::parse(&self.read()?))
    }

    /// The same in their order.
    pub fn pairs(&self) -> Result<Vec<(String, String)>, EnvError> {
        Ok(env_file::pairs(&self.read()?))
    }

    fn read(&self) -> Result<Vec<u8>, EnvError> {
        let failed = |error| self.failed("it cannot be read", error);
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > MAX_BYTES => {
                Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")))
            }
            Ok(_) => fs::read(&self.path).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    /// What it would be with these values; none if it is so already.
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

    /// Writes beside the file, and then in its place. Its permissions and its owner stay, and so does a link
    /// that leads to it.
    fn write(&self, bytes: &[u8]) -> Result<(), EnvError> {
        let target = self.target();
        let (folder, partial) = beside(&target);
        let failed = |what| move |error| self.failed(what, error);
        fs::create_dir_all(folder).map_err(failed("its folder cannot be made"))?;
        // What an earlier run left when it was killed.
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
        // The name is on the disk when its folder is.
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

    /// Lets its owner alone read it, where it is there. Whether that changed anything.
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

    /// Waits until no other run works on the same folder. Where the file system knows no locks, there are none.
    pub fn lock(&self) -> Lock {
        let target = self.target();
        let (folder, partial) = beside(&target);
        let file = File::open(folder).ok().filter(|folder| folder.lock().is_ok());
        if file.is_some() {
            // A run that was killed may have left a secret there, and nothing need be written any more.
            let _ = fs::remove_file(partial);
        }
        Lock(file)
    }

    fn failed(&self, what: &'static str, error: io::Error) -> EnvError {
        EnvError::Io { path: self.path.clone(), what, error }
    }
}

/// The folder of a file, and what is written in it before it takes the file's place.
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
    fn a_link_and_permissions_stay_and_a_rest_of_a_killed_run_is_harmless() {
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
    fn a_new_file_is_for_its_owner_alone_and_its_folder_is_made() {
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
    fn a_link_to_nothing_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("later.env", &link).unwrap();
        assert!(EnvFile::new(&link).set(&[("A", "1")]).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("later.env")).unwrap(), "A=1\n");
    }

    #[test]
    fn a_run_waits_for_another_on_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = EnvFile::new(dir.path().join(".env"));
        // What a killed one has left is in nobody's way, and goes.
        fs::write(dir.path().join("..env.partial"), "A=half").unwrap();
        let classify_key = file.lock();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let folder = File::open(dir.path()).unwrap();
        assert!(folder.try_lock().is_err());
        drop(classify_key);
        assert!(folder.try_lock().is_ok());
    }
}
