//! Everything that must be green: form, lints, dependencies, tests.

use anyhow::Result;

use crate::step::{cargo, on_path, output, run, step};
use crate::tools;

/// Runs all of it; `arguments` go to `cargo test` as they are.
pub fn test(arguments: &[String]) -> Result<()> {
    let tools = tools::provide()?;
    step("cargo fmt --check", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("cargo clippy", || {
        run(cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    if on_path("cargo-deny") {
        deny()?;
    } else {
        eprintln!("==> cargo deny: not installed, skipped (`cargo xtask deny --install` installs and runs it)");
    }
    step("cargo test", || {
        run(cargo().args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(arguments).envs(tools.env()))
    })
}

/// Installs cargo-deny unless it is there.
pub fn install_deny() -> Result<()> {
    if on_path("cargo-deny") {
        return Ok(());
    }
    step("install cargo-deny", || run(cargo().args(["install", "--locked", "cargo-deny", "--version", "0.20"])))
}

/// Dependencies against `deny.toml`; advisories only where their database can be had.
pub fn deny() -> Result<()> {
    step("cargo deny check bans licenses sources", || {
        run(cargo().args(["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    })?;
    match step("cargo deny fetch", || output(cargo().args(["deny", "fetch", "db"]))) {
        Ok(_) => step("cargo deny check advisories", || run(cargo().args(["deny", "--locked", "check", "advisories"]))),
        Err(_) => {
            eprintln!("    advisories not checked: their database cannot be reached");
            Ok(())
        }
    }
}
