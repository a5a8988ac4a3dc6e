//! Single sign-on: who a trusted reverse proxy says the user is. Read anew from each request, so that another role
//! counts at once and there is no session to steal.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, header};

use super::refusal_log::RefusalLog;
use super::{CurrentUser, LoginKind, Users};
use crate::config::sso::Sso;
use crate::domain::people::{Seen, Source};
use crate::domain::role::Role;
use crate::domain::words::is_invisible;
use crate::web::errors::Problem;
use crate::web::origin::Peer;

/// Longest name and address, in characters: an e-mail address has at most 254.
const MAX_NAME: usize = 254;

/// Stands in the audit behind the owner of an access token; a name that holds it could pass for one.
const TOKEN_MARK: &str = " (token ";

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) groups: String,
}

/// Why headers of a trusted proxy are not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the header {0} is there more than once")]
    Repeated(HeaderName),
    #[error("the header {0} is not UTF-8")]
    Encoding(HeaderName),
    #[error("the user's name is longer than {MAX_NAME} characters, or has control characters")]
    Name,
}

pub(super) struct HeaderLogin {
    pub(super) sso: Sso,
    ignored: RefusalLog,
    unusable: RefusalLog,
}

impl HeaderLogin {
    pub(super) fn new(sso: Sso) -> Self {
        Self {
            sso,
            ignored: RefusalLog::new(
                "single sign-on headers are ignored: they did not come from PATCHBAY_TRUSTED_PROXIES",
            ),
            unusable: RefusalLog::new("single sign-on headers of a trusted proxy cannot be used"),
        }
    }

    /// Whom a request is from, by the proxy that it came through; none where that names no one.
    pub(super) fn read(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Result<Option<Named>, Problem> {
        let peer = extensions.get::<Peer>();
        if !peer.is_some_and(|peer| peer.is_trusted) {
            if self.sso.headers().any(|name| headers.contains_key(name)) {
                self.ignored.note(address(peer));
            }
            return Ok(None);
        }
        named(&self.sso, headers).map_err(|why| {
            self.unusable.note(address(peer));
            unusable(&why.to_string())
        })
    }
}

fn address(peer: Option<&Peer>) -> Option<IpAddr> {
    peer.map(|peer| peer.address)
}

fn unusable(why: &str) -> Problem {
    let detail = format!("The reverse proxy says who you are in a form that is not accepted: {why}.");
    let advice = "Correct the reverse proxy's settings. docs/single-sign-on.md has an example.";
    Problem::new(StatusCode::FORBIDDEN, "Not logged in", detail, advice)
}

/// Whom a trusted reverse proxy names.
#[derive(Debug, Clone)]
pub(in crate::web) struct HeaderUser {
    pub(super) name: String,
    email: Option<String>,
    /// None where no group has one.
    role: Option<Role>,
}

impl HeaderUser {
    pub(super) fn seen(&self) -> Seen {
        let Self { name, email, role } = self.clone();
        Seen { name, source: Source::Header, email, role }
    }

    pub(super) fn current(self) -> Result<CurrentUser, Problem> {
        let Some(role) = self.role else {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "No role",
                format!("You are logged in as {}, and none of your groups has a role here.", self.name),
                "Ask an admin to give one of your groups a role in PATCHBAY_SSO_ROLES.",
            ));
        };
        Ok(CurrentUser { name: self.name, role, by: LoginKind::Header })
    }
}

impl Users {
    /// Whom a trusted reverse proxy names in this request, if it does.
    pub(in crate::web) async fn by_header(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderUser>, Problem> {
        let Some(login) = self.header_login() else { return Ok(None) };
        let Some(named) = login.read(extensions, headers)? else { return Ok(None) };
        // Else the proxy's users could pass for someone who has a password here.
        if self.account(&named.name).await.is_some() {
            return Err(unusable("a user with a password has the same name"));
        }
        let role = login.sso.role(&named.groups);
        Ok(Some(HeaderUser { name: named.name, email: named.email, role }))
    }
}

/// A proxy that adds its headers to those of the client, in place of setting them, lets anyone be anyone: of two equal
/// headers neither is believed.
fn named(sso: &Sso, headers: &HeaderMap) -> Result<Option<Named>, Unusable> {
    // A group of someone unnamed would be no one's, but a repeated header is a mistake that has to be seen.
    let value = |name: &HeaderName| text(headers, name);
    let name = value(&sso.user)?;
    let email = sso.email.as_ref().map(value).transpose()?.flatten();
    let groups = sso.groups.as_ref().map(value).transpose()?.flatten();
    let Some(name) = name else { return Ok(None) };
    let is_plain = |text: &str| text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
    if !is_plain(name) || is_reserved(name) {
        return Err(Unusable::Name);
    }
    Ok(Some(Named {
        name: name.to_owned(),
        email: email.filter(|email| is_plain(email)).map(str::to_owned),
        groups: groups.unwrap_or_default().to_owned(),
    }))
}

/// Whether a name could pass for Patchbay itself or for a token in the audit, or for another one by what is not seen of it.
fn is_reserved(name: &str) -> bool {
    let is_own = ["-", "patchbay"].contains(&name) || name.starts_with("patchbay (");
    is_own || name.contains(TOKEN_MARK) || name.chars().any(is_invisible)
}

/// The value of a header without blanks around it; none where it is empty.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unusable> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unusable::Repeated(name.clone()));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Unusable::Encoding(name.clone()))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

/// Whether a browser says where a form came from. The cookie of a reverse proxy need not be `SameSite`, so that without this
/// a form on another site could be sent in someone's name by a browser that says nothing.
pub(super) fn says_origin(method: &Method, headers: &HeaderMap) -> bool {
    method.is_safe() || headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::sso::SsoArgs;

    fn sso() -> Sso {
        let args = SsoArgs {
            user_header: "x-user".to_owned(),
            email_header: "x-email".to_owned(),
            groups_header: "x-groups".to_owned(),
            roles: "*=viewer".to_owned(),
            ..SsoArgs::default()
        };
        args.validate(true).unwrap().unwrap()
    }

    fn read(lines: &[(&'static str, &[u8])]) -> Result<Option<String>, Unusable> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Ok(named(&sso(), &headers)?.map(|named| named.name))
    }

    #[test]
    fn only_one_plain_name_is_taken() {
        assert_eq!(read(&[("x-user", b" ada@example.org ")]), Ok(Some("ada@example.org".to_owned())));
        assert_eq!(read(&[("x-user", "Zoë".as_bytes())]), Ok(Some("Zoë".to_owned())));
        for nobody in [&b""[..], b" ", b"\t "] {
            assert_eq!(read(&[("x-user", nobody), ("x-groups", b"admins")]), Ok(None));
        }
        assert_eq!(read(&[("x-groups", b"admins")]), Ok(None));
        let repeated = |name| Err(Unusable::Repeated(HeaderName::from_static(name)));
        assert_eq!(read(&[("x-user", b"ada"), ("x-user", b"ada")]), repeated("x-user"));
        assert_eq!(read(&[("x-user", b""), ("x-user", b"ada")]), repeated("x-user"));
        let both = [("x-user", &b"ada"[..]), ("x-groups", b"admins"), ("x-groups", b"")];
        assert_eq!(read(&both), repeated("x-groups"));
        assert!(matches!(read(&[("x-user", b"Zo\xeb")]), Err(Unusable::Encoding(_))));
        for wrong in ["a\tb", "x\u{85}y", "ada (token x)", &"x".repeat(255)] {
            assert_eq!(read(&[("x-user", wrong.as_bytes())]), Err(Unusable::Name), "{wrong:?}");
        }
    }
}
