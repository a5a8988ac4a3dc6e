//! By which name the dashboard is asked for.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::config::Login;
use crate::web::errors::Problem;

/// A password that everybody knows is good for this machine alone. But a page from elsewhere whose name is pointed at
/// this machine once it is open would be asked for by its own name, and could log in with it: so only the machine's
/// own names count while that password is in use.
pub(super) fn check(login: &Login, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    if login.is_default && host.is_some_and(|host| !is_own(host)) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "The default password is for this machine alone",
            "While it is in use the dashboard answers by the names of this machine only, such as localhost.",
            "Set UI_USERNAME and UI_PASSWORD, or ask for 127.0.0.1 or localhost.",
        ));
    }
    Ok(())
}

fn is_own(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_loopback || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_the_machines_own() {
        for own in
            ["localhost", "LOCALHOST:10950", "127.0.0.1:10950", "127.9.9.9", "[::1]:10950", "a.localhost:1"]
        {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:10950",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "192.0.2.1",
            "0.0.0.0",
            "[::ffff:192.0.2.1]",
            "a b",
            "[::1",
        ] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }
}
