//! Where the tests' tools are, as `cargo xtask tools` says.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The `roadstead` binary: `$ROADSTEAD_BIN`, else built once by cargo for this run.
pub fn roadstead() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("ROADSTEAD_BIN") {
        return Ok(path.into());
    }
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "roadstead"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !status.success() {
        bail!("cargo build -p roadstead failed: {status}");
    }
    Ok(profile()?.join("roadstead"))
}

/// kubectl: `$KUBECTL`, else the machine's.
pub fn kubectl() -> PathBuf {
    std::env::var_os("KUBECTL").map(PathBuf::from).unwrap_or_else(|| "kubectl".into())
}

/// helm: `$HELM`, else the machine's.
pub fn helm() -> PathBuf {
    std::env::var_os("HELM").map(PathBuf::from).unwrap_or_else(|| "helm".into())
}

/// Directory with `node_modules`.
pub fn npm() -> Result<PathBuf> {
    let npm = cache()?.join("npm");
    if !npm.join("node_modules").is_dir() {
        bail!("{} has no npm packages: run `cargo xtask tools` first", npm.display());
    }
    Ok(npm)
}

/// Directory with Python packages, for `$PYTHONPATH`.
pub fn python() -> Result<PathBuf> {
    let python = cache()?.join("python");
    if !python.is_dir() {
        bail!("{} is not there: run `cargo xtask tools` first", python.display());
    }
    Ok(python)
}

/// An example of this package, built once by cargo for this run.
pub fn example(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--quiet", "-p", "roadstead-e2e", "--example", name];
    let status = Command::new(cargo).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    if !status.success() {
        bail!("the example {name} cannot be built: {status}");
    }
    Ok(profile()?.join("examples").join(name))
}

fn cache() -> Result<PathBuf> {
    Ok(match std::env::var_os("ROADSTEAD_TOOLS") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache/roadstead-tools"),
    })
}

/// Where cargo puts what it builds: this program is target/debug/deps/it-...; binaries are beside `deps`.
fn profile() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let above = here.parent().and_then(|deps| deps.parent());
    Ok(above.context("the test program has no directory above")?.to_path_buf())
}
