//! Settings of who may come in, from where, and how long is remembered what they did.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use jiff::SignedDuration;

use super::users::{self, NamedUser};

/// Settings of a dashboard that several people share.
#[derive(Args, Debug, Clone, Default)]
pub struct AccessArgs {
    /// File of named users, as `patchbay user` writes it: name:hash:role, a line each
    #[arg(long, env = "PATCHBAY_USERS_FILE", value_name = "FILE")]
    pub users_file: Option<PathBuf>,
    /// Reverse proxies whose X-Forwarded-For is believed: addresses or networks, comma-separated
    #[arg(long, env = "PATCHBAY_TRUSTED_PROXIES", value_name = "NETWORK,…", default_value = "")]
    pub trusted_proxies: String,
    /// People reach the dashboard by https alone: secure cookies, and browsers keep to https
    #[arg(
        long,
        env = "PATCHBAY_BEHIND_TLS",
        value_name = "YES|NO",
        default_value = "no",
        num_args = 0..=1,
        default_missing_value = "yes"
    )]
    pub behind_tls: String,
    /// How long audit entries are kept, such as 400d [default: for ever]
    #[arg(long, env = "PATCHBAY_AUDIT_RETENTION", value_name = "DAYS", default_value = "")]
    pub audit_retention: String,
}

/// The same, checked.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The named users.
    pub users: Option<UsersFile>,
    /// The reverse proxies that are believed.
    pub trusted_proxies: Vec<Network>,
    /// People reach the dashboard by https alone.
    pub is_behind_tls: bool,
    /// How long audit entries are kept; for ever with none.
    pub audit_retention: Option<SignedDuration>,
}

/// The named users, and where they stand.
#[derive(Debug, Clone)]
pub struct UsersFile {
    /// The file; none where they never change.
    pub path: Option<PathBuf>,
    /// What it held at the start.
    pub users: Vec<NamedUser>,
}

impl AccessArgs {
    /// Checks the settings, and reads the file. `username` is the shared login's.
    pub fn validate(&self, username: &str) -> Result<Access, Vec<String>> {
        let mut wrong = Vec::new();
        let mut note = |problem: String| wrong.push(problem);
        let users = self.users(username).map_err(&mut note).unwrap_or_default();
        let trusted_proxies = networks(&self.trusted_proxies).map_err(&mut note).unwrap_or_default();
        let is_behind_tls = yes_or_no(&self.behind_tls).map_err(&mut note).unwrap_or_default();
        let audit_retention = days(&self.audit_retention).map_err(&mut note).unwrap_or_default();
        if wrong.is_empty() {
            Ok(Access { users, trusted_proxies, is_behind_tls, audit_retention })
        } else {
            Err(wrong)
        }
    }

    fn users(&self, username: &str) -> Result<Option<UsersFile>, String> {
        let Some(path) = self.users_file.clone().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let wrong = |why: String| format!("PATCHBAY_USERS_FILE: {why}");
        let users = users::read(&path).and_then(|users| users::apart_from(username, users)).map_err(wrong)?;
        Ok(Some(UsersFile { path: Some(path), users }))
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_lowercase().as_str() {
        "" | "no" | "false" | "off" | "0" => Ok(false),
        "yes" | "true" | "on" | "1" => Ok(true),
        _ => Err("PATCHBAY_BEHIND_TLS: yes or no is wanted".to_owned()),
    }
}

fn days(text: &str) -> Result<Option<SignedDuration>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok()).filter(|days| *days > 0);
    let days = days.ok_or("PATCHBAY_AUDIT_RETENTION: write a number of days, such as 400d")?;
    Ok(Some(SignedDuration::from_hours(24 * i64::from(days))))
}

/// An address, or all that begin as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                let cut = |address: u32| address.checked_shr(shift).unwrap_or(0);
                cut(net.to_bits()) == cut(address.to_bits())
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                let cut = |address: u128| address.checked_shr(shift).unwrap_or(0);
                cut(net.to_bits()) == cut(address.to_bits())
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address or network, such as 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(at, bits)| (at, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

fn networks(text: &str) -> Result<Vec<Network>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::parse).collect::<Result<_, _>>().map_err(|why| format!("PATCHBAY_TRUSTED_PROXIES: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_hold_what_begins_as_they_do() {
        let has =
            |network: &str, address: &str| network.parse::<Network>().unwrap().has(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("127.0.0.1", "::ffff:127.0.0.1") && !has("0.0.0.0/0", "::1"));
        assert!(has("0.0.0.0/0", "192.0.2.1") && has("::/0", "2001:db8::1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        for wrong in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "1.2.3.4/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let args = AccessArgs {
            users_file: Some("/nowhere/users".into()),
            trusted_proxies: "10.0.0.0/8, here".to_owned(),
            behind_tls: "maybe".to_owned(),
            audit_retention: "for ever".to_owned(),
        };
        let wrong = args.validate("ada").unwrap_err().join("\n");
        for name in ["USERS_FILE", "TRUSTED_PROXIES", "BEHIND_TLS", "AUDIT_RETENTION"] {
            assert!(wrong.contains(&format!("PATCHBAY_{name}: ")), "{wrong}");
        }
        let access = AccessArgs { audit_retention: "400d".to_owned(), ..AccessArgs::default() };
        let access = access.validate("ada").unwrap();
        assert_eq!(access.audit_retention, Some(SignedDuration::from_hours(9600)));
        assert!(!access.is_behind_tls && access.users.is_none() && access.trusted_proxies.is_empty());
    }
}
