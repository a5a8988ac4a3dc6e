//! The host names that a server answers to. A page whose name is pointed at this machine (DNS rebinding) is same-origin
//! with the server it asks: only the name in its requests gives it away.

use std::net::{Ipv6Addr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use url::Host;

use super::SettingError;

/// Names of loopback addresses are always answered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    Any,
    /// Each with the one port that it is good for, or any.
    Named(Vec<(Host, Option<u16>)>),
}

impl Default for Hosts {
    /// Loopback names only.
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl Hosts {
    /// Reads a comma-separated list; `*` is any name. Without a list, a server on a loopback address answers to loopback
    /// names, and another one to any: what it is called is not known.
    pub fn read(setting: &str, text: Option<&str>, bind: SocketAddr) -> Result<Self, SettingError> {
        let all: Vec<&str> =
            text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if all.contains(&"*") || (all.is_empty() && !bind.ip().to_canonical().is_loopback()) {
            return Ok(Self::Any);
        }
        let wrong = |name: &str| {
            let why =
                format!("{name:?} is not a host name such as patchbay.example or patchbay.example:8443");
            SettingError::invalid(setting, why)
        };
        all.into_iter()
            .map(|name| entry(name).ok_or_else(|| wrong(name)))
            .collect::<Result<_, _>>()
            .map(Self::Named)
    }

    /// Whether the `Host` header is one of the names. Browsers always send it.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::HOST) else { return true };
        let Self::Named(names) = self else { return true };
        let Some((host, port)) = Authority::try_from(value.as_bytes()).ok().as_ref().and_then(parts) else {
            return false;
        };
        let is_port = |wanted: Option<u16>| match (wanted, port) {
            (None, _) => true,
            // Browsers leave a scheme's own port out.
            (Some(wanted), None) => matches!(wanted, 80 | 443),
            (wanted, port) => wanted == port,
        };
        is_loopback(&host) || names.iter().any(|(name, port)| *name == host && is_port(*port))
    }
}

fn entry(text: &str) -> Option<(Host, Option<u16>)> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some((Host::Ipv6(address), None));
    }
    // Unlike an authority, a name may have letters beyond ASCII.
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    Some((host(name)?, port))
}

fn parts(authority: &Authority) -> Option<(Host, Option<u16>)> {
    let is_plain = !authority.as_str().contains('@');
    is_plain.then(|| Some((host(authority.host())?, authority.port_u16())))?
}

/// In lower case, without the dot at the end of a whole name.
fn host(name: &str) -> Option<Host> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.contains(['/', '*', '%']) {
        return None;
    }
    Host::parse(name).ok()
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => std::net::IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:10950";

    fn hosts(text: &str, bind: &str) -> Hosts {
        Hosts::read("PATCHBAY_HOSTS", Some(text), bind.parse().unwrap()).unwrap()
    }

    fn allows(hosts: &Hosts, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.allow(&headers)
    }

    #[test]
    fn loopback_names_are_those_that_nobody_else_can_have() {
        let hosts = hosts("", LOOPBACK);
        for own in [
            "localhost",
            "LOCALHOST:10950",
            "localhost.",
            "127.0.0.1:10950",
            "127.9.9.9",
            "[::1]:10950",
            "[::ffff:127.0.0.1]",
            "a.localhost:1",
        ] {
            assert!(allows(&hosts, own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:10950",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "192.0.2.1",
            "0.0.0.0",
            "[::ffff:192.0.2.1]",
            "a b",
            "[::1",
            "localhost/",
        ] {
            assert!(!allows(&hosts, other), "{other}");
        }
    }

    #[test]
    fn listed_names_are_answered_to() {
        let hosts = hosts(
            " Patchbay.example , b.example:8443,192.0.2.1, [2001:db8::1], bücher.example,c.example:443",
            LOOPBACK,
        );
        for good in [
            "patchbay.example",
            "PATCHBAY.EXAMPLE.:1",
            "b.example:8443",
            "192.0.2.1:10950",
            "[2001:db8::1]:1",
            "xn--bcher-kva.example",
            "c.example",
            "c.example:443",
            "localhost",
        ] {
            assert!(allows(&hosts, good), "{good}");
        }
        for bad in
            ["b.example", "b.example:8444", "a.patchbay.example", "192.0.2.2", "c.example:80", "evil.example"]
        {
            assert!(!allows(&hosts, bad), "{bad}");
        }
    }

    #[test]
    fn any_name_is_good_where_none_can_be_known() {
        for (text, bind) in
            [("*", LOOPBACK), ("", "0.0.0.0:1"), (" , ", "[::]:1"), ("a.example,*", "0.0.0.0:1")]
        {
            assert_eq!(hosts(text, bind), Hosts::Any, "{text:?} {bind}");
        }
        assert_eq!(hosts("", "[::ffff:127.0.0.1]:1"), Hosts::default());
        for wrong in
            ["http://a.example", "a b", "a.example:x", "*.example", "u@a.example", "a.example/x", ":80"]
        {
            let read = Hosts::read("PATCHBAY_HOSTS", Some(wrong), LOOPBACK.parse().unwrap());
            assert!(read.unwrap_err().to_string().starts_with("PATCHBAY_HOSTS: "), "{wrong}");
        }
    }
}
