//! Everything that must be green: form, lints, dependencies, tests.

use std::path::PathBuf;

use anyhow::Result;

use crate::step::{cargo, on_path, output, root, run, step};
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
        let mut test = cargo();
        test.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
        test.args(tools.test_arguments(arguments)).envs(tools.env());
        // The tests of crate `roadstead` make cargo build the binary before any test runs; the end-to-end tests take that one.
        test.env("ROADSTEAD_BIN", target_directory().join("debug/roadstead"));
        // Errors of tests are read by people: where they arose is in the message.
        run(test.env("RUST_LIB_BACKTRACE", "0"))
    })
}

/// Where cargo builds to.
pub fn target_directory() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Installs cargo-deny unless it is there.
pub fn install_deny() -> Result<()> {
    if on_path("cargo-deny") {
        return Ok(());
    }
    step("install cargo-deny", || run(cargo().args(["install", "--locked", "cargo-deny", "--version", "0.20.2"])))
}

/// Dependencies against `deny.toml`; advisories only where their database can be had.
pub fn deny() -> Result<()> {
    step("cargo deny check bans licenses sources", || {
        run(cargo().args(["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    })?;
    match output(cargo().args(["deny", "fetch", "db"])) {
        Ok(_) => step("cargo deny check advisories", || run(cargo().args(["deny", "--locked", "check", "advisories"]))),
        Err(_) => {
            eprintln!("==> advisories are not checked: their database cannot be reached from here");
            Ok(())
        }
    }
}
