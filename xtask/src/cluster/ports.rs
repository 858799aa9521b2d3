//! Free ports, so that clusters can run side by side. A cluster keeps its ports from `up` to `up` where nobody took them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// A port for each name: the known one if it is still free, else a free one. All are held until all are found, so that no two
/// names get the same.
pub fn choose(ip: IpAddr, names: &[&str], known: &BTreeMap<String, u16>) -> Result<BTreeMap<String, u16>> {
    let mut held = Vec::new();
    for name in names {
        let wanted = known.get(*name).copied().unwrap_or(0);
        let listener = TcpListener::bind(SocketAddr::new(ip, wanted))
            .or_else(|_| TcpListener::bind(SocketAddr::new(ip, 0)))
            .with_context(|| format!("no free port on {ip} for {name}"))?;
        held.push((name.to_string(), listener));
    }
    held.into_iter().map(|(name, listener)| Ok((name, listener.local_addr()?.port()))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn known_ports_are_kept_and_taken_ones_replaced() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = choose(ip, &["a", "b", "c"], &BTreeMap::new()).unwrap();
        assert_eq!(first.values().collect::<std::collections::BTreeSet<_>>().len(), 3);
        let taken = TcpListener::bind((ip, first["b"])).unwrap();
        let second = choose(ip, &["a", "b"], &first).unwrap();
        assert_eq!(second["a"], first["a"]);
        assert_ne!(second["b"], taken.local_addr().unwrap().port());
    }
}
