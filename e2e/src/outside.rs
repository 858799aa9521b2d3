//! Hub and agent as processes beside a control plane, with nothing but the rights that they need there.
//!
//! The hub is confined to the platform's namespaces, and the first of them is its system namespace. Since the cluster's own API server
//! does not serve events, a subscriber of all endpoints of that namespace stands in for the administrator there; the agent comes
//! as the same subscriber.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::PostParams};
use roadstead_api::Subscriber;
use roadstead_apiserver::{Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    cluster::{Site, prepared},
    faulty::Faulty,
    ground::Ground,
    http::get,
    process::Process,
    registry::Registry,
    tools,
    up::client,
    wait::eventually,
};

/// The subscriber that stands in for the administrator.
const READER: &str = "e2e-reader";
/// Its token; good only for hubs of these tests.
const TOKEN: &str = "rsub_e2e0000000000000000000000000000000000000000";

/// Hub and agent.
pub(crate) struct Outside {
    pub hub: Process,
    pub agent: Option<Process>,
    pub hub_address: String,
    pub admin_address: String,
    agent_address: String,
    pub data: PathBuf,
    extra: Vec<String>,
    /// After the processes: nobody works in a namespace that goes away.
    pub site: Site,
    pub scratch: TempDir,
}

impl Outside {
    /// Starts both beside the real cluster and waits until the hub is complete.
    pub async fn start(data: Option<&Path>, extra: &[&str], others: &[&str]) -> Result<Outside> {
        let scratch = tempfile::tempdir()?;
        let site = Site::make(prepared().await?, scratch.path(), others).await?;
        Outside::launch(scratch, site, data, extra).await
    }

    /// Starts both with a proxy between them and the control plane: the real cluster, or an embedded one of the test's own.
    pub async fn faulty() -> Result<(Outside, Faulty, Option<Server>)> {
        let scratch = tempfile::tempdir()?;
        let (plane, admin) = match Ground::here() {
            Ground::Kubernetes => (None, prepared().await?.to_path_buf()),
            Ground::Embedded => {
                let data = scratch.path().join("control-plane");
                let options = Options { data_dir: Some(data), crds: roadstead_api::crds(), ..Options::default() };
                let plane = Server::open(options).await?;
                let address = plane.handle().serve(TcpListener::bind("127.0.0.1:0").await?, None)?;
                let kubeconfig = plane.handle().write_kubeconfig(address)?.context("no kubeconfig")?;
                (Some(plane), kubeconfig)
            }
        };
        let site = Site::make(&admin, scratch.path(), &[]).await?;
        let faulty = Faulty::before(&admin).await?;
        faulty.divert(&site.file("hub"))?;
        faulty.divert(&site.file("agent"))?;
        Ok((Outside::launch(scratch, site, None, &[]).await?, faulty, plane))
    }

    async fn launch(scratch: TempDir, site: Site, data: Option<&Path>, extra: &[&str]) -> Result<Outside> {
        let data = data.map_or_else(|| scratch.path().join("data"), PathBuf::from);
        let [hub_address, admin_address, agent_address] =
            [Registry::free_address()?, Registry::free_address()?, Registry::free_address()?];
        let certificate = certificate(scratch.path())?;
        stand_in(&site, &hub_address, &certificate).await?;
        let extra: Vec<String> = extra.iter().map(|argument| argument.to_string()).collect();
        let hub = spawn_hub(&site, &data, &extra, [&hub_address, &admin_address], scratch.path())?;
        let agent = None;
        let mut outside = Outside { hub, agent, hub_address, admin_address, agent_address, data, extra, site, scratch };
        outside.ready().await?;
        outside.site.published().await?;
        outside.agent = Some(outside.spawn_agent()?);
        Ok(outside)
    }

    /// Kubeconfig of who may read the events of the first namespace.
    pub fn reader(&self) -> PathBuf {
        self.site.file("reader")
    }

    /// kill -9 of both.
    pub fn kill(&mut self) -> Result<()> {
        self.hub.kill()?;
        self.agent.as_mut().map_or(Ok(()), Process::kill)
    }

    /// Starts again what has ended.
    pub async fn start_again(&mut self) -> Result<()> {
        self.spawn_hub_again()?;
        self.ready().await?;
        if self.agent.as_mut().map(Process::ended).transpose()?.flatten().is_some() {
            self.agent = Some(self.spawn_agent()?);
        }
        Ok(())
    }

