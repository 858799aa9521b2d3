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
    (forwarded_for(headers, is_trusted).unwrap_or(peer.ip()).to_canonical(), true)
}

/// The first hop from the right that is not a trusted proxy. Everything left of it was said by whoever sent it; so was
/// everything left of a hop that can't be read, which ends the walk at the last proxy.
fn forwarded_for(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            let Some(hop) = address(hop.trim()) else { return last };
            last = Some(hop);
            if !is_trusted(hop) {
                return last;
            }
        }
    }
    last
}

/// An address as proxies write it: bare, with a port, or an IPv6 address in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = || hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare().or_else(with_port).or_else(bracketed)
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
        // What is left of something unreadable was made up by the sender.
        for (text, expected) in [
            ("198.51.100.9, x, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.9, x, 10.0.0.9", "10.0.0.9"),
            ("198.51.100.9, 203.0.113.7:4711, 10.0.0.9", "203.0.113.7"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::2]", "2001:db8::2"),
            ("", "10.0.0.1"),
        ] {
            let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), text.parse().unwrap())]);
            let (from, _) = source("10.0.0.1:5".parse().unwrap(), false, &headers, &trusted);
            assert_eq!(from, expected.parse::<IpAddr>().unwrap(), "{text}");
        }
        let none = source("10.0.0.1:5".parse().unwrap(), false, &HeaderMap::new(), &trusted);
        assert_eq!(none, ("10.0.0.1".parse().unwrap(), true));
    }
}
