//! Single sign-on: a reverse proxy that has authenticated someone says who it is in headers.

use axum::http::{HeaderName, header};
use clap::Args;
use url::Url;

use super::SettingError;
use crate::domain::role::Role;

/// Stands for everyone whom the proxy names, in any group or none.
const ANYONE: &str = "*";

/// Headers that browsers and proxies send for other purposes.
const RESERVED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];

#[derive(Args, Debug, Clone, Default)]
pub struct SsoArgs {
    /// Header in which a trusted reverse proxy names the user, such as X-Forwarded-User; turns single sign-on on
    #[arg(
        long = "sso-user-header",
        env = "PATCHBAY_SSO_USER_HEADER",
        value_name = "HEADER",
        default_value = ""
    )]
    pub user_header: String,
    /// Header with the user's e-mail address
    #[arg(
        long = "sso-email-header",
        env = "PATCHBAY_SSO_EMAIL_HEADER",
        value_name = "HEADER",
        default_value = ""
    )]
    pub email_header: String,
    /// Header with the user's groups
    #[arg(
        long = "sso-groups-header",
        env = "PATCHBAY_SSO_GROUPS_HEADER",
        value_name = "HEADER",
        default_value = ""
    )]
    pub groups_header: String,
    /// What separates the groups: a comma, | or ;
    #[arg(
        long = "sso-groups-separator",
        env = "PATCHBAY_SSO_GROUPS_SEPARATOR",
        value_name = "SIGN",
        default_value = ","
    )]
    pub groups_separator: String,
    /// Roles of groups, comma-separated, where * is everyone: admins=admin,sre=operator,*=viewer
    #[arg(long = "sso-roles", env = "PATCHBAY_SSO_ROLES", value_name = "GROUP=ROLE,…", default_value = "")]
    pub roles: String,
    /// Where "Log out" leads for those who came by single sign-on: a path or an address
    #[arg(long = "sso-logout-url", env = "PATCHBAY_SSO_LOGOUT_URL", value_name = "URL", default_value = "")]
    pub logout_url: String,
}

#[derive(Debug, Clone)]
pub struct Sso {
    pub user: HeaderName,
    pub email: Option<HeaderName>,
    pub groups: Option<HeaderName>,
    pub logout_url: Option<String>,
    separator: char,
    roles: Vec<(String, Role)>,
}

impl Sso {
    /// The headers that are believed.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        [Some(&self.user), self.email.as_ref(), self.groups.as_ref()].into_iter().flatten()
    }

    /// The highest role of the groups in a header's value; none where no group has one.
    pub fn role(&self, groups: &str) -> Option<Role> {
        let is_in =
            |group: &str| group == ANYONE || groups.split(self.separator).any(|own| own.trim() == group);
        self.roles.iter().filter(|(group, _)| is_in(group)).map(|(_, role)| *role).max()
    }
}

impl SsoArgs {
    /// None where it is off.
    pub fn validate(&self, has_trusted_proxies: bool) -> Result<Option<Sso>, Vec<SettingError>> {
        let [user, email, groups] = self.header_names()?;
        let Some(user) = user else { return self.refuse_leftovers() };
        let mut wrong = Vec::new();
        let mut note = |problem| wrong.push(problem);
        if !has_trusted_proxies {
            let why = "without it the headers of single sign-on are believed from nowhere: set the address of the reverse \
                       proxy that sends them";
            note(SettingError::invalid("PATCHBAY_TRUSTED_PROXIES", why));
        }
        let separator = separator(&self.groups_separator).map_err(&mut note).unwrap_or_default();
        let roles = roles(&self.roles, groups.is_some()).map_err(&mut note).unwrap_or_default();
        let logout_url = logout_url(&self.logout_url).map_err(&mut note).unwrap_or_default();
        if wrong.is_empty() {
            Ok(Some(Sso { user, email, groups, logout_url, separator, roles }))
        } else {
            Err(wrong)
        }
    }

