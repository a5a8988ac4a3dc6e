//! Where alerts are sent.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{SettingError, secret};
use crate::domain::alert::{AlertKind, SecretUrl, Webhook};

/// Shortest secret, in bytes.
const MIN_SECRET: usize = 16;

#[derive(Args, Debug, Clone, Default)]
pub struct WebhookArgs {
    /// Address that alerts are posted to; Slack's are recognised
    #[arg(long, env = "PATCHBAY_WEBHOOK_URL", value_name = "URL", hide_env_values = true)]
    pub webhook_url: Option<SecretString>,
    /// Secret that signs them, at least 16 characters
    #[arg(long, env = "PATCHBAY_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub webhook_secret: Option<SecretString>,
    /// File that holds the secret instead
    #[arg(long, env = "PATCHBAY_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// What is sent, comma-separated: down, up, drift, swap-failed, swap-rolled-back, swap-finished, timer-ended, job-ended
    /// [default: all but swap-finished]
    #[arg(long, env = "PATCHBAY_WEBHOOK_EVENTS", value_name = "EVENT,…", default_value = "")]
    pub webhook_events: String,
    /// json, or slack for what takes Slack's form [default: slack at hooks.slack.com, else json]
    #[arg(long, env = "PATCHBAY_WEBHOOK_FORMAT", value_name = "FORMAT", default_value = "")]
    pub webhook_format: String,
}

impl WebhookArgs {
    /// None where there is no address.
    pub fn validate(&self) -> Result<Option<Webhook>, SettingError> {
        let given = self.webhook_url.as_ref().map(|url| url.expose_secret().trim()).unwrap_or_default();
        let secret = secret(
            "PATCHBAY_WEBHOOK_SECRET",
            self.webhook_secret.as_ref(),
            self.webhook_secret_file.as_ref(),
        )?;
        if given.is_empty() {
            return Ok(None);
        }
        let wrong = || {
            // Not quoted, since it may be a secret.
            SettingError::invalid(
                "PATCHBAY_WEBHOOK_URL",
                "it is no address that begins with http:// or https://",
            )
        };
        let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(Url::has_host).ok_or_else(wrong)?;
        if secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < MIN_SECRET) {
            let why = format!("it has fewer than {MIN_SECRET} characters");
            return Err(SettingError::invalid("PATCHBAY_WEBHOOK_SECRET", why));
        }
        let is_slack = match self.webhook_format.trim() {
            "" => url.host_str() == Some("hooks.slack.com"),
            "slack" => true,
            "json" => false,
            _ => return Err(SettingError::invalid("PATCHBAY_WEBHOOK_FORMAT", "it is json or slack")),
        };
        Ok(Some(Webhook { url: SecretUrl(url), secret, kinds: kinds(&self.webhook_events)?, is_slack }))
    }
}

fn kinds(text: &str) -> Result<Vec<AlertKind>, SettingError> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(AlertKind::defaults());
    }
    let kind = |name: &str| {
        let known = AlertKind::choices().find(|kind| kind.as_str() == name);
        let all = || AlertKind::choices().map(AlertKind::as_str).collect::<Vec<_>>().join(", ");
        known.ok_or_else(|| {
            SettingError::invalid("PATCHBAY_WEBHOOK_EVENTS", format!("{name:?} is none of {}", all()))
        })
    };
    names.into_iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> WebhookArgs {
        WebhookArgs { webhook_url: Some(url.into()), ..WebhookArgs::default() }
    }

    #[test]
    fn addresses_are_checked_and_never_shown() {
        let webhook = args("https://hooks.slack.com/services/T0/B0/secretpart").validate().unwrap().unwrap();
        assert!(webhook.is_slack && webhook.url.shown() == "https://hooks.slack.com");
        assert!(!format!("{webhook:?}").contains("secretpart"));
        assert!(args(" ").validate().unwrap().is_none());
        for url in ["ftp://h/secretpart", "file:///secretpart", "secretpart", "https:///"] {
            let error = args(url).validate().unwrap_err().to_string();
            assert!(
                error.contains("PATCHBAY_WEBHOOK_URL") && !error.contains("secretpart"),
                "{url}: {error}"
            );
        }
        let short = WebhookArgs { webhook_secret: Some("short".into()), ..args("http://h/") };
        assert!(short.validate().unwrap_err().to_string().contains("PATCHBAY_WEBHOOK_SECRET"));
        let events = WebhookArgs { webhook_events: "down, tset".to_owned(), ..args("http://h/") };
        assert!(events.validate().unwrap_err().to_string().contains("tset"));
        let events = WebhookArgs { webhook_events: "down,swap-finished".to_owned(), ..args("http://h/") };
        assert_eq!(events.validate().unwrap().unwrap().kinds, [AlertKind::Down, AlertKind::SwapFinished]);
    }
}
