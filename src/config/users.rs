//! The file of named users, one `name:hash:role` per line.
//!
//! The hash is an Argon2 PHC string, which may contain colons, so a line is split at its first and last colon. Blank
//! lines and `#` comments are kept.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use argon2::password_hash;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{DEFAULT_PASSWORD, dotenv};
use crate::domain::role::Role;

/// Largest file that is read, in bytes: some ten thousand users.
const MAX_FILE: u64 = 2 * 1024 * 1024;

/// In characters.
const MAX_NAME: usize = 64;

/// In characters.
const MIN_PASSWORD: usize = 8;

/// In bytes.
pub const MAX_PASSWORD: usize = 4096;

/// Least memory to reserve for hashing, in blocks of 1 KiB. glibc returns allocations above 32 MiB to the system at
/// once, but keeps smaller ones per thread: with 10,000 keys the process took 46 MB instead of 25.
const MIN_RESERVED: usize = 33 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("the password cannot be hashed: {0}")]
    Hash(#[from] password_hash::Error),
    #[error("a password has at least {MIN_PASSWORD} characters")]
    ShortPassword,
    #[error("a password has at most {MAX_PASSWORD} bytes")]
    LongPassword,
    #[error("this is the default password, which everybody knows: choose another one")]
    DefaultPassword,
    #[error("line {line}: {why}")]
    Line { line: usize, why: &'static str },
    #[error("{0} is the shared login's name (UI_USERNAME), which a line cannot have")]
    SharedName(String),
    #[error("{0}")]
    Read(std::io::Error),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: Box<Self> },
    #[error("{} cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedUser {
    pub name: String,
    pub hash: Hash,
    pub role: Role,
}

/// A PHC string. Not shown in logs.
#[derive(Clone, PartialEq, Eq, derive_more::Debug)]
#[debug("Hash")]
pub struct Hash(String);

impl Hash {
    /// Hashes with a random salt. Takes tens of milliseconds.
    pub fn of(password: &SecretString) -> Result<Self, UsersError> {
        // A version 4 UUID has 122 random bits.
        Self::salted(password, uuid::Uuid::new_v4().as_bytes())
    }

    /// The salt has at least 16 bytes.
    pub fn salted(password: &SecretString, salt: &[u8]) -> Result<Self, UsersError> {
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        fill(&Argon2::default(), password, salt, &mut output).map_err(password_hash::Error::from)?;
        let hash = PasswordHash {
            algorithm: Algorithm::default().ident(),
            version: Some(Version::default().into()),
            params: ParamsString::try_from(&Params::default())?,
            salt: Some(Salt::new(salt).map_err(password_hash::Error::from)?),
            hash: Some(Output::new(&output).map_err(password_hash::Error::from)?),
        };
        Ok(Self(hash.to_string()))
    }

    /// Takes as long as hashing.
    pub fn verify(&self, password: &SecretString) -> bool {
        self.check(password).unwrap_or_default()
    }