    /// Of user, e-mail and groups.
    fn header_names(&self) -> Result<[Option<HeaderName>; 3], Vec<SettingError>> {
        let given = [
            ("PATCHBAY_SSO_USER_HEADER", &self.user_header),
            ("PATCHBAY_SSO_EMAIL_HEADER", &self.email_header),
            ("PATCHBAY_SSO_GROUPS_HEADER", &self.groups_header),
        ];
        let mut names = [const { None }; 3];
        let mut wrong = Vec::new();
        for (at, (setting, text)) in given.into_iter().enumerate() {
            match header_name(setting, text) {
                Ok(Some(name)) if names.contains(&Some(name.clone())) => {
                    wrong.push(SettingError::invalid(
                        setting,
                        "another of these settings has the same header",
                    ));
                }
                Ok(name) => names[at] = name,
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() { Ok(names) } else { Err(wrong) }
    }

    /// Settings that have no effect without the first are mistakes.
    fn refuse_leftovers(&self) -> Result<Option<Sso>, Vec<SettingError>> {
        let given = [
            ("PATCHBAY_SSO_EMAIL_HEADER", &self.email_header),
            ("PATCHBAY_SSO_GROUPS_HEADER", &self.groups_header),
            ("PATCHBAY_SSO_ROLES", &self.roles),
            ("PATCHBAY_SSO_LOGOUT_URL", &self.logout_url),
        ];
        let left: Vec<_> = given
            .into_iter()
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(setting, _)| {
                SettingError::invalid(setting, "it needs PATCHBAY_SSO_USER_HEADER, which is not set")
            })
            .collect();
        if left.is_empty() { Ok(None) } else { Err(left) }
    }
}

fn header_name(setting: &str, text: &str) -> Result<Option<HeaderName>, SettingError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let name: HeaderName = text.parse().map_err(|_| {
        SettingError::invalid(setting, format!("{text:?} is no name of a header, such as X-Forwarded-User"))
    })?;
    if RESERVED.contains(&name) {
        return Err(SettingError::invalid(
            setting,
            format!("{name} has another meaning: choose another header"),
        ));
    }
    Ok(Some(name))
}

fn separator(text: &str) -> Result<char, SettingError> {
    match text.trim() {
        "" | "," => Ok(','),
        "|" => Ok('|'),
        ";" => Ok(';'),
        _ => Err(SettingError::invalid("PATCHBAY_SSO_GROUPS_SEPARATOR", "it is a comma, | or ;")),
    }
}

fn roles(text: &str, has_groups: bool) -> Result<Vec<(String, Role)>, SettingError> {
    let wrong = |why: String| SettingError::invalid("PATCHBAY_SSO_ROLES", why);
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let role = |part: &str| {
        let (group, role) = part.rsplit_once('=')?;
        let group = Some(group.trim()).filter(|group| !group.is_empty())?;
        Some((group.to_owned(), role.trim().parse().ok()?))
    };
    let roles: Vec<(String, Role)> = parts
        .map(|part| {
            role(part).ok_or_else(|| {
                wrong(format!("{part:?} is not GROUP=ROLE, where the role is viewer, operator or admin"))
            })
        })
        .collect::<Result<_, _>>()?;
    if roles.is_empty() {
        return Err(wrong("say which group has which role, such as admins=admin,*=viewer".to_owned()));
    }
    if !has_groups && let Some((group, _)) = roles.iter().find(|(group, _)| group != ANYONE) {
        return Err(wrong(format!("the group {group:?} needs PATCHBAY_SSO_GROUPS_HEADER, which is not set")));
    }
    Ok(roles)
}

