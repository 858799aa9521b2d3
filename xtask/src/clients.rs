//! kubectl and helm for the tests: the machine's own if it is new enough, else one built from its own Go module.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cluster::kubernetes_version;
use crate::golang::Module;
use crate::step::output;

/// A program that talks to clusters.
pub struct Client {
    /// What it is called.
    pub name: &'static str,
    /// The variable that names another one.
    pub variable: &'static str,
    /// Major and minor of the oldest that will do.
    oldest: (u32, u32),
    /// Arguments with which it tells its version.
    version: &'static [&'static str],
    /// What it is built from.
    pub module: Module,
}

/// From 1.31 on it reads aggregated discovery and OpenAPI v3 as JSON throughout.
pub const KUBECTL: Client = Client {
    name: "kubectl",
    variable: "KUBECTL",
    oldest: (1, 31),
    version: &["version", "--client"],
    module: Module {
        directory: "kubectl",
        main: "k8s.io/kubectl",
        // The module's v0.34.3 is kubectl's v1.34.3.
        stamps: |module| kubernetes_version(&module.replacen("v0.", "v1.", 1)),
        programs: &[("kubectl", ".", "k8s.io/kubectl")],
    },
};

/// The oldest whose schema check and messages the tests know.
pub const HELM: Client = Client {
    name: "helm",
    variable: "HELM",
    oldest: (3, 18),
    version: &["version", "--short"],
    module: Module {
        directory: "helm",
        main: "helm.sh/helm/v4",
        stamps: |module| vec![("helm.sh/helm/v4/internal/version.version", module.into())],
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4")],
    },
};

impl Client {
    /// Finds or builds it; gives its path.
    pub fn provide(&self, cache: &Path) -> Result<PathBuf> {
        let own = std::env::var_os(self.variable).map(PathBuf::from);
        for candidate in own.into_iter().chain([PathBuf::from(self.name)]) {
            if self.is_new_enough(&candidate) {
                return Ok(candidate);
            }
        }
        let built = self.module.provide(cache, self.name)?;
        if !self.is_new_enough(&built.path) {
            bail!("{} was built from {} and is not that", built.path.display(), built.version);
        }
        Ok(built.path)
    }

    fn is_new_enough(&self, program: &Path) -> bool {
        let Ok(said) = output(Command::new(program).args(self.version)) else { return false };
        let Some((major, minor)) = version_in(&said) else { return false };
        let enough = (major, minor) >= self.oldest;
        eprintln!("    {} is version {major}.{minor}{}", program.display(), if enough { "" } else { ": too old" });
        enough
    }
}

/// Major and minor of the first word like `v1.34.3` or `v1.32.4-dispatcher`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v')?.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("Client Version: v1.34.3\nKustomize Version: v5.7.1", Some((1, 34))),
            ("Client Version: v1.32.4-dispatcher", Some((1, 32))),
            ("v4.3.1+gabcdef", Some((4, 3))),
            ("v3.18.0-rc.1", Some((3, 18))),
            ("v0.0.0-master+$Format:%H$", Some((0, 0))),
            ("1.34", None),
            ("v1", None),
        ] {
            assert_eq!(version_in(text), expected, "{text}");
        }
        assert!((1, 9) < KUBECTL.oldest && HELM.oldest < (4, 0));
    }

    #[test]
    fn kubectl_tells_its_own_version_not_its_module_s() {
        assert!((KUBECTL.module.stamps)("v0.34.3").iter().any(|(_, value)| value == "v1.34.3"));
    }
}
