//! The file of named users: a line for each, `name:hash:role`.
//!
//! The hash is a PHC string of Argon2. It has no line breaks, but may hold a colon, so a line is read from both
//! ends. Blank lines and those that begin with `#` are left alone.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use argon2::password_hash;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::domain::role::Role;

/// Largest file that is read, in bytes: some ten thousand users.
const MAX_FILE: u64 = 2 * 1024 * 1024;

/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// Shortest password that is given to a user, in characters.
const MIN_PASSWORD: usize = 8;

/// Longest password that is given to a user and checked, in bytes.
pub const MAX_PASSWORD: usize = 4096;

/// Most memory that checking one password may take, in KiB: the file's author decides, and may err.
const MAX_MEMORY: u32 = 256 * 1024;

/// Most passes over that memory.
const MAX_PASSES: u32 = 16;

/// So many blocks of 1 KiB are reserved at least while a password is hashed, of which 19 MB are filled: what is larger
/// than 32 MiB goes back to the system at once. Of smaller ones the C library keeps each thread's last one, and
/// from then on as much of everything else: with 10,000 keys the process had 46 MB, and has 25.
const GIVEN_BACK: usize = 33 * 1024;

/// A user of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedUser {
    /// The name.
    pub name: String,
    /// The password's hash.
    pub hash: Hash,
    /// What the user may do.
    pub role: Role,
}

/// A password's hash: a PHC string. Not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    /// Hashes a password, with a random salt. Takes tens of milliseconds.
    pub fn of(password: &SecretString) -> Result<Self, String> {
        // A version 4 UUID has 122 bits from the system's random source.
        Self::salted(password, uuid::Uuid::new_v4().as_bytes())
    }

    /// Hashes a password with a given salt of 16 bytes or more.
    pub fn salted(password: &SecretString, salt: &[u8]) -> Result<Self, String> {
        let hash = || -> password_hash::Result<PasswordHash> {
            let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
            fill(&Argon2::default(), password, salt, &mut output)?;
            Ok(PasswordHash {
                algorithm: Algorithm::default().ident(),
                version: Some(Version::default().into()),
                params: ParamsString::try_from(&Params::default())?,
                salt: Some(Salt::new(salt)?),
                hash: Some(Output::new(&output)?),
            })
        };
        let hash = hash().map_err(|error| format!("the password cannot be hashed: {error}"))?;
        Ok(Self(hash.to_string()))
    }

    /// Whether it is the hash of this password. Takes as long as hashing it.
    pub fn is_of(&self, password: &SecretString) -> bool {
        self.check(password).unwrap_or_default()
    }

    /// None where it is no hash.
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

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hash that no password has.
    pub fn nobodys() -> Self {
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
        if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
            return Err("checking the hash would take too much memory or time");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Hashes into `output`, in memory that is given back.
fn fill(argon: &Argon2<'_>, password: &SecretString, salt: &[u8], output: &mut [u8]) -> argon2::Result<()> {
    let blocks = argon.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(GIVEN_BACK));
    memory.resize(blocks, Block::new());
    argon.hash_password_into_with_memory(password.expose_secret().as_bytes(), salt, output, &mut memory)
}

/// Whether a user can have this name, and why not.
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

/// Whether a user may be given this password, and why not.
pub fn check_password(password: &SecretString) -> Result<(), String> {
    let length = password.expose_secret().chars().count();
    if length < MIN_PASSWORD {
        return Err(format!("a password has at least {MIN_PASSWORD} characters"));
    }
    if password.expose_secret().len() > MAX_PASSWORD {
        return Err(format!("a password has at most {MAX_PASSWORD} bytes"));
    }
    Ok(())
}

