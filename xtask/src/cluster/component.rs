//! One process of a cluster: how it is started, how to ask it whether it is ready, what to show of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use super::process::{self, Program};
use super::state::Layout;
use super::wait;

/// One process.
#[derive(Clone, Debug)]
pub struct Component {
    /// How it is started.
    pub program: Program,
    /// Its version.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// Whether it is ready.
    pub probe: Probe,
    /// How long it may take to be so.
    pub limit: Duration,
}

/// A question that a process that is ready answers.
#[derive(Clone, Debug)]
pub enum Probe {
    /// A path of a server answers with success.
    Http {
        /// Who asks.
        kubeconfig: PathBuf,
        /// URL of the server, which the kubeconfig's authority vouches for.
        server: String,
        /// The path.
        path: String,
    },
    /// A command succeeds.
    Command {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// Set in its environment.
        environment: Vec<(&'static str, String)>,
    },
}

impl Probe {
    /// Asks.
    pub fn ready(&self, kubectl: &Path) -> bool {
        let mut command = match self {
            Self::Http { kubeconfig, server, path } => {
                let mut command = Command::new(kubectl);
                command.arg("--kubeconfig").arg(kubeconfig).args(["--server", server, "--request-timeout", "5s"]);
                command.args(["get", "--raw", path]);
                command
            }
            Self::Command { program, arguments, environment } => {
                let mut command = Command::new(program);
                command.args(arguments).envs(environment.iter().map(|(name, value)| (*name, value)));
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// What is shown of a process.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// Its pid, if it runs.
    pub pid: Option<i32>,
    /// Seconds since its start.
    #[serde(rename = "ageSeconds")]
    pub age: Option<u64>,
    /// Its version.
    pub version: String,
    /// Whether it answers as it should.
    pub ready: bool,
    /// Where it listens.
    pub address: String,
}

impl Component {
    /// Starts it unless it runs, and waits until it is ready. Says whether it was started.
    pub fn up(&self, layout: &Layout, kubectl: &Path) -> Result<bool> {
        let name = self.program.name;
        let started = process::start(layout, &self.program)?;
        wait::until(&format!("{name} is ready"), self.limit, || {
            if process::find(layout, name, None).is_none() {
                bail!("{name} has ended");
            }
            Ok(self.probe.ready(kubectl))
        })
        .map_err(|error| error.context(format!("the log of {name} ends:\n{}", wait::tail(&layout.log(name)))))?;
        Ok(started)
    }

    /// How it is now.
    pub fn report(&self, layout: &Layout, kubectl: &Path) -> Report {
        let record = process::find(layout, self.program.name, Some(&self.program.path));
        Report {
            name: self.program.name,
            pid: record.as_ref().map(|record| record.pid),
            age: record.as_ref().map(process::Record::age),
            version: self.version.clone(),
            ready: record.is_some() && self.probe.ready(kubectl),
            address: self.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(layout: &Layout, script: &str, ready: &str) -> Component {
        let arguments = vec!["-c".into(), script.into(), format!("{}/x", layout.root().display())];
        Component {
            program: Program { name: "part", path: "/bin/sh".into(), arguments, environment: vec![] },
            version: "v1".into(),
            address: "nowhere".into(),
            probe: Probe::Command { program: ready.into(), arguments: vec![], environment: vec![] },
            limit: Duration::from_secs(20),
        }
    }

    #[test]
    fn what_ends_instead_of_getting_ready_is_told_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_path_buf());
        layout.create().unwrap();
        let part = component(&layout, "echo the rock >&2; exit 1", "false");
        let error = format!("{:#}", part.up(&layout, Path::new("kubectl")).unwrap_err());
        assert!(error.contains("the rock"), "{error}");
        let report = part.report(&layout, Path::new("kubectl"));
        assert!(!report.ready && report.pid.is_none());
    }

    #[test]
    fn what_is_up_is_not_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_path_buf());
        layout.create().unwrap();
        let part = component(&layout, "sleep 600; :", "true");
        assert!(part.up(&layout, Path::new("kubectl")).unwrap());
        assert!(!part.up(&layout, Path::new("kubectl")).unwrap());
        let report = part.report(&layout, Path::new("kubectl"));
        assert!(report.ready && report.pid.is_some() && report.age.is_some());
        process::stop(&layout, "part", None).unwrap();
    }
}
