//! The copy of the keys on the disk, so that a restart shows 100,000 keys at once. It holds what the pages show:
//! hashes, aliases and settings, never a key itself.
//!
//! One JSON line says what the file is, then comes one for each key. It is written aside and renamed, readable for
//! its owner alone. A file that cannot be read, of another version or another proxy, counts as none.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::copy::KeysView;
use super::table::KeyTable;
use crate::domain::key::{BudgetWindow, KeyHash, VirtualKey};
use crate::domain::permission::Grant;

/// Changes whenever a [`Line`] does.
const VERSION: u32 = 2;

/// Largest file, in bytes: 100,000 keys take about 25 MB.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// SHA-256 of the proxy's address, which may hold credentials.
    proxy: KeyHash,
    total: u64,
    keys: usize,
    at: Timestamp,
}

/// A key without the names of its fields, which would double the size and the time to read it.
type Line = (
    (KeyHash, Option<String>, String, Option<String>),
    (f64, Option<f64>, Option<String>, [Option<u64>; 3], bool, Vec<BudgetWindow>),
    Grant,
    [Option<Timestamp>; 3],
);

fn to_line(key: VirtualKey) -> Line {
    let grant = key.grant();
    let limits = [key.rpm_limit, key.tpm_limit, key.max_parallel_requests];
    (
        (key.hash, key.alias, key.masked, key.user_id),
        (key.spend, key.max_budget, key.budget_duration, limits, key.blocked, key.budget_limits),
        grant,
        [key.expires, key.created_at, key.last_active],
    )
}

fn from_line(line: Line) -> VirtualKey {
    let ((hash, alias, masked, user_id), settings, grant, times) = line;
    let (spend, max_budget, budget_duration, limits, blocked, budget_limits) = settings;
    let [rpm_limit, tpm_limit, max_parallel_requests] = limits;
    let [expires, created_at, last_active] = times;
    VirtualKey {
        hash,
        alias,
        masked,
        access: grant.access,
        spend,
        max_budget,
        budget_duration,
        expires,
        rpm_limit,
        tpm_limit,
        max_parallel_requests,
        blocked,
        user_id,
        team_id: grant.team_id,
        budget_limits,
        access_group_ids: grant.access_group_ids,
        aliases: grant.aliases,
        is_custom: grant.is_custom,
        created_at,
        last_active,
    }
}

#[derive(Debug, Clone)]
pub(super) struct KeysFile {
    path: PathBuf,
    proxy: KeyHash,
}

impl KeysFile {
    /// The file beside a SQLite database. There is none beside a database in memory or Postgres.
    pub(super) fn beside(database_url: &str, proxy: &str) -> Option<Self> {
        let path = database_url.strip_prefix("sqlite:")?;
        if path.contains(":memory:") || path.contains("mode=memory") {
            return None;
        }
        let path = path.strip_prefix("//").unwrap_or(path).split('?').next().unwrap_or_default();
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let proxy = KeyHash::of(&SecretString::from(proxy));
        Some(Self { path: PathBuf::from(format!("{path}.keys")), proxy })
    }

    pub(super) fn read(&self) -> Option<KeysView> {
        let file = fs::File::open(&self.path).ok()?;
        let mut lines = BufReader::new(file.take(MAX_BYTES)).split(b'\n');
        let header: Header = serde_json::from_slice(&lines.next()?.ok()?).ok()?;
        if header.version != VERSION || header.proxy != self.proxy || header.keys > super::MAX_KEYS {
            return None;
        }
        let mut table = KeyTable::default();
        let keys = lines.map(|line| serde_json::from_slice(&line?).map(from_line).map_err(io::Error::from));
        table.try_extend(keys).ok()?;
        let (total, is_whole) = (header.total, table.len() == header.keys);
        let view =
            KeysView { keys: table.into(), total, is_complete: true, at: Some(header.at), problem: None };
        is_whole.then_some(view)
    }

    pub(super) fn write(&self, view: &KeysView, at: Timestamp) -> io::Result<()> {
        let aside = self.path.with_extension("keys.new");
        let _ = fs::remove_file(&aside);
        let written = self.write_to(&aside, view, at).and_then(|()| fs::rename(&aside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }

    fn write_to(&self, aside: &Path, view: &KeysView, at: Timestamp) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
        let mut out = BufWriter::new(file);
        let (total, keys) = (view.total, view.keys.len());
        serde_json::to_writer(
            &mut out,
            &Header { version: VERSION, proxy: self.proxy.clone(), total, keys, at },
        )?;
        for key in view.keys.iter() {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, &to_line(key))?;
        }
        let file = out.into_inner()?;
        if file.metadata()?.len() > MAX_BYTES {
            return Err(io::Error::other("the copy of the keys is too large for a file"));
        }
        // Not synced: what a power cut leaves half written counts as no file.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::table::tests::keys;
    use super::*;

    #[test]
    fn there_is_a_file_beside_sqlite_only() {
        let path = |url| KeysFile::beside(url, "http://proxy").map(|file| file.path.display().to_string());
        assert_eq!(path("sqlite://a%20b.db?mode=rwc").as_deref(), Some("a b.db.keys"));
        assert_eq!(path("sqlite:///var/lib/p.db").as_deref(), Some("/var/lib/p.db.keys"));
        for url in ["sqlite::memory:", "sqlite://x?mode=memory", "postgres://localhost/x"] {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn reads_what_was_written_for_the_same_proxy_only() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("p.db").display());
        let file = KeysFile::beside(&url, "http://proxy").unwrap();
        assert!(file.read().is_none());
        let (keys, at) = (keys(), Timestamp::from_second(1_000).unwrap());
        let view = KeysView {
            keys: KeyTable::new(&keys).into(),
            total: 7,
            is_complete: true,
            ..KeysView::default()
        };
        file.write(&view, at).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left beside it");

        let read = file.read().unwrap();
        assert_eq!((read.total, read.at, read.is_complete), (7, Some(at), true));
        assert!(read.keys.iter().eq(view.keys.iter()));
        assert!(KeysFile::beside(&url, "http://other").unwrap().read().is_none());

        let text = fs::read_to_string(&file.path).unwrap();
        let cut = text.rsplit_once('\n').unwrap().0;
        for bad in ["", "{}", cut, &text.replace(r#""version":2"#, r#""version":0"#), &text[..text.len() - 9]]
        {
            fs::write(&file.path, bad).unwrap();
            assert!(file.read().is_none(), "{bad}");
        }
    }

    #[test]
    fn fails_where_the_folder_cannot_be_written() {
        let file = KeysFile::beside("sqlite:///nowhere/p.db", "http://proxy").unwrap();
        assert!(file.write(&KeysView::default(), Timestamp::UNIX_EPOCH).is_err());
    }
}
