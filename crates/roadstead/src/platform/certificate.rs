//! Listeners' certificates: the user's own, read again when it changes, or one from the data directory's authority.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use roadstead_apiserver::pki::{Ca, Serving};
use roadstead_kubewire::server::{TlsConfig, load_config, tls_config};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

/// How often the user's files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate from the user's files; swapped within seconds of a change. A pair that does not fit together, as between two
/// writes, leaves the old one in use.
pub fn from_files(cert: PathBuf, key: PathBuf, stop: CancellationToken) -> Result<TlsConfig> {
    let config = tls_config(load_config(&cert, &key)?);
    let served = config.clone();
    tokio::spawn(async move {
        let mut known = changed(&cert, &key);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = changed(&cert, &key);
            if now == known {
                continue;
            }
            match load_config(&cert, &key) {
                Ok(new) => {
                    served.store(Arc::new(new));
                    known = now;
                    tracing::info!(file = %cert.display(), "the certificate was read again");
                }
                Err(error) => tracing::warn!(%error, "the changed certificate can't be used; the old one stays"),
            }
        }
    });
    Ok(config)
}

fn changed(cert: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [cert, key].map(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

/// A certificate from our own authority, for the address, loopback and the host of the public URL; renewed until `stop`.
pub fn from_ca(ca: Arc<Ca>, address: SocketAddr, public_url: &str, stop: CancellationToken) -> Result<TlsConfig> {
    for_names(ca, names(address, public_url)?, stop)
}

/// A certificate from our own authority for these names, renewed until `stop`.
pub fn for_names(ca: Arc<Ca>, names: Vec<String>, stop: CancellationToken) -> Result<TlsConfig> {
    let serving = Arc::new(Serving::new(ca, names).context("a listener's certificate")?);
    let tls = serving.tls();
    tokio::spawn(async move { serving.keep_fresh(stop).await });
    Ok(tls)
}

/// Names that clients may know the listener by.
fn names(address: SocketAddr, public_url: &str) -> Result<Vec<String>> {
    let mut names = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    if !address.ip().is_unspecified() {
        add(address.ip().to_string());
    }
    let url = Url::parse(public_url)
        .with_context(|| format!("--public-url {public_url:?} is not a URL such as https://hub.example.com"))?;
    match url.host().with_context(|| format!("--public-url {public_url:?} names no host"))? {
        Host::Domain(name) => add(name.to_string()),
        Host::Ipv4(ip) => add(IpAddr::from(ip).to_string()),
        Host::Ipv6(ip) => add(IpAddr::from(ip).to_string()),
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_every_name_that_clients_may_use() {
        let of = |address: &str, url: &str| names(address.parse().unwrap(), url).unwrap()[3..].to_vec();
        assert_eq!(of("127.0.0.1:7080", "https://127.0.0.1:7080"), [""; 0]);
        assert_eq!(of("0.0.0.0:7080", "https://hub.example.com"), ["hub.example.com"]);
        assert_eq!(of("192.0.2.7:7080", "https://[2001:db8::1]:7080/base"), ["192.0.2.7", "2001:db8::1"]);
        assert!(names("127.0.0.1:1".parse().unwrap(), "hub").is_err());
    }
}
