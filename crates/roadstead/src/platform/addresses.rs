//! `DATA_DIR/addresses.json`: where a running `up` listens, for the command line and for scripts.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

const FILE: &str = "addresses.json";

/// Addresses in use. The file has the same keys.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// Public listener: hooks and gateway.
    pub hub: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// Kubernetes API, TLS.
    pub api: SocketAddr,
    /// Applications, plain.
    pub http: SocketAddr,
    /// Applications, TLS.
    pub https: SocketAddr,
}

impl Addresses {
    /// Writes the file; a reader sees the old or the new one, never a part.
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        let (file, draft) = (data_dir.join(FILE), data_dir.join(".addresses.json.new"));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &file))
            .with_context(|| format!("can't write {}", file.display()))
    }

    /// Takes the file away when the addresses are no longer in use.
    pub fn remove(data_dir: &Path) {
        let _ = fs::remove_file(data_dir.join(FILE));
    }
}
