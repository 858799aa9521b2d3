//! `roadstead agent` on a device: a control plane of its own that nobody reaches from outside, and a hub that it dials.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::process::Process;
use crate::tools;
use crate::up;
use crate::wait::eventually;

/// A running agent with its own control plane.
pub struct Agent {
    process: Process,
    data: PathBuf,
    hub: PathBuf,
    scratch: TempDir,
}

impl Agent {
    /// Starts one; `hub` is the kubeconfig that `subscriber add` printed.
    pub async fn start(hub: &str) -> Result<Agent> {
        let scratch = tempfile::tempdir()?;
        let (data, file) = (scratch.path().join("data"), scratch.path().join("hub.kubeconfig"));
        std::fs::write(&file, hub)?;
        let process = spawn(&file, &data, scratch.path())?;
        let mut agent = Agent { process, data, hub: file, scratch };
        agent.ready().await?;
        Ok(agent)
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.ended()?.is_some(), "it still runs");
        self.process = spawn(&self.hub, &self.data, self.scratch.path())?;
        self.ready().await
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Admin's kubeconfig of the agent's own control plane.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// A client of the agent's own control plane.
    pub async fn client(&self) -> Result<kube::Client> {
        up::client(&self.kubeconfig()).await
    }

    async fn ready(&mut self) -> Result<()> {
        let kubeconfig = self.kubeconfig();
        let process = &mut self.process;
        eventually("the agent's control plane answers", async || {
            if let Some(status) = process.ended()? {
                return Ok(Some(Err(status)));
            }
            let client = up::client(&kubeconfig).await?;
            client.list_api_groups().await?;
            Ok(Some(Ok(())))
        })
        .await?
        .map_err(|status| anyhow::anyhow!("it ended with {status}"))
        .context("`roadstead agent` did not start")
    }
}

fn spawn(hub: &Path, data: &Path, scratch: &Path) -> Result<Process> {
    let mut command = Command::new(tools::roadstead()?);
    command.arg("agent").arg("--hub").arg(format!("main={}", hub.display())).arg("--data-dir").arg(data);
    command.args(["--api-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.env_remove("KUBECONFIG").env("RUST_BACKTRACE", "1");
    Process::start("roadstead agent", &mut command, &scratch.join("agent.log"))
}
