//! Debian's docker-registry with notifications pointed at a hook, and skopeo as its client.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::http::get;
use crate::image::{write_index, write_layout};
use crate::process::Process;
use crate::wait::eventually;

/// A running registry without TLS and login.
pub struct Registry {
    address: String,
    process: Process,
    scratch: TempDir,
}

impl Registry {
    /// An address for a registry that is yet to start: its hook wants to know it first.
    pub fn free_address() -> Result<String> {
        Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
    }

    /// Starts at `address`, posting to `hook` with `Authorization: Bearer <token>`.
    pub async fn start(address: &str, hook: &str, token: &str) -> Result<Registry> {
        let scratch = tempfile::tempdir()?;
        let configuration = configuration(address, hook, token, &scratch.path().join("storage"));
        std::fs::write(scratch.path().join("config.yml"), configuration)?;
        let registry = Registry { address: address.into(), process: serve(scratch.path())?, scratch };
        registry.answers().await?;
        Ok(registry)
    }

    /// Kills it (SIGKILL), with all that it had yet to tell its hook, and starts it again over the same storage.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = serve(self.scratch.path())?;
        self.answers().await
    }

    async fn answers(&self) -> Result<()> {
        eventually("the registry answers", async || {
            Ok((get(&format!("http://{}/v2/", self.address)).await?.status == 200).then_some(()))
        })
        .await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Pushes an image made of `content`; gives its digest.
    pub fn push(&self, repository: &str, tag: &str, content: &str) -> Result<String> {
        let name = format!("{}-{tag}", repository.replace('/', "-"));
        let (layout, digest) = (self.scratch.path().join(&name), self.scratch.path().join(name + ".digest"));
        write_layout(&layout, content)?;
        let (from, to) = (format!("oci:{}:image", layout.display()), self.image(repository, tag));
        // skopeo compresses the layer on its way; it knows the digest of what it has pushed.
        skopeo(&["copy", "--dest-tls-verify=false", "--digestfile", &digest.display().to_string(), &from, &to])?;
        Ok(std::fs::read_to_string(digest)?.trim().to_string())
    }

    /// Pushes an image that is there as an OCI archive.
    pub fn push_archive(&self, repository: &str, tag: &str, archive: &Path) -> Result<()> {
        let from = format!("oci-archive:{}", archive.display());
        skopeo(&["copy", "--dest-tls-verify=false", &from, &self.image(repository, tag)])
    }

    /// Pushes an index of images, one for each architecture; gives the index' digest.
    pub fn push_index(&self, repository: &str, tag: &str, architectures: &[&str]) -> Result<String> {
        let layout = self.scratch.path().join(format!("index-{tag}"));
        let digest = write_index(&layout, tag, architectures)?;
        let (from, to) = (format!("oci:{}:image", layout.display()), self.image(repository, tag));
        skopeo(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to])?;
        Ok(digest)
    }

    /// Gives an image one more tag.
    pub fn tag(&self, repository: &str, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.image(repository, from), self.image(repository, to));
        skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to])
    }

    /// Deletes the manifest that a tag points at, with all its tags.
    pub fn delete(&self, repository: &str, tag: &str) -> Result<()> {
        skopeo(&["delete", "--tls-verify=false", &self.image(repository, tag)])
    }

    fn image(&self, repository: &str, tag: &str) -> String {
        format!("docker://{}/{repository}:{tag}", self.address)
    }
}

fn serve(scratch: &Path) -> Result<Process> {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(scratch.join("config.yml"));
    Process::start("docker-registry", &mut command, &scratch.join("registry.log"))
}

fn configuration(address: &str, hook: &str, token: &str, storage: &Path) -> String {
    serde_json::json!({
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": storage}, "delete": {"enabled": true}},
        "http": {"addr": address},
        "notifications": {"endpoints": [{
            "name": "hub", "url": hook, "headers": {"Authorization": [format!("Bearer {token}")]},
            "timeout": "2s", "threshold": 3, "backoff": "200ms",
        }]},
    })
    .to_string()
}

fn skopeo(arguments: &[&str]) -> Result<()> {
    let output = Command::new("skopeo").arg("--insecure-policy").args(arguments).output()?;
    if !output.status.success() {
        bail!("skopeo {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
