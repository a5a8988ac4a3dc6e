//! By which name the dashboard is asked for.

use axum::http::{HeaderMap, StatusCode};

use crate::config::{Hosts, Login};
use crate::web::errors::Problem;

/// Anyone can log in with the default password, so that only loopback names count while it is in use.
pub(super) fn check(login: &Login, hosts: &Hosts, headers: &HeaderMap) -> Result<(), Problem> {
    let wrong = |title, detail, advice| Problem::new(StatusCode::MISDIRECTED_REQUEST, title, detail, advice);
    if login.is_default && !Hosts::default().allow(headers) {
        return Err(wrong(
            "The default password works on this machine only",
            "While it is in use, the dashboard answers to loopback names only, such as localhost.",
            "Set UI_PASSWORD, or open the dashboard as 127.0.0.1 or localhost.",
        ));
    }
    if !hosts.allow(headers) {
        return Err(wrong(
            "Unknown host name",
            "The dashboard does not answer to the host name of this request.",
            "Add the name to PATCHBAY_HOSTS and restart the dashboard, or open it as 127.0.0.1 or localhost.",
        ));
    }
    Ok(())
}
