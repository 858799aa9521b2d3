//! Where a request really came from, when proxies that we trust stand before us.
//!
//! Only a configured `--trusted-proxy` may say so: from it, and from it alone, `X-Forwarded-For` counts (read from the
//! right, skipping trusted hops) and a plain connection counts as secure, since the proxy terminated TLS.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use roadstead_reconcile::targets::Cidr;

/// The sender's address, and whether its connection is to be trusted with tokens.
pub fn source(peer: SocketAddr, tls: bool, headers: &HeaderMap, trusted: &[Cidr]) -> (IpAddr, bool) {
    let is_trusted = |address: IpAddr| trusted.iter().any(|cidr| cidr.contains(address));
    if !is_trusted(peer.ip()) {
        return (peer.ip().to_canonical(), tls);
    }
    let hops: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map_while(|hop| hop.trim().parse().ok())
        .collect();
    let sender = hops.iter().rev().copied().find(|hop| !is_trusted(*hop)).unwrap_or(peer.ip());
    (sender.to_canonical(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.1, 203.0.113.7".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.9".parse().unwrap());
        let of = |peer: &str, tls| source(peer.parse().unwrap(), tls, &headers, &trusted);
        assert_eq!(of("192.0.2.1:5", false), ("192.0.2.1".parse().unwrap(), false));
        assert_eq!(of("192.0.2.1:5", true), ("192.0.2.1".parse().unwrap(), true));
        assert_eq!(of("10.0.0.1:5", false), ("203.0.113.7".parse().unwrap(), true), "the last hop that is not ours");
        let none = source("10.0.0.1:5".parse().unwrap(), false, &HeaderMap::new(), &trusted);
        assert_eq!(none, ("10.0.0.1".parse().unwrap(), true));
    }
}
