//! `roadstead up` as a real process: started on free ports, killed, started again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use tempfile::TempDir;

use crate::http::get;
use crate::kubectl::Kubectl;
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;

/// A running platform.
pub struct Up {
    process: Process,
    addresses: Addresses,
    data: PathBuf,
    extra: Vec<String>,
    /// Holds log and, unless given, the data; removed at the end.
    scratch: TempDir,
}

/// `DATA_DIR/addresses.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Addresses {
    /// Hooks and the subscribers' gateway.
    pub hub: String,
    /// Metrics and dashboard.
    pub admin: String,
    /// The Kubernetes API.
    pub api: String,
    /// Apps, plain.
    pub http: Option<String>,
    /// Apps, TLS.
    pub https: Option<String>,
}

impl Up {
    /// Starts on an empty directory and free ports, with more arguments, and waits until it is ready.
    pub async fn with(extra: &[&str]) -> Result<Up> {
        let scratch = tempfile::tempdir()?;
        let data = scratch.path().join("data");
        Up::launch(scratch, data, extra).await
    }

    /// On a directory that the test owns.
    pub async fn on(data: &Path, extra: &[&str]) -> Result<Up> {
        Up::launch(tempfile::tempdir()?, data.into(), extra).await
    }

    async fn launch(scratch: TempDir, data: PathBuf, extra: &[&str]) -> Result<Up> {
        let extra: Vec<String> = extra.iter().map(|argument| argument.to_string()).collect();
        let mut process = spawn(&data, &extra, None, scratch.path())?;
        let addresses = ready(&mut process, &data).await?;
        Ok(Up { process, addresses, data, extra, scratch })
    }

    /// kill -9, without warning.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same data and the same addresses.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.ended()?.is_some(), "it still runs");
        self.process = spawn(&self.data, &self.extra, Some(&self.addresses), self.scratch.path())?;
        self.addresses = ready(&mut self.process, &self.data).await?;
        Ok(())
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has written.
    pub fn process_log(&self) -> String {
        self.process.log()
    }

    /// Where its listeners are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// kubectl as admin.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.kubeconfig())
    }
}

/// A kube-rs client for any kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    // Whoever is second finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Runs a verb of the command line with a kubeconfig; gives stdout.
pub fn cli(kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(tools::roadstead()?).args(arguments).env("KUBECONFIG", kubeconfig).output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    if !output.status.success() {
        bail!("roadstead {} ended with {}: {stderr}", arguments.join(" "), output.status);
    }
    Ok(stdout)
}

/// Starts a verb of the command line with a kubeconfig in the background; its log is in `scratch`.
pub fn spawn_cli(kubeconfig: &Path, scratch: &Path, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(tools::roadstead()?);
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    let log = scratch.join(format!("cli-{}.log", arguments.join("-").replace('/', "_")));
    Process::start(&format!("roadstead {}", arguments.join(" ")), &mut command, &log)
}

fn spawn(data: &Path, extra: &[String], again: Option<&Addresses>, scratch: &Path) -> Result<Process> {
    // The file of an earlier run would be taken for this one's.
    let _ = std::fs::remove_file(data.join("addresses.json"));
    let any = || "127.0.0.1:0".to_string();
    let mut command = Command::new(tools::roadstead()?);
    command.arg("up").arg("--data-dir").arg(data);
    for (flag, address) in [
        ("--hub-listen", again.map(|a| a.hub.clone())),
        ("--admin-listen", again.map(|a| a.admin.clone())),
        ("--api-listen", again.map(|a| a.api.clone())),
        ("--http-listen", again.and_then(|a| a.http.clone())),
        ("--https-listen", again.and_then(|a| a.https.clone())),
    ] {
        command.arg(flag).arg(address.unwrap_or_else(any));
    }
    command.args(extra).env_remove("KUBECONFIG").env("RUST_BACKTRACE", "1");
    Process::start("roadstead up", &mut command, &scratch.join("up.log"))
}

async fn ready(process: &mut Process, data: &Path) -> Result<Addresses> {
    let file = data.join("addresses.json");
    let mut look = async || {
        if let Some(status) = process.ended()? {
            return Ok(Some(Err(status)));
        }
        let addresses: Addresses = serde_json::from_slice(&std::fs::read(&file)?)?;
        let answer = get(&format!("http://{}/readyz", addresses.hub)).await?;
        Ok((answer.status == 200).then_some(Ok(addresses)))
    };
    eventually("`roadstead up` is ready", &mut look)
        .await?
        .map_err(|status| anyhow::anyhow!("it ended with {status}"))
        .context("`roadstead up` did not start")
}
