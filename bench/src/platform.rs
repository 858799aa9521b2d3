//! A `roadstead up` of our own on free ports and an empty directory, killed when dropped.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use roadstead_api::WebhookEndpoint;
use serde_json::json;

/// Signing key of every endpoint here.
pub const KEY: &[u8] = b"bench-signing-key-of-32-bytes-ok";

/// A running platform.
pub struct Platform {
    child: Child,
    /// Its data.
    pub dir: tempfile::TempDir,
    /// Public listener.
    pub hub: SocketAddr,
    /// From start to ready.
    pub ready_after: Duration,
}

impl Platform {
    /// Starts one. `flags` are added to the command line.
    pub async fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir_in(scratch())?;
        Self::start_in(binary, flags, dir).await
    }

    async fn start_in(binary: &Path, flags: &[&str], dir: tempfile::TempDir) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("up").arg("--data-dir").arg(dir.path().join("data"));
        for flag in ["hub", "admin", "api", "http", "https"] {
            command.arg(format!("--{flag}-listen")).arg("127.0.0.1:0");
        }
        let log = std::fs::File::create(dir.path().join("log.txt"))?;
        command.args(flags).env("RUST_LOG", "warn").stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| {
            format!("can't start {}: build it first with `cargo build --release -p roadstead`", binary.display())
        })?;
        let mut platform = Self { child, dir, hub: ([127, 0, 0, 1], 0).into(), ready_after: Duration::ZERO };
        loop {
            if let Some(hub) = platform.address()
                && is_ready(hub).await
            {
                (platform.hub, platform.ready_after) = (hub, started.elapsed());
                return Ok(platform);
            }
            if let Some(status) = platform.child.try_wait()? {
                bail!(
                    "roadstead ended with {status}: {}",
                    std::fs::read_to_string(platform.dir.path().join("log.txt"))?
                );
            }
            if started.elapsed() > Duration::from_secs(30) {
                bail!("roadstead was not ready within 30 s");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(self.dir.path().join("data/addresses.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?["hub"].as_str()?.parse().ok()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("data/kubeconfig")
    }

    /// An administrator's client.
    pub async fn client(&self) -> Result<Client> {
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(self.kubeconfig())?, &KubeConfigOptions::default())
                .await?;
        Ok(Client::try_from(config)?)
    }

    /// Makes a GitHub endpoint; the path of its URL.
    pub async fn endpoint(&self, name: &str) -> Result<String> {
        self.endpoint_for(name, "github").await
    }

    /// Makes an endpoint for a provider, with a Secret of the same name; the path of its URL.
    pub async fn endpoint_for(&self, name: &str, provider: &str) -> Result<String> {
        let client = self.client().await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
        let secret = json!({"metadata": {"name": name}, "stringData": {"key": String::from_utf8_lossy(KEY)}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        let endpoints: Api<WebhookEndpoint> = Api::namespaced(client, "default");
        let spec = json!({"provider": provider, "secrets": [{"name": name, "key": "key"}]});
        let endpoint = json!({"apiVersion": "roadstead.dev/v1alpha1", "kind": "WebhookEndpoint", "metadata": {"name": name}, "spec": spec});
        endpoints.create(&PostParams::default(), &serde_json::from_value(endpoint)?).await?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let status = endpoints.get(name).await?.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if let (Some(url), true) = (status.url, ready) {
                return Ok(url.split_once("/hooks/").map(|(_, id)| format!("/hooks/{id}")).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the endpoint was not ready within 10 s")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where benchmarks write: beside the build, on the same disk as a user's data would be, not in memory.
pub fn scratch() -> PathBuf {
    let dir = PathBuf::from("target/bench");
    let _ = std::fs::create_dir_all(&dir);
    if dir.is_dir() { dir } else { std::env::temp_dir() }
}

async fn is_ready(hub: SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(hub).await else { return false };
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}