/// The users of a file's text. An error names the line, never what stands in it.
pub fn parse(text: &str) -> Result<Vec<NamedUser>, String> {
    let mut users: Vec<NamedUser> = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (number, line) in text.lines().enumerate() {
        let Some(user) = parse_line(line).map_err(|why| format!("line {}: {why}", number + 1))? else {
            continue;
        };
        if !names.insert(user.name.clone()) {
            return Err(format!("line {}: the name is there twice", number + 1));
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

/// The users, unless one of them has the shared login's name.
pub fn apart_from(username: &str, users: Vec<NamedUser>) -> Result<Vec<NamedUser>, String> {
    if users.iter().any(|user| user.name == username) {
        Err(format!("{username} is the shared login's name (UI_USERNAME), which a line cannot have"))
    } else {
        Ok(users)
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<NamedUser>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    parse(&text(path).map_err(|why| wrong(&why))?).map_err(|why| wrong(&why))
}

fn text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err("the file is larger than 2 MB".to_owned());
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// A file that is edited, its comments kept. Others who edit one in the same folder wait until it is dropped.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    lines: Vec<String>,
    is_changed: bool,
    _lock: Option<File>,
}

impl Editor {
    /// Opens a file. One that is missing counts as empty.
    pub fn open(path: &Path) -> Result<Self, String> {
        // What a link leads to is edited, and the link stays.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Where the file system knows no locks, there are none.
        let lock = File::open(folder(&path)).ok().filter(|folder| folder.lock().is_ok());
        let text = if path.exists() { text(&path)? } else { String::new() };
        parse(&text)?;
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, lines, is_changed: false, _lock: lock })
    }

    /// Its users.
    pub fn users(&self) -> Result<Vec<NamedUser>, String> {
        parse(&self.lines.join("\n"))
    }

    /// Writes a user: in the place of the former one of this name, or at the end.
    pub fn set(&mut self, user: &NamedUser) {
        self.is_changed = true;
        let line = format!("{}:{}:{}", user.name, user.hash.as_str(), user.role.as_str());
        match self.place(&user.name) {
            Some(place) => self.lines[place] = line,
            None => self.lines.push(line),
        }
    }

    /// Takes a user out; false where there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let place = self.place(name);
        self.is_changed |= place.is_some();
        place.map(|place| self.lines.remove(place)).is_some()
    }

    fn place(&self, name: &str) -> Option<usize> {
        let is_it = |line: &String| parse_line(line).ok().flatten().is_some_and(|user| user.name == name);
        self.lines.iter().position(is_it)
    }

    /// Writes the file whole if it has changed, readable by its owner alone where it is new: a running dashboard sees the former
    /// one or this one.
    pub fn save_if_changed(&self) -> Result<(), String> {
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
            format!("{} cannot be written: {error}", self.path.display())
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
        // As root, for a dashboard that runs as someone else. Not by its name, in the place of which they might have
        // put a link meanwhile.
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
    fn a_line_is_read_from_both_ends() {
        let text = format!("# people\n\nada:{HASH}:admin\n  li li:{HASH}:viewer  \n");
        let users = parse(&text).unwrap();
        let told: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.role)).collect();
        assert_eq!(told, [("ada", Role::Admin), ("li li", Role::Viewer)]);
        assert!(!format!("{users:?}").contains("argon2"), "the hash is in the log");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_by_its_line_alone() {
        for (line, why) in [
            ("ada", "name:hash:role"),
            ("ada:admin", "name:hash:role"),
            ("ada:secret-password:admin", "PHC"),
            (&format!("ada:{HASH}:root"), "a role is"),
            (&format!(":{HASH}:admin"), "1 to 64"),
            (&format!("ada :{HASH}:admin"), "blanks"),
            ("ada:$2b$12$abcdefghijklmnopqrstuu:admin", "hash"),
            (&format!("ada:{}:admin", HASH.replace("m=19456", "m=4000000")), "too much"),
            (&format!("ada:{}:admin", HASH.replace("t=2", "t=999")), "too much"),
            (&format!("ada:{HASH}:admin\nada:{HASH}:viewer"), "twice"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with("line ") && error.contains(why), "{line}: {error}");
            assert!(!error.contains("secret-password"), "{error}");
        }
    }

    #[test]
    fn a_file_is_edited_with_its_comments_kept() {
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
        assert!(users[0].hash.is_of(&password) && !users[0].hash.is_of(&SecretString::from("x")));
        let text = std::fs::read_to_string(&path).unwrap();
        let places = ["# people", "ada:", "# end", "bob:"].map(|part| text.find(part).unwrap());
        assert!(places.is_sorted(), "{text}");
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
    fn a_link_to_the_file_stays_and_who_edits_it_waits_for_others() {
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
