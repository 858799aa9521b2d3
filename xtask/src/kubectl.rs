//! A kubectl that reads JSON everywhere (1.31 or newer): the installed one, else one built from kubectl's own Go module.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{on_path, output, root, run};

/// Oldest kubectl that reads aggregated discovery and OpenAPI v3 as JSON throughout.
const OLDEST: (u32, u32) = (1, 31);

/// Finds or builds kubectl; gives its path.
pub fn provide(cache: &Path) -> Result<PathBuf> {
    let built = cache.join("kubectl");
    let candidates =
        std::env::var_os("KUBECTL").map(PathBuf::from).into_iter().chain([PathBuf::from("kubectl"), built.clone()]);
    for candidate in candidates {
        match version(&candidate) {
            Some(found) if found >= OLDEST => {
                eprintln!("    {} is version {}.{}", candidate.display(), found.0, found.1);
                return Ok(candidate);
            }
            Some(found) => eprintln!("    {} is version {}.{}: too old", candidate.display(), found.0, found.1),
            None => {}
        }
    }
    build(&built)?;
    match version(&built) {
        Some(found) if found >= OLDEST => Ok(built),
        found => bail!("{} was built but tells version {found:?}", built.display()),
    }
}

fn version(kubectl: &Path) -> Option<(u32, u32)> {
    let json = output(Command::new(kubectl).args(["version", "--client", "-o", "json"])).ok()?;
    let answer: serde_json::Value = serde_json::from_str(&json).ok()?;
    parse_version(answer.pointer("/clientVersion/gitVersion")?.as_str()?)
}

/// Major and minor of `v1.34.3`, `v1.32.4-dispatcher` and the like.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The module's version, `v0.34.3`, is kubectl's `v1.34.3`.
fn kubectl_version(go_mod: &str) -> Option<String> {
    let line = go_mod.lines().find(|line| line.trim().starts_with("k8s.io/kubectl "))?;
    line.trim().strip_prefix("k8s.io/kubectl v0.").map(|rest| format!("v1.{rest}"))
}

fn build(target: &Path) -> Result<()> {
    let source = root().join("xtask/kubectl");
    let version = kubectl_version(&std::fs::read_to_string(source.join("go.mod"))?)
        .context("xtask/kubectl/go.mod names no kubectl")?;
    if !on_path("go") {
        bail!("no kubectl {}.{} or newer: install one, or Go 1.24 or newer to build it", OLDEST.0, OLDEST.1);
    }
    eprintln!("    building kubectl {version} (some minutes, once)");
    run(Command::new("go")
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
        .arg("-o")
        .arg(target)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(source))
    .context("kubectl's Go module needs Go 1.24 or newer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("v1.34.3", Some((1, 34))),
            ("v1.32.4-dispatcher", Some((1, 32))),
            ("v1.9.0", Some((1, 9))),
            ("v0.0.0-master+$Format:%H$", Some((0, 0))),
            ("1.34", None),
            ("v1", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!((1, 9) < OLDEST);
    }

    #[test]
    fn the_module_tells_the_version() {
        let go_mod = "module x\n\nrequire (\n\tk8s.io/component-base v0.34.3\n\tk8s.io/kubectl v0.34.3\n)\n";
        assert_eq!(kubectl_version(go_mod).as_deref(), Some("v1.34.3"));
        assert_eq!(kubectl_version("module x\n"), None);
    }
}
