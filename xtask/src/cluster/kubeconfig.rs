//! Kubeconfigs: one for each user of the cluster, with the certificate inside, so that a file alone is enough.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::pki;
use super::state::{Layout, write_private};

/// Writes the kubeconfig of a client (a file of `pki`) for a server, trusting an authority; gives its path.
pub fn write(layout: &Layout, client: &str, authority: &str, server: &str) -> Result<PathBuf> {
    let read = |file: String| {
        let path = layout.pki(&file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let pem = read(format!("{client}.pem"))?;
    let (certificate, key) = pki::halves(&pem)?;
    let text = render(server, &read(format!("{authority}.crt"))?, certificate, key)?;
    let path = if client == "admin" { layout.kubeconfig() } else { layout.pki(&format!("{client}.kubeconfig")) };
    write_private(&path, &text)?;
    Ok(path)
}

/// A kubeconfig in JSON, which is YAML too.
fn render(server: &str, authority: &str, certificate: &str, key: &str) -> Result<String> {
    const NAME: &str = "roadstead-cluster";
    let cluster = json!({"server": server, "certificate-authority-data": STANDARD.encode(authority)});
    let user = json!({
        "client-certificate-data": STANDARD.encode(certificate),
        "client-key-data": STANDARD.encode(key),
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    });
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_leads_to_server_and_user() {
        let text = render("https://127.0.0.1:1", "CA", "CERT", "KEY").unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["current-context"], config["contexts"][0]["name"]);
        assert_eq!(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "Q0E=");
        assert_eq!(config["users"][0]["user"]["client-key-data"], "S0VZ");
    }
}
