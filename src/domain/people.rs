//! Who uses the dashboard, and the access tokens of their scripts.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

use super::key::hex;
use super::role::Role;

/// What every access token begins with.
pub const TOKEN_PREFIX: &str = "pb_";

/// After the prefix, in hexadecimal digits.
const TOKEN_DIGITS: usize = 64;

/// In characters.
pub const MAX_TOKEN_LABEL: usize = 64;

/// Lifetimes to choose from, in days.
pub const TOKEN_DAYS: [u16; 4] = [7, 30, 90, 365];

/// Where a user's login comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Source {
    /// `UI_USERNAME`.
    Shared,
    /// The users file.
    File,
    /// Headers of a reverse proxy.
    Header,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Shared => "shared login",
            Self::File => "users file",
            Self::Header => "single sign-on",
        }
    }
}

/// What a login says of someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    pub source: Source,
    pub email: Option<String>,
    /// None where no group has one.
    pub role: Option<Role>,
}

/// Someone who has logged in.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    pub name: String,
    pub source: Source,
    pub email: Option<String>,
    /// As of the last login.
    pub role: Option<Role>,
    pub login_at: Timestamp,
    pub seen_at: Timestamp,
}

#[derive(Debug, Clone, Serialize)]
pub struct AccessToken {
    pub id: String,
    pub label: String,
    pub owner: String,
    pub source: Source,
    /// At most this; the owner's own role bounds it as well.
    pub role: Role,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Noted once a minute at most.
    pub used_at: Option<Timestamp>,
}

impl AccessToken {
    /// The name under which a token's actions are recorded.
    pub fn actor(&self) -> String {
        format!("{} (token {})", self.owner, self.label)
    }
}

/// An access token in clear, known when it is made and when it is sent.
#[derive(Debug, Clone)]
pub struct TokenSecret(SecretString);

impl TokenSecret {
    /// Two version 4 UUIDs have 244 random bits.
    pub fn generate() -> Self {
        let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
        Self(SecretString::from(format!("{TOKEN_PREFIX}{}{}", one.simple(), other.simple())))
    }

    /// None for a text of another form.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(TOKEN_PREFIX)?;
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == TOKEN_DIGITS && digits.bytes().all(is_digit)).then(|| Self(SecretString::from(text)))
    }

    /// Under which it is stored. With so many random bits it need not be slow.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.expose_secret()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::redact;

    #[test]
    fn tokens_have_one_form_and_are_redacted() {
        let [one, other] = [TokenSecret::generate(), TokenSecret::generate()];
        assert_ne!(one.expose(), other.expose());
        assert_eq!(TokenSecret::parse(one.expose()).unwrap().hash(), one.hash());
        assert!(!format!("{one:?}").contains(one.expose()));
        let text = format!("error: Bearer {}, {}", one.expose(), other.expose());
        let clean = redact::secrets(&text);
        assert!(!clean.contains(one.expose()) && !clean.contains(other.expose()), "{clean}");
        let upper = one.expose().to_uppercase();
        for wrong in
            ["", "pb_", &one.expose()[..66], &format!("{}0", one.expose()), &upper, &one.expose()[1..]]
        {
            assert!(TokenSecret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
