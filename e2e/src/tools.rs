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
    // This program is target/debug/deps/it-...; the binary is beside `deps`.
    let here = std::env::current_exe()?;
    let profile = here.parent().and_then(|deps| deps.parent()).context("the test program has no directory above")?;
    Ok(profile.join("roadstead"))
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
    let cache = match std::env::var_os("ROADSTEAD_TOOLS") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache/roadstead-tools"),
    };
    let npm = cache.join("npm");
    if !npm.join("node_modules").is_dir() {
        bail!("{} has no npm packages: run `cargo xtask tools` first", npm.display());
    }
    Ok(npm)
}
