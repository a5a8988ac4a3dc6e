//! Names of what holds a secret: parameters, fields, and parts of a query.

/// Found anywhere in a name, without separators: `clientSecret`, `x-api-key`.
const ANYWHERE: [&str; 21] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "authtoken",
    "bearerauth",
    "authorization",
    "bearertoken",
    "clientassertion",
    "connectionstring",
    "credential",
    "encryptionkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "refreshtoken",
    "secret",
    "signingkey",
    "subscriptionkey",
    "webhook",
];

/// Found as one word of a name: `session_token`, `sessionToken`.
const WORDS: [&str; 12] =
    ["auth", "bearer", "cookie", "dsn", "jwt", "key", "pat", "pwd", "sas", "sig", "signature", "token"];

/// Whole names.
const WHOLE: [&str; 2] = ["code", "pass"];

/// Ordinary words too, so that they count in front of an equals sign only within a query.
const WEAK: [&str; 8] = ["auth", "code", "cookie", "key", "pass", "pat", "sig", "signature"];

/// What such a name is about otherwise: `litellm_credential_name`, `auth_type`.
const HARMLESS_ENDS: [&str; 8] = ["alias", "file", "method", "mode", "name", "path", "type", "version"];

pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let whole = words.concat();
    let is_harmless = words.last().is_some_and(|word| HARMLESS_ENDS.contains(&word.as_str()))
        || words.iter().any(|word| word == "cost");
    !is_harmless
        && (words.iter().any(|word| WORDS.contains(&word.as_str()))
            || WHOLE.contains(&whole.as_str())
            || ANYWHERE.iter().any(|part| whole.contains(part)))
}

/// Whether what follows the name is a secret also outside a query.
pub(super) fn is_strong(name: &str) -> bool {
    is_secret_name(name) && !WEAK.contains(&name.to_ascii_lowercase().as_str())
}

/// The words in lower case, apart from each other by separators or capital letters.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut was_lower) = (vec![String::new()], false);
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_of_secrets() {
        for name in [
            "api_key",
            "apiKey",
            "API-KEY",
            "x-api-key",
            "subscription-key",
            "Ocp-Apim-Subscription-Key",
            "auth",
            "basic_auth",
            "pat",
            "github_pat",
            "passphrase",
            "password",
            "DB_PASSWORD",
            "sig",
            "code",
            "client_secret",
            "clientSecret",
            "session_token",
            "sessionToken",
            "aws_secret_access_key",
            "vertex_credentials",
            "slack_webhook_url",
            "webhookUrl",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "pwd",
            "sentry_dsn",
            "private_key",
            "connection_string",
            "authtoken",
            "accesstoken",
            "APITOKEN",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "model",
            "max_tokens",
            "tokenizer",
            "input_cost_per_token",
            "author",
            "status_code",
            "codec",
            "keys",
            "monkey",
            "patch",
            "signal",
            "litellm_credential_name",
            "auth_type",
            "use_in_pass_through",
            "key_alias",
            "organization",
            "path",
            "compass",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
