//! Settings of a dashboard that several people share.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use jiff::SignedDuration;

use super::sso::{Sso, SsoArgs};
use super::users::{self, NamedUser};
use super::{Hosts, SettingError, WebhookArgs};
use crate::domain::alert::Webhook;

/// US dollars for reading a conversation once above which a switch has to be confirmed.
pub const CONFIRM_COST: f64 = 0.5;

#[derive(Args, Debug, Clone, Default)]
pub struct AccessArgs {
    /// Host names that the dashboard answers to, comma-separated, or * for any [default: loopback names where it
    /// listens on a loopback address, else any]
    #[arg(long, env = "PATCHBAY_HOSTS", value_name = "NAME,…")]
    pub hosts: Option<String>,
    /// File of named users, as `patchbay user` writes it: name:hash:role, a line each
    #[arg(long, env = "PATCHBAY_USERS_FILE", value_name = "FILE")]
    pub users_file: Option<PathBuf>,
    /// Reverse proxies whose X-Forwarded-For and single sign-on headers are believed: addresses or networks,
    /// comma-separated
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
    #[command(flatten)]
    pub sso: SsoArgs,
    /// Whether people may log in with a password beside single sign-on
    #[arg(long, env = "PATCHBAY_PASSWORD_LOGIN", value_name = "YES|NO", default_value = "yes")]
    pub password_login: String,
    #[command(flatten)]
    pub webhook: WebhookArgs,
    /// How long audit entries are kept, such as 400d [default: for ever]
    #[arg(long, env = "PATCHBAY_AUDIT_RETENTION", value_name = "DAYS", default_value = "")]
    pub audit_retention: String,
    /// How long questions and answers are kept, such as 30d [default: for ever, the last 50 of each context]
    #[arg(long, env = "PATCHBAY_CONVERSATION_RETENTION", value_name = "DAYS", default_value = "")]
    pub conversation_retention: String,
    /// US dollars for reading a conversation once above which a switch has to be confirmed [default: 0.50]
    #[arg(long, env = "PATCHBAY_CONFIRM_COST", value_name = "DOLLARS", default_value = "")]
    pub confirm_cost: String,
    /// Name of the environment, such as staging, shown on every page
    #[arg(long, env = "PATCHBAY_INSTANCE", value_name = "NAME", default_value = "")]
    pub instance: String,
}

#[derive(Debug, Clone, Default)]
pub struct Access {
    pub hosts: Hosts,
    pub users: Option<UsersFile>,
    pub trusted_proxies: Vec<IpNet>,
    pub is_behind_tls: bool,
    pub sso: Option<Sso>,
    /// Neither the shared login nor named users may log in.
    pub is_password_login_off: bool,
    pub webhook: Option<Webhook>,
    /// Forever if none.
    pub audit_retention: Option<SignedDuration>,
    /// Of questions and answers. Forever if none.
    pub conversation_retention: Option<SignedDuration>,
    /// US dollars; none for [`CONFIRM_COST`].
    pub confirm_cost: Option<f64>,
    /// Name of the environment.
    pub instance: Option<String>,
}

/// Longest name of the environment, in characters.
const MAX_INSTANCE: usize = 30;

#[derive(Debug, Clone)]
pub struct UsersFile {
    /// None if the users never change.
    pub path: Option<PathBuf>,
    /// As read at startup.
    pub users: Vec<NamedUser>,
}

impl AccessArgs {
    /// `username` is that of the shared login, which no named user can have.
    pub fn validate(&self, username: &str, bind: SocketAddr) -> Result<Access, Vec<SettingError>> {
        let mut wrong = Vec::new();
        let mut note = |problem| wrong.push(problem);
        let hosts =
            Hosts::read("PATCHBAY_HOSTS", self.hosts.as_deref(), bind).map_err(&mut note).unwrap_or_default();
        let users = self.users(username).map_err(&mut note).unwrap_or_default();
        let trusted_proxies = networks(&self.trusted_proxies).map_err(&mut note).unwrap_or_default();
        let is_behind_tls =
            yes_or_no("PATCHBAY_BEHIND_TLS", &self.behind_tls).map_err(&mut note).unwrap_or_default();
        let is_password_login_off = self.is_password_login_off().map_err(&mut note).unwrap_or_default();
        let mut retention = |name, text| days(name, text).map_err(&mut note).unwrap_or_default();
        let audit_retention = retention("PATCHBAY_AUDIT_RETENTION", &self.audit_retention);
        let conversation_retention =
            retention("PATCHBAY_CONVERSATION_RETENTION", &self.conversation_retention);
        let webhook = self.webhook.validate().map_err(&mut note).unwrap_or_default();
        let confirm_cost = cost(&self.confirm_cost).map_err(&mut note).unwrap_or_default();
        let instance = instance(&self.instance).map_err(&mut note).unwrap_or_default();
        let sso = self.sso.validate(!self.trusted_proxies.trim().is_empty()).unwrap_or_else(|problems| {
            wrong.extend(problems);
            None
        });
        if wrong.is_empty() {
            Ok(Access {
                hosts,
                users,
                trusted_proxies,
                is_behind_tls,
                sso,
                is_password_login_off,
                webhook,
                audit_retention,
                conversation_retention,
                confirm_cost,
                instance,
            })
        } else {
            Err(wrong)
        }
    }

