//! Talking to a cluster with kubectl, as its administrator.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::state::write_private;
use crate::step::output;

/// A cluster and the kubectl to ask it with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The program.
    pub kubectl: PathBuf,
    /// Whose rights and which cluster.
    pub kubeconfig: PathBuf,
}

impl Api {
    /// A kubectl that talks to this cluster whatever the environment says.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env_remove("KUBECONFIG").arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// What a command says that is one request.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().arg("--request-timeout=30s").args(arguments))
    }

    /// What a path of the API server answers.
    pub fn raw(&self, path: &str) -> Result<Value> {
        let text = self.output(&["get", "--raw", path])?;
        serde_json::from_str(&text).with_context(|| format!("{path} answers no JSON"))
    }

    /// Applies an object server-side; `file` keeps what was applied, for who wonders.
    pub fn apply(&self, object: &Value, file: &std::path::Path) -> Result<()> {
        write_private(file, &serde_json::to_string_pretty(object)?)?;
        let file = file.display().to_string();
        self.output(&["apply", "--server-side", "--force-conflicts", "--field-manager=xtask", "-f", &file]).map(drop)
    }

    /// `kubectl wait KIND REST`, e.g. `wait("deployment", "web --for=condition=Available", limit)`.
    pub fn wait(&self, kind: &str, rest: &str, limit: Duration) -> Result<()> {
        let mut command = self.command();
        command.args(["wait", kind]).args(rest.split(' ')).arg(format!("--timeout={}s", limit.as_secs()));
        output(&mut command).map(drop)
    }
}
