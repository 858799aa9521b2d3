//! The Helm chart: rendered, checked and installed by a real helm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{kubectl::Said, tools};

/// The release's name in tests.
pub const RELEASE: &str = "tide";

/// The chart's directory.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/roadstead")
}

/// The values files that come with the chart, by name.
pub fn values_files() -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(chart().join("ci"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a file without name")?.to_string_lossy().into_owned();
        files.push((name, path));
    }
    files.sort();
    Ok(files)
}

/// One file of [`values_files`].
pub fn values_file(name: &str) -> PathBuf {
    chart().join(format!("ci/{name}-values.yaml"))
}

/// helm, with a home of its own; `kubeconfig` where it talks to a cluster.
pub struct Helm {
    kubeconfig: Option<PathBuf>,
    home: TempDir,
}

impl Helm {
    /// For rendering alone.
    pub fn offline() -> Result<Helm> {
        Ok(Helm { kubeconfig: None, home: tempfile::tempdir()? })
    }

    /// For a cluster.
    pub fn on(kubeconfig: &Path) -> Result<Helm> {
        Ok(Helm { kubeconfig: Some(kubeconfig.into()), home: tempfile::tempdir()? })
    }

    /// Runs it and gives whatever it says.
    pub fn say(&self, arguments: &[&str]) -> Result<Said> {
        let program = tools::helm();
        let mut command = Command::new(&program);
        command.args(arguments).env("HOME", self.home.path()).env_remove("KUBECONFIG");
        for directory in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(directory, self.home.path());
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output =
            command.output().with_context(|| format!("{}: run `cargo xtask tools` first", program.display()))?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs it; fails unless it exits with 0. Gives stdout.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let said = self.say(arguments)?;
        if said.code != 0 {
            bail!("helm {} ended with {}: {}{}", arguments.join(" "), said.code, said.out, said.err);
        }
        Ok(said.out)
    }

    /// `helm template` of the chart as release [`RELEASE`], with more arguments (`-f`, `--set`, `-n`). Gives the text.
    pub fn render(&self, arguments: &[&str]) -> Result<String> {
        let chart = chart();
        let mut all = vec!["template", RELEASE, path(&chart)?];
        all.extend(arguments);
        self.run(&all)
    }

    /// As [`Helm::render`]; gives the objects.
    pub fn objects(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        parse(&self.render(arguments)?)
    }
}

/// The objects of a rendered text.
pub fn parse(rendered: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(rendered).context("helm rendered no YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// A path as an argument.
pub fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// The objects of one kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// `Kind/name` of an object.
pub fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