    /// Without single sign-on passwords are the only way in.
    pub fn is_password_login_off(&self) -> Result<bool, SettingError> {
        let setting = "PATCHBAY_PASSWORD_LOGIN";
        let is_off = !self.password_login.trim().is_empty() && !yes_or_no(setting, &self.password_login)?;
        if is_off && self.sso.user_header.trim().is_empty() {
            let why = "without PATCHBAY_SSO_USER_HEADER no one could log in";
            return Err(SettingError::invalid(setting, why));
        }
        Ok(is_off)
    }

    fn users(&self, username: &str) -> Result<Option<UsersFile>, SettingError> {
        let Some(path) = self.users_file.clone().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let users = users::read(&path)
            .and_then(|users| users::apart_from(username, users))
            .map_err(|why| SettingError::invalid("PATCHBAY_USERS_FILE", why.to_string()))?;
        Ok(Some(UsersFile { path: Some(path), users }))
    }
}

fn yes_or_no(setting: &str, text: &str) -> Result<bool, SettingError> {
    match text.trim().to_lowercase().as_str() {
        "" | "no" | "false" | "off" | "0" => Ok(false),
        "yes" | "true" | "on" | "1" => Ok(true),
        _ => Err(SettingError::invalid(setting, "yes or no is wanted")),
    }
}

fn instance(text: &str) -> Result<Option<String>, SettingError> {
    let name = text.trim();
    if name.chars().count() > MAX_INSTANCE || name.chars().any(char::is_control) {
        let why = format!("a name has at most {MAX_INSTANCE} characters, all printable");
        return Err(SettingError::invalid("PATCHBAY_INSTANCE", why));
    }
    Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

fn cost(text: &str) -> Result<Option<f64>, SettingError> {
    let wrong = || SettingError::invalid("PATCHBAY_CONFIRM_COST", "write US dollars, such as 0.50");
    match text.trim().trim_start_matches('$') {
        "" => Ok(None),
        text => text
            .parse()
            .ok()
            .filter(|cost: &f64| cost.is_finite() && *cost >= 0.0)
            .map(Some)
            .ok_or_else(wrong),
    }
}

fn days(setting: &str, text: &str) -> Result<Option<SignedDuration>, SettingError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok()).filter(|days| *days > 0);
    match days {
        Some(days) => Ok(Some(SignedDuration::from_hours(24 * i64::from(days)))),
        None => Err(SettingError::invalid(setting, "write a number of days, such as 400d")),
    }
}

fn networks(text: &str) -> Result<Vec<IpNet>, SettingError> {
    let wrong = |part: &str| {
        let why = format!("{part:?} is not an address or network such as 10.0.0.0/8");
        SettingError::invalid("PATCHBAY_TRUSTED_PROXIES", why)
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| network(part).ok_or_else(|| wrong(part))).collect()
}

/// A plain address is a network of its own. IPv4 addresses mapped to IPv6 are compared as IPv4, so a network of them
/// would never match.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    let network = text.parse::<IpNet>().ok().or_else(address)?;
    (network.addr() == network.addr().to_canonical()).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_addresses_with_their_prefix() {
        let has =
            |text: &str, address: &str| network(text).unwrap().contains(&address.parse::<IpAddr>().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("::ffff:127.0.0.1", "127.0.0.1") && !has("0.0.0.0/0", "::1"));
        assert!(has("0.0.0.0/0", "192.0.2.1") && has("::/0", "2001:db8::1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        for wrong in
            ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "1.2.3.4/-1", "::ffff:0:0/96"]
        {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reports_every_invalid_setting() {
        let bind = "127.0.0.1:1".parse().unwrap();
        let args = AccessArgs {
            hosts: Some("http://a".to_owned()),
            users_file: Some("/nowhere/users".into()),
            trusted_proxies: "10.0.0.0/8, here".to_owned(),
            behind_tls: "maybe".to_owned(),
            audit_retention: "for ever".to_owned(),
            conversation_retention: "0d".to_owned(),
            confirm_cost: "-1".to_owned(),
            instance: "x".repeat(31),
            sso: SsoArgs { user_header: "a b".to_owned(), ..SsoArgs::default() },
            password_login: "perhaps".to_owned(),
            webhook: WebhookArgs { webhook_url: Some("ftp://h".into()), ..WebhookArgs::default() },
        };
        let wrong: Vec<_> = args.validate("ada", bind).unwrap_err().iter().map(ToString::to_string).collect();
        for name in [
            "HOSTS",
            "USERS_FILE",
            "TRUSTED_PROXIES",
            "BEHIND_TLS",
            "AUDIT_RETENTION",
            "CONVERSATION_RETENTION",
            "CONFIRM_COST",
            "SSO_USER_HEADER",
            "PASSWORD_LOGIN",
            "WEBHOOK_URL",
        ] {
            assert!(wrong.iter().any(|why| why.contains(&format!("PATCHBAY_{name}: "))), "{wrong:?}");
        }
        let access = AccessArgs { audit_retention: "400d".to_owned(), ..AccessArgs::default() };
        let access = access.validate("ada", bind).unwrap();
        assert_eq!(access.audit_retention, Some(SignedDuration::from_hours(9600)));
        let args = AccessArgs { password_login: "no".to_owned(), ..AccessArgs::default() };
        let wrong = args.validate("ada", bind).unwrap_err();
        assert!(wrong[0].to_string().contains("no one could log in"), "{wrong:?}");
        assert!(!access.is_password_login_off && access.sso.is_none());
        assert!(!access.is_behind_tls && access.users.is_none() && access.trusted_proxies.is_empty());
    }
}