/// A path on the same host, or an address.
fn logout_url(text: &str) -> Result<Option<String>, SettingError> {
    let text = text.trim();
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
    let is_address = || Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    match text {
        "" => Ok(None),
        _ if is_path || is_address() => Ok(Some(text.to_owned())),
        _ => Err(SettingError::invalid(
            "PATCHBAY_SSO_LOGOUT_URL",
            "it is a path such as /oauth2/sign_out, or an address",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SsoArgs {
        SsoArgs {
            user_header: "X-Forwarded-User".to_owned(),
            groups_header: "x-forwarded-groups".to_owned(),
            roles: "platform admins = admin, cn=sre=operator,*=viewer,".to_owned(),
            ..SsoArgs::default()
        }
    }

    #[test]
    fn highest_role_of_exact_groups_counts() {
        let sso = |separator: &str, roles: &str| {
            let args = SsoArgs { groups_separator: separator.to_owned(), roles: roles.to_owned(), ..args() };
            args.validate(true).unwrap().unwrap()
        };
        let roles = "platform admins = admin, cn=sre=operator,";
        let [commas, pipes] = [",", "|"].map(|sign| sso(sign, roles));
        for (groups, role) in [
            ("cn=sre, platform admins", Some(Role::Admin)),
            (" \tcn=sre ,,", Some(Role::Operator)),
            ("", None),
            (",", None),
            ("*", None),
            ("Platform Admins", None),
            ("platform admins x", None),
            ("\"platform admins\"", None),
            ("platform%20admins", None),
            ("cn=sre|platform admins", None),
            ("cn=sre;platform admins", None),
        ] {
            assert_eq!(commas.role(groups), role, "{groups:?}");
        }
        assert_eq!(pipes.role("x | platform admins|"), Some(Role::Admin));
        assert_eq!(pipes.role("x,platform admins"), None, "a comma belongs to the name");
        assert_eq!(sso("", "a=viewer,*=operator").role("a"), Some(Role::Operator));
    }

    #[test]
    fn reports_every_invalid_setting() {
        let refused = |args: SsoArgs, is_trusted| {
            let wrong = args.validate(is_trusted).unwrap_err();
            wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert!(SsoArgs::default().validate(false).unwrap().is_none());
        let wrong = refused(
            SsoArgs {
                groups_separator: "x".to_owned(),
                roles: "admins=root".to_owned(),
                logout_url: "javascript:alert(1)".to_owned(),
                ..args()
            },
            false,
        );
        for name in ["TRUSTED_PROXIES", "SSO_GROUPS_SEPARATOR", "SSO_ROLES", "SSO_LOGOUT_URL"] {
            assert!(wrong.contains(&format!("PATCHBAY_{name}: ")), "{wrong}");
        }
        for user_header in ["Cookie", "authorization", "X Forwarded", "x-forwarded-groups", "x:y"] {
            let wrong = refused(SsoArgs { user_header: user_header.to_owned(), ..args() }, true);
            assert!(wrong.contains("_HEADER: "), "{user_header}: {wrong}");
        }
        for roles in ["", "admins", "=admin", "admins=admin=x"] {
            let wrong = refused(SsoArgs { roles: roles.to_owned(), ..args() }, true);
            assert!(wrong.starts_with("PATCHBAY_SSO_ROLES: "), "{roles}: {wrong}");
        }
        let wrong = refused(SsoArgs { groups_header: String::new(), ..args() }, true);
        assert!(wrong.contains("needs PATCHBAY_SSO_GROUPS_HEADER"), "{wrong}");
        let wrong = refused(SsoArgs { user_header: String::new(), ..args() }, true);
        assert!(wrong.contains("PATCHBAY_SSO_ROLES: it needs PATCHBAY_SSO_USER_HEADER"), "{wrong}");
        for url in ["//evil.example", "/\\evil.example", "ftp://x", "sign_out"] {
            let wrong = refused(SsoArgs { logout_url: url.to_owned(), ..args() }, true);
            assert!(wrong.contains("LOGOUT_URL"), "{url}: {wrong}");
        }
    }
}