    /// Starts the hub again without waiting for it.
    pub fn spawn_hub_again(&mut self) -> Result<()> {
        ensure!(self.hub.ended()?.is_some(), "it still runs");
        let addresses = [self.hub_address.as_str(), &self.admin_address];
        self.hub = spawn_hub(&self.site, &self.data, &self.extra, addresses, self.scratch.path())?;
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.hub_address);
        let reader = client(&self.reader()).await?;
        let hub = &mut self.hub;
        eventually("`roadstead hub` is ready", async || {
            if let Some(status) = hub.ended()? {
                return Ok(Some(Err(status)));
            }
            let answer = get(&url).await?;
            ensure!(answer.status == 200, "{}", answer.text()?);
            // Ready means that deliveries are taken; the tests' own subscriber must be known too.
            Api::<Subscriber>::default_namespaced(reader.clone()).get(READER).await?;
            Ok(Some(Ok(())))
        })
        .await?
        .map_err(|status| anyhow::anyhow!("it ended with {status}"))
        .context("`roadstead hub` did not start")
    }

    fn spawn_agent(&self) -> Result<Process> {
        let mut command = Command::new(tools::roadstead()?);
        command.arg("agent").arg("--hub").arg(format!("main={}", self.reader().display()));
        command.arg("--kubeconfig").arg(self.site.file("agent")).args(["--admin-listen", &self.agent_address]);
        command.args(["--allow-forward", "loopback", "--watch-namespace", self.site.own()]);
        command.env_remove("KUBECONFIG").env("RUST_BACKTRACE", "1");
        Process::start("roadstead agent", &mut command, &self.scratch.path().join("agent.log"))
    }
}

fn spawn_hub(site: &Site, data: &Path, extra: &[String], at: [&str; 2], scratch: &Path) -> Result<Process> {
    let mut command = Command::new(tools::roadstead()?);
    command.arg("hub").arg("--data-dir").arg(data).arg("--kubeconfig").arg(site.file("hub"));
    command.args(["--hub-listen", at[0], "--admin-listen", at[1]]).arg(format!("--public-url=https://{}", at[0]));
    for (flag, file) in [("--tls-cert", "hub.crt"), ("--tls-key", "hub.key"), ("--tls-ca", "hub.crt")] {
        command.arg(flag).arg(scratch.join(file));
    }
    command.args(["--allow-target", "127.0.0.0/8", "--system-namespace", site.own()]);
    for namespace in &site.namespaces {
        command.args(["--watch-namespace", namespace]);
    }
    command.args(extra).env_remove("KUBECONFIG").env("RUST_BACKTRACE", "1");
    Process::start("roadstead hub", &mut command, &scratch.join("hub.log"))
}

/// A certificate for the loopback address, which is its own authority: `hub.crt` and `hub.key`. Gives its PEM.
fn certificate(directory: &Path) -> Result<String> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string(), "localhost".to_string()])?;
    let pem = made.cert.pem();
    std::fs::write(directory.join("hub.crt"), &pem)?;
    std::fs::write(directory.join("hub.key"), made.signing_key.serialize_pem())?;
    Ok(pem)
}

/// A subscriber of every endpoint of the first namespace, and its kubeconfig `reader`.
async fn stand_in(site: &Site, hub: &str, ca: &str) -> Result<()> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let hash = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let spec = serde_json::from_value(json!({"selector": {}, "tokens": [{"sha256": hash}]}))?;
    let api: Api<Subscriber> = Api::namespaced(site.client.clone(), site.own());
    api.create(&PostParams::default(), &Subscriber::new(READER, spec)).await?;
    let cluster = json!({"server": format!("https://{hub}"), "certificate-authority-data": STANDARD.encode(ca)});
    let context = json!({"cluster": "hub", "user": READER, "namespace": site.own()});
    let kubeconfig: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "hub",
        "clusters": [{"name": "hub", "cluster": cluster}],
        "users": [{"name": READER, "user": {"token": TOKEN}}],
        "contexts": [{"name": "hub", "context": context}],
    });
    std::fs::write(site.file("reader"), kubeconfig.to_string())?;
    Ok(())
}
