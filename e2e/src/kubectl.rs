//! kubectl, with one kubeconfig.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::Process;
use crate::tools;

/// kubectl for one kubeconfig, with a discovery cache of its own.
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: TempDir,
}

/// What kubectl answered.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl Kubectl {
    /// For a kubeconfig file.
    pub fn new(kubeconfig: &Path) -> Result<Kubectl> {
        Ok(Kubectl { kubeconfig: kubeconfig.into(), home: tempfile::tempdir()? })
    }

    /// Runs it with words separated by blanks; fails unless it exits with 0. Gives stdout, trimmed.
    pub fn run(&self, words: &str) -> Result<String> {
        self.args(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Kubectl::run`], for arguments with blanks.
    pub fn args(&self, arguments: &[&str]) -> Result<String> {
        let said = self.say(arguments, "")?;
        if said.code != 0 {
            bail!("kubectl {} ended with {}: {}{}", arguments.join(" "), said.code, said.out, said.err);
        }
        Ok(said.out.trim().to_string())
    }

    /// Runs it and gives whatever it says; `input` is its stdin.
    pub fn say(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let mut command = self.command();
        command.args(arguments).arg("--request-timeout=30s");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // It may end without reading all; then what it says matters more.
        let _ = child.stdin.take().context("no stdin")?.write_all(input.as_bytes());
        let output = child.wait_with_output()?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let said = self.say(&["apply", "-f", "-"], manifest)?;
        if said.code != 0 {
            bail!("kubectl apply ended with {}: {}{}", said.code, said.out, said.err);
        }
        Ok(said.out)
    }

    /// Starts it in the background; what it writes is in the process' log.
    pub fn spawn(&self, words: &str) -> Result<Process> {
        let log = self.home.path().join(format!("{}.log", words.replace([' ', '/'], "_")));
        Process::start(&format!("kubectl {words}"), self.command().args(words.split_whitespace()), &log)
    }

    /// A command that a test can complete itself (environment, editor).
    pub fn command(&self) -> Command {
        let mut command = Command::new(tools::kubectl());
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path())
            .env("KUBECACHEDIR", self.home.path().join("cache"));
        command
    }
}
