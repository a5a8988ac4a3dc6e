//! Addresses in settings. They may hold passwords, so that no error quotes them.

use url::Url;

use super::SettingError;

/// What may be wrong where a password has signs that an address gives a meaning to.
const ENCODE: &str = "in a password, percent-encode # (%23), / (%2F), ? (%3F), @ (%40) and % (%25)";

/// Accepts http and https with a host, without query and fragment.
pub(super) fn web(setting: &str, text: &str) -> Result<Url, SettingError> {
    let wrong = |why: &str| {
        let hint = if text.contains(['@', '#', '?']) { format!("; {ENCODE}") } else { String::new() };
        SettingError::invalid(setting, format!("{why}{hint}"))
    };
    let url: Url = text.parse().map_err(|error| wrong(&format!("is not an address: {error}")))?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_web && url.query().is_none() && url.fragment().is_none() && !url.path().contains('@') {
        Ok(url)
    } else {
        Err(wrong("is no plain http or https address, such as http://127.0.0.1:4000"))
    }
}

/// The addresses of a setting as scheme, host and path: one, or `name=url` separated by commas. None if the text may
/// hold a password in a place where it cannot be told apart.
pub fn shown(text: &str) -> Option<String> {
    if !text.contains("://") || text.starts_with("sqlite:") {
        return Some(text.to_owned());
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let start = part.find("://")?;
        let start = part[..start].rfind('=').map_or(0, |at| at + 1);
        let mut url: Url = part[start..].parse().ok()?;
        if url.fragment().is_some()
            || url.path().contains('@')
            || url.query().is_some_and(|query| query.contains('@'))
        {
            return None;
        }
        url.set_query(None);
        url.set_username("").and_then(|()| url.set_password(None)).ok()?;
        Some(format!("{}{url}", &part[..start]))
    });
    parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_texts_hold_no_part_of_a_password() {
        for sign in ["#", "/", "?", "@", "%", " ", ":", "\\", "[", ","] {
            for password in [format!("s3cret{sign}w0rd"), format!("123{sign}w0rd"), format!("s3cret{sign}")] {
                let text = format!("https://user:{password}@proxy.example/v1");
                let told = match web("LITELLM_PROXY_URL", &text) {
                    Err(error) => error.to_string(),
                    Ok(_) => String::new(),
                };
                let shown = shown(&format!("a={text},b=http://h/x")).unwrap_or_default();
                for part in ["s3cret", "w0rd", "123"] {
                    assert!(!told.contains(part), "{text}: {told}");
                    assert!(!shown.contains(part), "{text}: {shown}");
                }
                assert!(told.is_empty() || told.contains("percent-encode"), "{told}");
            }
        }
    }

    #[test]
    fn shows_scheme_host_and_path() {
        for (text, expected) in [
            ("sqlite://patchbay.db", "sqlite://patchbay.db"),
            ("postgres://u:p@h:5432/name?sslmode=require", "postgres://h:5432/name"),
            ("a=http://u:p@h/x , b=https://k", "a=http://h/x,b=https://k/"),
            ("openai/gpt-5,openai/x", "openai/gpt-5,openai/x"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
    }
}
