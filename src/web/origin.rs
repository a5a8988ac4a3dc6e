//! Where a request came from: the address of whoever connected, or what a trusted reverse proxy says of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;

use crate::config::{Access, Login};
use crate::web::errors::Problem;
use crate::web::host;
use crate::web::paths::route;

#[derive(Debug, Clone, Copy)]
pub(super) struct Origin(pub(super) Option<IpAddr>);

impl Origin {
    pub(super) fn of(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().and_then(|origin| origin.0)
    }
}

/// Who connected: a reverse proxy, where there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) is_trusted: bool,
}

/// Notes the address, and refuses names that are not the dashboard's.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    State(login): State<Arc<Login>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // Orchestrators ask by the address of a container, which is not known beforehand.
    if !route.ends_with(route::Healthz::PATH) && !route.ends_with(route::Readyz::PATH) {
        host::check(&login, &access.hosts, request.headers())?;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    if let Some(address) = peer {
        let is_trusted = is_trusted(address, &access.trusted_proxies);
        request.extensions_mut().insert(Peer { address, is_trusted });
    }
    let address = peer.map(|peer| address(peer, request.headers(), &access.trusted_proxies));
    request.extensions_mut().insert(Origin(address));
    Ok(next.run(request).await)
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Behind trusted proxies it is the last address that none of them has, in the order in which they added them:
/// what stands before it anyone can have made up.
fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut nearest = peer;
    for text in named.iter().rev() {
        let Some(address) = parse(text.trim()) else { break };
        nearest = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    nearest
}

fn parse(text: &str) -> Option<IpAddr> {
    let plain = text.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> =
            ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).into();
        let seen = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(seen("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(seen("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("127.0.0.1", &["1.2.3.4, 198.51.100.1, 10.1.2.3"]), "198.51.100.1");
        assert_eq!(seen("127.0.0.1", &["1.2.3.4", "198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(seen("fd00::1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(seen("10.9.9.9", &["1.2.3.4, nonsense, 10.0.0.5"]), "10.0.0.5");
        assert_eq!(seen("127.0.0.1", &["::ffff:198.51.100.2"]), "198.51.100.2");
    }
}
