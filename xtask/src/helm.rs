//! Helm for the chart's tests: the installed one if it is new enough, else one built from Helm's own Go module.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{on_path, output, root, run};

/// Oldest Helm whose schema check and messages the tests know.
const OLDEST: (u32, u32) = (3, 18);

/// Finds or builds helm; gives its path.
pub fn provide(cache: &Path) -> Result<PathBuf> {
    let built = cache.join("helm");
    let candidates =
        std::env::var_os("HELM").map(PathBuf::from).into_iter().chain([PathBuf::from("helm"), built.clone()]);
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

fn version(helm: &Path) -> Option<(u32, u32)> {
    parse_version(&output(Command::new(helm).args(["version", "--template", "{{.Version}}"])).ok()?)
}

/// Major and minor of `v4.3.1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The version that the module requires, `v4.3.1`.
fn module_version(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| line.trim().strip_prefix("helm.sh/helm/v4 ")?.split_whitespace().next())
}

fn build(target: &Path) -> Result<()> {
    let source = root().join("xtask/helm");
    let go_mod = std::fs::read_to_string(source.join("go.mod"))?;
    let version = module_version(&go_mod).context("xtask/helm/go.mod names no helm")?;
    if !on_path("go") {
        bail!("no helm {}.{} or newer: install one, or Go 1.26 or newer to build it", OLDEST.0, OLDEST.1);
    }
    eprintln!("    building helm {version} (some minutes, once)");
    run(Command::new("go")
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}"))
        .arg("-o")
        .arg(target)
        .arg("helm.sh/helm/v4/cmd/helm")
        .env("CGO_ENABLED", "0")
        .current_dir(source))
    .context("helm's Go module needs Go 1.26 or newer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in
            [("v4.3.1", Some((4, 3))), ("v3.18.0-rc.1", Some((3, 18))), ("4.3.1", None), ("v4", None)]
        {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!((3, 9) < OLDEST && OLDEST < (4, 0));
    }

    #[test]
    fn the_module_tells_the_version() {
        let go_mod = std::fs::read_to_string(root().join("xtask/helm/go.mod")).unwrap();
        assert!(module_version(&go_mod).and_then(parse_version).is_some_and(|version| version >= OLDEST));
        assert_eq!(module_version("module x\n"), None);
    }
}