    /// None if this is no hash.
    fn check(&self, password: &SecretString) -> Option<bool> {
        let hash = PasswordHash::new(&self.0).ok()?;
        let algorithm = Algorithm::new(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
        let params = Params::try_from(&hash).ok()?;
        let (salt, expected) = (hash.salt?, hash.hash?);
        let mut found = vec![0; expected.as_bytes().len()];
        fill(&Argon2::new(algorithm, version, params), password, &salt, &mut found).ok()?;
        Some(found.ct_eq(expected.as_bytes()).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Matches no password.
    pub fn unusable() -> Self {
        Self(String::new())
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let hash = PasswordHash::new(text).map_err(|_| "the hash is no PHC string")?;
        if !matches!(hash.algorithm.as_str(), "argon2id" | "argon2i" | "argon2d") {
            return Err("the hash is not one of Argon2");
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("the hash lacks its salt or its end");
        }
        let params = Params::try_from(&hash).map_err(|_| "the hash's parameters are not Argon2's")?;
        let own = Params::default();
        // A check that takes longer or shorter than others would show which names exist.
        if (params.m_cost(), params.t_cost(), params.p_cost()) != (own.m_cost(), own.t_cost(), own.p_cost()) {
            return Err(
                "the hash has other parameters than those of `patchbay user`: set the password again",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

fn fill(argon: &Argon2<'_>, password: &SecretString, salt: &[u8], output: &mut [u8]) -> argon2::Result<()> {
    let blocks = argon.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(MIN_RESERVED));
    memory.resize(blocks, Block::new());
    argon.hash_password_into_with_memory(password.expose_secret().as_bytes(), salt, output, &mut memory)
}

pub fn check_name(name: &str) -> Result<(), &'static str> {
    let is_odd = |c: char| c == ':' || c.is_control();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        Err("a name has 1 to 64 characters")
    } else if name.chars().any(is_odd) || name.trim() != name || name.starts_with('#') {
        Err("a name has no colon, no control characters, no blanks at its ends and no # at its beginning")
    } else {
        Ok(())
    }
}

/// Checks a password before it is given to a user.
pub fn check_password(password: &SecretString) -> Result<(), UsersError> {
    let password = password.expose_secret();
    if password.chars().count() < MIN_PASSWORD {
        Err(UsersError::ShortPassword)
    } else if password.len() > MAX_PASSWORD {
        Err(UsersError::LongPassword)
    } else if password.trim() == DEFAULT_PASSWORD {
        Err(UsersError::DefaultPassword)
    } else {
        Ok(())
    }
}

/// An error names the line but does not quote it: it may contain a password.
pub fn parse(text: &str) -> Result<Vec<NamedUser>, UsersError> {
    let mut users: Vec<NamedUser> = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (text, line) in text.lines().zip(1..) {
        let wrong = |why| UsersError::Line { line, why };
        let Some(user) = parse_line(text).map_err(wrong)? else { continue };
        if !names.insert(user.name.clone()) {
            return Err(wrong("the name is there twice"));
        }
        users.push(user);
    }
    Ok(users)
}

fn parse_line(line: &str) -> Result<Option<NamedUser>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = line.split_once(':').ok_or("write it as name:hash:role")?;
    let (hash, role) = rest.rsplit_once(':').ok_or("write it as name:hash:role")?;
    check_name(name)?;
    let role = role.trim().parse().map_err(|_| "a role is viewer, operator or admin")?;
    Ok(Some(NamedUser { name: name.to_owned(), hash: Hash::parse(hash)?, role }))
}

/// Refuses a named user with the name of the shared login.
pub fn apart_from(username: &str, users: Vec<NamedUser>) -> Result<Vec<NamedUser>, UsersError> {
    if users.iter().any(|user| user.name == username) {
        return Err(UsersError::SharedName(username.to_owned()));
    }
    Ok(users)
}

pub fn read(path: &Path) -> Result<Vec<NamedUser>, UsersError> {
    text(path)
        .and_then(|text| parse(&text))
        .map_err(|error| UsersError::File { path: path.to_owned(), error: Box::new(error) })
}

fn text(path: &Path) -> Result<String, UsersError> {
    File::open(path).and_then(|file| dotenv::text(file, MAX_FILE)).map_err(UsersError::Read)
}

/// Edits a file and keeps its comments. Locks the folder until dropped, so that two edits cannot undo each other.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    lines: Vec<String>,
    is_changed: bool,
    _lock: Option<File>,
}

impl Editor {
    /// A missing file is an empty one.
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        // Keeps a symbolic link and edits its target.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Some file systems have no locks.
        let lock = File::open(folder(&path)).ok().filter(|folder| folder.lock().is_ok());
        let text = if path.exists() { text(&path)? } else { String::new() };
        parse(&text)?;
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, lines, is_changed: false, _lock: lock })
    }

    pub fn users(&self) -> Result<Vec<NamedUser>, UsersError> {
        parse(&self.lines.join("\n"))
    }

    /// Replaces the user of this name or adds one at the end.
    pub fn set(&mut self, user: &NamedUser) {
        self.is_changed = true;
        let line = format!("{}:{}:{}", user.name, user.hash.as_str(), user.role.as_str());
        match self.index_of(&user.name) {
            Some(index) => self.lines[index] = line,
            None => self.lines.push(line),
        }
    }

    /// False if there is no such user.
    pub fn remove(&mut self, name: &str) -> bool {
        let index = self.index_of(name);
        self.is_changed |= index.is_some();
        index.map(|index| self.lines.remove(index)).is_some()
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let is_it = |line: &String| parse_line(line).ok().flatten().is_some_and(|user| user.name == name);
        self.lines.iter().position(is_it)
    }

    /// Replaces the file as a whole, so that a running dashboard never reads a part. A new file is private to its owner.
    pub fn save_if_changed(&self) -> Result<(), UsersError> {
        if !self.is_changed {
            return Ok(());
        }
        let mut text = self.lines.join("\n");
        text.push('\n');
        let beside = folder(&self.path).join(format!(".patchbay-users-{}", uuid::Uuid::new_v4().simple()));
        let written =
            write_new(&beside, &text, &self.path).and_then(|()| std::fs::rename(&beside, &self.path));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            UsersError::Write { path: self.path.clone(), error }
        })
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_new(path: &Path, text: &str, former: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Ok(former) = std::fs::metadata(former) {
        file.set_permissions(former.permissions())?;
        // Root may edit the file of a dashboard that runs as another user. By descriptor, since that user could
        // replace the name by a link.
        let _ = fchown(&file, Some(former.uid()), Some(former.gid()));
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                        iDVyYUdBKC9oQ1ZtV1ZmV0xxRmFzZGZhc2RmYXNkZmE";

    #[test]
    fn splits_line_at_first_and_last_colon() {
        let text = format!("# people\n\nada:{HASH}:admin\n  li li:{HASH}:viewer  \n");
        let users = parse(&text).unwrap();
        let found: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.role)).collect();
        assert_eq!(found, [("ada", Role::Admin), ("li li", Role::Viewer)]);
        assert!(!format!("{users:?}").contains("argon2"), "the hash is in the log");
    }

    #[test]
    fn errors_name_line_without_quoting_it() {
        for (line, why) in [
            ("ada", "name:hash:role"),
            ("ada:admin", "name:hash:role"),
            ("ada:secret-password:admin", "PHC"),
            (&format!("ada:{HASH}:root"), "a role is"),
            (&format!(":{HASH}:admin"), "1 to 64"),
            (&format!("ada :{HASH}:admin"), "blanks"),
            ("ada:$2b$12$abcdefghijklmnopqrstuu:admin", "hash"),
            (&format!("ada:{}:admin", HASH.replace("m=19456", "m=131072")), "other parameters"),
            (&format!("ada:{}:admin", HASH.replace("t=2", "t=1")), "other parameters"),
            (&format!("ada:{HASH}:admin\nada:{HASH}:viewer"), "twice"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.starts_with("line ") && error.contains(why), "{line}: {error}");
            assert!(!error.contains("secret-password"), "{error}");
        }
    }

    #[test]
    fn edits_keep_comments() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, format!("# people\nada:{HASH}:admin\n# end\n")).unwrap();
        let mut file = Editor::open(&path).unwrap();
        let password = SecretString::from("correct horse");
        let hash = Hash::of(&password).unwrap();
        file.set(&NamedUser { name: "ada".to_owned(), hash: hash.clone(), role: Role::Viewer });
        file.set(&NamedUser { name: "bob".to_owned(), hash, role: Role::Operator });
        assert!(!file.remove("eve"));
        file.save_if_changed().unwrap();
        let users = read(&path).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users[0].hash.verify(&password) && !users[0].hash.verify(&SecretString::from("x")));
        let text = std::fs::read_to_string(&path).unwrap();
        let offsets = ["# people", "ada:", "# end", "bob:"].map(|part| text.find(part).unwrap());
        assert!(offsets.is_sorted(), "{text}");
        drop(file);
        let mut file = Editor::open(&dir.path().join("new")).unwrap();
        file.set(&users[0]);
        assert!(file.remove("ada"));
        file.set(&users[1]);
        file.save_if_changed().unwrap();
        let mode = std::fs::metadata(dir.path().join("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "a file was left over");
    }

    #[test]
    fn edits_keep_symbolic_link_and_lock_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, format!("ada:{HASH}:admin\n")).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let mut file = Editor::open(&link).unwrap();
        let others = File::open(dir.path()).unwrap();
        assert!(others.try_lock().is_err(), "two edit at once, and the later one undoes what the other did");
        file.set(&NamedUser { name: "bob".to_owned(), hash: Hash(HASH.to_owned()), role: Role::Viewer });
        file.save_if_changed().unwrap();
        drop(file);
        assert!(others.try_lock().is_ok());
        assert_eq!(read(&real).unwrap().len(), 2);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
